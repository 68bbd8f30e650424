"""What training does to a small network, in numbers: that a recipe trains as it did.

Renew the numbers, where another training is meant, with ``NAS_GYM_RECORD=1 pytest`` of this file.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from recorded import on_record, platform, recorded
from torch import Tensor, nn

from nas_gym.recipe import Recipe
from nas_gym.search_spaces import LayerCNN
from nas_gym.tasks import Task
from nas_gym.training import Job, train_network

FILE = "golden_training.json"
MEANING = (
    "training changed; if that is meant, raise RECIPE_VERSION in nas_gym/recipe.py and renew the "
    "numbers: NAS_GYM_RECORD=1 pytest tests/test_golden_training.py"
)

# Relative. Measured (torch 2.14.1): between AVX-512, AVX2 and neither (oneDNN limited likewise, to
# SSE4.1 at the least, and MKL too) no number differs by more than 2.4e-7; each of the changes
# below moves one of them by 1.8e-3 or more.
TOLERANCE = 1e-5

SPACE = LayerCNN((1, 8, 8), 10, depth=2)
ACTIONS = [1, 0, 0, 2, 3, 0, 1, 2]  # a convolution and a separable one; batch norm and dropout

# Few steps, so that rounding has no time to grow; every field matters in them.
COMMON: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "train_images": 256,
    "warmup": 0.25,
    "momentum": 0.9,
    "label_smoothing": 0.1,
    "augmentation": "crop_flip",
    "bn_images": 128,
    "precision": "float32",
    "threads": 1,
}
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {**COMMON, "optimizer": "adamw", "peak_lr": 0.005, "weight_decay": 0.2},
    "sgd": {**COMMON, "optimizer": "sgd", "peak_lr": 0.05, "weight_decay": 0.02},
}

# What must not go unnoticed; a function makes the change from the recipe.
CHANGES: dict[str, Any] = {
    "learning rate": lambda recipe: {"peak_lr": 1.05 * recipe["peak_lr"]},
    "no weight decay": lambda _: {"weight_decay": 0.0},
    "no label smoothing": lambda _: {"label_smoothing": 0.0},
    "momentum": lambda _: {"momentum": 0.85},
    "no warmup": lambda _: {"warmup": 0.0},
    "longer warmup": lambda _: {"warmup": 0.3},
    "batch norm is not recomputed": lambda _: {"bn_images": 0},
    "batch norm of fewer images": lambda _: {"bn_images": 64},
    "no augmentation": lambda _: {"augmentation": "none"},
}


def norm(tensors: list[Tensor]) -> float:
    """Of all numbers of some tensors together."""
    return float(torch.cat([tensor.detach().double().flatten() for tensor in tensors]).norm())


def trained(task: Task, recipe: dict[str, Any]) -> dict[str, float]:
    """What is compared: the loss, and the sizes of the weights and of batch norm's statistics."""
    model, scores = train_network(
        Job(task, SPACE, SPACE.decode(ACTIONS), Recipe().replaced(recipe), "cpu")
    )
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    return {
        "loss": scores["loss"],
        "weights": norm([weight for weight in model.parameters() if weight.ndim > 1]),
        "others": norm([weight for weight in model.parameters() if weight.ndim <= 1]),
        "means": norm([layer.running_mean for layer in norms if layer.running_mean is not None]),
        "variances": norm([layer.running_var for layer in norms if layer.running_var is not None]),
    }


def compare(optimizer: str, found: dict[str, float]) -> None:
    """Find the numbers on record again.

    Raises:
        AssertionError: It is another training.
    """
    record = on_record(FILE, optimizer)
    (golden,) = record.rows
    where = f"recorded with {record.platform}, here is {platform()}"
    assert found == pytest.approx(golden, rel=TOLERANCE, abs=0), f"{MEANING} ({where})"


@pytest.mark.parametrize("optimizer", RECIPES)
def test_training_is_what_it_was(optimizer: str, digits: Task) -> None:
    found = trained(digits, RECIPES[optimizer])
    recorded(FILE, optimizer, [found])
    compare(optimizer, found)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("optimizer", RECIPES)
def test_another_training_is_noticed(optimizer: str, change: str, digits: Task) -> None:
    recipe = RECIPES[optimizer]
    found = trained(digits, {**recipe, **CHANGES[change](recipe)})
    with pytest.raises(AssertionError, match="training changed; if that is meant, raise RECIPE"):
        compare(optimizer, found)


@pytest.mark.parametrize("optimizer", RECIPES)
def test_ignored_dropout_is_noticed(
    optimizer: str, digits: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Dropout2d, "forward", lambda _, x: x)
    with pytest.raises(AssertionError, match="training changed"):
        compare(optimizer, trained(digits, RECIPES[optimizer]))
