"""What runs inside a worker process. Imported ahead by the fork server, torch and all."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from nas_gym.child import save_child
from nas_gym.cost import measure
from nas_gym.evaluation import Evaluation
from nas_gym.recipe import Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace
from nas_gym.tasks.base import Task
from nas_gym.training import Trainer, train_network

_trainer: Trainer | None = None


def set_up(
    task: Path, space: SearchSpace, recipe: Recipe, device: str, memory_mb: float | None
) -> None:
    """Map the task's tensors and keep a trainer for the calls to come."""
    global _trainer
    if memory_mb is not None:
        # An allocation beyond it fails as a Python exception; the kernel would kill.
        limit = int(memory_mb * 2**20)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))
    _trainer = Trainer(Task.load(task), space, recipe, device)


def count(architecture: Architecture) -> int:
    """Multiply-adds of one child; 0 where that fails, as its training will say why."""
    assert _trainer is not None, "set_up has not run"
    try:
        return measure(_trainer.space, architecture, _trainer.recipe).macs
    except Exception:
        return 0


def train(architecture: Architecture, seed: int) -> Evaluation:
    """Train one child with the trainer of this process."""
    assert _trainer is not None, "set_up has not run"
    return _trainer.train(architecture, seed)


def train_to(folder: Path, architecture: Architecture, seed: int) -> float:
    """Train one child with the trainer of this process and save it; returns the seconds."""
    assert _trainer is not None, "set_up has not run"
    t = _trainer
    started = time.perf_counter()
    network, _ = train_network(t.space, architecture, t.task, t.recipe, t.device, seed)
    seconds = time.perf_counter() - started
    facts = {"task": t.task.name, "recipe": t.recipe.to_dict(), "seed": seed, "seconds": seconds}
    save_child(folder, network, t.space, architecture, t.task.statistics, **facts)
    return seconds
