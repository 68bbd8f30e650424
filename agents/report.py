"""The report of a search: one HTML page that opens anywhere, with nothing beside it."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from agents.drawing import draw_curve, draw_network
from agents.page import (
    duration,
    escape,
    loss,
    number,
    page,
    scaled,
    table,
    tiles,
)
from nas_gym import Evaluation, Metric, Objective
from nas_gym.evaluation import STATUSES
from nas_gym.objectives import best as best_of
from nas_gym.objectives import distinct, front, incumbents, top
from nas_gym.search_spaces.base import Architecture, format_layer

TOP = 10


def render_report(
    title: str,
    facts: Mapping[str, str],
    evaluations: Sequence[Evaluation],
    *,
    objective: Objective,
    metrics: Sequence[Metric],
    space: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    retrained: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One self-contained HTML page about a search.

    Args:
        title: Headline of the page.
        facts: What the run was, in the order to show: environment, agent, seed, commands.
        evaluations: Every answered proposal in order, repeats included.
        objective: What best means.
        metrics: Those of the source.
        space: Name of the search space.
        input_shape: Shape of one input.
        num_classes: Number of classes.
        retrained: Test results, one mapping for each architecture trained again: ``rank``,
            ``validation`` (the search's value), ``test`` (by metric its ``unit``, ``mean`` and
            ``sd``), ``seeds`` (their number), ``params``, ``macs`` and ``architecture``.

    Returns:
        The text of the page, to be written as UTF-8.
    """
    children = distinct(evaluations)
    body = [
        f"<header><h1>{escape(title)}</h1>{_summary(evaluations, children)}</header>",
        _headline(children, objective, metrics, space, input_shape, num_classes),
        _test_results(retrained, objective),
        _progress(children, objective),
        _best_table(children, objective),
        _counts(evaluations, children, objective),
        _meaning(sum(child.ok for child in children), bool(retrained)),
        _facts(facts),
    ]
    return page(title, body)


def _summary(evaluations: Sequence[Evaluation], children: list[Evaluation]) -> str:
    if not children:
        return ""
    return (
        f"<p>Architecture search: {number(len(children), 'distinct child', 'distinct children')} "
        f"in {number(len(evaluations), 'proposal')}, "
        f"{duration(sum(child.seconds for child in children))} of training.</p>"
    )


def _headline(
    children: list[Evaluation],
    objective: Objective,
    metrics: Sequence[Metric],
    space: str,
    input_shape: tuple[int, ...],
    num_classes: int,
) -> str:
    best = best_of(objective, children)
    if best is None and not children:
        return "<section><p>No child has been evaluated, so there is no result yet.</p></section>"
    if best is None:
        return (
            f"<section><p>None of the {number(len(children), 'child', 'children')} evaluated was "
            "trained to the end, so this search has no best architecture. What became of them is "
            "below.</p></section>"
        )
    found = children.index(best) + 1
    shown = {column.metric.name for column in objective.columns}
    figures = {
        "parameters": scaled(best.params),
        "multiply-adds": scaled(best.macs, " "),
        **{
            f"validation {metric.title}": metric.format(best.scores.get(metric.name))
            for metric in metrics
            if metric.name not in shown
        },
        "training": duration(best.seconds),
        "found as child": f"{found} of {len(children)}",
    }
    others = objective.columns[1:]
    figures = {column.title: column.metric.format(column(best)) for column in others} | figures
    picture = draw_network(space, best.architecture.layers, input_shape, num_classes)
    return (
        '<section class="columns"><div><h2>Best architecture</h2>'
        f'<p class="big">{escape(objective.metric.format(objective.value(best)))}</p>'
        f"<p>{escape(objective.columns[0].title)}</p>{tiles(figures)}"
        f'<p class="note">Search space {escape(space)}, architecture {best.architecture.key}, '
        f"trained with seed {best.seed}.</p>"
        f"</div><div>{picture}</div></section>"
    )


def _test_results(retrained: Sequence[Mapping[str, Any]], objective: Objective) -> str:
    if not retrained:
        return ""
    metrics = [Metric(name, unit=one["unit"]) for name, one in retrained[0]["test"].items()]
    metrics = [one for one in metrics if one.name != "loss"]
    headers = ["#", *(f"test {test_title(metric)}" for metric in metrics), "in the search", "seeds"]
    rows = []
    for row in retrained:
        cells = [
            str(row.get("rank", "")),
            *(
                metric.spread(row["test"][metric.name]["mean"], row["test"][metric.name]["sd"])
                for metric in metrics
            ),
            objective.metric.format(row.get("validation")),
            str(row.get("seeds", "")),
        ]
        size = (
            f"{scaled(row.get('params'))} parameters, {scaled(row.get('macs'), ' ')} multiply-adds"
        )
        rows.append((cells, f"{size}: {_words(row.get('architecture', ''))}"))
    return (
        f"<section><h2>Test results</h2>{table(headers, rows)}"
        '<p class="note">Trained again with other seeds and scored on the test set: mean ± '
        f"standard deviation over the seeds. In the search: {escape(objective.columns[0].title)}, "
        "which it ranked by.</p></section>"
    )


