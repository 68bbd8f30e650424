"""Networks on tokens: the sum of the words, and a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from nas_gym import Architecture, Decision, SearchSpace


class Bag(nn.Module):
    def __init__(self, vocabulary: int, width: int, outputs: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width, padding_idx=0)
        self.out = nn.Linear(width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embed(tokens).sum(1))


@dataclass(frozen=True)
class BagOfWords(SearchSpace):
    name: ClassVar[str] = "bag_of_words"
    decisions: ClassVar[Any] = (Decision("width", (2, 8, 32), "width"),)

    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return (choices,)

    def build(self, architecture: Architecture) -> nn.Module:
        self.check(architecture)
        return Bag(self.vocabulary or 0, architecture.layers[0][0], self.num_classes)
