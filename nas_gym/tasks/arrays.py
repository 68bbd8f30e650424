"""Arrays of the user's own, taken as they are or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_gym.tasks.split import DataError, Split

EXACT = 2**24  # float32 holds every whole number up to this one


def as_split(name: str, images: Any, labels: Any) -> Split:
    """A copy of labelled images, channels last.

    Args:
        name: The task's, for messages.
        images: ``(N, channels, height, width)`` or ``(N, height, width)`` of any real numbers, as
            tensor, numpy array or nested lists; uint8 is kept, anything else becomes float32.
        labels: ``(N,)`` whole numbers, also as booleans or floats.

    Raises:
        DataError: They are of another form, or would not survive the conversion.
    """
    pixels, numbers = _array(name, "images", images), _array(name, "labels", labels)
    _check_axes(name, pixels.shape)
    if numbers.ndim != 1 or len(numbers) != len(pixels) or pixels.size == 0:
        one_hot = numbers.ndim == 2 and len(numbers) == len(pixels) and numbers.shape[1] > 1
        raise DataError(
            f"task {name!r}: need one label per image, got images {pixels.shape} and labels "
            f"{numbers.shape}{'; turn one-hot labels into class numbers' if one_hot else ''}"
        )
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    pixels = pixels.transpose(0, 2, 3, 1)
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        kept = pixels.astype(np.uint8 if pixels.dtype == np.uint8 else np.float32, order="C")
    _check_pixels(name, pixels, kept)
    return Split(torch.from_numpy(kept), torch.from_numpy(_class_numbers(name, numbers)))


def count_classes(name: str, split: Split, num_classes: int | None) -> int:
    """The number of classes: what the user says, or else one for each label that occurs.

    Raises:
        DataError: Fewer than two, labels outside of it, or labels that do not count up from 0.
    """
    if num_classes is None:
        present = split.labels.unique().tolist()
        count = present[-1] + 1
        if present[0] > 0:
            raise DataError(
                f"task {name!r}: labels are {present[0]} to {present[-1]}: the first class is 0 "
                f"(num_classes={count} would allow a class without images)"
            )
        check_range(name, split, max(2, count))
        missing = next((at for at, label in enumerate(present) if at != label), None)
        if missing is not None or count < 2:
            raise DataError(
                f"task {name!r}: labels must be 0 to {max(2, count) - 1}, and none is "
                f"{count if missing is None else missing}: number the classes without gaps "
                "(num_classes=... would allow a class without images)"
            )
        return int(count)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int | np.integer):
        raise DataError(f"task {name!r}: num_classes must be a whole number, got {num_classes!r}")
    if num_classes < 2:
        raise DataError(
            f"task {name!r}: labels must be 0 to 1 or more, so num_classes at least 2, "
            f"got {num_classes}"
        )
    check_range(name, split, int(num_classes))
    return int(num_classes)


def check_range(name: str, split: Split, num_classes: int) -> None:
    """Raise `DataError` unless all labels are below ``num_classes``."""
    low, high = int(split.labels.min()), int(split.labels.max())
    if low < 0 or high >= num_classes:
        raise DataError(
            f"task {name!r}: labels must be 0 to {num_classes - 1}, got {low} to {high}"
            + (": the first class is 0" if low != 0 else "")
        )


def _array(name: str, what: str, values: Any) -> NDArray[Any]:
    """Values as a numpy array of real numbers, not copied where that can be avoided."""
    try:
        if isinstance(values, list | tuple) and any(isinstance(item, Tensor) for item in values):
            values = torch.stack([torch.as_tensor(item) for item in values])
        if isinstance(values, Tensor):
            if values.layout != torch.strided or values.is_quantized:
                values = values.dequantize() if values.is_quantized else values.to_dense()
            values = values.detach().cpu().resolve_conj().resolve_neg()
            if values.is_floating_point() and values.dtype != torch.float64:
                values = values.float()  # numpy knows neither bfloat16 nor float8
            values = values.numpy()
        array = np.asarray(values)
    except Exception as error:  # torch and numpy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"task {name!r}: {what} are no array of numbers: {reason}") from error
    if array.dtype.kind not in "buif":
        raise DataError(f"task {name!r}: {what} must be real numbers, got dtype {array.dtype}")
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise DataError(f"task {name!r}: some {what} are masked: fill them or leave them out")
    return array


def _check_axes(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) not in (3, 4):
        raise DataError(
            f"task {name!r}: images must be (N, channels, height, width) or (N, height, width), "
            f"got {shape}"
        )
    first, *_, last = shape[1:]
    if len(shape) == 4:
        rest = min(shape[1:3])
        if last <= 4 and last < rest and (rest > 4 or shape[1] == shape[2]):
            raise DataError(
                f"task {name!r}: images must be (N, channels, height, width), yours look like "
                f"(N, height, width, channels), got {shape}: permute(0, 3, 1, 2); if they are "
                f"{last} wide and have {first} channels, swap height and width"
            )
    elif min(first, last) <= 4 < max(first, last):
        raise DataError(
            f"task {name!r}: images {shape} would be grey and {first} x {last}: give "
            "(N, channels, height, width)"
        )


def _check_pixels(name: str, given: NDArray[Any], kept: NDArray[Any]) -> None:
    """Refuse what the conversion to float32 would destroy."""
    if kept.dtype == np.uint8:
        return
    if not np.isfinite(kept).all():
        raise DataError(f"task {name!r}: some pixels are not finite numbers, as float32")
    if given.dtype.kind in "iu" and max(abs(int(given.min())), int(given.max())) > EXACT:
        raise DataError(
            f"task {name!r}: whole numbers beyond {EXACT:,} do not fit into float32: scale them"
        )
    if given.dtype.itemsize > 4 and given.dtype.kind == "f":
        axes = (0, 1, 2)
        lost, spread = np.abs(given - kept).max(axes), given.std(axes)
        if ((lost > 0.1 * spread) & (spread > 1e-12 * np.abs(given).max(axes))).any():
            raise DataError(
                f"task {name!r}: pixels lie so far from 0 that float32 loses their differences: "
                "subtract their mean first"
            )


def _class_numbers(name: str, numbers: NDArray[Any]) -> NDArray[np.int64]:
    if numbers.dtype.kind == "f":
        whole = np.isfinite(numbers) & (numbers == np.floor(numbers))
        if not whole.all():
            raise DataError(
                f"task {name!r}: labels must be whole numbers, got {numbers[~whole][0]}"
            )
    if np.abs(numbers.astype(np.float64)).max() > 2**31:
        raise DataError(f"task {name!r}: labels must count up from 0, got {numbers.max()}")
    return numbers.astype(np.int64)
