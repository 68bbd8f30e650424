"""A user's arrays as labelled images: taken as they are, or refused in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas_gym.tasks.splits import DataError

EXACT = 2**24  # whole numbers up to here are themselves in float32


def as_images(name: str, images: Any) -> Tensor:
    """``(N, height, width, channels)``, uint8 or float32, in memory of its own.

    Args:
        name: Name of the task, for messages.
        images: ``(N, channels, height, width)`` or ``(N, height, width)``: a tensor or an array.

    Raises:
        DataError: It is something else, or looks like ``(N, height, width, channels)``.
    """
    found = _own(name, "images", images)
    if found.ndim == 3:
        found = found.unsqueeze(1)
    if found.ndim != 4:
        raise DataError(
            f"task {name!r}: images must be (N, channels, height, width) or (N, height, width), "
            f"got {tuple(found.shape)}"
        )
    if 0 in found.shape:
        raise DataError(f"task {name!r}: there are no images in {tuple(found.shape)}")
    if _channels_are_last(tuple(found.shape)):
        raise DataError(
            f"task {name!r}: images must be (N, channels, height, width), yours look like "
            f"(N, height, width, channels), {tuple(found.shape)}: permute(0, 3, 1, 2)"
        )
    if found.is_complex():
        raise DataError(f"task {name!r}: images must be real numbers, got {found.dtype}")
    if found.dtype != torch.uint8:
        if not found.is_floating_point() and int(found.to(torch.int64).abs().max()) > EXACT:
            raise DataError(
                f"task {name!r}: {found.dtype} pixels above {EXACT:,} lose digits as float32: "
                "scale them"
            )
        found = found.float()
        if not bool(found.isfinite().all()):
            raise DataError(f"task {name!r}: some pixels are not finite numbers (as float32)")
    return found.permute(0, 2, 3, 1).contiguous()


def as_labels(name: str, labels: Any, count: int) -> Tensor:
    """``(N,)`` int64 in memory of its own.

    Args:
        name: Name of the task, for messages.
        labels: Whole numbers: a tensor, an array, or a sequence.
        count: Number of images.

    Raises:
        DataError: Another number of labels, or labels that are no whole numbers.
    """
    found = _own(name, "labels", labels)
    if found.ndim == 2 and len(found) == count and found.shape[1] > 1:
        raise DataError(
            f"task {name!r}: labels {tuple(found.shape)} look one-hot; the class numbers are "
            "labels.argmax(1)"
        )
    if found.ndim != 1 or len(found) != count:
        raise DataError(
            f"task {name!r}: need one label per image, got {count} images and labels "
            f"{tuple(found.shape)}"
        )
    if found.is_complex() or (
        found.is_floating_point() and not bool((found.isfinite() & (found == found.round())).all())
    ):
        raise DataError(
            f"task {name!r}: labels must be class numbers, whole and from 0; some are not whole "
            "(a task classifies, it does not predict numbers)"
        )
    return found.long()


def check_classes(name: str, labels: Tensor, num_classes: Any) -> int:
    """The number of classes of training labels.

    Args:
        name: Name of the task, for messages.
        labels: ``(N,)``.
        num_classes: What the user says; None for the largest label plus one, of which every class
            must have an image.

    Raises:
        DataError: Labels and number do not fit.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise DataError(f"task {name!r}: labels must be 0 or more, got {low} to {high}")
    if num_classes is None:
        missing = sorted(set(range(high + 1)) - set(labels.unique().tolist()))
        if low > 0:
            raise DataError(
                f"task {name!r}: labels are {low} to {high}, but the first class is 0: subtract "
                f"{low}, or say num_classes={high + 1} if classes below {low} have no images"
            )
        if missing:
            raise DataError(
                f"task {name!r}: no image has the label {missing[0]} ({len(missing)} of "
                f"{high + 1} classes are without images): number the classes without gaps, or say "
                f"num_classes={high + 1}"
            )
        num_classes = high + 1
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < 2:
        raise DataError(
            f"task {name!r}: need at least 2 classes, got num_classes={num_classes!r} (labels are "
            f"{low} to {high})"
        )
    check_range(name, labels, num_classes)
    return num_classes


def check_range(name: str, labels: Tensor, num_classes: int) -> None:
    """Refuse labels outside of ``[0, num_classes)``.

    Raises:
        DataError: Some are.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"task {name!r}: labels must be 0 to {num_classes - 1}, got {low} to {high}"
        )


def _own(name: str, what: str, values: Any) -> Tensor:
    """A dense copy on the CPU, which nobody else can change."""
    if isinstance(values, Tensor):
        if values.layout != torch.strided or values.is_quantized or values.is_meta:
            raise DataError(f"task {name!r}: {what} must be a dense tensor with values")
        return values.detach().cpu().clone()
    try:
        array = np.array(values)
        if array.dtype.kind not in "biufc":
            raise TypeError
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"task {name!r}: {what} must be a tensor or an array of numbers, got "
            f"{type(values).__name__}"
        ) from error


def _channels_are_last(shape: tuple[int, ...]) -> bool:
    """Whether the last of (N, a, b, c) is one to four channels of an image a x b."""
    _, a, b, c = shape
    if min(a, b) < 8:
        return False
    return c in (3, 4) or (c == 1 and max(a, b) <= 2 * min(a, b))
