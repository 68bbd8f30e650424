"""Children on a Ray cluster, or on one that is started here."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from nas_gym.evaluation import Request
from nas_gym.evaluators import parcels
from nas_gym.evaluators.cargo import Cargo, check_alike, evaluate, prepare
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

NAME = "ray"


class RayEvaluator(ClusterEvaluator):
    """Runs each child in an actor, one process that serves one child after the other.

    The actors start when there are children for them and keep their cores until there was nothing
    to do for half a minute, or until `close`. The task's data are put into Ray's store once; the
    processes of a node share them there. A child whose process dies is ``crashed`` and not tried
    again; one that does not stop at its time limit is killed. Results are those of this machine
    where the processors are alike.

    Args:
        source: What answers.
        address: ``HOST:PORT`` of the cluster, ``"auto"`` for the one that runs here; where it asks
            for a token, Ray reads that from ``RAY_AUTH_TOKEN``. None: the cluster that this
            process is connected to, or one that is started for it and ends with `close`.
        workers: Number of actors at most; None for as many as fit.
        cpus: Cores of one child; None for the recipe's threads.
        gpus: Cards of one child, or a share of one; None for one where the device is a card.
        memory_mb: Memory of one child, in MiB, which Ray reserves and beyond which a child on the
            CPU fails alone; None for no limit.

    Raises:
        ValueError: Ray is not installed, or a number is out of range.
    """

    def __init__(
        self,
        source: Source,
        address: str | None = None,
        workers: int | None = None,
        cpus: int | None = None,
        gpus: float | None = None,
        memory_mb: float | None = None,
    ) -> None:
        super().__init__(source, workers)
        extra(NAME, "ray")
        self.address = address
        self.needs = Needs.of(source, cpus, gpus, memory_mb)

    def _connect(self) -> _RayCluster:
        return _RayCluster(self.source, self.address, self.workers, self.needs)


class _RayCluster:
    """This process's connection to Ray, of which there is one at a time."""

    _users = 0  # of the connection, where it was made here
    _changing = threading.Lock()

    owned: bool  # whether this made the connection, alone or with others

    def __init__(
        self, source: Source, address: str | None, workers: int | None, needs: Needs
    ) -> None:
        self.ray = extra(NAME, "ray")
        self.needs = needs
        self._connect(address, workers)
        try:
            with marked(needs.keep) as marker:
                fit = self._check(marker)
            self.slots = fit if workers is None else min(fit, workers)
            self.cargo = Cargo.of(source)
            self.put = self.ray.put(self.cargo)
        except BaseException:
            self.close()
            raise

    def seat(self) -> _RaySeat:
        """An actor of its own, not started yet."""
        return _RaySeat(self)

    def close(self) -> None:
        """Disconnect where this made the connection; that ends a cluster that was started here."""
        self.put = None
        with _RayCluster._changing:
            if self.owned:
                self.owned = False
                _RayCluster._users -= 1
                if not _RayCluster._users:
                    self.ray.shutdown()

    def _connect(self, address: str | None, workers: int | None) -> None:
        with _RayCluster._changing:
            self.owned = _RayCluster._users > 0 or not self.ray.is_initialized()
            if self.ray.is_initialized():
                self._same(address)
            else:
                self._begin(address, workers)
            _RayCluster._users += self.owned

    def _same(self, address: str | None) -> None:
        """Whether the connection that there is already leads to this address."""
        own = self.ray.get_runtime_context().gcs_address
        if address not in (None, "auto") and str(address).split("//")[-1] != own:
            raise ValueError(
                f"this process is connected to the ray cluster at {own} and cannot use the one at "
                f"{address} beside it"
            )

    def _begin(self, address: str | None, workers: int | None) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would tell Ray's makers
            cores = len(os.sched_getaffinity(0))
            wanted = cores if workers is None else workers * self.needs.cpus
            options |= {"address": "local", "num_cpus": wanted, "include_dashboard": False}
        else:
            if address != "auto":
                reach(NAME, address)
            options["address"] = address
        # Ray takes SIGTERM for itself; whoever handles it here keeps it
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            self.ray.init(**options)
        except (Exception, SystemExit) as error:
            told = RuntimeError(
                f"{_line(error)} (one with authentication wants RAY_AUTH_TOKEN here)"
            )
            raise unreachable(NAME, address, told) from error
        finally:
            if main:
                signal.signal(signal.SIGTERM, before)

    def _check(self, marker: str | None) -> int:
        """How many children fit on nodes that lack nothing.

        Raises:
            ValueError: None does, or a node has other versions than this machine.
        """
        nodes = [node for node in self.ray.nodes() if node["Alive"]]
        fit = {node["NodeID"]: self._fitting(node["Resources"]) for node in nodes}
        roomy = [node for node in nodes if fit[node["NodeID"]]]
        if not roomy:
            told = ", ".join(map(_told, nodes)) or "there is none"
            raise ValueError(f"no node of the ray cluster has {self.needs} for a child: {told}")
        pin = extra(NAME, "ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy
        cards = self.needs.gpus > 0
        task = self.ray.remote(look(marker, cards))
        options = {"num_cpus": 0, "num_gpus": self.needs.gpus, "max_retries": 0}
        looks = [
            task.options(scheduling_strategy=pin(node["NodeID"], soft=False), **options).remote()
            for node in roomy
        ]
        for node, reference in zip(roomy, looks, strict=True):
            try:
                lack = self.needs.lack(self.ray.get(reference, timeout=START_TIMEOUT))
            except self.ray.exceptions.RayError as error:
                lack = f"cannot run a task: {_line(error)}"
            if lack:
                raise ValueError(f"node {_name(node)} of the ray cluster {lack}")
        return sum(fit.values())

    def _fitting(self, resources: dict[str, float]) -> int:
        wanted = {"CPU": self.needs.cpus, "GPU": self.needs.gpus}
        wanted["memory"] = (self.needs.memory_mb or 0) * 2**20
        return min(int(resources.get(name, 0) / need) for name, need in wanted.items() if need)


class _RaySeat:
    """One actor, replaced when it is gone."""

    def __init__(self, cluster: _RayCluster) -> None:
        self._cluster = cluster
        self._ray = cluster.ray
        self._errors = cluster.ray.exceptions
        self._actor: Any = None
        self.closed = False

    def start(self) -> None:
        """See `Seat.start`."""
        actor = self._actor  # another thread may stop it
        if actor is not None and self._ray.is_initialized():
            try:
                self._ray.get(actor.ping.remote(), timeout=REACH_TIMEOUT)
                return
            except self._errors.RayError:
                self.stop()
        # without a connection Ray would start a cluster of its own accord
        if self.closed or not self._ray.is_initialized():
            raise CancelledError
        needs = self._cluster.needs
        memory = {} if needs.memory_mb is None else {"memory": needs.memory_mb * 2**20}
        actor = self._actor = (
            self._ray.remote(_Worker)
            .options(
                num_cpus=needs.cpus,
                num_gpus=needs.gpus,
                max_restarts=0,
                max_task_retries=0,
                **memory,
            )
            .remote(self._cluster.put, None if needs.gpus else needs.memory_mb)
        )
        try:
            if self.closed:  # in the meantime
                raise CancelledError
            outcome = self._ray.get(actor.prepare.remote(), timeout=START_TIMEOUT)
            there = parcels.open_result(outcome)
            check_alike(self._cluster.cargo, there, "a process of the ray cluster")
        except self._errors.GetTimeoutError as error:
            self.stop()
            raise NoRoom(
                f"no process of the ray cluster was free for a child in {START_TIMEOUT:g} s"
            ) from error
        except self._errors.RayError as error:
            self.stop()
            told = f"a process of the ray cluster did not start: {_line(error)}"
            raise RuntimeError(told) from error
        except BaseException:
            self.stop()
            raise

    def answer(self, request: Request, timeout: float | None) -> bytes:
        """See `Seat.answer`."""
        actor = self._actor
        if actor is None:
            raise CancelledError
        try:
            answer: bytes = self._ray.get(actor.answer.remote(request), timeout=timeout)
        except self._errors.GetTimeoutError as error:
            self.stop()
            raise WorkerTimeout(f"killed after {timeout:g} s") from error
        except self._errors.RayError as error:
            self.stop()
            raise WorkerDied(f"its process died; ray says: {_line(error)}") from error
        return answer

    def rest(self) -> None:
        """Give the cores back; the next child gets another actor."""
        self.stop()

    def stop(self) -> None:
        """See `Seat.stop`."""
        actor, self._actor = self._actor, None
        if actor is not None and self._ray.is_initialized():
            with suppress(Exception):  # it is gone
                self._ray.kill(actor, no_restart=True)


class _Worker:
    """What runs in an actor's process, which is ours alone."""

    def __init__(self, cargo: Cargo, memory_mb: float | None) -> None:
        self.cargo = cargo
        self.memory_mb = memory_mb

    def ping(self) -> None:
        """Nothing but a sign of life."""

    def prepare(self) -> bytes:
        """How making the source went."""
        return parcels.do(prepare, (self.cargo,))

    def answer(self, request: Request) -> bytes:
        """One child."""
        return parcels.do(evaluate, (self.cargo, request, self.memory_mb))


def _name(node: dict[str, Any]) -> str:
    return str(node["NodeManagerHostname"])


def _told(node: dict[str, Any]) -> str:
    resources = node["Resources"]
    parts = [f"{resources.get('CPU', 0):g} CPUs", f"{resources.get('GPU', 0):g} GPUs"]
    parts.append(f"{resources.get('memory', 0) / 2**20:.0f} MiB")
    return f"{_name(node)} has {', '.join(parts)}"


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
