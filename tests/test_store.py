from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import helpers
import numpy as np
import pytest

from nas_gym.evaluation import STATUSES, Evaluation, Request
from nas_gym.search_spaces import Architecture
from nas_gym.store import SCHEMA_VERSION, ReplayError, Store, StoreError, evaluation_key

CONTEXT = {"task": "digits", "recipe": {"epochs": 1}}


def child(number: int) -> Architecture:
    return Architecture("x", (("conv", number),))


def key(number: int, seed: int = 0, until: int | None = None) -> str:
    return evaluation_key(Request(child(number), seed, until), CONTEXT)


def result(number: int, accuracy: float = 0.5, **fields: Any) -> Evaluation:
    return Evaluation(Request(child(number)), "ok", {"accuracy": accuracy}, **fields)


def fill(path: Path, count: int) -> None:
    with Store(path) as store:
        for number in range(count):
            store.put(key(number), CONTEXT, result(number, number / count, detail="x" * 500))


FULL = Evaluation(
    Request(child(1), 2**31 - 1, until=2),
    "ok",
    {"loss": 0.123456789012345678, "accuracy": 0.75, "top5": 0.9, "my_own": -1e-300},
    {"params": 3, "macs": 10**15, "energy": 0.1},
    seconds=1.5,
    epochs=4,
    detail='it\'s "fine"; ünï\n',
)


# ---------------------------------------------------------------- what goes in comes out


