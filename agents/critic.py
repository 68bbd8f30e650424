"""A value function over architectures that knows what it does not know: Gaussian processes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas_gym import Architecture

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

JITTER = 1e-6  # on the diagonal of a covariance that is drawn from


@dataclass(frozen=True)
class Kernel:
    """How alike the values of two architectures are, from the share of slots in which they differ.

    Attributes:
        rate: Of the exponential decay with that share.
        linear: Weight of a kernel that falls linearly: every slot counts on its own.
        noise: Variance of what the kernel does not explain, as a share of its own.
    """

    rate: float
    linear: float
    noise: float

    def __call__(self, difference: Floats) -> Floats:
        """Covariances, from shares of differing slots in [0, 1]."""
        value: Floats = (1 - self.linear) * np.exp(-self.rate * difference)
        return value + self.linear * (1 - difference)


@dataclass(frozen=True)
class Posterior:
    """One member's belief about a set of candidates.

    Attributes:
        mean: Of the values, ``(candidates,)``.
        covariance: ``(candidates, candidates)``, of the values, without the noise of training.
    """

    mean: Floats
    covariance: Floats

    def draw(self, random: np.random.Generator) -> Floats:
        """The values under one function drawn from the belief, ``(candidates,)``."""
        jitter = JITTER * np.eye(len(self.mean))
        root = np.linalg.cholesky(self.covariance + jitter)
        values: Floats = self.mean + root @ random.standard_normal(len(self.mean))
        return values


class Critic:
    """An ensemble of Gaussian processes, learnt from all (architecture, reward) pairs so far.

    The kernel looks at the canonical architectures, slot by slot, so equal networks are equal and
    nothing has to be known about the space. Rewards are replaced by the normal scores of their
    ranks: a network that fails to learn at all says no more than that it is the last.

    The members differ in their kernels: candidates are drawn from a prior, and those with the
    highest marginal likelihood stay (Rasmussen & Williams 2006, eq. 5.8).

    Args:
        random: Source of everything random.
        members: Size of the ensemble.
        fresh: Kernels drawn from the prior at every fit.
    """

    def __init__(self, random: np.random.Generator, members: int = 6, fresh: int = 8) -> None:
        self.random = random
        self.members = members
        self.fresh = fresh
        self._values: dict[Architecture, float] = {}
        self._numbers: dict[Hashable, int] = {}
        self._kernels: list[Kernel] = []
        self._weights: Floats = np.zeros(0)

    def __len__(self) -> int:
        """Number of architectures observed."""
        return len(self._values)

    def observe(self, architectures: Sequence[Architecture], rewards: Sequence[float]) -> None:
        """Take in what was evaluated; what was seen before keeps its first reward."""
        for architecture, reward in zip(architectures, rewards, strict=True):
            self._values.setdefault(architecture, float(reward))

    def best(self, count: int) -> list[Architecture]:
        """The architectures with the highest rewards, best first."""
        return sorted(self._values, key=self._values.__getitem__, reverse=True)[:count]

    def fit(self) -> None:
        """Choose the members by what was observed."""
        codes = self._codes(list(self._values))
        target = normal_scores(np.array(list(self._values.values())))
        difference = _difference(codes, codes)
        kernels = [*self._kernels, *(self._draw_kernel() for _ in range(self.fresh))]
        likelihood = np.array([_fit(kernel, difference, target)[2] for kernel in kernels])
        kept = np.argsort(-likelihood, kind="stable")[: self.members]
        self._kernels = [kernels[index] for index in kept]
        weights = np.exp(likelihood[kept] - likelihood[kept[0]])
        self._weights = weights / weights.sum()

    def posteriors(
        self, candidates: Sequence[Architecture], count: int
    ) -> list[tuple[Posterior, int]]:
        """Beliefs of members drawn by their weight, with the number of times each was drawn.

        Args:
            candidates: What to value.
            count: How many draws.
        """
        seen = list(self._values)
        codes = self._codes([*seen, *candidates])
        old, new = codes[: len(seen)], codes[len(seen) :]
        target = normal_scores(np.array(list(self._values.values())))
        among, across, inside = (
            _difference(old, old),
            _difference(new, old),
            _difference(new, new),
        )
        drawn = self.random.choice(len(self._kernels), count, p=self._weights)
        beliefs = []
        for member in np.unique(drawn):
            kernel = self._kernels[member]
            root, weights, _ = _fit(kernel, among, target)
            scale = float(target @ weights) / len(target)  # the variance that fits best
            covariance = kernel(across)
            explained = _solve(root, covariance.T)
            belief = Posterior(
                mean=covariance @ weights,
                covariance=scale * (kernel(inside) - explained.T @ explained),
            )
            beliefs.append((belief, int((drawn == member).sum())))
        return beliefs

    def state(self) -> dict[str, Any]:
        """Everything learnt, as plain values."""
        return {
            "values": [(a.to_json(), value) for a, value in self._values.items()],
            "kernels": [(k.rate, k.linear, k.noise) for k in self._kernels],
            "weights": self._weights.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._values = {Architecture.from_json(text): value for text, value in state["values"]}
        self._kernels = [Kernel(*numbers) for numbers in state["kernels"]]
        self._weights = np.array(state["weights"])

    def _draw_kernel(self) -> Kernel:
        uniform = self.random.uniform
        return Kernel(
            rate=float(np.exp(uniform(np.log(0.7), np.log(6.5)))),
            linear=float(self.random.choice([0.0, 0.3, 0.6])),
            noise=float(10 ** uniform(-3, -0.3)),
        )

    def _codes(self, architectures: Sequence[Architecture]) -> Codes:
        """Every slot of every layer as a number, ``(architectures, slots)``; 0 where none is."""
        rows = [
            {(i, j): value for i, layer in enumerate(a.layers) for j, value in enumerate(layer)}
            for a in architectures
        ]
        slots = sorted(set().union(*rows))
        number = self._numbers
        codes = [
            [number.setdefault(row[slot], len(number) + 1) if slot in row else 0 for slot in slots]
            for row in rows
        ]
        return np.array(codes, dtype=np.int64).reshape(len(rows), len(slots))


def normal_scores(values: Floats) -> Floats:
    """What a standard normal sample would have at the ranks of some values; ties share."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2)[inverse]
    shares = np.asarray((ranks + 0.5) / len(values), dtype=np.float64)
    scores: Floats = torch.special.ndtri(torch.from_numpy(shares)).numpy()
    return scores


