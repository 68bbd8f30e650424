"""Benchmark tables: problems whose answers are on file.

The children were trained once, by the tables' authors. The environments that play them are
registered by ``import nas_gym``; the same ids with a ``task`` write the same networks and really
train them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from nas_gym._resolve import resolve
from nas_gym.tables import nas_bench_201, nas_bench_macro
from nas_gym.tables.base import LookUp, Rows, Sealed, Table

TABLES: dict[str, Callable[..., Table]] = {
    "nas_bench_macro": nas_bench_macro.table,
    "nas_bench_201": nas_bench_201.table,
}

__all__ = ["TABLES", "LookUp", "Rows", "Sealed", "Table", "load_table", "options_of"]


def options_of(name: str) -> set[str]:
    """The names of a table's own options."""
    return set(inspect.signature(resolve(name, TABLES, "table")).parameters) - {"data_dir"}


def load_table(name: str, data_dir: str | None, options: Mapping[str, Any]) -> Table:
    """A table by name.

    Args:
        name: A name in `TABLES`, or ``"package.module:function"``, which returns a `Table`.
        data_dir: The data root.
        options: Its own.

    Raises:
        ValueError: An unknown name, or options that it does not have.
        DataError: Its file is missing or damaged.
    """
    make = resolve(name, TABLES, "table")
    try:
        inspect.signature(make).bind(data_dir=data_dir, **options)
    except TypeError as error:
        known = [own for own in inspect.signature(make).parameters if own != "data_dir"]
        raise ValueError(f"table {name!r}: {error}; its options are: {', '.join(known)}") from error
    table = make(data_dir=data_dir, **options)
    if not isinstance(table, Table):
        raise ValueError(f"{name} must return a nas_gym.tables.Table, not {type(table).__name__}")
    return table
