"""A training that pauses, kept on disk so that it goes on as if it had not."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas_gym._files import write_bytes


@dataclass(frozen=True)
class Checkpoint:
    """The state of a paused training on disk, before batch-norm statistics are recomputed.

    What is damaged is as if it were not there: the training begins anew and comes to the same
    bits.

    Attributes:
        path: The file; None to keep nothing.
        memory_format: How the weights lie in memory.
    """

    path: Path | None
    memory_format: torch.memory_format

    def resume(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        order: torch.Generator,
        device: torch.device,
        until: int,
    ) -> int:
        """Take over what is kept; returns the epochs that are behind it."""
        if self.path is None or not self.path.is_file():
            return 0
        try:
            state = torch.load(self.path, map_location=device, weights_only=True)
            if state["memory_format"] != str(self.memory_format) or state["epochs"] > until:
                return 0
            before = model.state_dict()
            if {k: v.shape for k, v in before.items()} != {
                k: v.shape for k, v in state["model"].items()
            }:
                return 0
            generators = [state[name].cpu() for name in ("order", "torch")]
        except Exception:  # of a damaged file torch raises nearly anything
            return 0
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        order.set_state(generators[0])
        torch.set_rng_state(generators[1])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), device)
        _restore_python(state["python"])
        return int(state["epochs"])

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        order: torch.Generator,
        device: torch.device,
        epochs: int,
    ) -> None:
        """Keep the state after so many epochs."""
        if self.path is None:
            return
        buffer = io.BytesIO()
        state = {
            "epochs": epochs,
            "memory_format": str(self.memory_format),
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "order": order.get_state(),
            "torch": torch.get_rng_state(),
            "python": _python_state(),
        }
        if device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(device)
        torch.save(state, buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(self.path, buffer.getvalue())


def _python_state() -> dict[str, Any]:
    """The generators of Python and numpy, for networks that draw from them, as plain values."""
    version, numbers, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    assert isinstance(keys, np.ndarray)
    return {
        "random": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), place, has_gauss, cached],
    }


def _restore_python(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["random"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, place, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), place, has_gauss, cached))
