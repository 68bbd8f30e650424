"""Evaluators: where a source runs, behind one protocol."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, cast

from nas_gym._resolve import resolve
from nas_gym.evaluators.base import Evaluator
from nas_gym.evaluators.dask import DaskEvaluator
from nas_gym.evaluators.executor import ExecutorEvaluator
from nas_gym.evaluators.inline import InlineEvaluator
from nas_gym.evaluators.pool import PoolEvaluator
from nas_gym.evaluators.ray import RayEvaluator
from nas_gym.sources.base import Source

EVALUATORS: dict[str, Callable[..., Evaluator]] = {
    "inline": InlineEvaluator,
    "pool": PoolEvaluator,
    "ray": RayEvaluator,
    "dask": DaskEvaluator,
}

__all__ = [
    "EVALUATORS",
    "DaskEvaluator",
    "Evaluator",
    "ExecutorEvaluator",
    "InlineEvaluator",
    "PoolEvaluator",
    "RayEvaluator",
    "make_evaluator",
    "workers_spec",
]


def make_evaluator(
    spec: str | Mapping[str, Any] | Executor | Evaluator, source: Source
) -> Evaluator:
    """Where a source runs.

    Args:
        spec: A name in `EVALUATORS`, ``"package.module:callable"`` (called with the source), a
            mapping with a ``"name"`` and options, e.g. ``{"name": "pool", "workers": 2}``, any
            ``concurrent.futures.Executor``, or a ready evaluator, which has its own source.
        source: What answers.

    Raises:
        ValueError: An unknown name, or options that it does not have.
    """
    if isinstance(spec, Executor):
        return ExecutorEvaluator(spec, source)
    if not isinstance(spec, str | Mapping):
        return _checked(spec, spec)
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", "inline")
    make = resolve(name, EVALUATORS, "evaluator")
    try:
        inspect.signature(make).bind(source, **options)
    except TypeError as error:
        raise ValueError(f"evaluator {name!r}: {error}") from error
    return _checked(make(source, **options), name)


def workers_spec(text: str) -> dict[str, Any]:
    """The evaluator that a command line's ``--workers`` names, for `make_evaluator`.

    Args:
        text: A number, ``"ray"``, ``"ray:ADDRESS"`` or ``"dask:ADDRESS"``.

    Raises:
        ValueError: It is none of these.
    """
    name, colon, address = text.strip().partition(":")
    if name == "ray" and not colon:
        return {"name": name}
    if name in ("ray", "dask") and address:
        return {"name": name, "address": address}
    if not name.isdecimal() or colon or int(name) < 1:
        raise ValueError(
            f"must be a number of at least 1, ray, ray:ADDRESS or dask:ADDRESS, got {text!r}"
        )
    return {"name": "pool", "workers": int(name)}


def _checked(evaluator: object, name: object) -> Evaluator:
    if isinstance(evaluator, type) or not all(_has(evaluator, part) for part in _PARTS):
        raise ValueError(f"evaluator {name!r} lacks {', '.join(_PARTS[:-1])} or {_PARTS[-1]}")
    return cast(Evaluator, evaluator)


_PARTS = ("source", "slots", "submit", "close")


def _has(evaluator: object, part: str) -> bool:
    """Whether there is such an attribute; a cluster would connect to say how many slots it has."""
    missing = object()
    found = inspect.getattr_static(evaluator, part, missing)
    return found is not missing or hasattr(evaluator, part)
