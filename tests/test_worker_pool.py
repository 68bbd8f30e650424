from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import helpers
import pytest

from nas_gym.evaluators.worker_pool import WorkerDied, WorkerPool, WorkerTimeout


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(2, helpers.nothing)
    yield pool
    pool.close()


def run(
    pool: WorkerPool, function: Callable[..., Any], calls: list[tuple[Any, ...]], **kwargs: Any
) -> list[Any]:
    results: dict[int, Any] = {}

    def note(index: int, result: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert index not in results
        results[index] = result

    pool.run(function, calls, note, **kwargs)
    return [results[index] for index in range(len(calls))]


def test_calls_run_and_workers_stay(pool: WorkerPool) -> None:
    assert run(pool, abs, [(-n,) for n in range(7)]) == list(range(7))
    workers = sorted(pool.processes())
    assert len(workers) == 2
    assert os.getpid() not in workers
    assert set(run(pool, helpers.process_id, [()] * 4)) <= set(workers)
    assert sorted(pool.processes()) == workers


def test_no_calls_start_nothing() -> None:
    pool = WorkerPool(1, helpers.nothing)
    assert run(pool, abs, []) == []
    assert pool.processes() == []
    pool.close()


def test_workers_run_at_the_same_time(pool: WorkerPool, tmp_path: Path) -> None:
    """Each of the two waits for the other: one after the other they would wait for ever."""
    assert run(pool, helpers.meet, [(tmp_path, 0), (tmp_path, 1)], timeout=60) == [0, 1]


def test_an_exception_surfaces_and_the_pool_goes_on(pool: WorkerPool) -> None:
    with pytest.raises(helpers.Bug, match="on purpose"):
        run(pool, helpers.fail, [("on purpose",), ("on purpose",)])
    assert run(pool, abs, [(-3,)]) == [3]


def test_an_exception_that_does_not_travel_is_no_crash(pool: WorkerPool) -> None:
    with pytest.raises(RuntimeError, match="NeedsTwo: needs two"):
        run(pool, helpers.fail_unpicklable, [()])
    assert run(pool, abs, [(-3,)]) == [3]


def test_a_killed_worker_costs_one_try_of_one_call(pool: WorkerPool, tmp_path: Path) -> None:
    marker = tmp_path / "tried"
    calls = [(str(marker), 1), ("", 2), ("", 3), ("", 4)]
    assert run(pool, helpers.die_once, calls) == [1, 2, 3, 4]
    assert marker.exists()
    assert len(pool.processes()) == 2


def test_a_call_that_always_dies_is_a_result(pool: WorkerPool) -> None:
    results = run(pool, helpers.die_if, [(True,), (False,), (False,)])
    assert isinstance(results[0], WorkerDied)
    assert results[1:] == ["alive", "alive"]
    assert run(pool, abs, [(-3,)]) == [3]


def test_a_hung_call_is_killed_and_the_others_finish(pool: WorkerPool) -> None:
    before = set(pool.processes())
    results = run(pool, helpers.hang_if, [(True,), (False,), (False,)], timeout=1.0)
    assert isinstance(results[0], WorkerTimeout)
    assert "1 s" in str(results[0])
    assert results[1:] == ["awake", "awake"]
    assert run(pool, abs, [(-3,), (-4,), (-5,)]) == [3, 4, 5]
    assert len(before - set(pool.processes())) == 1
    assert all(helpers.dead(process) for process in before - set(pool.processes()))


def test_a_worker_killed_while_idle_is_replaced(pool: WorkerPool) -> None:
    run(pool, abs, [(-1,), (-2,)])
    for victim in pool.processes():
        os.kill(victim, signal.SIGKILL)
    time.sleep(0.2)
    assert run(pool, abs, [(-3,), (-4,), (-5,)]) == [3, 4, 5]


def test_an_exception_of_the_listener_stops_the_rest(pool: WorkerPool) -> None:
    def refuse(index: int, result: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pool.run(helpers.hang_if, [(False,), (True,)], refuse)
    assert run(pool, abs, [(-3,), (-4,)]) == [3, 4]


def test_setup_runs_once_in_every_worker(tmp_path: Path) -> None:
    pool = WorkerPool(2, helpers.leave_trace, (tmp_path,))
    run(pool, abs, [(-n,) for n in range(6)])
    assert {int(path.name) for path in tmp_path.iterdir()} == set(pool.processes())
    pool.close()


def test_what_a_setup_raises_surfaces_and_leaves_no_worker() -> None:
    pool = WorkerPool(1, helpers.fail, ("no set-up",))
    for _ in range(2):
        with pytest.raises(helpers.Bug, match="no set-up"):
            run(pool, abs, [(-3,)])
        assert pool.processes() == []
    pool.close()


def test_a_worker_that_cannot_start_is_explained() -> None:
    pool = WorkerPool(1, helpers.die_if, (True,))
    with pytest.raises(RuntimeError, match="did not start") as caught:
        run(pool, abs, [(-3,)])
    assert helpers.is_sentence(caught.value)
    pool.close()


def test_closing_ends_the_workers_and_the_scratch_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    pool = WorkerPool(2, helpers.nothing, (), scratch)
    run(pool, abs, [(-1,), (-2,)])
    processes = pool.processes()
    assert len(processes) == 2
    assert scratch.exists()
    pool.close()
    pool.close()
    assert pool.processes() == []
    assert not scratch.exists()
    assert all(helpers.dead(process) for process in processes)


@pytest.mark.parametrize("workers", [0, -2])
def test_a_pool_needs_workers(workers: int) -> None:
    with pytest.raises(ValueError, match=f"workers must be at least 1, got {workers}"):
        WorkerPool(workers, helpers.nothing)
