"""What is copied, sent, closed or used in another thread keeps its account and its budget."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from few_networks import Few, answered, make, make_vector
from helpers import is_sentence, random_task, table, tiny

from agents import Budgeted
from agents.episodes import ledger
from nas_gym import (
    BudgetExhausted,
    ExecutorEvaluator,
    Ledger,
    NASEnv,
    NASVectorEnv,
    PoolEvaluator,
    Request,
    TrainingSource,
)
from nas_gym.evaluation import ACCURACY
from nas_gym.objectives import make_objective
from nas_gym.search_spaces import PlainCNN
from nas_gym.store import Store

WAYS: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing)),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def travel(request: pytest.FixtureRequest) -> Any:
    return request.param


def play(env: Any, *actions: int) -> None:
    env.reset()
    for action in actions:
        step(env, action)


def step(env: Any, action: int) -> None:
    copies = getattr(env, "num_envs", None)
    env.step(action if copies is None else np.full(copies, action))


def account(env: Any) -> tuple[Any, ...]:
    found = ledger(env)
    return found.proposals, found.distinct, found.repeats, found.best, found.budget


@pytest.fixture(params=[None, 1, 3], ids=["single", "one copy", "three copies"])
def env(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    options = {"store": str(tmp_path / "store.sqlite"), "run": "mine"}
    env = make(**options) if request.param is None else make_vector(request.param, **options)
    yield env
    env.close()


class TestCopies:
    def test_a_copy_goes_on_with_account_and_budget(self, env: Any, travel: Any) -> None:
        ledger(env).budget = 3
        for action in (4, 5, 4):
            play(env, action, 0)
        twin = travel(env)
        assert account(twin) == account(env)
        play(twin, 5, 0)
        play(twin, 6, 0)
        with pytest.raises(BudgetExhausted, match="budget of 3"):
            play(twin, 7, 0)
        assert ledger(env).distinct == 2
        play(env, 7, 0)
        assert ledger(env).distinct == ledger(twin).distinct == 3
        twin.close()

    def test_in_the_middle_of_an_episode(self, env: Any, travel: Any) -> None:
        ledger(env).budget = 1
        play(env, 4, 0)
        env.reset()
        step(env, 4)
        twin = travel(env)
        step(twin, 0)
        assert ledger(twin).distinct == 1
        twin.reset()
        step(twin, 5)
        with pytest.raises(BudgetExhausted):
            step(twin, 0)
        twin.close()

    def test_copies_share_a_store_and_are_not_the_run_on_record(
        self, env: Any, travel: Any, tmp_path: Path
    ) -> None:
        fresh = travel(env)
        play(fresh, 9, 0)
        play(env, 1, 0)
        twins = [travel(env), travel(travel(env))]
        for action, twin in enumerate(twins, 2):
            play(twin, action, 0)
        play(env, 4, 0)
        for one in (*twins, fresh):
            one.close()
        with Store(tmp_path / "store.sqlite") as store:
            assert len(store) == 5
            asked = [e.architecture.layers[0][0] for e in store.run("mine")]
        assert asked == [1] * getattr(env, "num_envs", 1) + [4] * getattr(env, "num_envs", 1)

    def test_a_ledger_by_itself(self, env: Any, travel: Any) -> None:
        seen: list[Any] = []
        ledger(env).watchers.append(lambda *event: seen.append(event))
        ledger(env).budget = 5
        play(env, 1, 0)
        found = travel(ledger(env))
        assert (found.distinct, found.budget, found.best) == (1, 5, ledger(env).best)
        assert found.evaluate([Request(found.best.architecture)])[0] == found.best
        found.evaluate([Request(Few(steps=2).decode([0, 7]))])
        assert (found.distinct, ledger(env).distinct, len(seen)) == (2, 1, 1)

    def test_an_exhausted_space_is_known_to_be(self, env: Any, travel: Any) -> None:
        ledger(env).budget = 50
        for action in range(20):
            play(env, action, 0)
        twin = travel(env)
        with pytest.raises(BudgetExhausted, match="all 20 networks"):
            play(twin, 3, 0)
        twin.close()

    @pytest.mark.parametrize("copies", [None, 3])
    def test_a_budget_around_a_loop(self, copies: int | None, travel: Any) -> None:
        with Budgeted(make() if copies is None else make_vector(copies), budget=2) as env:
            play(env, 1, 0)
            twin = travel(env)
            assert (twin.distinct, twin.repeats) == (env.distinct, env.repeats)
            play(twin, 2, 0)
            assert (twin.distinct, env.distinct) == (2, 1)
            with pytest.raises(BudgetExhausted):
                play(twin, 3, 0)

    def test_a_run_on_record_is_that_of_the_original(self, travel: Any, tmp_path: Path) -> None:
        from agents.compare.files import read_records

        env = gym.make("test/Few-v0")
        with Budgeted(env, 2, record=tmp_path, agent="mine") as played:
            play(played, 1, 0)
            twin = travel(played)
            play(twin, 2, 0)
            twin.close()
            play(played, 3, 0)
        (record,) = read_records(tmp_path)
        assert [row.evaluation.architecture.layers[0][0] for row in record.rows] == [1, 3]

    def test_of_a_pool(self, travel: Any) -> None:
        task = random_task(images=120)
        space = PlainCNN(task.input_shape, task.num_classes, depth=1)
        pool = PoolEvaluator(TrainingSource(task, space, tiny()), workers=1)
        env = NASEnv(task, space, evaluator=pool)
        env.ledger.budget = 1
        play(env, 0, 0, 0)
        twin = travel(env)
        assert account(twin) == account(env)
        with pytest.raises(BudgetExhausted):
            play(twin, 1, 0, 0)
        env.close()
        twin.close()

    def test_of_an_executor_there_is_no_copy(self, travel: Any) -> None:
        with ThreadPoolExecutor(1) as executor:
            evaluator = ExecutorEvaluator(executor, table().source)
            env = NASEnv(**answered(Few()) | {"evaluator": evaluator})
            play(env, 1)
            with pytest.raises(TypeError, match="does not travel") as caught:
                travel(env)
            assert is_sentence(caught.value, "evaluator of its own")
            play(env, 2)
            assert env.ledger.distinct == 2


def count(env: Any, queue: Any) -> None:
    """In another process."""
    try:
        play(env, 2, 0)
        play(env, 3, 0)
    except BudgetExhausted as error:
        queue.put((env.ledger.distinct, str(error)))
    env.close()


class TestProcesses:
    def test_an_environment_is_sent(self, tmp_path: Path) -> None:
        env = make(store=str(tmp_path / "store.sqlite"), run="mine")
        env.ledger.budget = 2
        play(env, 1, 0)
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=count, args=(env, queue))
        process.start()
        assert queue.get(timeout=120) == (2, "the budget of 2 distinct children is spent")
        process.join()
        env.close()
        with Store(tmp_path / "store.sqlite") as store:
            assert (len(store), len(store.run("mine"))) == (2, 1)

    @pytest.mark.parametrize("stored", [False, True])
    def test_ledgers_come_back(self, stored: bool, tmp_path: Path) -> None:
        env_util = pytest.importorskip("stable_baselines3.common.env_util")
        from stable_baselines3.common.vec_env import SubprocVecEnv

        options = {"store": str(tmp_path / "store.sqlite")} if stored else {}
        venv = env_util.make_vec_env(
            "few_networks:test/Few-v0", 2, vec_env_cls=SubprocVecEnv, env_kwargs=options
        )
        venv.reset()
        for _ in range(4):
            venv.step(np.array([3, 5]))
        found = venv.get_attr("ledger")
        venv.close()
        assert [(one.proposals, one.distinct, one.repeats) for one in found] == [(2, 1, 1)] * 2
        assert found[0].best.scores["accuracy"] != found[1].best.scores["accuracy"]


class TestClosing:
    def test_account_and_budget_stay(self, env: Any, tmp_path: Path) -> None:
        ledger(env).budget = 2
        play(env, 1, 0)
        before = account(env)
        for _ in range(2):
            env.close()
            assert account(env) == before
        play(env, 2, 0)
        env.close()
        with pytest.raises(BudgetExhausted):
            play(env, 3, 0)
        env.close()
        with Store(tmp_path / "store.sqlite") as store:
            assert len(store) == 2
            assert len(store.run("mine")) == 2 * getattr(env, "num_envs", 1)

    def test_before_the_first_use(self, env: Any) -> None:
        env.close()
        play(env, 1, 0)
        assert ledger(env).distinct == 1

    def test_of_a_copy_of_what_was_closed(self, env: Any, travel: Any, tmp_path: Path) -> None:
        play(env, 1, 0)
        env.close()
        twin = travel(env)
        play(twin, 2, 0)
        twin.close()
        assert ledger(twin).distinct == 2
        with Store(tmp_path / "store.sqlite") as store:
            assert len(store) == 2

    def test_a_second_block_goes_on_with_the_account(self) -> None:
        env = make("redundant")
        for _ in range(2):
            with Budgeted(env, budget=50) as played:
                while True:
                    play(played, *[int(played.action_space.sample())] * 6)
            assert played.ended == "exhausted"
        assert played.distinct == 0

    def test_a_vector_environment_closes_what_it_opened_again(self) -> None:
        closed: list[int] = []

        class Closing(type(table())):  # type: ignore[misc]
            def close(self) -> None:
                closed.append(1)

        evaluator = Closing(table().source)
        env = NASVectorEnv(2, **answered(Few()) | {"evaluator": evaluator})
        for times in (1, 2):
            play(env, 1)
            env.close()
            env.close()
            assert len(closed) == times


class TestThreads:
    def test_an_environment_is_used_and_closed_wherever(self, env: Any, tmp_path: Path) -> None:
        errors: list[BaseException] = []

        def elsewhere(function: Callable[[], None]) -> None:
            def call() -> None:
                try:
                    function()
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
            assert errors == []

        play(env, 1, 0)
        elsewhere(lambda: play(env, 2, 0))
        play(env, 3, 0)
        elsewhere(env.close)
        with Store(tmp_path / "store.sqlite") as store:
            assert len(store) == 3

    def test_a_store_is_written_from_several_at_once(self, tmp_path: Path) -> None:
        with Store(tmp_path / "store.sqlite") as store:
            objective = make_objective("accuracy", (ACCURACY,))
            ledgers = [Ledger(table(), objective, store, run=f"run {i}") for i in range(4)]
            space = Few(choices=60, networks=60)
            batches = [[space.decode([15 * i + j]) for j in range(15)] for i in range(4)]
            errors: list[BaseException] = []

            def write(i: int) -> None:
                try:
                    for architecture in batches[i]:
                        ledgers[i].evaluate([Request(architecture)])
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert errors == []
            assert len(store) == 60
            assert [len(store.run(f"run {i}")) for i in range(4)] == [15] * 4
