"""MNIST, Fashion-MNIST and CIFAR-10 through torchvision, checked and held in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas_gym.recipe import Recipe
from nas_gym.tasks.image_classification import ImageClassification
from nas_gym.tasks.split import DataError, Split, split_by_class

# sha256 of the unpacked files. torchvision checks the archives it downloads, never these.
MNIST_FILES = {
    "MNIST": {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738"
        "ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5"
        "333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77"
        "db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351"
        "222c34898ecbeaf847f06e48f7ec33f2",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768"
        "d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294"
        "ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe08"
        "7ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c"
        "5af83dab82d92729df917d7dec38c34",
    },
}

VALIDATION_IMAGES = 5_000  # the last ones of the official training set

# Small enough to search on a few cores; with a card, raise epochs and train_images. Batch size,
# rate and augmentation were the best of six on Fashion-MNIST (5 random architectures, 3 epochs of
# 4,000 images, by validation accuracy): cropping and mirroring cost a short training 3 points.
GREY_RECIPE = Recipe(epochs=4, train_images=8_000, batch_size=32, peak_lr=0.02, max_macs=60_000_000)
CIFAR10_RECIPE = Recipe(
    epochs=8, train_images=10_000, augmentation="crop_flip", max_macs=60_000_000, batch_size=64
)


FASHION = ["T-shirt/top", "trouser", "pullover", "dress", "coat"]
FASHION += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def mnist(data_dir: Path) -> ImageClassification:
    """MNIST (LeCun & Cortes), 28x28 grey: 55,000 train, 5,000 validation, 10,000 sealed."""
    return _task("mnist", "MNIST", data_dir, GREY_RECIPE)


def fashion_mnist(data_dir: Path) -> ImageClassification:
    """Fashion-MNIST (Xiao et al. 2017), 28x28 grey: 55,000 / 5,000 / 10,000 sealed."""
    return _task("fashion_mnist", "FashionMNIST", data_dir, GREY_RECIPE, FASHION)


def cifar10(data_dir: Path) -> ImageClassification:
    """CIFAR-10 (Krizhevsky 2009), 32x32 colour: 45,000 / 5,000 / 10,000 sealed."""
    return _task("cifar10", "CIFAR10", data_dir, CIFAR10_RECIPE, CIFAR10)


def _task(
    name: str, dataset: str, data_dir: Path, recipe: Recipe, classes: Sequence[str] = ()
) -> ImageClassification:
    official = _read(dataset, data_dir, train=True)
    cut = len(official) - VALIDATION_IMAGES
    train = official.take(torch.arange(cut))
    return ImageClassification(
        name=name,
        train=train.take(split_by_class(train.labels, lambda rank: rank >= 0)),
        validation=official.take(torch.arange(cut, len(official))),
        num_classes=10,
        recipe=recipe,
        classes=tuple(classes),
        _open_test=partial(_read, dataset, data_dir, train=False),
    )


def _read(dataset: str, data_dir: Path, *, train: bool) -> Split:
    if dataset in MNIST_FILES:
        _check_files(dataset, data_dir / dataset / "raw", partial="train" if train else "t10k")
    data: Any = _open(dataset, data_dir, train)
    images = torch.from_numpy(np.asarray(data.data))
    if images.ndim == 3:
        images = images.unsqueeze(-1)
    return Split(images, torch.as_tensor(data.targets, dtype=torch.int64))


def _open(dataset: str, data_dir: Path, train: bool) -> Any:
    from torchvision import datasets  # seconds to import, and only these three tasks need it

    make = getattr(datasets, dataset)
    try:
        return make(data_dir, train=train, download=False)
    except RuntimeError:
        pass  # absent or, for CIFAR-10, of another md5
    try:
        return make(data_dir, train=train, download=True)
    except Exception as error:  # whatever the network or the file system says
        raise DataError(
            f"{dataset} is missing or damaged in the data root {data_dir} and could not be "
            f"downloaded ({_first_line(error)}); put torchvision's files there, or name the "
            "folder that has them with --data-dir or NAS_GYM_DATA"
        ) from error


def _check_files(dataset: str, folder: Path, partial: str) -> None:
    """Compare the unpacked files that are there with what they must be."""
    for name, expected in MNIST_FILES[dataset].items():
        path = folder / name
        if name.startswith(partial) and path.is_file():
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != expected:
                raise DataError(
                    f"{path} is damaged: its sha256 is {found[:12]}... and must be "
                    f"{expected[:12]}...; delete it and it is downloaded again"
                )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(":")
