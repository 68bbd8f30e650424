"""Mean and scale of every channel, by which images are normalised."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# A channel whose values are nearly all the same is scaled by its range instead of its standard
# deviation, so that the few others do not arrive as hundreds.
SPARSE = 0.01
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of the largest value: what arithmetic leaves


def channel_statistics(images: Tensor) -> tuple[list[float], list[float]]:
    """What to subtract from each channel and what to divide it by.

    That is mean and standard deviation. A channel without spread, or with that of rounding (below
    one unit of uint8), is divided by 1, as scikit-learn's scalers do.

    Args:
        images: ``(N, height, width, channels)``, uint8 or float32.
    """
    pixels = images.numpy()
    columns = [pixels[..., channel] for channel in range(pixels.shape[-1])]
    found = [_counted(one) if pixels.dtype == np.uint8 else _measured(one) for one in columns]
    return [mean for mean, _ in found], [scale for _, scale in found]


def _counted(values: NDArray[np.uint8]) -> tuple[float, float]:
    """Of whole numbers, exactly: they are counted."""
    counts = sum(np.bincount(part.reshape(-1), minlength=256) for part in _parts(values))
    levels = np.arange(256)
    mean, std, extent = _moments(levels.astype(np.float64), np.asarray(counts, dtype=np.float64))
    return mean, _scale(std, extent, 1.0)


def _measured(values: NDArray[np.float32]) -> tuple[float, float]:
    count = values.size
    mean = float(sum(part.sum(dtype=np.float64) for part in _parts(values))) / count
    squares = sum(float(np.square(part.astype(np.float64) - mean).sum()) for part in _parts(values))
    low, high = float(values.min()), float(values.max())
    rounding = ROUNDING * max(abs(low), abs(high))
    return mean, _scale((squares / count) ** 0.5, high - low, rounding)


def _moments(
    levels: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[float, float, float]:
    total = counts.sum()
    mean = float((levels * counts).sum() / total)
    variance = float((counts * np.square(levels - mean)).sum() / total)
    there = levels[counts > 0]
    return mean, variance**0.5, float(there.max() - there.min())


def _scale(std: float, extent: float, rounding: float) -> float:
    scale = std if std >= SPARSE * extent else extent
    return scale if scale > 0 and scale >= rounding else 1.0


def _parts(values: NDArray[Any]) -> list[NDArray[Any]]:
    """A large array in parts, so that no copy of it is larger than a few megabytes."""
    return np.array_split(values, max(1, values.size // 4_000_000))
