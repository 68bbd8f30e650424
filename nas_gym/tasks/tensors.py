"""Data that are two tensors: the simplest kind, for tasks of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas_gym.tasks.base import Batch


@dataclass(frozen=True, eq=False)
class Tensors:
    """Examples in memory, neither changed nor augmented.

    Attributes:
        inputs: ``(N, ...)``: what a network takes.
        targets: ``(N, ...)``: what it should say.
    """

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def steps(self, size: int) -> int:
        """Batches of an epoch; a last, smaller one is left out, unless it is all there is."""
        return max(1, len(self) // size)

    def batches(
        self, size: int, random: torch.Generator | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        """See `nas_gym.tasks.Data.batches`."""
        if random is None:
            yield from map(Batch, self.inputs[:limit].split(size), self.targets[:limit].split(size))
            return
        order = torch.randperm(len(self), generator=random).to(self.targets.device)
        for chosen in order.split(size)[: self.steps(size)]:
            yield Batch(self.inputs[chosen], self.targets[chosen])
