"""The README's examples, run as they stand."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

from agents.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FILES = {code.split("\n")[0][2:]: code for code in PYTHON if code.startswith("# ")}
SCRIPTS = [code for code in PYTHON if code.startswith("import gymnasium")]
COMMANDS = re.findall(r"^nas-gym (.*)$", README, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the README's files in it, to work in."""
    for name, code in FILES.items():
        (tmp_path / name).write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    gym.registry.pop("me/Stripes-v0", None)
    for name in FILES:
        sys.modules.pop(Path(name).stem, None)


def test_every_example_is_run_here() -> None:
    assert sorted(FILES) == [
        "my_agent.py",
        "my_bags.py",
        "my_space.py",
        "my_task.py",
        "my_words.py",
    ]
    assert len(SCRIPTS) == 5
    assert len(PYTHON) == len(FILES) + len(SCRIPTS) + 2  # checks, and loading a saved child
    assert all(len(code.splitlines()) < 30 for code in PYTHON)


@pytest.mark.parametrize(
    "code", SCRIPTS, ids=["environment", "reinforce", "sb3", "library", "source"]
)
def test_script(code: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "example.py"
    path.write_text(code, encoding="utf-8")
    exec(compile(code, path, "exec"), {"__name__": "__main__"})
    out = capsys.readouterr().out
    assert "ok" in out or "'accuracy': " in out


@pytest.mark.parametrize("out", ["runs/stripes", "runs/words", "runs/dense", "runs/mine"])
def test_own_task_space_and_agent(
    out: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [command for command in COMMANDS if out in command]
    assert commands
    for command in commands:
        main(shlex.split(command))
    assert (folder / out / "report.html").is_file()
    assert "Best of" in capsys.readouterr().out


def test_what_is_shown_passes_the_checks(folder: Path) -> None:
    (code,) = [code for code in PYTHON if "nas_gym.testing" in code]
    exec(compile(code, "checks.py", "exec"), {"__name__": "checks"})


def test_every_other_command_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    from agents import cli

    for command in (cli.Search, cli.Compare, cli.Retrain, cli.Report, cli.Envs, cli.Agents):
        monkeypatch.setattr(command, "run", lambda self: None)
    for text in COMMANDS:
        main(shlex.split(text))
