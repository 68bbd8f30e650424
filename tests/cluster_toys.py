"""A space whose children misbehave, and a source that counts itself. Workers import this too."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from nas_gym.evaluation import Evaluation, Metric, Request
from nas_gym.recipe import Recipe
from nas_gym.search_spaces import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.sources import TrainingSource
from nas_gym.tasks import Task

WAYS = ("plain", "bug", "dies", "hangs", "huge", "large", "waits")


class ToyBug(Exception):
    """What a mistake in somebody's space raises."""


@dataclass(frozen=True)
class ToySpace(SearchSpace):
    """A convolution of some width, that is built in some way."""

    name: ClassVar[str] = "toys"

    places: tuple[str, ...] = ()  # a file in which it writes that it waits

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("width", (2, 4, 8), "width"), Decision("way", WAYS, "way"))

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        return (choices,)

    def child(self, way: str, width: int = 4) -> Architecture:
        return self.decode([(2, 4, 8).index(width), WAYS.index(way)])

    def build(self, architecture: Architecture) -> nn.Module:
        width, way = architecture.layers[0]
        if way == "bug":
            raise ToyBug("a mistake in a space")
        if way == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "hangs":  # and lets no other thread run
            ctypes.PyDLL(None).sleep(600)
        if way == "huge":
            np.zeros(2**45, np.uint8)
        if way == "large":
            np.ones(2**32, np.uint8)
        if way == "waits":
            with Path(self.places[0]).open("a", encoding="utf-8") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(600)
        size = self.input_shape[0]
        return nn.Sequential(
            nn.Conv2d(size, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(width, self.num_classes),
        )


def toy_task() -> Task:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(200, 1, 8, 8, generator=draws)
    return Task.from_tensors("toys", images, torch.arange(200) % 4)


def toy_source(place: str = "", keep: Path | None = None, **changes: Any) -> TrainingSource:
    recipe = {"epochs": 2, "batch_size": 16, "bn_images": 32, "precision": "float32"}
    space = ToySpace((1, 8, 8), 4, places=(place,))
    return TrainingSource(toy_task(), space, Recipe().replaced(recipe | changes), keep=keep)


@dataclass(frozen=True)
class Counted:
    """Answers with its process, and writes down where it is made."""

    log: str
    array: Any = None
    metrics: tuple[Metric, ...] = (Metric("process"), Metric("writable"))

    @property
    def context(self) -> dict[str, Any]:
        return {"source": "counted"}

    def ship(self, folder: Path | None) -> Callable[[], Counted]:
        assert folder is None
        return partial(_made, self.log, np.zeros(5_000_000, np.uint8))

    def __call__(self, request: Request) -> Evaluation:
        time.sleep(0.2)
        scores = {"process": float(os.getpid()), "writable": float(self.array.flags.writeable)}
        return Evaluation(request, "ok", scores)


def _made(log: str, array: Any) -> Counted:
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return Counted(log, array)


@dataclass(frozen=True)
class Unmakeable:
    """A source that cannot be made anywhere else."""

    metrics: tuple[Metric, ...] = (Metric("score"),)

    @property
    def context(self) -> dict[str, Any]:
        return {"source": "unmakeable"}

    def ship(self, folder: Path | None) -> Callable[[], Unmakeable]:
        return _unmade

    def __call__(self, request: Request) -> Evaluation:
        raise AssertionError


def _unmade() -> Unmakeable:
    raise ToyBug("cannot be made here")
