"""What runs inside a worker process. Imported ahead by the fork server, torch and all."""

from __future__ import annotations

import resource
import threading
from collections.abc import Callable, Iterable
from typing import Any

from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import parcels
from nas_gym.sources.base import Source
from nas_gym.sources.training import TrainingSource  # noqa: F401  (so that workers have torch)

_sources: dict[str, Source] = {}  # by token; the last one only
POOL = "pool"
_making = threading.Lock()


def set_up(make: Callable[[], Source], memory_mb: float | None) -> None:
    """Make the source of this process's pool.

    Args:
        make: What `nas_gym.sources.ship` gave.
        memory_mb: What this process may take, in MiB; None for no limit.
    """
    if memory_mb is not None:
        # An allocation beyond it fails as a Python exception; the kernel would kill.
        limit = int(memory_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    _sources[POOL] = make()


def evaluate(request: Request) -> Evaluation:
    """Answer for one child with the source of this process's pool."""
    return _sources[POOL](request)


def made(token: str, make: bytes, buffers: Iterable[Any] = ()) -> Source:
    """The source of this token, which is made if it is new here.

    Args:
        token: Names the source.
        make: What `nas_gym.sources.ship` gave, with no arguments, as a parcel.
        buffers: What the parcel set aside.
    """
    with _making:  # two threads of a process make it once
        source = _sources.get(token)
        if source is None:
            function, arguments = parcels.opened(make, buffers)
            source = function(*arguments)
            _sources.clear()
            _sources[token] = source
    return source


def answer(token: str, make: bytes, request: Request) -> Evaluation:
    """Answer for one child with the source of this token; see `made`."""
    return made(token, make)(request)


def forget(token: str) -> None:
    """Drop the source of this token."""
    _sources.pop(token, None)
