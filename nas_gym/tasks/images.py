"""Batches out of memory: one gather per batch crops and mirrors on the way."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from nas_gym.tasks.base import Batch
from nas_gym.tasks.split import Split


class Images:
    """A split on a device, normalised and augmented batch by batch.

    Args:
        split: The labelled images.
        statistics: Per-channel mean and standard deviation to normalise with.
        device: Where batches are needed.
        augmentation: As in `Recipe`.
        memory_format: How batches lie in memory.
    """

    def __init__(
        self,
        split: Split,
        statistics: tuple[list[float], list[float]],
        device: torch.device,
        augmentation: str = "none",
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        self.memory_format = memory_format
        self.height, self.width = split.images.shape[1:3]
        self.labels = split.labels.to(device)
        images = split.images.to(device)
        self.pad = (0, 0)
        self.mirror = augmentation == "crop_flip"
        if augmentation != "none":
            self.pad = (max(1, self.height // 8), max(1, self.width // 8))
            images = F.pad(images, (0, 0, self.pad[1], self.pad[1], self.pad[0], self.pad[0]))
        self.images = images
        mean, std = (torch.tensor(values, device=device) for values in statistics)
        self.scale, self.shift = 1 / std, -mean / std
        self.rows = torch.arange(self.height, device=device)
        self.columns = torch.arange(self.width, device=device)

    def __len__(self) -> int:
        return len(self.labels)

    def steps(self, size: int) -> int:
        """Batches of an epoch; a last, smaller one is left out, unless it is all there is."""
        return max(1, len(self) // size)

    def batches(
        self, size: int, random: torch.Generator | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `nas_gym.tasks.Data.batches`."""
        if random is not None:
            yield from self._shuffled(size, random)
            return
        top, left = self.pad
        plain = self.images[:limit, top : top + self.height, left : left + self.width]
        images = map(self._normalised, plain.split(size))
        yield from map(Batch, images, self.labels[:limit].split(size))

    def _shuffled(self, size: int, random: torch.Generator) -> Iterator[Batch]:
        count, device = len(self), self.labels.device
        order = torch.randperm(count, generator=random).to(device)
        draws = [
            torch.randint(high, (count,), generator=random).to(device)
            for high in (2 * self.pad[0] + 1, 2 * self.pad[1] + 1, 2)
        ]
        for start in range(0, max(1, count - size + 1), size):
            chosen = order[start : start + size]
            if self.pad == (0, 0):
                images = self.images[chosen]
            else:
                top, left, flip = (draw[start : start + size, None] for draw in draws)
                rows = top + self.rows
                columns = left + self.columns
                if self.mirror:
                    columns = torch.where(flip == 1, columns.flip(1), columns)
                images = self.images[chosen[:, None, None], rows[:, :, None], columns[:, None]]
            yield Batch(self._normalised(images), self.labels[chosen])

    def _normalised(self, images: Tensor) -> Tensor:
        # (N, H, W, C) seen as (N, C, H, W) is channels-last, with one channel too
        batch = torch.addcmul(self.shift, images.to(torch.float32), self.scale).permute(0, 3, 1, 2)
        # of one channel `contiguous` would leave the strides of channels-last
        if self.memory_format == torch.channels_last:
            return batch
        return batch.clone(memory_format=self.memory_format)
