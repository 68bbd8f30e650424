"""Planning with a learnt value function: which of many imagined architectures to really train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from agents.critic import Critic
from agents.episodes import Outcome
from agents.proposals import Proposals
from nas_gym import Architecture

PARENTS = 5  # of the best, whose neighbours are candidates
MOVES, PAIRS = 40, 30  # neighbours of each: changed in one decision, in two
WARM_UP = 10  # rewards before the critic is asked
SPREAD = 0.5  # of the draws: budgets are too short to explore as much as pays in the long run


class Planner:
    """Keeps a `Critic` up to date and chooses, under it, what to train next.

    Candidates are what the policy writes and the neighbours of the best architectures so far.
    Each choice is the best candidate under one function drawn from the critic's belief
    (Thompson 1933; Russo et al. 2018, arXiv 1707.02038): what may be best is tried as often as
    it may be best. Draws spread less than the belief (Chapelle & Li 2011, "An Empirical Evaluation
    of Thompson Sampling", posterior reshaping).

    Args:
        proposals: Draws and changes sequences, and remembers what was proposed.
    """

    def __init__(self, proposals: Proposals) -> None:
        self.proposals = proposals
        self.critic = Critic(proposals.random)
        self._actions: dict[Architecture, tuple[int, ...]] = {}

    @property
    def ready(self) -> bool:
        """Whether there are enough rewards to learn from."""
        return len(self.critic) >= WARM_UP

    def observe(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from what was evaluated."""
        architectures = [outcome.architecture for outcome in outcomes]
        self.critic.observe(architectures, [outcome.reward for outcome in outcomes])
        for outcome in outcomes:
            self._actions.setdefault(outcome.architecture, outcome.actions)

    def plan(self, written: Sequence[Sequence[int]], count: int) -> tuple[list[list[int]], Tensor]:
        """Choose what to train.

        Args:
            written: Sequences that the policy wrote, ``(n, steps)``.
            count: How many to choose.

        Returns:
            Up to ``count`` new sequences, and the value of what was written, ``(n,)``: the mean
            over the drawn functions.
        """
        self.critic.fit()
        space = self.proposals.space
        own = [space.decode(actions) for actions in written]
        candidates: dict[Architecture, Sequence[int]] = dict(zip(own, written, strict=True))
        for actions in self._neighbours():
            candidates.setdefault(space.decode(actions), actions)
        architectures = list(candidates)
        place = {architecture: index for index, architecture in enumerate(architectures)}
        closed = torch.tensor([a in self.proposals.proposed for a in architectures])
        total = torch.zeros(len(architectures), dtype=torch.float64)
        chosen: list[int] = []
        for belief, times in self.critic.posteriors(architectures, count):
            for _ in range(times):
                values = belief.draw(self.proposals.random, SPREAD)
                total += values
                if not closed.all():
                    chosen.append(int(values.masked_fill(closed, -torch.inf).argmax()))
                    closed[chosen[-1]] = True
        sequences = [list(candidates[architectures[index]]) for index in chosen]
        return sequences, total[[place[architecture] for architecture in own]] / count

    def state(self) -> dict[str, Any]:
        """Everything learnt, as plain values."""
        actions = [(a.to_json(), list(actions)) for a, actions in self._actions.items()]
        return {"critic": self.critic.state(), "actions": actions}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self.critic.restore(state["critic"])
        self._actions = {Architecture.from_json(a): tuple(x) for a, x in state["actions"]}

    def _neighbours(self) -> list[list[int]]:
        """The best architectures so far, changed in one or two decisions."""
        neighbours: list[list[int]] = []
        for architecture in self.critic.best(PARENTS):
            parent = self._actions[architecture]
            moves = self.proposals.moves(parent)
            for index in self.proposals.random.permutation(len(moves))[:MOVES]:
                neighbours.append(self.proposals.moved(parent, moves[index]))
            neighbours += [self.proposals.mutated(parent, 2) for _ in range(PAIRS)]
        return neighbours
