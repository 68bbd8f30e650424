"""What *best* means: pure in one evaluation, for one column or several, up or down.

Everything that ranks children ranks them here: the incumbent of a search, the best of a run, what
is retrained, reports and comparisons.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from nas_gym._resolve import resolve, unknown
from nas_gym.evaluation import Evaluation, Metric, Request
from nas_gym.formulas import FORMULAS, check_options
from nas_gym.search_spaces.base import Architecture

COSTS = (Metric("params", up=False), Metric("macs", up=False), Metric("seconds", False, "s"))
WORDS = {"params": "parameters", "macs": "multiply-adds", "seconds": "seconds of training"}

Spec: TypeAlias = str | Mapping[str, Any] | Callable[[Evaluation], float]


@dataclass(frozen=True)
class Column:
    """One thing that an objective looks at.

    Attributes:
        metric: What it is called, and which way is better.
        function: From an evaluation that is ok to the value.
        title: What it is called in a sentence.
    """

    metric: Metric
    function: Callable[[Evaluation], float | None]
    title: str

    def __call__(self, evaluation: Evaluation) -> float | None:
        """The value; None where a child failed, or a source does not know it.

        Raises:
            ValueError: It is no finite number.
        """
        value = self.function(evaluation) if evaluation.ok else None
        if value is None:
            return None
        value = float(value)
        if not math.isfinite(value):
            raise ValueError(f"the objective {self.metric.name} is {value} for {evaluation}")
        return value


@dataclass(frozen=True)
class Objective:
    """What best means.

    Attributes:
        columns: One: its best value is best. Several: what no other child beats in all of them is
            the front; where one child is asked for, it is that of the front which is best in the
            first column.
        tie: Which of equal children is better, by a score; None where the first is.
    """

    columns: tuple[Column, ...]
    tie: Metric | None = None

    @property
    def metric(self) -> Metric:
        """That of the first column."""
        return self.columns[0].metric

    @property
    def title(self) -> str:
        """What it is called in a sentence: ``validation accuracy``."""
        return " and ".join(column.title for column in self.columns)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of all columns."""
        return tuple(column.metric for column in self.columns)

    def value(self, evaluation: Evaluation) -> float | None:
        """The first column of an evaluation, in its own unit and direction."""
        return self.columns[0](evaluation)

    def values(self, evaluation: Evaluation) -> tuple[float | None, ...]:
        """Every column of an evaluation, in its own unit and direction."""
        return tuple(column(evaluation) for column in self.columns)

    def rank(self, evaluation: Evaluation) -> tuple[float, ...]:
        """Sort key, higher is better; what is not ok, or has no value, is below everything."""
        signed = []
        for column in self.columns:
            value = column(evaluation)
            signed.append(-math.inf if value is None else column.metric.sign * value)
        if self.tie is not None:
            tie = evaluation.scores.get(self.tie.name)
            signed.append(-math.inf if tie is None else self.tie.sign * tie)
        return tuple(signed)

    def better(self, evaluation: Evaluation, than: Evaluation | None) -> bool:
        """Whether a child takes the incumbent's place; the first of equals stays."""
        rank = self.rank(evaluation)
        if -math.inf in rank[: len(self.columns)]:
            return False
        return than is None or rank > self.rank(than)


def best(objective: Objective, evaluations: Iterable[Evaluation]) -> Evaluation | None:
    """The best child; None where none has a value."""
    found: Evaluation | None = None
    for evaluation in evaluations:
        if objective.better(evaluation, found):
            found = evaluation
    return found


def incumbents(objective: Objective, evaluations: Iterable[Evaluation]) -> list[Evaluation | None]:
    """The best child after each one."""
    found: Evaluation | None = None
    each = []
    for evaluation in evaluations:
        found = evaluation if objective.better(evaluation, found) else found
        each.append(found)
    return each


def top(objective: Objective, evaluations: Iterable[Evaluation], k: int) -> list[Evaluation]:
    """The best ``k`` architectures, best first, first come first among equals.

    With several columns these are of the front first, by the first column, then of the front of
    the rest, and so on. An architecture that was trained with several seeds is there once, with
    its best.
    """
    ranked = sorted(
        (child for child in evaluations if None not in objective.values(child)),
        key=objective.rank,
        reverse=True,
    )
    seen: dict[Architecture, Evaluation] = {}
    for child in ranked:
        seen.setdefault(child.architecture, child)
    left = list(seen.values())
    if len(objective.columns) == 1:
        return left[:k]
    found: list[Evaluation] = []
    while left and len(found) < k:
        layer = front(objective, left)
        found += layer
        left = [child for child in left if child not in layer]
    return found[:k]


