"""The space of NAS-Bench-Macro: which of three blocks stands at each of eight places."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor, nn

from nas_gym.search_spaces.base import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.search_spaces.blocks import (
    GlobalAveragePool,
    check_number,
    image_size,
    stride_to_fit,
)

# Choice: expansion and kernel size of the inverted residual block; None for an identity.
BLOCKS: dict[str, tuple[int, int] | None] = {
    "identity": None,
    "mb3_k3": (3, 3),
    "mb6_k5": (6, 5),
}
STAGES = (2, 3, 3)  # layers; the first of a stage halves the map and doubles the channels


@dataclass(frozen=True)
class NASBenchMacro(SearchSpace):
    """Eight layers in three stages; one decision a layer (Su et al. 2021, arXiv 2103.11922).

    The network is that of the benchmark: a 3x3 convolution to ``stem_width`` channels, stages of
    2, 3 and 3 layers, a 1x1 convolution to ``head_width`` channels, global average pooling and
    one linear layer. A layer is an identity, or an inverted residual block of expansion 3 and
    kernel 3, or of expansion 6 and kernel 5. An identity at the head of a stage, where the map
    shrinks, is a strided 1x1 convolution. Inputs with a side over 32 pixels are shrunk by the
    stride of the first convolution.

    Canonical form: an identity later in a stage changes nothing, so it moves to the stage's end;
    3,969 of the 6,561 sequences are distinct networks.

    Attributes:
        stem_width: Channels of the first convolution.
        head_width: Channels of the last.
    """

    name: ClassVar[str] = "nas_bench_macro"

    stem_width: int = 32
    head_width: int = 1280

    def __post_init__(self) -> None:
        image_size(self.input_shape)
        check_number("stem_width", self.stem_width)
        check_number("head_width", self.head_width)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The block of each layer; the first of a stage is a kind of its own."""
        return tuple(
            Decision(
                f"stage{stage}.layer{layer}", tuple(BLOCKS), "block" if layer > 1 else "reduction"
            )
            for stage, layers in enumerate(STAGES, 1)
            for layer in range(1, layers + 1)
        )

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        """One ``(block,)`` per layer, identities last in their stage (but never moved first)."""
        layers: list[Layer] = []
        start = 0
        for length in STAGES:
            first, *rest = choices[start : start + length]
            real = [block for block in rest if block != "identity"]
            stage = [first, *real, *["identity"] * (len(rest) - len(real))]
            layers += [(block,) for block in stage]
            start += length
        return tuple(layers)

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The block of each layer, as it says it.

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
        channels, size = image_size(self.input_shape)
        width = self.stem_width
        modules: list[nn.Module] = _convolution(channels, width, 3, stride_to_fit(size, 32))
        blocks = iter(architecture.layers)
        for length in STAGES:
            for index in range(length):
                (name,) = next(blocks)
                outputs, stride = (2 * width, 2) if index == 0 else (width, 1)
                block = BLOCKS[name]
                if block is not None:
                    modules.append(InvertedResidual(width, outputs, stride, *block))
                elif index == 0:
                    modules += _convolution(width, outputs, 1, stride, activate=False)
                width = outputs
        modules += _convolution(width, self.head_width, 1)
        classifier = nn.Linear(self.head_width, self.num_classes)
        return nn.Sequential(*modules, GlobalAveragePool(), classifier)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project (Sandler et al. 2018, arXiv 1801.04381, section 3.3).

    The input is added where the shape allows it.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        middle = expansion * inputs
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *_convolution(inputs, middle, 1),
            *_convolution(middle, middle, kernel, stride, groups=middle),
            *_convolution(middle, outputs, 1, activate=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, outputs, H / stride, W / stride)``."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


def _convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activate: bool = True,
) -> list[nn.Module]:
    modules: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return [*modules, nn.ReLU(inplace=True)] if activate else modules
