"""A kill at any moment, the first second included: the same command again goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_cli import COMMAND, TINY, finish, group_members, records, start

from agents.cli import main
from agents.compare.files import read_records

TESTS = str(Path(__file__).parent)
SEARCH = ("--budget", "3", "--agent", "random", *TINY)
RETRAIN = ("--seeds", "2", "--epochs", "1", "--workers", "1")
COMPARE = ("--env", "compare_helpers:test/Dials-v0", "--agents", "random,compare_helpers:Climber")
COMPARE += ("--budget", "5", "--seeds", "2", "--workers", "1")


def slowly(*values: Any) -> list[Any]:
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a retraining and a comparison that nothing disturbed."""
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    folder = tmp_path_factory.mktemp("calm")
    finish("search", "--out", folder / "run", *SEARCH)
    finish("retrain", folder / "run", *RETRAIN)
    finish("compare", "--out", folder / "compare", *COMPARE)
    return folder


def stop_at(
    moment: Callable[[], Any], *command: str | Path, number: signal.Signals = signal.SIGKILL
) -> subprocess.CompletedProcess[str]:
    """Start a command and send all its processes a signal as soon as something is true."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])
    }
    process = start(*command, env=environment)
    deadline = time.monotonic() + 120
    while not moment() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    if process.poll() is None:
        os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    deadline = time.monotonic() + 10
    while group_members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def raw(out: Path) -> list[Any]:
    return [
        (one.run.agent, one.run.seed, one.run.ended, [row.evaluation for row in one.rows])
        for one in read_records(out)
    ]


def searched(calm: Path, folder: Path) -> Path:
    """A copy of the search, before it was retrained."""
    run = folder / "run"
    shutil.copytree(calm / "run", run, ignore=shutil.ignore_patterns("retrained*"))
    return run


def scores(run: Path) -> list[Any]:
    rows = json.loads((run / "retrained.json").read_bytes())["children"]
    return [{k: v for k, v in row.items() if k != "folder"} for row in rows]


# ---------------------------------------------------------------- search


@pytest.mark.parametrize("name", [*slowly(".lock", "store.sqlite", "tensorboard"), "config.json"])
def test_a_search_that_is_killed_when_a_file_appears_goes_on(
    calm: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    stopped = stop_at((run / name).exists, "search", "--out", run, *SEARCH)
    assert stopped.returncode == -signal.SIGKILL
    if (run / "config.json").exists():
        main(["report", str(run)])  # of nothing, or of what there is
    finish("search", "--out", run, *SEARCH)
    assert records(run) == records(calm / "run")


def test_ctrl_c_in_the_first_second_names_a_command_that_works(calm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    appears = (run / "config.json").exists
    stopped = stop_at(appears, "search", "--out", run, *SEARCH, number=signal.SIGINT)
    assert stopped.returncode == 130
    assert "Traceback" not in stopped.stderr
    command = stopped.stderr.splitlines()[-1].removeprefix("python -m agents ").split()
    finish(*command)
    assert records(run) == records(calm / "run")


BEGINNINGS: list[dict[str, str]] = [
    {".lock": "", "config.json.partial": ""},
    {".lock": "", "config.json.partial": '{"env": "nas_gym/Dig'},
    {".lock": "", "store.sqlite": "", "store.sqlite.lock": ""},
    {".lock": "", "store.sqlite": "", "store.sqlite.lock": "", "store.sqlite-journal": ""},
    {".lock": "", "store.sqlite.lock": "0000000000000000000\n"},
    {".lock": "", "config.json.4711.partial": "", "agent.csv": "step,l"},
    {".lock": "", "tensorboard/events.out.tfevents.1.host.2.0": ""},
    {".lock": "", ".comparison.lock": "", "comparison.json.partial": '{"budget'},
]


@pytest.mark.parametrize("left", BEGINNINGS, ids=lambda left: "+".join(left))
@pytest.mark.parametrize("command", ["search", *slowly("compare")])
def test_what_a_kill_leaves_of_a_beginning_is_no_stranger(
    calm: Path, tmp_path: Path, command: str, left: dict[str, str]
) -> None:
    folder = tmp_path / "half"
    for name, text in left.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if command == "search":
        finish("search", "--out", folder, *SEARCH, "--store", tmp_path / "shared.sqlite")
    else:
        finish("compare", "--out", folder, *COMPARE)
        assert raw(folder) == raw(calm / "compare")


def test_a_beginning_with_a_store_in_the_folder_becomes_the_run(calm: Path, tmp_path: Path) -> None:
    run = tmp_path / "half"
    run.mkdir()
    for name in (".lock", "config.json.partial", "store.sqlite", "store.sqlite.lock"):
        (run / name).touch()
    finish("search", "--out", run, *SEARCH)
    assert records(run) == records(calm / "run")


def test_results_without_their_configuration_are_kept(calm: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    store = (calm / "run" / "store.sqlite").read_bytes()
    (run / "store.sqlite").write_bytes(store)
    with pytest.raises(SystemExit, match=r"holds 3 children of a run whose config\.json is miss"):
        main(["search", "--out", str(run), *SEARCH])
    assert (run / "store.sqlite").read_bytes() == store
    assert not (run / "config.json").exists()


CREATE = """
import os, sqlite3, sys
from pathlib import Path
from nas_gym.store import Store

