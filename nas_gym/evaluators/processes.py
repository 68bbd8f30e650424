"""Starting and ending worker processes cleanly, whatever the program is and however it ends."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from types import ModuleType

from nas_gym.evaluators import parcels


def start_fork_server() -> None:
    """Start it deaf to Ctrl-C, which a terminal sends to it too while it still imports."""
    resource_tracker.ensure_running()  # which would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_fork_server() -> None:
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
def without_main() -> Iterator[None]:
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


def remove(scratch: Path, owner: int) -> None:
    """Delete a folder, unless a fork of the process that made it ends."""
    if os.getpid() == owner:  # not when a fork of it ends
        shutil.rmtree(scratch, ignore_errors=True)


_outcome = b""  # of setting this worker up


def started_here() -> tuple[int, bytes]:
    """Which process a worker is, and how its setup went."""
    return os.getpid(), _outcome


def prepare(scratch: str | None, parcel: bytes) -> None:
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
