"""One picture from a file, as a viewer shows it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_gym.tasks.splits import DataError

BACKGROUND = (255, 255, 255, 255)  # behind what is transparent


def read_picture(file: Path, size: int, channels: int) -> NDArray[np.uint8]:
    """Decode a file: turned as its EXIF tag says, 16 bits scaled to 8, on white, resized.

    Args:
        file: PNG, JPEG, or whatever else Pillow reads.
        size: Height and width of the result (bicubic; the sides' ratio is not kept).
        channels: 3 for colour, 1 for grey.

    Returns:
        ``(size, size, channels)``.

    Raises:
        DataError: The file cannot be read, has several frames, or has pixels that are no colours.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":  # a photograph with its preview
                    raise DataError(f"{file} has {frames} frames or pages: save the one you mean")
                turned = ImageOps.exif_transpose(image)
                plain = _opaque(file, turned).convert("RGB" if channels == 3 else "L")
                return np.asarray(plain.resize((size, size))).reshape(size, size, channels)
    except DataError:
        raise
    except Exception as error:  # of a damaged file Pillow raises nearly anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{file} is no image that can be read: {reason}") from error


def _opaque(file: Path, image: Any) -> Any:
    """The picture with 8 bits a channel, and nothing shining through."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", None)):
        deep = np.asarray(image).astype(np.int64)
        if deep.min() >= 0 and deep.max() <= 65_535:
            return Image.fromarray(((deep + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise DataError(
            f"{file} has pixels of mode {image.mode}, whose black and white are not known: save it "
            "with 8 or 16 bits a channel"
        )
    if image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info:
        above = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", above.size, BACKGROUND), above)
    return image.convert("RGB") if image.mode == "P" else image
