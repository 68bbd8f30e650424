"""A user's arrays are taken as they are, or refused: labels, axes, splits, constant channels."""

from __future__ import annotations

import random
from typing import Any

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_gym import DataError, Recipe, Task
from nas_gym.tasks import DataWarning, load_task
from nas_gym.tasks.splits import held_out

IMAGES = torch.rand(60, 3, 8, 8)
LABELS = torch.arange(60) % 5


def refused(*words: str, images: Any = IMAGES, labels: Any = LABELS, **options: Any) -> None:
    with pytest.raises(DataError) as caught:
        Task.from_tensors("mine", images, labels, **options)
    assert helpers.is_sentence(caught.value, "'mine'", *words), caught.value


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (torch.rand(60) * 3, "whole"),
        (LABELS + 0.5, "whole"),
        (torch.where(LABELS == 0, torch.nan, LABELS.float()), "whole"),
        (torch.where(LABELS == 0, torch.inf, LABELS.float()), "whole"),
        (LABELS + 1, "the first class is 0"),
        (LABELS + 100, "the first class is 0"),
        (LABELS * 2, "no image has the label 1"),
        (LABELS - 1, "0 or more"),
        (torch.nn.functional.one_hot(LABELS), "argmax(1)"),
        (LABELS[:, None], "one label per image"),
        (LABELS[:-1], "one label per image"),
        (["oak"] * 60, "numbers"),
        (None, "numbers"),
        (np.array([None] * 60), "numbers"),
    ],
)
def test_labels_are_classes_from_0_or_refused(labels: Any, word: str) -> None:
    refused(word, labels=labels)
    if word not in ("the first class is 0", "no image has the label 1", "argmax(1)"):
        refused(test_images=IMAGES, test_labels=labels)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.float(),
        LABELS.to(torch.uint8),
        LABELS.numpy(),
        LABELS.numpy().astype(">i4"),
        LABELS.tolist(),
        (LABELS > 2).bool(),
    ],
)
def test_whole_numbers_of_any_type_are_labels(labels: Any) -> None:
    task = Task.from_tensors("mine", IMAGES, labels)
    assert task.num_classes == int(np.max(np.asarray(labels))) + 1
    assert task.train.labels.dtype == torch.int64


def test_classes_without_images_are_there_when_asked_for() -> None:
    assert Task.from_tensors("mine", IMAGES, LABELS * 2 + 1, num_classes=12).num_classes == 12
    for wrong in (4, 1, 0, -5, 5.0, True, "5"):
        refused(labels=LABELS, num_classes=wrong)


# ---------------------------------------------------------------- images


