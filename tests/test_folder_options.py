"""Options and paths of an image folder: right, or a sentence before any picture is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helpers
import pytest
import torch
from PIL import Image

from agents.cli import main
from nas_gym import DataError, from_folder
from nas_gym.tasks import load_task

CPU = torch.device("cpu")


def build(root: Path, *folders: str) -> Path:
    """Five pictures in each of these folders."""
    for name in folders:
        (root / name).mkdir(parents=True)
        for index in range(5):
            Image.new("L", (4, 4), index).save(root / name / f"{index}.png")
    return root


def refused(root: Path, *words: object, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        from_folder(root, **({"size": 4} | options))
    assert helpers.is_sentence(caught.value, *words), caught.value


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    return build(tmp_path / "leaves", "train/ash", "train/oak", "test/ash", "test/oak")


OPTIONS: list[dict[str, Any]] = [
    *({"size": value} for value in (0, -3, "big", 8.0, True, None, [8], 10**200)),
    *({"channels": value} for value in (2, 0, 4, "rgb", True, 3.0, None, [3])),
    *({"validation": value} for value in (0, 1, 1.5, -0.1, "0.2", True, float("nan"), [0.2])),
    *({"recipe": value} for value in (3, "fast", [1], {"epochs": 0}, {"epochz": 1}, True)),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_wrong_option_is_named_before_any_file(options: dict[str, Any], leaves: Path) -> None:
    (leaves / "train" / "oak" / "0.png").write_bytes(b"damaged")
    refused(leaves, "'leaves'", next(iter(options)), **options)


def test_a_size_beyond_the_memory_is_told_by_its_arithmetic(leaves: Path) -> None:
    refused(leaves, "size=1000000", "10 pictures of 1000000 x 1000000 x 3", "GiB", size=1_000_000)


def test_a_recipe_may_be_a_mapping(leaves: Path) -> None:
    task = load_task({"name": f"folder:{leaves}", "size": 4, "recipe": {"epochs": 2}})
    assert task.recipe.epochs == 2


def test_wrong_names_of_options_are_told_the_right_ones(leaves: Path) -> None:
    with pytest.raises(ValueError, match="'sise'; its options are: size, channels, validation"):
        load_task({"name": f"folder:{leaves}", "sise": 4})
    with pytest.raises(ValueError, match="options must be JSON values"):
        load_task({"name": f"folder:{leaves}", "size": {4}})


def test_a_relative_folder_is_found_from_everywhere(
    leaves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaves.parent)
    task = load_task({"name": "folder:leaves", "size": 4})
    other = build(tmp_path / "elsewhere" / "leaves", "a", "b", "c")
    monkeypatch.chdir(other.parent)
    assert len(task.open_test(CPU)) == 10
    assert load_task({"name": "folder:leaves", "size": 4}).num_classes == 3


def test_a_folder_at_home_is_found(leaves: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(leaves.parent))
    assert load_task({"name": "folder:~/leaves", "size": 4}).num_classes == 2
    assert from_folder("~/leaves", size=4).num_classes == 2


@pytest.mark.parametrize("path", ["", "nowhere", "~nobody-of-this-name/leaves", "x" * 300, "a\0b"])
def test_a_path_that_is_no_folder_is_one_sentence(path: str) -> None:
    with pytest.raises(DataError) as caught:
        load_task(f"folder:{path}")
    assert helpers.is_sentence(caught.value, "image folder")
    with pytest.raises(DataError):
        from_folder(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "folder:"], "folder:PATH"),
        (["--task", "folder:leaves", "--task-options", "size=0"], "size must be"),
        (["--task", "folder:leaves", "--task-options", 'recipe={"epochs":"2"}'], "epochs"),
        (["--task", "folder:leaves/train/oak"], "sub-folder of images per class"),
    ],
)
def test_the_command_line_says_it_in_one_sentence(
    arguments: list[str], words: str, leaves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaves.parent)
    with pytest.raises(SystemExit) as caught:
        main(["search", "--out", "run", *arguments])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("run").exists()


def test_a_share_beside_a_validation_folder_is_refused(tmp_path: Path) -> None:
    build(tmp_path, "train/a", "train/b", "val/a", "val/b")
    refused(tmp_path, "validation", "val", validation=0.3)
