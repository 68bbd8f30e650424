"""Search spaces: ordered decisions, canonical architectures, and the networks they stand for."""

from __future__ import annotations

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
    "format_layer",
    "make_search_space",
]


def make_search_space(
    spec: str | Mapping[str, Any] | type[SearchSpace] | SearchSpace,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> SearchSpace:
    """The search space of a task's inputs and classes.

    Args:
        spec: A name in `SEARCH_SPACES`, ``"package.module:Class"``, the class itself, a mapping
            with a ``"name"`` and the space's options, or a ready space (returned as it is).
        input_shape: ``(channels, height, width)`` of one input.
        num_classes: Number of classes.

    Raises:
        ValueError: An unknown name, or options that the space does not have.
    """
    if isinstance(spec, SearchSpace):
        if (spec.input_shape, spec.num_classes) != (input_shape, num_classes):
            raise ValueError(
                f"the search space is made for inputs {spec.input_shape} and {spec.num_classes} "
                f"classes, the task has {input_shape} and {num_classes}"
            )
        return spec
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", "layer_cnn")
    space = name if isinstance(name, type) else resolve(name, SEARCH_SPACES, "search space")
    if not (isinstance(space, type) and issubclass(space, SearchSpace)):
        raise ValueError(f"{name!r} is not a SearchSpace class")
    frozen = {key: tuple(v) if isinstance(v, list) else v for key, v in options.items()}
    try:
        return space(input_shape, num_classes, **frozen)
    except TypeError as error:
        raise ValueError(f"search space {space.name}: {error}") from error
