"""The durable record of evaluations: one SQLite file.

Every evaluation is committed and synced the moment it ends, so what was paid for survives any
kill. Nothing marks a child as running: what is not here is not done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from nas_gym.evaluation import Evaluation
from nas_gym.search_spaces.base import Architecture

SCHEMA_VERSION = 1
APPLICATION_ID = 0x6E617367  # "nasg"

SCHEMA = """
CREATE TABLE evaluation (
    key TEXT PRIMARY KEY,          -- sha256 of architecture, context and seed
    architecture TEXT NOT NULL,    -- JSON
    context TEXT NOT NULL,         -- JSON: task, data, search space, recipe, device
    seed INTEGER NOT NULL,
    status TEXT NOT NULL,
    val_accuracy REAL NOT NULL,
    val_top5 REAL,
    val_loss REAL,
    params INTEGER,
    macs INTEGER,
    seconds REAL NOT NULL,
    epochs INTEGER NOT NULL,
    detail TEXT NOT NULL,
    created REAL NOT NULL          -- seconds since 1970
) STRICT;
CREATE TABLE proposal (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,       -- from 0, in the order in which the run asked
    key TEXT NOT NULL,
    PRIMARY KEY (run, number)
) STRICT;
"""

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "lustre", "gpfs", "beegfs", "9p")


class StoreError(Exception):
    """The store cannot be used. The message is one sentence that says why."""


class ReplayError(Exception):
    """A resumed run asks for something else than it did before."""


def evaluation_key(architecture: Architecture, context: Mapping[str, Any], seed: int) -> str:
    """The identity of one result: canonical architecture, everything it depends on, and seed."""
    text = json.dumps([architecture.to_json(), context, seed], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Evaluations in a SQLite file that several runs may share.

    Writes are serialised between processes by a lock file beside the store, because SQLite
    before 3.51.3 can damage a write-ahead log when two connections write and checkpoint at the
    same moment (sqlite.org/wal.html, section 11).

    Args:
        path: The file; made if it is missing.

    Raises:
        StoreError: It cannot be opened, is no store, is damaged, or is of a newer release.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._one_thread = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = self.path.with_name(self.path.name + ".lock").open("a")
        except OSError as error:
            raise StoreError(f"cannot write the store {self.path}: {error.strerror}") from error
        try:
            with self._locked():
                self._database = self._open()
        except BaseException:
            self._lock_file.close()
            raise

    def get(self, key: str) -> Evaluation | None:
        """The evaluation of this key, marked as recalled; None if there is none."""
        with self._reported():
            row = self._database.execute(f"{_SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else _read(row)

    def put(self, key: str, context: Mapping[str, Any], evaluation: Evaluation) -> Evaluation:
        """Record one evaluation, durably; if the key is there already, that one stays.

        Returns:
            What the store holds for the key now.
        """
        e = evaluation
        row: list[Any] = [key, e.architecture.to_json(), json.dumps(context, sort_keys=True)]
        row += [e.seed, e.status, e.val_accuracy, e.val_top5, e.val_loss, e.params, e.macs]
        row += [e.seconds, e.epochs, e.detail, time.time()]
        with self._transaction():
            written = self._database.execute(
                "INSERT INTO evaluation VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
                "ON CONFLICT (key) DO NOTHING",
                row,
            ).rowcount
        return evaluation if written else self.get(key) or evaluation

    def propose(self, run: str, first: int, keys: Sequence[str]) -> None:
        """Record that ``run`` asks for these keys as its proposals ``first``, ``first + 1``, ...

        A run that is played again must ask for the same.

        Raises:
            ReplayError: It asked for another one before.
        """
        with self._transaction():
            for number, key in enumerate(keys, first):
                self._database.execute(
                    "INSERT INTO proposal VALUES (?,?,?) ON CONFLICT DO NOTHING",
                    (run, number, key),
                )
                (before,) = self._database.execute(
                    "SELECT key FROM proposal WHERE run = ? AND number = ?", (run, number)
                ).fetchone()
                if before != key:
                    raise ReplayError(
                        f"this run cannot be resumed: its proposal {number + 1} differs from the "
                        "one on record, so its code, libraries or machine have changed; start a "
                        "new run directory (the store can be shared with --store)"
                    )

    def run(self, run: str) -> list[Evaluation]:
        """Every answered proposal of a run, repeats included, in the order they were asked."""
        with self._reported():
            rows = self._database.execute(
                f"{_SELECT} JOIN proposal USING (key) WHERE run = ? ORDER BY number", (run,)
            ).fetchall()
        return [_read(row) for row in rows]

    def __len__(self) -> int:
        with self._reported():
            return int(self._database.execute("SELECT count(*) FROM evaluation").fetchone()[0])

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if not self._lock_file.closed:
            with self._locked():
                self._database.close()
            self._lock_file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        with self._reported():
            database = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(database)
            except BaseException:
                database.close()
                raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        ((application,),) = database.execute("PRAGMA application_id")
        ((version,),) = database.execute("PRAGMA user_version")
        ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
        if tables and application != APPLICATION_ID:
            raise StoreError(f"{self.path} is a SQLite file, but no nas-gym store")
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.path} is of version {version}, this release of nas-gym reads "
                f"up to {SCHEMA_VERSION}: update nas-gym"
            )
        # A write-ahead log needs shared memory, which a network file system does not give.
        mode = "DELETE" if _on_network(self.path) else "WAL"
        database.execute(f"PRAGMA journal_mode = {mode}")
        database.execute("PRAGMA synchronous = FULL")
        if not tables:
            database.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        ((state,),) = database.execute("PRAGMA quick_check(1)")
        if state != "ok":
            raise StoreError(f"the store {self.path} is damaged: {' '.join(state.split())}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reported(), self._one_thread, self._locked():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock_file.closed:
            raise StoreError(f"the store {self.path} is closed")
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(f"the store {self.path} cannot be used: {error}") from error


_SELECT = (
    "SELECT architecture, status, val_accuracy, val_top5, val_loss, params, macs, seconds, "
    "epochs, seed, detail FROM evaluation"
)


def _read(row: tuple[Any, ...]) -> Evaluation:
    architecture, status, accuracy, top5, loss, params, macs, seconds, epochs, seed, detail = row
    return Evaluation(
        Architecture.from_json(architecture),
        status,
        accuracy,
        top5,
        loss,
        params,
        macs,
        seconds,
        epochs,
        seed,
        "recalled",
        detail,
    )


def _on_network(path: Path) -> bool:
    """Whether the file lies on a network file system, by the mount that holds it."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    real = path.resolve()
    best, kind = "", ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if real.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind.startswith(NETWORK_FILE_SYSTEMS)
