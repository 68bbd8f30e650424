"""Exact Gaussian process regression over architectures (Rasmussen & Williams 2006)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nas_gym import Architecture

JITTER = 1e-6  # on the diagonal of a covariance: equal architectures make it singular


@dataclass(frozen=True)
class Differences:
    """How some architectures differ from some others, pair by pair.

    Attributes:
        slots: Share of slots in which they differ, ``(m, n)``. A slot is a place in a layer.
        counts: The same where it only counts how often each choice was made, and not in which
            layer, ``(m, n)``; never more than the former.
    """

    slots: Tensor
    counts: Tensor

    def between(self, rows: slice, columns: slice) -> Differences:
        """Those of some of the first from some of the others."""
        return Differences(self.slots[rows, columns], self.counts[rows, columns])


def differences(architectures: Sequence[Architecture]) -> Differences:
    """How architectures differ from each other; equal networks do not.

    Nothing has to be known about the space: a choice is the value at a place of a layer, and the
    same value at the same place of another layer is the same choice.

    Args:
        architectures: ``n`` of them.

    Returns:
        Symmetric matrices, ``(n, n)``.
    """
    rows = [
        {(i, j): (j, value) for i, layer in enumerate(a.layers) for j, value in enumerate(layer)}
        for a in architectures
    ]
    slots = sorted(set().union(*rows))
    numbers: dict[Hashable, int] = {}
    codes = torch.tensor(
        [[numbers.setdefault(row.get(slot), len(numbers)) for slot in slots] for row in rows]
    ).reshape(len(rows), len(slots))
    counts = torch.zeros(len(rows), len(numbers), dtype=torch.float64)
    counts.scatter_add_(1, codes, torch.ones(codes.shape, dtype=torch.float64))
    values, total = codes.double(), max(1, len(slots))
    return Differences(
        slots=torch.cdist(values, values, p=0) / total,
        counts=torch.cdist(counts, counts, p=1) / (2 * total),
    )


@dataclass(frozen=True)
class Kernel:
    """How alike the values of two architectures are, by how the two differ.

    Attributes:
        rate: Of the exponential decay with the share of slots that differ. (This is the squared
            exponential kernel on the one-hot encoding.)
        noise: Variance of what the kernel does not explain, as a share of its own.
        linear: Weight of a kernel that falls linearly: every slot counts on its own.
        counts: Weight of a kernel that looks at the counts of choices only: what a choice is good
            for in one layer, it is good for in another.
        counts_rate: Of the exponential decay of that one.
    """

    rate: float
    noise: float
    linear: float = 0.0
    counts: float = 0.0
    counts_rate: float = 1.0

    def __call__(self, difference: Differences) -> Tensor:
        """Correlations, of the shape of the differences."""
        value = torch.exp(-self.rate * difference.slots)
        if self.linear:
            value = (1 - self.linear) * value + self.linear * (1 - difference.slots)
        if self.counts:
            counted = torch.exp(-self.counts_rate * difference.counts)
            value = (1 - self.counts) * value + self.counts * counted
        return value


@dataclass(frozen=True)
class Posterior:
    """A belief about the values of some architectures.

    Attributes:
        mean: ``(n,)``.
        covariance: ``(n, n)``, without the noise of training.
    """

    mean: Tensor
    covariance: Tensor

    def draw(self, random: np.random.Generator, spread: float = 1.0) -> Tensor:
        """The values under one function drawn from the belief, ``(n,)``.

        Args:
            random: Where the draw comes from.
            spread: Factor on the standard deviations; 1 draws from the belief itself.
        """
        count = len(self.mean)
        jitter = JITTER * torch.eye(count, dtype=torch.float64)
        root = torch.linalg.cholesky(self.covariance + jitter)
        drawn: Tensor = self.mean + spread * root @ torch.from_numpy(random.standard_normal(count))
        return drawn


class GaussianProcess:
    """A posterior, given values with noise of some architectures.

    Args:
        kernel: The prior, but for its variance, which is the likeliest.
        difference: Of the architectures from each other, ``(n, n)``.
        values: ``(n,)``, around 0.

    Attributes:
        variance: Of the prior.
        likelihood: Log marginal likelihood of the values, but for a constant (eq. 5.8).
    """

    def __init__(self, kernel: Kernel, difference: Differences, values: Tensor) -> None:
        self.kernel = kernel
        count = len(values)
        covariance = kernel(difference)
        covariance.diagonal().add_(kernel.noise + JITTER)
        self._root = torch.linalg.cholesky(covariance)
        self._weights = torch.cholesky_solve(values[:, None], self._root)[:, 0]
        self.variance = float(values @ self._weights) / count + 1e-12
        log_determinant = 2 * float(self._root.diagonal().log().sum())
        self.likelihood = -0.5 * (count * math.log(self.variance) + log_determinant)

    def predict(self, across: Differences, among: Differences) -> Posterior:
        """What it believes of other architectures.

        Args:
            across: Differences of those with values from the others, ``(n, m)``.
            among: Of the others from each other, ``(m, m)``.
        """
        correlation = self.kernel(across)
        half = torch.linalg.solve_triangular(self._root, correlation, upper=False)
        covariance = self.kernel(among) - half.T @ half
        return Posterior(correlation.T @ self._weights, self.variance * covariance)
