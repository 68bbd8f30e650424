"""Records that are not what was written: refused by a sentence, and never overwritten."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from test_cli import TINY, finish, start, wait_for_evaluations

from agents.cli import main
from nas_gym import load_child

SEARCH = ("--budget", "6", "--agent", "random", *TINY)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("searched") / "run"
    finish("search", "--out", run, *SEARCH)
    finish("retrain", run, "--seeds", "1", "--epochs", "1", "--workers", "1")
    return run


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    """A copy of a run that was searched and retrained."""
    shutil.copytree(searched, tmp_path / "run")
    return tmp_path / "run"


def files(folder: Path) -> dict[Path, bytes]:
    """Everything but what SQLite and the locks keep for themselves."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith((".lock", "-wal", "-shm"))
    }


def refused(*command: str | Path, words: str = "") -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in command])
    message = str(stop.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    assert words in message
    return message


def change(store: Path, statement: str) -> None:
    with sqlite3.connect(store) as database:
        database.execute(statement)
    database.close()


# ---------------------------------------------------------------- the store of a run


def empty(store: Path) -> None:
    os.truncate(store, 0)


def forgotten(store: Path) -> None:
    os.truncate(store, 0)
    Path(f"{store}.lock").unlink()


def half(store: Path) -> None:
    os.truncate(store, store.stat().st_size // 8192 * 4096)


def all_but_a_page(store: Path) -> None:
    os.truncate(store, store.stat().st_size - 4096)


def a_few_bytes(store: Path) -> None:
    os.truncate(store, 300)


def missing(store: Path) -> None:
    store.unlink()


def of_another_run(store: Path) -> None:
    other = store.parent.parent / "other"
    finish("search", "--out", other, *SEARCH, "--seed", "1")
    shutil.copy(other / "store.sqlite", store)
    Path(f"{store}.lock").unlink()


def a_new_one(store: Path) -> None:
    from nas_gym.store import Store

    store.unlink()
    Path(f"{store}.lock").unlink()
    Store(store).close()


def statement(text: str) -> Callable[[Path], None]:
    def spoil(store: Path) -> None:
        change(store, text)

    spoil.__name__ = text.split(" WHERE")[0].replace(" ", "_")
    return spoil


LAST = "(SELECT max(number) FROM proposal)"
DAMAGES = [
    *(empty, forgotten, half, all_but_a_page, a_few_bytes, missing, of_another_run, a_new_one),
    statement("UPDATE evaluation SET scores = replace(scores, '0.', '0.1')"),
    statement("UPDATE evaluation SET status = 'crashed' WHERE rowid = 2"),
    statement("UPDATE evaluation SET scores = '{}' WHERE rowid = 3"),
    statement("UPDATE evaluation SET architecture = (SELECT architecture FROM evaluation)"),
    statement("UPDATE evaluation SET seconds = seconds * 2"),
    statement("DELETE FROM evaluation WHERE rowid = 6"),
    statement("DELETE FROM proposal WHERE number = 2"),
    statement(f"DELETE FROM proposal WHERE number = {LAST}"),
    statement("DELETE FROM proposal"),
    statement("UPDATE proposal SET number = number + 100 WHERE number > 3"),
    statement("UPDATE proposal SET key = (SELECT max(key) FROM evaluation) WHERE number < 2"),
    statement("DELETE FROM run"),
    statement("DROP TABLE proposal"),
]


@pytest.mark.parametrize("spoil", DAMAGES, ids=lambda spoil: spoil.__name__)
def test_a_store_that_is_not_the_runs_is_refused_and_nothing_is_written(
    run: Path, spoil: Callable[[Path], None]
) -> None:
    store = run / "store.sqlite"
    spoil(store)
    before = files(run)
    for command in (("report", run), ("retrain", run), ("search", "--out", run, *SEARCH)):
        refused(*command, words="store.sqlite")
        assert files(run) == before, command


def test_a_flipped_bit_in_an_accuracy_is_told(run: Path) -> None:
    store = run / "store.sqlite"
    with sqlite3.connect(store) as database:
        (scores,) = database.execute("SELECT max(scores) FROM evaluation").fetchone()
    database.close()
    data = store.read_bytes()
    stored = scores.encode()
    assert data.count(stored) >= 1
    place = data.index(stored) + stored.index(b"0.") + 2
    flipped = bytearray(data)
    flipped[place] ^= 1  # another digit
    store.write_bytes(bytes(flipped))
    for extra in run.glob("store.sqlite-*"):
        extra.unlink()
    assert "damaged" in refused("report", run, words=str(store))


def test_a_store_of_an_older_release_is_told(run: Path) -> None:
    change(run / "store.sqlite", "PRAGMA user_version = 1")
    assert "start a new one" in refused("report", run, words="older release")


def test_results_in_a_lost_log_are_told(tmp_path: Path) -> None:
    """A kill leaves the last results in the write-ahead log alone."""
    run = tmp_path / "run"
    process = start("search", "--out", run, "--budget", "100", *SEARCH[2:])
    wait_for_evaluations(process, run, 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert (run / "store.sqlite-wal").stat().st_size
    (run / "store.sqlite-wal").unlink()
    before = files(run)
    assert "has lost" in refused("report", run, words="store.sqlite")
    assert files(run) == before


# ---------------------------------------------------------------- JSON files of a run


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def nothing_left(path: Path) -> None:
    os.truncate(path, 0)


def another_digit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    place = next(i for i, c in enumerate(text) if c.isdigit() and "sha256" not in text[i - 90 : i])
    changed = str((int(text[place]) + 1) % 10)
    path.write_text(text[:place] + changed + text[place + 1 :], encoding="utf-8")


def a_list(path: Path) -> None:
    path.write_text("[]", encoding="utf-8")


def brackets(path: Path) -> None:
    path.write_text("[" * 200_000, encoding="utf-8")


@pytest.mark.parametrize("spoil", [cut, nothing_left, another_digit, a_list, brackets])
@pytest.mark.parametrize("name", ["config.json", "retrained.json"])
def test_a_damaged_file_of_a_run_is_refused_and_kept(
    run: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(run / name)
    before = files(run)
    for command in ("report", "retrain"):
        assert "is damaged" in refused(command, run, words=name)
    if name == "config.json":
        assert "is damaged" in refused("search", "--out", run, *SEARCH, words=name)
    assert files(run) == before


@pytest.mark.parametrize("name", ["weights.pt", "child.json"])
@pytest.mark.parametrize("spoil", [cut, nothing_left])
def test_a_damaged_network_is_refused_and_kept(
    run: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    path = next(run.rglob(name))
    spoil(path)
    with pytest.raises(ValueError, match=str(path.parent)):
        load_child(path.parent)
    before = files(run)
    words = f"delete {path.parent} to train it again"
    again = ("retrain", run, "--seeds", "1", "--epochs", "1")
    refused(*again, words=words)
    assert files(run) == before


def test_a_network_of_another_seed_is_told(run: Path) -> None:
    folder = next(run.rglob("weights.pt")).parent
    shutil.copytree(folder, folder.with_name("seed1"))
    refused("retrain", run, "--seeds", "2", "--epochs", "1", words="holds another training")
