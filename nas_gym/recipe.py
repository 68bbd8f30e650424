"""How a child is trained: a frozen, versioned value that is part of every result's identity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from nas_gym._resolve import unknown

ClassWeights = Literal["none", "balanced"]
Optimizer = Literal["adamw", "sgd"]
Precision = Literal["auto", "float32", "bfloat16"]

RECIPE_VERSION = 2  # raise it when the same fields would train a child differently


@dataclass(frozen=True)
class Recipe:
    """One child's training, from its initial weights to its validation score.

    The learning rate rises linearly to ``peak_lr`` over the first ``warmup`` of all steps and
    falls linearly to zero at the last, so the schedule always fits the budget (one-cycle, Smith &
    Topin 2017, arXiv 1708.07120). Before validation the batch-norm statistics are recomputed, as
    those gathered on the way lag behind the weights of a short training.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Images per step; at least 2, as batch norm needs a variance.
        train_images: Train on the first so many images in class-interleaved order; None for all.
        optimizer: ``adamw``, or ``sgd`` with Nesterov momentum.
        peak_lr: Highest learning rate.
        warmup: Share of the steps in which the learning rate rises, in [0, 1).
        weight_decay: Decoupled for adamw, L2 for sgd.
        momentum: Of sgd; adamw uses (momentum, 0.99) as betas.
        label_smoothing: In [0, 1).
        class_weights: ``balanced`` weighs the loss of each class by the inverse of its share of
            the training data (the weights are 1 on average).
        augmentation: ``none``, or what the task offers; of images ``crop`` moves by up to an
            eighth of the side, ``crop_flip`` mirrors too.
        bn_images: Training images that the batch-norm statistics are recomputed from; 0 for none.
        precision: ``bfloat16`` is mixed precision; ``auto`` takes it where the processor or the
            card computes in it, and the choice made is what is recorded.
        threads: Threads of one child on a CPU; results depend on it in the last bits.
        max_params: Refuse children with more parameters.
        max_macs: Refuse children with more multiply-adds per input.
        max_memory_mb: Refuse children that would need more memory to train, in MiB, by an
            estimate of weights, gradients, optimiser state and kept activations.
        time_limit: Seconds that building, training and validating one child may take.
        version: Version of the training code that these fields speak to.
    """

    epochs: int = 10
    batch_size: int = 64
    train_images: int | None = None
    optimizer: Optimizer = "adamw"
    peak_lr: float = 0.01
    warmup: float = 0.25
    weight_decay: float = 0.01
    momentum: float = 0.9
    label_smoothing: float = 0.0
    class_weights: ClassWeights = "none"
    augmentation: str = "none"
    bn_images: int = 512
    precision: Precision = "auto"
    threads: int = 1
    max_params: int | None = None
    max_macs: int | None = None
    max_memory_mb: float | None = None
    time_limit: float | None = 3600.0
    version: int = RECIPE_VERSION

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("batch_size", 2), ("threads", 1), ("bn_images", 0)):
            _require(self, name, _whole(getattr(self, name)), "a whole number")
            _require(self, name, getattr(self, name) >= low, f"at least {low}")
        for name, low in (("train_images", 2), ("max_params", 1), ("max_macs", 1)):
            value = getattr(self, name)
            _require(self, name, value is None or _whole(value), "a whole number or None")
            _require(self, name, value is None or value >= low, f"at least {low}, or None")
        for name in ("max_memory_mb", "time_limit"):
            value = getattr(self, name)
            _require(self, name, value is None or _number(value), "a number or None")
            _require(self, name, value is None or value > 0, "above 0, or None")
        for name in ("peak_lr", "weight_decay", "warmup", "label_smoothing", "momentum"):
            _require(self, name, _number(getattr(self, name)), "a number")
        _require(self, "peak_lr", self.peak_lr > 0, "above 0")
        _require(self, "weight_decay", self.weight_decay >= 0, "at least 0")
        for name in ("warmup", "label_smoothing", "momentum"):
            _require(self, name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        _require(self, "augmentation", isinstance(self.augmentation, str), "a name")
        for name, allowed in (
            ("optimizer", get_args(Optimizer)),
            ("class_weights", get_args(ClassWeights)),
            ("precision", get_args(Precision)),
        ):
            _require(self, name, getattr(self, name) in allowed, f"one of {', '.join(allowed)}")
        _require(
            self,
            "version",
            self.version == RECIPE_VERSION,
            f"{RECIPE_VERSION}: this release of nas-gym trains by that version only",
        )

    def replaced(self, changes: Mapping[str, Any]) -> Recipe:
        """A copy with some fields changed.

        Raises:
            ValueError: A field that does not exist, or a value outside its range.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise ValueError(unknown("recipe field", name, known))
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON values."""
        return asdict(self)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _require(recipe: Recipe, name: str, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"recipe field {name} must be {expected}, got {getattr(recipe, name)!r}")
