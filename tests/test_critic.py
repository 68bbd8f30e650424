"""The value function and the planner of REINFORCE, beyond what every agent is tested for."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from test_agents import OPTIMUM, Lock, SmallLock, closeness

from agents.critic import Critic, normal_scores
from agents.episodes import Outcome
from agents.planner import WARM_UP, Planner
from agents.proposals import Proposals
from nas_gym import Architecture

SPACE = Lock((1, 8, 8), 10)
EVERYTHING = [list(row) for row in itertools.product(range(4), repeat=5)]


def taught(count: int, seed: int = 0) -> tuple[Critic, list[Architecture]]:
    """A critic that saw some architectures, and those that it did not see."""
    random = np.random.default_rng(seed)
    rows = random.permutation(EVERYTHING).tolist()
    architectures = [SPACE.decode(row) for row in rows]
    critic = Critic(random)
    critic.observe(architectures[:count], [closeness(a) for a in architectures[:count]])
    critic.fit()
    return critic, architectures[count:]


def believed(critic: Critic, architectures: list[Architecture]) -> torch.Tensor:
    """The mean of the members' means."""
    beliefs = critic.posteriors(architectures, 20)
    return sum((belief.mean * times for belief, times in beliefs), torch.zeros(())) / 20


class TestNormalScores:
    def test_are_those_of_the_ranks(self) -> None:
        values = torch.tensor([0.3, -7.0, 0.9, 0.5, 0.31], dtype=torch.float64)
        found = normal_scores(values)
        shares = torch.tensor([0.3, 0.1, 0.9, 0.7, 0.5], dtype=torch.float64)
        assert torch.allclose(torch.special.ndtr(found), shares)

    def test_ties_share_and_all_equal_is_zero(self) -> None:
        found = normal_scores(torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64))
        assert found[0] == found[1] == found[3] > found[2]
        assert normal_scores(torch.zeros(6, dtype=torch.float64)).abs().max() < 1e-12

    def test_how_bad_the_worst_is_does_not_matter(self) -> None:
        some = torch.tensor([0.90, 0.91, 0.89, 0.10], dtype=torch.float64)
        worse = torch.tensor([0.90, 0.91, 0.89, -9.0], dtype=torch.float64)
        assert torch.equal(normal_scores(some), normal_scores(worse))


class TestCritic:
    def test_predicts_what_it_did_not_see_the_better_the_more_it_saw(self) -> None:
        correlation = []
        for count in (20, 200):
            critic, unseen = taught(count)
            truth = torch.tensor([closeness(a) for a in unseen], dtype=torch.float64)
            means = believed(critic, unseen)
            correlation.append(float(torch.corrcoef(torch.stack([means, truth]))[0, 1]))
        assert correlation[0] > 0.3
        assert correlation[1] > 0.85

    def test_doubts_what_is_far_from_everything_seen(self) -> None:
        random = np.random.default_rng(0)
        critic = Critic(random)
        near = [SPACE.decode(row) for row in EVERYTHING[:64]]  # two dials at 0
        critic.observe(near, [closeness(a) for a in near])
        critic.fit()
        for belief, _ in critic.posteriors([near[5], SPACE.decode(EVERYTHING[-1])], 5):
            seen, far = belief.covariance.diagonal().tolist()
            assert far > 2 * seen

    def test_the_first_reward_of_an_architecture_stays(self) -> None:
        critic = Critic(np.random.default_rng(0))
        one, other = (SPACE.decode(row) for row in EVERYTHING[:2])
        critic.observe([one, other], [0.2, 0.1])
        critic.observe([other], [0.9])
        assert len(critic) == 2
        assert critic.best(5) == [one, other]

    def test_asks_members_as_often_as_it_was_told(self) -> None:
        critic, unseen = taught(30)
        assert sum(times for _, times in critic.posteriors(unseen[:7], 9)) == 9

    def test_what_was_saved_believes_the_same(self) -> None:
        critic, unseen = taught(40)
        copy = Critic(np.random.default_rng(5))
        copy.restore(json.loads(json.dumps(critic.state())))
        critic.random = copy.random = np.random.default_rng(3)
        first = believed(critic, unseen)
        critic.random = copy.random = np.random.default_rng(3)
        assert torch.equal(first, believed(copy, unseen))


class TestPlanner:
    @staticmethod
    def planner(count: int, space: type[Lock] = Lock, seed: int = 0) -> Planner:
        """A planner that saw some architectures of a space, proposed by itself."""
        proposals = Proposals(space((1, 8, 8), 10), seed)
        planner = Planner(proposals)
        for _ in range(count):
            actions = proposals.new()
            architecture = proposals.space.decode(actions)
            right = sum(a == b for a, b in zip(actions, OPTIMUM, strict=False)) / 5
            planner.observe([Outcome(tuple(actions), right, architecture, "ok")])
        return planner

    def test_is_ready_after_the_warm_up(self) -> None:
        assert not self.planner(WARM_UP - 1).ready
        assert self.planner(WARM_UP).ready

    def test_chooses_new_ones_none_twice(self) -> None:
        planner = self.planner(40)
        written = [planner.proposals.draw() for _ in range(30)]
        chosen, values = planner.plan(written, 8)
        architectures = [SPACE.decode(actions) for actions in chosen]
        assert len(set(architectures)) == len(architectures) == 8
        assert not set(architectures) & planner.proposals.proposed
        assert values.shape == (30,)

    def test_chooses_better_ones_than_chance(self) -> None:
        gained = []
        for seed in range(10):
            planner = self.planner(60, seed=seed)
            drawn = [planner.proposals.draw() for _ in range(40)]
            chosen, _ = planner.plan(drawn, 5)
            right = [
                np.mean([closeness(SPACE.decode(actions)) for actions in rows])
                for rows in (drawn, chosen)
            ]
            gained.append(right[1] - right[0])
        assert np.mean(gained) > 0.3

    def test_values_what_the_policy_wrote(self) -> None:
        planner = self.planner(150)
        written = [planner.proposals.draw() for _ in range(60)]
        _, values = planner.plan(written, 20)
        right = [sum(a == b for a, b in zip(row, OPTIMUM, strict=True)) for row in written]
        truth = torch.tensor(right, dtype=torch.float64)
        assert float(torch.corrcoef(torch.stack([values, truth]))[0, 1]) > 0.7

    @pytest.mark.parametrize("left", [3, 0])
    def test_chooses_what_is_left_of_a_small_space(self, left: int) -> None:
        planner = self.planner(64 - left, SmallLock)
        written = [planner.proposals.draw() for _ in range(200)]
        chosen, _ = planner.plan(written, 5)
        assert len(chosen) == left
