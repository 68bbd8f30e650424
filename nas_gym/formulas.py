"""Accuracy, and accuracy against cost: pure functions of one evaluation that is ok.

A reward or an objective names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from nas_gym.evaluation import Evaluation

Cost = Literal["params", "macs"]


def accuracy(evaluation: Evaluation) -> float:
    """Validation accuracy, in [0, 1]."""
    return evaluation.scores["accuracy"]


def accuracy_cubed(evaluation: Evaluation) -> float:
    """Cube of the validation accuracy, in [0, 1] (Zoph & Le 2016, arXiv 1611.01578, 4.1).

    The paper cubes the best accuracy of the last five epochs, this the one after the last: the
    recipe's learning rate ends at zero, so there is nothing to choose among.
    """
    return evaluation.scores["accuracy"] ** 3


def mnasnet_soft(
    evaluation: Evaluation, target: float, cost: Cost = "macs", exponent: float = -0.07
) -> float:
    """``accuracy * (cost / target) ** exponent`` (Tan et al. 2019, arXiv 1807.11626, eq. 2)."""
    return evaluation.scores["accuracy"] * math.pow(_ratio(evaluation, target, cost), exponent)


def mnasnet_hard(
    evaluation: Evaluation, target: float, cost: Cost = "macs", exponent: float = -1.0
) -> float:
    """As `mnasnet_soft` over the target; the accuracy alone under it (same paper, figure 3)."""
    penalty = math.pow(_ratio(evaluation, target, cost), exponent)
    return evaluation.scores["accuracy"] * min(1.0, penalty)


def tunas_absolute(
    evaluation: Evaluation, target: float, cost: Cost = "macs", weight: float = -0.1
) -> float:
    """``accuracy + weight * |cost / target - 1|`` (Bender et al. 2020, arXiv 2008.06120, 4.2)."""
    ratio = _ratio(evaluation, target, cost)
    return evaluation.scores["accuracy"] + weight * abs(ratio - 1)


FORMULAS: dict[str, Callable[..., float]] = {
    function.__name__: function
    for function in (accuracy, accuracy_cubed, mnasnet_soft, mnasnet_hard, tunas_absolute)
}

# Formulas that rank children as a metric does, which says more to a reader.
SAME_ORDER = {"accuracy_cubed": "accuracy"}


def check_options(kind: str, name: str, options: Mapping[str, Any]) -> None:
    """Refuse options of a formula that mean nothing.

    Raises:
        ValueError: The message says which, and what would be right.
    """
    for option, value in options.items():
        if option == "cost":
            if value not in get_args(Cost):
                raise ValueError(f"{kind} {name!r}: cost must be 'params' or 'macs', got {value!r}")
        elif not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{kind} {name!r}: {option} must be a number, got {value!r}")
        elif option == "target" and value <= 0:
            raise ValueError(f"{kind} {name!r}: target must be above 0, got {value!r}")


def _ratio(evaluation: Evaluation, target: float, cost: Cost) -> float:
    value = evaluation.cost.get(cost)
    if value is None:
        raise ValueError(f"this reward needs the {cost} of a child, which were not counted")
    return max(float(value), 1.0) / target
