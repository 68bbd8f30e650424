"""A regression task: where a bright pixel lies, in pixels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_gym import Batch, Metric, Recipe, Task, Tensors


class Positions(Task):
    name, num_classes, input_shape = "positions", 2, (1, 5, 5)
    metrics = (Metric("rmse", up=False, unit="px"),)
    recipe = Recipe(epochs=8, batch_size=16, peak_lr=0.05)

    def __init__(self, data_dir: Any = None) -> None:
        places = torch.randint(25, (200,), generator=torch.Generator().manual_seed(0))
        self.images = F.one_hot(places, 25).float().view(-1, 1, 5, 5)
        self.targets = torch.stack([places // 5, places % 5], dim=1).float()

    def data(self, part: str, recipe: Recipe, device: torch.device, *_: Any) -> Tensors:
        chosen = {"train": slice(150), "validation": slice(150, None), "all": slice(None)}[part]
        return Tensors(self.images[chosen].to(device), self.targets[chosen].to(device))

    def loss(
        self, model: nn.Module, batch: Batch, carry: Any, recipe: Recipe
    ) -> tuple[Tensor, Any]:
        return F.mse_loss(model(batch.inputs), batch.targets), None

    def score(self, model: nn.Module, data: Any) -> dict[str, float]:
        total = sum(F.mse_loss(model(x), y, reduction="sum").item() for x, y in data.batches(64))
        return {"rmse": (total / (2 * len(data))) ** 0.5}
