"""A budget around loops that know of none, and their way into a comparison."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from compare_helpers import DIALS

from agents.budget import Budgeted
from agents.compare.files import read_records
from agents.episodes import ledger
from agents.run_directory import RunError
from agents.search import make_agent_class
from nas_gym import NASEnv

ENV = "test/Dials-v0"


def make(copies: int | None = None, seed: int = 0) -> Any:
    if copies is None:
        return gym.make(ENV, train_seed=seed)
    return gym.make_vec(ENV, num_envs=copies, train_seed=seed)


def play_for_ever(env: Any) -> None:
    env.reset(seed=0)
    env.action_space.seed(0)
    while True:
        _, _, done, _, _ = env.step(env.action_space.sample())
        if done is True:  # a vector environment starts anew by itself
            env.reset()


@pytest.fixture(params=[None, 1, 4], ids=["single", "one copy", "four copies"])
def env(request: pytest.FixtureRequest) -> Iterator[Any]:
    env = make(request.param)
    yield env
    env.close()


class Broken(Exception):
    """What goes wrong in somebody's loop."""


class TestBlock:
    @pytest.mark.parametrize("budget", [1, 7, 30])
    def test_ends_at_the_budget_and_says_what_happened(self, env: Any, budget: int) -> None:
        found: list[Any] = []
        ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
        with Budgeted(env, budget=budget) as played:
            play_for_ever(played)
        assert played.distinct == len(found) == len(set(found)) == budget
        assert played.repeats >= 0
        assert played.best == max(found, key=lambda one: one.scores["accuracy"])

    def test_counts_repeats(self) -> None:
        with Budgeted(make(), budget=3) as env:
            for action in (0, 0, 0, 1, 2, 3):
                env.reset()
                for _ in range(DIALS):
                    env.step(action)
        assert (env.distinct, env.repeats) == (3, 2)

    def test_ends_when_nothing_new_is_proposed(self) -> None:
        with Budgeted(make(4), budget=10) as env:
            env.reset()
            while True:
                env.step(env.action_space.sample() * 0)
        assert env.distinct == 1
        assert 1_000 <= env.repeats < 1_010

    def test_can_be_left_before(self, env: Any) -> None:
        with Budgeted(env, budget=10) as played:
            played.reset()
        assert (played.distinct, played.best) == (0, None)

    def test_counts_from_where_it_begins(self) -> None:
        env = make()
        env.reset()
        for _ in range(DIALS):
            env.step(0)
        found: list[Any] = []
        ledger(env).watchers.append(lambda _, evaluation: found.append(evaluation))
        with Budgeted(env, budget=5) as played:
            play_for_ever(played)
        assert (played.distinct, len(found)) == (5, 5)

    def test_is_the_environment_to_everybody(self, env: Any) -> None:
        with Budgeted(env, budget=5) as played:
            kind = gym.vector.VectorEnv if hasattr(env, "num_envs") else gym.Env
            assert isinstance(played, kind)
            assert played.action_space == env.action_space
            assert played.observation_space == env.observation_space
            assert played.unwrapped is env.unwrapped

    def test_sees_through_wrappers(self) -> None:
        env = gym.wrappers.vector.RecordEpisodeStatistics(make(3))
        with Budgeted(env, budget=8) as played:
            play_for_ever(played)
        assert played.distinct == 8

    def test_the_loop_may_play_the_environment_inside(self, env: Any) -> None:
        with Budgeted(env, budget=6) as played:
            play_for_ever(env)
        assert played.distinct == 6

    def test_other_exceptions_pass(self, env: Any) -> None:
        with pytest.raises(Broken), Budgeted(env, budget=5):
            raise Broken
        assert ledger(env).budget is None

    def test_an_exception_that_a_library_makes_of_the_budget_ends_it_too(self, env: Any) -> None:
        with Budgeted(env, budget=5) as played:
            try:
                play_for_ever(played)
            except Exception as error:
                raise RuntimeError("the environment failed") from error
        assert played.distinct == 5

    def test_a_library_that_closes_and_goes_on_keeps_the_account(self, env: Any) -> None:
        with Budgeted(env, budget=5) as played:
            played.close()
            play_for_ever(played)
        assert played.distinct == 5

    def test_closes_the_environment_at_the_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        closed: list[bool] = []
        monkeypatch.setattr(NASEnv, "close", lambda self: closed.append(True))
        for env in (make(), make(2)):
            with Budgeted(env, budget=2) as played:
                played.close()
                assert not closed
            assert closed.pop()
            assert not closed


class TestOnRecord:
    def test_enters_a_comparison_as_the_runs_of_agents_do(self, tmp_path: Path) -> None:
        out = tmp_path / "out"
        for seed in (0, 1):
            with Budgeted(make(4, seed), 12, record=out, agent="mine", seed=seed) as env:
                play_for_ever(env)
        records = read_records(out)
        assert [(r.run.agent, r.run.seed, r.run.ended) for r in records] == [
            ("mine", 0, "budget"),
            ("mine", 1, "budget"),
        ]
        for record in records:
            assert (record.run.env, record.run.budget, len(record.rows)) == (ENV, 12, 12)
            assert all(row.evaluation.seed == record.run.seed for row in record.rows)

    def test_a_run_that_failed_says_why(self, tmp_path: Path) -> None:
        with (
            pytest.raises(Broken),
            Budgeted(make(), 12, record=tmp_path / "out", agent="mine"),
        ):
            raise Broken("no\nidea")
        (record,) = read_records(tmp_path / "out")
        assert record.run.ended == "failed: Broken: no idea"
        assert "Traceback" in record.run.detail

    def test_a_run_that_was_interrupted_leaves_no_record(self, tmp_path: Path) -> None:
        with (
            pytest.raises(KeyboardInterrupt),
            Budgeted(make(), 12, record=tmp_path / "out", agent="mine"),
        ):
            raise KeyboardInterrupt
        assert read_records(tmp_path / "out") == []

    def test_a_run_that_gave_up_or_stalled_is_called_so(self, tmp_path: Path) -> None:
        with Budgeted(make(), 12, record=tmp_path / "out", agent="lazy"):
            pass
        with Budgeted(make(4), 12, record=tmp_path / "out", agent="stubborn") as env:
            env.reset()
            while True:
                env.step(env.action_space.sample() * 0)
        ended = {record.run.agent: record.run.ended for record in read_records(tmp_path / "out")}
        assert ended == {"lazy": "gave up", "stubborn": "stalled"}


class TestRefusals:
    def test_a_foreign_environment(self) -> None:
        with pytest.raises(TypeError, match="environments of nas_gym"):
            Budgeted(gym.make("CartPole-v1"), budget=5)

    def test_no_budget(self, env: Any) -> None:
        with pytest.raises(ValueError, match="budget must be at least 1, got 0"):
            Budgeted(env, budget=0)

    def test_a_record_without_a_name(self, env: Any, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"needs a name: Budgeted\(\.\.\., agent='mine'\)"):
            Budgeted(env, budget=5, record=tmp_path)

    def test_another_seed_than_the_environment_has(self, env: Any, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="train_seed=seed"):
            Budgeted(env, budget=5, record=tmp_path / "out", agent="mine", seed=3)
        assert not (tmp_path / "out").exists()


def test_an_agent_of_this_project_cannot_lift_it() -> None:
    with Budgeted(make(8), budget=5) as env:
        make_agent_class("random")(env, seed=0).learn(100)
    assert env.distinct == 5
