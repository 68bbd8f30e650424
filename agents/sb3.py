"""Environments of nas_gym in the form that Stable-Baselines3 asks for.

Raffin et al. 2021, "Stable-Baselines3: Reliable Reinforcement Learning Implementations", JMLR 22.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn

from agents.rounding import equal


class GymnasiumVecEnv(VecEnv):
    """A vector environment of Gymnasium in the form that Stable-Baselines3 asks for.

    Use it for an algorithm of one's own: ``PPO("MlpPolicy", GymnasiumVecEnv(env), ...)``.

    Args:
        env: A vector environment, wrapped or not, whose ended copies start anew in the same step.

    Raises:
        ValueError: Its copies start anew in the next step.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        if env.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode of {env} must be SAME_STEP, the only one that Stable-Baselines3 "
                f"knows, not {env.metadata.get('autoreset_mode')}"
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> NDArray[Any]:
        """Start all copies; returns their observations, ``(num_envs, ...)``."""
        seeded = any(seed is not None for seed in self._seeds)
        observations, infos = self.env.reset(seed=self._seeds if seeded else None)  # type: ignore[arg-type]
        self.reset_infos = _per_copy(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return np.asarray(observations)

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions, ``(num_envs, ...)``, for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step: observations, rewards, whether the episode ended, infos of each copy."""
        observations, rewards, terminated, truncated, infos = self.env.step(self._actions)
        done = np.asarray(terminated | truncated)
        rows = _per_copy(infos, self.num_envs)
        for index in np.flatnonzero(done):
            self.reset_infos[index] = rows[index]
            rows[index] = {
                **rows[index].pop("final_info"),
                "terminal_observation": rows[index].pop("final_obs"),
                "TimeLimit.truncated": bool(truncated[index] and not terminated[index]),
            }
        return np.asarray(observations), np.asarray(rewards), done, rows

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of the environment, which all copies share, once per copy."""
        return [getattr(self._owner(attr_name), attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the environment, which all copies share."""
        setattr(self._owner(attr_name), attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        """What a method that answers for all copies, as ``action_masks``, answers for each."""
        answers = getattr(self._owner(method_name), method_name)(*args, **kwargs)
        chosen = self._get_indices(indices)
        return [None if answers is None else answers[index] for index in chosen]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """False: wrappers of single environments are not around copies."""
        del wrapper_class
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[NDArray[Any] | None]:
        """Pixels of each copy, where the render mode is ``rgb_array``."""
        return list(self.env.render() or [None] * self.num_envs)  # type: ignore[arg-type]

    def _owner(self, name: str) -> Any:
        """The outermost of the wrappers and the environment that has an attribute."""
        return self.env if hasattr(self.env, name) else self.env.unwrapped


def _per_copy(infos: Mapping[str, Any], num_envs: int) -> list[dict[str, Any]]:
    """Infos of a vector environment, arrays with a mask ``_key`` per key, as one dict per copy."""
    rows: list[dict[str, Any]] = [{} for _ in range(num_envs)]
    for key, values in infos.items():
        if key.startswith("_"):
            continue
        if isinstance(values, Mapping):
            values = _per_copy(values, num_envs)
        for index in np.flatnonzero(infos.get(f"_{key}", np.ones(num_envs))):
            rows[index][key] = values[index]
    return rows


class StandardizedRewards(VecEnvWrapper):
    """Pays an episode in standard deviations from the mean of all so far.

    Good architectures differ in the third decimal of an accuracy around 0.9: a value function
    that starts at 0 would have to learn the 0.9 that well before it tells good from bad. As long as
    all are equal but for rounding they pay 0.

    Attributes:
        rewards: What the environment itself paid for each episode.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.rewards: list[float] = []

    def reset(self) -> Any:
        """Start all copies."""
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        """Take the step; only the last one of an episode pays."""
        observations, rewards, done, infos = self.venv.step_wait()
        if done.any():
            self.rewards += rewards[done].tolist()
            mean, spread = np.mean(self.rewards), np.std(self.rewards) + 1e-8
            told = done & (not equal(self.rewards))
            rewards = np.where(told, (rewards - mean) / spread, 0.0)
        return observations, rewards, done, infos
