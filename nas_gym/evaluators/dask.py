"""Children on the workers of a Dask cluster."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from nas_gym.evaluation import Request
from nas_gym.evaluators import dask_worker, parcels
from nas_gym.evaluators.cargo import Cargo, check_alike
from nas_gym.evaluators.cluster import (
    REACH_TIMEOUT,
    START_TIMEOUT,
    ClusterEvaluator,
    NoRoom,
    extra,
    reach,
    unreachable,
)
from nas_gym.evaluators.needs import Needs, look, marked
from nas_gym.evaluators.worker_pool import WorkerDied, WorkerTimeout
from nas_gym.sources.base import Source

NAME = "dask"
POLL = 1.0  # seconds between two looks at whether a busy worker is still there


class DaskEvaluator(ClusterEvaluator):
    """Runs each child as a task on one worker, which does one child after the other.

    The workers need a nanny, as they have by default: a worker whose child hangs or is cancelled
    ends its own process, and the nanny starts it again; other tasks in that process are lost with
    it, so workers should be nas-gym's alone. The task's data are scattered once to every worker. A
    child whose process dies is ``crashed`` and not tried again. Results are those of this machine
    where the processors are alike.

    Args:
        source: What answers.
        address: ``HOST:PORT`` of the scheduler.
        workers: Number of children at a time at most; None for as many as fit: one a worker, and
            no more on a node than it has cores.
        cpus: Cores of one child; None for the recipe's threads.
        gpus: Cards that a worker must see; None for one where the device is a card.
        memory_mb: Memory of one child, in MiB, which a worker must be allowed, and beyond which a
            child on the CPU fails alone; None for no limit.

    Raises:
        ValueError: Dask is not installed, or a number is out of range.
    """

    def __init__(
        self,
        source: Source,
        address: str,
        workers: int | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
        memory_mb: float | None = None,
    ) -> None:
        super().__init__(source, workers)
        extra(NAME, "distributed")
        self.address = address
        self.needs = Needs.of(source, cpus, gpus, memory_mb)

    def _connect(self) -> _DaskCluster:
        return _DaskCluster(self.source, self.address, self.workers, self.needs)


class _DaskCluster:
    """A client, and which of the workers have a seat."""

    def __init__(self, source: Source, address: str, workers: int | None, needs: Needs) -> None:
        self.needs = needs
        self._taken: dict[str, str] = {}  # hosts of the workers that have a seat
        self._changing = threading.Lock()
        distributed = extra(NAME, "distributed")
        if not address.startswith("inproc"):
            reach(NAME, address)
        try:
            self.client = distributed.Client(address, timeout=REACH_TIMEOUT, set_as_default=False)
        except Exception as error:  # whatever else may listen at an address
            raise unreachable(NAME, address, error) from error
        try:
            fit = self._check()
            self.slots = fit if workers is None else min(fit, workers)
            self.cargo = Cargo.of(source)
        except BaseException:
            self.client.close()
            raise

    def seat(self) -> _DaskSeat:
        """A worker of its own, not chosen yet."""
        return _DaskSeat(self)

    def close(self) -> None:
        """Disconnect; the scheduler forgets what this client wanted."""
        with suppress(Exception):
            token, workers = self.cargo.token, list(self._taken)
            if workers:
                self.client.run(dask_worker.forget, token, workers=workers, on_error="ignore")
        self.client.close()

    def put(self, address: str) -> None:
        """The source to one worker, where it stays; Dask's own store would drop copies."""
        self.client.run(dask_worker.hold, self.cargo, workers=[address])

    def alive(self, address: str) -> bool:
        """Whether the scheduler still has a worker."""
        return address in self.client.ncores()

    def take(self) -> tuple[str, str] | None:
        """Address and id of a worker without a seat, on a node with cores to spare."""
        with self._changing:
            for address in self.client.ncores():
                if address in self._taken:
                    continue
                seen = self._look([address]).get(address)
                if not isinstance(seen, dict) or self._lack(seen):
                    continue
                busy = sum(host == seen["host"] for host in self._taken.values())
                if busy < seen["cpus"] // self.needs.cpus:
                    self._taken[address] = seen["host"]
                    return address, seen["id"]
        return None

    def give_back(self, address: str) -> None:
        """The seat has no use for a worker any more."""
        with self._changing:
            self._taken.pop(address, None)

    def end(self, address: str) -> None:
        """See a worker's process end: by itself, or by its nanny where it hangs in no Python."""
        until = time.monotonic() + 10 * dask_worker.WATCH
        while self.alive(address):
            if time.monotonic() > until:
                self.client.restart_workers([address], REACH_TIMEOUT, raise_for_error=False)
                return
            time.sleep(dask_worker.WATCH / 2)

    def _look(self, workers: list[str] | None) -> dict[str, Any]:
        with marked(self.needs.keep) as marker:
            seen: dict[str, Any] = self.client.run(
                look(marker, self.needs.gpus > 0), workers=workers, on_error="return"
            )
        return seen

    def _check(self) -> int:
        """How many children fit.

        Raises:
            ValueError: None does; the message names a worker and what it lacks.
        """
        with suppress(TimeoutError):
            self.client.wait_for_workers(1, timeout=REACH_TIMEOUT)
        fit: dict[str, int] = {}
        cores: dict[str, int] = {}
        lack = "has no worker"
        for address, seen in self._look(None).items():
            lacking = self._lack(seen)
            if lacking:
                lack = f"has no worker for a child: {address} {lacking}"
            else:
                fit[seen["host"]] = fit.get(seen["host"], 0) + 1
                cores[seen["host"]] = seen["cpus"] // self.needs.cpus
        if not fit:
            raise ValueError(f"the dask cluster {lack}")
        return sum(min(count, cores[host]) for host, count in fit.items())

    def _lack(self, seen: Any) -> str:
        if not isinstance(seen, dict):
            return f"cannot run a task: {seen}"
        if not seen["nanny"]:
            return "has no nanny (--no-nanny), so a child that hangs could not be ended"
        return self.needs.lack(seen)


