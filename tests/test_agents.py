"""One suite over every agent, on a table whose optimum is known."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

import agents
from agents import AGENTS, REINFORCE
from agents.controller import Controller
from agents.episodes import ledger, play
from agents.reinforce import RECIPES, make_config
from agents.scalars import ScalarLog
from agents.search import make_agent_class
from agents.storage import save_plain
from nas_gym import Architecture, Decision, NASEnv, NASVectorEnv, SearchSpace, TableEvaluator

STEPS, CHOICES = 5, 4
OPTIMUM = (2, 0, 3, 1, 2)


@dataclass(frozen=True)
class Lock(SearchSpace):
    """Five dials with four positions; two kinds of dial."""

    name: ClassVar[str] = "lock"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(
            Decision(f"dial{i}", tuple(range(CHOICES)), f"kind{i % 2}") for i in range(STEPS)
        )

    def canonical(self, choices: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        return tuple((choice,) for choice in choices)

    def redundant(self, chosen: tuple[Any, ...]) -> tuple[int, ...]:
        return ()

    def build(self, architecture: Architecture) -> nn.Module:
        raise NotImplementedError


@dataclass(frozen=True)
class SmallLock(Lock):
    """Three of the dials: 64 architectures."""

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return Lock((1, 8, 8), 10).decisions[:3]


def closeness(architecture: Architecture, seed: int = 0) -> float:
    """Share of the dials, and of the neighbouring pairs of dials, that are right."""
    right = [layer[0] == best for layer, best in zip(architecture.layers, OPTIMUM, strict=True)]
    pairs = [a and b for a, b in pairwise(right)]
    return (sum(right) + sum(pairs)) / (2 * STEPS - 1)


def lock_env(
    num_envs: int = 5, look_up: Any = closeness, space: type[SearchSpace] = Lock
) -> NASVectorEnv:
    return NASVectorEnv(
        num_envs, search_space=space((1, 8, 8), 10), evaluator=TableEvaluator(look_up)
    )


def searched(agent: Any, seed: int, budget: int, **options: Any) -> list[Any]:
    """The distinct children of a search, in order."""
    env = lock_env(agent.num_envs(**options))
    found: list[Any] = []
    ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
    agent(env, seed=seed, **options).learn(budget)
    env.close()
    return found


@pytest.fixture(params=AGENTS)
def agent_class(request: pytest.FixtureRequest) -> Any:
    return make_agent_class(request.param)


class TestEveryAgent:
    @pytest.mark.parametrize("budget", [1, 7, 20, 33])
    def test_spends_its_budget_exactly(self, agent_class: Any, budget: int) -> None:
        assert len(searched(agent_class, 0, budget)) == budget

    def test_a_seed_gives_one_search_and_another_seed_another(self, agent_class: Any) -> None:
        first, again, other = (searched(agent_class, seed, 20) for seed in (3, 3, 4))
        assert first == again
        assert [e.architecture for e in first] != [e.architecture for e in other]

    def test_plays_a_single_environment_and_through_wrappers(self, agent_class: Any) -> None:
        env = NASEnv(search_space=Lock((1, 8, 8), 10), evaluator=TableEvaluator(closeness))
        agent_class(gym.wrappers.RecordEpisodeStatistics(env), seed=0).learn(11)
        assert env.ledger.distinct == 11

    def test_learn_adds_to_what_was_learnt(self, agent_class: Any) -> None:
        env = lock_env(agent_class.num_envs())
        agent = agent_class(env, seed=0)
        agent.learn(8)
        agent.learn(9)
        assert ledger(env).distinct == 17

    def test_a_loaded_agent_goes_on_like_the_saved_one(
        self, agent_class: Any, tmp_path: Path
    ) -> None:
        size = agent_class.num_envs()
        first, second = lock_env(size), lock_env(size)
        saved = agent_class(first, seed=5)
        saved.learn(4 * size)
        saved.save(str(tmp_path / "agent.pt"))
        loaded = agent_class(second, seed=99)
        loaded.load(str(tmp_path / "agent.pt"))
        after: list[list[Any]] = []
        for env, agent in ((first, saved), (second, loaded)):
            found: list[Any] = []
            ledger(env).watchers.append(lambda _, e, found=found: found.append(e.architecture))
            agent.learn(2 * size)
            after.append(found)
        assert after[0] == after[1]

    def test_loading_never_runs_what_a_file_says(self, agent_class: Any, tmp_path: Path) -> None:
        mark = tmp_path / "executed"
        torch.save({"weights": Bomb(str(mark))}, tmp_path / "bomb.pt")
        with pytest.raises(ValueError, match="no saved agent"):
            agent_class(lock_env(), seed=0).load(str(tmp_path / "bomb.pt"))
        assert not mark.exists()

    @pytest.mark.parametrize("content", [b"", b"not a file of torch", None])
    def test_a_damaged_or_missing_file_is_said_so(
        self, agent_class: Any, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / "agent.pt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"agent\.pt is no saved agent"):
            agent_class(lock_env(), seed=0).load(str(path))

    def test_writes_scalars(self, agent_class: Any, tmp_path: Path) -> None:
        log = ScalarLog(tmp_path, tensorboard=True)
        size = agent_class.num_envs()
        agent_class(lock_env(size), seed=0, logger=log).learn(3 * size)
        log.close()
        lines = (tmp_path / "agent.csv").read_text().splitlines()
        assert lines[0].startswith("step,reward/mean,reward/max")
        assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
        assert list((tmp_path / "tensorboard").glob("events.*"))

    def test_exhausts_a_small_space(self, agent_class: Any) -> None:
        env = lock_env(4, lambda child, seed: float(child.layers[0][0] == 0), SmallLock)
        agent_class(env, seed=0).learn(64)
        assert ledger(env).distinct == 64

    def test_refuses_an_environment_that_is_not_ours(self, agent_class: Any) -> None:
        with pytest.raises(TypeError, match="environments of nas_gym"):
            agent_class(gym.make("CartPole-v1"), seed=0)

    def test_has_a_line_in_the_list(self, agent_class: Any) -> None:
        assert any(home.endswith(f":{agent_class.__name__}") for home, _ in AGENTS.values())
        assert getattr(agents, agent_class.__name__) is agent_class


class Bomb:
    """Pickles to a call that leaves a mark."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)


