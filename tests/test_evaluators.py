"""One suite over every evaluator; below it, what only a pool must withstand."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import pytest

from nas_gym.evaluation import Evaluation
from nas_gym.evaluators import (
    EVALUATORS,
    Evaluator,
    InlineEvaluator,
    Ledger,
    PoolEvaluator,
    TableEvaluator,
    make_evaluator,
)
from nas_gym.search_spaces import LayerCNN
from nas_gym.tasks import Task
from nas_gym.training import Trainer

SPACE = helpers.Probe((1, 8, 8), 10)
RECIPE = helpers.tiny(time_limit=60)

OPTIONS: dict[str, dict[str, Any]] = {"pool": {"workers": 2}}

BUILDERS: dict[str, Callable[[Trainer], Evaluator]] = {
    name: lambda trainer, name=name: make_evaluator(
        {"name": name, **OPTIONS.get(name, {})}, trainer
    )
    for name in EVALUATORS
} | {
    "table": lambda _: TableEvaluator(helpers.behave),
    "ledger": lambda trainer: Ledger(InlineEvaluator(trainer)),
    "ledger of a pool": lambda trainer: Ledger(PoolEvaluator(trainer, 1)),
}


def probe_trainer(task: Task, **changes: Any) -> Trainer:
    return Trainer(task, SPACE, RECIPE.replaced(changes))


@pytest.fixture(scope="module", params=BUILDERS)
def evaluator(request: pytest.FixtureRequest, digits: Task) -> Iterator[Evaluator]:
    evaluator = BUILDERS[request.param](probe_trainer(digits))
    yield evaluator
    evaluator.close()


@pytest.fixture(scope="module")
def pool(digits: Task) -> Iterator[PoolEvaluator]:
    """Two workers on children that misbehave; a hung one is killed soon."""
    pool = PoolEvaluator(probe_trainer(digits, time_limit=30), workers=2)
    yield pool
    pool.close()


def untimed(evaluations: list[Evaluation]) -> list[Evaluation]:
    return [replace(evaluation, seconds=0.0) for evaluation in evaluations]


NARROW, MIDDLE, WIDE = (SPACE.child(name) for name in ("narrow", "middle", "wide"))


# ---------------------------------------------------------------- the suite


def test_it_is_an_evaluator(evaluator: Evaluator) -> None:
    assert isinstance(evaluator, Evaluator)


def test_results_come_in_the_order_of_the_batch(evaluator: Evaluator) -> None:
    batch = [NARROW, WIDE, MIDDLE, SPACE.child("nan"), WIDE, NARROW]
    seeds = [5, 4, 3, 2, 1, 0]
    results = evaluator.evaluate(batch, seeds)
    assert [result.architecture for result in results] == batch
    assert [result.seed for result in results] == seeds
    assert [result.status for result in results] == ["ok", "ok", "ok", "diverged", "ok", "ok"]


def test_seeds_matter_and_default_to_zero(evaluator: Evaluator) -> None:
    by_default, zero, one = (evaluator.evaluate([MIDDLE], seeds)[0] for seeds in (None, [0], [1]))
    assert by_default.seed == zero.seed == 0
    assert one.seed == 1
    assert (by_default.val_accuracy, by_default.val_loss) == (zero.val_accuracy, zero.val_loss)
    assert (one.val_accuracy, one.val_loss) != (zero.val_accuracy, zero.val_loss)


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3]])
def test_the_number_of_seeds_must_fit(evaluator: Evaluator, seeds: list[int]) -> None:
    with pytest.raises(ValueError, match="one seed per architecture"):
        evaluator.evaluate([NARROW, WIDE], seeds)


def test_each_result_is_told_once_in_this_thread(evaluator: Evaluator) -> None:
    told: list[tuple[int, Evaluation]] = []

    def note(index: int, evaluation: Evaluation) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((index, evaluation))

    batch = [WIDE, NARROW, WIDE, SPACE.child("nan")]
    results = evaluator.evaluate(batch, [11, 11, 12, 11], on_result=note)
    assert sorted(index for index, _ in told) == [0, 1, 2, 3]
    assert [evaluation for _, evaluation in sorted(told, key=lambda pair: pair[0])] == results


def test_duplicates_have_one_result_each(evaluator: Evaluator) -> None:
    results = untimed(evaluator.evaluate([NARROW, NARROW, NARROW], [21, 21, 22]))
    assert len(results) == 3
    assert results[0] == results[1]
    assert results[2].seed == 22


def test_an_empty_batch_is_fine(evaluator: Evaluator) -> None:
    assert evaluator.evaluate([]) == []
    assert evaluator.evaluate([], []) == []


def test_the_context_is_json_and_stays(evaluator: Evaluator) -> None:
    context = evaluator.context
    assert context
    assert json.loads(json.dumps(context, allow_nan=False)) == context
    evaluator.evaluate([NARROW])
    assert evaluator.context == context


def test_a_child_that_fails_is_a_value(evaluator: Evaluator) -> None:
    (result,) = evaluator.evaluate([SPACE.child("nan")], [31])
    assert (result.status, result.val_accuracy, result.seed) == ("diverged", 0.0, 31)
    assert result.detail


def test_a_bug_in_a_child_is_its_own_exception(evaluator: Evaluator) -> None:
    with pytest.raises(helpers.Bug, match="a mistake in the space"):
        evaluator.evaluate([NARROW, SPACE.child("bug"), WIDE], [41, 41, 41])
    (result,) = evaluator.evaluate([NARROW], [42])
    assert result.ok


def test_closing_twice_is_fine_and_it_can_be_used_again(evaluator: Evaluator) -> None:
    (before,) = evaluator.evaluate([MIDDLE], [51])
    evaluator.close()
    evaluator.close()
    (after,) = evaluator.evaluate([MIDDLE], [51])
    assert untimed([after]) == untimed([before])


# ---------------------------------------------------------------- evaluators by name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("inlin", ["'inlin'", "did you mean 'inline'?", "pool"]),
        ("zzz", ["there are: inline, pool"]),
        ({"name": "inline", "workers": 2}, ["'inline'", "workers"]),
        ({"name": "pool", "worker": 2}, ["'pool'", "worker"]),
        ({"name": "pool", "workers": 0}, ["workers", "0"]),
        ("helpers:nowhere", ["helpers", "'nowhere'"]),
        ("helpers:probe_name", ["helpers:probe_name", "evaluate"]),
    ],
)
def test_bad_evaluators_are_one_clear_sentence(spec: Any, words: list[str], digits: Task) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make_evaluator(spec, probe_trainer(digits))
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_evaluators_of_ones_own_are_called_with_the_trainer(digits: Task) -> None:
    assert isinstance(make_evaluator("helpers:table", probe_trainer(digits)), TableEvaluator)
    own = make_evaluator("nas_gym.evaluators:InlineEvaluator", probe_trainer(digits))
    assert own.evaluate([NARROW])[0].ok


def test_a_table_gives_numbers_or_whole_evaluations() -> None:
    whole = Evaluation(WIDE, "ok", val_accuracy=0.5, macs=7, source="table")
    evaluator = TableEvaluator(lambda child, seed: whole if child == WIDE else 1, name="mine")
    assert evaluator.evaluate([WIDE]) == [whole]
    (result,) = evaluator.evaluate([NARROW], [9])
    assert result == Evaluation(NARROW, "ok", val_accuracy=1.0, seed=9, source="table")
    assert type(result.val_accuracy) is float
    assert evaluator.context != TableEvaluator(helpers.score).context
    placed = TableEvaluator(helpers.score, "mine", SPACE)
    assert dict(placed.context).keys() == {"table", "search_space", "code"}
    assert placed.context["table"] == "mine"
    assert placed.context["search_space"] == SPACE.describe()
    assert placed.context["code"].keys() == {"look_up", "search_space"}  # both are of the tests


@pytest.mark.parametrize("name", EVALUATORS)
def test_architectures_of_another_space_are_refused(name: str, digits: Task) -> None:
    evaluator = BUILDERS[name](probe_trainer(digits))
    with pytest.raises(ValueError, match="cannot build an architecture of the space 'other'"):
        evaluator.evaluate([replace(NARROW, space="other")])
    evaluator.close()


# ---------------------------------------------------------------- the pool


def test_a_pool_gives_the_same_bits_as_inline(digits: Task) -> None:
    space = LayerCNN((1, 8, 8), 10, depth=2)
    recipe = helpers.tiny(augmentation="crop_flip", epochs=2, max_params=40_000)
    trainer = Trainer(digits, space, recipe)
    batch = [space.decode([i, i, i, i % 3, 6 - i, i, 2, 2]) for i in range(6)]
    seeds = [0, 1, 2, 3, 4, 5]
    inline = InlineEvaluator(trainer).evaluate(batch, seeds)
    pool = PoolEvaluator(trainer, workers=2)
    assert pool.context == InlineEvaluator(trainer).context
    assert untimed(pool.evaluate(batch, seeds)) == untimed(inline)
    assert {evaluation.status for evaluation in inline} >= {"ok"}
    pool.close()


def test_a_killed_child_is_tried_again_and_disturbs_no_other(digits: Task, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    space = helpers.Probe((1, 8, 8), 10, marker=str(marker))
    pool = PoolEvaluator(Trainer(digits, space, RECIPE), workers=2)
    batch = [space.child(name) for name in ("wide", "kill_once", "middle", "narrow", "wide")]
    results = pool.evaluate(batch)
    assert marker.exists()
    assert [result.status for result in results] == ["ok"] * 5
    assert [result.architecture for result in results] == batch
    plain = InlineEvaluator(Trainer(digits, space, RECIPE)).evaluate(batch)
    assert untimed(results) == untimed(plain)
    pool.close()


def test_a_child_that_always_dies_has_crashed(pool: PoolEvaluator) -> None:
    told: list[str] = []
    batch = [NARROW, SPACE.child("kill"), WIDE]
    results = pool.evaluate(batch, [1, 2, 3], lambda _, result: told.append(result.status))
    assert [result.status for result in results] == ["ok", "crashed", "ok"]
    assert sorted(told) == ["crashed", "ok", "ok"]
    assert (results[1].architecture, results[1].seed) == (batch[1], 2)
    assert (results[1].val_accuracy, results[1].source) == (0.0, "trained")
    assert results[1].detail
    assert pool.evaluate([MIDDLE])[0].ok


def test_a_hanging_child_times_out_and_its_slot_is_replaced(
    pool: PoolEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_gym.evaluators.pool.GRACE", -27.0)  # so that three seconds are enough
    pool.evaluate([NARROW, WIDE])
    assert pool.pool is not None
    before = set(pool.pool.processes())
    started = time.monotonic()
    results = pool.evaluate([NARROW, SPACE.child("hang"), WIDE, MIDDLE])
    assert [result.status for result in results] == ["ok", "timeout", "ok", "ok"]
    assert results[1].detail
    assert time.monotonic() - started < 60
    assert len(pool.pool.processes()) in (1, 2)
    assert before - set(pool.pool.processes())
    assert [result.ok for result in pool.evaluate([NARROW, WIDE, MIDDLE])] == [True] * 3


def test_a_child_over_the_memory_limit_fails_alone(digits: Task) -> None:
    hungry = [SPACE.child("hungry"), NARROW]
    pool = PoolEvaluator(probe_trainer(digits), workers=1, memory_mb=4_000)
    results = pool.evaluate(hungry)
    assert [result.status for result in results] == ["out_of_memory", "ok"]
    assert "allocate" in results[0].detail
    pool.close()


def test_most_expensive_children_start_first(pool: PoolEvaluator) -> None:
    """On one worker they end in the order in which they start."""
    single = PoolEvaluator(pool.trainer, workers=1)
    ended: list[int] = []
    single.evaluate([NARROW, WIDE, MIDDLE], on_result=lambda index, _: ended.append(index))
    single.close()
    assert ended == [1, 2, 0]


def test_a_pool_travels_without_its_workers(pool: PoolEvaluator) -> None:
    pool.evaluate([NARROW])
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.pool is None
    assert pool.pool is not None
    assert copy.context == pool.context
    assert copy.workers == 2


def test_one_worker_per_core_by_default(digits: Task) -> None:
    assert PoolEvaluator(probe_trainer(digits)).workers == len(os.sched_getaffinity(0))


# ---------------------------------------------------------------- however the parent ends

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import helpers
from nas_gym.evaluators import PoolEvaluator
from nas_gym.tasks import load_task
from nas_gym.training import Trainer

if __name__ == "__main__":
    space = helpers.Probe((1, 8, 8), 10)
    pool = PoolEvaluator(Trainer(load_task("digits"), space, helpers.tiny()), workers=2)
    pool.evaluate([space.child("narrow"), space.child("wide")])
    print(*pool.pool.processes(), flush=True)
    try:
        pool.evaluate([space.child("hang")])  # the other worker is idle
    except KeyboardInterrupt:
        print("stopped", flush=True)
        raise
"""


