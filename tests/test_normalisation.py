"""What images are normalised with: mean and deviation of each channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import nas_gym
from nas_gym import Recipe, Task
from nas_gym.tasks import load_task

LABELS = torch.arange(400) % 4


def stripes() -> torch.Tensor:
    """Four classes by the place of a stripe in the first of four channels; the last is 255."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (400, 4, 12, 12), generator=random, dtype=torch.uint8)
    for label in range(4):
        images[label::4, 0, 3 * label : 3 * label + 3] += 120
    images[:, 3] = 255
    return images


def statistics(channel: torch.Tensor) -> tuple[float, float]:
    """Of a task whose training images all have this channel, ``(height, width)`` or one each."""
    images = torch.rand(400, 2, 12, 12).to(channel.dtype)
    images[:, 1] = channel
    task = Task.from_tensors("t", images, LABELS)
    task = replace(task, train=task.train.joined(task.validation))
    return task.statistics[0][1], task.statistics[1][1]


KNOWN = {
    "digits": ([4.871817396313364], [6.01475485928954]),
    "mnist": ([33.332771405380335], [78.59014362144558]),
    "fashion_mnist": ([72.8834129174397], [89.99898759664782]),
    "cifar10": (
        [125.34502786458333, 122.94189993489583, 113.83882858072917],
        [63.02379581845584, 62.137236576893386, 66.74230879542542],
    ),
}


@pytest.mark.parametrize("name", ["digits", "mnist", "fashion_mnist"])
def test_known_tasks_keep_their_statistics(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path | None = request.getfixturevalue("data_dir") if name != "digits" else None
    assert load_task(name, folder).statistics == KNOWN[name]


def test_cifar10_keeps_its_statistics(cifar10_dir: Path) -> None:
    assert load_task("cifar10", cifar10_dir).statistics == KNOWN["cifar10"]


def reward(images: torch.Tensor) -> float:
    task = Task.from_tensors("t", images, LABELS, recipe=Recipe(epochs=3, batch_size=32))
    env = gym.make(nas_gym.CUSTOM, task=task)
    env.reset()
    for action in [1, 1, 0, 1, 5, 0, 0, 0, 1, 1, 0, 1] + [0] * 12:
        _, paid, *_ = env.step(action)
    env.close()
    return float(paid)


@pytest.mark.parametrize(("odd", "unit"), [
    ("none", 1), ("held out", 1), ("one that trains", 1), ("a fifth", 1), ("transparent", 1),
    ("none", 255), ("held out", 255), ("one that trains", 255), ("a fifth", 255),
])  # fmt: skip
def test_a_nearly_constant_channel_spoils_nothing(odd: str, unit: int) -> None:
    images = stripes()
    if odd == "a fifth":
        images[torch.arange(400) % 20 >= 16, 3, 0, 0] = 254
    given: dict[str, Any] = {}
    if odd in ("held out", "transparent"):
        held = images.clone()
        held[:, 3, 0, 0] = 254 if odd == "held out" else 0
        given = {"validation_images": held / unit if unit > 1 else held}
        given["validation_labels"] = LABELS
    if odd in ("one that trains", "transparent"):
        images[0, 3, 0, 0] = 254
    task = Task.from_tensors("t", images / unit if unit > 1 else images, LABELS, **given)
    mean, std = (np.array(values) for values in task.statistics)
    arrives = (task.validation.images.numpy().astype(float) - mean) / std
    assert np.abs(arrives[..., 3]).max() < 300
    if odd in ("none", "held out", "a fifth") and unit == 1:
        assert reward(images) > 0.9


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -7.3, 1e6 + 0.1, 1e8, -1e30, 1e-30])
def test_a_constant_channel_is_centred_and_divided_by_1(value: float) -> None:
    mean, std = statistics(torch.full((12, 12), value))
    assert mean == torch.tensor(value).item()
    assert std == 1


@pytest.mark.parametrize("value", [0.1, 1e6, -1e8])
def test_a_spread_of_rounding_is_none(value: float) -> None:
    noise = torch.full((400, 12, 12), value)
    noise[::2] = torch.nextafter(noise[::2], torch.tensor(float("inf")))
    assert statistics(noise)[1] == 1


@pytest.mark.parametrize(("center", "spread"), [
    (0.0, 1.0), (1e8, 1e3), (-1e6, 100.0), (0.5, 1e-3), (0.0, 1e-6), (1e-20, 1e-22), (0.0, 1e20),
])  # fmt: skip
def test_a_true_spread_is_measured(center: float, spread: float) -> None:
    random = torch.Generator().manual_seed(0)
    channel = center + spread * torch.randn(400, 12, 12, generator=random, dtype=torch.float64)
    channel = channel.float()
    mean, std = statistics(channel)
    assert mean == pytest.approx(channel.double().mean().item(), rel=1e-9, abs=1e-9 * spread)
    assert std == pytest.approx(channel.double().std(correction=0).item(), rel=1e-9)


def test_one_odd_pixel_of_whole_numbers_is_no_spread() -> None:
    channel = torch.full((400, 12, 12), 255, dtype=torch.uint8)
    channel[0, 0, 0] = 254
    assert statistics(channel)[1] == 1


def test_no_pixel_that_trains_lies_far_out() -> None:
    channel = torch.full((400, 12, 12), 1.0)
    channel[0, 0, 0] = 0.0
    mean, std = statistics(channel)
    assert mean / std == pytest.approx(32, rel=1e-3)