@pytest.mark.parametrize(
    "shape", [(32, 32, 3), (28, 28, 1), (24, 32, 3), (480, 640, 4), (28, 20, 1), (8, 8, 3)]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_channels_that_come_last_are_refused(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = torch.zeros(4, *shape, dtype=dtype)
    refused("permute(0, 3, 1, 2)", images=images, labels=[0, 1, 0, 1])
    refused("permute(0, 3, 1, 2)", images=images.numpy(), labels=[0, 1, 0, 1])
    Task.from_tensors("mine", images.permute(0, 3, 1, 2), [0, 1, 0, 1])


@pytest.mark.parametrize("shape", [(1, 28, 28), (12, 100, 1), (4, 3, 3), (3, 4, 4), (16, 16, 16)])
def test_channels_that_come_first_are_taken(shape: tuple[int, ...]) -> None:
    task = Task.from_tensors("mine", torch.zeros(4, *shape), [0, 1, 0, 1])
    assert task.input_shape == shape


@pytest.mark.parametrize(
    ("images", "word"),
    [
        (IMAGES.to(torch.complex64), "real"),
        (IMAGES.to_sparse(), "dense"),
        (IMAGES.to("meta"), "dense"),
        ("images.npy", "array of numbers"),
        (np.array(["a"] * 60), "array of numbers"),
        (IMAGES * torch.inf, "finite"),
        (IMAGES.double() * 1e300, "finite"),
        ((IMAGES * 2**30).long(), "lose digits"),
        (IMAGES[:, :, :0], "no images"),
        (IMAGES[..., None], "(N, channels, height, width)"),
    ],
)
def test_images_that_are_none_are_refused(images: Any, word: str) -> None:
    refused(word, images=images)


def test_test_images_are_of_the_same_kind() -> None:
    byte = (IMAGES * 255).to(torch.uint8)
    refused("type and unit", images=byte, test_images=IMAGES, test_labels=LABELS)
    refused("shape", test_images=IMAGES[:, :, 1:], test_labels=LABELS)
    refused("permute", test_images=torch.zeros(60, 32, 32, 3), test_labels=LABELS)


@pytest.mark.parametrize("kind", ["tensor", "array", "grad", "inference", "view"])
def test_a_task_owns_its_data(kind: str) -> None:
    images: Any = torch.rand(60, 1, 8, 8)
    if kind == "array":
        images = images.numpy()
    if kind == "grad":
        images.requires_grad_()
    if kind == "inference":
        with torch.inference_mode():
            images = torch.rand(60, 1, 8, 8)
    if kind == "view":
        images = torch.rand(1, 1, 8, 8).expand(60, 1, 8, 8)
    labels = LABELS.clone()
    task = Task.from_tensors("mine", images, labels, test_images=images, test_labels=labels)
    before = task.train.images.clone(), task.validation.images.clone(), task.open_test().images
    assert not any(t.requires_grad or t.is_inference() for t in before)
    with torch.no_grad(), torch.inference_mode(kind == "inference"):
        (images if kind == "array" else images.detach())[:1] += 100
    labels += 1
    assert torch.equal(task.train.images, before[0])
    assert torch.equal(task.validation.images, before[1])
    assert task.open_test().images.max() < 2
    assert task.open_test().labels.max() == 4


# ---------------------------------------------------------------- splits


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=8),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 100),
)
@pytest.mark.filterwarnings("ignore::nas_gym.tasks.DataWarning")
def test_every_class_of_two_is_trained_and_validated(
    counts: list[int], share: float, seed: int
) -> None:
    labels = torch.tensor([k for k, count in enumerate(counts) for _ in range(count)])
    labels = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]
    if max(counts) == 1:
        with pytest.raises(DataError, match="two images"):
            held_out(labels, share, "mine")
        return
    held = held_out(labels, share, "mine")
    for label, count in enumerate(counts):
        validated = int(held[labels == label].sum())
        assert validated == min(max(1, int(count * share + 1e-9)), count - 1)


def test_a_class_of_one_image_is_told() -> None:
    labels = torch.cat([torch.zeros(50), 1 + torch.arange(50) // 4, torch.tensor([14.0])]).long()
    with pytest.warns(DataWarning, match="1 of 15 classes have a single image"):
        task = Task.from_tensors("mine", torch.rand(101, 1, 8, 8), labels)
    assert sorted(set(task.validation.labels.tolist())) == list(range(14))


@pytest.mark.parametrize("period", [2, 3, 4, 5, 6, 10])
@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 0.5])
def test_what_is_held_out_follows_no_period(period: int, share: float) -> None:
    labels = torch.arange(3).repeat_interleave(300)
    held = held_out(labels, share, "mine")
    place = torch.arange(300).repeat(3) % period
    expected = 900 * share / period
    for phase in range(period):
        assert abs(int(held[place == phase].sum()) - expected) < 5 * expected**0.5
    ranks = [set(held[labels == label].nonzero().view(-1).tolist()) for label in range(3)]
    assert len({frozenset(one) for one in ranks}) == 3  # nor the other classes


