"""What a child costs, counted on the ``meta`` device: nothing is allocated, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas_gym.isolation import run_isolated
from nas_gym.recipe import Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace

# Copies of the weights that training keeps: weight, gradient, and the optimiser's moments.
WEIGHT_COPIES = {"adamw": 4, "sgd": 3}


@dataclass(frozen=True)
class Cost:
    """Size of one child.

    Attributes:
        params: Number of trainable parameters; None where they could not be counted.
        macs: Multiply-adds of one forward pass of one input (matrix products and convolutions;
            what is added or compared element by element is not counted, as is usual); None where
            they could not be counted.
        memory_mb: Estimate of the memory that training takes, in MiB, at float32; None if it was
            not asked for.
    """

    params: int | None = None
    macs: int | None = None
    memory_mb: float | None = None

    @property
    def known(self) -> dict[str, float]:
        """What an evaluation keeps of it."""
        counts = {"params": self.params, "macs": self.macs}
        return {name: value for name, value in counts.items() if value is not None}

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
    """Count a child's parameters, multiply-adds and, where limited, training memory.

    A network that cannot run on the ``meta`` device (``forward`` reads a value, as ``item`` does)
    is counted on two real inputs of zeros; one that cannot run on these is not counted.
    """
    return run_isolated(partial(_measure, space, architecture, recipe))


def _measure(space: SearchSpace, architecture: Architecture, recipe: Recipe) -> Cost:
    for device, inputs, batch_size in (("meta", 1, recipe.batch_size), ("cpu", 2, 2)):
        try:
            return _counted(space, architecture, recipe, device, inputs, batch_size)
        except MemoryError:
            raise
        except Exception as error:  # whatever a network says that finds no values, or zeros
            if device == "cpu" and "allocate memory" in str(error):
                raise
    return Cost()  # if it cannot be trained either, its training says why


def _counted(
    space: SearchSpace,
    architecture: Architecture,
    recipe: Recipe,
    device: str,
    inputs: int,
    batch_size: int,
) -> Cost:
    with torch.device(device):
        model = space.build(architecture)
        batch = space.example(inputs)
    counter = FlopCounterMode(display=False)
    model.eval()
    with counter:
        model(batch)  # before its weights are counted, as lazy modules have none yet
    params = sum(p.numel() for p in model.parameters() if p.requires_grad)
    memory = None
    if recipe.max_memory_mb is not None:
        with torch.device(device):
            batch = space.example(batch_size)
        kept = _kept_for_backward(model.train(), batch) * recipe.batch_size // batch_size
        memory = (4 * params * WEIGHT_COPIES[recipe.optimizer] + kept) / 2**20
    return Cost(params, counter.get_total_flops() // (2 * inputs), memory)


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
