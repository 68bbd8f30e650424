"""The smallest useful space: a chain of convolutions with filters, kernel size and padding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import nn

from nas_gym.search_spaces.base import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.search_spaces.blocks import (
    GlobalAveragePool,
    Size,
    check_choices,
    check_number,
    image_size,
    stride_to_fit,
    strided,
)


@dataclass(frozen=True)
class PlainCNN(SearchSpace):
    """Convolution, batch norm, ReLU, ``depth`` times; three decisions a layer.

    After every second layer a 2x2 max pooling halves maps larger than 4 pixels. Inputs with a
    side over 32 pixels are first shrunk by average pooling. Global average pooling and one
    linear layer make the logits.

    Canonical form: the padding of a 1x1 convolution does not matter and reads ``same``; a
    ``valid`` convolution whose kernel does not fit the map reads ``same``.

    The decisions are those of the simplest controller of Zoph & Le 2016 (arXiv 1611.01578,
    section 3.1: filter size and number per layer), on square kernels.

    Attributes:
        depth: Number of convolutions.
        filters: Choices of width.
        kernel_sizes: Choices of (odd) kernel size.
    """

    name: ClassVar[str] = "plain_cnn"

    depth: int = 4
    filters: tuple[int, ...] = (8, 16, 32, 64)
    kernel_sizes: tuple[int, ...] = (1, 3, 5)

    def __post_init__(self) -> None:
        image_size(self.input_shape)
        check_number("depth", self.depth)
        check_choices("filters", self.filters)
        check_choices("kernel_sizes", self.kernel_sizes)
        if any(kernel % 2 == 0 for kernel in self.kernel_sizes):
            raise ValueError(f"kernel_sizes must be odd, got {self.kernel_sizes}")

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """Filters, kernel size and padding of each layer."""
        return tuple(
            Decision(f"layer{layer}.{kind}", choices, kind)
            for layer in range(1, self.depth + 1)
            for kind, choices in (
                ("filters", self.filters),
                ("kernel", self.kernel_sizes),
                ("padding", ("same", "valid")),
            )
        )

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        """One ``(filters, kernel, padding)`` per convolution; never fewer than ``depth``."""
        size = self._first_size
        layers: list[Layer] = []
        for index in range(self.depth):
            filters, kernel, padding = choices[3 * index : 3 * index + 3]
            if not self._padding_matters(int(kernel), size):
                padding = "same"
            layers.append((filters, kernel, padding))
            size = self._size_after(index, int(kernel), str(padding), size)
        return tuple(layers)

    def redundant(self, chosen: tuple[Choice, ...]) -> Collection[int]:
        """``valid`` is redundant where the padding does not matter."""
        layer, step = divmod(len(chosen), 3)
        if step != 2:
            return ()
        size = self._first_size
        for index in range(layer):
            _, kernel, padding = chosen[3 * index : 3 * index + 3]
            if not self._padding_matters(int(kernel), size):
                padding = "same"
            size = self._size_after(index, int(kernel), str(padding), size)
        return () if self._padding_matters(int(chosen[-1]), size) else (1,)

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The choices of each layer, as it says them.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        return self._verified(architecture, 3)

    def build(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture of this space.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        self.check(architecture)
        channels, size = image_size(self.input_shape)
        modules: list[nn.Module] = []
        if (shrink := stride_to_fit(size, 32)) > 1:
            modules.append(nn.AvgPool2d(shrink, ceil_mode=True))
        size = self._first_size
        for index, (filters, kernel, padding) in enumerate(architecture.layers):
            pad = kernel // 2 if padding == "same" else 0
            modules += [
                nn.Conv2d(channels, filters, kernel, padding=pad, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            ]
            channels, before = filters, size
            size = self._size_after(index, kernel, padding, before)
            if self._pools_after(index, self._convolved(kernel, padding, before)):
                modules.append(nn.MaxPool2d(2, ceil_mode=True))
        return nn.Sequential(*modules, GlobalAveragePool(), nn.Linear(channels, self.num_classes))

    @cached_property
    def _first_size(self) -> Size:
        size = image_size(self.input_shape)[1]
        return strided(size, stride_to_fit(size, 32))

    @staticmethod
    def _padding_matters(kernel: int, size: Size) -> bool:
        return 1 < kernel <= min(size)

    @staticmethod
    def _convolved(kernel: int, padding: str, size: Size) -> Size:
        lost = kernel - 1 if padding == "valid" else 0
        return size[0] - lost, size[1] - lost

    @staticmethod
    def _pools_after(index: int, size: Size) -> bool:
        return index % 2 == 1 and min(size) > 4

    def _size_after(self, index: int, kernel: int, padding: str, size: Size) -> Size:
        size = self._convolved(kernel, padding, size)
        return strided(size, 2) if self._pools_after(index, size) else size
