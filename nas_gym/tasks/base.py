"""A task: images with a fixed train and validation split, and a test set that stays sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from nas_gym.recipe import Recipe


class DataError(Exception):
    """Data that is missing, damaged, or not what a task needs. The message is one sentence."""


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images.

    Attributes:
        images: ``(N, height, width, channels)``, uint8 or float32: channels last, as training
            wants them.
        labels: ``(N,)`` int64.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> Split:
        """The images at these positions, in this order."""
        return Split(self.images[indices].contiguous(), self.labels[indices])

    def joined(self, other: Split) -> Split:
        """This split followed by another one."""
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


@dataclass(frozen=True, eq=False)
class Task:
    """What children are trained for.

    The training images are in class-interleaved order (the first image of every class, the
    second of every class, ...), so that any prefix of them is balanced.

    Attributes:
        name: Short name, part of every stored result's identity.
        train: What children are trained on.
        validation: What they are scored on during a search.
        num_classes: Number of classes.
        recipe: The recipe that suits the data, where the user says nothing else.
    """

    name: str
    train: Split
    validation: Split
    num_classes: int
    recipe: Recipe = field(default_factory=Recipe)
    _open_test: Callable[[], Split] | None = field(default=None, repr=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)`` of one image."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width

    @cached_property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Per-channel mean and standard deviation of the training images."""
        mean, std = _channel_statistics(self.train.images)
        return mean.tolist(), std.clamp_min(1e-6).tolist()

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over images, labels and order of both splits; the test set is not looked at."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation):
            digest.update(str((split.images.dtype, tuple(split.images.shape))).encode())
            digest.update(split.images.numpy().data)
            digest.update(split.labels.numpy().data)
        return digest.hexdigest()

    def joined(self) -> Task:
        """This task with the validation images among the training images, for a retraining."""
        return replace(self, train=self.train.joined(self.validation))

    def open_test(self) -> Split:
        """Read the sealed test set. Nothing in a search calls this; ``retrain`` does, once.

        Raises:
            DataError: The task has no test set.
        """
        if self._open_test is None:
            raise DataError(f"the task {self.name!r} has no test set")
        return self._open_test()

    @classmethod
    def from_tensors(
        cls,
        name: str,
        images: Tensor,
        labels: Tensor,
        *,
        test_images: Tensor | None = None,
        test_labels: Tensor | None = None,
        validation: float = 0.2,
        num_classes: int | None = None,
        recipe: Recipe | None = None,
    ) -> Self:
        """A task from the user's own data.

        Args:
            name: Short name of the task.
            images: ``(N, channels, height, width)`` or ``(N, height, width)``; uint8 is kept,
                anything else becomes float32.
            labels: ``(N,)`` class numbers from 0.
            test_images: Images of the sealed test set, in the same form.
            test_labels: Their labels.
            validation: Share of each class that is held out to score children, in (0, 1).
            num_classes: Number of classes; None for the largest label plus one.
            recipe: Default recipe; None for `Recipe`'s own defaults.

        Raises:
            DataError: Shapes, types, labels or counts that do not fit.
        """
        data = _as_split(name, images, labels)
        classes = int(data.labels.max()) + 1 if num_classes is None else num_classes
        _check_labels(name, data, classes)
        if not 0 < validation < 1:
            raise DataError(f"task {name!r}: validation must be in (0, 1), got {validation}")
        held = partial(_held_out, share=validation)
        train, held_out = (
            split_by_class(data.labels, lambda rank: ~held(rank)),
            split_by_class(data.labels, held),
        )
        if len(held_out) == 0:
            raise DataError(
                f"task {name!r}: no class has enough images to validate on {validation:g} of them"
            )
        open_test = None
        if (test_images is None) != (test_labels is None):
            raise DataError(f"task {name!r}: need test images and test labels, or neither")
        if test_images is not None and test_labels is not None:
            test = _as_split(name, test_images, test_labels)
            _check_labels(name, test, classes)
            if test.images.shape[1:] != data.images.shape[1:]:
                raise DataError(f"task {name!r}: test images have another shape than the others")
            open_test = partial(_identity, test)
        return cls(
            name, data.take(train), data.take(held_out), classes, recipe or Recipe(), open_test
        )

    def save(self, path: Path) -> None:
        """Write what a search sees (never the test set) for other processes to map."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        plain |= {
            "train": [self.train.images, self.train.labels],
            "validation": [self.validation.images, self.validation.labels],
            "recipe": self.recipe.to_dict(),
        }
        torch.save(plain, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Map what `save` wrote: the pages are shared between the processes that do."""
        plain: dict[str, Any] = torch.load(path, mmap=True, weights_only=True)
        plain |= {
            "train": Split(*plain["train"]),
            "validation": Split(*plain["validation"]),
            "recipe": Recipe(**plain["recipe"]),
        }
        return cls(**plain)


def split_by_class(labels: Tensor, keep: Callable[[Tensor], Tensor]) -> Tensor:
    """Indices of the images to keep, in class-interleaved order; no randomness.

    Args:
        labels: ``(N,)`` class numbers.
        keep: From the rank of each image within its class, ``(N,)``, to a boolean ``(N,)``.
    """
    rank = torch.zeros_like(labels)
    for label in labels.unique():
        members = labels == label
        rank[members] = torch.arange(int(members.sum()))
    indices = keep(rank).nonzero().squeeze(1)
    order = rank[indices] * (int(labels.max()) + 1) + labels[indices]
    return indices[order.argsort()]


def _channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    total = torch.zeros(images.shape[-1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for chunk in images.split(4096):
        values = chunk.reshape(-1, images.shape[-1]).double()
        total += values.sum(0)
        squares += values.square().sum(0)
    count = images[..., 0].numel()
    mean = total / count
    return mean, (squares / count - mean.square()).clamp_min(0).sqrt()


def _as_split(name: str, images: Tensor, labels: Tensor) -> Split:
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if images.ndim != 4:
        raise DataError(
            f"task {name!r}: images must be (N, channels, height, width) or (N, height, width), "
            f"got {tuple(images.shape)}"
        )
    if labels.ndim != 1 or len(labels) != len(images) or len(images) == 0:
        raise DataError(
            f"task {name!r}: need one label per image, got images {tuple(images.shape)} and "
            f"labels {tuple(labels.shape)}"
        )
    if images.dtype != torch.uint8:
        images = images.float()
        if not bool(images.isfinite().all()):
            raise DataError(f"task {name!r}: some pixels are not finite numbers")
    return Split(images.permute(0, 2, 3, 1).contiguous(), labels.long())


def _check_labels(name: str, split: Split, num_classes: int) -> None:
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes or num_classes < 2:
        raise DataError(
            f"task {name!r}: labels must be 0 to {max(num_classes, 2) - 1}, got {low} to {high}"
        )


def _held_out(rank: Tensor, share: float) -> Tensor:
    """Evenly spread: with a share of 0.2 the fifth, the tenth, ..."""
    return ((rank.double() + 1) * share).floor() > (rank.double() * share).floor()


def _identity(split: Split) -> Split:
    return split
