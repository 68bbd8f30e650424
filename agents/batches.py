"""The loop of agents that are asked for sequences and told their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.episodes import Environment, Outcome, play, spending
from agents.scalars import ScalarLog


class Batches:
    """Plays batch after batch until a budget is spent, and writes scalars once per batch.

    Args:
        env: A single or vector environment of nas_gym.
        logger: Where scalars go.

    Attributes:
        count: Batches played so far.
        best: The highest reward so far.
    """

    def __init__(self, env: Environment, logger: ScalarLog | None) -> None:
        self.env = env
        self.logger = logger
        self.count = 0
        self.best = -float("inf")

    def run(
        self,
        budget: int,
        propose: Callable[[], Sequence[Sequence[int]]],
        observe: Callable[[list[Outcome]], None] = lambda outcomes: None,
    ) -> None:
        """Play until ``budget`` more distinct children are evaluated, exactly.

        Args:
            budget: Distinct children. A batch that it cuts short is evaluated as far as it goes
                and not observed.
            propose: Gives the sequences of a batch.
            observe: Takes what became of them, in order.
        """
        with spending(self.env, budget) as account:
            target = account.distinct + budget
            while account.distinct < target:
                outcomes = play(self.env, propose())
                observe(outcomes)
                self._log(outcomes)

    def state(self) -> dict[str, Any]:
        """How far it got, as plain values."""
        return {"batches": self.count, "best": self.best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self.count, self.best = state["batches"], state["best"]

    def _log(self, outcomes: list[Outcome]) -> None:
        rewards = [outcome.reward for outcome in outcomes]
        self.count += 1
        self.best = max(self.best, *rewards)
        if self.logger is not None:
            self.logger.write(
                self.count,
                {
                    "reward/mean": sum(rewards) / len(rewards),
                    "reward/max": max(rewards),
                    "reward/best": self.best,
                    "children/failed": float(sum(o.status != "ok" for o in outcomes)),
                },
            )
