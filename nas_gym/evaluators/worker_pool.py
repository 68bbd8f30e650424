"""Processes that may die: one single-worker executor, and one thread that waits for it, a slot.

A worker that is killed, or killed here because its time is up, costs the one call it was busy
with; its slot gets a new process and the other slots never notice. `ProcessPoolExecutor` with
several workers would fail every call in flight.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from weakref import WeakSet

from nas_gym.evaluators import parcels
from nas_gym.evaluators.processes import (
    end_fork_server,
    prepare,
    refuse_daemons,
    remove,
    start_fork_server,
    started_here,
    without_main,
)

PATIENCE = 2.0  # seconds that a thread gets to notice that its worker is gone
PAUSE = 0.5  # seconds before a second try: a signal that ended the worker may be for all
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
            start_fork_server()
        parcel = parcels.pack((setup, arguments))
        initializer = (prepare, (str(scratch) if scratch else None, parcel))
        self._slots = [_Slot(context, initializer) for _ in range(workers)]
        self._queue: SimpleQueue[_Call | None] = SimpleQueue()
        self._open: WeakSet[_Call] = WeakSet()
        self._threads: list[threading.Thread] = []
        self._clean_up = weakref.finalize(self, _end, self._queue, self._slots, scratch)

    @property
    def mine(self) -> bool:
        """Whether this process made it; after a fork the child has none of its workers."""
        return self._owner == os.getpid()

    def submit(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...] = (),
        timeout: float | None = None,
    ) -> Future[Any]:
        """Run ``function(*arguments)`` on the next worker that is free.

        A call whose worker dies is tried once more, since the cause may lie outside it.

        Args:
            function: What to call.
            arguments: Its arguments.
            timeout: Seconds after which its worker is killed.

        Returns:
            What it returned or raised, or a `WorkerDied` or `WorkerTimeout`. Cancelling it kills
            the worker that is busy with it.

        Raises:
            RuntimeError: The pool is closed.
        """
        if self._slots[0].closed:
            raise RuntimeError("this pool of workers is closed")
        call = _Call(parcels.pack((function, arguments)), timeout)
        for slot in self._slots[len(self._threads) :]:  # at the first call
            thread = threading.Thread(target=_serve, args=(self._queue, slot), daemon=True)
            thread.start()
            self._threads.append(thread)
        self._open.add(call)
        self._queue.put(call)
        return call

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
                or with a `WorkerDied` or `WorkerTimeout`.
            timeout: Seconds after which a call's worker is killed.

        Raises:
            Exception: Whatever a call raises; the others are cancelled.
        """
        futures = {self.submit(function, call, timeout): i for i, call in enumerate(calls)}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, WorkerDied | WorkerTimeout):
                    raise error
                on_result(futures[future], future.result() if error is None else error)
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def processes(self) -> list[int]:
        """Process ids of the workers that are alive."""
        return [slot.process for slot in self._slots if slot.process is not None]

    def close(self) -> None:
        """End every worker; closing twice is fine."""
        for call in list(self._open):
            call.cancel()
        self._clean_up()
        for thread in self._threads:  # what they hold is freed before the program may end
            thread.join(PATIENCE)


def _serve(queue: SimpleQueue[_Call | None], slot: _Slot) -> None:
    """Do one call after the other, in a thread that has a slot to itself."""
    while (call := queue.get()) is not None:
        if call.set_running_or_notify_cancel():
            try:
                call.set_result(parcels.open_result(_answer(call, slot)))
            except BaseException as error:
                call.set_exception(error)
            call.slot = None
        del call  # whoever waits for a call holds it, and nobody else


def _answer(call: _Call, slot: _Slot) -> bytes:
    for _ in range(2):
        try:
            call.slot = None
            future = slot.submit(call.parcel)
            call.slot = slot
            if call.stopped:
                slot.kill()
            return future.result(call.timeout)
        except TimeoutError as error:
            slot.kill()
            raise WorkerTimeout(f"killed after {call.timeout:g} s") from error
        except (BrokenProcessPool, CancelledError):
            slot.kill()
            if not call.stopped:
                time.sleep(PAUSE)
            if call.stopped or slot.closed:
                raise CancelledError from None
    raise WorkerDied("its process died, twice")


def _end(queue: SimpleQueue[_Call | None], slots: Sequence[_Slot], scratch: Path | None) -> None:
    """Of a pool: end its threads, workers and folder."""
    for slot in slots:
        slot.closed = True
        queue.put(None)
    deadline = time.monotonic() + PATIENCE
    while any(slot.starting for slot in slots) and time.monotonic() < deadline:
        if slots[0].owner == os.getpid():
            end_fork_server()  # it would go on to start a worker that finds nobody
        time.sleep(0.02)  # another one may be on its way
    for slot in slots:
        slot.kill()
    if scratch is not None:
        remove(scratch, slots[0].owner)


class _Call(Future[Any]):
    """A call that waits for a slot, or has one."""

    def __init__(self, parcel: bytes, timeout: float | None) -> None:
        super().__init__()
        self.parcel = parcel
        self.timeout = timeout
        self.slot: _Slot | None = None
        self.stopped = False

    def cancel(self) -> bool:
        """Do not start it; where it runs, kill its worker."""
        self.stopped = True
        slot = self.slot
        if not super().cancel() and slot is not None:
            slot.kill()
        return self.cancelled()


class _Slot:
    """One worker process, replaced when it is gone."""

    def __init__(self, context: Any, initializer: tuple[Callable[..., None], tuple[Any, ...]]):
        self._context = context
        self._initializer = initializer
        self._executor: ProcessPoolExecutor | None = None
        self.process: int | None = None
        self.owner = os.getpid()
        self.closed = False
        self.starting = False  # whether its process was asked for and has not answered yet
        _all_slots.add(self)

    def submit(self, parcel: bytes) -> Future[bytes]:
        if self.closed:
            raise CancelledError
        if self._executor is not None:
            try:
                return self._executor.submit(parcels.answer, parcel)
            except BrokenProcessPool:  # killed while it was idle
                self.kill()
        self.starting = True
        try:
            self._start()
        finally:
            self.starting = False
        executor = self._executor
        if executor is None:  # closed in the meantime
            raise CancelledError
        return executor.submit(parcels.answer, parcel)

    def _start(self) -> None:
        setup, arguments = self._initializer
        self._executor = ProcessPoolExecutor(1, self._context, setup, arguments)
        try:
            with without_main():
                started = self._executor.submit(started_here)
            # Waiting here keeps the start out of the child's time limit.
            self.process, outcome = started.result(START_TIMEOUT)
        except (BrokenProcessPool, CancelledError, TimeoutError, EOFError, OSError) as error:
            self.kill()
            if not self.closed:
                time.sleep(PAUSE)
            raise RuntimeError(
                "a worker process did not start: it ended, or was killed, before its first child "
                "(what it said stands above)"
            ) from error
        try:
            parcels.open_result(outcome)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """End the process, where it has answered."""
        if self.owner != os.getpid():  # a fork has none of them
            return
        executor, self._executor = self._executor, None
        process, self.process = self.process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if executor is not None:
            executor.shutdown(wait=process is not None, cancel_futures=True)


_all_slots: WeakSet[_Slot] = WeakSet()


def _end_all() -> None:
    """Before the program ends: it would wait for calls that nobody waits for any more."""
    for slot in list(_all_slots):
        slot.closed = True
        slot.kill()


threading._register_atexit(_end_all)  # type: ignore[attr-defined]  # atexit would be too late
