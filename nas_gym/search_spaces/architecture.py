"""Architectures, and their JSON text, which may come from anywhere."""

from __future__ import annotations

import hashlib
import json
import math
import reprlib
from dataclasses import dataclass
from typing import Any, TypeAlias

Layer: TypeAlias = tuple[Any, ...]  # JSON scalars, or tuples of them

LONGEST = 100_000  # characters of a text
DEEPEST = 8  # lists around a value, that of its layer included


@dataclass(frozen=True)
class Architecture:
    """The canonical, immutable description of one child network.

    Two action sequences that give the same network give equal architectures, so an architecture
    is what results are stored and repeats are recognised by.

    Attributes:
        space: Name of the search space that wrote it and can build it.
        layers: One tuple of JSON scalars per layer (or edge, or node: the space says which).
    """

    space: str
    layers: tuple[Layer, ...]

    def to_json(self) -> str:
        """The one JSON text of this architecture: equal architectures, equal text."""
        return json.dumps({"space": self.space, "layers": self.layers}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is not an architecture, or not a text.
        """
        return cls(*_parse(text))

    @property
    def key(self) -> str:
        """A short, stable name: the first 16 hex digits of the sha256 of the JSON text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.space}: " + (" | ".join(map(format_layer, self.layers)) or "(no layer)")


def format_layer(layer: Layer) -> str:
    """One layer in words, e.g. ``conv3 64 relu batch_norm``."""
    return " ".join(format_layer(part) if isinstance(part, tuple) else str(part) for part in layer)


def show(value: object) -> str:
    """Something from outside on one line, shortened, for messages."""
    shown = reprlib.Repr()
    shown.maxstring = shown.maxother = 200
    return " ".join(shown.repr(value).split())


def _parse(text: str) -> tuple[str, tuple[Layer, ...]]:
    """The space and the layers that a text names.

    Raises:
        ValueError: The text is not an architecture; the message is one sentence.
    """
    try:
        if not isinstance(text, str):
            raise ValueError(f"{type(text).__name__} is no text")
        if len(text) > LONGEST:
            raise ValueError(f"{len(text)} characters are more than {LONGEST}")
        value = json.loads(text, object_pairs_hook=_distinct)
        if not (isinstance(value, dict) and value.keys() == {"space", "layers"}):
            raise ValueError('it has "space" and "layers" and nothing else')
        space, layers = value["space"], value["layers"]
        if not (isinstance(space, str) and space):
            raise ValueError('"space" is a name')
        if not (isinstance(layers, list) and all(isinstance(layer, list) for layer in layers)):
            raise ValueError('"layers" is a list of lists')
        return space, tuple(_freeze(layer, DEEPEST) for layer in layers)
    except (ValueError, RecursionError) as error:  # the parser itself gives up far beyond DEEPEST
        raise ValueError(f"not an architecture in JSON ({error}): {show(text)}") from error


def _freeze(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        if not depth:
            raise ValueError(f"at most {DEEPEST} lists nest in a layer")
        return tuple(_freeze(item, depth - 1) for item in value)
    if isinstance(value, dict) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("a layer holds texts, finite numbers, true, false, null or lists")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice")
    return value
