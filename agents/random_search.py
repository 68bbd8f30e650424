"""Random search: the baseline that every other agent has to beat (Li & Talwalkar 2019)."""

from __future__ import annotations

from agents.batches import Batches
from agents.episodes import Environment, search_space
from agents.proposals import Proposals
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain


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
        self.batch_size = batch_size
        self.proposals = Proposals(search_space(env), seed)
        self.batches = Batches(env, logger)

    @staticmethod
    def num_envs(batch_size: int = 8) -> int:
        """Architectures at a time that this agent would write with these options."""
        return batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        self.batches.run(budget, lambda: [self.proposals.new() for _ in range(self.batch_size)])

    def save(self, path: str) -> None:
        """Write the random state and what was proposed."""
        save_plain(path, {**self.proposals.state(), **self.batches.state()})

    def load(self, path: str) -> None:
        """Read what `save` wrote."""
        with load_plain(path) as state:
            self.proposals.restore(state)
            self.batches.restore(state)