@pytest.mark.parametrize("evaluation", [FULL, result(2)])
def test_what_was_put_comes_back(evaluation: Evaluation, tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        assert store.get(key(1)) is None
        assert store.put(key(1), CONTEXT, evaluation) is evaluation
    with Store(tmp_path / "store.db") as store:
        found = store.get(key(1))
        assert found == replace(evaluation, origin="recalled")
        assert (list(found.scores), list(found.cost)) == (
            list(evaluation.scores),
            list(evaluation.cost),
        )
        assert len(store) == 1


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_kept(status: Any, tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        scores = {"accuracy": 0.5} if status == "ok" else {}
        store.put(key(1), CONTEXT, replace(result(1), status=status, scores=scores))
        found = store.get(key(1))
    assert found is not None
    assert found.status == status


def test_a_key_is_written_once(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        store.put(key(1), CONTEXT, result(1, 0.1))
        kept = store.put(key(1), CONTEXT, result(1, 0.9))
        assert (kept.scores["accuracy"], kept.origin) == (0.1, "recalled")
        assert len(store) == 1


def test_keys_tell_everything_apart() -> None:
    keys = [
        key(1),
        key(2),
        key(1, seed=1),
        key(1, until=1),
        key(1, until=2),
        evaluation_key(Request(child(1)), CONTEXT | {"task": "mnist"}),
        evaluation_key(Request(child(1)), {"task": "digits", "recipe": {"epochs": 2}}),
        evaluation_key(Request(replace(child(1), space="y")), CONTEXT),
    ]
    assert len(set(keys)) == len(keys)
    assert evaluation_key(Request(child(1)), dict(reversed(CONTEXT.items()))) == key(1)


@pytest.mark.parametrize("part", ["scores", "cost"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number_that_is_none_is_stored(part: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss of a child must be a finite number") as caught:
        replace(result(1), **{part: {"accuracy": 0.5, "loss": value}})
    assert helpers.is_sentence(caught.value, value)
    spoilt = result(1)
    object.__setattr__(spoilt, part, {"loss": value})  # nobody's evaluation is so by itself
    with Store(tmp_path / "store.db") as store:
        with pytest.raises(ValueError, match="JSON compliant"):
            store.put(key(1), CONTEXT, spoilt)
        assert len(store) == 0


def test_numbers_of_numpy_are_stored_as_numbers(tmp_path: Path) -> None:
    scores = {"accuracy": np.float32(0.1), "loss": np.float64(0.1), "hits": np.int64(3)}
    given = replace(FULL, scores=scores, cost={"params": np.int64(7)}, seconds=np.float64(2))
    with Store(tmp_path / "store.db") as store:
        store.put(key(1), CONTEXT, given)
        found = store.get(key(1))
    assert found == replace(given, origin="recalled")
    assert {type(value) for value in (*found.scores.values(), *found.cost.values())} == {float}
    assert found.params == 7


def test_a_stored_row_that_no_evaluation_can_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    fill(path, 1)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE evaluation SET scores = '{}'")
    database.close()
    with Store(path) as store, pytest.raises(StoreError, match="a row is not as it was written"):
        store.get(key(0))


def test_folders_are_made_and_closing_twice_is_fine(tmp_path: Path) -> None:
    store = Store(tmp_path / "a" / "b" / "store.db")
    store.put(key(1), CONTEXT, result(1))
    store.close()
    store.close()
    for use in (lambda: store.get(key(1)), lambda: store.put(key(2), CONTEXT, result(2))):
        with pytest.raises(StoreError) as caught:
            use()
        assert helpers.is_sentence(caught.value)


# ---------------------------------------------------------------- durability


def test_every_commit_is_synced(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        pragmas = {
            name: store._database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # FULL


def test_no_log_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_gym.store._on_network", lambda _: True)
    with Store(tmp_path / "store.db") as store:
        (mode,) = store._database.execute("PRAGMA journal_mode").fetchone()
        store.put(key(1), CONTEXT, result(1))
        assert store.get(key(1)) is not None
    assert mode == "delete"


WRITER = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_store import CONTEXT, key, result
from nas_gym.store import Store

store = Store({path!r})
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[1])):
    kept = store.put(key(number), CONTEXT, result(number, float(sys.argv[2])))
    print(number, kept.scores["accuracy"], flush=True)
"""


def writer(path: Path, count: int, accuracy: float) -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(Path(__file__).parent), path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(count), str(accuracy)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_a_file_and_a_third_is_killed(tmp_path: Path) -> None:
    """Two write the same keys and keep the same values; what a killed one wrote is there."""
    shared, killed = tmp_path / "shared.db", tmp_path / "killed.db"
    jobs = [writer(shared, 150, 0.25), writer(shared, 150, 0.75), writer(killed, 10**6, 0.5)]
    for job in jobs:
        assert job.stdout is not None
        assert job.stdin is not None
        assert job.stdout.readline() == "ready\n"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("go\n")
        job.stdin.flush()

    assert jobs[2].stdout is not None
    acknowledged = [jobs[2].stdout.readline() for _ in range(40)]
    os.kill(jobs[2].pid, signal.SIGKILL)
    rest, _ = jobs[2].communicate()
    acknowledged += [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    outputs = [job.communicate(timeout=60)[0] for job in jobs[:2]]
    assert [job.returncode for job in jobs] == [0, 0, -signal.SIGKILL]

    assert len(acknowledged) >= 40
    with Store(killed) as store:
        for line in acknowledged:
            found = store.get(key(int(line.split()[0])))
            assert found is not None
            assert found.scores == {"accuracy": 0.5}
        assert len(store) - len(acknowledged) in (0, 1)

    assert outputs[0] == outputs[1]  # whoever came first
    assert set(outputs[0].split()) >= {"149"}
    with Store(shared) as store:
        assert len(store) == 150


def test_two_connections_of_one_process_see_each_other(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as one, Store(tmp_path / "store.db") as other:
        one.put(key(1), CONTEXT, result(1, 0.3))
        assert other.put(key(1), CONTEXT, result(1, 0.4)).scores["accuracy"] == 0.3
        other.put(key(2), CONTEXT, result(2))
        assert one.get(key(2)) is not None


# ---------------------------------------------------------------- files that are no store


def not_a_database(path: Path) -> None:
    path.write_text("val_accuracy,params\n0.5,3\n" * 100, encoding="utf-8")


def another_sqlite_file(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE evaluation (key TEXT)")
    database.close()


def newer(path: Path) -> None:
    fill(path, 1)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()


def older(path: Path) -> None:
    fill(path, 1)
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
    database.close()


def truncated(path: Path) -> None:
    fill(path, 200)
    os.truncate(path, path.stat().st_size // 2)


def cut_to_a_header(path: Path) -> None:
    fill(path, 20)
    os.truncate(path, 60)


def overwritten(path: Path) -> None:
    fill(path, 200)
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(3 * 4096))


def a_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (not_a_database, ["not a database"]),
        (another_sqlite_file, ["SQLite", "no nas-gym store"]),
        (newer, [f"version {SCHEMA_VERSION + 1}", "update nas-gym"]),
        (older, [f"version {SCHEMA_VERSION - 1}, not {SCHEMA_VERSION}", "start a new one"]),
        (truncated, []),
        (cut_to_a_header, []),
        (overwritten, []),
        (a_folder, []),
    ],
)
def test_a_file_that_is_no_store_is_one_clear_sentence(
    spoil: Any, words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    spoil(path)
    content = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert helpers.is_sentence(caught.value, path, *words), caught.value
    assert (path.read_bytes() if path.is_file() else b"") == content  # left as it was


def test_a_place_where_nothing_can_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    path = tmp_path / "file" / "runs" / "store.db"
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert helpers.is_sentence(caught.value, path, "cannot write")


def test_a_full_disk_is_a_sentence_and_loses_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        store.put(key(0), CONTEXT, result(0))
        (pages,) = store._database.execute("PRAGMA page_count").fetchone()
        store._database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full") as caught:
            store.put(key(1), CONTEXT, result(1, detail="x" * 50_000))
        assert helpers.is_sentence(caught.value, store.path)
        assert store.get(key(0)) is not None


def test_a_copy_is_a_store(tmp_path: Path) -> None:
    fill(tmp_path / "store.db", 3)
    shutil.copy(tmp_path / "store.db", tmp_path / "copy.db")
    with Store(tmp_path / "copy.db") as store:
        assert len(store) == 3


# ---------------------------------------------------------------- runs


def test_a_run_is_remembered_in_its_order_with_repeats(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        store.propose("a", 0, [key(3), key(1)])
        store.propose("b", 0, [key(2)])
        store.propose("a", 2, [key(3), key(2)])
        for number in (1, 2, 3):
            store.put(key(number), CONTEXT, result(number))
        assert [e.architecture for e in store.run("a")] == [child(n) for n in (3, 1, 3, 2)]
        assert [e.architecture for e in store.run("b")] == [child(2)]
        assert store.run("c") == []


def test_unanswered_proposals_are_left_out(tmp_path: Path) -> None:
    with Store(tmp_path / "store.db") as store:
        store.propose("a", 0, [key(1), key(2)])
        store.put(key(2), CONTEXT, result(2))
        assert [e.architecture for e in store.run("a")] == [child(2)]


def test_a_replay_must_ask_for_the_same(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store(path) as store:
        store.propose("a", 0, [key(1), key(2), key(3)])
    with Store(path) as store:
        store.propose("a", 0, [key(1)])
        store.propose("a", 1, [key(2), key(3), key(4)])  # the same, and on
        with pytest.raises(ReplayError, match="proposal 3 ") as caught:
            store.propose("a", 2, [key(9), key(8)])
        assert helpers.is_sentence(caught.value, "cannot be resumed")
        store.propose("b", 0, [key(9)])  # another run may ask for anything
        for number in (1, 2, 3, 4, 8, 9):
            store.put(key(number), CONTEXT, result(number))
        assert [e.architecture for e in store.run("a")] == [child(n) for n in (1, 2, 3, 4)]


def test_a_store_that_was_removed_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    for _ in range(2):
        env = gym.make("nas_gym/Digits-v0", store=str(path), recipe={"epochs": 1, "max_params": 1})
        env.reset()
        for _ in range(24):
            _, _, done, _, info = env.step(0)
        env.close()
        assert done
        assert info["status"] == "rejected"
        with Store(path) as store:
            assert len(store) == 1
        path.unlink()  # its lock file stays
