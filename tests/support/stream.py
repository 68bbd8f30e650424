"""A stream task: the next letter, with the network's state carried from batch to batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_gym import Batch, Metric, Recipe, Task

LETTERS, STEPS, STREAMS = 6, 8, 10


@dataclass(frozen=True)
class Text:
    letters: Tensor  # (chunks, streams, STEPS + 1)

    def __len__(self) -> int:
        return len(self.letters)

    def steps(self, size: int) -> int:
        return len(self)

    def batches(self, size: int, random: Any = None, limit: int | None = None) -> Iterator[Batch]:
        for chunk in self.letters[:limit]:
            yield Batch(chunk[:, :-1], chunk[:, 1:])


class Letters(Task):
    name, num_classes, vocabulary, input_shape = "letters", LETTERS, LETTERS, (STEPS,)
    metrics = (Metric("perplexity", up=False),)
    recipe = Recipe(epochs=4, batch_size=STREAMS, peak_lr=0.03, bn_images=0)

    def __init__(self, data_dir: Any = None) -> None:
        random = torch.Generator().manual_seed(0)
        steps = 1 + (torch.rand(STREAMS, 40 * STEPS + 1, generator=random) < 0.2).long()
        text = steps.cumsum(1) % LETTERS  # mostly the next letter, sometimes the one after
        self.text = text.unfold(1, STEPS + 1, STEPS).transpose(0, 1).contiguous()

    def data(self, part: str, recipe: Recipe, device: torch.device, *_: Any) -> Text:
        places = {"train": slice(30), "validation": slice(30, None), "all": slice(None)}[part]
        return Text(self.text[places].to(device))

    def loss(
        self, model: nn.Module, batch: Batch, carry: Any, recipe: Recipe
    ) -> tuple[Tensor, Any]:
        logits, state = model(batch.inputs, carry)
        return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten()), state.detach()

    def score(self, model: nn.Module, data: Any) -> dict[str, float]:
        carry, total = None, 0.0
        for batch in data.batches(STREAMS):
            loss, carry = self.loss(model, batch, carry, self.recipe)
            total += loss.item()
        return {"perplexity": math.exp(total / len(data))}
