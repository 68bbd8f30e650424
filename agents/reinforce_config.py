"""Every choice that REINFORCE leaves open, and the recipes of papers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from agents import options
from agents.controller import CategoricalPolicy, Controller, Policy, Sharing
from nas_gym import SearchSpace

Baseline = Literal["leave_one_out", "moving_average", "none"]
Transform = Literal["none", "cubed", "rank"]


@dataclass(frozen=True)
class ReinforceConfig:
    """Every choice that REINFORCE leaves open.

    How the default was chosen, and on which seeds, is in ``benchmarks/README.md``.

    Attributes:
        batch_size: Architectures written, evaluated and learnt from together.
        learning_rate: Of Adam.
        epochs: Updates per batch. More than one needs ``clip``.
        clip: Largest relative change of an action's probability that an update is rewarded for
            (Schulman et al. 2017, arXiv 1707.06347, eq. 7); None for the plain gradient.
        baseline: What is subtracted from a reward: the mean of the *other* rewards of the batch
            (Kool et al. 2019), an exponential moving average of all earlier ones, or nothing.
        baseline_decay: Of the moving average.
        normalize: Divide advantages by the standard deviation of the batch's rewards, unless these
            are equal but for rounding.
        reward_transform: ``cubed``, or ``rank`` among all rewards so far (in [0, 1]).
        entropy_weight: Weight of the mean entropy per decision in the objective.
        unique: Propose only architectures that this agent has not proposed before.
        layers: LSTM layers.
        units: Units per layer.
        init: Parameters start uniform in [-init, init].
        share: One head and embedding per ``decision``, or per ``kind`` of decision.
        max_grad_norm: Clip the gradient's norm; None for no clipping.
        temperature: Divides the logits.
        tanh_constant: Keeps the logits within this of 0, by a tanh; None for no bound.
        policy: Who writes: the ``lstm``, or ``categorical``: an independent softmax per decision,
            for which layers, units, share, temperature and tanh_constant mean nothing.
        critic: Learn a value function from all rewards so far (`agents.critic.Critic`), train the
            policy on imagined episodes that it pays, and let it choose what is really trained
            (`agents.planner.Planner`). False: the policy learns from real episodes only, and all
            that it writes is trained.
        imagined: Episodes that the policy writes for the critic before each batch.
        patience: Begin anew, with a fresh policy and critic, when so many proposals in a row did
            not improve on the best since the last beginning; None for never. What was evaluated
            before may be proposed again and is answered for free, unless every child has a seed of
            its own. Where all that could be found is proposed there is nothing to begin anew for.
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
    temperature: float = 1.0
    tanh_constant: float | None = None
    policy: Literal["lstm", "categorical"] = "lstm"
    critic: bool = True
    imagined: int = 64
    patience: int | None = 40

    def __post_init__(self) -> None:
        options.require_types("reinforce", self)
        low = 2 if self.baseline == "leave_one_out" else 1
        self._require("batch_size", self.batch_size >= low, f"at least {low}")
        for name in ("epochs", "layers", "units", "imagined"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "init", "temperature"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("clip", "tanh_constant"):
            value = getattr(self, name)
            self._require(name, value is None or value > 0, "above 0, or None")
        self._require("unique", self.unique or not self.critic, "true with a critic")
        several = self.epochs > 1
        self._require("clip", not several or self.clip is not None, "set for more than one epoch")
        patient = self.patience is None or self.patience >= 1
        self._require("patience", patient, "at least 1, or None")
        self._require("baseline_decay", 0 <= self.baseline_decay < 1, "in [0, 1)")

    def make_policy(self, space: SearchSpace, random: torch.Generator) -> Policy:
        """A fresh policy for a space; ``random`` is the source of its weights and samples."""
        if self.policy == "categorical":
            return CategoricalPolicy(space, self.init, random)
        return Controller(
            space,
            self.layers,
            self.units,
            self.init,
            self.share,
            random,
            self.temperature,
            self.tanh_constant,
        )

    def _require(self, name: str, holds: bool, expected: str) -> None:
        options.require("reinforce", self, name, holds, expected)


RECIPES: dict[str, ReinforceConfig] = {
    "default": ReinforceConfig(),
    # Without the critic: several clipped updates per batch, nothing twice.
    "model_free": ReinforceConfig(critic=False, patience=None),
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
        critic=False,
        patience=None,
        layers=2,
        units=35,
        init=0.08,
        share="kind",
    ),
    # Pham et al. 2018, arXiv 1802.03268. The paper's: an LSTM of 100 units, init +-0.1, Adam
    # 3.5e-4, tanh constant 2.5, temperature 5, entropy 1e-4, a moving average as baseline. Its
    # code's, as the paper is silent: decay 0.99, 20 samples per update, layers share weights.
    # (In other things the code differs, for CIFAR-10's macro space: 64 units, Adam 1e-3, tanh
    # constant 1.5, no temperature.) The entropy is there a part of the reward, as a sum over the
    # decisions, and here a part of the objective, as their mean.
    "enas2018": ReinforceConfig(
        batch_size=20,
        learning_rate=3.5e-4,
        epochs=1,
        clip=None,
        baseline="moving_average",
        baseline_decay=0.99,
        normalize=False,
        entropy_weight=1e-4,
        unique=False,
        critic=False,
        patience=None,
        layers=1,
        units=100,
        init=0.1,
        share="kind",
        temperature=5.0,
        tanh_constant=2.5,
    ),
}


def make_config(recipe: str = "default", **changes: Any) -> ReinforceConfig:
    """A recipe with some of its fields changed.

    Raises:
        ValueError: An unknown recipe or field, or a value outside its range.
    """
    return options.make_config("reinforce", RECIPES, recipe, changes)
