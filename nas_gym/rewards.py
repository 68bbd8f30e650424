"""From an evaluation to a number: pure functions, by name or the user's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

from nas_gym._resolve import resolve
from nas_gym.evaluation import Evaluation

Cost = Literal["params", "macs"]


def accuracy(evaluation: Evaluation) -> float:
    """Validation accuracy, in [0, 1]."""
    return evaluation.val_accuracy


def accuracy_cubed(evaluation: Evaluation) -> float:
    """Cube of the validation accuracy, in [0, 1] (Zoph & Le 2016, arXiv 1611.01578, 4.1).

    The paper cubes the best accuracy of the last five epochs, this the one after the last: the
    recipe's learning rate ends at zero, so there is nothing to choose among.
    """
    return evaluation.val_accuracy**3


def mnasnet_soft(
    evaluation: Evaluation, target: float, cost: Cost = "macs", exponent: float = -0.07
) -> float:
    """``accuracy * (cost / target) ** exponent`` (Tan et al. 2019, arXiv 1807.11626, eq. 2)."""
    return evaluation.val_accuracy * math.pow(_ratio(evaluation, target, cost), exponent)


def mnasnet_hard(
    evaluation: Evaluation, target: float, cost: Cost = "macs", exponent: float = -1.0
) -> float:
    """As `mnasnet_soft` over the target; the accuracy alone under it (same paper, figure 3)."""
    return evaluation.val_accuracy * min(1.0, math.pow(_ratio(evaluation, target, cost), exponent))


def tunas_absolute(
    evaluation: Evaluation, target: float, cost: Cost = "macs", weight: float = -0.1
) -> float:
    """``accuracy + weight * |cost / target - 1|`` (Bender et al. 2020, arXiv 2008.06120, 4.2)."""
    return evaluation.val_accuracy + weight * abs(_ratio(evaluation, target, cost) - 1)


REWARDS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (accuracy, accuracy_cubed, mnasnet_soft, mnasnet_hard, tunas_absolute)
}

# What a child that failed earns. The penalty of tunas_absolute has no lower end.
FLOORS = {"tunas_absolute": -1.0}


@dataclass(frozen=True)
class Reward:
    """What an episode pays.

    Attributes:
        function: For a child that was trained and validated.
        floor: For a child that was rejected, diverged, or failed otherwise.
    """

    function: Callable[[Evaluation], float]
    floor: float = 0.0

    def __call__(self, evaluation: Evaluation) -> float:
        """The reward of one evaluation.

        Raises:
            ValueError: The function gave no finite number.
        """
        if not evaluation.ok:
            return self.floor
        value = float(self.function(evaluation))
        if not math.isfinite(value):
            raise ValueError(f"the reward function gave {value} for {evaluation}")
        return value


def make_reward(
    spec: str | Mapping[str, Any] | Callable[[Evaluation], float], floor: float | None = None
) -> Reward:
    """The reward that a keyword value names.

    Args:
        spec: A name in `REWARDS`, ``"package.module:function"``, a callable, or a mapping with a
            ``"name"`` and the function's options, e.g. ``{"name": "mnasnet_soft", "target": 1e6}``.
        floor: What failed children earn; None for 0.0 (``tunas_absolute``: -1.0).

    Raises:
        ValueError: An unknown name, a missing option, or one too many.
    """
    if callable(spec):
        return Reward(spec, 0.0 if floor is None else floor)
    options: dict[str, Any] = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", "accuracy")
    function = resolve(name, REWARDS, "reward")
    try:
        inspect.signature(function).bind(None, **options)
    except TypeError as error:
        raise ValueError(f"reward {name!r}: {error}") from error
    if name in REWARDS:
        _check(name, options)
    return Reward(partial(function, **options), FLOORS.get(name, 0.0) if floor is None else floor)


def _check(name: str, options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option == "cost":
            if value not in get_args(Cost):
                raise ValueError(f"reward {name!r}: cost must be 'params' or 'macs', got {value!r}")
        elif not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"reward {name!r}: {option} must be a number, got {value!r}")
        elif option == "target" and value <= 0:
            raise ValueError(f"reward {name!r}: target must be above 0, got {value!r}")


def _ratio(evaluation: Evaluation, target: float, cost: Cost) -> float:
    value = getattr(evaluation, cost)
    if value is None:
        raise ValueError(f"this reward needs the {cost} of a child, which were not counted")
    return max(float(value), 1.0) / target
