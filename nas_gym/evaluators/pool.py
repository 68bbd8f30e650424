"""Children trained side by side in worker processes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from nas_gym.evaluation import Evaluation, Status
from nas_gym.evaluators import worker
from nas_gym.evaluators.base import OnResult, seeds_for
from nas_gym.evaluators.worker_pool import (
    WorkerDied,
    WorkerPool,
    WorkerTimeout,
    refuse_daemons,
)
from nas_gym.search_spaces.base import Architecture
from nas_gym.training import Trainer

GRACE = 5.0  # seconds over its limit before a child that does not stop by itself is killed


class PoolEvaluator:
    """Trains as many children at once as there are workers.

    The workers start with the first batch and stay; the task's tensors are mapped by all of them
    from one temporary file. A killed child is tried again once, a hung one is killed, and neither
    disturbs the others.

    Args:
        trainer: How children are trained.
        workers: Number of processes; None for one per processor core.
        memory_mb: Memory that one worker may take, in MiB, so that a child out of memory fails
            alone; None for its share of the machine's. Not applied on a card.
        start_method: See `WorkerPool`.

    Raises:
        ValueError: Fewer than one worker, or this process may not have any.
    """

    def __init__(
        self,
        trainer: Trainer,
        workers: int | None = None,
        memory_mb: float | None = None,
        start_method: str = "forkserver",
    ) -> None:
        refuse_daemons()
        self.trainer = trainer
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.memory_mb = memory_mb
        self.start_method = start_method
        self.pool: WorkerPool | None = None

    @property
    def context(self) -> Mapping[str, Any]:
        """What results depend on; the number of workers is not part of it."""
        return self.trainer.context

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        seeds: Sequence[int] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Evaluation]:
        """Evaluate a batch, the most expensive children first; see `Evaluator.evaluate`."""
        calls = list(zip(architectures, seeds_for(architectures, seeds), strict=True))
        results: dict[int, Evaluation] = {}

        def finished(index: int, outcome: Any) -> None:
            architecture, seed = calls[index]
            if isinstance(outcome, WorkerTimeout | WorkerDied):
                status: Status = "timeout" if isinstance(outcome, WorkerTimeout) else "crashed"
                outcome = Evaluation(architecture, status, seed=seed, detail=str(outcome))
            results[index] = outcome
            if on_result is not None:
                on_result(index, outcome)

        order = self._dearest_first(calls, finished)
        self._run(worker.train, [calls[index] for index in order], order, finished)
        return [results[index] for index in range(len(calls))]

    def _dearest_first(
        self, calls: Sequence[tuple[Architecture, int]], finished: Callable[[int, Any], None]
    ) -> list[int]:
        """The order to train in; children that cannot even be counted are finished here."""
        everything = range(len(calls))
        if len(calls) < 2:
            return list(everything)
        macs: dict[int, int] = {}

        def counted(index: int, outcome: Any) -> None:
            if isinstance(outcome, WorkerTimeout | WorkerDied):
                finished(index, outcome)
            else:
                macs[index] = outcome

        self._run(worker.count, [(architecture,) for architecture, _ in calls], everything, counted)
        return sorted(macs, key=lambda index: -macs[index])

    def _run(
        self,
        function: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        places: Sequence[int],
        finished: Callable[[int, Any], None],
    ) -> None:
        limit = self.trainer.recipe.time_limit
        self._started().run(
            function,
            calls,
            lambda position, outcome: finished(places[position], outcome),
            timeout=None if limit is None else limit + GRACE,
        )

    def close(self) -> None:
        """End the workers; a later batch would start new ones."""
        pool, self.pool = self.pool, None
        if pool is not None and pool.mine:
            pool.close()

    def _started(self) -> WorkerPool:
        if self.pool is None or not self.pool.mine:
            trainer = self.trainer
            scratch = Path(tempfile.mkdtemp(prefix="nas-gym-"))
            trainer.task.save(scratch / "task.pt")
            self.pool = WorkerPool(
                self.workers,
                worker.set_up,
                (scratch / "task.pt", trainer.space, trainer.recipe, trainer.device, self._memory),
                scratch,
                self.start_method,
            )
        return self.pool

    @property
    def _memory(self) -> float | None:
        if torch.device(self.trainer.device).type != "cpu":
            return None
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
        return total / self.workers if self.memory_mb is None else self.memory_mb

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"pool": None}  # workers do not travel
