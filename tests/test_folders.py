"""Folders of images as people have them: taken as they are, or refused in a sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from PIL import Image

from nas_gym import DataError, Task, from_folder
from nas_gym.tasks import load_task


def paint(folder: Path, count: int = 5, color: int = 60) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = np.full((6, 6, 3), color + index, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def sizes(task: Task) -> tuple[int, int]:
    return len(task.train), len(task.validation)


def refused(root: Path, *words: str, **options: Any) -> None:
    with pytest.raises((DataError, ValueError)) as caught:
        from_folder(root, **options)
    assert helpers.is_sentence(caught.value, *words), caught.value


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "TEST"),
        ("train_set", "val_set", "test_set"),
    ],
)
def test_splits_of_any_usual_name(train: str, validation: str, test: str, tmp_path: Path) -> None:
    for name in ("ng", "ok"):
        paint(tmp_path / train / name, 6, 10)
        paint(tmp_path / validation / name, 3, 100)
        paint(tmp_path / test / name, 2, 200)
    task = from_folder(tmp_path, size=4)
    assert task.num_classes == 2
    assert sizes(task) == (12, 6)
    assert task.train.images.max() < 100 <= task.validation.images.min()  # nobody else's
    assert task.validation.labels.tolist() == [0, 1] * 3
    assert len(task.open_test()) == 4
    assert task.open_test().images.min() >= 200


def test_without_a_validation_folder_a_share_of_each_class_validates(tmp_path: Path) -> None:
    for name in ("ng", "ok"):
        paint(tmp_path / "Training" / name, 10)
    assert sizes(from_folder(tmp_path, size=4)) == (16, 4)
    assert sizes(from_folder(tmp_path, size=4, validation=0.5)) == (10, 10)


@pytest.mark.parametrize("beside", ["test", "Test", "val", "valid", "training", "dev", "testing"])
def test_a_split_beside_classes_is_no_class(beside: str, tmp_path: Path) -> None:
    for name in ("ok", "ng", beside):
        paint(tmp_path / name)
    refused(tmp_path, beside)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["train/a", "train/b", "Training/a", "Training/b"], ["train", "Training", "keep one"]),
        (["train/a", "train/b", "val/a", "val/b", "valid/a", "valid/b"], ["val", "valid"]),
        (["train/a", "train/b", "extra/a"], ["extra", "no split"]),
        (["test/a", "test/b", "val/a", "val/b"], ["test, val", "no train"]),
        (["train/a", "train/b", "test/a"], ["test lacks b"]),
        (["train/a", "train/b", "test/a", "test/b", "test/c"], ["test", "c"]),
        (["train/a", "train/b", "val/a"], ["val lacks b"]),
        (["train/oak", "train/elm", "test/Oak", "test/elm"], ["test", "oak"]),
        (["train/a", "train/b", "test"], ["test", "lies in no class"]),
        (["train/a"], ["per class", "has 1"]),
        (["train"], ["lies in no class"]),
        (["a", "b", "."], ["lies in no class"]),
    ],
)
def test_folders_that_could_be_taken_for_something_else_are_refused(
    folders: list[str], words: list[str], tmp_path: Path
) -> None:
    for folder in folders:
        paint(tmp_path / folder, 2)
    refused(tmp_path, *words)


def test_a_class_may_have_the_name_of_a_split_inside_of_one(tmp_path: Path) -> None:
    for name in ("train", "bus", "test"):
        paint(tmp_path / "train" / name)
    assert from_folder(tmp_path, size=4).num_classes == 3


def test_what_is_hidden_or_no_picture_is_passed_over(tmp_path: Path) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
        for stray in (
            ".DS_Store",
            "Thumbs.db",
            "desktop.ini",
            "notes.txt",
            "labels.CSV",
            "._0.png",
        ):
            (tmp_path / name / stray).write_bytes(b"\0\1")
        paint(tmp_path / name / ".ipynb_checkpoints")
    for stray in (".git/objects", ".ipynb_checkpoints", "__MACOSX/ok", "@eaDir"):
        (tmp_path / stray).mkdir(parents=True)
    (tmp_path / "README.md").write_text("leaves", encoding="utf-8")
    task = from_folder(tmp_path, size=4)
    assert task.num_classes == 2
    assert sizes(task) == (8, 2)


def test_folders_inside_of_a_class_are_read_through(tmp_path: Path) -> None:
    for place in ("ok/left", "ok/right/deep", "ok", "ng/left"):
        paint(tmp_path / place)
    task = from_folder(tmp_path, size=4)
    assert task.num_classes == 2
    assert sum(sizes(task)) == 20


def test_links_are_followed_and_lead_to_no_endless_walk(tmp_path: Path) -> None:
    paint(tmp_path / "elsewhere" / "oak")
    root = tmp_path / "leaves"
    paint(root / "elm")
    (root / "oak").symlink_to(tmp_path / "elsewhere" / "oak", target_is_directory=True)
    (root / "elm" / "again").symlink_to(root / "elm", target_is_directory=True)
    (root / "elm" / "up").symlink_to(root, target_is_directory=True)
    task = from_folder(root, size=4)
    assert task.num_classes == 2
    assert sum(sizes(task)) >= 10
    (root / "elm" / "up").unlink()
    assert sum(sizes(from_folder(root, size=4))) == 10
    (root / "elm" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    refused(root, "lost.png")


@pytest.mark.timeout(60)
def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
    os.mkfifo(tmp_path / "ok" / "pipe.png")
    refused(tmp_path, "pipe.png", "no file")


def test_a_class_without_a_picture_is_named(tmp_path: Path) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
    (tmp_path / "rare" / "deep").mkdir(parents=True)
    (tmp_path / "rare" / "notes.txt").touch()
    refused(tmp_path, "rare", "no pictures")


def test_a_damaged_or_foreign_file_is_named(tmp_path: Path) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
    for name, content in (("9.png", b""), ("9.jpg", b"no image"), ("9", b"x"), ("9.mp4", b"x")):
        (tmp_path / "ok" / name).write_bytes(content)
        refused(tmp_path, f"{name} is no image")
        (tmp_path / "ok" / name).unlink()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"size": 0}, "size"),
        ({"size": -3}, "size"),
        ({"size": "big"}, "size"),
        ({"size": 8.5}, "size"),
        ({"size": True}, "size"),
        ({"size": None}, "size"),
        ({"size": 10_000_000}, "GiB"),
        ({"channels": 2}, "channels"),
        ({"channels": 0}, "channels"),
        ({"channels": "rgb"}, "channels"),
        ({"channels": True}, "channels"),
        ({"validation": 0.0}, "validation"),
        ({"validation": 1}, "validation"),
        ({"validation": "0.2"}, "validation"),
        ({"validation": float("nan")}, "validation"),
        ({"recipe": "fast"}, "recipe"),
        ({"recipe": {"epoch": 3}}, "epoch"),
        ({"recipe": {"epochs": "3"}}, "epochs"),
    ],
)
def test_a_wrong_option_is_blamed_on_the_option(
    options: dict[str, Any], word: str, tmp_path: Path
) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
        (tmp_path / name / "damaged.png").write_bytes(b"never read")
    refused(tmp_path, word, **options)
    with pytest.raises(ValueError, match=word):
        load_task({"name": f"folder:{tmp_path}", **options})


def test_a_recipe_may_be_a_mapping(tmp_path: Path) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / name)
    assert from_folder(tmp_path, recipe={"epochs": 3}).recipe.epochs == 3


def test_names_of_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ok", "ng"):
        paint(tmp_path / "home" / "leaves" / name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    here = load_task({"name": "folder:leaves", "size": 4})
    home = load_task({"name": "folder:~/leaves", "size": 4})
    assert here.fingerprint == home.fingerprint == from_folder("~/leaves", size=4).fingerprint
    for name in ("folder:", "folder: "):
        with pytest.raises(ValueError, match="names no folder"):
            load_task(name)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no image folder"):
        load_task({"name": "folder:leaves", "size": 4})
