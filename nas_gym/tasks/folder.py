"""A task from a folder of images, one sub-folder per class."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from nas_gym.recipe import Recipe
from nas_gym.tasks.base import DataError, Split, Task


def from_folder(
    path: str | Path,
    *,
    size: int = 32,
    channels: int = 3,
    validation: float = 0.2,
    recipe: Recipe | None = None,
) -> Task:
    """Read ``path/train/<class>/*`` and, sealed, ``path/test/<class>/*``.

    A folder without ``train`` holds the classes itself and has no test set. Every image is
    decoded once, now, so that a damaged file is reported before the search and not in the middle.

    Args:
        path: The folder.
        size: Images become ``size`` x ``size`` pixels.
        channels: 3 for colour, 1 for grey.
        validation: Share of each class that children are scored on.
        recipe: Default recipe; None for `Recipe`'s own defaults.

    Raises:
        DataError: No such folder, no classes in it, or a file that is no image.
    """
    root = Path(path)
    train_dir = root / "train" if (root / "train").is_dir() else root
    classes = _classes(train_dir)
    data = _read(train_dir, classes, size, channels)
    task = Task.from_tensors(
        root.resolve().name,
        data.images.permute(0, 3, 1, 2),
        data.labels,
        validation=validation,
        num_classes=len(classes),
        recipe=recipe,
    )
    test_dir = root / "test"
    if train_dir == root or not test_dir.is_dir():
        return task
    return Task(
        task.name,
        task.train,
        task.validation,
        task.num_classes,
        task.recipe,
        partial(_read, test_dir, classes, size, channels),
    )


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"there is no image folder {folder}")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if len(classes) < 2:
        raise DataError(f"{folder} needs a sub-folder of images per class, has {len(classes)}")
    return classes


def _read(folder: Path, classes: list[str], size: int, channels: int) -> Split:
    from PIL import Image

    if extra := set(_classes(folder)) - set(classes):
        raise DataError(f"{folder} has classes that the training images lack: {sorted(extra)}")
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for file in sorted((folder / name).glob("*")) if (folder / name).is_dir() else []:
            try:
                with Image.open(file) as image:
                    pixels = image.convert("RGB" if channels == 3 else "L").resize((size, size))
                    images.append(np.asarray(pixels).reshape(size, size, channels))
            except Exception as error:  # of a damaged file Pillow raises nearly anything
                raise DataError(f"{file} is no image that can be read: {error}") from error
            labels.append(label)
    if not images:
        raise DataError(f"{folder} holds no images")
    return Split(torch.from_numpy(np.stack(images)), torch.tensor(labels))