connect, left = sqlite3.connect, 0

class Dies(sqlite3.Connection):
    def execute(self, *arguments):
        count()
        return super().execute(*arguments)

    def executescript(self, script):
        for statement in script.split(";"):
            count()
            super().execute(statement)

def count():
    global left
    left -= 1
    if left == 0:
        os._exit(9)

sqlite3.connect = lambda *a, **k: connect(*a, **k, factory=Dies)
for number in range(1, 30):
    path = Path(sys.argv[1]) / f"{number}.sqlite"
    pid = os.fork()
    if pid == 0:
        left = number
        Store(path).begin("run")
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    store = Store(path)
    store.begin("run")
    assert store.knows("run") and len(store) == 0
    store.close()
    if ended == 0:
        break
print(number)
"""


def test_a_store_whose_making_was_killed_opens(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CREATE, str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert 10 < int(done.stdout) < 29  # the last one was not killed


FULL = """
import resource, sys
from agents import cli
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
cli.main(sys.argv[2:])
"""


@pytest.mark.parametrize("size", [5000, *slowly(0, 10, 700, 20_000)])
def test_a_disk_that_is_full_at_the_first_write_leaves_a_folder_to_go_on_with(
    calm: Path, tmp_path: Path, size: int
) -> None:
    run = tmp_path / "run"
    command = ["search", "--out", str(run), *SEARCH, "--workers", "1"]
    full = subprocess.run(
        [sys.executable, "-c", FULL, str(size), *command],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert full.returncode == 1
    assert "Traceback" not in full.stderr
    finish(*command)
    assert records(run) == records(calm / "run")


# ---------------------------------------------------------------- retrain and compare


@pytest.mark.parametrize("name", ["child.json", *slowly("weights.pt.partial", "network.svg")])
def test_a_retraining_that_is_killed_goes_on(calm: Path, tmp_path: Path, name: str) -> None:
    run = searched(calm, tmp_path)
    stop_at(lambda: list(run.rglob(name)), "retrain", run, *RETRAIN)
    finish("retrain", run, *RETRAIN)
    assert scores(run) == scores(calm / "run")


def test_a_retraining_that_is_killed_while_it_replaces_a_network_goes_on(
    calm: Path, tmp_path: Path
) -> None:
    run = searched(calm, tmp_path)
    finish("retrain", run, "--seeds", "2", "--epochs", "2", "--workers", "1")
    (folder,) = (run / "retrained").iterdir()
    before = (folder / "seed0" / "weights.pt").read_bytes()

    def replaced() -> bool:
        return (folder / "seed0" / "weights.pt").read_bytes() != before

    stop_at(replaced, "retrain", run, *RETRAIN)
    finish("retrain", run, *RETRAIN)
    assert scores(run) == scores(calm / "run")


@pytest.mark.parametrize(
    "name", ["seed0.csv", *slowly("comparison.json", "seed1.json", "runs.csv")]
)
def test_a_comparison_that_is_killed_goes_on(calm: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    stop_at(lambda: list(out.rglob(name)), "compare", "--out", out, *COMPARE)
    finish("compare", "--out", out, *COMPARE)
    assert raw(out) == raw(calm / "compare")


# ---------------------------------------------------------------- any moment


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("command", ["search", "retrain", "compare"])
def test_any_moment_of_the_first_seconds(calm: Path, tmp_path: Path, command: str) -> None:
    begun = time.monotonic()
    subprocess.run([*COMMAND, "agents"], check=True, capture_output=True)
    imports = time.monotonic() - begun
    for step in range(20):
        folder = tmp_path / str(step)
        if command == "retrain":
            folder = searched(calm, folder)
        words: tuple[str | Path, ...] = {
            "search": ("search", "--out", folder, *SEARCH),
            "retrain": ("retrain", folder, *RETRAIN),
            "compare": ("compare", "--out", folder, *COMPARE),
        }[command]
        end = time.monotonic() + imports + 0.15 * step
        stop_at(lambda end=end: time.monotonic() > end, *words)  # type: ignore[misc]
        finish(*words)
        if command == "search":
            assert records(folder) == records(calm / "run")
        elif command == "retrain":
            assert scores(folder) == scores(calm / "run")
        else:
            assert raw(folder) == raw(calm / "compare")
