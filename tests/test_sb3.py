"""Stable-Baselines3: the adapter, what its algorithms are paid, and the agents made of them."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO as PlainPPO
from stable_baselines3.common.vec_env import DummyVecEnv
from test_agents import CHOICES, STEPS, Lock, SmallLock, closeness, lock_env

from agents.episodes import ledger
from agents.sb3 import GymnasiumVecEnv, StandardizedRewards
from agents.scalars import ScalarLog
from agents.search import make_agent_class
from nas_gym import NASEnv, NASVectorEnv
from nas_gym.search_spaces import LayerCNN

FEW = {"recurrent_ppo": {"n_epochs": 3}}  # an LSTM on a CPU takes its time
NAMES = ("ppo", "maskable_ppo", "recurrent_ppo", "a2c", "dqn")
CONTRIB = ("maskable_ppo", "recurrent_ppo")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found in CONTRIB:
        pytest.importorskip("sb3_contrib")
    return found


def make(name: str, env: Any, **options: Any) -> Any:
    return make_agent_class(name)(env, **{"seed": 0, **FEW.get(name, {}), **options})


def single_env() -> NASEnv:
    return NASEnv(search_space=Lock((1, 8, 8), 10), source=helpers.answers(closeness))


def children(env: Any) -> list[Any]:
    """The distinct children that an environment will evaluate, as they come."""
    found: list[Any] = []
    ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
    return found


class Still(gym.vector.VectorWrapper):
    """A wrapper with an attribute of its own."""

    colour = "red"


class TestGymnasiumVecEnv:
    def test_steps_as_single_environments_do(self) -> None:
        ours = GymnasiumVecEnv(lock_env(3))
        theirs = DummyVecEnv([single_env for _ in range(3)])
        actions = np.random.default_rng(0).integers(CHOICES, size=(3 * STEPS, 3))
        assert np.array_equal(ours.reset(), theirs.reset())
        for row in actions:
            (obs, rewards, dones, infos), expected = ours.step(row), theirs.step(row)
            assert np.array_equal(obs, expected[0])
            assert np.allclose(rewards, expected[1])
            assert np.array_equal(dones, expected[2])
            for info, other in zip(infos, expected[3], strict=True):
                assert info.keys() - {"TimeLimit.truncated"} == other.keys() - {
                    "TimeLimit.truncated"
                }
                for key in info.keys() - {"cached"}:  # each of theirs remembers for itself
                    unknown = isinstance(info[key], float) and np.isnan(info[key])
                    assert unknown or np.array_equal(info[key], other[key]), key
            for one, other in zip(ours.reset_infos, theirs.reset_infos, strict=True):
                assert not dones[0] or np.array_equal(one["action_mask"], other["action_mask"])

    def test_hands_the_seeds_on_once(self) -> None:
        seeds: list[Any] = []

        class Watched(gym.vector.VectorWrapper):
            def reset(self, *, seed: Any = None, options: Any = None) -> Any:
                seeds.append(seed)
                return self.env.reset(seed=seed, options=options)

        env = GymnasiumVecEnv(Watched(lock_env(2)))
        env.seed(7)
        env.reset()
        env.reset()
        assert seeds == [[7, 8], None]

    def test_attributes_and_methods_are_those_of_each_copy(self) -> None:
        env = GymnasiumVecEnv(Still(lock_env(3)))
        assert env.has_attr("action_masks")
        assert not env.has_attr("no_such_thing")
        assert env.get_attr("colour") == ["red"] * 3
        assert [len(space.decisions) for space in env.get_attr("search_space", [0, 2])] == [5, 5]
        masks = env.env_method("action_masks", indices=[1])
        assert [mask.tolist() for mask in masks] == [[True] * CHOICES]
        env.set_attr("colour", "blue")
        assert env.get_attr("colour", 0) == ["blue"]
        assert env.env_is_wrapped(gym.Wrapper) == [False] * 3

    def test_renders(self) -> None:
        env = NASVectorEnv(
            2,
            search_space=Lock((1, 8, 8), 10),
            source=helpers.answers(closeness),
            render_mode="rgb_array",
        )
        env.reset()
        images = GymnasiumVecEnv(env).get_images()
        assert [image.shape for image in images] == [env.render()[0].shape] * 2

    def test_an_algorithm_of_the_library_plays_it(self) -> None:
        env = lock_env(4)
        model = PlainPPO("MlpPolicy", GymnasiumVecEnv(env), n_steps=STEPS, batch_size=4 * STEPS)
        model.learn(8 * STEPS)
        assert ledger(env).proposals == 8

    def test_refuses_copies_that_start_anew_a_step_later(self) -> None:
        with pytest.raises(ValueError, match="must be SAME_STEP"):
            GymnasiumVecEnv(gym.make_vec("CartPole-v1", num_envs=2))


class TestStandardizedRewards:
    def play(self, env: StandardizedRewards, *digits: int) -> list[float]:
        env.reset()
        for digit in digits:
            _, rewards, dones, _ = env.step(np.array([digit, 0]))
            assert dones.any() or not rewards.any()
        return [float(reward) for reward in rewards]

    def test_pays_deviations_from_the_mean_of_all_so_far(self) -> None:
        env = StandardizedRewards(GymnasiumVecEnv(lock_env(2)))
        first, second = self.play(env, 2, 0, 3, 1, 2), self.play(env, 2, 0, 3, 1, 0)
        past = np.array([1.0, closeness_of(0, 0, 0, 0, 0), closeness_of(2, 0, 3, 1, 0)])
        past = np.append(past, closeness_of(0, 0, 0, 0, 0))
        assert env.rewards == pytest.approx(past.tolist())
        assert first == pytest.approx([1.0, -1.0])  # of two, each is one deviation off
        assert second == pytest.approx(((past[2:] - past.mean()) / past.std()).tolist())

    def test_equal_rewards_pay_nothing(self) -> None:
        env = StandardizedRewards(GymnasiumVecEnv(lock_env(2, lambda child, seed: 0.9)))
        assert self.play(env, 0, 1, 2, 3, 0) == pytest.approx([0.0, 0.0], abs=1e-6)


def closeness_of(*digits: int) -> float:
    return closeness(Lock((1, 8, 8), 10).decode(digits))


class TestAgents:
    def test_learns_from_whole_batches_only(self, name: str) -> None:
        agent = make(name, lock_env(4), batch_size=12)
        updates: list[int] = []
        train = agent.model.train
        agent.model.train = lambda *a, **k: (
            updates.append(agent.env.ledger.proposals),
            train(*a, **k),
        )
        agent.learn(40)
        assert updates
        assert all(count % 12 == 0 for count in updates)

    def test_learns_on_a_single_environment_as_many_at_a_time(self, name: str) -> None:
        env = single_env()
        agent = make(name, env)
        updates: list[int] = []
        train = agent.model.train
        agent.model.train = lambda *a, **k: (updates.append(env.ledger.proposals), train(*a, **k))
        agent.learn(40)
        assert updates
        assert all(count % agent.config.batch_size == 0 for count in updates)

    def test_learns_to_propose_what_pays(self, name: str) -> None:
        """Of random batches of 8, hardly one in a million pays 0.55 on average."""
        agent = make_agent_class(name)(lock_env(8), seed=1)
        agent.learn(72)
        rewards = agent.episodes.rewards
        best = max(np.mean(rewards[i : i + 8]) for i in range(0, len(rewards), 8))
        assert best > 0.55

    def test_begins_anew_when_it_has_settled(self, name: str) -> None:
        env = lock_env(8, lambda child, seed: float(child.layers[0][0] == 0), SmallLock)
        hasty = {"gradient_steps": 4, "epsilon": 0.01} if name == "dqn" else {"ent_coef": 0.0}
        if "ppo" in name:
            hasty["n_epochs"] = 2
        agent = make_agent_class(name)(env, seed=0, learning_rate=0.03, **hasty)
        agent.learn(64)  # of 64, most of them without a reward
        assert ledger(env).distinct == 64

    def test_a_larger_budget_begins_as_a_smaller(self, name: str) -> None:
        runs = []
        for budget in (19, 28):
            env = lock_env(8)
            found = children(env)
            make(name, env, seed=2).learn(budget)
            runs.append(found)
        assert runs[1][:19] == runs[0]

    def test_goes_on_after_a_batch_that_was_cut_short(self, name: str) -> None:
        env = lock_env(8)
        agent = make(name, env)
        for total in (5, 18, 30):
            agent.learn(total - ledger(env).distinct)
            assert ledger(env).distinct == total

    def test_leaves_the_global_random_states_alone(self, name: str) -> None:
        def drawn() -> list[float]:
            return [random.random(), float(np.random.rand()), float(torch.rand(()))]

        def seed_all() -> None:
            random.seed(3)
            np.random.seed(3)
            torch.manual_seed(3)

        seed_all()
        expected = [drawn(), drawn()]
        seed_all()
        agent = make(name, lock_env(8))
        first = drawn()
        agent.learn(20)
        assert [first, drawn()] == expected

    def test_does_not_depend_on_the_global_random_states(self, name: str) -> None:
        runs = []
        for global_seed in (0, 1):
            torch.manual_seed(global_seed)
            np.random.seed(global_seed)
            env = lock_env(8)
            found = children(env)
            agent = make(name, env, seed=4)
            np.random.rand()
            agent.learn(24)
            runs.append(found)
        assert runs[0] == runs[1]

    def test_logs_what_the_algorithm_records(self, name: str, tmp_path: Path) -> None:
        log = ScalarLog(tmp_path, tensorboard=False)
        agent = make(name, lock_env(8), logger=log)
        agent.learn(40)
        log.close()
        lines = (tmp_path / "agent.csv").read_text(encoding="utf-8").splitlines()
        assert lines[0] == "step,reward/mean,reward/max,reward/best," + ",".join(agent.scalars)
        last = [float(cell) for cell in lines[-1].split(",")]
        assert len(lines) >= 5
        assert last[1] <= last[2] <= last[3]
        assert np.isfinite(last).all()

    def test_finds_its_way_through_a_space_with_masks(self, name: str) -> None:
        space = LayerCNN((1, 8, 8), 10, depth=2)
        env = NASVectorEnv(8, search_space=space, source=helpers.answers(lambda a, s: 0.5))
        make(name, env).learn(20)
        assert env.ledger.distinct == 20

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"learning_rat": 0.1}, "did you mean 'learning_rate'"),
            ({"recipe": "atari"}, "unknown recipe of {name} 'atari'"),
            ({"learning_rate": 0}, "learning_rate of {name} must be above 0, got 0"),
            ({"batch_size": 2.5}, "batch_size of {name} must be a whole number, got 2.5"),
            ({"batch_size": 0}, "batch_size of {name} must be at least 1, got 0"),
            ({"batch_size": 12}, "batch_size of {name} must be a multiple of .* num_envs, 8"),
        ],
    )
    def test_wrong_settings_are_named(self, name: str, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words.format(name=name)):
            make_agent_class(name)(lock_env(8), seed=0, **options)

    @pytest.mark.parametrize("name", ["ppo", "a2c", "dqn"])
    def test_every_setting_changes_the_search(self, name: str) -> None:
        changes = {
            "learning_rate": 0.05,
            "units": 16,
            "n_epochs": 1,
            "clip_range": 0.001,
            "ent_coef": 1.0,
            "vf_coef": 0.0,
            "warm_up": 8,
            "exploration": 100,
            "epsilon": 0.9,
            "gradient_steps": 1,
            "minibatch": 8,
            "n_steps": 1,
        }
        agent_class = make_agent_class(name)
        kept = set(vars(agent_class.settings())) - {"batch_size"}

        def search(**options: Any) -> list[Any]:
            env = lock_env(8)
            found = children(env)
            agent_class(env, seed=0, **options).learn(40)
            return found

        plain = search()
        for option in kept & changes.keys():
            assert search(**{option: changes[option]}) != plain, option
        assert kept <= changes.keys()

    def test_a_file_of_other_settings_is_refused(self, name: str, tmp_path: Path) -> None:
        agent_class = make_agent_class(name)
        agent_class(lock_env(8), seed=0).save(str(tmp_path / "agent.pt"))
        with pytest.raises(ValueError, match="another config"):
            agent_class(lock_env(8), seed=0, units=16).load(str(tmp_path / "agent.pt"))


def test_masked_ppo_proposes_distinct_actions_only() -> None:
    pytest.importorskip("sb3_contrib")
    space = LayerCNN((1, 8, 8), 10, depth=2)
    for num_envs in (None, 4):
        arguments: dict[str, Any] = {
            "search_space": space,
            "source": helpers.answers(lambda a, s: 0.5),
        }
        env: Any = NASEnv(**arguments) if num_envs is None else NASVectorEnv(4, **arguments)
        inner = env if num_envs is None else env.env
        played: list[Any] = []
        evaluate = inner.evaluate
        inner.evaluate = lambda rows, seeds, e=evaluate, p=played: (
            p.extend(tuple(r) for r in rows),
            e(rows, seeds),
        )[1]
        make_agent_class("maskable_ppo")(env, seed=0, batch_size=4).learn(24)
        assert len(played) >= 24
        assert all(space.mask(row[:t])[row[t]] for row in played for t in range(len(row)))


@pytest.mark.parametrize("name", CONTRIB)
def test_a_missing_extra_is_one_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    words = rf"^agent {name} needs sb3-contrib: pip install 'nas-gym\[contrib\]'$"
    with pytest.raises(ValueError, match=words):
        make_agent_class(name)(lock_env(8), seed=0)
    assert make_agent_class(name).num_envs() == 8


def test_the_library_is_imported_when_it_is_needed() -> None:
    code = "import sys, agents, agents.cli; print('stable_baselines3' in sys.modules)"
    command = [sys.executable, "-W", "error", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.fixture(autouse=True)
def _no_state_left_behind() -> Iterator[None]:
    """A test leaves the global random states as they were: the next ones draw from them."""
    before = torch.get_rng_state()
    yield
    torch.set_rng_state(before)
