"""REINFORCE with an LSTM controller (Zoph & Le 2016), which in its default recipe is planned for.

The recipes of papers and ``model_free`` train what the policy writes. In the default one a Gaussian
process chooses what is trained, among what the policy writes and mutations of the best: of its
choices in the first 100 children nine of ten were mutations (``benchmarks/README.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents import options
from agents.episodes import Environment, Outcome, fitted, play, search_space, spending
from agents.planner import Planner
from agents.proposals import Proposals
from agents.reinforce_config import RECIPES, ReinforceConfig, make_config
from agents.rounding import equal, tolerance
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain

__all__ = ["RECIPES", "REINFORCE", "ReinforceConfig", "make_config"]

# In the search for something new: samples drawn at once, and how often, before mutation helps.
DRAW, DRAWS = 32, 8


class REINFORCE:
    """An LSTM writes architectures; their rewards move the probabilities.

    With a critic (the default) most of the episodes are imagined: a value function learnt from
    the real rewards pays them, as in Dyna (Sutton 1991), and says which are worth training. What
    is trained is then seldom what the LSTM wrote, and is learnt from as if it were: Bayesian
    optimisation with a policy beside it. What is drawn until it is new (``unique``) is learnt from
    with the probabilities of a free draw, too.

    Everything random comes from ``seed``, so the same environment and seed give the same search.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of the initial weights and of every sample.
        recipe: A name in `RECIPES`: ``"default"``, ``"model_free"``, ``"zoph2016"`` or
            ``"enas2018"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `ReinforceConfig` that differ from the recipe, e.g.
            ``learning_rate=0.01, entropy_weight=0.001``. ``batch_size`` follows a vector
            environment's ``num_envs`` unless it is given.

    Attributes:
        config: The choices in force.
        controller: The policy in use; a new beginning makes another one.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self.env = env
        self.config = make_config(recipe, **fitted(env, changes))
        self.logger = logger
        self.space = search_space(env)
        self._batches = 0
        self._best = -math.inf
        self._begin(seed)

    def _begin(self, seed: int) -> None:
        """Forget everything learnt."""
        self.random = torch.Generator().manual_seed(seed)
        self.controller = self.config.make_policy(self.space, self.random)
        rate = self.config.learning_rate
        self.optimizer = torch.optim.Adam(self.controller.parameters(), rate)
        self.proposals = Proposals(self.space, seed)
        self.planner = Planner(self.proposals) if self.config.critic else None
        self._rewards: list[float] = []
        self._average: float | None = None
        self._idle = 0  # proposals since the best reward improved

    @staticmethod
    def num_envs(recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return make_config(recipe, **changes).batch_size

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly.

        A batch that the budget cuts short is evaluated as far as it goes and not learnt from.
        """
        with spending(self.env, budget) as account:
            target = account.distinct + budget
            while account.distinct < target:
                actions, masks = self._propose()
                outcomes = play(self.env, actions.tolist())
                if self.planner is not None:
                    self.planner.observe(outcomes)
                self._learn_from(actions, masks, outcomes)
                patience = math.inf if self.config.patience is None else self.config.patience
                if self._idle >= patience and not self.proposals.spent:
                    self._begin(int(torch.randint(2**31, (), generator=self.random)))

    def save(self, path: str) -> None:
        """Write weights, optimiser, baseline, random state and what was proposed."""
        state = {
            "config": asdict(self.config),
            "space": self.space.describe(),
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "proposals": self.proposals.state(),
            "planner": None if self.planner is None else self.planner.state(),
            "rewards": list(self._rewards),
            "average": self._average,
            "idle": self._idle,
            "batches": self._batches,
            "best": self._best,
        }
        save_plain(path, state)

    def load(self, path: str) -> None:
        """Read what `save` wrote, and go on from there. No code in the file is executed.

        Raises:
            ValueError: The file is damaged, or of an agent with other options or another space.
        """
        with load_plain(path) as state:
            space = self.space.describe()
            options.require_same(path, state, config=asdict(self.config), space=space)
            self.controller.load_state_dict(state["controller"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.random.set_state(state["random"])
            self.proposals.restore(state["proposals"])
            if self.planner is not None:
                self.planner.restore(state["planner"])
            self._rewards = list(state["rewards"])
            self._average = state["average"]
            self._idle = state["idle"]
            self._batches, self._best = state["batches"], state["best"]

    def _propose(self) -> tuple[Tensor, Tensor]:
        """One batch of actions and masks."""
        if self.planner is None or not self.planner.ready or self.proposals.spent:
            return self._sample()
        size = self.config.batch_size
        written, masks = self.controller.sample(self.config.imagined)
        chosen, values = self.planner.plan(written.tolist(), size)
        self._imagine(written, masks, values.float())
        for actions in chosen:
            self.proposals.add(actions)
        while len(chosen) < size:
            chosen.append(self.proposals.new_like(chosen[-1] if chosen else written[0].tolist()))
        return torch.tensor(chosen), torch.from_numpy(
            np.array([self.proposals.masks(actions) for actions in chosen])
        )

    def _imagine(self, actions: Tensor, masks: Tensor, values: Tensor) -> None:
        """One update on episodes that the critic paid."""
        if equal(self._rewards) or equal(values.tolist()):  # it knows of nothing better
            advantages = torch.zeros_like(values)
        else:
            advantages = (values - values.mean()) / (values.std() + 1e-8)
        self._update(actions, masks, advantages)

    def _sample(self) -> tuple[Tensor, Tensor]:
        """One batch of actions and masks; all new, if that is asked for and possible."""
        size = self.config.batch_size
        if not self.config.unique or self.proposals.spent:
            actions, masks = self.controller.sample(size)
            for sequence in actions.tolist():
                self.proposals.add(sequence)
            return actions, masks
        batch: list[tuple[Tensor, Tensor]] = []
        for attempt in range(DRAWS):
            for actions, masks in zip(
                *self.controller.sample(DRAW if attempt else size), strict=True
            ):
                if len(batch) < size and self.proposals.is_new(actions.tolist()):
                    self.proposals.add(actions.tolist())
                    batch.append((actions, masks))
            if len(batch) == size:
                break
        else:  # the policy has nothing new to say: change what it says
            for actions in self.controller.sample(size - len(batch))[0]:
                new = self.proposals.new_like(actions.tolist())
                batch.append((torch.tensor(new), torch.from_numpy(self.proposals.masks(new))))
        actions_of, masks_of = zip(*batch, strict=True)
        return torch.stack(actions_of), torch.stack(masks_of)

    def _learn_from(self, actions: Tensor, masks: Tensor, outcomes: Sequence[Outcome]) -> None:
        rewards = [outcome.reward for outcome in outcomes]
        better = not self._rewards or max(rewards) > max(self._rewards)
        self._idle = 0 if better else self._idle + len(rewards)
        advantages = self._advantages(rewards)
        loss, entropy = self._update(actions, masks, advantages)
        self._batches += 1
        self._best = max(self._best, *rewards)
        if self.logger is not None:
            self._log(outcomes, advantages, entropy, loss)

    def _update(self, actions: Tensor, masks: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """Move the policy; gives the loss and the entropies before the last step."""
        with torch.no_grad():
            old, _ = self.controller.log_probabilities(actions, masks)
        c = self.config
        for _ in range(c.epochs):
            logs, entropy = self.controller.log_probabilities(actions, masks)
            ratio = (logs - old).exp()
            gain = ratio * advantages[:, None]
            if c.clip is not None:
                kept = ratio.clamp(1 - c.clip, 1 + c.clip) * advantages[:, None]
                gain = torch.minimum(gain, kept)
            loss = -gain.sum(1).mean() - c.entropy_weight * entropy.mean()
            self.optimizer.zero_grad()
            loss.backward()
            if c.max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.controller.parameters(), c.max_grad_norm)
            self.optimizer.step()
        return loss, entropy

    def _advantages(self, rewards: list[float]) -> Tensor:
        """Advantage of each episode of the batch, ``(batch,)``."""
        c = self.config
        flat = equal(rewards)  # then nothing says that one of them is better
        if flat:
            rewards = rewards[:1] * len(rewards)
        self._rewards += rewards
        values = torch.tensor(rewards)
        if c.reward_transform == "cubed":
            values = values**3
        elif c.reward_transform == "rank":
            past = torch.tensor(self._rewards)
            above = values[:, None] - past
            same = above.abs() <= tolerance(self._rewards)
            values = ((above > 0) & ~same).float().mean(1) + same.float().mean(1) / 2
        mean = float(values[0] if flat else values.mean())  # the mean of equal numbers is rounded
        before = mean if self._average is None else self._average
        if c.baseline == "leave_one_out":
            advantages = (values - mean) * (len(values) / (len(values) - 1))
        elif c.baseline == "moving_average":
            advantages = values - before
            advantages[advantages.abs() <= tolerance([before, *values.tolist()])] = 0.0
        else:
            advantages = values
        self._average = c.baseline_decay * before + (1 - c.baseline_decay) * mean
        if c.normalize and not flat:
            advantages = advantages / (values.std() + 1e-8)
        return advantages

    def _log(
        self, outcomes: Sequence[Outcome], advantages: Tensor, entropy: Tensor, loss: Tensor
    ) -> None:
        assert self.logger is not None
        rewards = [outcome.reward for outcome in outcomes]
        self.logger.write(
            self._batches,
            {
                "reward/mean": sum(rewards) / len(rewards),
                "reward/max": max(rewards),
                "reward/best": self._best,
                "reward/average": self._average or 0.0,
                "policy/entropy": float(entropy.mean().detach()),
                "policy/loss": float(loss.detach()),
                "policy/advantage_abs": float(advantages.abs().mean()),
                "children/failed": float(sum(o.status != "ok" for o in outcomes)),
            },
        )
