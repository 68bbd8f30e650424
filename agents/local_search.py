"""Local search: hill climbing over single decisions, White et al. 2021, arXiv 2005.02960."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from agents import options
from agents.batches import Batches
from agents.episodes import Environment, Outcome, fitted, search_space
from agents.proposals import Move, Proposals
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain
from nas_gym import Architecture

Improvement = Literal["first", "best"]


@dataclass(frozen=True)
class LocalSearchConfig:
    """Every choice that local search leaves open.

    Attributes:
        improvement: Move to the ``first`` neighbour that is better, or to the ``best`` one when
            all are evaluated. The paper has both; first was better on both tables by far.
        batch_size: Neighbours evaluated together. More of them train side by side, and the best
            of the batch is the first.
    """

    improvement: Improvement = "first"
    batch_size: int = 1

    def __post_init__(self) -> None:
        options.require_types("local_search", self)
        options.require("local_search", self, "batch_size", self.batch_size >= 1, "at least 1")


RECIPES: dict[str, LocalSearchConfig] = {"default": LocalSearchConfig()}


class LocalSearch:
    """Climbs from a random architecture to a better neighbour; on a peak it starts anew.

    Neighbours differ in one decision and come in random order. Those that were evaluated before
    are compared from memory, so nothing is proposed twice.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of everything random.
        recipe: A name in `RECIPES`: ``"default"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `LocalSearchConfig` that differ from the recipe, e.g.
            ``improvement="best"``. ``batch_size`` follows a vector environment's ``num_envs``
            unless it is given.

    Attributes:
        config: The choices in force.
        here: Actions and reward of where it stands; None before a start.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self.config = options.make_config("local_search", RECIPES, recipe, fitted(env, changes))
        self.proposals = Proposals(search_space(env), seed)
        self.batches = Batches(env, logger)
        self.here: tuple[list[int], float] | None = None
        self._better: tuple[list[int], float] | None = None  # the best neighbour that is
        self._moves: list[Move] = []  # those left to try
        self._rewards: dict[Architecture, float] = {}

    @staticmethod
    def num_envs(recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return options.make_config("local_search", RECIPES, recipe, changes).batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        self.batches.run(budget, self._propose, self._observe)

    def save(self, path: str) -> None:
        """Write where it stands, what is left to try, and all rewards."""
        save_plain(
            path,
            {
                "config": asdict(self.config),
                "space": self.proposals.space.describe(),
                "here": self.here,
                "better": self._better,
                "moves": self._moves,
                "rewards": {a.to_json(): reward for a, reward in self._rewards.items()},
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
            self.here, self._better, self._moves = state["here"], state["better"], state["moves"]
            self._rewards = {Architecture.from_json(a): r for a, r in state["rewards"].items()}

    def _propose(self) -> list[list[int]]:
        """New neighbours of where it stands, or new starts."""
        batch: dict[Architecture, list[int]] = {}
        while self.here is not None and len(batch) < self.config.batch_size:
            if not self._moves:
                if batch:
                    break  # what these earn decides where it goes
                self._go(self._better)
                continue
            neighbour = self.proposals.moved(self.here[0], self._moves.pop())
            architecture = self.proposals.space.decode(neighbour)
            if architecture in self._rewards:
                self._compare(neighbour, self._rewards[architecture])
            else:
                batch[architecture] = neighbour
        if batch:
            self.proposals.proposed.update(batch)
            return list(batch.values())
        return [self.proposals.new() for _ in range(self.config.batch_size)]

    def _observe(self, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            self._rewards[outcome.architecture] = outcome.reward
        best = max(outcomes, key=lambda outcome: outcome.reward)
        if self.here is None:
            self._go((list(best.actions), best.reward))
        else:
            self._compare(list(best.actions), best.reward)

    def _compare(self, neighbour: list[int], reward: float) -> None:
        """Note a neighbour, and move there if it is better and that is enough."""
        assert self.here is not None
        if reward > (self._better or self.here)[1]:
            self._better = neighbour, reward
            if self.config.improvement == "first":
                self._go(self._better)

    def _go(self, place: tuple[list[int], float] | None) -> None:
        """Stand somewhere, with all its neighbours to try; None for nowhere: a new start."""
        self.here, self._better, self._moves = place, None, []
        if place is not None:
            moves = self.proposals.moves(place[0])
            self._moves = [moves[i] for i in self.proposals.random.permutation(len(moves))]
