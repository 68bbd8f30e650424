"""Pictures are read as a viewer shows them, or refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import helpers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from nas_gym import DataError, ImageClassification, from_folder

CPU = torch.device("cpu")
SIDE = 16


def scene() -> NDArray[np.uint8]:
    """Four quarters of their own colour."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:8, :8], pixels[:8, 8:] = (250, 10, 10), (10, 240, 10)
    pixels[8:, :8] = (10, 10, 230)
    return pixels


def folder_of(root: Path, picture: Image.Image, suffix: str = "png", **options: object) -> Path:
    """Two classes of the same picture, in train, val and test."""
    for part in ("train", "val", "test"):
        for name in "ab":
            (root / part / name).mkdir(parents=True)
            for index in range(2):
                file = root / part / name / f"{index}.{suffix}"
                picture.save(file, **options)  # type: ignore[arg-type]
    return root


def pixels(task: ImageClassification) -> NDArray[np.float64]:
    """The picture, having checked that training, validation and test show the same one."""
    parts = [task.train.images, task.validation.images, task.open_test(CPU).images]
    first = parts[0][0]
    assert all((image == first).all() for part in parts for image in part)
    return first.double().numpy()


def read(root: Path, picture: Image.Image, suffix: str = "png", **options: object) -> NDArray:
    return pixels(from_folder(folder_of(root, picture, suffix, **options), size=SIDE))


