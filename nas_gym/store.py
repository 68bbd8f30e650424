"""The durable record of evaluations: one SQLite file.

Every evaluation is committed and synced the moment it ends, so what was paid for survives any
kill. Nothing marks a child as running: what is not here is not done.

What was written is what is read: every row has a checksum, and the lock file beside the store says
how many rows there were, so that a store that lost some of them is refused and not taken for a
younger one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from nas_gym import _lock
from nas_gym._files import on_network as _on_network
from nas_gym._files import user_path
from nas_gym._schema import APPLICATION_ID, COUNT, SCHEMA, SCHEMA_VERSION, SELECT, digest, row_of
from nas_gym.evaluation import Evaluation, Request
from nas_gym.search_spaces.base import Architecture


class StoreError(Exception):
    """The store cannot be used. The message is one sentence that says why."""


class ReplayError(Exception):
    """A resumed run asks for something else than it did before."""


def evaluation_key(request: Request, context: Mapping[str, Any]) -> str:
    """The identity of one result: what was asked, and everything it depends on."""
    asked = [request.architecture.to_json(), context, request.seed, request.until]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


class Store:
    """Evaluations in a SQLite file that several runs may share.

    Writes are serialised between processes by a lock file beside the store, because SQLite
    before 3.51.3 can damage a write-ahead log when two connections write and checkpoint at the
    same moment (sqlite.org/wal.html, section 11).

    Args:
        path: The file; made if it is missing, unless it must exist.
        must_exist: Whether a store is expected there.

    Raises:
        StoreError: It cannot be opened, is no store, is damaged, is of another release, or another
            process does not let go of it.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = user_path(path)
        self._left: list[object] = []  # what a fork brought along, and only its owner may close
        if must_exist and not self.path.is_file():
            raise StoreError(f"the store {self.path} is missing")
        self._begin_here(must_exist)

    def _begin_here(self, must_exist: bool) -> None:
        """Open lock and file for this process."""
        self._owner = os.getpid()
        self._one_thread = threading.Lock()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _lock.Lock(self.path.with_name(self.path.name + ".lock"))
        except OSError as error:
            raise StoreError(f"cannot write the store {self.path}: {error.strerror}") from error
        try:
            with self._reported(), self._locked() as seconds:
                if not self.path.exists():  # it was removed, or never was: nothing to miss
                    self._lock.number = 0
                self._database = self._open(seconds, must_exist)
        except BaseException:
            self._lock.close()
            raise

    def get(self, key: str) -> Evaluation | None:
        """The evaluation of this key, marked as recalled; None if there is none."""
        with self._reported():
            row = self._database.execute(f"{SELECT} WHERE key = ?", (key,)).fetchone()
        return None if row is None else self._read(row)

    def put(self, key: str, context: Mapping[str, Any], evaluation: Evaluation) -> Evaluation:
        """Record one evaluation, durably; if the key is there already, that one stays.

        Returns:
            What the store holds for the key now.
        """
        row = row_of(key, context, evaluation)
        with self._transaction():
            written = self._database.execute(
                "INSERT INTO evaluation VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
                "ON CONFLICT (key) DO NOTHING",
                (*row, digest(row)),
            ).rowcount
        return evaluation if written else self.get(key) or evaluation

    def begin(self, run: str) -> None:
        """Record that ``run`` keeps its evaluations here."""
        with self._transaction():
            self._database.execute("INSERT INTO run VALUES (?) ON CONFLICT DO NOTHING", (run,))

    def knows(self, run: str) -> bool:
        """Whether `begin` has been called for a run."""
        with self._reported():
            query = "SELECT count(*) FROM run WHERE name = ?"
            return bool(self._database.execute(query, (run,)).fetchone()[0])

    def propose(self, run: str, first: int, keys: Sequence[str]) -> None:
        """Record that ``run`` asks for these keys as its proposals ``first``, ``first + 1``, ...

        A run that is played again must ask for the same.

        Raises:
            ReplayError: It asked for another one before.
        """
        with self._transaction():
            for number, key in enumerate(keys, first):
                self._database.execute(
                    "INSERT INTO proposal VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
                    (run, number, key, digest([run, number, key])),
                )
                before, recorded = self._database.execute(
                    "SELECT key, sha256 FROM proposal WHERE run = ? AND number = ?", (run, number)
                ).fetchone()
                if before != key:
                    self._check([run, number, before], recorded)
                    raise ReplayError(
                        f"this run cannot be resumed: its proposal {number + 1} differs from the "
                        "one on record, so its code, libraries or machine have changed; start a "
                        "new run directory (the store can be shared with --store)"
                    )

    def run(self, run: str) -> list[Evaluation]:
        """Every answered proposal of a run, repeats included, in the order they were asked.

        Raises:
            StoreError: Proposals are damaged or missing.
        """
        with self._reported():
            proposals = self._database.execute(
                "SELECT run, number, key, sha256 FROM proposal WHERE run = ? ORDER BY number",
                (run,),
            ).fetchall()
            rows = self._database.execute(
                f"{SELECT} WHERE key IN (SELECT key FROM proposal WHERE run = ?)", (run,)
            )
            answers = {row[0]: self._read(row) for row in rows}
        for number, (*values, recorded) in enumerate(proposals):
            if values[1] != number:
                raise StoreError(f"the store {self.path} is damaged: proposals of a run are gone")
            self._check(values, recorded)
        return [answers[key] for _, _, key, _ in proposals if key in answers]

    def __len__(self) -> int:
        with self._reported():
            return int(self._database.execute("SELECT count(*) FROM evaluation").fetchone()[0])

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._owner == os.getpid() and not self._lock.closed:
            with self._locked():
                self._database.close()
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, seconds: float, must_exist: bool) -> sqlite3.Connection:
        database = sqlite3.connect(
            self.path, timeout=seconds, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(database, must_exist)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection, must_exist: bool) -> None:
        ((application,),) = database.execute("PRAGMA application_id")
        ((version,),) = database.execute("PRAGMA user_version")
        ((tables,),) = database.execute("SELECT count(*) FROM sqlite_master")
        written = self._lock.number  # of rows; it may be late, never early
        if not tables and (written or must_exist):
            raise StoreError(f"the store {self.path} is empty, and was not: {self._restore}")
        if tables and application != APPLICATION_ID:
            raise StoreError(f"{self.path} is a SQLite file, but no nas-gym store")
        if not tables and self.path.stat().st_size:
            raise StoreError(f"{self.path} is no nas-gym store, or a damaged one")
        if tables and version > SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.path} is of version {version}, this release of nas-gym reads "
                f"version {SCHEMA_VERSION}: update nas-gym"
            )
        if tables and version < SCHEMA_VERSION:
            raise StoreError(
                f"the store {self.path} is of an older release of nas-gym (version {version}, not "
                f"{SCHEMA_VERSION}): start a new one"
            )
        database.execute("PRAGMA synchronous = FULL")
        if not tables:  # before there is a log, so that the file itself says what it is
            database.executescript(
                f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        # A write-ahead log needs shared memory, which a network file system does not give.
        mode = "DELETE" if _on_network(self.path) else "WAL"
        database.execute(f"PRAGMA journal_mode = {mode}")
        ((state,),) = database.execute("PRAGMA integrity_check(1)")
        if state != "ok":
            raise StoreError(f"the store {self.path} is damaged: {' '.join(state.split())}")
        ((rows,),) = database.execute(COUNT)
        if rows < written:
            raise StoreError(
                f"the store {self.path} has lost {written - rows} of its {written} rows: "
                f"{self._restore}"
            )
        self._lock.number = rows

    @property
    def _restore(self) -> str:
        return f"restore it, or delete {self._lock.path} to go on with what is left"

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._reported(), self._one_thread, self._locked() as seconds:
            database = self._database
            waited = seconds < _lock.WAIT - 1
            if waited:
                database.execute(f"PRAGMA busy_timeout = {round(1000 * seconds)}")
            try:
                database.execute("BEGIN IMMEDIATE")
            finally:
                if waited:
                    database.execute(f"PRAGMA busy_timeout = {round(1000 * _lock.WAIT)}")
            before = database.total_changes
            try:
                yield
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
            if added := database.total_changes - before:
                self._lock.number += added

    @contextmanager
    def _locked(self) -> Iterator[float]:
        """Alone with the store; gives the seconds that are left to wait for SQLite's own lock."""
        if self._lock.closed:
            raise StoreError(f"the store {self.path} is closed")
        try:
            with self._lock.held() as seconds:
                yield seconds
        except TimeoutError as error:
            raise StoreError(f"the store {self.path} is in use: {error}") from error

    def _read(self, row: tuple[Any, ...]) -> Evaluation:
        *values, recorded = row
        self._check(values, recorded)
        _, architecture, _, seed, until, status, scores, cost, seconds, epochs, *rest = values
        origin, detail, _ = rest
        evaluation = Evaluation(
            Request(Architecture.from_json(architecture), seed, until),
            status,
            json.loads(scores),
            json.loads(cost),
            seconds,
            epochs,
            origin,
            detail,
        )
        return evaluation.recalled()

    def _check(self, values: Sequence[Any], recorded: str) -> None:
        if digest(values) != recorded:
            raise StoreError(f"the store {self.path} is damaged: a row is not as it was written")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        if self._owner != os.getpid() and not self._lock.closed:  # SQLite does not survive a fork
            self._left += [self._database, self._lock]
            self._begin_here(must_exist=True)
        try:
            yield
        except (sqlite3.DatabaseError, UnicodeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise StoreError(f"the store {self.path} cannot be used: {reason}") from error
