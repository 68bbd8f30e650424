"""What the last step of an episode pays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas_gym.evaluation import Evaluation, Metric
from nas_gym.objectives import Column, Spec, make_column

# What a child that failed earns. The penalty of tunas_absolute has no lower end.
FLOORS = {"tunas_absolute": -1.0}


@dataclass(frozen=True)
class Reward:
    """What an episode pays.

    Attributes:
        function: For a child that was trained and validated.
        floor: For a child that was rejected, diverged, or failed otherwise.
    """

    function: Callable[[Evaluation], float | None]
    floor: float = 0.0

    def __call__(self, evaluation: Evaluation) -> float:
        """The reward of one evaluation.

        Raises:
            ValueError: The function gave no finite number.
        """
        if not evaluation.ok:
            return self.floor
        value = self.function(evaluation)
        if value is None or not math.isfinite(value):
            raise ValueError(f"the reward function gave {value} for {evaluation}")
        return float(value)


def make_reward(spec: Spec, metrics: Sequence[Metric], floor: float | None = None) -> Reward:
    """The reward that a keyword value names.

    Args:
        spec: What `make_column` reads: a metric, a formula with its options
            (``{"name": "mnasnet_soft", "target": 1e6}``), or a function of one's own. It is paid
            as it is where more is better, else as ``1 / (1 + value)``.
        metrics: Those of the source.
        floor: What failed children earn; None for 0.0 (``tunas_absolute``: -1.0).

    Raises:
        ValueError: An unknown name, a missing option, or one too many.
    """
    column = make_column(spec, metrics, "reward")
    if floor is None:
        floor = FLOORS.get(column.metric.name, 0.0)
    return Reward(column.function if column.metric.up else _Inverse(column), floor)


@dataclass(frozen=True)
class _Inverse:
    """Pays more for less, from 1 down to 0."""

    column: Column

    def __call__(self, evaluation: Evaluation) -> float | None:
        value = self.column.function(evaluation)
        return None if value is None else 1.0 / (1.0 + max(value, 0.0))
