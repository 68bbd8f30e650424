"""Options of agents: a recipe by name, changes by keyword, one sentence for what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin, get_type_hints

from nas_gym._resolve import unknown


class Config(Protocol):
    """A frozen dataclass whose fields are the options of an agent."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


ConfigT = TypeVar("ConfigT", bound=Config)

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", NoneType: "None"}


def make_config(
    agent: str, recipes: Mapping[str, ConfigT], recipe: str, changes: Mapping[str, Any]
) -> ConfigT:
    """A recipe with some of its fields changed.

    Args:
        agent: The agent's name, for error messages.
        recipes: What ``recipe`` is a key of.
        recipe: Where to start from.
        changes: Field names and their values.

    Raises:
        ValueError: An unknown recipe or field, or a value outside its range.
    """
    if recipe not in recipes:
        raise ValueError(unknown(f"recipe of {agent}", recipe, recipes))
    config = recipes[recipe]
    known = [field.name for field in fields(config)]
    for name in changes:
        if name not in known:
            raise ValueError(unknown(f"option of {agent}", name, [*known, "recipe"]))
    return replace(config, **changes)


def require(agent: str, config: Config, name: str, holds: bool, expected: str) -> None:
    """Refuse an option whose value does not hold.

    Raises:
        ValueError: The message names the option, what it must be, and what it is.
    """
    if not holds:
        value = getattr(config, name)
        raise ValueError(f"option {name} of {agent} must be {expected}, got {value!r}")


def require_types(agent: str, config: Config) -> None:
    """Refuse options that are not of their field's type: a number, a truth, one of some words.

    Raises:
        ValueError: See `require`.
    """
    for name, hint in get_type_hints(type(config)).items():
        kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        holds = any(_fits(getattr(config, name), kind) for kind in kinds)
        require(agent, config, name, holds, " or ".join(map(_in_words, kinds)))


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if isinstance(value, bool):  # a bool is an int in Python, and no number of anything here
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    return _WORDS[kind]


def require_same(path: str, saved: Mapping[str, Any], **mine: Any) -> None:
    """Refuse a saved agent that differs from the one that loads it.

    Args:
        path: The file, for the error message.
        saved: What it holds.
        **mine: What it must hold, e.g. ``config=..., space=...``.

    Raises:
        ValueError: The message names the difference.
    """
    for name, value in mine.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{path} was saved by an agent with another {name}: {saved.get(name)}, this one "
                f"has {value}"
            )
