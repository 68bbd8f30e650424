"""What the folders and files of an image folder stand for, by their names alone."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from nas_gym.tasks.split import DataError

Classes = dict[str, list[Path]]  # class name -> its pictures, both in the order of their names

SPLITS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation", "holdout"),
}

# What operating systems, editors and archives leave behind, beside what begins with a dot.
HIDDEN = {
    "__macosx",
    "__pycache__",
    "$recycle.bin",
    "@eadir",
    "desktop.ini",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}

# Files that lie beside pictures and are none; a file of any other kind must be a picture.
NOTES = {".csv", ".db", ".htm", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md"}
NOTES |= {".aae", ".py", ".rst", ".toml", ".tsv", ".txt", ".url", ".xml", ".xmp", ".yaml", ".yml"}
NOTES |= {".md5", ".sha1", ".sha256"}
NOTES_NAMED = {"copying", "licence", "license", "notice", "readme"}


def find_splits(root: Path) -> dict[str, Path]:
    """The folders of the splits: ``train``, and ``validation`` and ``test`` where they are.

    Raises:
        DataError: Folders that cannot be told apart; the message says what would be right.
    """
    folders, strays = _entries(root)
    found: dict[str, Path] = {}
    for folder in folders:
        part = _split_named(folder.name)
        if part in found:
            raise DataError(f"{found[part]} and {folder.name} both look like the {part} split")
        if part is not None:
            found[part] = folder
    others = [folder.name for folder in folders if folder not in found.values()]
    if not found:
        return {"train": root}
    looks = ", ".join(folder.name for folder in found.values())
    if "train" not in found and others:
        raise DataError(
            f"{root}: {looks} looks like a split, not a class: put the classes into a folder train"
        )
    if "train" not in found:
        raise DataError(f"{root} has {looks} but no train: there is nothing to train on")
    if others:
        raise DataError(
            f"{root}: {_some(others)} beside {looks} is no split: classes belong into the folders "
            "of the splits"
        )
    if strays:
        raise DataError(f"{strays[0]} lies beside {looks}: move it into a class, or away")
    return found


def list_classes(folder: Path) -> Classes:
    """The pictures of each sub-folder, by name; none is opened.

    Raises:
        DataError: Something that is neither a class nor a picture.
    """
    folders, strays = _entries(folder)
    if strays and folders:
        raise DataError(
            f"{strays[0]} lies beside the folders of classes: move it into one, or away"
        )
    return {entry.name: _pictures(entry, folder) for entry in folders}


def check_same(train_folder: Path, train: Classes, folder: Path, classes: Classes) -> None:
    """Raise `DataError` unless a split has the classes of the training images, and pictures."""
    if len(train) < 2:
        raise DataError(
            f"{train_folder} needs a sub-folder of images per class, has {len(train)}"
            + (f" ({_some(list(train))})" if train else "")
        )
    seen: dict[str, str] = {}
    for name in [*train, *classes]:
        key = unicodedata.normalize("NFKC", name).casefold().strip()
        if seen.setdefault(key, name) != name:
            raise DataError(f"{folder}: classes {seen[key]!r} and {name!r} have nearly one name")
    for what, names in (
        ("has classes that the training images lack", classes.keys() - train.keys()),
        ("lacks classes of the training images", train.keys() - classes.keys()),
    ):
        if names:
            raise DataError(f"{folder} {what}: {_some(sorted(names))}")
    empty = [name for name, members in classes.items() if not members]
    if empty:
        raise DataError(f"the class folder {folder / empty[0]} holds no images")


def _pictures(top: Path, split: Path) -> list[Path]:
    """All picture files in a class folder and in the folders inside it."""
    found: list[Path] = []
    open_folders: list[tuple[Path, tuple[Path, ...]]] = [(top, (split.resolve(),))]
    while open_folders:
        folder, above = open_folders.pop()
        real = folder.resolve()
        if real in above:
            raise DataError(f"{folder} links back to a folder that it lies in")
        folders, files = _entries(folder)
        for inner in folders:
            if _split_named(inner.name):
                raise DataError(
                    f"{inner} looks like a split inside a class: the classes belong into the "
                    "splits, as train/CLASS"
                )
        for file in files:
            if not file.is_file():
                raise DataError(f"{file} is neither a picture nor a folder")
        found += files
        open_folders += [(inner, (*above, real)) for inner in folders]
    return sorted(found, key=lambda file: file.parts)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Sub-folders and other entries, by name, without the hidden ones and notes."""
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
        visible = [entry for entry in entries if not _hidden(entry.name)]
        folders = [entry for entry in visible if entry.is_dir()]
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    others = sorted(set(visible) - set(folders), key=lambda entry: entry.name)
    return folders, [entry for entry in others if not _note(entry)]


def _split_named(name: str) -> str | None:
    word = re.sub("[^a-z]", "", name.casefold())
    word = re.sub("(dataset|data|set|split|images|imgs|pictures|folder)$", "", word)
    return next((part for part, words in SPLITS.items() if word in words), None)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.casefold() in HIDDEN


def _note(file: Path) -> bool:
    return file.suffix.casefold() in NOTES or file.name.casefold() in NOTES_NAMED


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
