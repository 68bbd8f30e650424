"""A task from a folder of images, one sub-folder per class."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas_gym.recipe import Recipe
from nas_gym.tasks.base import Split, Task
from nas_gym.tasks.layout import files_of, find_layout
from nas_gym.tasks.pictures import read_picture
from nas_gym.tasks.splits import held_out, interleaved


def from_folder(
    path: str | Path,
    *,
    size: int = 32,
    channels: int = 3,
    validation: float = 0.2,
    recipe: Recipe | Mapping[str, Any] | None = None,
) -> Task:
    """Read ``path/train/<class>/*`` and, sealed, ``path/test/<class>/*``.

    The folders of the splits may have any usual name (``Training``, ``val``, ``valid``, ...).
    ``val`` is what children are scored on; without it a share of each class is. A folder without
    ``train`` holds the classes itself and has no test set. Folders inside of a class are read
    through; hidden files, and texts and tables among the pictures, are passed over; anything else
    must be a picture with one frame. It is read as a viewer shows it: turned as its EXIF tag says,
    16 bits scaled to 8, transparency on white. Every image is decoded once, now, so that a damaged
    file is reported before the search and not in the middle.

    Args:
        path: The folder.
        size: Images become ``size`` x ``size`` pixels.
        channels: 3 for colour, 1 for grey.
        validation: Share of each class that children are scored on, where there is no ``val``. It
            is chosen by a hash of the files' order; near copies (frames of a film, views of one
            object) should be kept together by a ``val`` of your own.
        recipe: Default recipe, or changes to `Recipe`'s own defaults; None for these.

    Raises:
        ValueError: An option is wrong.
        DataError: No such folder, no classes in it, a file that is no image, or folders that could
            be taken for what they are not.
    """
    _check_options(size, channels, validation)
    if not isinstance(recipe, Recipe):
        if not isinstance(recipe, Mapping | None):
            raise ValueError(f"recipe must be a mapping of its fields, got {recipe!r}")
        recipe = Recipe().replaced(recipe or {})
    root = Path(path).expanduser().absolute()
    layout = find_layout(root)
    read = partial(_read, classes=layout.classes, size=size, channels=channels)
    name, train = root.resolve().name, read(layout.train)
    if layout.validation is not None:
        scored = read(layout.validation)
    else:
        held = held_out(train.labels, validation, name)
        scored, train = _part(train, held), _part(train, ~held)
    everything = torch.arange(len(train)), torch.arange(len(scored))
    return Task(
        name,
        train.take(interleaved(train.labels, everything[0])),
        scored.take(interleaved(scored.labels, everything[1])),
        len(layout.classes),
        recipe,
        None if layout.test is None else partial(read, layout.test),
    )


def _check_options(size: Any, channels: Any, validation: Any) -> None:
    def whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    if not whole(size) or size < 1:
        raise ValueError(f"size must be a whole number of pixels, at least 1, got {size!r}")
    if not whole(channels) or channels not in (1, 3):
        raise ValueError(f"channels must be 3 (colour) or 1 (grey), got {channels!r}")
    if not isinstance(validation, float) or not 0 < validation < 1:
        raise ValueError(f"validation must be a share in (0, 1), got {validation!r}")


def _part(split: Split, which: Tensor) -> Split:
    return split.take(which.nonzero().squeeze(1))


def _read(folder: Path, classes: tuple[str, ...], size: int, channels: int) -> Split:
    files = list(files_of(folder, classes))
    needed = len(files) * size * size * channels
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory // 2:
        raise ValueError(
            f"size={size}: {len(files):,} images of {size} x {size} x {channels} bytes are "
            f"{needed / 2**30:,.1f} GiB, more than half of this machine's {memory / 2**30:,.1f}: "
            "take a smaller size"
        )
    images = np.empty((len(files), size, size, channels), dtype=np.uint8)
    for place, (file, _) in enumerate(files):
        images[place] = read_picture(file, size, channels)
    return Split(torch.from_numpy(images), torch.tensor([label for _, label in files]))
