"""Pieces that several convolutional search spaces share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

Size = tuple[int, int]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "gelu": nn.GELU,
    "silu": lambda: nn.SiLU(inplace=True),
}


class GlobalAveragePool(nn.Module):
    """Mean over height and width: ``(N, C, H, W)`` to ``(N, C)``.

    A plain mean, because the gradient of the adaptive pooling layer is not deterministic on CUDA.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Average the two last dimensions."""
        return torch.mean(x, dim=(2, 3))


def stride_to_fit(size: Size, side: int) -> int:
    """The smallest power of two that brings the longer side down to at most ``side``."""
    stride = 1
    while -(-max(size) // stride) > side:
        stride *= 2
    return stride


def strided(size: Size, stride: int) -> Size:
    """Spatial size after a padded operation of this stride (rounds up)."""
    return -(-size[0] // stride), -(-size[1] // stride)


def image_size(input_shape: tuple[int, ...]) -> tuple[int, Size]:
    """Channels and ``(height, width)`` of an image input.

    Raises:
        ValueError: The shape is not ``(channels, height, width)``.
    """
    if len(input_shape) != 3 or min(input_shape) < 1:
        raise ValueError(f"need an input of shape (channels, height, width), got {input_shape}")
    channels, height, width = input_shape
    return channels, (height, width)


def check_number(name: str, value: object) -> None:
    """Refuse an option that must be a whole number from 1.

    Raises:
        ValueError: It is something else.
    """
    if not (isinstance(value, int) and value >= 1):
        raise ValueError(f"{name} must be a whole number, at least 1, got {value!r}")


def check_choices(name: str, values: object) -> None:
    """Refuse an option that must be a tuple of distinct whole numbers from 1.

    Raises:
        ValueError: It is something else.
    """
    numbers = values if isinstance(values, tuple) else ()
    whole = all(isinstance(number, int) and number >= 1 for number in numbers)
    if not (whole and 0 < len(numbers) == len(set(numbers))):
        raise ValueError(f"{name} must be distinct whole numbers, at least 1, got {values!r}")
