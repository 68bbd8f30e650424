"""Files are UTF-8 and consoles show what they can, whatever the locale."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import finish

import agents
from agents.budget import Budgeted

ROOT = Path(agents.__file__).parents[1]
ROOMS = ("nas_gym", "agents", "benchmarks", "examples", "tests")
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
LOCALES = [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
TINY = "--budget 2 --epochs 1 --train-images 200 --workers 1"
ENV = "compare_helpers:test/Dials-v0"
TEXT = (".json", ".csv", ".html", ".svg", ".md")


def run(settings: dict[str, str], folder: Path, *commands: str, code: int = 0) -> str:
    """Commands in one process in another locale; what they wrote to the console."""
    program = "import sys; from agents.cli import main; [main(c.split()) for c in sys.argv[1:]]"
    done = subprocess.run(
        [sys.executable, "-c", program, *commands],
        env=os.environ | settings,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=200,
    )
    text = done.stdout.decode("latin-1" if "latin-1" in settings.values() else "utf-8")
    assert done.returncode == code, text
    assert "Traceback" not in text
    return text


def assert_utf_8(folder: Path) -> None:
    texts = [path for path in folder.rglob("*") if path.suffix in TEXT]
    assert texts
    for path in texts:
        path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("settings", LOCALES, ids=lambda settings: "-".join(settings.values()))
def test_a_run_in_any_locale(
    tmp_path: Path, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    search = f"search --out rün {TINY} --agent random"
    retrain = "retrain rün --seeds 2 --epochs 1 --workers 1"
    shown = run(settings, tmp_path, search, retrain, "report rün")
    assert "Best of 2 distinct children" in shown
    assert ("retrain 'r\\xfcn'" if "ascii" in settings.values() else "retrain 'rün'") in shown
    assert "test top-1" in shown
    assert shown.strip().endswith("n/report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["rün"]
    assert_utf_8(tmp_path)
    page = (tmp_path / "rün" / "report.html").read_text(encoding="utf-8")
    assert " ± " in page
    assert "retrain &#x27;rün&#x27;" in page
    monkeypatch.chdir(tmp_path)
    assert "2 recalled" in finish(*search.split())  # and in this one


def test_names_of_any_character_in_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import compare_helpers
    import gymnasium as gym

    tests = str(Path(compare_helpers.__file__).parent)
    monkeypatch.syspath_prepend(tests)
    env = gym.make(ENV, train_seed=0)
    with Budgeted(env, 3, record=tmp_path / "größe", agent="Zufällig 无", seed=0) as played:
        while True:
            compare_helpers.episode(played, played.unwrapped.np_random.integers(5, size=4))
    paths = {"PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    more = f"compare --out größe --env {ENV} --agents random --seeds 1 --workers 1"
    assert "random" in run(ASCII | paths, tmp_path, more, "report größe --trust compare_helpers")
    assert_utf_8(tmp_path)
    for name in ("summary.md", "report.html", "runs.csv"):
        assert "Zufällig 无" in (tmp_path / "größe" / name).read_text(encoding="utf-8")


def test_what_is_wrong_is_told_in_any_locale(tmp_path: Path) -> None:
    assert "error: unknown agent" in run(ASCII, tmp_path, "search --out x --agent größe", code=1)
    assert "größe" in run(ASCII, tmp_path, "search größe", code=2)
    assert "nas-gym" in run(ASCII, tmp_path, "search --help")
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_no_text_are_a_path(tmp_path: Path) -> None:
    folder = os.fsdecode(b"r\xff")
    finish("search", "--out", tmp_path / folder, *TINY.split(), "--agent", "random")
    finish("report", tmp_path / folder)
    assert_utf_8(tmp_path)
    assert json.loads((tmp_path / folder / "best.json").read_bytes())


def test_no_file_is_opened_in_the_encoding_of_a_locale() -> None:
    found = []
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_bytes())):
                if isinstance(node, ast.Call) and _opens_text(node):
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not found, "say encoding='utf-8', or read and write bytes"


def _opens_text(call: ast.Call) -> bool:
    """Whether a call opens, reads or writes a text file and names no encoding."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    method = isinstance(call.func, ast.Attribute)
    if name not in {"open", "read_text", "write_text"} or (name != "open" and not method):
        return False
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if owner in {"os", "Image", "gzip", "tarfile", "zipfile"}:
        return False
    mode = [*call.args[0 if method else 1 :], *(k.value for k in call.keywords if k.arg == "mode")]
    binary = any(isinstance(one, ast.Constant) and "b" in str(one.value) for one in mode[:1])
    named = any(keyword.arg == "encoding" for keyword in call.keywords)
    return not named and not (name == "open" and binary)


def test_this_file_knows_an_opened_text() -> None:
    wrong = (
        "p.read_text()",
        "p.write_text(t)",
        "open(p)",
        "open(p, 'w')",
        "p.open()",
        "p.open('a')",
    )
    right = (
        "p.read_bytes()",
        "open(p, 'rb')",
        "p.open(mode='wb')",
        "p.open('w', encoding='utf-8')",
    )
    calls = [ast.parse(text, mode="eval").body for text in (*wrong, *right)]
    assert [isinstance(one, ast.Call) and _opens_text(one) for one in calls] == [
        *([True] * len(wrong)),
        *([False] * len(right)),
    ]
