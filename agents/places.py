"""Where things lie on this machine: no part of what a run is.

What the data are is their fingerprint, which is in a result's context; where they lie, and which
card or how many workers train on them, may differ whenever a run goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_gym import NASEnv
from nas_gym._files import user_path

FOLDER = "folder:"

# Options of an environment that only say where or how, or whose meaning is in the context.
PLACES = frozenset({"task", "path", "data_dir", "device", "evaluator", "render_mode"})
PLACES |= {"search_space", "recipe", "dataset", "training", "store", "run", "source", "table"}
PLACES |= {"problem", "options"}

DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(NASEnv).parameters.items()
    if name not in PLACES
}


def lasting(options: Mapping[str, Any]) -> dict[str, Any]:
    """What options make of an environment beside its context, defaults spelt out."""
    own = {name: value for name, value in options.items() if name not in PLACES}
    if own.get("reward") == "accuracy":  # of nearly every task the first metric
        del own["reward"]
    return DEFAULTS | own


def absolute(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, good in any working folder."""
    whole = dict(options)
    for name in whole.keys() & {"path", "data_dir"}:
        whole[name] = absolute_path(whole[name])
    if "task" in whole:
        whole["task"] = moved(whole["task"])
    return whole


def absolute_path(path: Any) -> Any:
    """A path as the user gave it, good in any working folder; anything else as it is."""
    return str(user_path(path).absolute()) if isinstance(path, str | Path) and path else path


def moved(task: Any, name: str | None = None) -> Any:
    """A task with its options under another name, or under its own; a folder's is absolute."""
    if isinstance(task, Mapping):
        return {**task, "name": moved(task.get("name"), name)}
    name = task if name is None else name
    if isinstance(name, str) and name.startswith(FOLDER):
        return FOLDER + str(absolute_path(name.removeprefix(FOLDER)))
    return name
