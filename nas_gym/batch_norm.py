"""Batch-norm statistics that are those of the training images, each counted once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class _Moments:
    """Count, mean and sum of squared deviations of what a layer saw, per channel."""

    count: int
    mean: Tensor
    squares: Tensor

    def joined(self, other: _Moments) -> _Moments:
        """Of both together (Chan, Golub & LeVeque 1983, eq. 2.1)."""
        count = self.count + other.count
        apart = other.mean - self.mean
        mean = self.mean + apart * (other.count / count)
        between = apart.square() * (self.count * other.count / count)
        return _Moments(count, mean, self.squares + other.squares + between)


@torch.no_grad()
def recompute_batch_norm(
    model: nn.Module,
    batches: Iterable[Any],
    call: Callable[[nn.Module, Any], Any] = lambda model, batch: model(batch),
) -> None:
    """Set every running mean and variance to that of all batches together, of whatever sizes.

    Each batch is normalised by its own statistics on the way, so batches should be about equal.

    Args:
        model: In evaluation mode afterwards.
        batches: Inputs, at least two in each.
        call: Shows a batch to the model.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    model.eval()
    if not norms:
        return
    found: dict[nn.Module, _Moments] = {}

    def note(norm: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        assert isinstance(norm, _BatchNorm)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        count = output.numel() // output.shape[1]
        squares = norm.running_var.double() * (count - 1)
        now = _Moments(count, norm.running_mean.double(), squares)
        found[norm] = found[norm].joined(now) if norm in found else now

    usual = [norm.momentum for norm in norms]
    hooks = [norm.register_forward_hook(note) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0  # what a call leaves behind is what it saw
        norm.train()
    try:
        for batch in batches:
            call(model, batch)
    finally:
        for norm, momentum, hook in zip(norms, usual, hooks, strict=True):
            norm.momentum = momentum
            hook.remove()
        model.eval()
    for norm in norms:
        if norm in found:  # it was asked
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.copy_(found[norm].mean)
            norm.running_var.copy_(found[norm].squares / (found[norm].count - 1))
