"""Libraries and loops of others play the environment as it is; the README's table says which.

``NAS_GYM_WRITE_TABLE=1 pytest tests/test_libraries.py`` writes the rows of what is installed into
the README; without it, the README must say what ran.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from library_plays import BUDGET, ENV, LIBRARIES, OPTIONS

from agents.compare.files import read_records

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "examples" / "cleanrl_ppo.py"
START, END = "<!-- libraries -->\n", "<!-- /libraries -->"
HEAD = "| library | version | algorithm | environment | distinct children | adapter |"
CLEANRL = (
    "[CleanRL](https://github.com/vwxyzjn/cleanrl)'s style in [one file](examples/cleanrl_ppo.py)"
)
NAMES = [CLEANRL, *(f"[{library.name}]({library.url})" for library in LIBRARIES.values())]


@dataclass(frozen=True)
class Row:
    """One algorithm of one library that spent a budget exactly."""

    library: str
    version: str
    algorithm: str
    environment: str
    children: str
    adapter: str

    def __str__(self) -> str:
        return f"| {' | '.join(vars(self).values())} |"


def row(library: str, version: str, algorithm: str, distinct: int, environment: str) -> Row:
    return Row(library, version, algorithm, environment, f"{distinct} of {BUDGET}", "none")


def published() -> list[Row]:
    """The rows of the README."""
    text = README.read_text()
    lines = text[text.index(START) + len(START) : text.index(END)].strip().splitlines()
    assert lines[0] == HEAD
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


def publish(rows: Iterable[Row]) -> None:
    """Put rows in the place of the same library's."""
    rows = list(rows)
    kept = [one for one in published() if one.library not in {new.library for new in rows}]
    ordered = sorted([*kept, *rows], key=lambda one: NAMES.index(one.library))
    table = "\n".join([HEAD, "|---" * HEAD.count(" | ") + "|---|", *map(str, ordered)])
    text = README.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    README.write_text(f"{before}{START}{table}\n{after}")


def check(rows: list[Row]) -> None:
    """The README has these rows of their library, versions aside, and no others."""
    if os.environ.get("NAS_GYM_WRITE_TABLE") == "1":
        publish(rows)
    told = [one for one in published() if one.library == rows[0].library]
    assert [str(one).replace(f"| {one.version} |", "") for one in told] == [
        str(one).replace(f"| {one.version} |", "") for one in rows
    ]


def python(script: Path, *arguments: str) -> list[str]:
    """Lines that a script prints in a process of its own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "NUMBA_DISABLE_JIT": "1",  # Tianshou would compile for longer than it plays
    }
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("module", LIBRARIES)
def test_a_library_plays_it_without_an_adapter(module: str) -> None:
    library = LIBRARIES[module]
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"needs {library.name}: pip install 'nas-gym[libraries]'")
    lines = python(Path(__file__).with_name("library_plays.py"), module)
    played = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(one["algorithm"], one["distinct"]) for one in played] == [
        (algorithm, BUDGET) for algorithm in library.algorithms
    ]
    name = f"[{library.name}]({library.url})"
    check([row(name, p["version"], p["algorithm"], p["distinct"], f"`{ENV}`") for p in played])


class TestOneFile:
    def test_plays_without_an_adapter_and_goes_on_record(self, tmp_path: Path) -> None:
        options = ["--env-id", ENV, "--env-kwargs", json.dumps(OPTIONS), "--budget", str(BUDGET)]
        options += ["--num-envs", "4", "--seed", "3", "--record", str(tmp_path / "out")]
        last = python(EXAMPLE, *options)[-1]
        assert last.startswith(f"{BUDGET} distinct children")
        (record,) = read_records(tmp_path / "out")
        assert (record.run.agent, record.run.seed, record.run.ended) == ("cleanrl_ppo", 3, "budget")
        assert len(record.rows) == BUDGET
        check([row(CLEANRL, "", "PPO", int(last.split()[0]), f"`{ENV}`, `make_vec`")])

    def test_has_no_more_of_nas_gym_than_the_ids_and_the_budget(self) -> None:
        lines = [line for line in EXAMPLE.read_text().splitlines() if "import" in line]
        ours = [line for line in lines if "nas_gym" in line or "agents" in line]
        assert [line.split("  #")[0] for line in ours] == [
            "import nas_gym",
            "from agents.budget import Budgeted",
        ]


def test_the_table_holds_what_is_tested_and_nothing_else() -> None:
    algorithms = [["PPO"], *(list(library.algorithms) for library in LIBRARIES.values())]
    told: dict[str, list[str]] = {}
    for one in published():
        told.setdefault(one.library, []).append(one.algorithm)
        assert (one.children, one.adapter) == (f"{BUDGET} of {BUDGET}", "none")
    assert told == dict(zip(NAMES, algorithms, strict=True))
