"""A small table and some agents for the tests of comparisons. Worker processes import this too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from torch import nn

from nas_gym import (
    Architecture,
    Decision,
    Evaluation,
    FunctionSource,
    NASEnv,
    NASVectorEnv,
    Request,
    SearchSpace,
)
from nas_gym.evaluation import ACCURACY

DIALS, CHOICES = 4, 5


@dataclass(frozen=True)
class Dials(SearchSpace):
    """Four dials with five positions each; the sum of the positions is what counts."""

    name: ClassVar[str] = "dials"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(f"dial{i}", tuple(range(CHOICES)), "dial") for i in range(DIALS))

    def canonical(self, choices: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        return tuple((choice,) for choice in choices)

    def build(self, architecture: Architecture) -> nn.Module:
        raise NotImplementedError


def true_accuracy(architecture: Architecture) -> float:
    """What a sealed score of the table would be, in [0, 1]."""
    return sum(layer[0] for layer in architecture.layers) / (DIALS * (CHOICES - 1))


def look_up(architecture: Architecture, seed: int) -> Evaluation:
    """The true accuracy with noise of the seed; a child takes ten seconds and one for each step."""
    draw = np.random.default_rng([seed, int(architecture.key, 16) % 2**32])
    accuracy = min(1.0, max(0.0, true_accuracy(architecture) + draw.normal(0, 0.02)))
    seconds = 10.0 + sum(layer[0] for layer in architecture.layers)
    request = Request(architecture, seed)
    return Evaluation(request, "ok", {"accuracy": accuracy}, seconds=seconds, origin="table")


def source(table: str) -> FunctionSource:
    """The noisy accuracies under a name."""
    return FunctionSource(look_up, table, metrics=(ACCURACY,))


def make_dials(data_dir: str | None = None, table: str = "dials", **options: Any) -> NASEnv:
    del data_dir
    return NASEnv(search_space=Dials((1, 8, 8), 10), source=source(table), **options)


def make_dials_vector(
    num_envs: int = 1, data_dir: str | None = None, table: str = "dials", **options: Any
) -> NASVectorEnv:
    del data_dir
    return NASVectorEnv(
        num_envs, search_space=Dials((1, 8, 8), 10), source=source(table), **options
    )


gym.register(
    "test/Dials-v0",
    entry_point="compare_helpers:make_dials",
    vector_entry_point="compare_helpers:make_dials_vector",
)


class Argmax:
    """Proposes the same architecture for ever."""

    def __init__(self, env: Any, seed: int = 0) -> None:
        self.env = env

    def learn(self, budget: int) -> None:
        while True:
            episode(self.env, [0] * DIALS)


class Climber:
    """Uniform sampling over the dials that stand above ``least``: the better, the higher it is."""

    def __init__(self, env: Any, seed: int = 0, least: int = 0) -> None:
        self.env = env
        self.random = np.random.default_rng(seed)
        self.least = least

    def learn(self, budget: int) -> None:
        while True:
            episode(self.env, self.random.integers(self.least, CHOICES, size=DIALS).tolist())


class Lazy(Climber):
    """Gives up after three children."""

    def learn(self, budget: int) -> None:
        for _ in range(3):
            episode(self.env, self.random.integers(CHOICES, size=DIALS).tolist())


class Greedy(Climber):
    """Takes the budget off and goes on."""

    def learn(self, budget: int) -> None:
        self.env.unwrapped.ledger.budget = None
        super().learn(budget)


class Bug(Exception):
    """What a mistake in somebody's agent raises."""


class Fails(Climber):
    """Has a mistake, as long as a file is not there, in runs of odd seeds."""

    def __init__(self, env: Any, seed: int = 0, fixed: str = "/nowhere") -> None:
        super().__init__(env, seed)
        self.seed, self.fixed = seed, fixed

    def learn(self, budget: int) -> None:
        episode(self.env, [1] * DIALS)
        if self.seed % 2 and not Path(self.fixed).exists():
            raise Bug("a mistake\nin two lines")
        super().learn(budget)


class Kills(Fails):
    """Is killed where `Fails` has a mistake."""

    def learn(self, budget: int) -> None:
        if self.seed % 2 and not Path(self.fixed).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        Climber.learn(self, budget)


class Slow(Climber):
    """Takes a tenth of a second for each child."""

    def learn(self, budget: int) -> None:
        while True:
            time.sleep(0.1)
            episode(self.env, self.random.integers(CHOICES, size=DIALS).tolist())


class Exits(Climber):
    """Ends the process as a script does."""

    def learn(self, budget: int) -> None:
        raise SystemExit(3)


def make_climber(env: Any, seed: int, least: int = 0) -> Climber:
    """A function instead of a class."""
    return Climber(env, seed, least)


def no_agent(env: Any, seed: int) -> int:
    """Made like an agent, and none."""
    return 3


def episode(env: Any, actions: Sequence[int]) -> float:
    env.reset()
    for action in actions:
        _, reward, done, _, _ = env.step(action)
    assert done
    return float(reward)
