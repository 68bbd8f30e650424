"""Recurrent networks, whose state a task carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from nas_gym import Architecture, Decision, SearchSpace


class Recurrent(nn.Module):
    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.embed, self.dropout = nn.Embedding(vocabulary, width), nn.Dropout(dropout)
        self.cell, self.out = nn.GRU(width, width, batch_first=True), nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        hidden, state = self.cell(self.dropout(self.embed(tokens)), state)
        return self.out(hidden), state


@dataclass(frozen=True)
class Cells(SearchSpace):
    name: ClassVar[str] = "cells"
    decisions: ClassVar[Any] = (
        Decision("width", (2, 16), "width"),
        Decision("dropout", (0, 30), "p"),
    )

    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return (choices,)

    def build(self, architecture: Architecture) -> nn.Module:
        self.check(architecture)
        width, dropout = architecture.layers[0]
        return Recurrent(self.vocabulary or 0, width, dropout / 100)
