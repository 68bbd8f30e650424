"""Random search: the baseline that every other agent has to beat (Li & Talwalkar 2019)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from agents.episodes import Environment, play, search_space, spending
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain
from nas_gym import Architecture

TRIES = 1_000


class RandomSearch:
    """Uniform among the distinct choices of every decision; no architecture twice.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of every sample.
        logger: Where scalars go, once per batch.
        batch_size: Architectures per batch; it changes nothing but how many train side by side.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        logger: ScalarLog | None = None,
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"option batch_size of random must be at least 1, got {batch_size}")
        self.env = env
        self.space = search_space(env)
        self.logger = logger
        self.batch_size = batch_size
        self.random = np.random.default_rng(seed)
        self._proposed: set[Architecture] = set()
        self._batches = 0

    @staticmethod
    def num_envs(batch_size: int = 8) -> int:
        """Architectures at a time that this agent would write with these options."""
        return batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        with spending(self.env, budget) as account:
            target = account.distinct + budget
            while account.distinct < target:
                batch = [self._new() for _ in range(self.batch_size)]
                outcomes = play(self.env, batch)
                self._batches += 1
                if self.logger is not None:
                    rewards = [outcome.reward for outcome in outcomes]
                    self.logger.write(
                        self._batches,
                        {"reward/mean": float(np.mean(rewards)), "reward/max": max(rewards)},
                    )

    def save(self, path: str) -> None:
        """Write the random state and what was proposed."""
        save_plain(
            path,
            {
                "random": json.dumps(self.random.bit_generator.state),
                "proposed": sorted(a.to_json() for a in self._proposed),
            },
        )

    def load(self, path: str) -> None:
        """Read what `save` wrote."""
        state: dict[str, Any] = load_plain(path)
        self.random.bit_generator.state = json.loads(state["random"])
        self._proposed = {Architecture.from_json(text) for text in state["proposed"]}

    def _new(self) -> list[int]:
        """A sequence whose architecture was not proposed before, if one can be found."""
        for _ in range(TRIES):
            actions: list[int] = []
            for _ in self.space.decisions:
                actions.append(int(self.random.choice(np.flatnonzero(self.space.mask(actions)))))
            architecture = self.space.decode(actions)
            if architecture not in self._proposed:
                break
        self._proposed.add(architecture)
        return actions
