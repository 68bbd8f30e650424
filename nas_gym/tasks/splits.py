"""Which images train and which validate, by fixed rules and without randomness."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable

import torch
from torch import Tensor


class DataError(Exception):
    """Data that is missing, damaged, or not what a task needs. The message is one sentence."""


class DataWarning(UserWarning):
    """Data that can be used, but not for everything."""


def split_by_class(labels: Tensor, keep: Callable[[Tensor], Tensor]) -> Tensor:
    """Indices of the images to keep, in class-interleaved order; no randomness.

    Args:
        labels: ``(N,)`` class numbers.
        keep: From the rank of each image within its class, ``(N,)``, to a boolean ``(N,)``.
    """
    rank = ranks(labels)
    return interleaved(labels, keep(rank).nonzero().squeeze(1))


def interleaved(labels: Tensor, indices: Tensor) -> Tensor:
    """Indices sorted so that the first image of every class comes before any class's second."""
    order = ranks(labels)[indices] * (int(labels.max()) + 1) + labels[indices]
    return indices[order.argsort()]


def ranks(labels: Tensor) -> Tensor:
    """The place of each image among those of its class, from 0, ``(N,)``."""
    rank = torch.zeros_like(labels)
    for label in labels.unique():
        members = labels == label
        rank[members] = torch.arange(int(members.sum()))
    return rank


def held_out(labels: Tensor, share: float, task: str) -> Tensor:
    """Which images validate: a share of each class, ``(N,)`` booleans.

    They are chosen by a hash of class and rank, so they follow no period of the files' order. Of
    a class with two images or more at least one validates and at least one trains.

    Args:
        labels: ``(N,)`` class numbers.
        share: In (0, 1).
        task: Name of the task, for messages.

    Raises:
        DataError: Every class has one image.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    single = 0
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().squeeze(1)
        count = min(max(1, int(len(members) * share + 1e-9)), len(members) - 1)
        single += count == 0
        order = sorted(range(len(members)), key=lambda rank: _hash(label, rank))
        held[members[order[:count]]] = True
    if not held.any():
        raise DataError(
            f"task {task!r}: no class has two images, so there is nothing to validate on"
        )
    if single:
        warnings.warn(
            f"task {task!r}: {single} of {len(labels.unique())} classes have a single image, which "
            "trains: nothing validates them",
            DataWarning,
            stacklevel=2,
        )
    return held


def _hash(label: int, rank: int) -> bytes:
    return hashlib.sha256(f"{label}/{rank}".encode()).digest()
