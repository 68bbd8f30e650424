"""Runs as a measure reads them: one agent in one environment."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from agents.compare.files import Record
from agents.compare.statistics import (
    Estimate,
    Values,
    estimate,
    iqm,
    step_curve,
)
from nas_gym import Evaluation, Objective
from nas_gym.objectives import incumbents
from nas_gym.tables import Sealed

PERCENTS = (10, 25, 50, 100)  # of the budget
T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """What counts as good in one environment.

    Attributes:
        objective: What a search calls best.
        metric: What the score is, in words.
        sealed: From a run's seed to what a table knows and that run does not see; None where
            nobody knows.
        worst: The score of a run before its first child that is ok, as it is shown.
        noise: Standard deviation of one network's score over trainings, as it is shown.
        optimum: The best score there is, on average over the seeds; None where nobody knows.
        trained: Whether children are really trained, so that the noise can be measured.
    """

    objective: Objective
    metric: str
    sealed: Callable[[int], Sealed] | None = None
    worst: float = 0.0
    noise: float | None = None
    optimum: float | None = None
    trained: bool = False

    @property
    def name(self) -> str:
        """``regret`` where the optimum is known, else ``score``."""
        return "score" if self.sealed is None else "regret"

    @property
    def sign(self) -> int:
        """1 where a higher value is better, -1 where a lower one is."""
        return self.objective.metric.sign if self.sealed is None else -1

    @property
    def percent(self) -> bool:
        """Whether values are percent, and differences of them points."""
        return self.sealed is not None or self.objective.metric.unit == "%"

    def score(self, incumbent: Evaluation | None, seed: int) -> float:
        """What a run with this seed that would end with this incumbent is worth."""
        if incumbent is None:
            return self.worst
        if self.sealed is not None:
            return self.sealed(seed).score(incumbent.architecture)
        value = self.objective.value(incumbent)
        return self.worst if value is None else self.objective.metric.scale * value

    def value(self, incumbent: Evaluation | None, seed: int) -> float:
        """Its regret, where the optimum is known; else its score."""
        score = self.score(incumbent, seed)
        return score if self.sealed is None else self.sealed(seed).optimum - score


@dataclass(frozen=True)
class Trial:
    """One run, read by a measure.

    Attributes:
        record: What is on record.
        measure: How it is judged.
    """

    record: Record
    measure: Measure

    @cached_property
    def incumbents(self) -> list[Evaluation | None]:
        """The best child by the objective after each distinct child; ties: the first."""
        return incumbents(self.measure.objective, (row.evaluation for row in self.record.rows))

    @cached_property
    def values(self) -> Values:
        """What the incumbent is worth after each distinct child, shape ``(children,)``."""
        known: dict[Evaluation | None, float] = {}
        for one in self.incumbents:
            if one not in known:
                known[one] = self.measure.value(one, self.record.run.seed)
        return np.array([known[one] for one in self.incumbents], dtype=np.float64)

    @cached_property
    def seconds(self) -> Values:
        """Training seconds spent when each distinct child was ready."""
        return np.cumsum([row.evaluation.seconds for row in self.record.rows], dtype=np.float64)

    def after(self, children: int | Sequence[int] | Values) -> Values:
        """What the incumbent is worth after so many distinct children; the last value holds."""
        start = [self.measure.value(None, self.record.run.seed)]
        counts = range(len(self.values) + 1)
        return step_curve(
            counts, np.concatenate([start, self.values]), np.atleast_1d(np.asarray(children))
        )


@dataclass(frozen=True)
class Entry:
    """One agent in one environment.

    Attributes:
        agent: Its label.
        trials: Its runs that did not fail, by seed.
        failed: Those that failed.
        budget: Distinct children of a run.
    """

    agent: str
    trials: tuple[Trial, ...]
    failed: tuple[Record, ...]
    budget: int

    @cached_property
    def short(self) -> tuple[Trial, ...]:
        """Runs that ended before the budget."""
        return tuple(one for one in self.trials if one.record.run.distinct < self.budget)

    @property
    def ranked(self) -> bool:
        """Whether it may be ranked: two seeds or more, and every run spent its budget."""
        return len(self.trials) > 1 and not self.short and not self.failed

    @cached_property
    def values(self) -> Values:
        """``(seeds, PERCENTS)``: regret or score at each part of the budget."""
        points = checkpoints(self.budget)
        return np.array([one.after(points) for one in self.trials]).reshape(-1, len(points))

    @property
    def final(self) -> dict[Hashable, float]:
        """By seed, the value at the end of the budget."""
        seeds = [one.record.run.seed for one in self.trials]
        return dict(zip(seeds, self.values[:, -1].tolist(), strict=True))

    @cached_property
    def iqms(self) -> list[Estimate]:
        """Interquartile mean at each part of the budget; empty where no run ended well."""
        return [estimate([column], iqm) for column in self.values.T if self.trials]

    @cached_property
    def means(self) -> list[Estimate]:
        """Plain mean at each part of the budget; empty where no run ended well."""
        return [estimate([column], np.mean) for column in self.values.T if self.trials]

    def mean_of(self, field: str) -> float:
        """Mean over the runs of one of their totals."""
        totals = [float(getattr(one.record.run, field)) for one in self.trials]
        return sum(totals) / len(totals)

    @property
    def agent_seconds_per_child(self) -> float:
        """The agent's own CPU seconds for each distinct child."""
        return self.mean_of("agent_seconds") / max(1.0, self.mean_of("distinct"))

    @cached_property
    def notes(self) -> list[str]:
        """Why it is not ranked, a sentence for each reason."""
        notes = []
        for reason, trials in _grouped(self.short, _reason):
            fewest = min(one.record.run.distinct for one in trials)
            runs = f" in {len(trials)} of {len(self.trials)} runs" if len(self.trials) > 1 else ""
            notes.append(
                f"{self.agent}: {fewest} of {self.budget} distinct children{runs}, {reason}"
            )
        for ended, records in _grouped(self.failed, lambda one: one.run.ended):
            seeds = ", ".join(str(one.run.seed) for one in records)
            plural = "s" if len(records) > 1 else ""
            notes.append(f"{self.agent}: seed{plural} {seeds} {ended}")
        return notes


def checkpoints(budget: int) -> list[int]:
    """Distinct children at each of `PERCENTS` of the budget, rounded up."""
    return [math.ceil(budget * percent / 100) for percent in PERCENTS]


def _reason(trial: Trial) -> str:
    reasons = {
        "exhausted": "all networks of the space were evaluated",
        "stalled": "the rest were repeats",
    }
    return reasons.get(trial.record.run.ended, "then it gave up")


def _grouped(things: Sequence[T], key: Callable[[T], str]) -> list[tuple[str, list[T]]]:
    groups: dict[str, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return list(groups.items())