class _DaskSeat:
    """One worker, another one when it is gone."""

    def __init__(self, cluster: _DaskCluster) -> None:
        self._cluster = cluster
        self._worker: tuple[str, str] | None = None
        self._future: Any = None
        self._stopped = threading.Event()
        self.closed = False

    def start(self) -> None:
        """See `Seat.start`."""
        self._stopped.clear()
        if self._worker is not None and self._cluster.alive(self._worker[0]):
            return
        self._leave()
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until:
            if self.closed:
                raise CancelledError
            self._worker = self._cluster.take()
            if self._worker is not None:
                with suppress(WorkerDied):  # it was old, or bad luck: take another one
                    self._prepare(self._worker[0])
                    return
            if self._stopped.wait(POLL / 2):
                raise CancelledError
        raise NoRoom(f"no worker of the dask cluster was free for a child in {START_TIMEOUT:g} s")

    def _prepare(self, address: str) -> None:
        try:
            self._cluster.put(address)
            there = parcels.open_result(self._ask(dask_worker.prepared))
            check_alike(self._cluster.cargo, there, f"the dask worker at {address}")
        except BaseException as error:
            self._leave()
            if isinstance(error, OSError):  # of the connection
                raise WorkerDied(str(error)) from error
            raise

    def answer(self, request: Request, timeout: float | None) -> bytes:
        """See `Seat.answer`."""
        needs = self._cluster.needs
        memory_mb = None if needs.gpus else needs.memory_mb
        started = time.monotonic()
        try:
            return self._ask(dask_worker.answered, request, timeout, memory_mb)
        except WorkerDied as error:
            if timeout is not None and time.monotonic() - started >= timeout:
                raise WorkerTimeout(f"killed after {timeout:g} s") from error
            raise

    def _ask(self, function: Any, *arguments: Any) -> bytes:
        """What a function of `dask_worker` gives for the source.

        Raises:
            WorkerDied: The worker is gone; the seat has none any more.
        """
        while True:
            if self._worker is None:
                raise CancelledError
            address, identity = self._worker
            try:
                found: bytes | None = self._result(
                    address, (identity, function, self._cluster.cargo.token, *arguments)
                )
            except _gone() as error:
                self._cluster.end(address)
                self._leave()
                raise WorkerDied(f"its process at {address} died") from error
            if found is not None:
                return found
            self._cluster.put(address)  # another search has put its source there

    def _result(self, address: str, arguments: tuple[Any, ...]) -> Any:
        """What a task gives on one worker, and on no other one in its place."""
        future = self._future = self._cluster.client.submit(
            dask_worker.task,
            *arguments,
            key=f"nas-gym-{uuid.uuid4().hex}",
            workers=[address],
            allow_other_workers=False,
            retries=0,
            pure=False,
        )
        try:
            while True:
                try:
                    return future.result(timeout=POLL)
                except TimeoutError:
                    if not self._cluster.alive(address):
                        raise CancelledError from None
        finally:
            self._future = None
            future.cancel()

    def rest(self) -> None:
        """A worker that does nothing is in nobody's way."""

    def stop(self) -> None:
        """See `Seat.stop`."""
        self._stopped.set()
        future = self._future
        if future is not None:
            with suppress(Exception):
                future.cancel()  # which the worker sees, and ends itself

    def _leave(self) -> None:
        gone, self._worker = self._worker, None
        if gone is not None:
            self._cluster.give_back(gone[0])


def _gone() -> tuple[type[BaseException], ...]:
    """What a client raises when a worker is lost."""
    distributed = extra(NAME, "distributed")
    return (
        CancelledError,
        extra(NAME, "distributed.client").FutureCancelledError,
        extra(NAME, "distributed.comm").CommClosedError,
        distributed.scheduler.KilledWorker,
    )
