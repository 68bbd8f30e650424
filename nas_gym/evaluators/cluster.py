"""What evaluators on a cluster have in common: seats on other machines, and what they need there.

A seat is one process somewhere that answers for one child at a time. Each has a thread here that
waits for it, so nothing queues on the cluster: a child that is sent runs.
"""

from __future__ import annotations

import atexit
import importlib
import queue
import socket
import threading
import weakref
from abc import ABC, abstractmethod
from concurrent.futures import CancelledError, Future
from os import getpid
from typing import Any, Protocol
from urllib.parse import urlsplit

from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import parcels
from nas_gym.evaluators.pool import GRACE, evaluation_of
from nas_gym.sources.base import Source

REACH_TIMEOUT = 5.0  # seconds until an address counts as unreachable
IDLE = 30.0  # seconds without a child after which a seat rests
START_TIMEOUT = 300.0  # seconds until a process somewhere must have started


class NoRoom(RuntimeError):
    """No process of the cluster became free for a seat in time."""


class Seat(Protocol):
    """One process of a cluster, one child at a time.

    Attributes:
        closed: Whether no process may start any more.
    """

    closed: bool

    def start(self) -> None:
        """Have a living process; called before every child, and waits for what has to start.

        Raises:
            NoRoom: There is none.
            ValueError: The source is another one there.
            Exception: What making the source raised there.
        """

    def answer(self, request: Request, timeout: float | None) -> bytes:
        """What `parcels.do` gives there.

        Raises:
            WorkerDied, WorkerTimeout: The process is gone; `start` gets another one.
        """

    def rest(self) -> None:
        """Nothing to do for a while: give back what others could use."""

    def stop(self) -> None:
        """End the process and whatever runs in it; called by any thread."""


class Cluster(Protocol):
    """A connection, with the source put there."""

    slots: int

    def seat(self) -> Seat:
        """A seat that has not started."""

    def close(self) -> None:
        """Leave nothing behind."""


class ClusterEvaluator(ABC):
    """Runs children on a cluster; see `RayEvaluator` and `DaskEvaluator`.

    It connects, checks the cluster and sends the source with the first request (or when `slots` is
    asked for). A copy connects by itself.
    """

    def __init__(self, source: Source, workers: int | None) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.source = source
        self.workers = workers
        self._crew: Crew | None = None

    @property
    def slots(self) -> int:
        """How many children fit at a time; connects."""
        return self._connected().cluster.slots

    def submit(self, request: Request) -> Future[Evaluation]:
        """The future is done when the child is; cancelling it ends the child's process.

        Raises:
            ValueError: The first time: the cluster cannot be reached, or lacks what a child needs.
        """
        limit: float | None = getattr(self.source, "time_limit", None)
        call = Call(request, None if limit is None else limit + GRACE)
        self._connected().submit(call)
        return parcels.follow(
            call, lambda done: evaluation_of(request, lambda: parcels.open_result(done.result()))
        )

    def close(self) -> None:
        """End what runs and disconnect; a later request connects again."""
        crew, self._crew = self._crew, None
        if crew is not None and crew.mine:
            crew.close()

    def _connected(self) -> Crew:
        if self._crew is None or not self._crew.mine:
            self._crew = Crew(self._connect())
            weakref.finalize(self, self._crew.close).atexit = False  # which is seen to there
        return self._crew

    @abstractmethod
    def _connect(self) -> Cluster:
        """Connect, check, and put the source there."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_crew": None}  # a connection does not travel


class Call(Future[bytes]):
    """A child that waits for a seat, or has one."""

    def __init__(self, request: Request, timeout: float | None) -> None:
        super().__init__()
        self.request = request
        self.timeout = timeout
        self.seat: Seat | None = None
        self.stopped = False
        self.changing = threading.Lock()  # so that no other child's process is ended

    def cancel(self) -> bool:
        """Do not start it; where it runs, end its process."""
        self.stopped = True
        if not super().cancel():
            with self.changing:
                if self.seat is not None:
                    self.seat.stop()
        return self.cancelled()


class Crew:
    """A thread for each seat, started when there is a child for it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._owner = getpid()
        self._waiting: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()
        self._seats: list[tuple[Seat, threading.Thread]] = []
        self._closed = False
        atexit.register(self.close)  # before the library's own end, which was registered earlier

    @property
    def mine(self) -> bool:
        """Whether this process made it; a fork has none of its threads."""
        return self._owner == getpid()

    def submit(self, call: Call) -> None:
        """Hand a child to the next seat that is free."""
        self._calls.add(call)
        self._waiting.put(call)
        open_calls = sum(not call.done() for call in list(self._calls))
        if len(self._seats) < min(self.cluster.slots, open_calls):
            seat = self.cluster.seat()
            thread = threading.Thread(target=self._serve, args=(seat,), daemon=True)
            self._seats.append((seat, thread))
            thread.start()

    def close(self) -> None:
        """End all; closing twice is fine."""
        if self._closed or not self.mine:
            return
        self._closed = True
        atexit.unregister(self.close)
        for call in list(self._calls):
            call.cancel()
        for _ in self._seats:
            self._waiting.put(None)
        for seat, thread in self._seats:
            seat.closed = True
            seat.stop()
            thread.join(2 * REACH_TIMEOUT)
        self.cluster.close()

    def _serve(self, seat: Seat) -> None:
        """Children one after the other on one seat."""
        while True:
            trouble = self._start(seat)
            call = self._next(seat)
            if call is None or self._closed:
                return
            if not call.set_running_or_notify_cancel():
                continue
            try:
                if trouble is not None:
                    raise trouble
                answer = self._answer(call, seat)
            except BaseException as error:
                call.set_exception(CancelledError() if call.stopped else error)
            else:
                call.set_result(answer)

    def _start(self, seat: Seat) -> BaseException | None:
        """Why there is no process for a child; None where there is one."""
        while not self._closed:
            try:
                seat.start()
            except NoRoom as error:
                if len(self._seats) == 1:  # else the others go on meanwhile
                    return error
            except BaseException as error:
                return error
            else:
                return None
        return None

    def _next(self, seat: Seat) -> Call | None:
        try:
            return self._waiting.get(timeout=IDLE)
        except queue.Empty:
            seat.rest()
            return self._waiting.get()

    @staticmethod
    def _answer(call: Call, seat: Seat) -> bytes:
        seat.start()  # again: it may have been lost while it was idle
        try:
            with call.changing:
                if call.stopped:
                    raise CancelledError
                call.seat = seat
            return seat.answer(call.request, call.timeout)
        finally:
            with call.changing:
                call.seat = None


def extra(name: str, module: str) -> Any:
    """A module of a library that only this evaluator needs.

    Raises:
        ValueError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"the evaluator {name!r} needs a library that is not here ({error}): "
            f"pip install 'nas-gym[{name}]'"
        ) from error


def reach(name: str, address: str) -> None:
    """Whether anybody listens at HOST:PORT, before a library tries for minutes.

    Raises:
        ValueError: Nobody does, or it is no address.
    """
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
        if not host or port is None:
            raise ValueError("it is not HOST:PORT")
        socket.create_connection((host, port), REACH_TIMEOUT).close()
    except (OSError, ValueError) as error:
        raise unreachable(name, address, error) from error


def unreachable(name: str, address: str | None, error: BaseException) -> ValueError:
    """The one sentence about an address at which there is no cluster."""
    why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return ValueError(f"no {name} cluster answers at {address}: {why}")