def _difference(one: Codes, other: Codes) -> Floats:
    """Share of slots in which architectures differ, ``(len(one), len(other))``."""
    total: Floats = np.zeros((len(one), len(other)))
    for slot in range(one.shape[1]):
        total += one[:, slot, None] != other[None, :, slot]
    total /= max(1, one.shape[1])
    return total


def _fit(kernel: Kernel, difference: Floats, target: Floats) -> tuple[Floats, Floats, float]:
    """Cholesky factor, weights of the mean, and the marginal log-likelihood at the best scale."""
    count = len(target)
    covariance = kernel(difference) + (kernel.noise + JITTER) * np.eye(count)
    root = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    weights = _solve(root, _solve(root, target[:, None]), transposed=True)[:, 0]
    scale = max(float(target @ weights) / count, 1e-12)
    likelihood = -0.5 * count * np.log(scale) - np.log(np.diag(root)).sum()
    return root, weights, float(likelihood)


def _solve(root: Floats, right: Floats, transposed: bool = False) -> Floats:
    """Solve with a lower triangular matrix, or with its transpose."""
    matrix = torch.from_numpy(root.T if transposed else root)
    solution = torch.linalg.solve_triangular(matrix, torch.from_numpy(right), upper=transposed)
    solved: Floats = solution.numpy()
    return solved
