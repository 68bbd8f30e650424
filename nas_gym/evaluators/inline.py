"""Children trained one after the other in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nas_gym.evaluation import Evaluation
from nas_gym.evaluators.base import OnResult, seeds_for
from nas_gym.search_spaces.base import Architecture
from nas_gym.training import Trainer


class InlineEvaluator:
    """Trains here and now: simple, debuggable, and no process to lose.

    Its time limit is looked at between steps only; a child that hangs inside one hangs the run.

    Args:
        trainer: How children are trained.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    @property
    def context(self) -> Mapping[str, Any]:
        """What results depend on: the trainer's task, space, recipe and device."""
        return self.trainer.context

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        seeds: Sequence[int] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Evaluation]:
        """Evaluate a batch, in order; see `Evaluator.evaluate`."""
        results: list[Evaluation] = []
        for index, (architecture, seed) in enumerate(
            zip(architectures, seeds_for(architectures, seeds), strict=True)
        ):
            results.append(self.trainer.train(architecture, seed))
            if on_result is not None:
                on_result(index, results[-1])
        return results

    def close(self) -> None:
        """Nothing is held."""
