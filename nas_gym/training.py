"""One child's training: the hot path, the same for every kind of task.

Data lie in memory as tensors, inputs and weights in the memory format that is fastest, and nothing
waits for the device before an epoch is over.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas_gym.batch_norm import recompute_batch_norm
from nas_gym.checkpoint import Checkpoint
from nas_gym.isolation import run_isolated
from nas_gym.recipe import Precision, Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace
from nas_gym.tasks.base import SCORE_BATCH, Data, Part, Task


class Diverged(Exception):
    """The loss, or a score, is no finite number any more."""


class TimeLimitExceeded(Exception):
    """The child took longer than its recipe allows."""


@dataclass(frozen=True)
class Job:
    """One training of one network.

    Attributes:
        task: What for.
        space: What builds the network.
        architecture: From what.
        recipe: How; its precision is no ``auto``.
        device: Where.
        seed: Of weights, data order, augmentation and dropout.
        part: What it is trained on.
        until: Epochs after which it pauses and is scored; None for all of the recipe's.
        checkpoint: Where the state of a pause is kept, and looked for; None to train from the
            beginning each time, to the same bits.
        deadline: By ``time.perf_counter()``; None for no limit.
    """

    task: Task
    space: SearchSpace
    architecture: Architecture
    recipe: Recipe
    device: str
    seed: int = 0
    part: Part = "train"
    until: int | None = None
    checkpoint: Path | None = None
    deadline: float | None = None

    @property
    def epochs(self) -> int:
        """How many are trained."""
        return self.recipe.epochs if self.until is None else self.until


def train_network(job: Job) -> tuple[nn.Module, dict[str, float]]:
    """Train one network and score it on the task's validation data.

    The same job gives the same bits on one machine, whatever the caller's state of torch, numpy
    and Python is; that is left as it was. A network that does not bear a memory format of the task
    (one that calls ``view`` behind a convolution on channels-last images) is trained in the next.

    Returns:
        The network in evaluation mode, and its scores by metric.

    Raises:
        Diverged: A loss or a score is not finite.
        TimeLimitExceeded: The deadline has passed.
    """
    *formats, last = job.task.memory_formats

    def run(memory_format: torch.memory_format) -> tuple[nn.Module, dict[str, float]]:
        return run_isolated(
            partial(_train_network, job, memory_format),
            seed=job.seed,
            threads=job.recipe.threads,
            device=job.device,
        )

    for memory_format in formats:
        try:
            return run(memory_format)
        except RuntimeError as error:
            if out_of_memory(error):
                raise
    return run(last)


def _train_network(
    job: Job, memory_format: torch.memory_format
) -> tuple[nn.Module, dict[str, float]]:
    device = torch.device(job.device)
    train, held_out = (
        job.task.data(part, job.recipe, device, memory_format) for part in (job.part, _SCORED)
    )
    model = job.space.build(job.architecture).to(device)
    _materialise(model, held_out)
    model = model.to(memory_format=memory_format)
    fit(model, train, job, Checkpoint(job.checkpoint, memory_format))
    model.eval()
    with torch.inference_mode(), autocast(device, job.recipe.precision):
        scores = job.task.score(model, held_out)
    check_scores(scores)
    return model, scores


_SCORED: Part = "validation"


def check_scores(scores: dict[str, float]) -> None:
    """Refuse what no child with finite weights and outputs gets.

    Raises:
        Diverged: A score is no finite number.
    """
    for name, value in scores.items():
        if not math.isfinite(value):
            raise Diverged(f"the validation {name.replace('_', ' ')} is {value}")


def _materialise(model: nn.Module, data: Data) -> None:
    """Let lazy modules see an input, as an optimiser needs all weights."""
    if any(nn.parameter.is_lazy(p) for p in (*model.parameters(), *model.buffers())):
        batch = next(iter(data.batches(SCORE_BATCH)))
        model.eval()
        with torch.no_grad():
            model(batch.inputs)


def fit(model: nn.Module, data: Data, job: Job, checkpoint: Checkpoint | None = None) -> None:
    """Train ``model`` in place; afterwards its batch-norm statistics fit its weights."""
    recipe, device = job.recipe, torch.device(job.device)
    order = torch.Generator().manual_seed(job.seed)
    optimizer = _optimizer(model, recipe)
    steps = data.steps(recipe.batch_size)
    total_steps = recipe.epochs * steps
    checkpoint = checkpoint or Checkpoint(None, torch.contiguous_format)
    done = checkpoint.resume(model, optimizer, order, device, job.epochs)
    step = done * steps
    model.train()
    for epoch in range(done + 1, job.epochs + 1):
        total = torch.zeros((), device=device)
        carry = None
        for batch in data.batches(recipe.batch_size, order):
            if job.deadline is not None and time.perf_counter() > job.deadline:
                raise TimeLimitExceeded
            for group in optimizer.param_groups:
                group["lr"] = recipe.peak_lr * _one_cycle((step + 0.5) / total_steps, recipe.warmup)
            with autocast(device, recipe.precision):
                loss, carry = job.task.loss(model, batch, carry, recipe)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            step += 1
        if not bool(total.isfinite()):  # the one wait for the device
            raise Diverged(f"the training loss is {total.item()} in epoch {epoch}")
    if job.epochs < recipe.epochs:  # what comes now is of this pause alone
        checkpoint.save(model, optimizer, order, device, job.epochs)
    count = min(recipe.bn_images, len(data))
    if count >= 2:  # one example has no variance
        even = -(-count // -(-count // SCORE_BATCH))  # no batch much smaller than the others
        with autocast(device, recipe.precision):
            batches = data.batches(even, limit=count)
            recompute_batch_norm(model, batches, partial(_forward, job))


def _forward(job: Job, model: nn.Module, batch: Any) -> None:
    job.task.loss(model, batch, None, job.recipe)


def resolve_device(name: str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: The name means nothing here; the message says what would.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cards = torch.cuda.device_count() if str(name).startswith("cuda") else 0
    usable = ["cpu", "auto", *(f"cuda:{index}" for index in range(cards))]
    if name in usable or (name == "cuda" and cards):
        return torch.device(name)
    raise ValueError(f"device {name!r} is not usable here; usable: {', '.join(usable)}")


def resolve_precision(precision: Precision, device: torch.device) -> Precision:
    """``auto`` to the precision that the device is fast in."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    # Whether the processor multiplies bfloat16 itself; emulating it would be slower.
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


def _one_cycle(progress: float, warmup: float) -> float:
    return progress / warmup if progress < warmup else (1 - progress) / (1 - warmup)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    # Decay pulls weights, not biases and normalisation scales.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim > 1]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    decay, momentum = recipe.weight_decay, recipe.momentum
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            groups, recipe.peak_lr, betas=(momentum, 0.99), weight_decay=decay, fused=True
        )
    return torch.optim.SGD(
        groups,
        recipe.peak_lr,
        momentum,
        weight_decay=decay,
        nesterov=momentum > 0,
        fused=True,
    )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision, where a recipe asks for it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is short."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in str(error)
    )
