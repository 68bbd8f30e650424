"""Labelled images, and the fixed rules by which they are ordered and held out."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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

    def first(self, count: int | None) -> Split:
        """The first so many images; None for all."""
        return self if count is None else Split(self.images[:count], self.labels[:count])

    def joined(self, other: Split) -> Split:
        """This split followed by another one."""
        return Split(torch.cat([self.images, other.images]), torch.cat([self.labels, other.labels]))


def split_by_class(labels: Tensor, keep: Callable[[NDArray[Any]], NDArray[Any]]) -> Tensor:
    """Indices of the images to keep, in class-interleaved order; no randomness.

    Args:
        labels: ``(N,)`` class numbers.
        keep: From the ranks of a class's images, ``(n,)``, to a boolean ``(n,)``.
    """
    groups = _by_class(labels.numpy())
    return _interleaved(members[keep(np.arange(len(members)))] for members in groups)


def hold_out(name: str, labels: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Indices of the images that train and of those that validate, both class-interleaved.

    The ranks of a class that validate are those with the smallest sha256 of "rank/class": they
    fall into step with no order of files, and are the same everywhere. They are the share of the
    class, rounded, but at least one and not all. An image that is alone in its class trains, and a
    warning says so.

    Args:
        name: The task's, for messages.
        labels: ``(N,)`` class numbers.
        share: In (0, 1), or 0 where the validation images are given.

    Raises:
        DataError: No class has two images.
    """
    train, held, alone = [], [], 0
    for members in _by_class(labels.numpy()):
        number, count = int(labels[members[0]]), len(members)
        hashes = [hashlib.sha256(f"{rank}/{number}".encode()).digest() for rank in range(count)]
        chosen = sorted(range(count), key=hashes.__getitem__)[: _share_of(count, share)]
        validates = np.isin(np.arange(count), chosen)
        train.append(members[~validates])
        held.append(members[validates])
        alone += count == 1
    if share and alone == len(train):
        raise DataError(
            f"task {name!r}: no class has enough images to validate on {share:g} of them; a class "
            "needs two"
        )
    if share and alone:
        warnings.warn(
            f"task {name!r}: {alone} of {len(train)} classes have no validation image, as they "
            "have one image each; accuracy says nothing of them",
            stacklevel=3,
        )
    return _interleaved(train), _interleaved(held)


def check_share(name: str, share: Any) -> float:
    """The share of images to hold out.

    Raises:
        DataError: It is no number in (0, 1).
    """
    if not isinstance(share, float | np.floating) or not 0 < share < 1:
        raise DataError(f"task {name!r}: validation must be in (0, 1), got {share!r}")
    return float(share)


def _share_of(count: int, share: float) -> int:
    return min(max(1, int(count * share + 0.5)), count - 1) if share else 0


def _by_class(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of each class that occurs, in the order in which they are given."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)


def _interleaved(groups: Iterable[NDArray[np.int64]]) -> Tensor:
    """The first of each group, the second of each group, ..."""
    groups = list(groups)
    rank = np.concatenate([np.arange(len(group)) for group in groups])
    return torch.from_numpy(np.concatenate(groups)[np.argsort(rank, kind="stable")])
