"""Children that are really trained."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nas_gym.child import save_child
from nas_gym.cost import Cost, measure
from nas_gym.evaluation import Evaluation, Metric, Request, Status
from nas_gym.isolation import run_isolated
from nas_gym.own_code import own_code
from nas_gym.recipe import Recipe
from nas_gym.search_spaces.base import Architecture, SearchSpace
from nas_gym.tasks.base import Part, Task
from nas_gym.training import (
    Diverged,
    Job,
    TimeLimitExceeded,
    out_of_memory,
    resolve_device,
    resolve_precision,
    train_network,
)


@dataclass(frozen=True)
class TrainingSource:
    """Everything that turns an architecture into an evaluation by training, on one device.

    Attributes:
        task: The data, the loss, the metrics.
        space: The search space that builds the children.
        recipe: How they are trained; its precision is resolved when this is made.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; ``"auto"`` takes a card if there is one.
        part: What they are trained on: ``"all"`` is training and validation data, for a
            retraining.
        keep: A folder in which children are kept, each under `place`: what a pause (see
            `Request.until`) leaves to go on from, and the trained network, for `load_child`.
            None: nothing is kept, and a paused child is trained from its beginning again.
    """

    task: Task
    space: SearchSpace
    recipe: Recipe
    device: str = "cpu"
    part: Part = "train"
    keep: Path | None = None

    def __post_init__(self) -> None:
        device = resolve_device(self.device)
        object.__setattr__(self, "device", str(device))
        precision = resolve_precision(self.recipe.precision, device)
        object.__setattr__(self, "recipe", replace(self.recipe, precision=precision))
        self.task.check(self.recipe)

    @property
    def context(self) -> dict[str, Any]:
        """What a result depends on beside the request, as JSON."""
        return {
            "source": "training",
            "data": self.task.fingerprint,
            "search_space": self.space.describe(),
            "recipe": self.recipe.to_dict(),
            "device": torch.device(self.device).type,
            **({} if self.part == "train" else {"part": self.part}),
            **own_code(search_space=self.space, task=self.task),
        }

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the task."""
        return self.task.metrics

    @property
    def time_limit(self) -> float | None:
        """Seconds that one child may take."""
        return self.recipe.time_limit

    def __call__(self, request: Request) -> Evaluation:
        """Build, train and validate one child.

        Too large, diverged, out of memory or out of time is a status of the result. Any other
        exception is a bug, in the space, the task or here, and surfaces. The caller's state of
        torch, numpy and Python has no part in it; see `nas_gym.isolation`.
        """
        return run_isolated(
            partial(self._train, request),
            seed=request.seed,
            threads=self.recipe.threads,
            device=self.device,
        )

    def place(self, request: Request) -> Path | None:
        """Where a child is kept; None if it is not."""
        if self.keep is None:
            return None
        return self.keep / request.architecture.key / f"seed{request.seed}"

    @property
    def _checkpoint(self) -> str:
        """The name of a pause's file: one for everything else that a training depends on."""
        context = json.dumps(self.context, sort_keys=True)
        return f"checkpoint-{hashlib.sha256(context.encode()).hexdigest()[:16]}.pt"

    def ship(self, folder: Path | None) -> Callable[[], TrainingSource]:
        """What makes this source again in another process; see `Task.ship`."""
        return partial(
            _make,
            self.task.ship(folder),
            self.space,
            self.recipe,
            self.device,
            self.part,
            self.keep,
        )

    def _train(self, request: Request) -> Evaluation:
        started = time.perf_counter()
        recipe = self.recipe_of(request.architecture)
        if request.until is not None and not 1 <= request.until <= recipe.epochs:
            raise ValueError(
                f"until must be 1 to {recipe.epochs}, the epochs of the recipe, got {request.until}"
            )
        cost = Cost()

        def failed(status: Status, detail: str) -> Evaluation:
            seconds = time.perf_counter() - started
            return Evaluation(request, status, cost=cost.known, seconds=seconds, detail=detail)

        limit = recipe.time_limit
        place = self.place(request)
        try:
            cost = measure(self.space, request.architecture, recipe)
            if detail := cost.over(recipe):
                return Evaluation(request, "rejected", cost=cost.known, detail=detail)
            job = Job(
                self.task,
                self.space,
                request.architecture,
                recipe,
                self.device,
                request.seed,
                self.part,
                request.until,
                None if place is None else place / self._checkpoint,
                None if limit is None else started + limit,
            )
            network, scores = train_network(job)
        except Diverged as error:
            return failed("diverged", str(error))
        except TimeLimitExceeded:
            return failed("timeout", f"took longer than the limit of {limit:g} s")
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            return failed("out_of_memory", _told(error))
        seconds = time.perf_counter() - started
        if place is not None and job.epochs == recipe.epochs:
            save_child(
                place,
                network,
                self.space,
                request.architecture,
                self.task,
                self.part,
                recipe=recipe.to_dict(),
                seed=request.seed,
                seconds=seconds,
            )
        return Evaluation(request, "ok", scores, cost.known, seconds, job.epochs)

    def recipe_of(self, architecture: Architecture) -> Recipe:
        """How one child is trained, where the space has decisions about that."""
        recipe = self.space.recipe(architecture, self.recipe)
        if recipe is self.recipe:
            return recipe
        self.task.check(recipe)
        return replace(
            recipe, precision=resolve_precision(recipe.precision, torch.device(self.device))
        )


def _make(
    task: Callable[[], Task],
    space: SearchSpace,
    recipe: Recipe,
    device: str,
    part: Part,
    keep: Path | None,
) -> TrainingSource:
    return TrainingSource(task(), space, recipe, device, part, keep)


def _told(error: BaseException) -> str:
    return (str(error).strip() or "out of memory").splitlines()[0]
