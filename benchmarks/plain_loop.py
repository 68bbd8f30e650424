"""The training loop that our trainer is compared with, and the steps from one to the other.

`train` with all switches off is an ordinary PyTorch script: a `Dataset` that transforms one PIL
image after the other, a `DataLoader`, channels first, ``loss.item()`` after every batch, and a
validation after every epoch. Every switch replaces one of these by what the trainer does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from nas_gym import Architecture, ImageClassification, Recipe, SearchSpace
from nas_gym.tasks import SCORE_BATCH, Split
from nas_gym.tasks.images import Images

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Switches:
    """What of the trainer the loop has taken over.

    Attributes:
        validate_once: Validate after the last epoch only.
        in_memory: Cut batches out of one tensor instead of a ``DataLoader`` over PIL images.
        no_item: Never ask for the loss within an epoch.
        channels_last: Lay images and weights out channels last.
        fused: Let the optimiser update all weights in one call.
    """

    validate_once: bool = False
    in_memory: bool = False
    no_item: bool = False
    channels_last: bool = False
    fused: bool = False


class PilImages(Dataset[tuple[Tensor, int]]):
    """A split as torchvision's own data sets hand it out: PIL images, transformed one by one."""

    def __init__(self, split: Split, transform: Any) -> None:
        from PIL import Image

        arrays = split.images.squeeze(-1).numpy()
        self.images = [Image.fromarray(array) for array in arrays]
        self.labels = split.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def train(
    space: SearchSpace,
    architecture: Architecture,
    task: ImageClassification,
    recipe: Recipe,
    seed: int,
    switches: Switches,
) -> float:
    """Train one child and give its validation accuracy after the last epoch."""
    torch.manual_seed(seed)
    model = space.build(architecture)
    if switches.channels_last:
        model = model.to(memory_format=torch.channels_last)
    training, validation = _data(task, recipe, switches)
    optimizer = _adamw(model, recipe, switches.fused)
    images = recipe.train_images or len(task.train)
    steps = recipe.epochs * max(1, images // recipe.batch_size)

    def rate(step: int) -> float:
        progress = (step + 0.5) / steps
        return (
            progress / recipe.warmup
            if progress < recipe.warmup
            else ((1 - progress) / (1 - recipe.warmup))
        )

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    random = torch.Generator().manual_seed(seed)
    accuracy = 0.0
    for epoch in range(recipe.epochs):
        model.train()
        running, total = 0.0, torch.zeros(())
        batches: Batches = (
            training.batches(recipe.batch_size, random)
            if isinstance(training, Images)
            else training
        )
        for inputs, labels in batches:
            if not switches.channels_last:
                inputs = inputs.clone(memory_format=torch.contiguous_format)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(inputs), labels, label_smoothing=recipe.label_smoothing)
            loss.backward()
            optimizer.step()
            schedule.step()
            if switches.no_item:
                total += loss.detach()
            else:
                running += loss.item()
        if epoch == recipe.epochs - 1 or not switches.validate_once:
            accuracy = _accuracy(model, validation, switches)
    return accuracy


def _data(
    task: ImageClassification, recipe: Recipe, switches: Switches
) -> tuple[Images | Batches, Images | Batches]:
    train = Split(
        task.train.images[: recipe.train_images], task.train.labels[: recipe.train_images]
    )
    if switches.in_memory:
        cpu = torch.device("cpu")
        return (
            Images(train, task.statistics, cpu, recipe.augmentation),
            Images(task.validation, task.statistics, cpu),
        )
    from torchvision import transforms

    mean, std = ([value / 255 for value in values] for values in task.statistics)
    _, height, width = task.input_shape
    plain = [transforms.ToTensor(), transforms.Normalize(mean, std)]
    augmented: list[Any] = []
    if recipe.augmentation != "none":
        padding = (max(1, width // 8), max(1, height // 8))
        augmented.append(transforms.RandomCrop((height, width), padding))
    if recipe.augmentation == "crop_flip":
        augmented.append(transforms.RandomHorizontalFlip())
    return (
        DataLoader(
            PilImages(train, transforms.Compose(augmented + plain)),
            recipe.batch_size,
            shuffle=True,
            drop_last=len(train) > recipe.batch_size,
        ),
        DataLoader(PilImages(task.validation, transforms.Compose(plain)), SCORE_BATCH),
    )


def _adamw(model: nn.Module, recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        recipe.peak_lr,
        betas=(recipe.momentum, 0.99),
        weight_decay=recipe.weight_decay,
        fused=fused or None,
    )


def _accuracy(model: nn.Module, validation: Images | Batches, switches: Switches) -> float:
    model.eval()
    correct = count = 0
    batches = validation.batches(SCORE_BATCH) if isinstance(validation, Images) else validation
    with torch.no_grad():
        for inputs, labels in batches:
            if not switches.channels_last:
                inputs = inputs.clone(memory_format=torch.contiguous_format)
            correct += int((model(inputs).argmax(1) == labels).sum())
            count += len(labels)
    return correct / count