class TestReinforce:
    def test_finds_the_optimum_far_more_often_than_random_search(self) -> None:
        seeds, budget = range(20), 80
        hits = {
            name: sum(
                max(e.val_accuracy for e in searched(make_agent_class(name), seed, budget)) == 1
                for seed in seeds
            )
            for name in ("reinforce", "random")
        }
        # Random search draws the optimum in 80 of 1,024 with probability 0.08.
        assert hits["random"] <= 6, hits
        assert hits["reinforce"] >= 14, hits

    @pytest.mark.parametrize(
        "changes",
        [
            {"baseline": "moving_average"},
            {"baseline": "none", "epochs": 1, "clip": None},
            {"entropy_weight": 0.01},
            {"reward_transform": "cubed"},
            {"reward_transform": "rank"},
            {"share": "kind"},
            {"max_grad_norm": 0.5},
            {"unique": False},
            {"layers": 2},
        ],
    )
    def test_every_option_changes_the_search(self, changes: dict[str, Any]) -> None:
        plain, changed = (
            searched(REINFORCE, 0, 30, **options) for options in ({}, {"batch_size": 5, **changes})
        )
        assert [e.architecture for e in plain] != [e.architecture for e in changed]

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_learns_to_prefer_what_pays(self, recipe: str) -> None:
        env = lock_env(8)
        options = {"learning_rate": 0.02} if recipe == "zoph2016" else {}
        agent = REINFORCE(env, seed=1, recipe=recipe, unique=False, **options)
        before = np.mean([o.reward for o in play(env, agent.controller.sample(64)[0].tolist())])
        agent.learn(250)
        after = np.mean([o.reward for o in play(env, agent.controller.sample(64)[0].tolist())])
        assert after > before + 0.2

    def test_zoph2016_is_the_paper(self) -> None:
        config = make_config("zoph2016")
        assert (config.layers, config.units, config.learning_rate) == (2, 35, 6e-4)
        assert (config.init, config.clip, config.baseline) == (0.08, None, "moving_average")
        assert (config.epochs, config.unique, config.entropy_weight) == (1, False, 0.0)
        assert config.reward_transform == "none"  # the environment's reward is cubed, once
        agent = REINFORCE(lock_env(), seed=0, recipe="zoph2016")
        values = torch.cat([p.flatten() for p in agent.controller.parameters()])
        assert -0.08 <= values.min() < -0.07
        assert 0.07 < values.max() <= 0.08

    def test_unique_proposes_nothing_twice(self) -> None:
        env = lock_env(5)
        REINFORCE(env, seed=0, learning_rate=0.2).learn(200)
        assert ledger(env).repeats == 0

    def test_without_unique_a_policy_that_stands_still_ends_the_search(self) -> None:
        env = lock_env(8, lambda architecture, seed: float(architecture.layers[0][0] == 0))
        agent = REINFORCE(env, seed=0, recipe="zoph2016", learning_rate=0.5, clip=0.2, epochs=4)
        agent.learn(CHOICES**STEPS)
        assert ledger(env).distinct < CHOICES**STEPS

    def test_failures_earn_the_floor_and_are_learnt_from(self) -> None:
        def look_up(architecture: Architecture, seed: int) -> Any:
            from nas_gym import Evaluation

            bad = architecture.layers[0][0] != 0
            return Evaluation(architecture, "rejected" if bad else "ok", 0.0 if bad else 1.0)

        env = lock_env(5, look_up)
        agent = REINFORCE(env, seed=0, unique=False)
        agent.learn(60)
        assert (agent.controller.sample(50)[0][:, 0] == 0).float().mean() > 0.8

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"recipe": "zop2016"}, "did you mean 'zoph2016'"),
            ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
            ({"learning_rate": 0.0}, "learning_rate of reinforce must be above 0"),
            ({"batch_size": 1}, "batch_size of reinforce must be at least 2"),
            ({"baseline": "mean"}, "one of leave_one_out"),
            ({"clip": None}, "clip of reinforce must be set for more than one epoch"),
            ({"share": "all"}, "one of decision, kind"),
        ],
    )
    def test_wrong_options_are_named(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            REINFORCE(lock_env(1), seed=0, **options)

    def test_a_file_of_another_configuration_is_refused(self, tmp_path: Path) -> None:
        path = str(tmp_path / "agent.pt")
        REINFORCE(lock_env(), seed=0).save(path)
        with pytest.raises(ValueError, match="another config"):
            REINFORCE(lock_env(), seed=0, units=16).load(path)


class TestController:
    def test_its_two_readings_agree(self) -> None:
        """Sampling step by step and scoring a whole batch follow the same distribution."""
        space = Lock((1, 8, 8), 10)
        random = torch.Generator().manual_seed(0)
        controller = Controller(space, 2, 16, 0.8, "kind", random)
        actions, masks = controller.sample(4_000)
        logs, entropy = controller.log_probabilities(actions, masks)
        # The mean of -log p over samples is the entropy: sampler and scorer are one policy.
        for step in range(STEPS):
            mean, spread = -logs[:, step].mean(), logs[:, step].std() / math.sqrt(4_000)
            assert abs(mean - entropy[:, step].mean()) < 5 * spread + 1e-3

    def test_masked_actions_are_never_sampled_and_have_no_probability(self) -> None:
        from nas_gym.search_spaces import LayerCNN

        space = LayerCNN((1, 8, 8), 10, depth=3)
        controller = Controller(space, 1, 8, 2.0, "kind", torch.Generator().manual_seed(1))
        actions, masks = controller.sample(200)
        assert masks.gather(2, actions[:, :, None]).all()
        for row, mask in zip(actions.tolist(), masks, strict=True):
            assert mask.tolist() == [space.mask(row[:t]).tolist() for t in range(len(row))]
        logs, entropy = controller.log_probabilities(actions, masks)
        forced = masks.sum(2) == 1
        assert forced.any()
        assert (logs[forced].abs() < 1e-6).all()
        assert (entropy[forced].abs() < 1e-6).all()

    def test_kinds_share_their_heads(self) -> None:
        space, random = Lock((1, 8, 8), 10), torch.Generator().manual_seed(0)
        assert len(Controller(space, 1, 8, 0.1, "kind", random).head_weight) == 2
        assert len(Controller(space, 1, 8, 0.1, "decision", random).head_weight) == STEPS


def test_saving_replaces_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "agent.pt"
    save_plain(path, {"value": 1})
    with pytest.raises(Exception, match="pickle"):
        save_plain(path, {"value": lambda: None})
    assert torch.load(path, weights_only=True) == {"value": 1}
