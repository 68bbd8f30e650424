"""``report.html`` of a comparison: one page that opens anywhere, with nothing beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from agents.compare.cells import STYLE, agent_cell, both_ways, figure, matrix, numbers, words
from agents.compare.charts import draw_curves, draw_intervals
from agents.compare.curves import Chart, Curve, Style
from agents.compare.results import Results
from agents.compare.standings import Aggregate, Standing
from agents.compare.tables import (
    conclusion,
    count,
    meaning,
    milliseconds,
    notes_of,
    scope,
    seeds_of,
    signed,
    unit,
)
from agents.compare.trials import PERCENTS, Entry, Measure, checkpoints
from agents.page import NONE, escape, page

WIDE, NARROW = 940, 370  # widths of a picture for a page and for a telephone


def render(results: Results, charts: Sequence[Chart], style: Mapping[str, Style]) -> str:
    """The page's text, to be written as UTF-8.

    Args:
        results: What was found.
        charts: The curves of every environment.
        style: How each agent is drawn.
    """
    title = "Comparison of architecture search agents"
    sections = [
        f"<style>{STYLE}</style>",
        f"<header><h1>{title}</h1><p>{escape(scope(results))}</p></header>",
        _findings(results),
        *(_environment(chart, style) for chart in charts),
        _aggregate(results.aggregate, results, style) if results.aggregate else "",
        _notes(results),
        _conditions(results),
    ]
    return page(title, sections)


def _findings(results: Results) -> str:
    if not results.standings:
        return "<section><p>No run has ended yet, so there is nothing to compare.</p></section>"
    if len(results.standings) == 1:
        return ""
    items = "".join(
        f"<li><b>{escape(standing.label)}</b>: {escape(conclusion(standing))}</li>"
        for standing in results.standings
    )
    return f"<section><h2>Findings</h2><ul>{items}</ul></section>"


def _environment(chart: Chart, style: Mapping[str, Style]) -> str:
    standing = chart.standing
    entries = [entry for entry in standing.entries if entry.trials]
    notes = "".join(
        f"<li>{escape(note)}</li>" for entry in standing.entries for note in entry.notes
    )
    parts = [
        f"<h2>{escape(standing.label)}</h2>",
        f'<p class="conclusion">{escape(conclusion(standing))}</p>',
        f'<p class="note">{escape(meaning(standing))}</p>',
        f"<h3>Not ranked</h3><ul>{notes}</ul>" if notes else "",
    ]
    if entries:
        parts += [
            _curves(chart),
            f"<h3>Interquartile mean of {standing.measure.name} by part of the budget</h3>",
            _ranking(standing, style),
            _ends(standing, standing.ranked or entries, style),
        ]
    if standing.pairs:
        probabilities = {(p.first, p.second): p.probability for p in standing.pairs}
        parts += [
            "<h3>Probability that a run of the row beats a run of the column</h3>",
            matrix([e.agent for e in standing.ranked], both_ways(probabilities), style),
            _pairs(standing),
        ]
    if entries:
        parts += ["<h3>What the runs cost</h3>", _totals(entries, standing.measure, style)]
    return f"<section>{''.join(parts)}</section>"


def _curves(chart: Chart) -> str:
    standing, timed = chart.standing, chart.seconds
    measure = standing.measure
    limits = (0.0, 100.0) if measure.sealed is None else (0.0, math.inf)
    if not measure.percent:
        limits = (-math.inf, math.inf)
    label = f"{unit(standing.measure)}: IQM, 95 % interval"
    charts = [("distinct children", chart.evaluations)]
    if timed:
        name, size = _time_unit(max(float(curve.xs[-1]) for curve in timed))
        scaled = [replace(curve, xs=curve.xs / size) for curve in timed]
        charts.append((f"child-training time ({name})", scaled))
    drawn = ""
    for x_label, curves in charts:

        def draw(width: float, x_label: str = x_label, curves: Sequence[Curve] = curves) -> str:
            legend = width == NARROW
            return draw_curves(curves, x_label, label, width=width, legend=legend, limits=limits)

        drawn += f"<div>{_responsive(draw, WIDE)}</div>"
    note = [
        "Bands are 95 % intervals over the seeds; where curves fall from far away they are cut."
    ]
    if timed:
        note.append(
            "Over time a curve ends with its agent's shortest run, so every point holds all runs."
        )
    return f'{drawn}<p class="note">{escape(" ".join(note))}</p>'


def _ends(standing: Standing, entries: Sequence[Entry], style: Mapping[str, Style]) -> str:
    rows = [
        (entry.agent, style[entry.agent], entry.values[:, -1], entry.iqms[-1]) for entry in entries
    ]

    def draw(width: float) -> str:
        label = f"{unit(standing.measure)} at the whole budget"
        return draw_intervals(rows, label, width=width, noise=standing.measure.noise)

    return (
        "<h3>Every run at the whole budget, with the interquartile mean and its interval</h3>"
        f"{_responsive(draw, WIDE)}"
    )


def _ranking(standing: Standing, style: Mapping[str, Style]) -> str:
    points = zip(PERCENTS, checkpoints(standing.budget), strict=True)
    heads = [f"{percent} %<br/><small>{children}</small>" for percent, children in points]
    rows = []
    for entry in standing.entries:
        place = standing.place(entry)
        cells = [str(place) if place else NONE, agent_cell(entry.agent, style)]
        if entry.trials:
            cells += [figure(one, standing.measure, len(entry.trials)) for one in entry.iqms]
        else:
            cells += [NONE] * len(PERCENTS)
        rows.append(cells)
    return numbers(["place", "agent", *heads], rows, agent=1)


def _totals(entries: Sequence[Entry], measure: Measure, style: Mapping[str, Style]) -> str:
    heads = ["agent", "seeds", "distinct", "repeats", "failures", "own time<br/>a child"]
    heads.insert(2, f"mean {measure.name}<br/>at 100 %")
    rows = [
        [
            agent_cell(entry.agent, style),
            escape(seeds_of(entry)),
            figure(entry.means[-1], measure, len(entry.trials)),
            *(count(entry.mean_of(name)) for name in ("distinct", "repeats", "failures")),
            milliseconds(entry),
        ]
        for entry in entries
    ]
    return numbers(heads, rows, agent=0)


def _pairs(standing: Standing) -> str:
    rows = [
        [
            words(pair.first),
            words(pair.second),
            escape(signed(pair.difference, standing.measure)),
            escape(pair.verdict),
        ]
        for pair in standing.pairs
    ]
    body = "".join(
        f'<tr><td class="agent">{a}</td><td class="agent">{b}</td>'
        f'<td class="figure">{difference}</td><td>{verdict}</td></tr>'
        for a, b, difference, verdict in rows
    )
    return (
        '<p class="note">Bold: the interval, in small, leaves out one half.</p>'
        "<details><summary>Differences of means, pair by pair</summary>"
        '<div class="scroll"><table class="left pairs"><thead><tr><th>first</th><th>second</th>'
        "<th>first minus second</th><th>verdict</th></tr></thead>"
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _aggregate(found: Aggregate, results: Results, style: Mapping[str, Style]) -> str:
    parts = [
        "<h2>All environments</h2>",
        "<h3>Probability that a run of the row beats a run of the column, averaged over the "
        f"{len(found.environments)} environments</h3>",
        matrix(found.agents, both_ways(found.probabilities), style),
    ]
    if found.iqms:
        measure = results.standings[0].measure
        heads = ["agent", *(f"{percent} %" for percent in PERCENTS)]
        rows = [
            [agent_cell(agent, style), *(figure(one, measure) for one in found.iqms[agent])]
            for agent in found.agents
        ]
        parts += [
            f"<h3>Interquartile mean of {found.name} over all runs, by part of the budget</h3>",
            numbers(heads, rows, agent=0),
            '<p class="note">Percentage points as they are: an environment in which agents lie '
            "further apart weighs more. Intervals resample the seeds of each environment by "
            "itself.</p>",
        ]
    return f"<section>{''.join(parts)}</section>"


def _notes(results: Results) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes_of(results))
    return f"<section><h2>How to read this, and how far to trust it</h2><ul>{items}</ul></section>"


def _conditions(results: Results) -> str:
    facts = {"budget": f"{results.config.budget} distinct children in every run"}
    for label, environment in results.config.environments.items():
        facts[label] = json.dumps(dict(environment.context), sort_keys=True)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in facts.items()
    )
    return (
        '<section><h2>Under which conditions</h2><table class="facts"><tbody>'
        f"{rows}</tbody></table></section>"
    )


def _responsive(draw: Callable[[float], str], width: float) -> str:
    """A picture in two sizes, of which the page shows the one that fits."""
    return (
        f'<div class="only-wide">{draw(width)}</div><div class="only-narrow">{draw(NARROW)}</div>'
    )


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds > 10_000:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds > 600 else ("seconds", 1.0)
