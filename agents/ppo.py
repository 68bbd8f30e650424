"""PPO of Stable-Baselines3 (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import stable_baselines3
from stable_baselines3.common.vec_env import VecEnv

from agents import options
from agents.sb3_agent import SB3Agent, SB3Config

SCALARS = ("train/entropy_loss", "train/value_loss", "train/approx_kl", "train/clip_fraction")


@dataclass(frozen=True)
class PPOConfig(SB3Config):
    """Settings of the algorithm; what is not here is as the library has it.

    The library's own 3e-4 and 2,048 steps are made for millions of steps: here an update sees a
    batch of short episodes, and there are some tens of updates in all.

    Attributes:
        n_epochs: Gradient steps per update; a minibatch is the whole batch.
        clip_range: How far an update may move the ratio of probabilities from 1.
        ent_coef: Weight of the policy's entropy in the loss.
        vf_coef: Weight of the value function in the loss.
    """

    n_epochs: int = 10
    clip_range: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5

    def check(self, agent: str) -> None:
        """Refuse values outside their range; see `SB3Config`."""
        super().check(agent)
        options.require(agent, self, "batch_size", self.batch_size >= 2, "at least 2")
        options.require(agent, self, "n_epochs", self.n_epochs >= 1, "at least 1")
        options.require(agent, self, "clip_range", self.clip_range > 0, "above 0")

    def arguments(self, env: VecEnv, steps: int) -> dict[str, Any]:
        """What PPO in all its forms is made with."""
        return {
            "env": env,
            "learning_rate": self.learning_rate,
            "n_steps": steps,
            "batch_size": steps * env.num_envs,
            "n_epochs": self.n_epochs,
            "gamma": 1.0,  # one reward, at the end
            "gae_lambda": 1.0,
            "clip_range": self.clip_range,
            "ent_coef": self.ent_coef,
            "vf_coef": self.vf_coef,
            "device": "cpu",  # networks this small only lose on a card
        }


class PPO(SB3Agent):
    """Proximal policy optimisation; for the arguments see `SB3Agent`, for settings `PPOConfig`."""

    name = "ppo"
    recipes: ClassVar[Mapping[str, PPOConfig]] = {"default": PPOConfig()}
    scalars = SCALARS

    def algorithm(self, env: VecEnv, steps: int, seed: int) -> stable_baselines3.PPO:
        """Make the algorithm; see `SB3Agent`."""
        c: PPOConfig = self.config
        layers = {"net_arch": [c.units, c.units]}
        arguments = c.arguments(env, steps)
        return stable_baselines3.PPO("MlpPolicy", seed=seed, policy_kwargs=layers, **arguments)
