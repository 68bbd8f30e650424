"""Classification of images: a fixed train and validation split, and a test set that is sealed."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from nas_gym.isolation import isolated
from nas_gym.recipe import Recipe
from nas_gym.tasks.arrays import as_split, check_range, count_classes
from nas_gym.tasks.base import Part
from nas_gym.tasks.classification import Classification
from nas_gym.tasks.images import Images
from nas_gym.tasks.split import DataError, Split, check_share, hold_out
from nas_gym.tasks.statistics import channel_statistics


@dataclass(frozen=True, eq=False)
class ImageClassification(Classification):
    """Images of one shape in classes, in memory as one tensor.

    The training images are in class-interleaved order (the first image of every class, the
    second of every class, ...), so that any prefix of them is balanced.

    Attributes:
        name: Short name; results are known by the data, whatever it is called.
        train: What children are trained on.
        validation: What they are scored on during a search.
        num_classes: Number of classes.
        recipe: The recipe that suits the data, where the user says nothing else.
        classes: Their names; None to call them by their numbers.
    """

    augmentations: ClassVar[tuple[str, ...]] = ("none", "crop", "crop_flip")
    memory_formats: ClassVar[tuple[torch.memory_format, ...]] = (
        torch.channels_last,
        torch.contiguous_format,
    )

    name: str
    train: Split
    validation: Split
    num_classes: int
    recipe: Recipe = field(default_factory=Recipe)
    classes: tuple[str, ...] = ()
    _open_test: Callable[[], Split] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        names = tuple(self.classes) or tuple(map(str, range(self.num_classes)))
        if len(names) != self.num_classes or len(set(names)) != len(names):
            raise DataError(
                f"task {self.name!r}: need {self.num_classes} different names of classes, got "
                f"{', '.join(names)}"
            )
        object.__setattr__(self, "classes", names)

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

    @cached_property
    @isolated
    def _all_statistics(self) -> tuple[list[float], list[float]]:
        return channel_statistics(self.train.joined(self.validation).images.numpy())

    def front(self, part: Part = "train") -> Mapping[str, Any]:
        """Each channel is normalised with its mean and deviation over what is trained on."""
        mean, std = self._all_statistics if part == "all" else self.statistics
        return {"name": "normalize", "mean": mean, "std": std}

    def data(
        self,
        part: Part,
        recipe: Recipe,
        device: torch.device,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> Images:
        """See `Task.data`."""
        if part == "validation":
            split, augmentation = self.validation, "none"
        else:
            split = self.train if part == "train" else self.train.joined(self.validation)
            split, augmentation = split.first(recipe.train_images), recipe.augmentation
        statistics = self._all_statistics if part == "all" else self.statistics
        return Images(split, statistics, device, augmentation, memory_format)

    def labels(self, recipe: Recipe) -> Tensor:
        """See `Classification.labels`."""
        return self.train.labels[: recipe.train_images]

    def check(self, recipe: Recipe) -> None:
        """See `Task.check`."""
        super().check(recipe)
        size = recipe.train_images
        if size is not None and size > len(self.train):
            raise ValueError(
                f"recipe field train_images must be at most {len(self.train)}, the training "
                f"images of {self.name}, got {size}"
            )

    @property
    def has_test(self) -> bool:
        """Whether there is a sealed test set."""
        return self._open_test is not None

    def open_test(self, device: torch.device) -> Images:
        """See `Task.open_test`; pixels are in the data's own units."""
        if self._open_test is None:
            return super().open_test(device)  # type: ignore[return-value]  # it raises
        test = self._open_test()
        raw = [0.0] * test.images.shape[-1], [1.0] * test.images.shape[-1]
        return Images(test, raw, device, memory_format=torch.contiguous_format)

    def ship(self, folder: Path | None) -> Callable[[], ImageClassification]:
        """See `Task.ship`: the tensors go to a file, which all processes map, or travel as arrays.

        Nothing of the test set is sent.
        """
        if folder is None:
            plain = self._plain()
            for part in ("train", "validation"):
                plain[part] = [tensor.numpy() for tensor in plain[part]]
            return partial(_from_arrays, plain)
        path = folder / "task.pt"
        self.save(path)
        return partial(ImageClassification.load, path)

    @classmethod
    @isolated
    def from_tensors(  # type: ignore[override]
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
        classes: Sequence[str] = (),
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
            classes: Their names; empty to call them by their numbers.
            recipe: Default recipe, or changes to `Recipe`'s defaults; None for these.

        Raises:
            DataError: Shapes, types, labels, counts or options that do not fit.
        """
        if not isinstance(name, str) or not name:
            raise DataError(f"a task needs a name, got {name!r}")
        default = as_recipe(name, recipe)
        share = check_share(name, 0.2 if validation is None else validation)
        data = as_split(name, images, labels)
        count = count_classes(name, data, num_classes)
        given = _part(name, "validation", validation_images, validation_labels, data, count)
        test = _part(name, "test", test_images, test_labels, data, count)
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
        return cls(name, data.take(train), held_out, count, default, tuple(classes), open_test)

    def save(self, path: Path) -> None:
        """Write what a search sees (never the test set) for other processes to map."""
        torch.save(self._plain(), path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Map what `save` wrote: the pages are shared between the processes that do."""
        return cls._from_plain(torch.load(path, mmap=True, weights_only=True))

    def _plain(self) -> dict[str, Any]:
        plain = {f.name: getattr(self, f.name) for f in fields(self) if not f.name.startswith("_")}
        return plain | {
            "train": [self.train.images, self.train.labels],
            "validation": [self.validation.images, self.validation.labels],
            "recipe": self.recipe.to_dict(),
        }

    @classmethod
    def _from_plain(cls, plain: Mapping[str, Any]) -> Self:
        changed = {
            "train": Split(*plain["train"]),
            "validation": Split(*plain["validation"]),
            "recipe": Recipe(**plain["recipe"]),
        }
        return cls(**{**plain, **changed})


def _from_arrays(plain: Mapping[str, Any]) -> ImageClassification:
    """A task on the memory of the arrays, which may be read-only: nothing writes to a split."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        parts = {
            part: [torch.from_numpy(array) for array in plain[part]]
            for part in ("train", "validation")
        }
    return ImageClassification._from_plain({**plain, **parts})


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
