"""Exact Gaussian process regression over sequences of choices (Rasmussen & Williams 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What the marginal likelihood chooses from: a few, as 10 points cannot tell more apart.
LENGTH_SCALES = (0.1, 0.2, 0.4, 0.8, 1.6)
NOISES = (1e-3, 1e-2, 1e-1, 3e-1)


@dataclass(frozen=True)
class Kernel:
    """``variance * exp(-h / length_scale)``, with ``h`` the share of decisions that differ.

    This is the squared exponential kernel on the one-hot encoding of the decisions.

    Attributes:
        length_scale: In shares of the decisions.
        noise: Variance of the noise, in units of the function's.
    """

    length_scale: float
    noise: float

    def correlation(self, a: Tensor, b: Tensor) -> Tensor:
        """Between rows of `encode`: ``(m, d)`` and ``(n, d)`` to ``(m, n)``."""
        return torch.exp((a @ b.T - 1) / self.length_scale)


def encode(codes: Sequence[Sequence[int]], sizes: Sequence[int]) -> Tensor:
    """One-hot rows whose products are the shares of equal codes, ``(n, sum(sizes))``.

    Args:
        codes: ``(n, decisions)``; code ``j`` of a decision is below its size.
        sizes: Number of codes of each decision.
    """
    starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
    rows = torch.zeros(len(codes), sum(sizes), dtype=torch.float64)
    return rows.scatter_(1, torch.tensor(codes) + starts, 1 / math.sqrt(len(sizes)))


class GaussianProcess:
    """A posterior, given values with noise at some points.

    Args:
        kernel: The prior, but for its variance, which is the likeliest.
        points: Encoded, ``(n, d)``.
        values: ``(n,)``, around 0.

    Attributes:
        variance: Of the prior.
        likelihood: Log marginal likelihood of the values, but for a constant.
    """

    def __init__(self, kernel: Kernel, points: Tensor, values: Tensor) -> None:
        self.kernel = kernel
        self.points = points
        count = len(points)
        covariance = kernel.correlation(points, points)
        covariance.diagonal().add_(kernel.noise)
        self.root = torch.linalg.cholesky(covariance)
        self.weights = torch.cholesky_solve(values[:, None], self.root)[:, 0]
        self.variance = float(values @ self.weights) / count + 1e-12
        log_determinant = 2 * float(self.root.diagonal().log().sum())
        self.likelihood = -0.5 * (count * math.log(self.variance) + log_determinant)

    def predict(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(m,)`` and covariance ``(m, m)`` of the function, without the noise."""
        across = self.kernel.correlation(self.points, points)
        half = torch.linalg.solve_triangular(self.root, across, upper=False)
        covariance = self.kernel.correlation(points, points) - half.T @ half
        return across.T @ self.weights, self.variance * covariance


def likeliest(points: Tensor, values: Tensor) -> Kernel:
    """The kernel of those above with the highest marginal likelihood."""
    kernels = [Kernel(scale, noise) for scale in LENGTH_SCALES for noise in NOISES]
    return max(kernels, key=lambda kernel: GaussianProcess(kernel, points, values).likelihood)


def expected_improvement(mean: Tensor, deviation: Tensor, best: float) -> Tensor:
    """By how much a normal variable exceeds ``best`` on average (Jones et al. 1998, eq. 15)."""
    z = (mean - best) / deviation
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    gain: Tensor = deviation * (z * torch.special.ndtr(z) + density)
    return gain
