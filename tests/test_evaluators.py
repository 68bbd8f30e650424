"""One suite over every evaluator; below it, what only a pool must withstand."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import helpers
import pytest

from nas_gym import make_problem
from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import (
    Evaluator,
    ExecutorEvaluator,
    InlineEvaluator,
    PoolEvaluator,
    make_evaluator,
)
from nas_gym.search_spaces import LayerCNN
from nas_gym.sources import FunctionSource, Source, TrainingSource
from nas_gym.tasks import Task

SPACE = helpers.Probe((1, 8, 8), 10)
RECIPE = helpers.tiny(time_limit=60)


def training(task: Task, **changes: Any) -> TrainingSource:
    return TrainingSource(task, SPACE, RECIPE.replaced(changes))


def of_threads() -> Executor:
    return ThreadPoolExecutor(2)


def of_processes(method: str, workers: int = 2) -> Executor:
    context = multiprocessing.get_context(method)
    if method == "forkserver":  # as the pool has it; the first to start the server says what
        context.set_forkserver_preload(["nas_gym.evaluators.worker", "torch._dynamo"])
    return ProcessPoolExecutor(workers, context)


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "threads": of_threads,
    "forkserver": lambda: of_processes("forkserver"),
    "spawn": lambda: of_processes("spawn", 1),
}
SOURCES: dict[str, Callable[[Task], Source]] = {
    "training": training,
    "function": lambda _: helpers.answers(helpers.behave, "behave", SPACE),
}
CASES = [
    ("inline", "training"),
    ("pool", "training"),
    *((name, "training") for name in EXECUTORS),
    ("inline", "function"),
    ("pool", "function"),
]


@pytest.fixture(scope="module", params=CASES, ids=" ".join)
def evaluator(request: pytest.FixtureRequest, digits: Task) -> Iterator[Evaluator]:
    where, what = request.param
    source = SOURCES[what](digits)
    executor = EXECUTORS[where]() if where in EXECUTORS else None
    spec = {"name": where, **({"workers": 2} if where == "pool" else {})}
    evaluator = make_evaluator(spec if executor is None else executor, source)
    yield evaluator
    evaluator.close()
    if executor is not None:
        executor.shutdown()


@pytest.fixture(scope="module")
def pool(digits: Task) -> Iterator[PoolEvaluator]:
    """Two workers on children that misbehave; a hung one is killed soon."""
    pool = PoolEvaluator(training(digits, time_limit=30), workers=2)
    yield pool
    pool.close()


def asked(name: str, seed: int = 0) -> Request:
    return Request(SPACE.child(name), seed)


def evaluate(evaluator: Evaluator, *requests: Request) -> list[Evaluation]:
    """All at once, and what became of them in their order."""
    futures = [evaluator.submit(request) for request in requests]
    return [future.result(timeout=120) for future in futures]


def untimed(evaluations: list[Evaluation]) -> list[Evaluation]:
    return [replace(evaluation, seconds=0.0) for evaluation in evaluations]


# ---------------------------------------------------------------- the suite


def test_it_is_an_evaluator(evaluator: Evaluator) -> None:
    assert isinstance(evaluator, Evaluator)
    assert isinstance(evaluator.source, Source)
    assert evaluator.slots >= 1


def test_requests_become_futures_of_evaluations_of_them(evaluator: Evaluator) -> None:
    batch = [
        asked(name, seed)
        for seed, name in enumerate(["narrow", "wide", "middle", "nan", "wide", "narrow"])
    ]
    futures = [evaluator.submit(request) for request in batch]
    assert all(isinstance(future, Future) for future in futures)
    wait(futures, timeout=120)
    assert all(future.done() for future in futures)
    results = [future.result() for future in futures]
    assert [result.request for result in results] == batch
    assert [result.status for result in results] == ["ok", "ok", "ok", "diverged", "ok", "ok"]


def test_results_are_those_of_inline(evaluator: Evaluator) -> None:
    batch = [asked(name, 3) for name in ("wide", "narrow", "nan", "middle")]
    there = evaluate(evaluator, *batch)
    here = evaluate(InlineEvaluator(evaluator.source), *batch)
    assert untimed(there) == untimed(here)


def test_seeds_matter(evaluator: Evaluator) -> None:
    zero, again, one = evaluate(evaluator, *(asked("middle", seed) for seed in (0, 0, 1)))
    assert zero.scores == again.scores
    assert zero.scores != one.scores
    assert Request(SPACE.child("middle")) == asked("middle", 0)


def test_what_depends_on_a_result_is_json_and_stays(evaluator: Evaluator) -> None:
    context = evaluator.source.context
    assert context
    assert json.loads(json.dumps(context, allow_nan=False)) == context
    evaluate(evaluator, asked("narrow"))
    assert evaluator.source.context == context


def test_a_child_that_fails_is_a_value(evaluator: Evaluator) -> None:
    (result,) = evaluate(evaluator, asked("nan", 31))
    assert (result.status, result.scores, result.seed) == ("diverged", {}, 31)
    assert result.detail


def test_a_bug_in_a_child_is_the_exception_of_its_own_future(evaluator: Evaluator) -> None:
    before, bug, after = (evaluator.submit(asked(name, 41)) for name in ("narrow", "bug", "wide"))
    error = bug.exception(timeout=120)
    assert type(error) is helpers.Bug
    assert "a mistake in the space" in str(error)
    assert before.result(timeout=120).ok
    assert after.result(timeout=120).ok


def test_the_source_of_another_space_is_a_bug(evaluator: Evaluator) -> None:
    if not isinstance(evaluator.source, TrainingSource):
        pytest.skip("a function may answer for anything")
    other = replace(asked("narrow"), architecture=replace(SPACE.child("narrow"), space="other"))
    with pytest.raises(ValueError, match="cannot build an architecture of the space 'other'"):
        evaluate(evaluator, other)


def test_a_future_is_told_of_when_it_is_done(evaluator: Evaluator) -> None:
    told: list[Future[Evaluation]] = []
    done = threading.Event()

    def note(future: Future[Evaluation]) -> None:
        told.append(future)
        done.set()

    future = evaluator.submit(asked("narrow", 45))
    future.add_done_callback(note)
    assert done.wait(120)
    assert told == [future]


def test_a_request_that_waits_can_be_taken_back(evaluator: Evaluator) -> None:
    futures = [evaluator.submit(asked("wide", seed)) for seed in range(60, 72)]
    cancelled = [future for future in reversed(futures) if future.cancel()]
    kept = [future for future in futures if future not in cancelled]
    assert all(future.result(timeout=120).ok for future in kept)
    for future in cancelled:
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result()
    if isinstance(evaluator, InlineEvaluator):
        assert not cancelled
    else:
        assert cancelled
    assert wait(futures, timeout=120).not_done == set()
    assert evaluate(evaluator, asked("narrow"))[0].ok


def test_closing_twice_is_fine_and_it_can_be_used_again(evaluator: Evaluator) -> None:
    before = evaluate(evaluator, asked("middle", 51))
    evaluator.close()
    evaluator.close()
    after = evaluate(evaluator, asked("middle", 51))
    assert untimed(after) == untimed(before)


def test_closing_before_any_use_is_fine(digits: Task) -> None:
    with of_threads() as executor:
        for spec in ("inline", "pool", executor):
            evaluator = make_evaluator(spec, training(digits))
            evaluator.close()
            evaluator.close()


# ---------------------------------------------------------------- evaluators by name


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("inlin", ["'inlin'", "did you mean 'inline'?", "pool"]),
        ("zzz", ["there are: dask, inline, pool, ray"]),
        ({"name": "inline", "workers": 2}, ["'inline'", "workers"]),
        ({"name": "pool", "worker": 2}, ["'pool'", "worker"]),
        ({"name": "pool", "workers": 0}, ["workers", "0"]),
        ("helpers:nowhere", ["helpers", "'nowhere'"]),
        ("helpers:probe_name", ["helpers:probe_name", "submit"]),
        (3, ["3", "submit"]),
        (InlineEvaluator, ["InlineEvaluator", "submit"]),
    ],
)
def test_bad_evaluators_are_one_clear_sentence(spec: Any, words: list[str], digits: Task) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make_evaluator(spec, training(digits))
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_evaluators_of_ones_own_are_called_with_the_source(digits: Task) -> None:
    source = training(digits)
    own = make_evaluator("nas_gym.evaluators:InlineEvaluator", source)
    assert own.source is source
    assert evaluate(own, asked("narrow"))[0].ok
    other = make_evaluator("helpers:table", source)  # it may ask somebody else
    assert isinstance(other.source, FunctionSource)


def test_a_ready_evaluator_keeps_its_source(digits: Task) -> None:
    ready = InlineEvaluator(helpers.answers())
    assert make_evaluator(ready, training(digits)) is ready
    assert ready.source == helpers.answers()


# ---------------------------------------------------------------- functions instead of training


def test_a_function_gives_a_number_all_scores_or_whole_evaluations() -> None:
    narrow, middle, wide = (asked(name, 9) for name in ("narrow", "middle", "wide"))
    whole = Evaluation(wide, "ok", {"accuracy": 0.5}, {"macs": 7}, origin="table")
    answers = {"narrow": 1, "middle": {"accuracy": 1, "latency": 3}, "wide": whole}
    source = helpers.answers(lambda child, _: answers[child.layers[0][0]], "mine")
    assert source(wide) is whole
    one, several = source(narrow), source(middle)
    assert one == Evaluation(narrow, "ok", {"accuracy": 1.0}, origin="table")
    assert several == Evaluation(middle, "ok", {"accuracy": 1.0, "latency": 3.0}, origin="table")
    assert {type(value) for value in (*one.scores.values(), *several.scores.values())} == {float}


def test_a_function_is_known_by_its_name_its_space_and_its_code() -> None:
    named = [helpers.answers(name="one"), helpers.answers(name="two")]
    assert named[0].context != named[1].context
    other = helpers.answers(make_problem, "one").context  # code of this package has a version
    assert other == {"source": "one"}
    placed = helpers.answers(name="mine", space=SPACE)
    assert placed.context.keys() == {"source", "search_space", "code"}
    assert placed.context["source"] == "mine"
    assert placed.context["search_space"] == SPACE.describe()
    assert placed.context["code"].keys() == {"source", "search_space"}  # both are of the tests


def test_where_it_runs_is_no_part_of_what_a_result_depends_on(digits: Task) -> None:
    source = training(digits)
    with of_threads() as executor:
        evaluators = [make_evaluator(spec, source) for spec in ("inline", "pool", executor)]
    assert all(evaluator.source is source for evaluator in evaluators)


def test_a_source_has_a_metric() -> None:
    with pytest.raises(ValueError, match="mine needs at least one metric") as caught:
        FunctionSource(helpers.score, "mine", metrics=())
    assert helpers.is_sentence(caught.value)


# ---------------------------------------------------------------- executors


def test_the_slots_of_an_executor_are_its_workers(digits: Task) -> None:
    class Plain(Executor):
        """Says nothing of workers."""

        def submit(self, function: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_result(function(*args, **kwargs))
            return future

    with ThreadPoolExecutor(3) as executor:
        assert ExecutorEvaluator(executor, training(digits)).slots == 3
    plain = ExecutorEvaluator(Plain(), training(digits))
    assert plain.slots == 1
    assert evaluate(plain, asked("narrow"))[0].ok
    plain.close()


def test_an_executor_is_left_running_and_nothing_on_disk(
    digits: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with of_threads() as executor:
        evaluator = ExecutorEvaluator(executor, training(digits))
        evaluate(evaluator, asked("narrow"))
        assert len(list(tmp_path.glob("nas-gym-*/task.pt"))) == 1
        evaluator.close()
        assert list(tmp_path.iterdir()) == []
        assert executor.submit(abs, -3).result() == 3
        evaluate(evaluator, asked("narrow"))
        del evaluator  # forgotten, not closed
        assert list(tmp_path.iterdir()) == []


def test_two_evaluators_share_an_executor(digits: Task) -> None:
    """Its workers keep one source at a time; each is answered by its own."""
    sources = [training(digits), training(digits, epochs=2)]
    with of_threads() as executor:
        evaluators = [ExecutorEvaluator(executor, source) for source in sources]
        request = asked("wide", 5)
        futures = [evaluator.submit(request) for _ in range(3) for evaluator in evaluators]
        results = [future.result(timeout=120) for future in futures]
        assert [result.epochs for result in results] == [1, 2] * 3
        plain = [source(request).scores for source in sources]
        assert [result.scores for result in results] == plain * 3
        for evaluator in evaluators:
            evaluator.close()


def test_an_executor_does_not_travel(digits: Task) -> None:
    with of_threads() as executor:
        evaluator = ExecutorEvaluator(executor, training(digits))
        with pytest.raises(TypeError, match="does not travel") as caught:
            pickle.dumps(evaluator)
        assert helpers.is_sentence(caught.value)


def test_an_executor_that_is_shut_down_says_so(digits: Task) -> None:
    executor = of_threads()
    executor.shutdown()
    evaluator = ExecutorEvaluator(executor, training(digits))
    with pytest.raises(RuntimeError, match="after shutdown"):
        evaluator.submit(asked("narrow"))
    evaluator.close()


def test_what_cannot_travel_is_one_clear_sentence() -> None:
    lock = threading.Lock()

    def locked(architecture: Any, seed: int) -> float:
        with lock:
            return 0.5

    source = helpers.answers(locked)
    pool = PoolEvaluator(source, workers=1)
    with of_threads() as executor:
        for evaluator in (pool, ExecutorEvaluator(executor, source)):
            with pytest.raises(ValueError, match="cannot be sent to a worker process") as caught:
                evaluator.submit(asked("narrow"))
            assert helpers.is_sentence(caught.value, "lock", "evaluator='inline'")
            evaluator.close()
    assert evaluate(InlineEvaluator(source), asked("narrow"))[0].ok


@dataclass(frozen=True)
class Shipped:
    """A source that says itself how it travels."""

    value: float
    shipped: bool = False

    context = {"source": "shipped"}  # noqa: RUF012
    metrics = helpers.answers().metrics

    def __call__(self, request: Request) -> Evaluation:
        assert self.shipped
        return Evaluation(request, "ok", {"accuracy": self.value})

    def ship(self, folder: Path) -> Callable[[], Shipped]:
        (folder / "value").write_text(str(self.value), encoding="utf-8")
        return lambda: Shipped(float((folder / "value").read_text(encoding="utf-8")), True)


def test_a_source_may_say_how_it_travels() -> None:
    pool = PoolEvaluator(Shipped(0.25), workers=1)
    with of_threads() as executor:
        for evaluator in (pool, ExecutorEvaluator(executor, Shipped(0.25))):
            (result,) = evaluate(evaluator, asked("narrow"))
            assert result.scores == {"accuracy": 0.25}
            evaluator.close()


# ---------------------------------------------------------------- the pool


def test_a_pool_gives_the_same_bits_as_inline(digits: Task) -> None:
    space = LayerCNN((1, 8, 8), 10, depth=2)
    recipe = helpers.tiny(augmentation="crop_flip", epochs=2, max_params=40_000)
    source = TrainingSource(digits, space, recipe)
    actions = [[i, i, i, i % 3, 6 - i, i, 2, 2] for i in range(6)]
    batch = [Request(space.decode(row), seed) for seed, row in enumerate(actions)]
    inline = evaluate(InlineEvaluator(source), *batch)
    pool = PoolEvaluator(source, workers=2)
    assert untimed(evaluate(pool, *batch)) == untimed(inline)
    assert {evaluation.status for evaluation in inline} >= {"ok"}
    pool.close()


def test_a_killed_child_is_tried_again_and_disturbs_no_other(digits: Task, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    space = helpers.Probe((1, 8, 8), 10, marker=str(marker))
    source = TrainingSource(digits, space, RECIPE)
    pool = PoolEvaluator(source, workers=2)
    names = ("wide", "kill_once", "middle", "narrow", "wide")
    batch = [Request(space.child(name)) for name in names]
    results = evaluate(pool, *batch)
    assert marker.exists()
    assert [result.status for result in results] == ["ok"] * 5
    assert [result.request for result in results] == batch
    assert untimed(results) == untimed(evaluate(InlineEvaluator(source), *batch))
    pool.close()


def test_a_child_that_always_dies_has_crashed(pool: PoolEvaluator) -> None:
    batch = [asked("narrow", 1), asked("kill", 2), asked("wide", 3)]
    results = evaluate(pool, *batch)
    assert [result.status for result in results] == ["ok", "crashed", "ok"]
    assert results[1].request == batch[1]
    assert (results[1].scores, results[1].origin) == ({}, "trained")
    assert results[1].detail
    assert evaluate(pool, asked("middle"))[0].ok


def test_a_hanging_child_times_out_and_its_slot_is_replaced(
    pool: PoolEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_gym.evaluators.pool.GRACE", -27.0)  # so that three seconds are enough
    evaluate(pool, asked("narrow"), asked("wide"))
    assert pool.pool is not None
    before = set(pool.pool.processes())
    names = ("narrow", "hang", "wide", "middle")
    results = evaluate(pool, *(asked(name) for name in names))
    assert [result.status for result in results] == ["ok", "timeout", "ok", "ok"]
    assert results[1].detail
    assert len(pool.pool.processes()) in (1, 2)
    assert before - set(pool.pool.processes())
    after = evaluate(pool, *(asked(name) for name in ("narrow", "wide", "middle")))
    assert [result.ok for result in after] == [True] * 3


def test_a_source_of_ones_own_may_have_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_gym.evaluators.pool.GRACE", 0.0)

    def answer(architecture: Any, seed: int) -> float:
        while architecture == SPACE.child("hang"):
            time.sleep(1)
        return 0.5

    source = helpers.answers(answer)
    object.__setattr__(source, "time_limit", 1.0)
    pool = PoolEvaluator(source, workers=1)
    hung, fine = evaluate(pool, asked("hang"), asked("narrow"))
    assert (hung.status, fine.status) == ("timeout", "ok")
    assert "1 s" in hung.detail
    pool.close()


def test_cancelling_a_child_that_runs_kills_its_worker(pool: PoolEvaluator) -> None:
    evaluate(pool, asked("narrow"), asked("wide"))
    assert pool.pool is not None
    before = set(pool.pool.processes())
    hung, other = pool.submit(asked("hang")), pool.submit(asked("middle"))
    assert other.result(timeout=120).ok  # so the other one has a worker to itself
    time.sleep(0.5)
    assert hung.cancel()
    assert hung.cancelled()
    assert wait([hung], timeout=60).done == {hung}
    deadline = time.monotonic() + 30
    while before <= set(pool.pool.processes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (killed,) = before - set(pool.pool.processes())
    assert helpers.dead(killed)
    after = evaluate(pool, *(asked(name) for name in ("narrow", "wide", "middle")))
    assert [result.ok for result in after] == [True] * 3


def test_a_cancelled_child_is_not_tried_again(digits: Task, tmp_path: Path) -> None:
    """Its worker dies as that of a crash, which is tried twice."""
    tries = tmp_path / "tries"

    def answer(architecture: Any, seed: int) -> float:
        with tries.open("a", encoding="utf-8") as file:
            file.write("x")
        while architecture == SPACE.child("hang"):
            time.sleep(1)
        return 0.5

    pool = PoolEvaluator(helpers.answers(answer), workers=1)
    hung = pool.submit(asked("hang"))
    deadline = time.monotonic() + 120
    while not tries.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    hung.cancel()
    assert evaluate(pool, asked("narrow"))[0].ok
    assert tries.read_text(encoding="utf-8") == "xx"  # of the two children
    pool.close()


def test_a_child_over_the_memory_limit_fails_alone(digits: Task) -> None:
    pool = PoolEvaluator(training(digits), workers=1, memory_mb=4_000)
    results = evaluate(pool, asked("hungry"), asked("narrow"))
    assert [result.status for result in results] == ["out_of_memory", "ok"]
    assert "allocate" in results[0].detail
    pool.close()


def test_a_pool_travels_without_its_workers(pool: PoolEvaluator) -> None:
    evaluate(pool, asked("narrow"))
    copy = pickle.loads(pickle.dumps(pool))
    assert copy.pool is None
    assert pool.pool is not None
    assert copy.source.context == pool.source.context
    assert copy.slots == 2


def test_one_worker_per_core_by_default(digits: Task) -> None:
    assert PoolEvaluator(training(digits)).slots == len(os.sched_getaffinity(0))


# ---------------------------------------------------------------- however the parent ends

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import helpers
from nas_gym import Ledger, PoolEvaluator, Request
from nas_gym.objectives import make_objective
from nas_gym.sources import TrainingSource
from nas_gym.tasks import load_task

if __name__ == "__main__":
    space = helpers.Probe((1, 8, 8), 10)
    source = TrainingSource(load_task("digits"), space, helpers.tiny())
    pool = PoolEvaluator(source, workers=2)
    ledger = Ledger(pool, make_objective("accuracy", source.metrics))
    ledger.evaluate([Request(space.child(name)) for name in ("narrow", "wide")])
    print(*pool.pool.processes(), flush=True)
    try:
        ledger.evaluate([Request(space.child("hang"))])  # the other worker is idle
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
    os.killpg(search.process.pid, signal.SIGINT)
    assert search.read_line() == "stopped\n"
    _, errors = search.process.communicate(timeout=30)
    assert search.process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1  # the workers keep silent
    assert search.vanishes(workers, seconds=5)
