"""DQN of Stable-Baselines3 (Mnih et al. 2015), which plays as MetaQNN does.

MetaQNN (Baker et al. 2017, arXiv 1611.02167) is Q-learning for architectures: it draws the first
ones at random, then explores less and less, does not discount, and replays what it knows after
every child. Its table of values is a network here, and a whole episode's return its target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.vec_env import VecEnv

from agents import options
from agents.sb3_agent import SB3Agent, SB3Config

CAPACITY = 1_000  # batches that are remembered
_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


@dataclass(frozen=True)
class DQNConfig(SB3Config):
    """Settings of the algorithm; what is not here is as the library has it.

    Attributes:
        warm_up: Episodes that are drawn at random before anything is learnt.
        exploration: Episodes after these until the probability of a random action, 1 at first,
            has fallen to ``epsilon``.
        epsilon: Where it stays: what finds new children once the values have settled.
        gradient_steps: Per update.
        minibatch: Decisions in a gradient step.
        n_steps: Rewards that a target looks ahead before it bootstraps; None for the whole
            episode. With one reward at the end, a short look takes as many updates of the target
            network as there are decisions before the first one learns of it.
    """

    learning_rate: float = 1e-3
    warm_up: int = 16
    exploration: int = 32
    epsilon: float = 0.1
    gradient_steps: int = 40
    minibatch: int = 64
    n_steps: int | None = None

    def check(self, agent: str) -> None:
        """Refuse values outside their range; see `SB3Config`."""
        super().check(agent)
        for name in ("exploration", "gradient_steps", "minibatch"):
            options.require(agent, self, name, getattr(self, name) >= 1, "at least 1")
        options.require(agent, self, "warm_up", self.warm_up >= 0, "at least 0")
        options.require(agent, self, "epsilon", 0 < self.epsilon <= 1, "above 0 and at most 1")
        whole = self.n_steps is None or self.n_steps >= 1
        options.require(agent, self, "n_steps", whole, "at least 1, or None")


class DQN(SB3Agent):
    """Deep Q-learning; for the arguments see `SB3Agent`, for settings `DQNConfig`."""

    name = "dqn"
    recipes: ClassVar[Mapping[str, DQNConfig]] = {"default": DQNConfig()}
    scalars = ("train/loss", "rollout/exploration_rate")
    model: _DQN

    def algorithm(self, env: VecEnv, steps: int, seed: int) -> _DQN:
        """Make the algorithm; see `SB3Agent`."""
        c: DQNConfig = self.config
        episode = len(self.space.decisions)
        model = _DQN(
            "MlpPolicy",
            env,
            learning_rate=c.learning_rate,
            buffer_size=CAPACITY * steps * env.num_envs,
            learning_starts=c.warm_up * episode,
            batch_size=c.minibatch,
            gamma=1.0,  # one reward, at the end
            n_steps=c.n_steps or episode,
            train_freq=(steps, "step"),
            gradient_steps=c.gradient_steps,
            target_update_interval=steps * env.num_envs,
            policy_kwargs={"net_arch": [c.units, c.units]},
            seed=seed,
            device="cpu",  # networks this small only lose on a card
        )

        self._begun = 0  # step at which exploration began

        def epsilon(_: float) -> float:
            episodes = (model.num_timesteps - self._begun) / episode
            fallen = (c.warm_up, c.warm_up + c.exploration)
            return float(np.interp(episodes, fallen, (1.0, c.epsilon)))

        model.exploration_schedule = epsilon  # by episodes: a larger budget begins as a smaller
        return model

    def restart(self) -> None:
        """Explore as at first; see `SB3Agent`."""
        super().restart()
        self._begun = self.model.num_timesteps

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        super().learn(budget)
        memory = self._memory
        memory.pos -= memory.pos % len(self.space.decisions)  # forget what the budget cut short

    def own_state(self) -> dict[str, Any]:
        """The memory of episodes, and how far exploration went."""
        memory, model = self._memory, self.model
        filled = memory.buffer_size if memory.full else memory.pos
        columns = {name: torch.from_numpy(getattr(memory, name)[:filled]) for name in _COLUMNS}
        counts = [model._n_calls, self._begun, memory.pos, int(memory.full)]
        return {**columns, "counts": counts, "exploration": float(model.exploration_rate)}

    def restore_own(self, state: Mapping[str, Any]) -> None:
        """Take over what `own_state` gave."""
        memory, model = self._memory, self.model
        for name in _COLUMNS:
            getattr(memory, name)[: len(state[name])] = state[name].numpy()
        model._n_calls, self._begun, memory.pos, full = state["counts"]
        memory.full, model.exploration_rate = bool(full), state["exploration"]

    @property
    def _memory(self) -> Any:
        return self.model.replay_buffer


class _DQN(stable_baselines3.DQN):
    """Decides for each copy by itself whether to explore; the library does for all at once."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[Any, Any]:
        """One action per copy, ``(num_envs,)``; see the library."""
        actions, state = self.policy.predict(observation, state, episode_start, deterministic)
        if deterministic:
            return actions, state
        explore = np.random.rand(len(actions)) < self.exploration_rate
        drawn = [self.action_space.sample() for _ in actions]
        return np.where(explore, drawn, actions), state
