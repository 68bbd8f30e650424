"""Children in any executor of Python's own kind."""

from __future__ import annotations

import os
import tempfile
import uuid
import weakref
from concurrent.futures import Executor, Future
from pathlib import Path

from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import parcels, worker
from nas_gym.evaluators.processes import remove
from nas_gym.sources.base import Source, ship


class ExecutorEvaluator:
    """Submits children to a ``concurrent.futures.Executor`` as it is.

    Its processes must be on this machine, or share its temporary folder (``TMPDIR``), where the
    task's data are left. A process makes the source when it meets it first and keeps it. The
    executor belongs to whoever made it: `close` forgets the source and leaves it running.

    Args:
        executor: Anything with ``submit``, as ``ProcessPoolExecutor(4)``.
        source: What answers.
    """

    def __init__(self, executor: Executor, source: Source) -> None:
        self.executor = executor
        self.source = source
        self._token = ""
        self._make = b""
        self._clean_up: weakref.finalize | None = None  # type: ignore[type-arg]

    @property
    def slots(self) -> int:
        """Workers of the executor, where it says so."""
        return int(getattr(self.executor, "_max_workers", 1))

    def submit(self, request: Request) -> Future[Evaluation]:
        """The future is done when the executor's is."""
        if self._clean_up is None:
            folder = Path(tempfile.mkdtemp(prefix="nas-gym-"))
            self._clean_up = weakref.finalize(self, remove, folder, os.getpid())
            self._token = uuid.uuid4().hex
            self._make = parcels.pack((ship(self.source, folder), ()))
        parcel = parcels.pack((worker.answer, (self._token, self._make, request)))
        future = self.executor.submit(parcels.answer, parcel)
        return parcels.follow(future, lambda done: parcels.open_result(done.result()))

    def close(self) -> None:
        """Remove what was left for the workers."""
        if self._clean_up is not None:
            self._clean_up()
            self._clean_up = None

    def __reduce__(self) -> str:
        raise TypeError("an executor does not travel: give the copy an evaluator of its own")
