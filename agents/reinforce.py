"""REINFORCE with an LSTM controller: the policy-gradient search of Zoph & Le (2016)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from agents.controller import Controller, Sharing
from agents.episodes import Environment, Outcome, play, search_space, spending
from agents.scalars import ScalarLog
from agents.storage import load_plain, save_plain
from nas_gym import Architecture
from nas_gym._resolve import unknown

Baseline = Literal["leave_one_out", "moving_average", "none"]
Transform = Literal["none", "cubed", "rank"]

# In the search for something new: samples drawn at once, and how often, before mutation helps.
DRAW, DRAWS = 32, 8


def _require(config: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        value = getattr(config, name)
        raise ValueError(f"option {name} of reinforce must be {expected}, got {value!r}")


@dataclass(frozen=True)
class ReinforceConfig:
    """Every choice that REINFORCE leaves open.

    The defaults were the best of about 35 LSTM recipes on NAS-Bench-Macro and NAS-Bench-201 at
    50 to 200 distinct children, re-run on seeds not used to choose them.

    Attributes:
        batch_size: Architectures written, evaluated and learnt from together.
        learning_rate: Of Adam.
        epochs: Updates per batch. More than one needs ``clip``.
        clip: Largest relative change of an action's probability that an update is rewarded for
            (Schulman et al. 2017, arXiv 1707.06347, eq. 7); None for the plain gradient.
        baseline: What is subtracted from a reward: the mean of the *other* rewards of the batch
            (Kool et al. 2019), an exponential moving average of all earlier ones, or nothing.
        baseline_decay: Of the moving average.
        normalize: Divide advantages by the standard deviation of the batch's rewards.
        reward_transform: ``cubed``, or ``rank`` among all rewards so far (in [0, 1]).
        entropy_weight: Weight of the mean entropy per decision in the objective.
        unique: Propose only architectures that this agent has not proposed before.
        layers: LSTM layers.
        units: Units per layer.
        init: Parameters start uniform in [-init, init].
        share: One head and embedding per ``decision``, or per ``kind`` of decision.
        max_grad_norm: Clip the gradient's norm; None for no clipping.
    """

    batch_size: int = 5
    learning_rate: float = 0.02
    epochs: int = 4
    clip: float | None = 0.2
    baseline: Baseline = "leave_one_out"
    baseline_decay: float = 0.95
    normalize: bool = True
    reward_transform: Transform = "none"
    entropy_weight: float = 0.0
    unique: bool = True
    layers: int = 1
    units: int = 32
    init: float = 0.1
    share: Sharing = "decision"
    max_grad_norm: float | None = None

    def __post_init__(self) -> None:
        low = 2 if self.baseline == "leave_one_out" else 1
        _require(self, "batch_size", self.batch_size >= low, f"at least {low}")
        for name in ("epochs", "layers", "units"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "init"):
            _require(self, name, getattr(self, name) > 0, "above 0")
        _require(self, "clip", self.clip is None or self.clip > 0, "above 0, or None")
        _require(
            self, "clip", self.epochs == 1 or self.clip is not None, "set for more than one epoch"
        )
        _require(self, "baseline_decay", 0 <= self.baseline_decay < 1, "in [0, 1)")
        for name, allowed in (
            ("baseline", get_args(Baseline)),
            ("reward_transform", get_args(Transform)),
            ("share", get_args(Sharing)),
        ):
            _require(self, name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")


RECIPES: dict[str, ReinforceConfig] = {
    "default": ReinforceConfig(),
    # Zoph & Le 2016, 4.1: two layers of 35 units, Adam 6e-4, init +-0.08, a moving average as
    # baseline, 8 children per update of a replica. The decay of the average is not given there. The
    # paper's cubed accuracy is the environment's reward: reward="accuracy_cubed".
    "zoph2016": ReinforceConfig(
        batch_size=8,
        learning_rate=6e-4,
        epochs=1,
        clip=None,
        baseline="moving_average",
        normalize=False,
        unique=False,
        layers=2,
        units=35,
        init=0.08,
        share="kind",
    ),
}


def make_config(recipe: str = "default", **changes: Any) -> ReinforceConfig:
    """A recipe with some of its fields changed.

    Raises:
        ValueError: An unknown recipe or field, or a value outside its range.
    """
    if recipe not in RECIPES:
        raise ValueError(unknown("recipe", recipe, RECIPES))
    known = [field.name for field in fields(ReinforceConfig)]
    for name in changes:
        if name not in known:
            raise ValueError(unknown("option of reinforce", name, known))
    return replace(RECIPES[recipe], **changes)


class REINFORCE:
    """An LSTM writes a batch of architectures; their rewards move the probabilities.

    Everything random comes from ``seed``, so the same environment and seed give the same search.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of the initial weights and of every sample.
        recipe: A name in `RECIPES`: ``"default"`` or ``"zoph2016"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `ReinforceConfig` that differ from the recipe, e.g.
            ``learning_rate=0.01, entropy_weight=0.001``. ``batch_size`` follows a vector
            environment's ``num_envs`` unless it is given.

    Attributes:
        config: The choices in force.
        controller: The policy.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        if isinstance(env, VectorEnv) and env.num_envs > 1:
            changes.setdefault("batch_size", env.num_envs)
        self.env = env
        self.config = make_config(recipe, **changes)
        self.logger = logger
        self.space = search_space(env)
        self.random = torch.Generator().manual_seed(seed)
        c = self.config
        self.controller = Controller(self.space, c.layers, c.units, c.init, c.share, self.random)
        self.optimizer = torch.optim.Adam(self.controller.parameters(), c.learning_rate)
        self._rewards: list[float] = []
        self._average: float | None = None
        self._proposed: set[Architecture] = set()
        self._batches = 0

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
                actions, masks = self._sample()
                self._learn_from(actions, masks, play(self.env, actions.tolist()))

    def save(self, path: str) -> None:
        """Write weights, optimiser, baseline, random state and what was proposed."""
        state = {
            "config": asdict(self.config),
            "space": self.space.describe(),
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": self.random.get_state(),
            "rewards": list(self._rewards),
            "average": self._average,
            "proposed": sorted(a.to_json() for a in self._proposed),
            "batches": self._batches,
        }
        save_plain(path, state)

    def load(self, path: str) -> None:
        """Read what `save` wrote, and go on from there. No code in the file is executed.

        Raises:
            ValueError: The file is damaged, or of an agent with other options or another space.
        """
        state = load_plain(path)
        for name, mine in (("config", asdict(self.config)), ("space", self.space.describe())):
            if state.get(name) != mine:
                raise ValueError(
                    f"{path} was saved by an agent with another {name}: {state.get(name)}, this "
                    f"one has {mine}"
                )
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.set_state(state["random"])
        self._rewards = list(state["rewards"])
        self._average = state["average"]
        self._proposed = {Architecture.from_json(text) for text in state["proposed"]}
        self._batches = state["batches"]

    def _sample(self) -> tuple[Tensor, Tensor]:
        """One batch of actions and masks; all new, if that is asked for and possible."""
        size = self.config.batch_size
        if not self.config.unique:
            return self.controller.sample(size)
        batch: list[tuple[Tensor, Tensor]] = []
        for attempt in range(2 * DRAWS + 1):
            count = DRAW if attempt else size
            for actions, masks in zip(*self.controller.sample(count), strict=True):
                if attempt >= DRAWS:  # the policy has nothing new to say: change what it says
                    actions, masks = self._mutated(actions, 1 + attempt - DRAWS)
                architecture = self.space.decode(actions.tolist())
                new = architecture not in self._proposed or attempt == 2 * DRAWS
                if new and len(batch) < size:
                    self._proposed.add(architecture)
                    batch.append((actions, masks))
            if len(batch) == size:
                break
        actions_of, masks_of = zip(*batch, strict=True)
        return torch.stack(actions_of), torch.stack(masks_of)

    def _mutated(self, actions: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The same episode with ``count`` decisions made anew, uniformly among the distinct."""
        steps = set(torch.randperm(len(actions), generator=self.random)[:count].tolist())
        changed = actions.clone()
        masks = []
        for index in range(len(actions)):
            mask = torch.from_numpy(self.space.mask(changed[:index].tolist()))
            if index in steps or not mask[changed[index]]:
                changed[index] = torch.multinomial(mask.float(), 1, generator=self.random)
            masks.append(mask)
        return changed, torch.stack(masks)

    def _learn_from(self, actions: Tensor, masks: Tensor, outcomes: Sequence[Outcome]) -> None:
        advantages = self._advantages([outcome.reward for outcome in outcomes])
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
        self._batches += 1
        if self.logger is not None:
            self._log(outcomes, advantages, entropy, loss)

    def _advantages(self, rewards: list[float]) -> Tensor:
        """Advantage of each episode of the batch, ``(batch,)``."""
        c = self.config
        self._rewards += rewards
        values = torch.tensor(rewards)
        if c.reward_transform == "cubed":
            values = values**3
        elif c.reward_transform == "rank":
            past = torch.tensor(self._rewards)
            below = (past < values[:, None]).float().mean(1)
            values = below + (past == values[:, None]).float().mean(1) / 2
        mean = float(values.mean())
        if c.baseline == "leave_one_out":
            advantages = (values - mean) * (len(values) / (len(values) - 1))
        elif c.baseline == "moving_average":
            advantages = values - (mean if self._average is None else self._average)
        else:
            advantages = values
        before = mean if self._average is None else self._average
        self._average = c.baseline_decay * before + (1 - c.baseline_decay) * mean
        if c.normalize and len(values) > 1:
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
                "reward/best": max(self._rewards),
                "reward/average": self._average or 0.0,
                "accuracy/mean": sum(o.val_accuracy for o in outcomes) / len(outcomes),
                "policy/entropy": float(entropy.mean().detach()),
                "policy/loss": float(loss.detach()),
                "policy/advantage_abs": float(advantages.abs().mean()),
                "children/failed": float(sum(o.status != "ok" for o in outcomes)),
            },
        )