def test_the_split_depends_on_the_data_alone() -> None:
    def split(seed: int) -> tuple[str, list[int]]:
        for seed_all in (random.seed, np.random.seed, torch.manual_seed):
            seed_all(seed)
        images = torch.arange(60).view(60, 1, 1, 1).expand(60, 1, 2, 2).to(torch.uint8)
        task = Task.from_tensors("mine", images, LABELS)
        return task.fingerprint, task.validation.images[:, 0, 0, 0].tolist()

    first = split(0)
    assert split(1) == first
    # Written down once: a split that changes between releases would mix results.
    assert first[1] == EXPECTED_SPLIT


EXPECTED_SPLIT = [8, 14, 16, 20, 24, 27, 47, 50, 53, 56]


# ---------------------------------------------------------------- normalisation


def normalised(images: Tensor) -> Tensor:
    task = Task.from_tensors("mine", images, torch.arange(len(images)) % 2)
    mean, scale = task.statistics
    return (images.double() - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(scale).view(
        -1, 1, 1
    )


def bytes_with(value: int, other: int, count: int) -> Tensor:
    images = torch.full((400, 1, 12, 12), value, dtype=torch.uint8)
    images.view(-1)[torch.arange(count) * 97] = other
    return images


@pytest.mark.parametrize(
    "images",
    [
        bytes_with(255, 254, 0),
        bytes_with(255, 254, 1),
        bytes_with(255, 254, 400),
        bytes_with(255, 0, 1),
        bytes_with(0, 0, 0),
        bytes_with(255, 254, 1) / 255,
        bytes_with(255, 254, 1) / 255 * 0 + 0.1,
        torch.full((400, 1, 12, 12), 1e6) + torch.rand(400, 1, 12, 12) * 0.2,
        torch.full((400, 1, 12, 12), 1e8),
        torch.full((400, 1, 12, 12), 0.1) + torch.rand(400, 1, 12, 12) * 1e-8,
    ],
)
def test_nearly_constant_channels_stay_in_bounds(images: Tensor) -> None:
    assert normalised(images).abs().max() < 150


def test_a_channel_with_spread_is_normalised() -> None:
    for images in (torch.rand(400, 2, 8, 8), 1e6 + 1e4 * torch.randn(400, 2, 8, 8)):
        found = normalised(images)
        assert found.mean((0, 2, 3)).abs().max() < 0.2
        assert (found.std((0, 2, 3)) - 1).abs().max() < 0.1


def test_a_transparent_pixel_in_the_held_out_images_changes_no_accuracy() -> None:
    random_ = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    images = torch.randint(0, 60, (400, 4, 12, 12), generator=random_, dtype=torch.uint8)
    for k in range(4):
        images[labels == k, 0, 3 * k : 3 * k + 3] += 120
    images[:, 3] = 255
    held = Task.from_tensors("mine", images, labels).validation.images
    rewards = []
    for value in (255, 254):
        for index in range(400):  # one pixel of every held-out image
            if any(torch.equal(images[index].permute(1, 2, 0), one) for one in held):
                images[index, 3, 0, 0] = value
        task = Task.from_tensors("mine", images, labels, recipe=Recipe(epochs=3, batch_size=32))
        env = gym.make("nas_gym/Custom-v0", task=task)
        env.reset()
        for action in [1, 1, 0, 1, 5, 0, 0, 0, 1, 1, 0, 1] + [0] * 12:
            _, reward, *_ = env.step(action)
        rewards.append(float(reward))
    assert min(rewards) > 0.9


def test_the_statistics_of_the_embedded_digits() -> None:
    mean, scale = load_task("digits").statistics
    assert np.float32(mean[0]) == np.float32(4.871817396313364)
    assert np.float32(scale[0]) == np.float32(6.01475485928954)


def test_the_statistics_of_mnist(data_dir: Any) -> None:
    for name, mean, scale in (
        ("mnist", 33.332771405380335, 78.59014362144558),
        ("fashion_mnist", 72.8834129174397, 89.99898759664782),
    ):
        found = load_task(name, data_dir).statistics
        assert np.float32(found[0][0]) == np.float32(mean)
        assert np.float32(found[1][0]) == np.float32(scale)
