"""One child's training: the hot path.

The whole data set lies in memory as one tensor (see `nas_gym.images`), images are channels-last
from end to end, and nothing waits for the device before an epoch is over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from nas_gym.batch_norm import recompute_batch_norm
from nas_gym.cost import measure
from nas_gym.evaluation import Evaluation, Status
from nas_gym.images import Images
from nas_gym.isolation import run_isolated
from nas_gym.own_code import own_code
from nas_gym.recipe import Precision, Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace
from nas_gym.tasks.base import Split, Task

SCORE_BATCH = 256  # larger batches leave the cache and are slower on a CPU


class Diverged(Exception):
    """The loss is no finite number any more."""


class TimeLimitExceeded(Exception):
    """The child took longer than its recipe allows."""


@dataclass(frozen=True)
class Scores:
    """Validation (or, in ``retrain``, test) scores of one network.

    Attributes:
        top1: Accuracy, in [0, 1].
        top5: Top-5 accuracy, in [0, 1]; None where there are at most five classes.
        loss: Mean cross-entropy in nats.
    """

    top1: float
    top5: float | None
    loss: float


@dataclass(frozen=True)
class Trainer:
    """Everything that turns an architecture into an evaluation, on one device.

    Attributes:
        task: The data.
        space: The search space that builds the children.
        recipe: How they are trained; its precision is resolved when the trainer is made.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; ``"auto"`` takes a card if there is one.
    """

    task: Task
    space: SearchSpace
    recipe: Recipe
    device: str = "cpu"

    def __post_init__(self) -> None:
        device = resolve_device(self.device)
        object.__setattr__(self, "device", str(device))
        precision = resolve_precision(self.recipe.precision, device)
        object.__setattr__(self, "recipe", replace(self.recipe, precision=precision))
        size = self.recipe.train_images
        if size is not None and size > len(self.task.train):
            raise ValueError(
                f"recipe field train_images must be at most {len(self.task.train)}, the training "
                f"images of {self.task.name}, got {size}"
            )

    @property
    def context(self) -> dict[str, Any]:
        """What a result depends on beside the architecture and the seed, as JSON."""
        return {
            "data": self.task.fingerprint,
            "search_space": self.space.describe(),
            "recipe": self.recipe.to_dict(),
            "device": torch.device(self.device).type,
            **own_code(search_space=self.space),
        }

    def train(self, architecture: Architecture, seed: int = 0) -> Evaluation:
        """Build, train and validate one child.

        Too large, diverged, out of memory or out of time is a status of the result. Any other
        exception is a bug, in the space or here, and surfaces. The caller's state of torch,
        numpy and Python has no part in it; see `nas_gym.isolation`.
        """
        return run_isolated(
            partial(self._train, architecture, seed),
            seed=seed,
            threads=self.recipe.threads,
            device=self.device,
        )

    def _train(self, architecture: Architecture, seed: int) -> Evaluation:
        started = time.perf_counter()
        try:
            cost = measure(self.space, architecture, self.recipe)
        except (MemoryError, RuntimeError) as error:  # it could be counted on real inputs only
            if not _out_of_memory(error):
                raise
            return Evaluation(architecture, "out_of_memory", seed=seed, detail=_told(error))
        record = Evaluation(architecture, "rejected", params=cost.params, macs=cost.macs, seed=seed)
        if detail := cost.over(self.recipe):
            return replace(record, detail=detail)

        def failed(status: Status, detail: str) -> Evaluation:
            seconds = time.perf_counter() - started
            return replace(record, status=status, detail=detail, seconds=seconds)

        limit = self.recipe.time_limit
        deadline = None if limit is None else started + limit
        try:
            _, scores = train_network(
                self.space, architecture, self.task, self.recipe, self.device, seed, deadline
            )
        except Diverged as error:
            return failed("diverged", str(error))
        except TimeLimitExceeded:
            return failed("timeout", f"took longer than the limit of {limit:g} s")
        except (MemoryError, RuntimeError) as error:
            if not _out_of_memory(error):
                raise
            return failed("out_of_memory", _told(error))
        return replace(
            record,
            status="ok",
            val_accuracy=scores.top1,
            val_top5=scores.top5,
            val_loss=scores.loss,
            seconds=time.perf_counter() - started,
            epochs=self.recipe.epochs,
        )


def train_network(
    space: SearchSpace,
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    device: str,
    seed: int,
    deadline: float | None = None,
) -> tuple[nn.Module, Scores]:
    """Train one network on the task's training images and score it on its validation images.

    The same arguments give the same bits on one machine, whatever the caller's state of torch,
    numpy and Python is; that is left as it was. Images and weights are channels-last; a network
    that does not bear that (one that calls ``view`` behind a convolution) is trained without.

    Raises:
        Diverged: A loss is not finite.
        TimeLimitExceeded: ``time.perf_counter()`` passed ``deadline``.
    """

    def run(channels_last: bool) -> tuple[nn.Module, Scores]:
        once = partial(
            _train_network, space, architecture, task, recipe, device, seed, deadline, channels_last
        )
        return run_isolated(once, seed=seed, threads=recipe.threads, device=device)

    try:
        return run(channels_last=True)
    except RuntimeError as error:
        if _out_of_memory(error):
            raise
        return run(channels_last=False)


def _train_network(
    space: SearchSpace,
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    device: str,
    seed: int,
    deadline: float | None,
    channels_last: bool,
) -> tuple[nn.Module, Scores]:
    where = torch.device(device)
    train = Split(
        task.train.images[: recipe.train_images], task.train.labels[: recipe.train_images]
    )
    images = Images(train, task.statistics, where, recipe.augmentation, channels_last)
    held_out = Images(task.validation, task.statistics, where, channels_last=channels_last)
    model = space.build(architecture).to(where)
    _materialise(model, held_out)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    fit(model, images, recipe, seed, deadline)
    return model, score(model, held_out, recipe.precision)


def _materialise(model: nn.Module, images: Images) -> None:
    """Let lazy modules see an input, as an optimiser needs all weights."""
    if any(nn.parameter.is_lazy(p) for p in (*model.parameters(), *model.buffers())):
        batch, _ = next(images.ordered(SCORE_BATCH))
        model.eval()
        with torch.no_grad():
            model(batch)


def fit(
    model: nn.Module, images: Images, recipe: Recipe, seed: int, deadline: float | None = None
) -> None:
    """Train ``model`` in place; afterwards its batch-norm statistics fit its weights."""
    random = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(model, recipe)
    steps = recipe.epochs * max(1, len(images) // recipe.batch_size)
    step = 0
    model.train()
    for epoch in range(1, recipe.epochs + 1):
        total = torch.zeros((), device=images.labels.device)
        for batch, labels in images.shuffled(recipe.batch_size, random):
            if deadline is not None and time.perf_counter() > deadline:
                raise TimeLimitExceeded
            for group in optimizer.param_groups:
                group["lr"] = recipe.peak_lr * _one_cycle((step + 0.5) / steps, recipe.warmup)
            with _autocast(images.labels.device, recipe.precision):
                loss = F.cross_entropy(model(batch), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
            step += 1
        if not bool(total.isfinite()):  # the one wait for the device
            raise Diverged(f"the training loss is {total.item()} in epoch {epoch}")
    if min(recipe.bn_images, len(images)) >= 2:  # one image has no variance
        with _autocast(images.labels.device, recipe.precision):
            recompute_batch_norm(model, images.even(SCORE_BATCH, recipe.bn_images))


def score(model: nn.Module, images: Images, precision: str) -> Scores:
    """Top-1, top-5 and loss of ``model``, without gradients, in batches of 256.

    Raises:
        Diverged: The loss is not finite.
    """
    device = images.labels.device
    top1, top5, loss = (torch.zeros((), device=device) for _ in range(3))
    classes = 0
    model.eval()
    with torch.inference_mode(), _autocast(device, precision):
        for batch, labels in images.ordered(SCORE_BATCH):
            logits = model(batch).float()
            classes = logits.shape[1]
            best = logits.topk(min(5, classes), dim=1).indices == labels[:, None]
            top1 += best[:, 0].sum()
            top5 += best.sum()
            loss += F.cross_entropy(logits, labels, reduction="sum")
    count = len(images)
    mean_loss = loss.item() / count
    if mean_loss != mean_loss or mean_loss == float("inf"):
        raise Diverged(f"the validation loss is {mean_loss}")
    return Scores(top1.item() / count, top5.item() / count if classes > 5 else None, mean_loss)


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


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _told(error: BaseException) -> str:
    return (str(error).strip() or "out of memory").splitlines()[0]


def _out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        "can't allocate memory" in str(error)
    )
