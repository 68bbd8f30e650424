from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from nas_gym.recipe import RECIPE_VERSION, Recipe
from nas_gym.tasks import TASKS

NAN, INFINITE = float("nan"), float("inf")

BAD: dict[str, list[Any]] = {
    "epochs": [0, -1, 1.5, "3", None, True],
    "batch_size": [0, 1, 2.0, None],
    "train_images": [0, -5, 1.5, "all"],
    "optimizer": ["adam", None, 3, []],
    "peak_lr": [0, -0.1, NAN, INFINITE, "0.1", None, True],
    "warmup": [-0.1, 1.0, 1.5, NAN, None],
    "weight_decay": [-1e-9, NAN, INFINITE, "0"],
    "momentum": [1, -0.5, NAN, None],
    "label_smoothing": [1, -0.1, NAN, "a"],
    "class_weights": ["sqrt", None, True, {}],
    "augmentation": [None, 1, ["crop"]],
    "bn_images": [-1, 0.5, None],
    "precision": ["float16", None, 32],
    "threads": [0, None, 1.0],
    "max_params": [0, -1, 1e6, "1"],
    "max_macs": [0, 0.5, "1"],
    "max_memory_mb": [0, -1, NAN, "1", True],
    "time_limit": [0, -1, NAN, "1"],
    "version": [0, RECIPE_VERSION + 1, None],
}


def test_every_field_is_here() -> None:
    assert set(BAD) == {field.name for field in fields(Recipe)}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_bad_values_name_the_field_and_the_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"recipe field {name} must be .*got ") as caught:
        Recipe(**{name: value})
    assert repr(value) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=f"recipe field {name} must be"):
        Recipe().replaced({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 1),
        ("class_weights", "balanced"),
        ("augmentation", "whatever a task has"),
        ("warmup", 0),
        ("weight_decay", 0),
        ("momentum", 0),
        ("label_smoothing", 0.99),
        ("bn_images", 0),
        ("train_images", None),
        ("max_params", 1),
        ("max_memory_mb", 0.5),
        ("time_limit", None),
        ("peak_lr", 3),
    ],
)
def test_values_at_the_edge_are_fine(name: str, value: Any) -> None:
    assert getattr(Recipe(**{name: value}), name) == value


def test_unknown_fields_suggest_the_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean 'epochs'") as caught:
        Recipe().replaced({"epoch": 3})
    assert "unknown recipe field 'epoch'" in str(caught.value)
    with pytest.raises(ValueError, match=r"there are: .*batch_size.*weight_decay"):
        Recipe().replaced({"zzz": 3})


def test_a_recipe_is_a_value() -> None:
    recipe = Recipe()
    with pytest.raises(FrozenInstanceError):
        recipe.epochs = 3  # type: ignore[misc]
    changed = recipe.replaced({"epochs": 3})
    assert (changed.epochs, recipe.epochs) == (3, 10)
    assert changed == Recipe(epochs=3)
    assert hash(changed) == hash(Recipe(epochs=3))
    assert recipe.replaced({}) == recipe


def test_a_recipe_survives_json() -> None:
    recipe = Recipe(epochs=3, max_memory_mb=1.5, optimizer="sgd")
    assert Recipe(**json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert set(recipe.to_dict()) == set(BAD)


def test_tasks_bring_recipes_that_hold(digits: Any) -> None:
    assert digits.recipe.version == RECIPE_VERSION
    assert "digits" in TASKS
