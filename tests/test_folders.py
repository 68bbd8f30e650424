"""What the folders and files of an image folder are taken for, and what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import helpers
import numpy as np
import pytest
import torch
from PIL import Image

from nas_gym import DataError, ImageClassification, Task, from_folder

CPU = torch.device("cpu")


def paint(folder: Path, count: int, grey: int = 0) -> None:
    """Pictures of one grey, in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("L", (4, 4), grey).save(folder / f"{index}.png")


def build(root: Path, layout: dict[str, int]) -> Path:
    """Folders with so many pictures each; the grey says which folder it is."""
    for position, (name, count) in enumerate(layout.items()):
        paint(root / name, count, 10 * position)
    return root


def sizes(task: ImageClassification) -> tuple[int, int, int]:
    return task.num_classes, len(task.train), len(task.validation)


def refused(root: Path, *words: object) -> None:
    with pytest.raises(DataError) as caught:
        from_folder(root, size=4)
    assert helpers.is_sentence(caught.value, *words), caught.value


@pytest.fixture
def leaves(tmp_path: Path) -> Path:
    layout = {f"{part}/{name}": 5 for part in ("train", "test") for name in ("ash", "oak")}
    return build(tmp_path / "leaves", layout)


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("names", [
    ("train", "val", "test"),
    ("Train", "Valid", "Test"),
    ("training", "validation", "testing"),
    ("TRAIN", "dev", "eval"),
    ("train_set", "val-set", "test_images"),
    ("train2017", "val2017", "test2017"),
])  # fmt: skip
def test_splits_of_any_usual_name_are_taken_as_given(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    counts = (5, 3, 2)
    build(tmp_path, {f"{part}/{c}": n for part, n in zip(names, counts, strict=True) for c in "ab"})
    task = from_folder(tmp_path, size=4)
    assert sizes(task) == (2, 10, 6)
    assert set(task.train.images.unique().tolist()) == {0, 10}
    assert set(task.validation.images.unique().tolist()) == {20, 30}
    assert len(task.open_test(CPU)) == 4
    assert set(task.open_test(CPU).images.unique().tolist()) == {40, 50}


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"ok": 5, "ng": 5, "test": 5}, ["test looks like a split, not a class"]),
        ({"ok": 5, "ng": 5, "Val": 5}, ["Val looks like a split, not a class"]),
        ({"ok": 5, "ng": 5, "train": 5}, ["ng, ok", "train", "no split"]),
        ({"train/a": 5, "train/b": 5, "extra/a": 5}, ["extra", "no split"]),
        ({"val/a": 5, "val/b": 5}, ["val", "no train"]),
        ({"test/a": 5, "test/b": 5, "val/a": 5, "val/b": 5}, ["test", "no train"]),
        ({"train/a": 5, "train/b": 5, "Training/a": 5}, ["Training", "train", "both"]),
        ({"train/a": 5, "train/b": 5, "val/a": 5, "valid/a": 5}, ["val", "valid", "both"]),
        ({"train/a": 5, "train/b": 5, "test": 5}, ["test lacks classes", "a, b"]),
        ({"train": 5, "test": 5}, ["train", "sub-folder", "has 0"]),
        ({"train/a": 5, "train/b": 5, "test/a": 5}, ["test lacks classes", "b"]),
        ({"train/a": 5, "train/b": 5, "val/a": 5}, ["val lacks classes", "b"]),
        ({"train/a": 5, "train/b": 5, "test/a": 5, "test/b": 5, "test/c": 1}, ["test has", "c"]),
        ({"train/a": 5, "train/b": 5, "val/A": 5, "val/b": 5}, ["'a'", "'A'", "name"]),
        ({"train/a": 5, "train/b": 5, "test/a": 5, "test/b": 0}, ["test/b", "no images"]),
        ({"a/train": 5, "a/test": 5, "b/train": 5, "b/test": 5}, ["split inside a class"]),
        ({"a": 5, "b": 0}, ["class folder", "b", "no images"]),
        ({"a": 5, "b": 5, "c/deeper": 0}, ["class folder", "c", "no images"]),
        ({"a": 5, "b": 5, ".": 1}, ["0.png", "beside the folders of classes"]),
        ({"train/a": 5, "train/b": 5, "train": 1}, ["train/0.png", "beside"]),
        ({"only": 5}, ["sub-folder of images per class", "has 1", "only"]),
        ({".": 5}, ["sub-folder of images per class", "has 0"]),
    ],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(
    layout: dict[str, int], words: list[str], tmp_path: Path
) -> None:
    refused(build(tmp_path / "data", layout), *words)


def test_stray_pictures_beside_the_splits_are_refused(leaves: Path) -> None:
    paint(leaves, 1)
    refused(leaves, leaves / "0.png", "beside")