def front(objective: Objective, evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The children that no other one is at least as good as in all columns; of equals the first.

    They come in the order of the first column, best first.
    """
    signs = [metric.sign for metric in objective.metrics]
    points: list[tuple[Evaluation, tuple[float, ...]]] = []
    for child in evaluations:
        values = objective.values(child)
        if None not in values:
            signed = zip(signs, values, strict=True)
            points.append((child, tuple(sign * (value or 0.0) for sign, value in signed)))
    points.sort(key=lambda point: point[1], reverse=True)
    kept: list[tuple[Evaluation, tuple[float, ...]]] = []
    for child, point in points:  # who would dominate this one stands before it
        if not any(all(a >= b for a, b in zip(other, point, strict=True)) for _, other in kept):
            kept.append((child, point))
    return [child for child, _ in kept]


def distinct(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The first answer to each request, in order."""
    first: dict[Request, Evaluation] = {}
    for evaluation in evaluations:
        first.setdefault(evaluation.request, evaluation)
    return list(first.values())


def make_objective(spec: Spec | Sequence[Spec], metrics: Sequence[Metric]) -> Objective:
    """The objective that a keyword value names.

    Args:
        spec: What `make_column` reads, or a list of it.
        metrics: Those of the source.

    Raises:
        ValueError: An unknown name, or options that do not fit.
    """
    specs = columns_of(spec)
    if not specs:
        raise ValueError("an objective needs at least one column")
    columns = tuple(make_column(one, metrics, "objective") for one in specs)
    names = [column.metric.name for column in columns]
    if len(set(names)) < len(names):
        raise ValueError(f"the columns of an objective must differ, got {', '.join(names)}")
    return Objective(columns, next((one for one in metrics if one.name == "loss"), None))


def columns_of(spec: Spec | Sequence[Spec]) -> list[Spec]:
    """The columns that a keyword value names, one for each."""
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        return list(spec)
    return [spec]


def make_column(spec: Spec, metrics: Sequence[Metric], kind: str) -> Column:
    """What a reward or a column of an objective is.

    Args:
        spec: The name of a metric of the source (``"accuracy"``), of a cost (``"params"``,
            ``"macs"``, ``"seconds"``) or of a formula, or ``"module:function"``; a mapping
            with such a ``"name"`` and the function's options; or a function of one's own from an
            evaluation that is ok to a number, of which more is better.
        metrics: Those of the source.
        kind: ``"reward"`` or ``"objective"``, for messages.

    Raises:
        ValueError: An unknown name, a missing option, or one too many.
    """
    if callable(spec):
        name = getattr(spec, "__name__", "")
        metric = Metric(name if name.isidentifier() else kind)
        return Column(metric, spec, metric.title)
    options: dict[str, Any] = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", metrics[0].name)
    known = {metric.name: metric for metric in (*COSTS, *metrics)}
    if name in known:
        if options:
            raise ValueError(f"{kind} {name!r} has no options, got {', '.join(options)}")
        title = WORDS.get(name, f"validation {known[name].title}")
        return Column(known[name], _Read(name), title)
    if not isinstance(name, str) or (name not in FORMULAS and ":" not in name):
        names = [*known, *(formula for formula in FORMULAS if formula not in known)]
        raise ValueError(f"{unknown(kind, name, names)} (or your own as 'module:name')")
    function = resolve(name, FORMULAS, kind)
    try:
        inspect.signature(function).bind(None, **options)
    except TypeError as error:
        raise ValueError(f"{kind} {name!r}: {error}") from error
    if name in FORMULAS:
        if "accuracy" not in known:
            raise ValueError(
                f"{kind} {name!r} needs an accuracy; what there is: {', '.join(known)}"
            )
        check_options(kind, name, options)
    metric = Metric(name.rpartition(":")[2])
    return Column(metric, partial(function, **options), metric.title)


@dataclass(frozen=True)
class _Read:
    """Reads a score or a cost."""

    name: str

    def __call__(self, evaluation: Evaluation) -> float | None:
        if self.name == "seconds":
            return evaluation.seconds
        return evaluation.scores.get(self.name, evaluation.cost.get(self.name))
