"""Tasks: data as tensors in memory, fixed splits, and a test set that a search never sees."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from nas_gym._resolve import resolve
from nas_gym.tasks.base import DataError, Split, Task
from nas_gym.tasks.digits import digits
from nas_gym.tasks.folder import from_folder
from nas_gym.tasks.vision import cifar10, fashion_mnist, mnist

TASKS: dict[str, Callable[[Path], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}

DATA_VARIABLE = "NAS_GYM_DATA"

__all__ = ["DATA_VARIABLE", "TASKS", "DataError", "Split", "Task", "data_root", "from_folder"]
__all__ += ["load_task"]


def data_root(data_dir: str | Path | None = None) -> Path:
    """Where data is looked for: the argument, else ``$NAS_GYM_DATA``, else ``~/.cache/nas-gym``."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE) or "~/.cache/nas-gym"
    return Path(chosen).expanduser()


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """Load a task, once per process.

    Args:
        name: A name in `TASKS`; ``"package.module:function"``, called with the data root;
            or ``"folder:PATH"`` for an image folder.
        data_dir: The data root; see `data_root`.

    Raises:
        ValueError: There is no task of that name.
        DataError: Its data is missing or damaged.
    """
    return _load(name, data_root(data_dir))


@lru_cache(maxsize=4)
def _load(name: str, root: Path) -> Task:
    if name.startswith("folder:"):
        return from_folder(name.removeprefix("folder:"))
    task = resolve(name, TASKS, "task")(root)
    if not isinstance(task, Task):
        raise ValueError(f"{name} must return a nas_gym.Task, it returned {type(task).__name__}")
    return task
