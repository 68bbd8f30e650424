"""Processes that may die: one single-worker executor per slot.

A worker that is killed, or killed here because its time is up, costs the one call it was busy
with; its slot gets a new process and the other slots never notice. `ProcessPoolExecutor` with
several workers would fail every call in flight.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any

from nas_gym.evaluators import parcels

START_TIMEOUT = 300.0  # seconds; a first worker imports torch, on a busy machine that takes long
# The optimisers import torch._dynamo when first used: seconds that every worker would pay.
PRELOAD = ["nas_gym.evaluators.worker", "torch._dynamo"]


class WorkerDied(Exception):
    """The worker's process ended in the middle of the call, twice."""


class WorkerTimeout(Exception):
    """The call took longer than allowed, and its worker was killed."""


class WorkerPool:
    """Runs calls of functions on a fixed number of worker processes.

    Functions, arguments and results travel as `nas_gym.evaluators.parcels`. Workers ignore Ctrl-C
    (this process stops them), offer themselves first when the machine runs out of memory, and end
    with this process, however it ends.

    Args:
        workers: Number of slots, each with one process.
        setup: Called once in every new worker.
        arguments: Its arguments.
        scratch: A folder to delete when the pool, or this process, ends.
        start_method: ``forkserver`` starts a worker in a tenth of a second with torch imported;
            ``spawn`` is for where that does not work.

    Raises:
        ValueError: No workers, or this process is one that may not have any.
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
        refuse_daemons()
        self._owner = os.getpid()
        context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            context.set_forkserver_preload(PRELOAD)
            _start_fork_server()
        self._clean_up = (
            None if scratch is None else weakref.finalize(self, _remove, scratch, self._owner)
        )
        parcel = parcels.pack((setup, arguments))
        initializer = (_prepare, (str(scratch) if scratch else None, parcel))
        self._slots = [_Slot(context, initializer) for _ in range(workers)]

    @property
    def mine(self) -> bool:
        """Whether this process made it; after a fork the child has none of its workers."""
        return self._owner == os.getpid()

    def run(
        self,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        on_result: Callable[[int, Any], None],
        timeout: float | None = None,
    ) -> None:
        """Run ``function(*call)`` for every call, as many at a time as there are workers.

        Args:
            function: What to call.
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
                    future = slot.submit(parcels.pack((function, calls[index])))
                    running[future] = (slot, index, time.monotonic())
                done = self._wait(running, timeout)
                for future in done:
                    slot, index, _ = running.pop(future)
                    idle.append(slot)
                    try:
                        parcel = future.result()
                    except BrokenProcessPool:
                        slot.kill()
                        if tries[index] < 2:
                            queue.appendleft(index)
                            continue
                        on_result(index, WorkerDied("its process died, twice"))
                    else:
                        on_result(index, parcels.open_result(parcel))
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

    def submit(self, parcel: bytes) -> Future[bytes]:
        if self._executor is not None:
            try:
                return self._executor.submit(parcels.answer, parcel)
            except BrokenProcessPool:  # killed while it was idle
                self.kill()
        self._start()
        assert self._executor is not None
        return self._executor.submit(parcels.answer, parcel)

    def _start(self) -> None:
        setup, arguments = self._initializer
        self._executor = ProcessPoolExecutor(1, self._context, setup, arguments)
        try:
            with _without_main():
                started = self._executor.submit(_started)
            # Waiting here keeps the start out of the child's time limit.
            self.process, outcome = started.result(START_TIMEOUT)
        except (BrokenProcessPool, TimeoutError) as error:
            self.kill()
            raise RuntimeError(
                "a worker process did not start: it ended, or was killed, before its first child "
                "(what it said stands above)"
            ) from error
        except BaseException:  # Ctrl-C
            _end_fork_server()  # it would go on to start a worker that finds nobody
            raise
        try:
            parcels.open_result(outcome)
        except BaseException:
            self.kill()
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


def refuse_daemons() -> None:
    """Refuse worker processes where Python allows none.

    Raises:
        ValueError: This process is a daemon, as those of vector environments are.
    """
    if multiprocessing.current_process().daemon:
        raise ValueError(
            "a pool of workers cannot start inside a process of SubprocVecEnv or AsyncVectorEnv: "
            "make one environment with gym.make_vec(id, num_envs=..., evaluator={'name': 'pool', "
            "'workers': ...}), or let each process train inline (evaluator='inline')"
        )


_starting = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Start a process that does not import the program's main module again.

    What it needs of that module travels in its parcels, so there may be no file to import (standard
    input, a notebook), or one that would start everything anew.
    """
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _remove(scratch: Path, owner: int) -> None:
    if os.getpid() == owner:  # not when a fork of it ends
        shutil.rmtree(scratch, ignore_errors=True)


_outcome = b""  # of setting this worker up


def _started() -> tuple[int, bytes]:
    """Which process a worker is, and how its setup went."""
    return os.getpid(), _outcome


def _prepare(scratch: str | None, parcel: bytes) -> None:
    """First thing in a new worker."""
    global _outcome
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(scratch,), daemon=True).start()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(b"1000")
    _outcome = parcels.answer(parcel)


def _end_with_parent(scratch: str | None) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        os._exit(1)
