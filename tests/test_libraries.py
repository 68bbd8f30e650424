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
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from library_plays import BUDGET, ENV, LIBRARIES, OPTIONS

from agents.compare.files import read_records

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "examples" / "cleanrl_ppo.py"
START, END = "<!-- libraries -->\n", "<!-- /libraries -->"
HEAD = "| library | version | algorithms | environment | distinct children | adapter |"
CLEANRL = (
    "[CleanRL](https://github.com/vwxyzjn/cleanrl)'s style in [one file](examples/cleanrl_ppo.py)"
)
NAMES = [CLEANRL, *(f"[{library.name}]({library.url})" for library in LIBRARIES.values())]


@dataclass(frozen=True)
class Row:
    """A library whose algorithms each spent a budget exactly."""

    library: str
    version: str
    algorithms: str
    environment: str
    children: str
    adapter: str = "none"

    def __str__(self) -> str:
        return f"| {' | '.join(vars(self).values())} |"


def published() -> dict[str, Row]:
    """The rows of the README, by library."""
    text = README.read_text(encoding="utf-8")
    lines = text[text.index(START) + len(START) : text.index(END)].strip().splitlines()
    rows = [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]
    return {row.library: row for row in rows}


def check(row: Row) -> None:
    """The README has this row, whatever the version; it is written first if that is asked for."""
    if os.environ.get("NAS_GYM_WRITE_TABLE") == "1":
        rows = published() | {row.library: row}
        table = [HEAD, "|---" * 6 + "|", *(str(rows[name]) for name in NAMES if name in rows)]
        text = README.read_text(encoding="utf-8")
        before, after = text[: text.index(START)], text[text.index(END) :]
        README.write_text(before + START + "\n".join(table) + "\n" + after, encoding="utf-8")
    assert published().get(row.library) == replace(row, version=published()[row.library].version)


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
    (version,) = {one["version"] for one in played}
    name, algorithms = f"[{library.name}]({library.url})", ", ".join(library.algorithms)
    check(Row(name, version, algorithms, f"`{ENV}`", f"{BUDGET} of {BUDGET} each"))


class TestOneFile:
    def test_plays_without_an_adapter_and_goes_on_record(self, tmp_path: Path) -> None:
        options = ["--env-id", ENV, "--env-kwargs", json.dumps(OPTIONS), "--budget", str(BUDGET)]
        options += ["--num-envs", "4", "--seed", "3", "--record", str(tmp_path / "out")]
        last = python(EXAMPLE, *options)[-1]
        assert last.startswith(f"{BUDGET} distinct children")
        (record,) = read_records(tmp_path / "out")
        assert (record.run.agent, record.run.seed, record.run.ended) == ("cleanrl_ppo", 3, "budget")
        assert len(record.rows) == BUDGET
        check(Row(CLEANRL, "", "PPO", f"`{ENV}`, `make_vec`", f"{BUDGET} of {BUDGET}"))

    def test_has_no_more_of_nas_gym_than_the_ids_and_the_budget(self) -> None:
        lines = [
            line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if "import" in line
        ]
        ours = [line for line in lines if "nas_gym" in line or "agents" in line]
        assert [line.split("  #")[0] for line in ours] == [
            "import nas_gym",
            "from agents import Budgeted",
        ]


def test_the_table_has_a_row_for_every_library_and_no_other() -> None:
    assert list(published()) == NAMES
    assert f"{START}{HEAD}\n" in README.read_text(encoding="utf-8")
