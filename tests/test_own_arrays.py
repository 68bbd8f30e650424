"""Images and labels of one's own in memory: taken as they are, or refused in a sentence."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import helpers
import numpy as np
import pytest
import torch

from nas_gym import DataError, ImageClassification, Recipe, Task

CPU = torch.device("cpu")
IMAGES = torch.arange(60 * 8 * 8, dtype=torch.uint8).reshape(60, 1, 8, 8)
LABELS = torch.arange(60) % 3


def make(images: Any = IMAGES, labels: Any = LABELS, **options: Any) -> ImageClassification:
    return Task.from_tensors("mine", images, labels, **options)


def refused(*words: str, **arguments: Any) -> None:
    with pytest.raises(DataError) as caught:
        make(**arguments)
    assert helpers.is_sentence(caught.value, "'mine'", *words), caught.value


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("kind", [
    torch.uint8, torch.int16, torch.int32, torch.float32, torch.float64, torch.bfloat16,
    np.int8, np.uint64, np.float32, list, tuple, "requires_grad",
])  # fmt: skip
def test_whole_numbers_of_any_type_are_labels(kind: Any) -> None:
    labels: Any = LABELS
    if isinstance(kind, torch.dtype):
        labels = LABELS.to(kind)
    elif kind in (list, tuple):
        labels = kind(LABELS.tolist())
    elif kind == "requires_grad":
        labels = LABELS.float().requires_grad_()
    else:
        labels = LABELS.numpy().astype(kind)
    task = make(labels=labels)
    assert task.fingerprint == make().fingerprint
    assert task.train.labels.dtype == torch.int64


def test_booleans_are_two_classes() -> None:
    assert make(labels=LABELS > 0).train.labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize("labels", [
    torch.rand(60, generator=torch.Generator().manual_seed(0)) * 3,
    LABELS + 0.5,
    LABELS.float() / 0,
    LABELS.float() + float("nan"),
    LABELS.double() + 1e-9,
])  # fmt: skip
def test_labels_between_whole_numbers_are_refused(labels: torch.Tensor) -> None:
    refused("labels must be whole numbers", labels=labels)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, ["labels are 1 to 3", "the first class is 0"]),
        (LABELS + 7, ["labels are 7 to 9", "the first class is 0"]),
        (LABELS * 2, ["none is 1", "without gaps"]),
        (LABELS * 1_000_000_000, ["none is 1", "without gaps"]),
        (torch.where(LABELS == 2, 255, LABELS), ["none is 2"]),
        (LABELS - 1, ["labels must be 0 to", "got -1 to 1"]),
        (LABELS * 0, ["labels must be 0 to 1", "none is 1"]),
        (LABELS * 2**40, ["labels must count up from 0"]),
        (torch.nn.functional.one_hot(LABELS), ["one label per image", "one-hot", "class numbers"]),
        (LABELS[:, None], ["one label per image", "(60, 1)"]),
        (LABELS[:59], ["one label per image", "(59,)"]),
        (["ash", "oak", "elm"] * 20, ["labels must be real numbers", "<U3"]),
        ([[0], [1, 2]] * 30, ["labels are no array of numbers"]),
        (LABELS.to(torch.complex64), ["labels must be real numbers", "complex64"]),
        (None, ["labels must be real numbers", "object"]),
        (np.ma.masked_equal(LABELS.numpy(), 2), ["labels are masked"]),
    ],
)  # fmt: skip
def test_labels_that_do_not_count_up_from_0_are_refused(labels: Any, words: list[str]) -> None:
    refused(*words, labels=labels)


def test_classes_without_images_must_be_asked_for() -> None:
    assert make(labels=LABELS + 1, num_classes=4).num_classes == 4
    assert make(labels=LABELS * 2, num_classes=5).num_classes == 5
    assert make(num_classes=np.int64(10)).num_classes == 10


@pytest.mark.parametrize("classes", [1, 0, -3, True, 3.0, "3", [3], float("nan"), 2])
def test_a_number_of_classes_that_does_not_fit_is_refused(classes: Any) -> None:
    refused("must be", num_classes=classes)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_labels_of_other_parts_are_checked_alike(part: str) -> None:
    def given(labels: torch.Tensor, images: torch.Tensor = IMAGES) -> dict[str, torch.Tensor]:
        return {f"{part}_images": images, f"{part}_labels": labels}

    refused("labels must be 0 to 2", "1 to 3", "first class is 0", **given(LABELS + 1))
    refused("labels must be whole numbers", **given(LABELS + 0.5))
    refused(part, "another shape", **given(LABELS, IMAGES[..., :7]))
    refused(part, "float32", "uint8", **given(LABELS, IMAGES / 255))
    refused(f"need {part} images and {part} labels", **{f"{part}_labels": LABELS})


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("shape", [
    (32, 32, 3), (28, 28, 1), (16, 16, 4), (28, 28, 2), (32, 48, 3), (48, 32, 1), (8, 8, 4),
    (5, 5, 3), (4, 4, 3),
])  # fmt: skip
@pytest.mark.parametrize("part", ["", "validation_", "test_"])
def test_channels_at_the_end_are_refused(shape: tuple[int, ...], part: str) -> None:
    arguments: dict[str, Any] = {"images": torch.zeros(60, shape[2], *shape[:2])}
    if part:
        arguments[part + "labels"] = LABELS
    arguments[part + "images"] = torch.zeros(60, *shape)
    refused("(N, channels, height, width)", "permute(0, 3, 1, 2)", **arguments)


@pytest.mark.parametrize("shape", [
    (3, 32, 32), (1, 28, 28), (4, 8, 8), (64, 8, 8), (16, 4, 4), (16, 1, 100), (3, 8, 3), (1, 9, 1),
    (2, 3, 4), (3, 4, 5),
])  # fmt: skip
def test_channels_first_are_taken(shape: tuple[int, ...]) -> None:
    assert make(torch.zeros(60, *shape)).input_shape == shape


@pytest.mark.parametrize("shape", [(1024, 3), (3, 1024), (64, 1), (32, 4)])
def test_flat_colour_is_no_grey_picture(shape: tuple[int, ...]) -> None:
    refused("(N, channels, height, width)", str(shape[0]), images=torch.zeros(60, *shape))


# ---------------------------------------------------------------- pixels


@pytest.mark.parametrize("kind", [
    torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int16, torch.int32, torch.bool,
    np.uint16, np.float16, np.int64, np.bool_, list,
])  # fmt: skip
def test_real_numbers_of_any_type_become_float32(kind: Any) -> None:
    plain = IMAGES % 2 if kind in (torch.bool, np.bool_) else IMAGES % 100
    images: Any = plain.tolist() if kind is list else plain.numpy().astype(kind) if not isinstance(
        kind, torch.dtype) else plain.to(kind)  # fmt: skip
    task = make(images)
    assert task.train.images.dtype == torch.float32
    assert task.fingerprint == make(plain.float()).fingerprint


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES.to(torch.complex64), ["images must be real numbers", "complex64"]),
        (IMAGES.int() * 2**20, ["do not fit into float32"]),
        (IMAGES.numpy().astype(np.int64) + 2**62, ["do not fit into float32"]),
        (IMAGES.double() * 1e40, ["not finite"]),
        (IMAGES.double() + 1e12, ["far from 0", "subtract"]),
        (torch.where(IMAGES == 9, torch.nan, 0.0), ["not finite"]),
        (torch.where(IMAGES == 9, torch.inf, 0.0), ["not finite"]),
        (IMAGES[:, :, :0], ["one label per image", "(60, 1, 0, 8)"]),
        (IMAGES.to("meta"), ["images are no array of numbers"]),
        ("images", ["images must be real numbers"]),
        ([IMAGES[0], IMAGES[0, :, 1:]], ["images are no array of numbers"]),
        (np.ma.masked_equal(IMAGES.numpy(), 9), ["images are masked"]),
    ],
)  # fmt: skip
def test_pixels_that_would_not_survive_are_refused(images: Any, words: list[str]) -> None:
    refused(*words, images=images)


def test_a_list_of_tensors_is_stacked() -> None:
    assert make(list(IMAGES)).fingerprint == make().fingerprint


@pytest.mark.parametrize("form", [
    lambda x: x.requires_grad_(),
    lambda x: x.to_sparse(),
    lambda x: x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2),
    lambda x: torch.stack([x, x])[1],
    lambda x: torch.nn.Parameter(x),
])  # fmt: skip
def test_tensors_of_any_kind_are_taken(form: Callable[[torch.Tensor], torch.Tensor]) -> None:
    assert make(form(IMAGES.float())).fingerprint == make(IMAGES.float()).fingerprint


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_later_changes_of_the_callers_arrays_do_not_matter(dtype: type, channels: int) -> None:
    images = np.zeros((60, channels, 8, 8), dtype)
    labels = LABELS.numpy().copy()
    parts = {"validation_images": images, "validation_labels": labels}
    task = make(images, labels, test_images=images, test_labels=labels, **parts)
    images[:], labels[:] = 7, 1
    for split in (task.train, task.validation, task.open_test(CPU)):
        assert split.images.max() == 0
        assert split.labels.tolist().count(1) == 20


# ---------------------------------------------------------------- options


@pytest.mark.parametrize("share", [True, False, 0, 1, 2, "0.2", [0.2], float("nan"), -0.5])
def test_a_share_that_is_none_is_refused(share: Any) -> None:
    refused("validation must be in (0, 1)", validation=share)


def test_a_recipe_may_be_a_mapping_and_must_be_right() -> None:
    assert make(recipe={"epochs": 3}).recipe == Recipe(epochs=3)
    refused("recipe must be", recipe=3)
    refused("epochz", recipe={"epochz": 3})
    with pytest.raises(DataError, match="needs a name"):
        Task.from_tensors("", IMAGES, LABELS)


# ---------------------------------------------------------------- validation


def test_given_validation_images_are_taken_as_they_are() -> None:
    task = make(validation_images=IMAGES[:6] + 1, validation_labels=LABELS[:6])
    assert len(task.train) == 60
    assert torch.equal(task.validation.labels, LABELS[:6])
    assert torch.equal(task.validation.images[..., 0], IMAGES[:6, 0] + 1)


def test_given_validation_images_must_be_of_the_same_classes() -> None:
    given = {"validation_images": IMAGES[:2], "validation_labels": LABELS[:2]}
    refused("same classes", "2", **given)
    refused("not both", validation=0.2, validation_images=IMAGES, validation_labels=LABELS)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.99])
def test_every_class_of_two_trains_and_validates(share: float) -> None:
    labels = torch.cat([torch.zeros(50), 1 + torch.arange(50) // 4]).long()
    task = make(torch.rand(100, 1, 8, 8), labels, validation=share)
    for split in (task.train, task.validation):
        assert split.labels.unique().tolist() == list(range(14))
    assert abs((task.validation.labels == 0).sum() - 50 * share) <= 1


def test_a_class_of_one_image_is_told() -> None:
    labels = torch.cat([LABELS[:58], torch.tensor([3, 4])])
    with pytest.warns(UserWarning, match="'mine': 2 of 5 classes have no validation image"):
        task = make(labels=labels)
    assert task.validation.labels.unique().tolist() == [0, 1, 2]
    assert task.train.labels.unique().tolist() == [0, 1, 2, 3, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make(labels=LABELS, num_classes=9)  # asked for: nothing to be told


@pytest.mark.parametrize("period", [2, 3, 4, 5, 7, 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.5])
def test_held_out_images_fall_into_step_with_no_order(period: int, share: float) -> None:
    views = torch.arange(600) // 2 % period  # of each class, in turn
    images = views.to(torch.uint8)[:, None, None, None].expand(600, 1, 4, 4)
    task = make(images, torch.arange(600) % 2, validation=share)
    for split in (task.train, task.validation):
        found = split.images[:, 0, 0, 0].bincount(minlength=period)
        assert found.min() > 0.2 * len(split) / period


def test_two_classes_are_not_held_out_at_the_same_places() -> None:
    images = (torch.arange(400) // 2).to(torch.uint8)[:, None, None, None].expand(400, 1, 4, 4)
    task = make(images, torch.arange(400) % 2)
    places = [set(task.validation.images[task.validation.labels == c].flatten().tolist())
              for c in (0, 1)]  # fmt: skip
    assert len(places[0] & places[1]) < 20


def test_the_split_is_the_same_for_ever_and_whatever_the_random_state() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    first = make()
    torch.manual_seed(6)
    assert make().fingerprint == first.fingerprint
    assert first.fingerprint == "1c82bb470650bf7a624b914c8b378ab95e1b22612c39519464ee855c08f74fcf"
