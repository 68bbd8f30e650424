"""Rewards that are equal, or differ by rounding only, prefer nothing."""

from __future__ import annotations

from typing import Any

import helpers
import numpy as np
import pytest
import torch
from test_agents import SmallLock, lock_env

from agents import REINFORCE, ReinforceCategorical, Surrogate
from agents.critic import normal_scores
from agents.sb3 import GymnasiumVecEnv, StandardizedRewards
from nas_gym import Architecture

GOOD = 353 / 357  # accuracies of 357 images whose mean of five is rounded
BATCHES = {
    "equal": [GOOD] * 5,
    "a third": [1 / 3] * 5,
    "an ulp apart": [GOOD, np.nextafter(GOOD, 1), GOOD, np.nextafter(GOOD, 0), GOOD],
    "single precision": [
        float(np.nextafter(np.float32(GOOD), np.float32(i % 2))) for i in range(5)
    ],
    "negative": [-GOOD] * 5,
    "nothing": [0.0] * 5,
    "large": [1e6 / 3] * 5,
}


def paying(rewards: list[float]) -> Any:
    """A table whose children earn these rewards in turn."""
    paid: dict[Architecture, float] = {}

    def look_up(architecture: Architecture, seed: int) -> float:
        return paid.setdefault(architecture, rewards[len(paid) % len(rewards)])

    return look_up


def weights(policy: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in policy.parameters()]


def moved(before: list[torch.Tensor], policy: torch.nn.Module) -> float:
    after = weights(policy)
    return max(float((a - b).abs().max()) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("rewards", BATCHES.values(), ids=BATCHES)
class TestReinforce:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"normalize": False},
            {"reward_transform": "cubed"},
            {"reward_transform": "rank"},
            {"baseline": "moving_average"},
            {"baseline": "moving_average", "normalize": False},
            {"baseline": "moving_average", "reward_transform": "cubed"},
            {"policy": "categorical"},
        ],
        ids=str,
    )
    def test_a_policy_stays_as_it_is(self, rewards: list[float], options: dict[str, Any]) -> None:
        env = lock_env(5, paying(rewards))
        agent = REINFORCE(env, seed=0, recipe="model_free", **options)
        before = weights(agent.controller)
        agent.learn(5)
        assert moved(before, agent.controller) == 0

    def test_imagined_rewards_that_nothing_tells_apart_neither(self, rewards: list[float]) -> None:
        env = lock_env(5, paying(rewards))
        agent = REINFORCE(env, seed=0, patience=None)
        before = weights(agent.controller)
        agent.learn(25)  # from 10 on the critic imagines
        assert moved(before, agent.controller) == 0

    def test_without_a_baseline_they_are_not_divided(self, rewards: list[float]) -> None:
        """They count as they are, as they would if nothing were divided."""
        found = []
        for normalize in (False, True):
            options = {"baseline": "none", "normalize": normalize, "epochs": 1, "clip": None}
            env = lock_env(5, paying(rewards))
            agent = REINFORCE(env, seed=0, recipe="model_free", **options)
            agent.learn(5)
            found.append(weights(agent.controller))
        for plain, divided in zip(*found, strict=True):
            assert torch.equal(plain, divided)

    def test_stable_baselines3_is_paid_nothing(self, rewards: list[float]) -> None:
        env = StandardizedRewards(GymnasiumVecEnv(lock_env(5, paying(rewards))))
        env.reset()
        for position in range(5):
            _, paid, done, _ = env.step(np.array([0, 1, 2, 3, position % 2]))
        assert done.all()
        assert env.rewards == rewards
        assert not paid.any()

    def test_they_share_a_rank(self, rewards: list[float]) -> None:
        assert normal_scores(torch.tensor(rewards, dtype=torch.float64)).tolist() == [0.0] * 5

    def test_a_surrogate_goes_on(self, rewards: list[float]) -> None:
        env = lock_env(5, paying(rewards))
        agent = Surrogate(env, seed=0)
        agent.learn(20)
        assert not agent._values().any()


@pytest.mark.parametrize("rewards", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(
    "options", [{"recipe": "zoph2016"}, {"recipe": "zoph2016", "batch_size": 1}]
)
def test_one_batch_is_not_better_than_another(rewards: list[float], options: Any) -> None:
    agent = REINFORCE(lock_env(1, paying(rewards)), seed=0, **options)
    before = weights(agent.controller)
    agent.learn(16)
    assert moved(before, agent.controller) == 0


def test_what_differs_is_told_apart() -> None:
    """By one image of a hundred thousand, too."""
    rewards = [0.9, 0.9, 0.9, 0.9, 0.90001]
    agent = REINFORCE(lock_env(5, paying(rewards)), seed=0, recipe="model_free")
    before = weights(agent.controller)
    agent.learn(5)
    assert moved(before, agent.controller) > 0.01
    scores = normal_scores(torch.tensor(rewards, dtype=torch.float64))
    assert scores[4] > 0 > scores[0] == scores[3]


def test_after_equal_rewards_others_are_learnt_from() -> None:
    agent = REINFORCE(lock_env(5, paying([0.5] * 10 + [0.6, 0.7])), seed=0)
    before = weights(agent.controller)
    agent.learn(20)
    assert moved(before, agent.controller) > 0.01


def test_the_lowest_rewards_of_a_surrogate_are_kept_beside_many_equal_ones() -> None:
    """Equal but for rounding is equal: the deviation of most from their median is nothing."""
    found = []
    for rewards in ([GOOD, GOOD, GOOD, 0.1, 0.2], [*BATCHES["an ulp apart"][:3], 0.1, 0.2]):
        agent = Surrogate(lock_env(5, paying(rewards)), seed=0)
        agent.learn(10)
        found.append(agent._values())
    assert torch.allclose(*found, atol=1e-6)


def test_the_softmaxes_are_those_in_use_after_a_new_beginning() -> None:
    env = lock_env(5, helpers.score, SmallLock)
    agent = ReinforceCategorical(env, seed=0, patience=5)
    first = agent.policy
    agent.learn(60)
    assert agent.policy is not first
    assert agent.policy is agent._search.controller
