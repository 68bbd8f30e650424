"""A task from a folder of pictures, one sub-folder per class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas_gym.isolation import isolated
from nas_gym.recipe import Recipe
from nas_gym.tasks.image_classification import ImageClassification, as_recipe
from nas_gym.tasks.layout import Classes, check_same, find_splits, list_classes
from nas_gym.tasks.pictures import read_split
from nas_gym.tasks.split import DataError, check_share, hold_out


@isolated
def from_folder(
    path: str | Path,
    *,
    size: int = 32,
    channels: int = 3,
    validation: float | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
) -> ImageClassification:
    """Read ``path/train/<class>/``, ``path/val/<class>/`` and, sealed, ``path/test/<class>/``.

    The splits may have any usual name (``training``, ``Valid``, ``test_set``, ...). Without a
    validation folder some pictures of each class are held out, as in `Task.from_tensors`. A folder
    without ``train`` holds the classes themselves and has no test set. Folders inside a class are
    read through; hidden entries and notes (``.txt``, ``.csv``, ...) are left out; anything else
    that is no picture is refused. Classes are numbered in the order of their names.

    Every picture of a search is decoded once, now, so that a damaged file is reported before the
    search and not in the middle: turned and composed as a viewer shows it (see `read_picture`),
    then stretched to a square. Of the test set only the names are looked at.

    Args:
        path: The folder.
        size: Pictures become ``size`` x ``size`` pixels.
        channels: 3 for colour, 1 for grey.
        validation: Share of each class that children are scored on, in (0, 1); None for 0.2. Not
            beside a validation folder.
        recipe: Default recipe, or changes to `Recipe`'s defaults; None for these.

    Raises:
        DataError: An option, the form of the folder or a file is wrong.
    """
    root = absolute(path)
    name = root.resolve().name or "images"
    if not _whole(size) or size < 1:
        raise DataError(f"task {name!r}: size must be a whole number of at least 1, got {size!r}")
    if not _whole(channels) or channels not in (1, 3):
        raise DataError(f"task {name!r}: channels must be 1 (grey) or 3, got {channels!r}")
    share = check_share(name, 0.2 if validation is None else validation)
    default = as_recipe(name, recipe)
    splits = find_splits(root)
    if validation is not None and "validation" in splits:
        raise DataError(
            f"task {name!r}: validation is a share or the folder {splits['validation']}, not both"
        )
    listed = {part: list_classes(folder) for part, folder in splits.items()}
    for part in splits:
        check_same(splits["train"], listed["train"], splits[part], listed[part])
    _check_memory(name, [listed[part] for part in listed if part != "test"], size, channels)

    files, labels = _flat(listed["train"])
    if "validation" in listed:
        train, _ = hold_out(name, labels, 0)
        held_out = read_split(*_flat(listed["validation"]), size, channels)
    else:
        train, held = hold_out(name, labels, share)
        held_out = read_split([files[i] for i in held], labels[held], size, channels)
    return ImageClassification(
        name,
        read_split([files[i] for i in train], labels[train], size, channels),
        held_out,
        len(listed["train"]),
        default,
        tuple(listed["train"]),
        partial(read_split, *_flat(listed["test"]), size, channels) if "test" in listed else None,
    )


def absolute(path: str | Path) -> Path:
    """A folder's path that holds whatever the working directory becomes; ``~`` is the home.

    Raises:
        DataError: There is no such folder.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise DataError(f"an image folder needs a path, as folder:PATH, got {path!r}")
    root = Path(os.path.expanduser(path)).absolute()
    if not os.path.isdir(root):
        raise DataError(f"there is no image folder {root}")
    return root


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flat(classes: Classes) -> tuple[list[Path], torch.Tensor]:
    """All files, class after class, and the number of the class of each."""
    files = [file for members in classes.values() for file in members]
    counts = [len(members) for members in classes.values()]
    return files, torch.from_numpy(np.repeat(np.arange(len(classes)), counts))


def _check_memory(name: str, parts: list[Classes], size: int, channels: int) -> None:
    count = sum(len(members) for classes in parts for members in classes.values())
    needed = count * size * size * channels
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise DataError(
            f"task {name!r}: size={size} is too large: {count:,} pictures of {size} x {size} x "
            f"{channels} bytes are {needed // 2**30:,} GiB, and this machine has "
            f"{memory // 2**30:,} GiB"
        )
