"""What a child costs, counted on the ``meta`` device: nothing is allocated, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_gym.recipe import Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace

# Copies of the weights that training keeps: weight, gradient, and the optimiser's moments.
WEIGHT_COPIES = {"adamw": 4, "sgd": 3}


@dataclass(frozen=True)
class Cost:
    """Size of one child.

    Attributes:
        params: Number of trainable parameters.
        macs: Multiply-adds of one forward pass of one input (matrix products and convolutions;
            what is added or compared element by element is not counted, as is usual).
        memory_mb: Estimate of the memory that training takes, in MiB, at float32; None if it was
            not asked for.
    """

    params: int
    macs: int
    memory_mb: float | None = None

    def over(self, recipe: Recipe) -> str:
        """Which limit of the recipe this exceeds, in one sentence; empty if none."""
        for what, value, limit, unit in (
            ("parameters", self.params, recipe.max_params, ""),
            ("multiply-adds", self.macs, recipe.max_macs, ""),
            ("training memory", self.memory_mb, recipe.max_memory_mb, " MiB"),
        ):
            if value is not None and limit is not None and value > limit:
                return f"{what}: {value:,.0f}{unit}, over the limit of {limit:,.0f}{unit}"
        return ""


def measure(space: SearchSpace, architecture: Architecture, recipe: Recipe) -> Cost:
    """Count a child's parameters, multiply-adds and, where limited, training memory."""
    with torch.device("meta"):
        model = space.build(architecture)
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counter = FlopCounterMode(display=False)
    model.eval()
    with torch.no_grad(), counter:
        model(torch.empty(1, *space.input_shape, device="meta"))
    memory = None
    if recipe.max_memory_mb is not None:
        batch = torch.empty(recipe.batch_size, *space.input_shape, device="meta")
        kept = _kept_for_backward(model.train(), batch)
        memory = (4 * params * WEIGHT_COPIES[recipe.optimizer] + kept) / 2**20
    return Cost(params, counter.get_total_flops() // 2, memory)


def _kept_for_backward(model: nn.Module, batch: Tensor) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, weights aside."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors too, so that no storage address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(batch)
    del output
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
