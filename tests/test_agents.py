"""One suite over every agent, on a table whose optimum is known."""

from __future__ import annotations

import csv
import math
import os
import random
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from torch import nn

import agents
from agents import AGENTS, REINFORCE, ReinforceCategorical
from agents.controller import CategoricalPolicy, Controller, Policy
from agents.episodes import ledger, play
from agents.reinforce import RECIPES, make_config
from agents.scalars import ScalarLog
from agents.search import make_agent_class
from agents.storage import load_plain, save_plain
from nas_gym import (
    Architecture,
    Decision,
    Evaluation,
    NASEnv,
    NASVectorEnv,
    Request,
    SearchSpace,
)
from nas_gym.search_spaces import LayerCNN

# Agents that propose nothing twice as long as there is something new, and with which options.
NO_REPEATS: dict[str, dict[str, Any]] = {
    "reinforce": {"patience": None},
    "reinforce_categorical": {"patience": None},
    "random": {},
    "evolution": {},
    "local_search": {},
    "surrogate": {},
}
OPTIONAL = ("sb3_contrib",)  # libraries that an agent may lack

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
        num_envs, search_space=space((1, 8, 8), 10), source=helpers.answers(look_up)
    )


def global_randomness() -> list[Any]:
    """The states of the generators that every library shares."""
    kind, words, *rest = np.random.get_state()
    return [torch.get_rng_state().tolist(), random.getstate(), kind, words.tolist(), rest]


def convolutions(architecture: Architecture, seed: int = 0) -> Any:
    """Share of separable layers; a child with a large kernel is refused."""
    if any(layer[0] == "conv5" for layer in architecture.layers):
        return Evaluation(Request(architecture, seed), "rejected", detail="too large")
    return sum(layer[0].startswith("sep") for layer in architecture.layers) / 3


def layers_env(num_envs: int) -> NASVectorEnv:
    """A space with masks, and decisions of different sizes, where children fail."""
    space = LayerCNN((1, 2, 2), 10, depth=3)
    return NASVectorEnv(num_envs, search_space=space, source=helpers.answers(convolutions))


def searched(agent: Any, seed: int, budget: int, **options: Any) -> list[Any]:
    """The distinct children of a search, in order."""
    env = lock_env(agent.num_envs(**options))
    found: list[Any] = []
    ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
    agent(env, seed=seed, **options).learn(budget)
    env.close()
    return found


def found_class(name: str) -> Any:
    """The agent of this name; the test is skipped where its library is not installed."""
    try:
        return make_agent_class(name)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"needs {error.name}")


@pytest.fixture(params=AGENTS)
def agent_class(request: pytest.FixtureRequest) -> Any:
    return found_class(request.param)


