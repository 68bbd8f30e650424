"""Anytime curves of agents, for the report and for the figures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.compare.standings import Standing
from agents.compare.statistics import Values, band, iqm, step_curve
from agents.compare.trials import Entry

POINTS = 120  # on an axis

# Distinguishable without colour vision in this order (after Okabe & Ito), dark enough for text.
COLORS = ("#0072b2", "#d55e00", "#00805a", "#a8377e", "#8a6d00", "#1f2933", "#2f8fd0")
DASHES = ("", "7 3", "2 3")  # one more for each time that the colours are through
BASELINE, BASELINE_COLOR = "random", "#6b7280"


@dataclass(frozen=True)
class Style:
    """How an agent is drawn, in every chart.

    Attributes:
        color: As ``#rrggbb``.
        dash: Lengths of dashes and gaps; empty for a solid line.
    """

    color: str
    dash: str = ""


@dataclass(frozen=True)
class Curve:
    """The interquartile mean of one agent's runs along an axis, with its interval.

    Attributes:
        agent: Its label.
        style: How to draw it.
        xs: Points of the axis, rising.
        middle: The interquartile mean, with one value per point.
        low: Low end of the 95 % interval.
        high: High end.
        ranked: Whether the agent may be ranked.
    """

    agent: str
    style: Style
    xs: Values
    middle: Values
    low: Values
    high: Values
    ranked: bool = True

    @property
    def uncertain(self) -> bool:
        """Whether there is an interval to draw."""
        return bool((self.high > self.low).any())


def styles(agents: Iterable[str]) -> dict[str, Style]:
    """A style for every agent; plain random search is the grey baseline."""
    others = [agent for agent in dict.fromkeys(agents) if agent != BASELINE]
    found = {
        agent: Style(COLORS[i % len(COLORS)], DASHES[i // len(COLORS) % len(DASHES)])
        for i, agent in enumerate(others)
    }
    return {BASELINE: Style(BASELINE_COLOR), **found}


@dataclass(frozen=True)
class Chart:
    """All that is drawn of one environment.

    Attributes:
        standing: The agents there.
        evaluations: Regret or score by distinct children.
        seconds: The same by seconds of training; empty where training takes none.
    """

    standing: Standing
    evaluations: list[Curve]
    seconds: list[Curve]


def charts(standings: Sequence[Standing], style: Mapping[str, Style]) -> list[Chart]:
    """The curves of every environment."""
    return [Chart(one, by_evaluations(one, style), by_seconds(one, style)) for one in standings]


def short_names(agents: Iterable[str]) -> dict[str, str]:
    """Labels without the modules of their agents, where that leaves them different."""
    labels = list(agents)
    short = [re.sub(r"^[\w.]+:(?=\w+(:|$))", "", label) for label in labels]
    return dict(zip(labels, short if len(set(short)) == len(short) else labels, strict=True))


def by_evaluations(standing: Standing, style: Mapping[str, Style]) -> list[Curve]:
    """Regret or score by distinct children."""
    axis = np.unique(np.linspace(1, standing.budget, POINTS).round())
    return [
        _curve(entry, style, axis, np.array([trial.after(axis) for trial in entry.trials]))
        for entry in standing.entries
        if entry.trials
    ]


def by_seconds(standing: Standing, style: Mapping[str, Style]) -> list[Curve]:
    """Regret or score by seconds of training; empty where training takes none.

    An agent's curve begins when all its runs have a child and ends with its shortest run, so all
    its runs are in every point.
    """
    curves = []
    for entry in standing.entries:
        trials = [trial for trial in entry.trials if len(trial.seconds)]
        if not trials or not any(trial.seconds[-1] > 0 for trial in trials):
            continue
        begin = max(trial.seconds[0] for trial in trials)
        end = max(begin, min(trial.seconds[-1] for trial in trials))
        axis = np.unique(np.linspace(begin, end, POINTS))
        values = [step_curve(trial.seconds, trial.values, axis) for trial in trials]
        curves.append(_curve(entry, style, axis, np.array(values)))
    return curves


def value_range(curves: list[Curve]) -> tuple[float, float]:
    """The values that an axis should hold: those of ranked agents after a tenth of the way.

    Before it curves fall from far away, and an agent that broke down stays there: both would
    flatten what tells the others apart.
    """
    curves = [curve for curve in curves if curve.ranked] or curves
    start = min(curve.xs[0] for curve in curves)
    end = max(curve.xs[-1] for curve in curves)
    tenth = start + 0.1 * (end - start)
    lows = [curve.low[curve.xs >= tenth] for curve in curves]
    highs = [curve.high[curve.xs >= tenth] for curve in curves]
    shown = np.concatenate([*lows, *highs])
    if not len(shown):
        shown = np.concatenate([curve.middle for curve in curves])
    return float(shown.min()), float(shown.max())


def _curve(entry: Entry, style: Mapping[str, Style], axis: Values, values: Values) -> Curve:
    middle, low, high = band(values, iqm)
    return Curve(entry.agent, style[entry.agent], axis, middle, low, high, entry.ranked)
