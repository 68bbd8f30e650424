"""An algorithm of Stable-Baselines3 as an agent of this project."""

from __future__ import annotations

import importlib
import json
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from agents import options
from agents.episodes import Environment, copies, fitted, search_space, spending
from agents.sb3 import GymnasiumVecEnv, StandardizedRewards
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain

PATIENCE = 3  # batches without a new child until a policy is given up


@dataclass(frozen=True)
class SB3Config:
    """What the algorithms have in common.

    Attributes:
        batch_size: Architectures per update.
        learning_rate: Of the optimiser.
        units: Units of each of the two layers, of the policy and of the value function.
    """

    batch_size: int = 8
    learning_rate: float = 3e-3
    units: int = 64

    def check(self, agent: str) -> None:
        """Refuse values outside their range.

        Raises:
            ValueError: The message names the option.
        """
        options.require_types(agent, self)
        for name in ("batch_size", "units"):
            options.require(agent, self, name, getattr(self, name) >= 1, "at least 1")
        options.require(agent, self, "learning_rate", self.learning_rate > 0, "above 0")


class Randomness:
    """The global random states that Stable-Baselines3 draws from, kept apart from all others'."""

    def __init__(self) -> None:
        self._states = self._read()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """A block with these states as the global ones; afterwards all is as before."""
        outside = self._read()
        self._write(self._states)
        try:
            yield
        finally:
            self._states = self._read()
            self._write(outside)

    def state(self) -> dict[str, Any]:
        """The states as plain values and tensors."""
        python, (_, words, *rest), tensor = self._states
        return {"python": python, "numpy": [words.tolist(), *rest], "torch": tensor}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        words, *rest = state["numpy"]
        numpy = ("MT19937", np.array(words, dtype=np.uint32), *rest)
        self._states = (state["python"], numpy, state["torch"])

    @staticmethod
    def _read() -> tuple[Any, Any, torch.Tensor]:
        return random.getstate(), np.random.get_state(), torch.get_rng_state()

    @staticmethod
    def _write(states: tuple[Any, Any, torch.Tensor]) -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