TURNS = {
    Image.Transpose.FLIP_LEFT_RIGHT: 2,
    Image.Transpose.ROTATE_180: 3,
    Image.Transpose.FLIP_TOP_BOTTOM: 4,
    Image.Transpose.TRANSPOSE: 5,
    Image.Transpose.ROTATE_90: 6,
    Image.Transpose.TRANSVERSE: 7,
    Image.Transpose.ROTATE_270: 8,
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_picture_is_upright(turn: Image.Transpose, suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = TURNS[turn]
    stored = Image.fromarray(scene()).transpose(turn)
    lossless = {"lossless": True} if suffix == "webp" else {}
    quality = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    found = read(tmp_path, stored, suffix, exif=exif, **lossless, **quality)
    assert np.abs(found - scene()).mean() < 4


@pytest.mark.parametrize("kind", ["png", "tif", "big-endian tif", "pgm"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_keeps_its_shades(kind: str, channels: int, tmp_path: Path) -> None:
    shades = np.linspace(0, 65_535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    picture = Image.fromarray(shades.astype(">u2") if kind == "big-endian tif" else shades)
    suffix = kind.split()[-1]
    root = folder_of(tmp_path, picture, suffix)
    if suffix == "pgm":
        for file in root.rglob("*.pgm"):
            file.write_bytes(b"P5 16 16 65535\n" + shades.astype(">u2").tobytes())
    found = pixels(from_folder(root, size=SIDE, channels=channels))
    assert found.shape == (SIDE, SIDE, channels)
    assert found == pytest.approx(np.repeat(shades[:, :, None] / 257, channels, 2), abs=0.51)


def test_12_of_16_bits_keep_their_shades(tmp_path: Path) -> None:
    shades = np.linspace(0, 4_095, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    found = read(tmp_path, Image.fromarray(shades))
    assert len(np.unique(found)) > 200


def test_8_and_16_bits_have_one_unit(tmp_path: Path) -> None:
    root = folder_of(tmp_path, Image.new("L", (8, 8), 100))
    for part in ("train", "val"):
        for name in "ab":
            deep = Image.fromarray(np.full((8, 8), 100 * 257, np.uint16))
            deep.save(root / part / name / "1.png")
    assert pixels(from_folder(root, size=4)) == pytest.approx(np.full((4, 4, 3), 100))


def test_16_bit_colour_is_scaled(tmp_path: Path) -> None:
    root = folder_of(tmp_path, Image.fromarray(scene()))
    rows = b"".join(b"\0" + (row.astype(">u2") * 257).tobytes() for row in scene())

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, 2, 0, 0, 0))
    for file in root.rglob("*.png"):
        data = chunk(b"IDAT", zlib.compress(rows))
        file.write_bytes(b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b""))
    assert (pixels(from_folder(root, size=SIDE)) == scene()).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(mode: str, channels: int, tmp_path: Path) -> None:
    hidden = np.zeros((SIDE, SIDE, 4), np.uint8)
    hidden[:8] = (7, 7, 7, 255)
    hidden[8:, :8] = (200, 0, 90, 0)  # noise that no viewer shows
    picture = Image.fromarray(hidden)
    if mode == "P":
        index = np.ones((SIDE, SIDE), np.uint8)
        index[8:] = 2
        picture = Image.fromarray(index)
        picture.putpalette([90, 90, 90, 7, 7, 7, 200, 0, 90])
        root = folder_of(tmp_path, picture.convert("P"), transparency=2)
    else:
        root = folder_of(tmp_path, picture.convert(mode))
    found = pixels(from_folder(root, size=SIDE, channels=channels))
    assert (found[:6] == 7).all()
    assert (found[10:] == 255).all()


@pytest.mark.parametrize(
    ("mode", "key"), [("L", 0), ("RGB", (0, 0, 0)), ("1", 0), ("P", b"\0\xff")]
)
def test_one_transparent_colour_is_white(mode: str, key: object, tmp_path: Path) -> None:
    picture = Image.fromarray(np.eye(SIDE, dtype=bool)).convert(mode)
    if mode == "P":
        picture = Image.fromarray(np.eye(SIDE, dtype=np.uint8)).convert("P")
        picture.putpalette([0, 0, 0, 255, 255, 255])
    assert (read(tmp_path, picture, transparency=key) == 255).all()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_turned_too(suffix: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    shades = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 257
    found = read(tmp_path, Image.fromarray(shades[::-1, ::-1].copy()), suffix, exif=exif)
    assert (found[:, :, 0] == shades // 257).all()


def test_half_transparent_is_half_white(tmp_path: Path) -> None:
    assert read(tmp_path, Image.new("RGBA", (8, 8), (0, 100, 200, 51))) == pytest.approx(
        np.full((SIDE, SIDE, 3), (204, 224, 244)), abs=1
    )


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("CMYK", "jpg"),
        ("CMYK", "tif"),
        ("YCbCr", "tif"),
        ("LAB", "tif"),
        ("P", "gif"),
        ("P", "bmp"),
    ],
)
def test_other_colours_become_rgb(mode: str, suffix: str, tmp_path: Path) -> None:
    plain = Image.new("RGB", (SIDE, SIDE), (200, 40, 90))
    if mode == "LAB":
        from PIL import ImageCms

        space = [ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")]
        picture = ImageCms.profileToProfile(plain, *space, outputMode="LAB")  # type: ignore[arg-type]
        assert picture is not None
    else:
        picture = plain.quantize(4) if mode == "P" else plain.convert(mode)
    found = read(tmp_path, picture, suffix)
    assert found == pytest.approx(np.full((SIDE, SIDE, 3), (200, 40, 90)), abs=9)


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    bits = np.zeros((SIDE, SIDE), bool)
    bits[:8] = True
    found = read(tmp_path, Image.fromarray(bits))
    assert (found[:8] == 255).all()
    assert (found[8:] == 0).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_animations_and_pages_are_refused(suffix: str, part: str, tmp_path: Path) -> None:
    root = folder_of(tmp_path, Image.new("RGB", (8, 8), "red"))
    moving = root / part / "b" / f"moving.{suffix}"
    Image.new("RGB", (8, 8), "red").save(
        moving, save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")]
    )
    with pytest.raises(DataError) as caught:
        from_folder(root, size=8).open_test(CPU)
    assert helpers.is_sentence(caught.value, moving, "2 pictures")


def test_a_photo_with_a_preview_is_the_photo(tmp_path: Path) -> None:
    preview = Image.new("RGB", (4, 4), "blue")
    picture = Image.fromarray(scene())
    found = read(tmp_path, picture, "mpo", save_all=True, append_images=[preview], quality=95)
    assert np.abs(found - scene()).mean() < 9


@pytest.mark.parametrize("values", [np.float32(0.5), np.int32(-1), np.int32(70_000)])
def test_pixels_of_no_known_range_are_refused(values: np.generic, tmp_path: Path) -> None:
    root = folder_of(tmp_path, Image.new("RGB", (8, 8), "red"))
    odd = root / "train" / "a" / "odd.tif"
    Image.fromarray(np.full((8, 8), values)).save(odd)
    with pytest.raises(DataError) as caught:
        from_folder(root, size=8)
    assert helpers.is_sentence(caught.value, odd, "save it in 8")


@pytest.mark.parametrize("times", [1.5, 3.0])
def test_a_huge_picture_is_one_sentence(
    times: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path, Image.new("RGB", (30, 30), "red"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", int(900 / times))
    with pytest.raises(DataError) as caught:
        from_folder(root, size=8)
    assert helpers.is_sentence(caught.value, root, ".png", "900 pixels")


def test_damaged_metadata_do_not_matter(tmp_path: Path) -> None:
    damaged = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03"
    found = read(tmp_path, Image.new("RGB", (8, 8), "red"), "jpg", exif=damaged)
    assert found[0, 0] == pytest.approx([255, 0, 0], abs=2)
