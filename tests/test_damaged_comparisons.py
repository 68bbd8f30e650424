"""Records of a comparison that are not what was written: refused, and never overwritten."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare_helpers
import pytest
from test_cli import finish
from test_damaged_records import a_list, another_digit, brackets, cut, files, nothing_left, refused

COMPARED = "compare_helpers:test/Dials-v0"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    sys.path.append(str(Path(compare_helpers.__file__).parent))
    agents = "random,compare_helpers:Climber"
    size = ("--budget", "6", "--seeds", "2", "--workers", "1")
    finish("compare", "--out", out, "--env", COMPARED, "--agents", agents, *size)
    return out


def first_rows(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))


def shuffled(path: Path) -> None:
    head, *rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([head, *reversed(rows)]))


def a_row_twice(path: Path) -> None:
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*rows, rows[-1]]))


def better(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b",0.", b",0.9", 1))


def a_copy_of_another(path: Path) -> None:
    for suffix in (".csv", ".json"):
        other = path.with_name(f"seed0{suffix}")
        shutil.copy(other, path.with_suffix(suffix))


def of_another_agent(path: Path) -> None:
    for suffix in (".csv", ".json"):
        source = path.with_suffix(suffix)
        folder = next(f for f in path.parents[1].iterdir() if f != path.parent)
        shutil.copy(folder / source.name, source)


def without_its_rows(path: Path) -> None:
    path.with_suffix(".csv").unlink()


def without_a_checksum(path: Path) -> None:
    head = json.loads(path.with_suffix(".json").read_bytes())
    plain = {name: value for name, value in head.items() if "sha256" not in name}
    path.with_suffix(".json").write_text(json.dumps(plain), encoding="utf-8")


@pytest.mark.parametrize("spoil", [cut, nothing_left, first_rows, shuffled, a_row_twice, better])
def test_rows_that_are_not_the_runs_are_refused_and_kept(
    compared: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    _refused_and_kept(compared, tmp_path, ".csv", spoil)


@pytest.mark.parametrize(
    "spoil",
    [
        *(cut, nothing_left, another_digit, a_list, without_its_rows, without_a_checksum),
        *(a_copy_of_another, of_another_agent),
    ],
)
def test_a_head_that_is_not_the_runs_is_refused_and_kept(
    compared: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    _refused_and_kept(compared, tmp_path, ".json", spoil)


def _refused_and_kept(
    compared: Path, tmp_path: Path, suffix: str, spoil: Callable[[Path], Any]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    spoil(out / "records" / "test~Dials-v0" / "random" / f"seed1{suffix}")
    before = files(out)
    trust = ("--trust", "compare_helpers")
    for command in (("report", out, *trust), ("compare", "--out", out, *trust)):
        refused(*command, words="seed1")
        assert files(out) == before, command


@pytest.mark.parametrize("spoil", [cut, nothing_left, another_digit, brackets])
def test_a_damaged_comparison_is_refused_and_kept(
    compared: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    spoil(out / "comparison.json")
    before = files(out)
    for command in (("report", out), ("compare", "--out", out)):
        assert "is damaged" in refused(*command, words="comparison.json")
        assert files(out) == before
