"""Children that a function answers for: the user's own, or a table's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from nas_gym.evaluation import Evaluation, Metric, Origin, Request
from nas_gym.own_code import own_code
from nas_gym.search_spaces.base import Architecture, SearchSpace

Answer: TypeAlias = float | Mapping[str, float] | Evaluation

SCORE = Metric("score")


@dataclass(frozen=True)
class FunctionSource:
    """Answers from a function of an architecture and a seed.

    Attributes:
        function: Gives the first metric, a mapping of all, or a whole `Evaluation` (of a child
            that failed, or whose cost is known).
        name: What it is called; results are stored under it, and under the code of the function
            where that is the user's own. Empty: what the function is called.
        space: The search space, for the record.
        metrics: What its numbers are; the first is the headline.
        origin: What its answers are marked as: ``"table"`` ones cost nothing to ask for again.
    """

    function: Callable[[Architecture, int], Answer]
    name: str = ""
    space: SearchSpace | None = None
    metrics: tuple[Metric, ...] = (SCORE,)
    origin: Origin = "table"

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", tuple(self.metrics))
        object.__setattr__(self, "name", self.name or _called(self.function))
        if not self.metrics:
            raise ValueError(f"the source {self.name} needs at least one metric")

    @property
    def context(self) -> dict[str, Any]:
        """Its name, the space where that is known, and the user's own code behind them."""
        known = {} if self.space is None else {"search_space": self.space.describe()}
        code = own_code(source=self.function, search_space=self.space)
        return {"source": self.name, **known, **code}

    def __call__(self, request: Request) -> Evaluation:
        """Ask the function.

        Raises:
            ValueError: It gave no number, or not the metrics that it was said to give.
        """
        found = self.function(request.architecture, request.seed)
        if isinstance(found, Evaluation):
            return found
        scores = dict(found) if isinstance(found, Mapping) else {self.metrics[0].name: found}
        for name in {**{metric.name: None for metric in self.metrics}, **scores}:
            if not _finite(scores.get(name)):
                raise ValueError(
                    f"the source {self.name} must give a finite number for {name}, got "
                    f"{scores.get(name)!r} for {request.architecture}"
                )
        plain = {name: float(value) for name, value in scores.items()}
        return Evaluation(request, "ok", plain, origin=self.origin)


def _called(function: Callable[..., Any]) -> str:
    """The name of a function; where several may have one name, with its line."""
    name = str(getattr(function, "__qualname__", type(function).__qualname__))
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
    return f"{name}:{line}" if "<" in name and line is not None else name


def _finite(value: object) -> bool:
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
