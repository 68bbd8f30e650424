"""Regularised (aging) evolution: Real et al. 2019, arXiv 1802.01548, Algorithm 1."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from agents import options
from agents.batches import Batches
from agents.episodes import Environment, Outcome, fitted, search_space
from agents.proposals import Proposals
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain


@dataclass(frozen=True)
class EvolutionConfig:
    """Every choice that aging evolution leaves open.

    Attributes:
        population: Individuals alive. As many random ones begin; then each child replaces the
            oldest, however good that is.
        sample: Individuals drawn, of which the best becomes the parent.
        replacement: Whether one may be drawn twice.
        unique: Propose only architectures that this agent has not proposed before.
        batch_size: Children made from one and the same population. More of them train side by
            side, and each knows less.
    """

    population: int = 20
    sample: int = 10
    replacement: bool = False
    unique: bool = True
    batch_size: int = 1

    def __post_init__(self) -> None:
        options.require_types("evolution", self)
        for name in ("population", "sample", "batch_size"):
            options.require("evolution", self, name, getattr(self, name) >= 1, "at least 1")
        enough = self.replacement or self.sample <= self.population
        options.require("evolution", self, "sample", enough, f"at most {self.population}")


RECIPES: dict[str, EvolutionConfig] = {
    # For budgets of 50 to 200 children: the paper's population would still be random then.
    "default": EvolutionConfig(),
    # The paper: P = 100, S = 25. It trains repeats again; here they are answered from memory.
    "real2019": EvolutionConfig(population=100, sample=25, replacement=True, unique=False),
}


class Evolution:
    """The best of a random few has a child with one decision changed; the oldest dies.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of everything random.
        recipe: A name in `RECIPES`: ``"default"`` or ``"real2019"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `EvolutionConfig` that differ from the recipe, e.g.
            ``population=50``. ``batch_size`` follows a vector environment's ``num_envs`` unless
            it is given.

    Attributes:
        config: The choices in force.
        population: Actions and reward of those alive, the oldest first.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self.config = options.make_config("evolution", RECIPES, recipe, fitted(env, changes))
        self.proposals = Proposals(search_space(env), seed)
        self.batches = Batches(env, logger)
        self.population: deque[tuple[list[int], float]] = deque(maxlen=self.config.population)

    @staticmethod
    def num_envs(recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return options.make_config("evolution", RECIPES, recipe, changes).batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        self.batches.run(budget, self._propose, self._observe)

    def save(self, path: str) -> None:
        """Write the population, the random state and what was proposed."""
        save_plain(
            path,
            {
                "config": asdict(self.config),
                "space": self.proposals.space.describe(),
                "population": [[list(actions), reward] for actions, reward in self.population],
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
            space = self.proposals.space.describe()
            options.require_same(path, state, config=asdict(self.config), space=space)
            self.proposals.restore(state)
            self.batches.restore(state)
            self.population.clear()
            self.population.extend((actions, reward) for actions, reward in state["population"])

    def _propose(self) -> list[list[int]]:
        missing = self.config.population - len(self.population)
        return [
            self._random() if index < missing else self._child()
            for index in range(self.config.batch_size)
        ]

    def _random(self) -> list[int]:
        return self.proposals.new() if self.config.unique else self.proposals.draw()

    def _child(self) -> list[int]:
        alive, c = len(self.population), self.config
        if not alive:  # the first batch is larger than the population
            return self._random()
        size = c.sample if c.replacement else min(c.sample, alive)
        drawn = self.proposals.random.choice(alive, size, c.replacement)
        parent, _ = max((self.population[index] for index in drawn), key=lambda one: one[1])
        if self.config.unique:
            return self.proposals.new_like(parent)
        return self.proposals.mutated(parent)

    def _observe(self, outcomes: list[Outcome]) -> None:
        self.population.extend((list(o.actions), o.reward) for o in outcomes)
