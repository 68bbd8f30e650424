from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, wait
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


def test_a_hung_call_is_killed_and_the_others_finish(pool: WorkerPool, tmp_path: Path) -> None:
    run(pool, helpers.meet, [(tmp_path, 0), (tmp_path, 1)], timeout=60)
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


def test_calls_are_futures(pool: WorkerPool) -> None:
    futures = [pool.submit(abs, (-n,)) for n in range(4)]
    assert [future.result(timeout=60) for future in futures] == [0, 1, 2, 3]
    assert not any(future.cancel() for future in futures)  # too late


def test_a_call_that_is_taken_back_is_not_made(tmp_path: Path) -> None:
    pool = WorkerPool(1, helpers.nothing)
    first = pool.submit(helpers.hang_if, (True,))
    second = pool.submit(helpers.leave_trace, (tmp_path,))
    assert second.cancel()
    first.cancel()  # its worker is killed, and it is not tried again
    with pytest.raises(CancelledError):
        first.result(timeout=60)
    assert pool.submit(abs, (-3,)).result(timeout=60) == 3
    assert list(tmp_path.iterdir()) == []
    pool.close()


def test_a_call_that_runs_is_taken_back_with_its_worker(pool: WorkerPool) -> None:
    run(pool, abs, [(-1,), (-2,)])
    before = set(pool.processes())
    hung = pool.submit(helpers.hang_if, (True,))
    time.sleep(0.3)
    hung.cancel()
    with pytest.raises(CancelledError):
        hung.result(timeout=60)
    assert run(pool, abs, [(-3,), (-4,), (-5,)]) == [3, 4, 5]
    (killed,) = before - set(pool.processes())
    assert helpers.dead(killed)


def test_closing_ends_calls_that_run_and_wait() -> None:
    pool = WorkerPool(1, helpers.nothing)
    assert pool.submit(abs, (-3,)).result(timeout=60) == 3
    calls = [pool.submit(helpers.hang_if, (True,)) for _ in range(2)]
    time.sleep(0.3)
    pool.close()
    try:
        states = wait(calls, timeout=20)
        assert states.not_done == set()
        assert pool.processes() == []
    finally:
        for call in calls:
            call.cancel()
        wait(calls, timeout=60)


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


WAITING = """
import helpers
from nas_gym.evaluators.worker_pool import WorkerPool

pool = WorkerPool(1, helpers.nothing)
print(pool.submit(abs, (-3,)).result(), flush=True)
pool.submit(helpers.hang_if, (True,)).result()
"""


def test_ctrl_c_ends_a_program_that_waits_for_a_call() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "3\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert process.returncode == -signal.SIGINT
