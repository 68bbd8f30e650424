"""What images are normalised with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS = 2**18  # pixels at a time, so that the float64 copy stays small
FARTHEST = 32.0  # deviations; see `channel_statistics`


def channel_statistics(images: NDArray[Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, to normalise with.

    A channel whose deviation is that of rounding (``1 / sqrt(12)`` for whole numbers, for others
    float32's spacing at the channel's largest value) is divided by 1, as scikit-learn's scalers
    do. And no pixel of these images lies more than 32 deviations out: a few odd pixels in an
    otherwise constant channel would lie at hundreds.

    Args:
        images: ``(N, height, width, channels)``, uint8 or float32.
    """
    pixels = images.reshape(-1, images.shape[-1])
    whole = np.issubdtype(pixels.dtype, np.integer)
    low, high = (edge.astype(np.float64) for edge in (pixels.min(0), pixels.max(0)))
    # Sums of whole numbers are exact. Others are summed about their mean, as the difference of
    # two large sums is mostly rounding.
    center = np.zeros_like(low)
    if not whole:
        center = low + _sums(pixels, low)[0] / len(pixels)
    total, squares = _sums(pixels, center)
    offset = total / len(pixels)
    mean = center + offset
    std = np.sqrt(np.maximum(squares / len(pixels) - offset * offset, 0))
    largest = np.maximum(np.abs(low), np.abs(high))
    single = np.finfo(np.float32)
    rounding = 12**-0.5 if whole else single.eps * largest + single.tiny
    std = np.where(std <= rounding, 1.0, std)
    return mean.tolist(), np.maximum(std, np.maximum(high - mean, mean - low) / FARTHEST).tolist()


def _sums(
    pixels: NDArray[Any], center: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    total, squares = np.zeros_like(center), np.zeros_like(center)
    for start in range(0, len(pixels), ROWS):
        values = pixels[start : start + ROWS] - center
        total += values.sum(0)
        squares += np.einsum("nc,nc->c", values, values)
    return total, squares
