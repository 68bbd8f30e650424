"""A token task: sentences of words, padded with 0, whose class is their rarest word."""

from __future__ import annotations

from typing import Any

import torch

from nas_gym import Classification, Recipe, Tensors


class Sentences(Classification):
    name, num_classes, vocabulary, input_shape = "sentences", 3, 20, (12,)
    recipe = Recipe(epochs=3, batch_size=16, peak_lr=0.05)

    def __init__(self, data_dir: Any = None) -> None:
        random = torch.Generator().manual_seed(0)
        words = torch.randint(4, self.vocabulary, (240, *self.input_shape), generator=random)
        self.all = Tensors(words, torch.arange(240) % self.num_classes)
        words[torch.arange(240), torch.randint(8, (240,), generator=random)] = self.all.targets + 1
        words[torch.arange(240) % 2 == 0, 9:] = 0  # padding

    def data(self, part: str, recipe: Recipe, device: torch.device, *_: Any) -> Tensors:
        places = {"train": slice(180), "validation": slice(180, None), "all": slice(None)}[part]
        return Tensors(self.all.inputs[places].to(device), self.all.targets[places].to(device))
