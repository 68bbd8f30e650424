"""PPO whose policy and value function are LSTMs: RecurrentPPO of sb3-contrib.

As `agents.REINFORCE` it reads an architecture decision by decision; unlike it, it sees at every
step all decisions so far, so the memory is a choice of network here and no need.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from stable_baselines3.common.vec_env import VecEnv

from agents.ppo import SCALARS, PPOConfig
from agents.sb3_agent import SB3Agent, contrib

if TYPE_CHECKING:
    import sb3_contrib


class RecurrentPPO(SB3Agent):
    """PPO with one LSTM of ``units`` for the policy and one for the value function.

    For the arguments see `SB3Agent`, for settings `PPOConfig`.
    """

    name = "recurrent_ppo"
    recipes: ClassVar[Mapping[str, PPOConfig]] = {"default": PPOConfig(units=32)}
    scalars = SCALARS

    def algorithm(self, env: VecEnv, steps: int, seed: int) -> sb3_contrib.RecurrentPPO:
        """Make the algorithm; see `SB3Agent`."""
        c: PPOConfig = self.config
        make: type[sb3_contrib.RecurrentPPO] = contrib(self.name).RecurrentPPO
        layers = {"net_arch": [], "lstm_hidden_size": c.units}
        return make("MlpLstmPolicy", seed=seed, policy_kwargs=layers, **c.arguments(env, steps))
