"""REINFORCE without the LSTM: one independent softmax per decision (Dong & Yang 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from agents.controller import Policy
from agents.episodes import Environment
from agents.reinforce import REINFORCE, ReinforceConfig
from agents.scalars import ScalarLog
from nas_gym._resolve import unknown

# What makes a recipe another one than the default of REINFORCE.
RECIPES: dict[str, dict[str, Any]] = {
    # The ablation of the LSTM: everything else as it is there.
    "default": {},
    "model_free": {"critic": False, "patience": None},
    # Dong & Yang 2020, arXiv 2001.00326: the REINFORCE of NAS-Bench-201, by its code: a child per
    # update, Adam, a moving average of decay 0.9 as baseline, logits that start at about 0.001.
    # The learning rate is that code's; its successor NATS-Bench (arXiv 2009.00437) has 0.01, and
    # an older text of the authors 0.5. (Their average takes a reward in before it is subtracted.)
    "nasbench201": {
        "critic": False,
        "patience": None,
        "batch_size": 1,
        "learning_rate": 1e-3,
        "epochs": 1,
        "clip": None,
        "baseline": "moving_average",
        "baseline_decay": 0.9,
        "normalize": False,
        "unique": False,
        "init": 1e-3,
    },
}

# Fields of ReinforceConfig that only the LSTM has.
LSTM_ONLY = ("layers", "units", "share", "temperature", "tanh_constant", "policy")


class ReinforceCategorical:
    """`REINFORCE` with a `CategoricalPolicy`.

    Args:
        env: A single or vector environment of nas_gym.
        seed: Seed of the initial logits and of every sample.
        recipe: A name in `RECIPES`: ``"default"``, ``"model_free"`` or ``"nasbench201"``.
        logger: Where scalars go, once per batch.
        **changes: Fields of `ReinforceConfig` that differ from the recipe, but for those of the
            LSTM, e.g. ``learning_rate=0.1``. ``batch_size`` follows a vector environment's
            ``num_envs`` where neither the recipe nor this says it.

    Attributes:
        config: The choices in force.
    """

    def __init__(
        self,
        env: Environment,
        seed: int = 0,
        recipe: str = "default",
        logger: ScalarLog | None = None,
        **changes: Any,
    ) -> None:
        self._search = REINFORCE(env, seed, logger=logger, **_changes(recipe, changes))
        self.config = self._search.config

    @property
    def policy(self) -> Policy:
        """The softmaxes in use: others after a new beginning."""
        return self._search.controller

    @staticmethod
    def num_envs(recipe: str = "default", **changes: Any) -> int:
        """Architectures at a time that this agent would write with these options."""
        return REINFORCE.num_envs(**_changes(recipe, changes))

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated, exactly."""
        self._search.learn(budget)

    def save(self, path: str) -> None:
        """Write logits, optimiser, baseline, random state and what was proposed."""
        self._search.save(path)

    def load(self, path: str) -> None:
        """Read what `save` wrote, and go on from there.

        Raises:
            ValueError: The file is damaged, or of an agent with other options or another space.
        """
        self._search.load(path)


def _changes(recipe: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes to the default of REINFORCE that a recipe and some changes amount to."""
    if recipe not in RECIPES:
        raise ValueError(unknown("recipe of reinforce_categorical", recipe, RECIPES))
    known = [f.name for f in fields(ReinforceConfig) if f.name not in LSTM_ONLY]
    for name in changes:
        if name not in known:
            raise ValueError(unknown("option of reinforce_categorical", name, [*known, "recipe"]))
    return {**RECIPES[recipe], **changes, "policy": "categorical"}
