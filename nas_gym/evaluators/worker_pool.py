"""Processes that may die: one single-worker executor per slot.

A worker that is killed, or killed here because its time is up, costs the one call it was busy
with; its slot gets a new process and the other slots never notice. `ProcessPoolExecutor` with
several workers would fail every call in flight.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

START_TIMEOUT = 300.0  # seconds; a first worker imports torch, on a busy machine that takes long
# The optimisers import torch._dynamo when first used: seconds that every worker would pay.
PRELOAD = ["nas_gym.evaluators.worker", "torch._dynamo"]


class WorkerDied(Exception):
    """The worker's process ended in the middle of the call, twice."""


class WorkerTimeout(Exception):
    """The call took longer than allowed, and its worker was killed."""


class WorkerPool:
    """Runs calls of picklable functions on a fixed number of worker processes.

    Workers ignore Ctrl-C (this process stops them), offer themselves first when the machine runs
    out of memory, and end with this process, however it ends.

    Args:
        workers: Number of slots, each with one process.
        setup: Called once in every new worker.
        arguments: Its arguments.
        scratch: A folder to delete when the pool, or this process, ends.
        start_method: ``forkserver`` starts a worker in a tenth of a second with torch imported;
            ``spawn`` is for where that does not work.
    """

    def __init__(
        self,
        workers: int,
        setup: Callable[..., None],
        arguments: tuple[Any, ...] = (),
        scratch: Path | None = None,
        start_method: str = "forkserver",
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            context.set_forkserver_preload(PRELOAD)
            _start_fork_server()
        self._clean_up = (
            None
            if scratch is None
            else weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        )
        initializer = (_prepare, (str(scratch) if scratch else None, setup, arguments))
        self._slots = [_Slot(context, initializer) for _ in range(workers)]

    def run(
        self,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        on_result: Callable[[int, Any], None],
        timeout: float | None = None,
    ) -> None:
        """Run ``function(*call)`` for every call, as many at a time as there are workers.

        Args:
            function: A module-level function.
            calls: Its arguments; started in this order.
            on_result: Called in this thread with the position of each call and what it returned,
                or with a `WorkerDied` or `WorkerTimeout`. A call whose worker dies is tried once
                more, since the cause may lie outside it.
            timeout: Seconds after which a call's worker is killed.

        Raises:
            Exception: Whatever a call raises; the other workers are stopped.
        """
        queue = deque(range(len(calls)))
        tries = [0] * len(calls)
        running: dict[Future[Any], tuple[_Slot, int, float]] = {}
        idle = list(self._slots)
        try:
            while queue or running:
                while queue and idle:
                    slot, index = idle.pop(), queue.popleft()
                    tries[index] += 1
                    future = slot.submit(_call, (function, calls[index]))
                    running[future] = (slot, index, time.monotonic())
                done = self._wait(running, timeout)
                for future in done:
                    slot, index, _ = running.pop(future)
                    idle.append(slot)
                    try:
                        result = future.result()
                    except BrokenProcessPool:
                        slot.kill()
                        if tries[index] < 2:
                            queue.appendleft(index)
                            continue
                        result = WorkerDied("its process died, twice")
                    on_result(index, result)
                for future, (slot, index, started) in list(running.items()):
                    if timeout is not None and time.monotonic() - started > timeout:
                        del running[future]
                        slot.kill()
                        idle.append(slot)
                        on_result(index, WorkerTimeout(f"killed after {timeout:g} s"))
        finally:
            for slot, _, _ in running.values():  # only when an exception is on its way
                slot.kill()

    @staticmethod
    def _wait(
        running: dict[Future[Any], tuple[_Slot, int, float]], timeout: float | None
    ) -> set[Future[Any]]:
        patience = None
        if timeout is not None:
            oldest = min(started for _, _, started in running.values())
            patience = max(0.0, oldest + timeout - time.monotonic()) + 0.01
        return wait(running, timeout=patience, return_when=FIRST_COMPLETED).done

    def processes(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [slot.process for slot in self._slots if slot.process is not None]

    def close(self) -> None:
        """End every worker; closing twice is fine."""
        for slot in self._slots:
            slot.kill()
        if self._clean_up is not None:
            self._clean_up()


class _Slot:
    """One worker process, replaced when it is gone."""

    def __init__(self, context: Any, initializer: tuple[Callable[..., None], tuple[Any, ...]]):
        self._context = context
        self._initializer = initializer
        self._executor: ProcessPoolExecutor | None = None
        self.process: int | None = None

    def submit(self, function: Callable[..., Any], call: tuple[Any, ...]) -> Future[Any]:
        if self._executor is not None:
            try:
                return self._executor.submit(function, *call)
            except BrokenProcessPool:  # killed while it was idle
                self.kill()
        self._start()
        assert self._executor is not None
        return self._executor.submit(function, *call)

    def _start(self) -> None:
        setup, arguments = self._initializer
        self._executor = ProcessPoolExecutor(1, self._context, setup, arguments)
        try:
            # Waiting here keeps the start out of the child's time limit.
            self.process = self._executor.submit(os.getpid).result(START_TIMEOUT)
        except (BrokenProcessPool, TimeoutError) as error:
            self.kill()
            raise RuntimeError(
                "a worker process did not start; its own error message stands above. A script "
                "that uses the pool needs its code under `if __name__ == '__main__':`"
            ) from error
        except BaseException:  # Ctrl-C
            _end_fork_server()  # it would go on to start a worker that finds nobody
            raise

    def kill(self) -> None:
        executor, self._executor = self._executor, None
        process, self.process = self.process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if executor is not None:
            executor.shutdown(wait=process is not None, cancel_futures=True)


def _start_fork_server() -> None:
    """Start it deaf to Ctrl-C, which a terminal sends to it too while it still imports."""
    resource_tracker.ensure_running()  # which would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_fork_server() -> None:
    """Kill it; the next process that needs one starts another."""
    process = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if process is not None:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _prepare(scratch: str | None, setup: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """First thing in a new worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")
    setup(*arguments)


def _call(function: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """What runs in a worker. An exception that cannot travel would look like a dead process."""
    try:
        return function(*call)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


def _end_with_parent(scratch: str | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)