def _progress(children: list[Evaluation], objective: Objective) -> str:
    values = [objective.value(child) for child in children]
    if all(value is None for value in values):
        return ""
    metric, scale = objective.metric, objective.metric.scale
    spent = list(itertools.accumulate(child.seconds for child in children))
    unit, size = _time_unit(spent[-1])
    by_count = [float(count) for count in range(1, len(children) + 1)]
    by_time = [seconds / size for seconds in spent]
    bests = [
        None if best is None else objective.value(best) for best in incumbents(objective, children)
    ]
    drawn = ""
    for label, xs in (
        ("distinct children", by_count),
        (f"child-training time ({unit})", by_time),
    ):
        chart = draw_curve(
            [(x, scale * best) for x, best in zip(xs, bests, strict=True) if best is not None],
            label,
            objective.columns[0].title + (" (%)" if metric.unit == "%" else ""),
            points=[(x, scale * v) for x, v in zip(xs, values, strict=True) if v is not None],
            failures=[x for x, child in zip(xs, children, strict=True) if not child.ok],
            label=metric.format(bests[-1]),
            limits=(0.0, 100.0) if metric.unit == "%" else (-math.inf, math.inf),
        )
        drawn += f"<div>{chart}</div>"
    return f'<section><h2>Best so far</h2><div class="columns">{drawn}</div></section>'


def _best_table(children: list[Evaluation], objective: Objective) -> str:
    several = len(objective.columns) > 1
    best = front(objective, children) if several else top(objective, children, TOP)
    if not best:
        return ""
    columns = [column for column in objective.columns if column.metric.name not in _SHOWN]
    extra = [] if "loss" in {column.metric.name for column in columns} else ["loss"]
    headers = ["#", *(column.metric.title for column in columns), *extra, *_SHOWN.values()]
    rows = [
        (
            [
                str(place),
                *(column.metric.format(column(child)) for column in columns),
                *(loss(child.scores.get(name)) for name in extra),
                scaled(child.params),
                scaled(child.macs, " "),
                f"{child.seconds:.1f}",
            ],
            _words(child.architecture),
        )
        for place, child in enumerate(best, 1)
    ]
    name = f"The {len(best)} best architectures" if len(best) > 1 else "The only architecture"
    if several:
        return (
            f"<section><h2>The front: {len(best)} architectures, in {escape(objective.title)}</h2>"
            '<p class="note">No other child of the search is as good as one of these in all '
            f"columns.</p>{table(headers, rows)}</section>"
        )
    return f"<section><h2>{name}, by {escape(objective.title)}</h2>{table(headers, rows)}</section>"


_SHOWN = {"params": "params", "macs": "mult-adds", "seconds": "seconds"}


def _counts(
    evaluations: Sequence[Evaluation], children: list[Evaluation], objective: Objective
) -> str:
    if not children:
        return ""
    metric = objective.metric
    good = [value for child in children if (value := objective.value(child)) is not None]
    figures = {
        "proposals": f"{len(evaluations):,}",
        "distinct children": f"{len(children):,}",
        "repeats, free": f"{len(evaluations) - len(children):,}",
    }
    text = ""
    if len(good) > 1:
        mean = statistics.fmean(good)
        best = max(good, key=lambda value: metric.sign * value)
        apart = f"{abs(best - mean):.4g}"
        if metric.unit == "%":
            apart = f"{100 * abs(best - mean):.2f} points"
        text = (
            f"<p>The average child of this search reaches {metric.format(mean)} (mean of the "
            f"{len(good):,} trained to the end); the best is {apart} better.</p>"
        )
    counts = Counter(child.status for child in children)
    details = {c.status: c.detail for c in reversed(children)}
    rows = "".join(
        f"<tr><td>{escape(status.replace('_', ' '))}</td><td>{counts[status]:,}</td>"
        f"<td>{escape(details[status])}</td></tr>"
        for status in STATUSES
        if counts[status]
    )
    return (
        f"<section><h2>The search in numbers</h2>{tiles(figures)}{text}"
        '<table class="left"><thead><tr><th>outcome</th><th>children</th>'
        f"<th>example</th></tr></thead><tbody>{rows}</tbody></table></section>"
    )


def _meaning(trained: int, retrained: bool) -> str:
    many = f"{trained:,}" if trained > 1 else "many"
    advice = (
        "quote the test results above instead."
        if retrained
        else "retrain the best with several new seeds and quote their test results instead."
    )
    sentences = (
        "What the search ranks by is measured on validation data that no child was trained on; "
        "the search never looks at test data.",
        f"The best of {many} noisy trainings is optimistic, as some of its lead is luck: {advice}",
        "Proposing a known child again costs nothing: repeats are counted apart, and budget and "
        "curves count distinct children only.",
        "Multiply-adds are those of one forward pass of one input. Seconds are those of building, "
        "training and validating a child, also where its result was recalled from an earlier run.",
    )
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<section><h2>What the numbers mean</h2><ul>{items}</ul></section>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    if not rows:
        return ""
    return f'<section><h2>The run</h2><table class="facts"><tbody>{rows}</tbody></table></section>'


def _words(architecture: object) -> str:
    if not isinstance(architecture, Architecture):
        return str(architecture)
    return " | ".join(map(format_layer, architecture.layers)) or "(no layer)"


def test_title(metric: Metric) -> str:
    """What a metric of the test set is called; of accuracies the usual names."""
    return "top-1" if metric.name == "accuracy" else metric.title


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds > 10_000:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds > 600 else ("seconds", 1.0)
