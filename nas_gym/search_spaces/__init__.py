"""Search spaces: ordered decisions, canonical architectures, and the networks they stand for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from nas_gym._resolve import resolve
from nas_gym.search_spaces.base import (
    Architecture,
    Choice,
    Decision,
    Layer,
    SearchSpace,
    format_layer,
)
from nas_gym.search_spaces.layer_cnn import LayerCNN
from nas_gym.search_spaces.nas_bench_201 import NASBench201
from nas_gym.search_spaces.nas_bench_macro import NASBenchMacro
from nas_gym.search_spaces.plain_cnn import PlainCNN

SEARCH_SPACES: dict[str, type[SearchSpace]] = {
    space.name: space for space in (LayerCNN, PlainCNN, NASBenchMacro, NASBench201)
}

__all__ = [
    "SEARCH_SPACES",
    "Architecture",
    "Choice",
    "Decision",
    "Layer",
    "LayerCNN",
    "NASBench201",
    "NASBenchMacro",
    "PlainCNN",
    "SearchSpace",
    "form_of",
    "format_layer",
    "make_search_space",
]


def make_search_space(
    spec: str | Mapping[str, Any] | type[SearchSpace] | SearchSpace,
    input_shape: tuple[int, ...],
    num_classes: int,
    vocabulary: int | None = None,
) -> SearchSpace:
    """The search space of a task's inputs and outputs.

    Args:
        spec: A name in `SEARCH_SPACES`, ``"package.module:Class"``, the class itself, a mapping
            with a ``"name"`` and the space's options, or a ready space (returned as it is).
        input_shape: Shape of one input.
        num_classes: Number of outputs.
        vocabulary: Number of tokens, where inputs are tokens.

    Raises:
        ValueError: An unknown name, or options that the space does not have.
    """
    if isinstance(spec, SearchSpace):
        form = spec.input_shape, spec.num_classes, spec.vocabulary
        if form != (input_shape, num_classes, vocabulary):
            raise ValueError(
                f"the search space is made for {_form(*form)}, the task has "
                f"{_form(input_shape, num_classes, vocabulary)}"
            )
        return spec
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", "layer_cnn")
    space = name if isinstance(name, type) else resolve(name, SEARCH_SPACES, "search space")
    if not (isinstance(space, type) and issubclass(space, SearchSpace)):
        raise ValueError(f"{name!r} is not a SearchSpace class")
    tokens: dict[str, Any] = {} if vocabulary is None else {"vocabulary": vocabulary}
    frozen: dict[str, Any] = {
        key: tuple(v) if isinstance(v, list) else v for key, v in options.items()
    } | tokens
    try:
        inspect.signature(space).bind(input_shape, num_classes, **frozen)
    except TypeError as error:
        raise ValueError(f"search space {space.name}: {error}") from error
    return space(input_shape, num_classes, **frozen)


def form_of(description: dict[str, Any]) -> tuple[tuple[int, ...], int, int | None]:
    """Take the form of inputs and outputs out of what `SearchSpace.describe` gave.

    Returns:
        Shape of one input, number of outputs, number of tokens or None.

    Raises:
        KeyError, TypeError: They are not in it.
    """
    shape, outputs = description.pop("input_shape"), description.pop("num_classes")
    return tuple(shape), int(outputs), description.pop("vocabulary", None)


def _form(input_shape: tuple[int, ...], num_classes: int, vocabulary: int | None) -> str:
    tokens = "" if vocabulary is None else f" of {vocabulary} tokens"
    return f"inputs {input_shape}{tokens} and {num_classes} classes"