def test_a_class_may_be_called_train_where_there_are_splits(tmp_path: Path) -> None:
    build(tmp_path, {"train/bus": 5, "train/train": 5})
    assert sizes(from_folder(tmp_path, size=4)) == (2, 8, 2)


def test_the_pictures_of_the_test_set_are_opened_by_its_reading_only(leaves: Path) -> None:
    broken = leaves / "test" / "oak" / "0.png"
    broken.write_bytes(b"")
    task = from_folder(leaves, size=4)
    with pytest.raises(DataError) as caught:
        task.open_test(CPU)
    assert helpers.is_sentence(caught.value, broken)


# ---------------------------------------------------------------- what lies in them


def test_folders_inside_a_class_are_read_through(tmp_path: Path) -> None:
    build(tmp_path, {"ok/left": 3, "ok/right/deep": 4, "ok": 2, "ng/left": 6})
    assert sizes(from_folder(tmp_path, size=4)) == (2, 12, 3)


def clutter(root: Path) -> None:
    """What systems, editors and people leave everywhere."""
    for folder in (root, root / "train", root / "train" / "oak", root / "test"):
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", "notes.txt", "labels.CSV",
                     "README", "README.md", "sidecar.xmp"):  # fmt: skip
            (folder / name).write_bytes(b"no picture")
        for name in (".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "__pycache__"):
            paint(folder / name, 2)


def test_hidden_entries_and_notes_are_left_out(leaves: Path) -> None:
    before = from_folder(leaves, size=4)
    clutter(leaves)
    task = from_folder(leaves, size=4)
    assert task.fingerprint == before.fingerprint
    assert len(task.open_test(CPU)) == 10


def test_a_picture_is_one_whatever_its_name(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
        for name in ("readme.png", "license.jpg", "notes.txt.gif", "NOTICE.TIF"):
            Image.new("L", (4, 4)).save(tmp_path / folder / name)
        Image.new("L", (4, 4)).save(tmp_path / folder / "bare", format="png")
    assert sizes(from_folder(tmp_path, size=4)) == (2, 8, 2)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    os.chdir(path.parent)  # its path must be short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(path.name)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_dead_link(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def make_loop(path: Path) -> None:
    path.symlink_to(path.parent)


def make_far_loop(path: Path) -> None:
    path.symlink_to(path.parents[2])


def make_video(path: Path) -> None:
    path.with_suffix(".mp4").write_bytes(b"\0" * 100)


def make_nothing(path: Path) -> None:
    path.with_suffix("").write_bytes(b"no picture")


MAKERS = [make_fifo, make_socket, make_device, make_dead_link, make_loop, make_far_loop]
MAKERS += [make_video, make_nothing]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_what_is_no_picture_is_named_at_once(
    make: Callable[[Path], None], part: str, leaves: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(leaves)
    make(leaves / part / "oak" / "odd.png")
    with pytest.raises(DataError) as caught:
        from_folder(leaves, size=4).open_test(CPU)
    assert helpers.is_sentence(caught.value, leaves / part / "oak" / "odd")


def test_links_to_folders_are_followed(leaves: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for part in ("train", "test"):
        (tmp_path / "linked" / part).symlink_to(leaves / part)
    linked = from_folder(tmp_path / "linked", size=4)
    assert linked.fingerprint == from_folder(leaves, size=4).fingerprint


def test_the_order_of_the_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    prints = []
    for place, order in (("one", range(8)), ("two", reversed(range(8)))):
        for index in order:
            for name in ("a/x", "a", "b"):
                (tmp_path / place / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (4, 4), index).save(tmp_path / place / name / f"{index}.png")
        prints.append(from_folder(tmp_path / place, size=4).fingerprint)
    assert prints[0] == prints[1]


def test_held_out_pictures_do_not_fall_into_step_with_names(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for item in range(40):
            for view in range(5):
                picture = Image.fromarray(np.full((4, 4), view, np.uint8))
                picture.save(tmp_path / name / f"item{item:02}_view{view}.png")
    task = from_folder(tmp_path, size=4, channels=1)
    for split in (task.train, task.validation):
        assert set(split.images.unique().tolist()) == set(range(5))


def test_the_callers_torch_settings_do_not_matter(leaves: Path) -> None:
    before = from_folder(leaves, size=4)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        task = from_folder(leaves, size=4)
        assert task.statistics == before.statistics
        assert task.fingerprint == before.fingerprint
        assert len(task.open_test(CPU)) == 10
        images, labels = np.zeros((9, 1, 8, 8)), np.arange(9) % 3
        assert len(Task.from_tensors("t", images, labels).validation) == 3
        assert len(Task.from_tensors("t", images.tolist(), labels.tolist()).validation) == 3
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
