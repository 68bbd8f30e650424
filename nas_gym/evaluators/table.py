"""Children looked up instead of trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas_gym.evaluation import Evaluation
from nas_gym.evaluators.base import OnResult, seeds_for
from nas_gym.own_code import own_code
from nas_gym.search_spaces.base import Architecture, SearchSpace


class TableEvaluator:
    """Answers from a function (or a table behind one): for benchmarks and for tests of agents.

    Args:
        look_up: From an architecture and a seed to its validation accuracy in [0, 1], or to a
            whole `Evaluation`.
        name: What the table is called; results are stored under it.
        space: The search space of the table, for the record.
    """

    def __init__(
        self,
        look_up: Callable[[Architecture, int], float | Evaluation],
        name: str = "table",
        space: SearchSpace | None = None,
    ) -> None:
        self.look_up = look_up
        self.name = name
        self.space = space

    @property
    def context(self) -> Mapping[str, Any]:
        """The table's name, its space where that is known, and the user's own code behind them."""
        known = {} if self.space is None else {"search_space": self.space.describe()}
        code = own_code(look_up=self.look_up, search_space=self.space)
        return {"table": self.name, **known, **code}

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        seeds: Sequence[int] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Evaluation]:
        """Look a batch up, in order; see `Evaluator.evaluate`."""
        results: list[Evaluation] = []
        for index, (architecture, seed) in enumerate(
            zip(architectures, seeds_for(architectures, seeds), strict=True)
        ):
            found = self.look_up(architecture, seed)
            if not isinstance(found, Evaluation):
                found = Evaluation(
                    architecture, "ok", val_accuracy=float(found), seed=seed, source="table"
                )
            results.append(found)
            if on_result is not None:
                on_result(index, found)
        return results

    def close(self) -> None:
        """Nothing is held."""
