"""Tasks: data with fixed splits, what is particular to them, and a test set that stays sealed."""

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
from nas_gym.tasks.base import SCORE_BATCH, Batch, Data, Part, Task
from nas_gym.tasks.classification import Classification
from nas_gym.tasks.digits import digits
from nas_gym.tasks.folder import absolute, from_folder
from nas_gym.tasks.image_classification import ImageClassification
from nas_gym.tasks.split import DataError, Split
from nas_gym.tasks.tensors import Tensors
from nas_gym.tasks.vision import cifar10, fashion_mnist, mnist

TASKS: dict[str, Callable[[Path], Task]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}

DATA_VARIABLE = "NAS_GYM_DATA"
FOLDER = "folder:"

__all__ = ["DATA_VARIABLE", "SCORE_BATCH", "TASKS", "Batch", "Classification", "Data", "DataError"]
__all__ += ["ImageClassification", "Part", "Split", "Task", "Tensors", "data_root", "from_folder"]
__all__ += ["load_task", "task_code"]


def data_root(data_dir: str | Path | None = None) -> Path:
    """Where data is looked for: the argument, else ``$NAS_GYM_DATA``, else ``~/.cache/nas-gym``."""
    chosen = data_dir or os.environ.get(DATA_VARIABLE) or "~/.cache/nas-gym"
    return Path(os.path.expanduser(chosen)).absolute()


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
    try:
        options_json = json.dumps(options, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"task {name!r}: options must be JSON values: {error}") from error
    if name.startswith(FOLDER):  # the same folder wherever the process goes
        name = f"{FOLDER}{absolute(name.removeprefix(FOLDER))}"
    return _load(name, data_root(data_dir), options_json)


def task_code(spec: str | Mapping[str, Any] | Task | None) -> Callable[..., Task] | None:
    """The function of the user's own that a task's name stands for; None for everything else."""
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    if not isinstance(name, str) or name.startswith(FOLDER) or name in TASKS:
        return None
    function: Callable[..., Task] = resolve(name, TASKS, "task")
    return function


@lru_cache(maxsize=4)
@isolated
def _load(name: str, root: Path, options_json: str) -> Task:
    options = json.loads(options_json)
    folder = name.removeprefix(FOLDER) if name.startswith(FOLDER) else None
    make = from_folder if folder is not None else resolve(name, TASKS, "task")
    try:
        inspect.signature(make).bind(folder or root, **options)
    except TypeError as error:
        known = ", ".join(list(inspect.signature(make).parameters)[1:]) or "none"
        raise ValueError(f"task {name!r}: {error}; its options are: {known}") from error
    task = make(folder or root, **options)
    if not isinstance(task, Task):
        raise ValueError(f"{name} must return a nas_gym.Task, it returned {type(task).__name__}")
    return task
