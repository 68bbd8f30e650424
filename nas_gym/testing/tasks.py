"""What every task must be."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import get_args

import torch

from nas_gym.evaluation import Request
from nas_gym.evaluators import parcels
from nas_gym.isolation import run_isolated
from nas_gym.recipe import Recipe
from nas_gym.search_spaces import LayerCNN, SearchSpace
from nas_gym.sources import TrainingSource
from nas_gym.tasks import Part, Task


def check_task(task: Task, space: SearchSpace | None = None) -> None:
    """Data, loss, scores and travels of a task. Its test set is not opened.

    Args:
        task: The task.
        space: A space of networks for it; None for small networks on images.

    Raises:
        AssertionError: Something is not as it must be.
    """
    if space is None:
        assert len(task.input_shape) == 3, "name a search space whose networks fit the inputs"
        space = LayerCNN(task.input_shape, task.num_classes, depth=2)
    assert len(task.fingerprint) == 64
    assert task.metrics, "a task needs a metric"
    assert len({metric.name for metric in task.metrics}) == len(task.metrics)
    assert not task.classes or len(task.classes) == task.num_classes
    json.dumps(dict(task.front()), allow_nan=False)
    recipe = task.recipe.replaced({"epochs": 2, "precision": "float32", "time_limit": None})
    task.check(recipe)
    run_isolated(lambda: _check_data(task, recipe))
    with tempfile.TemporaryDirectory() as folder:
        parcel = parcels.pack((task.ship(Path(folder)), ()))
        travelled = parcels.open_result(parcels.answer(parcel))
        assert travelled.fingerprint == task.fingerprint, "after its travel the data are others"
        request = Request(space.decode([0] * len(space.decisions)), seed=1)
        here, there = (TrainingSource(one, space, recipe)(request) for one in (task, travelled))
        assert here.ok, f"a child came to {here.status}: {here.detail}"
        names = [metric.name for metric in task.metrics]
        missing = [name for name in names if name not in here.scores]
        assert not missing, f"score does not give {', '.join(missing)}"
        assert here.scores == there.scores, "one training gives two results: something is random"


def _check_data(task: Task, recipe: Recipe) -> None:
    cpu, size = torch.device("cpu"), recipe.batch_size
    for part in get_args(Part):
        data = task.data(part, recipe, cpu)
        assert len(data) > 0, f"the part {part} is empty"
        for inputs, targets in data.batches(size):
            assert tuple(inputs.shape[1:]) == task.input_shape, (
                f"inputs are {tuple(inputs.shape)}, not of the shape {task.input_shape}"
            )
            assert len(inputs) == len(targets)
        limited = sum(1 for _ in data.batches(1, limit=3))
        assert limited == min(3, len(data)), f"limit=3 gives {limited} examples"
    data = task.data("train", recipe, cpu)
    epochs = [list(data.batches(size, torch.Generator().manual_seed(seed))) for seed in (0, 0)]
    assert len(epochs[0]) == data.steps(size), "an epoch has another number of batches than steps"
    pairs = zip(*epochs, strict=True)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in pairs), "the order is not the seed's"
