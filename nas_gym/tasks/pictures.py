"""Picture files, as a viewer shows them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_gym.tasks.split import DataError, Split

if TYPE_CHECKING:
    from PIL.Image import Image


def read_split(files: Sequence[Path], labels: Tensor, size: int, channels: int) -> Split:
    """Every file as ``size`` x ``size`` pixels; see `read_picture`.

    Raises:
        DataError: One of them cannot be read.
    """
    images: NDArray[Any] = np.empty((len(files), size, size, channels), np.uint8)
    for index, file in enumerate(files):
        pixels = read_picture(file, size, channels)
        if pixels.dtype != images.dtype:  # the first of 16 bits; values stay 0 to 255
            images = images.astype(np.float32, copy=False)
        images[index] = pixels
    return Split(torch.from_numpy(images), labels)


def read_picture(file: Path, size: int, channels: int) -> NDArray[Any]:
    """One picture, ``(size, size, channels)``, turned as its EXIF tag says.

    Palettes, CMYK, YCbCr, HSV, LAB and 1-bit become colour, what is transparent becomes white, of
    16-bit colour the upper 8 bits are taken: uint8. 16-bit grey becomes float32, 0 to 255, and
    loses nothing. Colour profiles are not applied.

    Raises:
        DataError: It is no picture, several (an animation, pages), or its range is not known
            (floating point, 32 bits).
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata; viewers do not mind either
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(file) as image:
                return _pixels(image, size, channels)
        except Exception as error:  # of a damaged file Pillow raises nearly anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{file} is no image that can be read: {reason}") from error


def _pixels(image: Image, size: int, channels: int) -> NDArray[Any]:
    from PIL import Image, ImageOps

    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a photo with previews: the first is the picture
        raise ValueError(f"it holds {frames} pictures (an animation, pages or layers): keep one")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("the range of its floating-point pixels is not known: save it in 8 bits")
    if image.mode.startswith("I"):
        return _deep(image, size, channels)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    image = image.convert("RGB")
    if channels == 1:
        image = image.convert("L")
    return np.asarray(image.resize((size, size))).reshape(size, size, channels)


def _deep(image: Image, size: int, channels: int) -> NDArray[np.float32]:
    """16-bit grey, 0 to 65,535, as 0 to 255."""
    from PIL import Image

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its pixels have 32 bits, of no known range: save it in 8 or 16 bits")
    if "transparency" in image.info:
        raise ValueError("it has 16 bits and a transparent grey: save it in 8 bits")
    scaled = Image.fromarray(values.astype(np.float32) / 257).resize((size, size))
    grey = np.asarray(scaled).clip(0, 255)  # bicubic interpolation overshoots
    return np.repeat(grey[:, :, None], channels, axis=2)