class SB3Agent(ABC):
    """An algorithm of Stable-Baselines3 that plays environments of nas_gym.

    It learns from ``batch_size`` whole episodes at a time, does not discount the reward that comes
    at their end, and sees it as `StandardizedRewards` says. A policy that has settled proposes
    what is known for ever, so one that has found nothing new in three batches begins anew.
    Everything random comes from ``seed``.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of the initial weights and of every sample.
        recipe: A name in `recipes`.
        logger: Where scalars go, once per batch.
        **changes: Settings that differ from the recipe. ``batch_size`` follows a vector
            environment's ``num_envs`` unless it is given, and is a multiple of it.

    Attributes:
        config: The settings in force.
        model: The algorithm.
    """

    name: ClassVar[str]
    recipes: ClassVar[Mapping[str, Any]]
    scalars: ClassVar[Sequence[str]]  # of what the algorithm records, this goes to the log

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self.space = search_space(env)
        self.config = self.settings(recipe, **fitted(env, changes))
        rounds, rest = divmod(self.config.batch_size, copies(env))
        expected = f"a multiple of the environment's num_envs, {copies(env)}"
        options.require(self.name, self.config, "batch_size", rest == 0, expected)
        self.env = env
        self.logger = logger
        venv = GymnasiumVecEnv(env) if isinstance(env, VectorEnv) else DummyVecEnv([lambda: env])
        self.episodes = StandardizedRewards(venv)
        self.random = Randomness()
        self._batches = self._idle = 0
        with self.random.installed():
            self.model = self.algorithm(self.episodes, rounds * len(self.space.decisions), seed)
        self.model.set_logger(Logger(None, []))

    @abstractmethod
    def algorithm(self, env: VecEnv, steps: int, seed: int) -> BaseAlgorithm:
        """Make the algorithm.

        Args:
            env: What it plays.
            steps: Steps of each copy between two updates: whole episodes.
            seed: Of everything random.
        """

    @classmethod
    def settings(cls, recipe: str = "default", **changes: Any) -> Any:
        """A recipe with some settings changed.

        Raises:
            ValueError: An unknown recipe or setting, or a value outside its range.
        """
        config = options.make_config(cls.name, cls.recipes, recipe, changes)
        config.check(cls.name)
        return config

    @classmethod
    def num_envs(cls, recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return int(cls.settings(recipe, **changes).batch_size)

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly.

        A batch that the budget cuts short is evaluated as far as it goes and not learnt from.
        """
        with self.random.installed(), spending(self.env, budget) as account:
            target = account.distinct + budget
            self.model._last_obs = None  # begin with whole episodes
            while account.distinct < target:
                begun, known = len(self.episodes.rewards), account.distinct
                self.model.learn(1, reset_num_timesteps=False, log_interval=sys.maxsize)
                self._batches += 1
                self._log(self.episodes.rewards[begun:])
                self._idle = 0 if account.distinct > known else self._idle + 1
                if self._idle == PATIENCE:
                    self.restart()

    def save(self, path: str) -> None:
        """Write weights, optimiser, random states and past rewards."""
        state = {
            "config": asdict(self.config),
            "space": self.space.describe(),
            "policy": self.model.policy.state_dict(),
            "optimizer": self.model.policy.optimizer.state_dict(),
            "timesteps": self.model.num_timesteps,
            "random": self.random.state(),
            "actions": json.dumps(self.model.action_space.np_random.bit_generator.state),
            "rewards": list(self.episodes.rewards),
            "batches": [self._batches, self._idle],
            "own": self.own_state(),
        }
        save_plain(path, state)

    def load(self, path: str) -> None:
        """Read what `save` wrote, and go on from there. No code in the file is executed.

        Raises:
            ValueError: The file is damaged, or of an agent with other options or another space.
        """
        with load_plain(path) as state:
            config, space = asdict(self.config), self.space.describe()
            options.require_same(path, state, config=config, space=space)
            self.model.policy.load_state_dict(state["policy"])
            self.model.policy.optimizer.load_state_dict(state["optimizer"])
            self.model.num_timesteps = state["timesteps"]
            self.random.restore(state["random"])
            self.model.action_space.np_random.bit_generator.state = json.loads(state["actions"])
            self.episodes.rewards = list(state["rewards"])
            self._batches, self._idle = state["batches"]
            self.restore_own(state["own"])

    def own_state(self) -> dict[str, Any]:
        """What else the algorithm knows, as plain values and tensors."""
        return {}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over what `own_state` gave."""
        del state

    def restart(self) -> None:
        """Take a fresh policy and optimiser; what was paid is not forgotten."""
        model = self.model
        fresh = model.policy_class(
            model.observation_space, model.action_space, model.lr_schedule, **model.policy_kwargs
        )
        model.policy.load_state_dict(fresh.state_dict())
        model.policy.optimizer.load_state_dict(fresh.optimizer.state_dict())
        self._idle = 0

    def _log(self, rewards: list[float]) -> None:
        recorded = self.model.logger.name_to_value
        if self.logger is not None:
            self.logger.write(
                self._batches,
                {
                    "reward/mean": float(np.mean(rewards)),
                    "reward/max": max(rewards),
                    "reward/best": max(self.episodes.rewards),
                    **{name: float(recorded.get(name, np.nan)) for name in self.scalars},
                },
            )
        self.model.logger.dump()


def contrib(agent: str) -> Any:
    """The package sb3-contrib, which is an extra.

    Args:
        agent: Name of the agent that needs it.

    Raises:
        ValueError: It is not installed.
    """
    try:
        return importlib.import_module("sb3_contrib")
    except ModuleNotFoundError as error:
        if error.name != "sb3_contrib":
            raise
        raise ValueError(
            f"agent {agent} needs sb3-contrib: pip install 'nas-gym[contrib]'"
        ) from error
