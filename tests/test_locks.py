"""Locks that another process does not let go of are told, not waited for without end."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_cli import TINY, finish

from agents.cli import main
from agents.compare.directory import Comparison, Config
from nas_gym.store import Store, StoreError

SEARCH = ("--budget", "2", "--agent", "random", *TINY)
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_gym._lock.WAIT", 0.5)


@contextmanager
def stopped_holder(lock: Path) -> Iterator[int]:
    """Another process that has a lock and is stopped, as by Ctrl-Z."""
    command = [sys.executable, "-c", HOLD, str(lock)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def told(*command: str | Path) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in command])
    message = str(stop.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def names(pid: int) -> str:
    """How a message names a process, where Linux says who has a lock."""
    known = f" {pid} " in Path("/proc/locks").read_text(encoding="utf-8")
    return f"process {pid}" if known else "locked"


@pytest.mark.timeout(60)
def test_a_store_whose_lock_is_held_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish("search", "--out", run, *SEARCH)
    lock = run / "store.sqlite.lock"
    with stopped_holder(lock) as pid:
        for command in (("report", run), ("search", "--out", run, *SEARCH), ("retrain", run)):
            message = told(*command)
            assert str(lock) in message
            assert names(pid) in message
    finish("report", run)


@pytest.mark.timeout(60)
def test_a_comparison_whose_lock_is_held_is_told(tmp_path: Path) -> None:
    lock = tmp_path / ".comparison.lock"
    with stopped_holder(lock) as pid:
        env = ("--env", "nas_gym/Digits-v0", "--agents", "random", "--budget", "1", "--seeds", "1")
        message = told("compare", "--out", tmp_path, *env)
        assert str(lock) in message
        assert names(pid) in message
    Comparison(tmp_path).join(Config(1))


@pytest.mark.timeout(60)
def test_a_run_whose_lock_is_held_is_told_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    finish("search", "--out", run, *SEARCH)
    with stopped_holder(run / ".lock"):
        for command in (("search", "--out", run, *SEARCH), ("retrain", run)):
            assert f"another process is working in {run} now" in told(*command)


@pytest.mark.timeout(60)
def test_another_program_in_the_store_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    with Store(path) as store:
        other = sqlite3.connect(path)
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        with pytest.raises(StoreError, match="database is locked"):
            store.begin("run")
        assert time.monotonic() - begun < 10
        other.rollback()
        other.close()
        store.begin("run")


@pytest.mark.timeout(60)
def test_a_lock_that_is_let_go_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas_gym._lock.WAIT", 30.0)
    path = tmp_path / "store.sqlite"
    Store(path).close()
    with stopped_holder(Path(f"{path}.lock")) as pid:
        timer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
        timer.start()
        Store(path).close()
        timer.join()
