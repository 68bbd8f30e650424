"""Layers, and a decision about their training: the learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from nas_gym import Architecture, Decision, Recipe, SearchSpace


@dataclass(frozen=True)
class Dense(SearchSpace):
    name: ClassVar[str] = "dense"
    decisions: ClassVar[Any] = (
        Decision("width", (4, 32), "width"),
        Decision("rate", ("slow", "fast"), "rate"),
    )
    RATES: ClassVar[dict[str, float]] = {"slow": 1e-4, "fast": 0.05}

    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return (choices,)

    def recipe(self, architecture: Architecture, recipe: Recipe) -> Recipe:
        return recipe.replaced({"peak_lr": self.RATES[architecture.layers[0][1]]})

    def build(self, architecture: Architecture) -> nn.Module:
        self.check(architecture)
        inputs, width = int(torch.Size(self.input_shape).numel()), architecture.layers[0][0]
        hidden = nn.Linear(inputs, width)
        return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(width, self.num_classes))
