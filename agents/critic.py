"""A value function over architectures that knows what it does not know: Gaussian processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.gaussian_process import GaussianProcess, Kernel, Posterior, differences
from agents.rounding import tolerance
from nas_gym import Architecture


class Critic:
    """An ensemble of Gaussian processes, learnt from all (architecture, reward) pairs so far.

    Rewards are replaced by the normal scores of their ranks: a network that fails to learn at all
    says no more than that it is the last.

    The members differ in their kernels: candidates are drawn from a prior, and those with the
    highest marginal likelihood stay.

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
        self._kernels: list[Kernel] = []
        self._weights = np.zeros(0)

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
        difference = differences(list(self._values))
        target = self._target()
        kernels = [*self._kernels, *(self._draw_kernel() for _ in range(self.fresh))]
        likelihood = np.array([GaussianProcess(k, difference, target).likelihood for k in kernels])
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
        difference = differences([*self._values, *candidates])
        seen, asked = slice(len(self)), slice(len(self), None)
        target = self._target()
        drawn = self.random.choice(len(self._kernels), count, p=self._weights)
        beliefs = []
        for member in np.unique(drawn):
            process = GaussianProcess(self._kernels[member], difference.between(seen, seen), target)
            belief = process.predict(
                difference.between(seen, asked), difference.between(asked, asked)
            )
            beliefs.append((belief, int((drawn == member).sum())))
        return beliefs

    def state(self) -> dict[str, Any]:
        """Everything learnt, as plain values."""
        return {
            "values": [(a.to_json(), value) for a, value in self._values.items()],
            "kernels": [astuple(kernel) for kernel in self._kernels],
            "weights": self._weights.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self._values = {Architecture.from_json(text): value for text, value in state["values"]}
        self._kernels = [Kernel(*numbers) for numbers in state["kernels"]]
        self._weights = np.array(state["weights"])

    def _target(self) -> Tensor:
        return normal_scores(torch.tensor(list(self._values.values()), dtype=torch.float64))

    def _draw_kernel(self) -> Kernel:
        uniform = self.random.uniform
        return Kernel(
            rate=float(np.exp(uniform(np.log(0.7), np.log(6.5)))),
            noise=float(10 ** uniform(-3, -0.3)),
            linear=float(self.random.choice([0.0, 0.3, 0.6])),
            counts=float(self.random.choice([0.3, 0.6, 0.9])),
            counts_rate=float(np.exp(uniform(np.log(0.6), np.log(7.4)))),
        )


def normal_scores(values: Tensor) -> Tensor:
    """What a standard normal sample would have at the ranks of some values; equal ones share.

    Args:
        values: ``(n,)``, in double precision.
    """
    ordered, order = values.sort()
    larger = ordered.diff() > tolerance(values.tolist())
    group = torch.zeros(len(values), dtype=torch.int64)
    group[order[1:]] = larger.cumsum(0)
    counts = group.bincount()
    ranks = (counts.cumsum(0) - (counts + 1) / 2)[group]
    scores: Tensor = torch.special.ndtri((ranks.double() + 0.5) / len(values))
    return scores
