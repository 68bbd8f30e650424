"""Which rewards are equal: before they are compared, ranked or divided by their own spread."""

from __future__ import annotations

from collections.abc import Sequence

# Of the largest: what single precision may make of equal numbers. Accuracies that differ do so by
# more, with fewer than a million images.
ROUNDING = 1e-6


def tolerance(values: Sequence[float]) -> float:
    """By how much some of these numbers may differ and be equal but for rounding."""
    return ROUNDING * max(abs(min(values)), abs(max(values)))


def equal(values: Sequence[float]) -> bool:
    """Whether numbers, at least one, are all the same but for rounding."""
    return max(values) - min(values) <= tolerance(values)
