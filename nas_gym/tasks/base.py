"""What every task is: data with a fixed split, and all that is particular to them."""

from __future__ import annotations

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from nas_gym.evaluation import Metric
from nas_gym.isolation import isolated
from nas_gym.recipe import Recipe
from nas_gym.tasks.split import DataError

if TYPE_CHECKING:
    from nas_gym.tasks.image_classification import ImageClassification

SCORE_BATCH = 256  # larger batches leave the cache and are slower on a CPU

Part: TypeAlias = Literal["train", "validation", "all"]  # all: both, for a retraining


class Batch(NamedTuple):
    """What one step sees.

    Attributes:
        inputs: What the network takes.
        targets: What it should say.
    """

    inputs: Tensor
    targets: Tensor


class Data(Protocol):
    """Examples on a device, ready to be trained on or scored."""

    def __len__(self) -> int:
        """Number of examples."""

    def steps(self, size: int) -> int:
        """Number of batches of an epoch."""

    def batches(
        self, size: int, random: torch.Generator | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """Batches of ``size`` examples.

        Args:
            size: Examples of a batch.
            random: For an epoch of training: draws the order and what augments; `steps` batches.
                None: all examples in order, as they are, a last smaller batch too.
            limit: The first so many examples only; not beside ``random``.
        """


class Task(ABC):
    """What children are trained for: the form of its inputs, batches, loss and metrics.

    A task of one's own is a subclass of `Classification` (which brings loss and metrics), or of
    this. It needs a `name`, `input_shape`, `num_classes`, `metrics`, `data`, `loss` and `score`;
    what else is here has defaults, and `Tensors` are data in memory. `Task.from_tensors` makes one
    from images in arrays.

    Attributes:
        name: Short name; results are known by the data, whatever it is called.
        num_classes: Number of outputs: classes, words, or values of a regression.
        recipe: The recipe that suits the data, where the user says nothing else.
        vocabulary: Number of tokens, where inputs are tokens; None for numbers.
        classes: Names of the outputs, in their order; empty where they have none.
        augmentations: What `Recipe.augmentation` may be.
        memory_formats: How inputs and weights may lie in memory, the fastest first: where a
            network does not bear one, the next is tried.
    """

    name: str
    num_classes: int
    recipe: Recipe = Recipe()
    vocabulary: int | None = None
    classes: tuple[str, ...] = ()
    augmentations: ClassVar[tuple[str, ...]] = ("none",)
    memory_formats: ClassVar[tuple[torch.memory_format, ...]] = (torch.contiguous_format,)

    @cached_property
    @isolated
    def fingerprint(self) -> str:
        """sha256 over all data of a search and their order; the test set is not looked at."""
        digest = hashlib.sha256()
        plain = replace(self.recipe, train_images=None, augmentation="none")
        for part in ("train", "validation"):
            data = self.data(part, plain, torch.device("cpu"))
            for tensor in itertools.chain.from_iterable(data.batches(SCORE_BATCH)):
                digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: ``(channels, height, width)``, ``(tokens,)``, ..."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[Metric, ...]:
        """What `score` gives; the first is the headline."""

    @abstractmethod
    def data(
        self,
        part: Part,
        recipe: Recipe,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Data:
        """One part of the data on a device; training data are cut and augmented by the recipe."""

    @abstractmethod
    def loss(
        self, model: nn.Module, batch: Batch, carry: Any, recipe: Recipe
    ) -> tuple[Tensor, Any]:
        """The loss of one batch, and what is carried to the next one of the epoch.

        Args:
            model: In training mode.
            batch: What it sees.
            carry: What the batch before gave, detached; None at the start of an epoch.
            recipe: How the child is trained.
        """

    @abstractmethod
    def score(self, model: nn.Module, data: Data) -> dict[str, float]:
        """Every metric over all of some data.

        Args:
            model: In evaluation mode; gradients are off.
            data: What it is scored on.
        """

    def front(self, part: Part = "train") -> Mapping[str, Any]:
        """What turns raw inputs into those of a network, for `nas_gym.child.make_front`.

        Args:
            part: What the network was trained on.
        """
        del part
        return {"name": "identity"}

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that does not fit the task.

        Raises:
            ValueError: The message names the field.
        """
        if recipe.augmentation not in self.augmentations:
            raise ValueError(
                f"recipe field augmentation must be one of {', '.join(self.augmentations)} for "
                f"{self.name}, got {recipe.augmentation!r}"
            )

    @property
    def has_test(self) -> bool:
        """Whether there is a sealed test set."""
        return False

    def open_test(self, device: torch.device) -> Data:
        """Read the sealed test set, raw. Nothing in a search calls this; ``retrain`` does, once.

        Raises:
            DataError: The task has no test set.
        """
        raise DataError(f"the task {self.name!r} has no test set")

    def ship(self, folder: Path | None) -> Callable[[], Task]:
        """What makes this task again in another process.

        Args:
            folder: Where large data may be left for processes of this machine; None where they
                are on other machines too, and all data travel in what is returned (as numpy
                arrays best, whose memory the processes of one machine can share).

        Returns:
            A function without arguments that can be pickled.
        """
        del folder
        return partial(_itself, self)

    @staticmethod
    def from_tensors(name: str, images: Any, labels: Any, **options: Any) -> ImageClassification:
        """A task from images in arrays; see `ImageClassification.from_tensors`."""
        from nas_gym.tasks.image_classification import ImageClassification

        return ImageClassification.from_tensors(name, images, labels, **options)


def _itself(task: Task) -> Task:
    return task