class TestEveryAgent:
    @pytest.mark.parametrize("budget", [1, 7, 20, 33])
    def test_spends_its_budget_exactly(self, agent_class: Any, budget: int) -> None:
        assert len(searched(agent_class, 0, budget)) == budget

    def test_a_seed_gives_one_search_and_another_seed_another(self, agent_class: Any) -> None:
        first, again, other = (searched(agent_class, seed, 20) for seed in (3, 3, 4))
        assert first == again
        assert [e.architecture for e in first] != [e.architecture for e in other]

    def test_plays_a_single_environment_and_through_wrappers(self, agent_class: Any) -> None:
        env = NASEnv(search_space=Lock((1, 8, 8), 10), source=helpers.answers(closeness))
        agent_class(gym.wrappers.RecordEpisodeStatistics(env), seed=0).learn(11)
        assert env.ledger.distinct == 11

    def test_plays_a_vector_environment_of_another_size(self, agent_class: Any) -> None:
        env = lock_env(3)
        agent_class(gym.wrappers.vector.RecordEpisodeStatistics(env), seed=0).learn(11)
        assert ledger(env).distinct == 11

    def test_plays_spaces_with_masks_where_children_fail(self, agent_class: Any) -> None:
        env = layers_env(agent_class.num_envs())
        found: list[Evaluation] = []
        ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
        agent_class(env, seed=2).learn(120)
        assert len(found) == 120
        assert {evaluation.status for evaluation in found} == {"ok", "rejected"}

    def test_has_a_randomness_of_its_own(self, agent_class: Any) -> None:
        found = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            before = global_randomness()
            found.append(searched(agent_class, 0, 10))
            assert global_randomness() == before
        assert found[0] == found[1]

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
        saved, twin = agent_class(first, seed=5), agent_class(second, seed=5)
        for agent in (saved, twin):  # the environments know the same children
            agent.learn(4 * size)
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
        lines = (tmp_path / "agent.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("step,reward/mean,reward/max")
        assert [line.split(",")[0] for line in lines[1:]] == ["1", "2", "3"]
        assert list((tmp_path / "tensorboard").glob("events.*"))

    @pytest.mark.parametrize("name", NO_REPEATS)
    def test_exhausts_a_small_space(self, name: str) -> None:
        env = lock_env(4, lambda child, seed: float(child.layers[0][0] == 0), SmallLock)
        make_agent_class(name)(env, seed=0).learn(64)
        assert ledger(env).distinct == 64

    @pytest.mark.parametrize("name", NO_REPEATS)
    def test_proposes_nothing_twice(self, name: str) -> None:
        agent_class = make_agent_class(name)
        env = layers_env(agent_class.num_envs())
        agent_class(env, seed=0, **NO_REPEATS[name]).learn(100)
        assert ledger(env).repeats == 0

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


class TestLearning:
    @staticmethod
    def hits(name: str, budget: int = 80) -> int:
        """Of 6 searches, those that find the optimum; 80 of 1,024 draws are 8 % each."""
        agent_class = make_agent_class(name)
        runs = [searched(agent_class, seed, budget) for seed in range(6)]
        return sum(max(e.scores["accuracy"] for e in found) == 1 for found in runs)

    def test_random_search_finds_the_optimum_as_often_as_chance(self) -> None:
        assert self.hits("random") <= 2

    @pytest.mark.parametrize("name", [name for name in NO_REPEATS if name != "random"])
    def test_finds_the_optimum_far_more_often(self, name: str) -> None:
        assert self.hits(name) >= 4


class TestReinforce:
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
            {"temperature": 5.0},
            {"tanh_constant": 0.5},
            {"policy": "categorical"},
            {"patience": 5},
        ],
    )
    def test_every_option_changes_the_search(self, changes: dict[str, Any]) -> None:
        plain, changed = (
            searched(REINFORCE, 0, 30, recipe="model_free", **options)
            for options in ({}, {"batch_size": 5, **changes})
        )
        assert [e.architecture for e in plain] != [e.architecture for e in changed]

    @pytest.mark.parametrize("changes", [{"critic": False}, {"imagined": 16}, {"patience": 10}])
    def test_every_option_of_the_critic_changes_the_search(self, changes: dict[str, Any]) -> None:
        plain, changed = (searched(REINFORCE, 0, 40, **options) for options in ({}, changes))
        assert [e.architecture for e in plain] != [e.architecture for e in changed]

    def test_what_was_best_is_logged_through_new_beginnings(self, tmp_path: Path) -> None:
        env, log = lock_env(5), ScalarLog(tmp_path, tensorboard=False)
        REINFORCE(env, seed=0, logger=log, patience=10).learn(150)
        log.close()
        with (tmp_path / "agent.csv").open(encoding="utf-8") as file:
            rows = [(float(r["reward/max"]), float(r["reward/best"])) for r in csv.DictReader(file)]
        best = -math.inf
        for highest, logged in rows:
            best = max(best, highest)
            assert logged == best
        assert ledger(env).repeats > 0  # so there were new beginnings

    def test_learns_to_prefer_what_pays(self) -> None:
        env = lock_env(8)
        agent = REINFORCE(env, seed=1, recipe="model_free", unique=False)
        before = np.mean([o.reward for o in play(env, agent.controller.sample(64)[0].tolist())])
        agent.learn(150)
        after = np.mean([o.reward for o in play(env, agent.controller.sample(64)[0].tolist())])
        assert after > before + 0.3

    @pytest.mark.parametrize("recipe", RECIPES)
    def test_an_update_makes_likelier_what_paid_more(self, recipe: str) -> None:
        """For every recipe: those of papers take many updates to prefer anything visibly."""
        env = lock_env(8)
        agent = REINFORCE(env, seed=1, recipe=recipe, batch_size=64)
        actions, masks = agent.controller.sample(64)
        outcomes = play(env, actions.tolist())
        before = agent.controller.log_probabilities(actions, masks)[0].sum(1)
        for _ in range(5):
            agent._learn_from(actions, masks, outcomes)
        gained = agent.controller.log_probabilities(actions, masks)[0].sum(1) - before
        rewards = torch.tensor([outcome.reward for outcome in outcomes])
        assert torch.corrcoef(torch.stack([gained, rewards]))[0, 1] > 0.3

    def test_zoph2016_is_the_paper(self) -> None:
        config = make_config("zoph2016")
        assert (config.layers, config.units, config.learning_rate) == (2, 35, 6e-4)
        assert (config.init, config.clip, config.baseline) == (0.08, None, "moving_average")
        assert (config.epochs, config.unique, config.entropy_weight) == (1, False, 0.0)
        assert (config.critic, config.patience) == (False, None)
        assert config.reward_transform == "none"  # the environment's reward is cubed, once
        agent = REINFORCE(lock_env(), seed=0, recipe="zoph2016")
        values = torch.cat([p.flatten() for p in agent.controller.parameters()])
        assert -0.08 <= values.min() < -0.07
        assert 0.07 < values.max() <= 0.08

    def test_enas2018_is_the_paper(self) -> None:
        config = make_config("enas2018")
        assert (config.layers, config.units, config.learning_rate) == (1, 100, 3.5e-4)
        assert (config.tanh_constant, config.temperature, config.init) == (2.5, 5.0, 0.1)
        assert (config.baseline, config.clip, config.epochs) == ("moving_average", None, 1)
        assert (config.entropy_weight, config.unique) == (1e-4, False)
        assert (config.critic, config.patience) == (False, None)

    def test_unique_proposes_nothing_twice(self) -> None:
        env = lock_env(5)
        REINFORCE(env, seed=0, recipe="model_free", learning_rate=0.2).learn(120)
        assert ledger(env).repeats == 0

    def test_without_unique_a_policy_that_stands_still_ends_the_search(self) -> None:
        env = lock_env(8)
        REINFORCE(env, seed=0, recipe="model_free", unique=False, learning_rate=0.05).learn(500)
        assert ledger(env).distinct < 500

    def test_failures_earn_the_floor_and_are_learnt_from(self) -> None:
        def look_up(architecture: Architecture, seed: int) -> Any:
            bad = architecture.layers[0][0] != 0
            return Evaluation(Request(architecture, seed), "rejected") if bad else 1.0

        env = lock_env(5, look_up)
        agent = REINFORCE(env, seed=0, recipe="model_free", unique=False)
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
            ({"learning_rate": "fast"}, "learning_rate of reinforce must be a number, got 'fast'"),
            ({"units": 8.5}, "units of reinforce must be a whole number"),
            ({"epochs": True}, "epochs of reinforce must be a whole number, got True"),
            ({"unique": 1}, "unique of reinforce must be true or false"),
            ({"unique": False}, "unique of reinforce must be true with a critic"),
            ({"patience": 0}, "patience of reinforce must be at least 1, or None"),
            ({"temperature": 0}, "temperature of reinforce must be above 0"),
            ({"tanh_constant": -1}, "tanh_constant of reinforce must be above 0, or None"),
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


