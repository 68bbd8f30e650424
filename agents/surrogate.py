"""Bayesian optimisation: a Gaussian process, expected improvement, and mutated incumbents.

The loop is that of BANANAS (White et al. 2021, arXiv 1910.11858, Algorithm 1), with a Gaussian
process in the place of its ensemble of networks.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from agents import options
from agents.batches import Batches
from agents.episodes import Environment, Outcome, fitted, search_space
from agents.gaussian_process import Differences, GaussianProcess, Kernel, differences
from agents.proposals import Proposals
from agents.rounding import equal, tolerance
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain
from nas_gym import Architecture

REFIT = 1.1  # the kernel is chosen anew when there are so many times more points

# What the marginal likelihood chooses from: a few, as 10 points cannot tell more apart.
LENGTH_SCALES = (0.1, 0.2, 0.4, 0.8, 1.6)
NOISES = (1e-3, 1e-2, 1e-1, 3e-1)
COUNTS = (0.3, 0.6, 0.9)


@dataclass(frozen=True)
class SurrogateConfig:
    """Every choice that the search leaves open.

    Attributes:
        batch_size: Architectures chosen, evaluated and learnt from together.
        initial: Random architectures to begin with.
        incumbents: Best architectures so far whose mutations are candidates.
        mutations: Candidates of a batch that are mutations, of one decision to ``changes``.
        changes: Decisions that a mutation changes at most.
        random: Candidates of a batch that are random.
        clip: How far below the median a reward counts at most, in standard deviations, as the
            median absolute deviation of the children that did not fail tells them. A failure, or
            a child that learnt nothing, would hide the differences of all others.
        counts: Kernels that look at the counts of choices are among those to choose from. False:
            the squared exponential on the one-hot encoding only.
    """

    batch_size: int = 5
    initial: int = 10
    incumbents: int = 10
    mutations: int = 100
    changes: int = 3
    random: int = 50
    clip: float = 2.5
    counts: bool = False

    def __post_init__(self) -> None:
        options.require_types("surrogate", self)
        for name, low in (
            ("batch_size", 1),
            ("initial", 2),
            ("incumbents", 1),
            ("mutations", 0),
            ("changes", 1),
            ("random", 0),
        ):
            holds = getattr(self, name) >= low
            options.require("surrogate", self, name, holds, f"at least {low}")
        options.require("surrogate", self, "clip", self.clip > 0, "above 0")


RECIPES: dict[str, SurrogateConfig] = {
    "default": SurrogateConfig(),
    "counts": SurrogateConfig(counts=True),
}


class Surrogate:
    """Predicts rewards from those so far, and proposes what promises the most improvement.

    A batch is chosen one by one; what is chosen counts as evaluated, with the reward that is
    predicted for it (the kriging believer of Ginsbourger et al. 2010), so that the next differs.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of everything random.
        recipe: A name in `RECIPES`: ``"default"`` or ``"counts"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `SurrogateConfig` that differ from the recipe, e.g. ``initial=20``.
            ``batch_size`` follows a vector environment's ``num_envs`` unless it is given.

    Attributes:
        config: The choices in force.
        kernel: The prior in force; None before it is chosen.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self.config = options.make_config("surrogate", RECIPES, recipe, fitted(env, changes))
        self.space = search_space(env)
        self.proposals = Proposals(self.space, seed)
        self.batches = Batches(env, logger)
        self.kernel: Kernel | None = None
        self._fitted = 0  # points by which the kernel was chosen
        self._actions: list[list[int]] = []
        self._rewards: list[float] = []
        self._ok: list[bool] = []

    @staticmethod
    def num_envs(recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return options.make_config("surrogate", RECIPES, recipe, changes).batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        self.batches.run(budget, self._propose, self._observe)

    def save(self, path: str) -> None:
        """Write what was evaluated, the kernel, and the random state."""
        save_plain(
            path,
            {
                "config": asdict(self.config),
                "space": self.space.describe(),
                "kernel": None if self.kernel is None else asdict(self.kernel),
                "fitted": self._fitted,
                "actions": [list(actions) for actions in self._actions],
                "rewards": list(self._rewards),
                "ok": list(self._ok),
                **self.proposals.state(),
                **self.batches.state(),
            },
        )

    def load(self, path: str) -> None:
        """Read what `save` wrote, and go on from there.

        Raises:
            ValueError: The file is damaged, or of an agent with other options or another space.
        """
        with load_plain(path) as state:
            mine = {"config": asdict(self.config), "space": self.space.describe()}
            options.require_same(path, state, **mine)
            self.proposals.restore(state)
            self.batches.restore(state)
            self.kernel = None if state["kernel"] is None else Kernel(**state["kernel"])
            self._fitted = state["fitted"]
            self._actions, self._rewards, self._ok = state["actions"], state["rewards"], state["ok"]

    def _propose(self) -> list[list[int]]:
        size, known = self.config.batch_size, len(self._actions)
        if known < self.config.initial:
            return [self.proposals.new() for _ in range(min(size, self.config.initial - known))]
        chosen = [] if self.proposals.spent else self._choose(self._candidates())
        for actions in chosen:
            self.proposals.add(actions)
        return [*chosen, *(self.proposals.new() for _ in range(size - len(chosen)))]

    def _observe(self, outcomes: list[Outcome]) -> None:
        self._actions += [list(outcome.actions) for outcome in outcomes]
        self._rewards += [outcome.reward for outcome in outcomes]
        self._ok += [outcome.status == "ok" for outcome in outcomes]

    def _candidates(self) -> dict[Architecture, list[int]]:
        """New architectures: mutations of the incumbents in turn, and random ones."""
        c = self.config
        best_first = sorted(range(len(self._rewards)), key=lambda index: -self._rewards[index])
        incumbents = [self._actions[index] for index in best_first[: c.incumbents]]
        drawn = [
            self.proposals.mutated(
                incumbents[index % len(incumbents)], 1 + index // len(incumbents) % c.changes
            )
            for index in range(c.mutations)
        ]
        drawn += [self.proposals.draw() for _ in range(c.random)]
        new: dict[Architecture, list[int]] = {}
        for actions in drawn:
            architecture = self.space.decode(actions)
            if architecture not in self.proposals.proposed:
                new.setdefault(architecture, actions)
        return new

    def _choose(self, candidates: dict[Architecture, list[int]]) -> list[list[int]]:
        """The next batch, as far as there are candidates."""
        if not candidates:
            return []
        values = self._values()
        seen, asked = slice(len(values)), slice(len(values), None)
        written = [self.space.decode(actions) for actions in self._actions]
        difference = differences([*written, *candidates])
        among = difference.between(seen, seen)
        if self.kernel is None or len(values) >= REFIT * self._fitted:
            self.kernel, self._fitted = likeliest(among, values, self.config.counts), len(values)
        process = GaussianProcess(self.kernel, among, values)
        # The highest reward may be luck; the highest mean is what is to be improved upon.
        best = float(process.predict(among, among).mean.max())
        belief = process.predict(difference.between(seen, asked), difference.between(asked, asked))
        covariance = belief.covariance.clone()
        noise = process.variance * self.kernel.noise
        chosen: list[int] = []
        for _ in range(min(self.config.batch_size, len(candidates))):
            deviation = covariance.diagonal().clamp_min(1e-12).sqrt()
            gain = expected_improvement(belief.mean, deviation, best)
            gain[chosen] = -torch.inf
            choice = int(gain.argmax())
            chosen.append(choice)
            # An evaluation that gives what was expected leaves the means and shrinks the doubts.
            shared = covariance[:, choice].clone()
            covariance -= torch.outer(shared, shared) / (shared[choice] + noise)
        sequences = list(candidates.values())
        return [sequences[index] for index in chosen]

    def _values(self) -> Tensor:
        """Rewards clipped from below, with mean 0 and standard deviation 1; equal ones are 0."""
        rewards = torch.tensor(self._rewards, dtype=torch.float64)
        trained = rewards[torch.tensor(self._ok)] if any(self._ok) else rewards
        middle = trained.median()
        spread = 1.4826 * (trained - middle).abs().median()  # the standard deviation, if normal
        told = spread > tolerance(trained.tolist())  # else more than half of them are equal
        floor = middle - self.config.clip * spread if told else trained.min()
        rewards = rewards.clamp_min(floor)
        if equal(rewards.tolist()):
            return torch.zeros_like(rewards)
        return (rewards - rewards.mean()) / (rewards.std() + 1e-12)


def likeliest(difference: Differences, values: Tensor, counts: bool = False) -> Kernel:
    """The kernel with the highest marginal likelihood, of a few.

    Args:
        difference: Of the architectures from each other, ``(n, n)``.
        values: ``(n,)``, around 0.
        counts: Whether kernels that look at counts are among them.
    """
    kernels = [
        Kernel(1 / scale, noise, counts=weight, counts_rate=1 / scale)
        for weight in (0.0, *(COUNTS if counts else ()))
        for scale in LENGTH_SCALES
        for noise in NOISES
    ]
    return max(kernels, key=lambda kernel: GaussianProcess(kernel, difference, values).likelihood)


def expected_improvement(mean: Tensor, deviation: Tensor, best: float) -> Tensor:
    """By how much a normal variable exceeds ``best`` on average (Jones et al. 1998, eq. 15)."""
    z = (mean - best) / deviation
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    gain: Tensor = deviation * (z * torch.special.ndtr(z) + density)
    return gain
