"""A task: images with a fixed train and validation split, and a test set that stays sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_gym.isolation import isolated
from nas_gym.recipe import Recipe
from nas_gym.tasks.splits import DataError, held_out, interleaved, split_by_class
from nas_gym.tasks.statistics import channel_statistics
from nas_gym.tasks.tensors import as_images, as_labels, check_classes

__all__ = ["DataError", "Split", "Task", "split_by_class"]


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
    @isolated
    def statistics(self) -> tuple[list[float], list[float]]:
        """Per channel of the training images, mean and scale; see `channel_statistics`."""
        return channel_statistics(self.train.images)

    @cached_property
    @isolated
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
    @isolated
    def from_tensors(
        cls,
        name: str,
        images: Tensor | NDArray[Any],
        labels: Tensor | NDArray[Any] | Sequence[int],
        *,
        test_images: Tensor | NDArray[Any] | None = None,
        test_labels: Tensor | NDArray[Any] | Sequence[int] | None = None,
        validation: float = 0.2,
        num_classes: int | None = None,
        recipe: Recipe | None = None,
    ) -> Self:
        """A task from the user's own data, of which it takes a copy.

        Args:
            name: Short name of the task.
            images: ``(N, channels, height, width)`` or ``(N, height, width)``, a tensor or an
                array; uint8 is kept, anything else becomes float32.
            labels: ``(N,)`` class numbers from 0.
            test_images: Images of the sealed test set, in the same form.
            test_labels: Their labels.
            validation: Share of each class that is held out to score children, in (0, 1). It is
                chosen by a hash of the images' order within their class.
            num_classes: Number of classes; None for the largest label plus one, where each of
                them must have an image then.
            recipe: Default recipe; None for `Recipe`'s own defaults.

        Raises:
            DataError: Shapes, types, labels or counts that do not fit.
        """
        data, classes = _labelled(name, images, labels, num_classes)
        share = isinstance(validation, float) and 0 < validation < 1
        if not share:
            raise DataError(f"task {name!r}: validation must be in (0, 1), got {validation!r}")
        if (test_images is None) != (test_labels is None):
            raise DataError(f"task {name!r}: need test images and test labels, or neither")
        open_test = None
        if test_images is not None:
            test, _ = _labelled(name, test_images, test_labels, classes)
            if test.images.shape[1:] != data.images.shape[1:]:
                raise DataError(f"task {name!r}: test images have another shape than the others")
            if test.images.dtype != data.images.dtype:
                raise DataError(
                    f"task {name!r}: test images become {test.images.dtype} and the others "
                    f"{data.images.dtype}: give both in one type and unit"
                )
            open_test = partial(_identity, test)
        held = held_out(data.labels, validation, name)
        train, scored = (
            data.take(interleaved(data.labels, which.nonzero().squeeze(1)))
            for which in (~held, held)
        )
        return cls(name, train, scored, classes, recipe or Recipe(), open_test)

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


def _labelled(name: str, images: Any, labels: Any, num_classes: int | None) -> tuple[Split, int]:
    pixels = as_images(name, images)
    numbers = as_labels(name, labels, len(pixels))
    return Split(pixels, numbers), check_classes(name, numbers, num_classes)


def _identity(split: Split) -> Split:
    return split
