"""PPO that knows which actions are distinct: MaskablePPO of sb3-contrib.

Huang & Ontanon 2022, "A Closer Look at Invalid Action Masking in Policy Gradient Algorithms",
arXiv 2006.14171.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from stable_baselines3.common.vec_env import VecEnv

from agents.ppo import SCALARS, PPOConfig
from agents.sb3_agent import SB3Agent, contrib

if TYPE_CHECKING:
    import sb3_contrib


class MaskablePPO(SB3Agent):
    """PPO over distinct actions; for the arguments see `SB3Agent`, for settings `PPOConfig`.

    Where no choice is redundant, as in the benchmark tables, it is `agents.PPO`.
    """

    name = "maskable_ppo"
    recipes: ClassVar[Mapping[str, PPOConfig]] = {"default": PPOConfig()}
    scalars = SCALARS

    def algorithm(self, env: VecEnv, steps: int, seed: int) -> sb3_contrib.MaskablePPO:
        """Make the algorithm; see `SB3Agent`."""
        c: PPOConfig = self.config
        make: type[sb3_contrib.MaskablePPO] = contrib(self.name).MaskablePPO
        layers = {"net_arch": [c.units, c.units]}
        return make("MlpPolicy", seed=seed, policy_kwargs=layers, **c.arguments(env, steps))
