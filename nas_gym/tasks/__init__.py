"""Tasks: data as tensors in memory, fixed splits, and a test set that a search never sees."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from nas_gym._resolve import resolve
from nas_gym.isolation import isolated
from nas_gym.tasks.base import Split, Task
from nas_gym.tasks.digits import digits
from nas_gym.tasks.folder import from_folder
from nas_gym.tasks.splits import DataError, DataWarning
from nas_gym.tasks.vision import cifar10, fashion_mnist, mnist

TASKS: dict[str, Callable[[Path], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}

DATA_VARIABLE = "NAS_GYM_DATA"
FOLDER = "folder:"  # begins the name of a task that is a folder of images

__all__ = [
    "DATA_VARIABLE",
    "TASKS",
    "DataError",
    "DataWarning",
    "Split",
    "Task",
    "data_root",
    "from_folder",
    "load_task",
]


def data_root(data_dir: str | Path | None = None) -> Path:
    """Where data is looked for: the argument, else ``$NAS_GYM_DATA``, else ``~/.cache/nas-gym``."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE) or "~/.cache/nas-gym"
    return Path(chosen).expanduser()


def load_task(spec: str | Mapping[str, Any], data_dir: str | Path | None = None) -> Task:
    """Load a task, once per process.

    Args:
        spec: A name in `TASKS`; ``"package.module:function"``, called with the data root;
            ``"folder:PATH"`` for an image folder (see `from_folder`); or a mapping with such a
            ``"name"`` and options, e.g. ``{"name": "folder:leaves", "size": 64}``.
        data_dir: The data root; see `data_root`.

    Raises:
        ValueError: There is no task of that name, or it does not have these options.
        DataError: Its data is missing or damaged.
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"a task needs a name, got {spec!r}")
    if name.startswith(FOLDER):
        if not name.removeprefix(FOLDER).strip():
            raise ValueError(f"task {name!r} names no folder: it must be folder:PATH")
        name = f"{FOLDER}{Path(name.removeprefix(FOLDER)).expanduser().absolute()}"
    return _load(name, data_root(data_dir).absolute(), json.dumps(options, sort_keys=True))


@lru_cache(maxsize=4)
@isolated
def _load(name: str, root: Path, options_json: str) -> Task:
    options = json.loads(options_json)
    folder = name.removeprefix(FOLDER) if name.startswith(FOLDER) else None
    make = from_folder if folder is not None else resolve(name, TASKS, "task")
    try:
        inspect.signature(make).bind(folder or root, **options)
    except TypeError as error:
        raise ValueError(f"task {name!r}: {error}") from error
    task = make(folder or root, **options)
    if not isinstance(task, Task):
        raise ValueError(f"{name} must return a nas_gym.Task, it returned {type(task).__name__}")
    return task
