"""A search ends when its space has nothing left for it, and says so."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from few_networks import SPACES, Few, Loop, Needle, answered, make, make_vector
from helpers import table

from agents import AGENTS, Budgeted, Evolution, RandomSearch
from agents.cli import main
from agents.compare.files import read_records
from agents.proposals import Proposals
from agents.search import make_agent_class
from nas_gym import BudgetExhausted, Ledger, NASEnv, NASVectorEnv, Request
from nas_gym.evaluation import ACCURACY
from nas_gym.objectives import make_objective

NETWORKS = dict.fromkeys(SPACES, 20) | {"one network": 1, "one choice": 1, "redundant": 4}
SLOW = ("recurrent_ppo", "dqn", "ppo", "maskable_ppo")  # to find 20 networks by their own means


def play(env: Any, *actions: int) -> None:
    env.reset()
    for action in actions:
        env.step(np.full(env.num_envs, action) if isinstance(env, NASVectorEnv) else action)


def run(*arguments: str | Path) -> str:
    with redirect_stdout(io.StringIO()) as out:
        main([str(argument) for argument in arguments])
    return out.getvalue()


class TestEveryAgent:
    @pytest.mark.parametrize("space", [name for name in SPACES if name != "merging"])
    @pytest.mark.parametrize("name", AGENTS)
    def test_an_exhausted_space_ends_its_search_at_once(self, name: str, space: str) -> None:
        if name in SLOW and NETWORKS[space] > 1:
            pytest.skip("takes its time to find them all")
        try:
            agent = make_agent_class(name)
        except ModuleNotFoundError:
            pytest.skip("needs an extra")
        env = make_vector(agent.num_envs(), space)
        agent(env, seed=0).learn(1_000)
        assert (env.ledger.distinct, env.ledger.ended) == (NETWORKS[space], "exhausted")
        assert env.ledger.idle <= env.num_envs

    @pytest.mark.parametrize("name", ["reinforce", "random", "evolution", "surrogate"])
    def test_a_space_too_large_to_go_through_ends_it_soon(self, name: str) -> None:
        """17 decisions, 15 networks: nobody knows that these are all, but nothing new comes."""
        agent = make_agent_class(name)
        env = make_vector(agent.num_envs(), "merging")
        agent(env, seed=0).learn(1_000)
        assert (env.ledger.distinct, env.ledger.ended) == (15, "stalled")
        assert 1_000 <= env.ledger.idle < 1_000 + env.num_envs

    def test_what_chance_does_not_find_is_found_by_going_through_the_space(self) -> None:
        for agent in (RandomSearch, Evolution):
            env = NASVectorEnv(agent.num_envs(), **answered(Needle()))
            agent(env, seed=0).learn(2)
            assert env.ledger.distinct == 2


class TestBudgeted:
    @pytest.mark.parametrize("space", [name for name in SPACES if name != "merging"])
    @pytest.mark.parametrize("copies", [None, 4])
    def test_a_plain_loop_ends_and_says_why(self, space: str, copies: int | None) -> None:
        inner = make(space) if copies is None else make_vector(copies, space)
        with Budgeted(inner, budget=1_000) as env:
            assert env.ended is None
            while True:
                env.reset()
                for _ in SPACES[space].decisions:
                    env.step(env.action_space.sample())
        assert (env.distinct, env.ended) == (NETWORKS[space], "exhausted")

    @pytest.mark.parametrize(("children", "ended"), [(2, "gave up"), (3, "budget")])
    def test_other_ends_are_told_from_it(self, children: int, ended: str) -> None:
        with Budgeted(make("one decision"), budget=3) as env:
            for action in range(children):
                play(env, action)
        assert env.ended == ended

    def test_what_stands_still_has_stalled(self) -> None:
        with Budgeted(make("pairs"), budget=30) as env:
            while True:
                play(env, 0, 0)
        assert (env.distinct, env.ended) == (1, "stalled")

    def test_repeats_before_it_do_not_count(self) -> None:
        env = make("pairs")
        for _ in range(1_001):
            play(env, 0, 0)
        with Budgeted(env, budget=2) as played:
            for action in (0, 1, 2):
                play(played, action, 0)
        assert (played.distinct, played.ended) == (2, "budget")


class TestLedger:
    def test_it_says_what_was_evaluated(self) -> None:
        env = make("one decision")
        env.ledger.budget = 50
        for action in range(20):
            play(env, action)
        with pytest.raises(BudgetExhausted, match=r"^all 20 networks of few are evaluated$"):
            play(env, 3)
        assert env.ledger.repeats == 1

    def test_without_a_budget_nobody_is_stopped(self) -> None:
        env = make("one network")
        for _ in range(1_100):
            play(env, 0)
        assert (env.ledger.distinct, env.ledger.ended) == (1, None)

    def test_where_every_child_has_a_seed_of_its_own_nothing_is_exhausted(self) -> None:
        env = NASEnv(**answered(Few(networks=1)), seed_policy="resample")
        with Budgeted(env, budget=60) as played:
            while True:
                play(played, 0)
        assert (played.distinct, played.ended) == (60, "budget")

    def test_another_seed_is_another_child(self) -> None:
        space = Few(choices=2, networks=2)
        ledger = Ledger(table(), make_objective("accuracy", [ACCURACY]), space=space)
        ledger.budget = 50
        first, second = ([Request(space.decode([i]), seed) for i in range(2)] for seed in range(2))
        ledger.evaluate(first)
        ledger.evaluate(second[:1])
        ledger.evaluate(second[:1])  # the second one of this seed is left
        with pytest.raises(BudgetExhausted, match="all 2 networks"):
            ledger.evaluate(first[:1])
        ledger.evaluate(second)
        assert ledger.ended is None

    def test_what_is_left_is_not_forgotten(self) -> None:
        """Repeats in between end nothing, wherever in the space the last network is."""
        for last in range(20):
            env = make("one decision")
            env.ledger.budget = 50
            for action in range(20):
                if action != last:
                    play(env, action)
                    play(env, action)
            play(env, last)
            with pytest.raises(BudgetExhausted, match="all 20 networks"):
                play(env, last)

    def test_every_distinct_sequence_is_gone_through_in_order(self) -> None:
        sequences = list(Few(steps=3, choices=2).sequences())
        assert sequences == [tuple(bits) for bits in np.ndindex(2, 2, 2)]
        assert list(SPACES["redundant"].sequences()) == [(i, 0, 0, 0, 0, 0) for i in range(4)]
        assert list(SPACES["one choice"].sequences()) == [(0, 0)]


class TestProposals:
    def test_what_was_not_found_is_not_searched_for_again(self) -> None:
        proposals = Proposals(SPACES["merging"], 0)
        calls = 0

        def draw() -> list[int]:
            nonlocal calls
            calls += 1
            return proposals.draw()

        for _ in range(15):
            proposals.new()
        assert len(proposals.proposed) == 15
        assert not proposals.spent
        for _ in range(10):
            proposals.new(draw)
        assert proposals.spent
        assert calls < 1_100

    def test_a_restored_state_knows_it(self) -> None:
        first, second = Proposals(SPACES["pairs"], 0), Proposals(SPACES["pairs"], 1)
        for _ in range(25):
            first.new()
        second.restore(first.state())
        assert second.spent
        assert [second.new() for _ in range(5)] == [first.new() for _ in range(5)]

    def test_something_new_is_reason_to_search_again(self) -> None:
        proposals = Proposals(SPACES["merging"], 0)
        for _ in range(16):
            proposals.new()
        assert proposals.spent
        proposals.proposed.pop()
        assert not proposals.spent


class TestSayingSo:
    @pytest.mark.parametrize(
        ("agent", "options", "sentence"),
        [
            ("random", [], "stopped at 20 of 1,000: all networks of few are evaluated"),
            ("few_networks:Loop", [], "stopped at 20 of 1,000: all networks of few are evaluated"),
            (
                "few_networks:Loop",
                ["--agent-options", "action=0"],
                "stopped at 1 of 1,000: the last 1,000 proposals were known",
            ),
            ("few_networks:Quitter", [], "the agent gave up at 1 of 1,000"),
        ],
    )
    def test_on_the_command_line(
        self, tmp_path: Path, agent: str, options: list[str], sentence: str
    ) -> None:
        arguments = ["search", "--env", "few_networks:test/Few-v0", "--agent", agent, *options]
        for _ in range(2):  # the second time it is replayed
            out = run(*arguments, "--budget", "1000", "--out", tmp_path / "run")
            assert sentence in out.splitlines()
            assert "Best of" in out

    def test_not_where_the_budget_was_spent(self, tmp_path: Path) -> None:
        out = run(
            *("search", "--env", "few_networks:test/Few-v0", "--agent", "random"),
            *("--budget", "20", "--out", tmp_path / "run"),
        )
        assert "stopped at" not in out
        assert "gave up" not in out

    def test_in_a_comparison(self, tmp_path: Path) -> None:
        for number in range(2):
            env = gym.make("test/Few-v0", train_seed=number)
            with Budgeted(env, 50, record=tmp_path, agent="loop", seed=number) as played:
                Loop(played, seed=number).learn(50)
        assert {record.run.ended for record in read_records(tmp_path)} == {"exhausted"}
        out = run("report", tmp_path)
        note = "loop: 20 of 50 distinct children in 2 of 2 runs, all networks of the space were"
        assert note in (tmp_path / "summary.md").read_text(encoding="utf-8") + out
