"""Names to objects: one dict per kind, or ``"package.module:attribute"`` for anybody's own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def resolve(name: str, known: Mapping[str, Any], kind: str) -> Any:
    """The object called ``name``.

    Args:
        name: A key of ``known``, or ``"package.module:attribute"``.
        known: The package's own objects of this kind.
        kind: What the name stands for, for the error message.

    Raises:
        ValueError: Nothing has this name; the message says what there is.
    """
    if name in known:
        return known[name]
    if not isinstance(name, str) or ":" not in name:
        raise ValueError(f"{unknown(kind, name, known)} (or your own as 'module:name')")
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, but lacks something of its own
        raise ValueError(f"{kind} {name!r}: there is no module {module_name!r}") from error
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ValueError(f"{kind} {name!r}: {module_name} has no {attribute!r}") from error


def named_module(kind: str, spec: object) -> str | None:
    """The module that a name of somebody's own would import; None for the package's own names.

    Args:
        kind: ``"task"`` (whose ``folder:PATH`` names no module), ``"search space"``, ...
        spec: A name, or a mapping with a ``"name"``.
    """
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    if not isinstance(name, str) or (kind == "task" and name.startswith("folder:")):
        return None
    return name.partition(":")[0] if ":" in name else None


def require_trust(where: object, specs: Mapping[str, object], trust: Collection[str]) -> None:
    """Refuse names in a file whose modules would be imported, unless the user trusts these.

    Args:
        where: The file, for the error message.
        specs: By kind, what the file calls its search space, task, ...; see `named_module`.
        trust: Modules that may be imported.

    Raises:
        ValueError: A module is not trusted; the message names it.
    """
    for kind, spec in specs.items():
        module = named_module(kind, spec)
        if module is not None and module not in trust:
            raise ValueError(
                f"{where} names code that is not of nas-gym ({kind} {spec!r}), which would run the "
                f"module {module}: if you trust it, say so with trust=[{module!r}] or "
                f"--trust {module}"
            )


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for a name that is not known: what is wrong and what would be right."""
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {kind} {name!r}; {hint}there are: {', '.join(names)}"
