"""A2C of Stable-Baselines3 (Mnih et al. 2016, arXiv 1602.01783, with copies in lockstep)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import stable_baselines3
from stable_baselines3.common.vec_env import VecEnv

from agents import options
from agents.sb3_agent import SB3Agent, SB3Config


@dataclass(frozen=True)
class A2CConfig(SB3Config):
    """Settings of the algorithm; what is not here is as the library has it.

    Attributes:
        ent_coef: Weight of the policy's entropy in the loss.
        vf_coef: Weight of the value function in the loss.
    """

    ent_coef: float = 0.01
    vf_coef: float = 0.5

    def check(self, agent: str) -> None:
        """Refuse values outside their range; see `SB3Config`."""
        super().check(agent)
        options.require(agent, self, "batch_size", self.batch_size >= 2, "at least 2")


class A2C(SB3Agent):
    """Advantage actor-critic; for the arguments see `SB3Agent`, for settings `A2CConfig`.

    One step of RMSprop per batch, as in the paper; the library's five steps per rollout would cut
    episodes into pieces that end without a reward.
    """

    name = "a2c"
    recipes: ClassVar[Mapping[str, A2CConfig]] = {"default": A2CConfig()}
    scalars = ("train/entropy_loss", "train/value_loss", "train/policy_loss")

    def algorithm(self, env: VecEnv, steps: int, seed: int) -> stable_baselines3.A2C:
        """Make the algorithm; see `SB3Agent`."""
        c: A2CConfig = self.config
        return stable_baselines3.A2C(
            "MlpPolicy",
            env,
            learning_rate=c.learning_rate,
            n_steps=steps,
            gamma=1.0,  # one reward, at the end
            gae_lambda=1.0,
            ent_coef=c.ent_coef,
            vf_coef=c.vf_coef,
            normalize_advantage=True,  # the batch's, as in PPO: rewards that differ little count
            policy_kwargs={"net_arch": [c.units, c.units]},
            seed=seed,
            device="cpu",  # networks this small only lose on a card
        )