class TestReinforceCategorical:
    def test_the_default_differs_from_reinforce_in_the_policy_alone(self) -> None:
        agent = ReinforceCategorical(lock_env(), seed=0)
        assert agent.config == replace(make_config(), policy="categorical")
        assert isinstance(agent.policy, CategoricalPolicy)
        weights = [tuple(weight.shape) for weight in agent.policy.parameters()]
        assert weights == [(STEPS, CHOICES)]

    def test_nasbench201_is_the_published_one(self) -> None:
        agent = ReinforceCategorical(lock_env(1), seed=0, recipe="nasbench201")
        c = agent.config
        assert (c.batch_size, c.learning_rate, c.epochs, c.clip) == (1, 1e-3, 1, None)
        assert (c.baseline, c.baseline_decay) == ("moving_average", 0.9)
        assert (c.unique, c.normalize, c.entropy_weight) == (False, False, 0.0)
        assert agent.num_envs("nasbench201") == 1

    def test_nasbench201_learns_to_prefer_what_pays(self) -> None:
        env = lock_env(1)
        agent = ReinforceCategorical(env, seed=1, recipe="nasbench201", learning_rate=0.2)
        agent.learn(80)
        likeliest = tuple(agent.policy.logits.argmax(1).tolist())
        assert sum(a == b for a, b in zip(likeliest, OPTIMUM, strict=True)) >= 4

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"recipe": "nasbench"}, "did you mean 'nasbench201'"),
            ({"units": 8}, "unknown option of reinforce_categorical 'units'"),
            ({"policy": "lstm"}, "unknown option of reinforce_categorical 'policy'"),
            ({"learning_rate": -1}, "learning_rate of reinforce must be above 0"),
        ],
    )
    def test_wrong_options_are_named(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            ReinforceCategorical(lock_env(1), seed=0, **options)

    def test_a_file_of_the_lstm_is_refused(self, tmp_path: Path) -> None:
        path = str(tmp_path / "agent.pt")
        REINFORCE(lock_env(), seed=0).save(path)
        with pytest.raises(ValueError, match="another config"):
            ReinforceCategorical(lock_env(), seed=0).load(path)


def policies(space: SearchSpace, init: float) -> list[Policy]:
    """One of each kind."""
    random = torch.Generator().manual_seed(0)
    return [
        Controller(space, 2, 16, init, "kind", random),
        Controller(space, 1, 16, init, "decision", random, temperature=0.5, tanh_constant=1.5),
        CategoricalPolicy(space, 2 * init, random),
    ]


class TestPolicies:
    @pytest.mark.parametrize("kind", range(3))
    def test_its_two_readings_agree(self, kind: int) -> None:
        """Sampling step by step and scoring a whole batch follow the same distribution."""
        policy = policies(Lock((1, 8, 8), 10), 0.8)[kind]
        actions, masks = policy.sample(4_000)
        logs, entropy = policy.log_probabilities(actions, masks)
        # The mean of -log p over samples is the entropy: sampler and scorer are one policy.
        for step in range(STEPS):
            mean, spread = -logs[:, step].mean(), logs[:, step].std() / math.sqrt(4_000)
            assert abs(mean - entropy[:, step].mean()) < 5 * spread + 1e-3

    @pytest.mark.parametrize("kind", range(3))
    def test_masked_actions_are_never_sampled_and_have_no_probability(self, kind: int) -> None:
        space = LayerCNN((1, 8, 8), 10, depth=3)
        policy = policies(space, 2.0)[kind]
        actions, masks = policy.sample(200)
        assert masks.gather(2, actions[:, :, None]).all()
        for row, mask in zip(actions.tolist(), masks, strict=True):
            assert mask.tolist() == [space.mask(row[:t]).tolist() for t in range(len(row))]
        logs, entropy = policy.log_probabilities(actions, masks)
        forced = masks.sum(2) == 1
        assert forced.any()
        assert (logs[forced].abs() < 1e-6).all()
        assert (entropy[forced].abs() < 1e-6).all()

    def test_the_tanh_constant_bounds_what_the_policy_can_be_sure_of(self) -> None:
        space, random = Lock((1, 8, 8), 10), torch.Generator().manual_seed(0)
        sure = Controller(space, 1, 8, 9.0, "decision", random)
        bounded = Controller(space, 1, 8, 9.0, "decision", random, tanh_constant=0.5)
        cool = Controller(space, 1, 8, 9.0, "decision", random, temperature=100.0)
        masks = torch.ones(64, STEPS, CHOICES, dtype=torch.bool)
        rows = torch.randint(CHOICES, (64, STEPS), generator=random)
        lowest = 1 / (1 + (CHOICES - 1) * math.e)  # one logit -0.5, the others 0.5
        assert sure.log_probabilities(rows, masks)[0].exp().min() < lowest / 2
        assert bounded.log_probabilities(rows, masks)[0].exp().min() >= lowest - 1e-6
        assert cool.log_probabilities(rows, masks)[0].exp().min() > lowest

    def test_kinds_share_their_heads(self) -> None:
        space, random = Lock((1, 8, 8), 10), torch.Generator().manual_seed(0)
        assert len(Controller(space, 1, 8, 0.1, "kind", random).head_weight) == 2
        assert len(Controller(space, 1, 8, 0.1, "decision", random).head_weight) == STEPS


def test_saving_replaces_a_file_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "agent.pt"
    save_plain(path, {"value": 1})
    with pytest.raises(Exception, match="pickle"):
        save_plain(path, {"value": lambda: None})
    with load_plain(path) as state:
        assert state == {"value": 1}
