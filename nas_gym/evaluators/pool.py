"""Children side by side in worker processes."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from nas_gym.evaluation import Evaluation, Request, Status
from nas_gym.evaluators import parcels, worker
from nas_gym.evaluators.processes import refuse_daemons
from nas_gym.evaluators.worker_pool import WorkerDied, WorkerPool, WorkerTimeout
from nas_gym.sources.base import Source, ship

GRACE = 5.0  # seconds over its limit before a child that does not stop by itself is killed


class PoolEvaluator:
    """Runs as many children at once as there are workers.

    The workers start with the first request and stay; a task's tensors are mapped by all of them
    from one temporary file. A killed child is tried again once, a hung one is killed, and neither
    disturbs the others.

    Args:
        source: What answers.
        workers: Number of processes; None for one per processor core.
        memory_mb: Memory that one worker may take, in MiB, so that a child out of memory fails
            alone; None for its share of the machine's, ``inf`` for no limit. Not applied on a card.
        start_method: See `WorkerPool`.

    Raises:
        ValueError: Fewer than one worker, or this process may not have any.
    """

    def __init__(
        self,
        source: Source,
        workers: int | None = None,
        memory_mb: float | None = None,
        start_method: str = "forkserver",
    ) -> None:
        refuse_daemons()
        self.source = source
        self.slots = len(os.sched_getaffinity(0)) if workers is None else workers
        if self.slots < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.memory_mb = memory_mb
        self.start_method = start_method
        self.pool: WorkerPool | None = None

    def submit(self, request: Request) -> Future[Evaluation]:
        """The future is done when the child is; cancelling it kills the child's worker."""
        limit: float | None = getattr(self.source, "time_limit", None)
        timeout = None if limit is None else limit + GRACE
        future = self._started().submit(worker.evaluate, (request,), timeout)
        return parcels.follow(future, lambda done: evaluation_of(request, done.result))

    def close(self) -> None:
        """End the workers; a later request would start new ones."""
        pool, self.pool = self.pool, None
        if pool is not None and pool.mine:
            pool.close()

    def _started(self) -> WorkerPool:
        if self.pool is None or not self.pool.mine:
            scratch = Path(tempfile.mkdtemp(prefix="nas-gym-"))
            arguments = (ship(self.source, scratch), self._memory)
            self.pool = WorkerPool(self.slots, worker.set_up, arguments, scratch, self.start_method)
        return self.pool

    @property
    def _memory(self) -> float | None:
        if not str(getattr(self.source, "device", "cpu")).startswith("cpu"):
            return None
        if self.memory_mb == math.inf:
            return None
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        return total / self.slots if self.memory_mb is None else self.memory_mb

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"pool": None}  # workers do not travel


def evaluation_of(request: Request, answer: Callable[[], Evaluation]) -> Evaluation:
    """What a call gave; a child whose process had to go is a value too."""
    try:
        return answer()
    except WorkerTimeout as error:
        status: Status = "timeout"
        detail = str(error)
    except WorkerDied as error:
        status, detail = "crashed", str(error)
    return Evaluation(request, status, detail=detail)
