"""The space of NAS-Bench-201: a cell of four nodes, and the operation on each of its six edges."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_gym.search_spaces.base import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.search_spaces.blocks import (
    GlobalAveragePool,
    check_number,
    image_size,
    stride_to_fit,
)

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (to node, from node)


@dataclass(frozen=True)
class NASBench201(SearchSpace):
    """One cell, repeated; six decisions (Dong & Yang 2020, arXiv 2001.00326, section 2.1).

    A node is the sum of what its incoming edges make of earlier nodes; node 0 is the cell's
    input, node 3 its output. The network is that of the benchmark: a 3x3 convolution to
    ``channels`` channels, three stages of ``cells`` equal cells, between them a residual block
    that halves the map and doubles the channels, then batch norm, ReLU, global average pooling
    and one linear layer. Inputs with a side over 32 pixels are shrunk by the stride of the first
    convolution.

    Canonical form: the first, in the order of the actions, of the cells that the benchmark calls
    isomorphic: a skip passes on what it gets, "none" and what hangs on it is nothing, sums have
    no order. 6,466 of the 15,625 cells are distinct so. (Some of them still compute the same: the
    benchmark's rule does not see that a sum with nothing is its other term.)

    Attributes:
        channels: Channels of the first stage.
        cells: Cells of a stage.
        merge_isomorphic: Whether isomorphic cells are one architecture. The benchmark trained
            each of the 15,625 cells on its own, so its tables are played without merging.
    """

    name: ClassVar[str] = "nas_bench_201"

    channels: int = 16
    cells: int = 5
    merge_isomorphic: bool = True

    def __post_init__(self) -> None:
        image_size(self.input_shape)
        check_number("channels", self.channels)
        check_number("cells", self.cells)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The operation of each edge, in the benchmark's order."""
        return tuple(
            Decision(f"node{node}<-node{source}", OPERATIONS, "operation") for node, source in EDGES
        )

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        """One ``(operation,)`` per edge."""
        if self.merge_isomorphic:
            cell = tuple(OPERATIONS.index(str(choice)) for choice in choices)
            first = np.unravel_index(int(_first_isomorphic()[cell]), (len(OPERATIONS),) * 6)
            return tuple((OPERATIONS[int(index)],) for index in first)
        return tuple((choice,) for choice in choices)

    @cached_property
    def fixed_masks(self) -> bool:
        """Without merging, every action writes a cell of its own."""
        return not self.merge_isomorphic

    def redundant(self, chosen: tuple[Choice, ...]) -> Collection[int]:
        """Operations on an edge that comes from nothing."""
        if not self.merge_isomorphic:
            return ()
        cell = tuple(OPERATIONS.index(str(choice)) for choice in chosen)
        rest = _first_isomorphic()[cell].reshape(len(OPERATIONS), -1)
        return [
            operation
            for operation in range(1, len(rest))
            if any((rest[operation] == lower).all() for lower in rest[:operation])
        ]

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The operation of each edge, as it says it: the first isomorphic cell writes itself.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        return self._verified(architecture, 1)

    def build(self, architecture: Architecture) -> nn.Module:
        """The network of an architecture of this space.

        Raises:
            ValueError: The architecture is not one of this space.
        """
        self.check(architecture)
        inputs, size = image_size(self.input_shape)
        operations = [operation for (operation,) in architecture.layers]
        width = self.channels
        modules: list[nn.Module] = [
            nn.Conv2d(inputs, width, 3, stride_to_fit(size, 32), 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        for stage in range(3):
            if stage:
                modules.append(Reduction(width))
                width *= 2
            modules += [Cell(operations, width) for _ in range(self.cells)]
        modules += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), GlobalAveragePool()]
        return nn.Sequential(*modules, nn.Linear(width, self.num_classes))


class Cell(nn.Module):
    """Four nodes; the output is the last.

    Args:
        operations: One per edge, in the order of `EDGES`.
        width: Channels of every node.
    """

    def __init__(self, operations: Sequence[str], width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{node}<-{source}": _operation(operation, width)
                for (node, source), operation in zip(EDGES, operations, strict=True)
                if operation != "none"
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)`` to the same shape."""
        nodes = [x]
        for node in range(1, 4):
            incoming = [
                self.edges[f"{node}<-{source}"](nodes[source])
                for source in range(node)
                if f"{node}<-{source}" in self.edges
            ]
            nodes.append(torch.stack(incoming).sum(0) if incoming else torch.zeros_like(x))
        return nodes[-1]


class Reduction(nn.Module):
    """A basic residual block of stride 2 that doubles the channels (He et al. 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_convolution(width, 2 * width, 3, stride=2), *_convolution(2 * width, 2 * width, 3)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(width, 2 * width, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)`` to ``(N, 2 * width, H / 2, W / 2)``, sizes rounded up."""
        y: Tensor = self.shortcut(x) + self.main(x)
        return y


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _operation(name: str, width: int) -> nn.Module:
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(*_convolution(width, width, 1 if name == "nor_conv_1x1" else 3))


@cache
def _first_isomorphic() -> NDArray[np.int64]:
    """For every cell the number of the first cell isomorphic to it, shape ``(5,) * 6``."""
    first: dict[str, int] = {}
    cells = itertools.product(range(len(OPERATIONS)), repeat=len(EDGES))
    numbers = [first.setdefault(_signature(cell), number) for number, cell in enumerate(cells)]
    return np.array(numbers).reshape((len(OPERATIONS),) * len(EDGES))


def _signature(cell: tuple[int, ...]) -> str:
    """What the output node computes, as text; equal for isomorphic cells.

    The rules, and the notation that decides the order of sums, are those by which the benchmark
    counts 6,466 cells: "0" is the input, "#" an edge that is "none" or starts at nothing, and a
    skip is the node that it starts at.
    """
    nodes = ["0"]
    for node in range(1, 4):
        terms = []
        for (target, source), operation in zip(EDGES, cell, strict=True):
            if target != node:
                continue
            if OPERATIONS[operation] == "none" or nodes[source] == "#":
                terms.append("#")
            elif OPERATIONS[operation] == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{operation}")
        nodes.append("+".join(sorted(terms)))
    return nodes[3]
