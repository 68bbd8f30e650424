"""A task: images with a fixed train and validation split, and a test set that stays sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import torch

from nas_gym.isolation import isolated
from nas_gym.recipe import Recipe
from nas_gym.tasks.arrays import as_split, check_range, count_classes
from nas_gym.tasks.split import DataError, Split, check_share, hold_out
from nas_gym.tasks.statistics import channel_statistics

__all__ = ["DataError", "Split", "Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """What children are trained for.

    The training images are in class-interleaved order (the first image of every class, the
    second of every class, ...), so that any prefix of them is balanced.

    Attributes:
        name: Short name; results are known by the data, whatever it is called.
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
        """Per-channel mean and standard deviation of the training images, to normalise with."""
        return channel_statistics(self.train.images.numpy())

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
        images: Any,
        labels: Any,
        *,
        validation_images: Any = None,
        validation_labels: Any = None,
        test_images: Any = None,
        test_labels: Any = None,
        validation: float | None = None,
        num_classes: int | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
    ) -> Self:
        """A task from the user's own data, which is copied.

        Without validation images some of each class are held out: by a fixed hash of the class and
        of the image's place in it, at least one of two. Near-copies (frames of a film, views of
        one object) are best kept together by giving the validation images.

        Args:
            name: Short name of the task.
            images: ``(N, channels, height, width)`` or ``(N, height, width)`` of finite numbers:
                a tensor, a numpy array or lists. uint8 is kept, anything else becomes float32.
            labels: ``(N,)`` class numbers from 0 without gaps; whole numbers of any type.
            validation_images: Images that children are scored on, in the same form.
            validation_labels: Their labels: every class, and no other.
            test_images: Images of the sealed test set, in the same form.
            test_labels: Their labels.
            validation: Share of each class that is held out to score children, in (0, 1); None
                for 0.2. Not beside validation images.
            num_classes: Number of classes, where some of them have no image; None for the largest
                label plus one.
            recipe: Default recipe, or changes to `Recipe`'s defaults; None for these.

        Raises:
            DataError: Shapes, types, labels, counts or options that do not fit.
        """
        if not isinstance(name, str) or not name:
            raise DataError(f"a task needs a name, got {name!r}")
        default = as_recipe(name, recipe)
        share = check_share(name, 0.2 if validation is None else validation)
        data = as_split(name, images, labels)
        classes = count_classes(name, data, num_classes)
        given = _part(name, "validation", validation_images, validation_labels, data, classes)
        test = _part(name, "test", test_images, test_labels, data, classes)
        if given is None:
            train, held = hold_out(name, data.labels, share)
            held_out = data.take(held)
        else:
            if validation is not None:
                raise DataError(f"task {name!r}: validation is a share or images, not both")
            if differing := set(given.labels.tolist()) ^ set(data.labels.tolist()):
                raise DataError(
                    f"task {name!r}: training and validation images must be of the same classes; "
                    f"only one of them has {min(differing)}"
                )
            (train, _), held_out = hold_out(name, data.labels, 0), given
        open_test = None if test is None else partial(_identity, test)
        return cls(name, data.take(train), held_out, classes, default, open_test)

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


def as_recipe(name: str, recipe: Recipe | Mapping[str, Any] | None) -> Recipe:
    """A task's default recipe: as it is, or from changes to `Recipe`'s defaults.

    Raises:
        DataError: It is neither, or a field is wrong.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe is not None and not isinstance(recipe, Mapping):
        raise DataError(
            f"task {name!r}: recipe must be a Recipe or a mapping of its fields, got {recipe!r}"
        )
    try:
        return Recipe().replaced(recipe or {})
    except ValueError as error:
        raise DataError(f"task {name!r}: {error}") from error


def _part(
    name: str, part: str, images: Any, labels: Any, train: Split, classes: int
) -> Split | None:
    """Validation or test images, where they are given, in the form of the training images."""
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        raise DataError(f"task {name!r}: need {part} images and {part} labels, or neither")
    split = as_split(name, images, labels)
    check_range(name, split, classes)
    if split.images.shape[1:] != train.images.shape[1:]:
        raise DataError(f"task {name!r}: {part} images have another shape than the others")
    if split.images.dtype != train.images.dtype:
        raise DataError(
            f"task {name!r}: {part} images are {split.images.dtype}, the training images "
            f"{train.images.dtype}: give both in the same units and type"
        )
    return split


def _identity(split: Split) -> Split:
    return split
