"""Where the pictures of an image folder lie: its splits, classes and files, by names alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_gym.tasks.splits import DataError

# Names of the folders of a split, in any case.
SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "val_set", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), "test"),
}
SYSTEM = {"__macosx", "thumbs.db", "desktop.ini", "@eadir", "lost+found", "__pycache__"}
# Files that may lie among pictures and are none. Any other file must be one.
NO_PICTURES = {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".yaml", ".yml", ".toml"}
NO_PICTURES |= {".html", ".log", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".py", ".ipynb", ".sh"}
NO_PICTURES |= {".db", ".ini", ".url", ".lnk", ".license", ".cfg"}


@dataclass(frozen=True)
class Layout:
    """The folders of an image folder.

    Attributes:
        train: Holds a folder for each class.
        validation: The same for the images to score on; None where they are cut out of ``train``.
        test: The same for the sealed images, or None.
        classes: Names of the classes, sorted.
    """

    train: Path
    validation: Path | None
    test: Path | None
    classes: tuple[str, ...]


def find_layout(root: Path) -> Layout:
    """Find splits and classes, and refuse what could be taken for something else than it is.

    Raises:
        DataError: The message says what is in the way.
    """
    if not root.is_dir():
        raise DataError(f"there is no image folder {root}")
    folders = {entry.name: entry for entry in visible(root) if entry.is_dir()}
    found: dict[str, Path] = {}
    for name, folder in folders.items():
        split = SPLITS.get(name.lower())
        if split in found:
            raise DataError(
                f"{root} has two folders for {split}, {found[split].name} and {name}: keep one"
            )
        if split is not None:
            found[split] = folder
    others = sorted(name for name in folders if name.lower() not in SPLITS)
    if found and "train" not in found:
        names = ", ".join(sorted(folder.name for folder in found.values()))
        raise DataError(
            f"{root} has {names}, which looks like a split and not a class, but no train: put the "
            f"classes into {root / 'train'}"
        )
    if found and others:
        raise DataError(
            f"{root} has {found['train'].name} and beside it {', '.join(others[:3])}, no split: "
            "only train, val and test may lie there (a class of that name belongs into train)"
        )
    train = found.get("train", root)
    classes = _classes(train)
    if len(classes) < 2:
        raise DataError(f"{train} needs a sub-folder of images per class, has {len(classes)}")
    for split in ("validation", "test"):
        if split in found:
            _compare(found[split], classes, train)
    return Layout(train, found.get("validation"), found.get("test"), classes)


def files_of(folder: Path, classes: tuple[str, ...]) -> Iterator[tuple[Path, int]]:
    """Every picture's file with the number of its class, by class and then by name.

    Folders inside of a class are read through.

    Raises:
        DataError: Something there is neither a file nor a folder.
    """
    for label, name in enumerate(classes):
        for file in _walk(folder / name, frozenset()):
            yield file, label


def visible(folder: Path) -> list[Path]:
    """The entries of a folder, sorted, without hidden ones and those of operating systems.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [e for e in entries if not e.name.startswith(".") and e.name.lower() not in SYSTEM]


def _walk(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that it lies in
    for entry in visible(folder):
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        elif not entry.is_file():
            raise DataError(f"{entry} is no file and no folder, or a link to nowhere")
        elif entry.suffix.lower() not in NO_PICTURES and entry.name.lower() not in NO_PICTURES:
            yield entry


def _classes(folder: Path) -> tuple[str, ...]:
    """Names of the classes in a split; each must have a picture, and each picture a class."""
    classes = []
    for entry in visible(folder):
        if entry.is_dir():
            if next(_walk(entry, frozenset()), None) is None:
                raise DataError(
                    f"{entry} would be a class, but has no pictures: fill it or remove it"
                )
            classes.append(entry.name)
        elif entry.suffix.lower() in _picture_suffixes():
            raise DataError(
                f"{entry} lies in no class: pictures belong into a sub-folder of {folder} that is "
                "named as their class"
            )
    return tuple(classes)


def _compare(folder: Path, classes: tuple[str, ...], train: Path) -> None:
    """Refuse a split that has not the classes of the training images; only names are looked at."""
    there = set(_classes(folder))
    for what, names in (
        ("lacks", set(classes) - there),
        ("has, unlike the training images,", there - set(classes)),
    ):
        if names:
            raise DataError(
                f"{folder} {what} {', '.join(sorted(names)[:3])}: it needs the classes of {train}"
            )


def _picture_suffixes() -> set[str]:
    from PIL import Image

    return set(Image.registered_extensions())
