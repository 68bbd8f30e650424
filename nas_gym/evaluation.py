"""The record of training one child."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from nas_gym.search_spaces.base import Architecture

Status = Literal["ok", "rejected", "diverged", "out_of_memory", "timeout", "crashed"]
Source = Literal["trained", "recalled", "table"]

STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Evaluation:
    """What became of one child. Never holds anything measured on test data.

    Attributes:
        architecture: The child.
        status: ``ok``; ``rejected`` (over a size limit, never trained); ``diverged`` (a loss that
            is no number); ``out_of_memory``; ``timeout``; ``crashed`` (its process died, twice).
        val_accuracy: Top-1 accuracy on the validation split, in [0, 1]; 0.0 unless ``ok``.
        val_top5: Top-5 accuracy, in [0, 1]; None where there are at most five classes, or not ok.
        val_loss: Mean cross-entropy on the validation split, in nats; None unless ok.
        params: Number of trainable parameters; None where it was not counted.
        macs: Multiply-adds of one forward pass of one input; None where it was not counted.
        seconds: Wall-clock seconds of building, training and validating.
        epochs: Passes over the training images that were completed.
        seed: Seed of the child's weights, data order, augmentation and dropout.
        source: ``trained`` now, ``recalled`` from the store, or looked up in a ``table``.
        detail: Why it is not ok, in one sentence.
    """

    architecture: Architecture
    status: Status
    val_accuracy: float = 0.0
    val_top5: float | None = None
    val_loss: float | None = None
    params: int | None = None
    macs: int | None = None
    seconds: float = 0.0
    epochs: int = 0
    seed: int = 0
    source: Source = "trained"
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the child was trained and validated to the end."""
        return self.status == "ok"

    def recalled(self) -> Evaluation:
        """The same record, marked as answered from the store."""
        return self if self.source == "table" else replace(self, source="recalled")


def rank(evaluation: Evaluation) -> tuple[float, float]:
    """Sort key, higher is better: validation accuracy, then lower validation loss."""
    loss = evaluation.val_loss
    return evaluation.val_accuracy, -loss if loss is not None else 0.0
