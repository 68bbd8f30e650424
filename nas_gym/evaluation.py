"""What is asked of a child, and the record of what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from nas_gym.search_spaces.base import Architecture

Status = Literal["ok", "rejected", "diverged", "out_of_memory", "timeout", "crashed"]
Origin = Literal["trained", "recalled", "table"]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Metric:
    """One number that says how good or how costly a child is.

    Attributes:
        name: As in `Evaluation.scores` or `Evaluation.cost`.
        up: Whether more is better.
        unit: What follows the number; ``"%"``: a share in [0, 1], shown in percent.
    """

    name: str
    up: bool = True
    unit: str = ""

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isidentifier()):
            raise ValueError(f"a metric's name must be a word, as in 'accuracy', got {self.name!r}")

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return 1 if self.up else -1

    @property
    def scale(self) -> float:
        """What a value is multiplied with to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ").replace("top5", "top-5")

    def format(self, value: float | None) -> str:
        """A value as it is shown: ``93.10%``, ``12.5``; a dash where there is none."""
        if value is None or math.isnan(value):
            return "-"
        if self.unit == "%":
            return f"{value:.2%}"
        if float(value).is_integer() and abs(value) < 1e15:
            return f"{value:,.0f}{self.unit and ' ' + self.unit}"
        return f"{value:.4g}{self.unit and ' ' + self.unit}"

    def spread(self, mean: float | None, deviation: float | None) -> str:
        """Mean and standard deviation as they are shown: ``97.50 ± 0.12%``."""
        if mean is None or deviation is None:
            return self.format(mean)
        if self.unit == "%":
            return f"{100 * mean:.2f} ± {100 * deviation:.2f}%"
        return f"{mean:.4g} ± {deviation:.2g}{self.unit and ' ' + self.unit}"


ACCURACY = Metric("accuracy", unit="%")


@dataclass(frozen=True)
class Request:
    """What is asked of a source: one child, trained once.

    Attributes:
        architecture: The child.
        seed: Seed of the child's weights, data order, augmentation and dropout.
        until: Epochs of the recipe's after which the training pauses and is scored; None for all.
    """

    architecture: Architecture
    seed: int = 0
    until: int | None = None


@dataclass(frozen=True)
class Evaluation:
    """What became of one child. Never holds anything measured on test data.

    Attributes:
        request: What was asked.
        status: ``ok``; ``rejected`` (over a size limit, never trained); ``diverged`` (a loss that
            is no number); ``out_of_memory``; ``timeout``; ``crashed`` (its process died, twice).
        scores: By metric, on the validation split; empty unless ok.
        cost: ``params`` (trainable parameters), ``macs`` (multiply-adds of one forward pass of
            one input), or whatever a source counts; what is unknown is absent.
        seconds: Wall-clock seconds of building, training and validating.
        epochs: Passes over the training data that were completed.
        origin: ``trained`` now, ``recalled`` from the store, or looked up in a ``table``.
        detail: Why it is not ok, in one sentence.
    """

    request: Request
    status: Status = "ok"
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    cost: Mapping[str, float] = field(default_factory=dict, hash=False)
    seconds: float = 0.0
    epochs: int = 0
    origin: Origin = "trained"
    detail: str = ""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"a status is one of {', '.join(STATUSES)}, got {self.status!r}")
        if self.scores and not self.ok:
            raise ValueError(f"a child that is {self.status} has no scores, got {self.scores}")
        for name, value in {**self.scores, **self.cost}.items():
            if not math.isfinite(value):
                raise ValueError(f"{name} of a child must be a finite number, got {value}")

    @property
    def architecture(self) -> Architecture:
        """The child."""
        return self.request.architecture

    @property
    def seed(self) -> int:
        """Seed of its training."""
        return self.request.seed

    @property
    def ok(self) -> bool:
        """Whether the child was trained and validated."""
        return self.status == "ok"

    @property
    def params(self) -> int | None:
        """Number of trainable parameters; None where it was not counted."""
        return _whole(self.cost.get("params"))

    @property
    def macs(self) -> int | None:
        """Multiply-adds of one forward pass of one input; None where they were not counted."""
        return _whole(self.cost.get("macs"))

    def recalled(self) -> Evaluation:
        """The same record, marked as answered from the store."""
        return self if self.origin == "table" else replace(self, origin="recalled")


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
