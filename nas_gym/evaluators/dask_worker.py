"""What runs in the workers of a Dask cluster, which are not ours and outlive a search."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import Any

from nas_gym.evaluation import Request
from nas_gym.evaluators import parcels, worker
from nas_gym.evaluators.cargo import Cargo, differing, evaluate, prepare
from nas_gym.evaluators.cluster import extra

WATCH = 0.2  # seconds between two looks at whether a child is still wanted

_held: dict[str, Cargo] = {}  # by token; the last one only
_served = False  # whether this process had a source before


def hold(cargo: Cargo) -> None:
    """Keep a source for the tasks to come."""
    _held.clear()
    _held[cargo.token] = cargo


def forget(token: str) -> None:
    """Let go of a source."""
    _held.pop(token, None)
    worker.forget(token)


def task(identity: str, function: Any, token: str, *arguments: Any) -> bytes | None:
    """What a seat asks for, in a thread of its worker; None where the source is not held."""
    own = extra("dask", "distributed").get_worker()
    if own.id != identity:  # a worker that took the place of one that died in this task
        raise CancelledError
    cargo = _held.get(token)
    if cargo is None:
        return None
    with _wanted(own):
        answer: bytes = function(cargo, *arguments)
        return answer


def prepared(cargo: Cargo) -> bytes:
    """How making the source went."""
    global _served
    outcome = parcels.do(prepare, (cargo,))
    if _served:
        with suppress(Exception):
            if differing(cargo, parcels.open_result(outcome)):
                _end()  # modules of an earlier search, which have changed since
    _served = True
    return outcome


def answered(
    cargo: Cargo, request: Request, seconds: float | None, memory_mb: float | None
) -> bytes:
    """One child."""
    with _deadline(seconds):
        return parcels.do(evaluate, (cargo, request, memory_mb))


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)  # the nanny starts another one


@contextmanager
def _wanted(own: Any) -> Iterator[None]:
    """End this process when nobody waits for the task any more; the nanny starts another."""
    key, done = own.get_current_task(), threading.Event()

    def watch() -> None:
        while not done.wait(WATCH):
            task = own.state.tasks.get(key)
            if (task is None or task.state == "cancelled") and not done.is_set():
                _end()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _deadline(seconds: float | None) -> Iterator[None]:
    """End this process at its time limit, also when it hangs outside of Python."""
    if seconds is None:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.__stderr__ or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
