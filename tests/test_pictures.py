"""Pictures are read as a viewer shows them, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from nas_gym import DataError, from_folder

SIZE = 16
ABOVE = np.zeros((SIZE, SIZE, 3), np.uint8)
ABOVE[: SIZE // 2] = 200  # bright above
ABOVE[:, : SIZE // 4, 0] = 90  # and another colour on the left


def read(folder: Path, channels: int = 3) -> NDArray[np.uint8]:
    """The one picture that both classes of a folder hold, as training sees it."""
    task = from_folder(folder, size=SIZE, channels=channels)
    images = task.train.images.numpy()
    assert (images == images[0]).all()
    return images[0]  # type: ignore[no-any-return]


def save(folder: Path, image: Any, suffix: str = "png", **options: Any) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir(exist_ok=True)
        for index in range(2):
            image.save(folder / name / f"{index}.{suffix}", **options)


# How a picture is stored, by EXIF's tag 274: what brings it back.
TURNED: dict[int, list[Any]] = {
    1: [],
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_270],
}


@pytest.mark.parametrize("tag", TURNED)
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_pictures_stand_as_their_tag_says(tag: int, suffix: str, tmp_path: Path) -> None:
    stored = Image.fromarray(ABOVE)
    for turn in TURNED[tag]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = tag
    save(tmp_path, stored, suffix, exif=exif)
    found = read(tmp_path).astype(int)
    assert found[: SIZE // 2 - 1, SIZE // 2 :].mean() > 150
    assert found[SIZE // 2 + 1 :, SIZE // 2 :].mean() < 50
    assert found[1 : SIZE // 2 - 1, 1, 1].mean() - found[1 : SIZE // 2 - 1, 1, 0].mean() > 60


RAMP = np.linspace(0, 65_535, SIZE * SIZE).reshape(SIZE, SIZE)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_to_eight(suffix: str, channels: int, tmp_path: Path) -> None:
    save(tmp_path, Image.fromarray(RAMP.astype(np.uint16)), suffix)
    expected = np.round(RAMP.astype(np.uint16) / 257.0)
    assert np.abs(read(tmp_path, channels)[..., 0] - expected).max() <= 1


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    save(tmp_path, Image.fromarray(ABOVE).convert("P", palette=Image.Palette.ADAPTIVE), "png")
    assert np.abs(read(tmp_path).astype(int) - ABOVE).max() < 8


def test_ink_becomes_light(tmp_path: Path) -> None:
    save(tmp_path, Image.fromarray(ABOVE).convert("CMYK"), "jpg", quality=95)
    found = read(tmp_path).astype(int)
    assert np.abs(found - ABOVE).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_black_and_white_stay_black_and_white(mode: str, channels: int, tmp_path: Path) -> None:
    half = np.zeros((SIZE, SIZE, 3), np.uint8)
    half[: SIZE // 2] = 255
    save(tmp_path, Image.fromarray(half).convert(mode))
    assert (read(tmp_path, channels) == half[..., :channels]).all()


def hidden() -> Image.Image:
    """Transparent below, where the file keeps a loud colour."""
    pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
    pixels[: SIZE // 2] = 0, 0, 0, 255
    pixels[SIZE // 2 :] = 255, 0, 0, 0
    return Image.fromarray(pixels)


@pytest.mark.parametrize("how", ["RGBA", "LA", "P", "key", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(how: str, channels: int, tmp_path: Path) -> None:
    if how == "key":  # a colour of the file that stands for nothing
        flat = np.asarray(hidden())[..., :3].copy()
        save(tmp_path, Image.fromarray(flat), "png", transparency=(255, 0, 0))
    elif how == "webp":
        save(tmp_path, hidden(), "webp", lossless=True)
    elif how == "P":
        indices = np.zeros((SIZE, SIZE), np.uint8)
        indices[SIZE // 2 :] = 1
        image = Image.new("P", (SIZE, SIZE))
        image.putdata(indices.reshape(-1).tolist())
        image.putpalette([0, 0, 0, 255, 0, 0])
        save(tmp_path, image, "png", transparency=1)
    else:
        save(tmp_path, hidden().convert(how), "png")
    found = read(tmp_path, channels)
    assert (found[: SIZE // 2] == 0).all()
    assert (found[SIZE // 2 :] == 255).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_several_frames_are_refused(suffix: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(ABOVE, step, axis=0)) for step in range(3)]
    save(tmp_path, frames[0], suffix, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="3 frames") as caught:
        from_folder(tmp_path)
    assert helpers.is_sentence(caught.value, f"0.{suffix}")


def test_a_photograph_with_a_preview_in_its_file_is_one_picture(tmp_path: Path) -> None:
    small = Image.fromarray(255 - ABOVE).resize((4, 4))
    save(tmp_path, Image.fromarray(ABOVE), "mpo", save_all=True, append_images=[small])
    assert np.abs(read(tmp_path).astype(int) - ABOVE).mean() < 20


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_without_a_known_white_are_refused(mode: str, tmp_path: Path) -> None:
    kind = np.float32 if mode == "F" else np.int32
    save(tmp_path, Image.fromarray((RAMP * 3).astype(kind)), "tiff")
    with pytest.raises(DataError, match=f"mode {mode}") as caught:
        from_folder(tmp_path)
    assert helpers.is_sentence(caught.value)


def test_a_picture_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, Image.fromarray(ABOVE))
    for limit in (150, 50):  # the library warns over the first and raises over twice that
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="no image") as caught:
            from_folder(tmp_path)
        assert helpers.is_sentence(caught.value, "0.png")