class Search:
    """A process in the middle of an evaluation, with a temporary folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = folder / "script.py"
        script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )

    def under_way(self) -> list[int]:
        """Wait until the child that hangs has started; the workers' process ids."""
        workers = [int(word) for word in self.read_line().split()]
        assert len(workers) == 2
        time.sleep(0.5)
        assert not any(map(helpers.dead, workers))
        assert len(self.scratch()) == 1
        return workers

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def scratch(self) -> list[Path]:
        return list(self.folder.glob("nas-gym-*/task.pt"))

    def vanishes(self, workers: list[int], seconds: float) -> bool:
        """Whether workers and scratch folder are gone before so many seconds are over."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.scratch() and all(map(helpers.dead, workers)):
                return True
            time.sleep(0.05)
        return False


@pytest.fixture(scope="module")
def searches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Search]]:
    """Two searches; they start side by side, as that takes seconds."""
    started = [Search(tmp_path_factory.mktemp("search")) for _ in range(2)]
    yield list(started)
    for search in started:
        with suppress(ProcessLookupError):  # the workers too, should they have stayed
            os.killpg(search.process.pid, signal.SIGKILL)
        search.process.communicate()


def test_nothing_is_left_of_a_killed_search(searches: list[Search]) -> None:
    search = searches.pop()
    workers = search.under_way()
    search.process.kill()
    search.process.wait(timeout=10)
    assert search.vanishes(workers, seconds=20)


def test_ctrl_c_ends_a_search_at_once(searches: list[Search]) -> None:
    search = searches.pop()
    workers = search.under_way()
    started = time.monotonic()
    os.killpg(search.process.pid, signal.SIGINT)
    assert search.read_line() == "stopped\n"
    assert time.monotonic() - started < 3
    _, errors = search.process.communicate(timeout=30)
    assert search.process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1  # the workers keep silent
    assert search.vanishes(workers, seconds=5)
