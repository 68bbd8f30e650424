"""The default space: per layer an operation, its width, activation and regularisation."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import nn

from nas_gym.search_spaces.base import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.search_spaces.blocks import (
    ACTIVATIONS,
    GlobalAveragePool,
    Size,
    check_choices,
    check_number,
    image_size,
    stride_to_fit,
    strided,
)

# Identity comes first: what turns out to change nothing is masked in its favour.
OPERATIONS = ("identity", "conv3", "conv5", "separable3", "separable5", "max_pool", "average_pool")
POOLS = ("max_pool", "average_pool")
REGULARISATIONS = ("none", "batch_norm", "batch_norm_dropout")
DROPOUT = 0.1  # of whole channels: neighbouring pixels tell the same (Tompson et al. 2015)


@dataclass(frozen=True)
class LayerCNN(SearchSpace):
    """A chain of ``depth`` layers; four decisions a layer.

    A 3x3 convolution to ``stem_width`` channels comes first; it has a stride where the longer
    side of the input is over 32 pixels, so that the search always works on maps of at most
    32 pixels. Pooling layers (2x2, stride 2, sizes round up) are the only reductions after it,
    and where they stand is part of the search. Global average pooling and one linear layer make
    the logits.

    Canonical form: identity layers vanish (so their place does not matter); width, activation
    and regularisation of pools and identities do not matter; a pool on a 1x1 map is an identity.

    Attributes:
        depth: Number of layers, identities included.
        widths: Choices of output channels of a convolution.
        stem_width: Channels of the first convolution.
        stem_stride: Its stride; None chooses by the input's size as said above.
    """

    name: ClassVar[str] = "layer_cnn"

    depth: int = 6
    widths: tuple[int, ...] = (16, 32, 64)
    stem_width: int = 16
    stem_stride: int | None = None

    def __post_init__(self) -> None:
        image_size(self.input_shape)
        check_number("depth", self.depth)
        check_choices("widths", self.widths)
        check_number("stem_width", self.stem_width)
        if self.stem_stride is not None:
            check_number("stem_stride", self.stem_stride)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Operation, width, activation and regularisation of each layer."""
        return tuple(
            Decision(f"layer{layer}.{kind}", choices, kind)
            for layer in range(1, self.depth + 1)
            for kind, choices in (
                ("operation", OPERATIONS),
                ("width", self.widths),
                ("activation", tuple(ACTIVATIONS)),
                ("regularisation", REGULARISATIONS),
            )
        )

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        """``(operation, width, activation, regularisation)`` or ``(pool,)`` per real layer."""
        return tuple(layer for layer, _ in self._walk(choices))

    def redundant(self, chosen: tuple[Choice, ...]) -> Collection[int]:
        """Pools on a 1x1 map, and every detail of a layer that has none."""
        layer, step = divmod(len(chosen), 4)
        if step == 0:
            sizes = [self._stem[1], *(size for _, size in self._walk(chosen))]
            return [OPERATIONS.index(pool) for pool in POOLS] if max(sizes[-1]) == 1 else ()
        operation = chosen[4 * layer]
        if operation in POOLS or operation == "identity":
            return range(1, len(self.decisions[len(chosen)].choices))
        return ()

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The choices of each layer; identities last, and the first choice where none matters.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        return self._verified(architecture, 4)

    def build(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture of this space.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        self.check(architecture)
        stride, _ = self._stem
        modules: list[nn.Module] = [
            nn.Conv2d(
                self.input_shape[0], self.stem_width, 3, stride=stride, padding=1, bias=False
            ),
            nn.BatchNorm2d(self.stem_width),
            nn.ReLU(inplace=True),
        ]
        channels = self.stem_width
        for layer in architecture.layers:
            if layer[0] == "max_pool":
                modules.append(nn.MaxPool2d(2, ceil_mode=True))
            elif layer[0] == "average_pool":
                modules.append(nn.AvgPool2d(2, ceil_mode=True))
            else:
                operation, width, activation, regularisation = layer
                modules += _convolution(operation, channels, width, regularisation != "none")
                modules.append(ACTIVATIONS[activation]())
                if regularisation == "batch_norm_dropout":
                    modules.append(nn.Dropout2d(DROPOUT))
                channels = width
        return nn.Sequential(*modules, GlobalAveragePool(), nn.Linear(channels, self.num_classes))

    @cached_property
    def _stem(self) -> tuple[int, Size]:
        size = image_size(self.input_shape)[1]
        stride = stride_to_fit(size, 32) if self.stem_stride is None else self.stem_stride
        return stride, strided(size, stride)

    def _walk(self, choices: tuple[Choice, ...]) -> Iterator[tuple[Layer, Size]]:
        """The layers that do something, each with the size of its output."""
        size = self._stem[1]
        for start in range(0, len(choices), 4):
            layer: Layer = choices[start : start + 4]
            if layer[0] == "identity" or (layer[0] in POOLS and max(size) == 1):
                continue
            if layer[0] in POOLS:
                layer, size = layer[:1], strided(size, 2)
            yield layer, size


def _convolution(operation: str, channels: int, width: int, normalise: bool) -> list[nn.Module]:
    kernel = int(operation[-1])
    bias = not normalise
    modules: list[nn.Module]
    if operation.startswith("separable"):
        modules = [
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1, bias=bias),
        ]
    else:
        modules = [nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)]
    return [*modules, nn.BatchNorm2d(width)] if normalise else modules
