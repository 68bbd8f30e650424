"""The report of a search: one HTML page that opens anywhere, with nothing beside it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.drawing import draw_curve, draw_network
from agents.page import (
    duration,
    escape,
    loss,
    number,
    page,
    percent,
    scaled,
    spread,
    table,
    tiles,
)
from nas_gym.evaluation import STATUSES, Evaluation, rank
from nas_gym.search_spaces.base import Architecture, format_layer

TOP = 10


def render_report(
    title: str,
    facts: Mapping[str, str],
    evaluations: Sequence[Evaluation],
    *,
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
        space: Name of the search space.
        input_shape: Shape of one input.
        num_classes: Number of classes.
        retrained: Test results, one mapping for each architecture trained again: ``rank``,
            ``val_accuracy``, ``test_top1_mean``, ``test_top1_sd``, ``test_top5_mean``,
            ``test_top5_sd`` (fractions, or None), ``seeds`` (their number, or themselves),
            ``params``, ``macs`` and ``architecture``.

    Returns:
        The text of the page, to be written as UTF-8.
    """
    children = _distinct(evaluations)
    body = [
        f"<header><h1>{escape(title)}</h1>{_summary(evaluations, children)}</header>",
        _headline(children, space, input_shape, num_classes),
        _test_results(retrained),
        _progress(children),
        _best_table(children),
        _counts(evaluations, children),
        _meaning(sum(child.ok for child in children), bool(retrained)),
        _facts(facts),
    ]
    return page(title, body)


def anytime(evaluations: Sequence[Evaluation]) -> list[tuple[int, float, float]]:
    """The incumbent after each distinct child.

    Args:
        evaluations: Every answered proposal in order; repeats are passed over.

    Returns:
        Distinct children so far, their seconds in sum, and the best validation accuracy so far
        (0.0 before the first child that is ok).
    """
    curve: list[tuple[int, float, float]] = []
    seconds = best = 0.0
    for count, child in enumerate(_distinct(evaluations), 1):
        seconds += child.seconds
        best = max(best, child.val_accuracy) if child.ok else best
        curve.append((count, seconds, best))
    return curve


def top(evaluations: Sequence[Evaluation], k: int) -> list[Evaluation]:
    """The best ``k`` architectures that are ok, best first, first come first among equals.

    An architecture that was trained with several seeds is there once, with its best.
    """
    ranked = sorted((child for child in evaluations if child.ok), key=rank, reverse=True)
    best: dict[Architecture, Evaluation] = {}
    for child in ranked:
        best.setdefault(child.architecture, child)
    return list(best.values())[:k]


def _distinct(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """The first answer to each (architecture, seed), in order."""
    first: dict[tuple[Architecture, int], Evaluation] = {}
    for evaluation in evaluations:
        first.setdefault((evaluation.architecture, evaluation.seed), evaluation)
    return list(first.values())


def _summary(evaluations: Sequence[Evaluation], children: list[Evaluation]) -> str:
    if not children:
        return ""
    return (
        f"<p>Architecture search: {number(len(children), 'distinct child', 'distinct children')} "
        f"in {number(len(evaluations), 'proposal')}, "
        f"{duration(sum(child.seconds for child in children))} of training.</p>"
    )


def _headline(
    children: list[Evaluation], space: str, input_shape: tuple[int, ...], num_classes: int
) -> str:
    best = next(iter(top(children, 1)), None)
    if best is None and not children:
        return "<section><p>No child has been evaluated, so there is no result yet.</p></section>"
    if best is None:
        return (
            f"<section><p>None of the {number(len(children), 'child', 'children')} evaluated was "
            "trained to the end, so this search has no best architecture. What became of them is "
            "below.</p></section>"
        )
    found = children.index(best) + 1
    figures = {
        "parameters": scaled(best.params),
        "multiply-adds": scaled(best.macs, " "),
        "validation loss": loss(best.val_loss),
        "training": duration(best.seconds),
        "found as child": f"{found} of {len(children)}",
    }
    if best.val_top5 is not None:
        figures = {"top-5 accuracy": percent(best.val_top5), **figures}
    picture = draw_network(space, best.architecture.layers, input_shape, num_classes)
    return (
        '<section class="columns"><div><h2>Best architecture</h2>'
        f'<p class="big">{percent(best.val_accuracy)}</p><p>validation accuracy</p>{tiles(figures)}'
        f'<p class="note">Search space {escape(space)}, architecture {best.architecture.key}, '
        f"trained with seed {best.seed}.</p>"
        f"</div><div>{picture}</div></section>"
    )


def _test_results(retrained: Sequence[Mapping[str, Any]]) -> str:
    if not retrained:
        return ""
    headers = ["#", "test top-1", "test top-5", "validation", "seeds"]
    rows = []
    for row in retrained:
        seeds = row.get("seeds", "")
        cells = [
            str(row.get("rank", "")),
            spread(row.get("test_top1_mean"), row.get("test_top1_sd")),
            spread(row.get("test_top5_mean"), row.get("test_top5_sd")),
            percent(row.get("val_accuracy")),
            str(len(seeds) if isinstance(seeds, list | tuple) else seeds),
        ]
        size = (
            f"{scaled(row.get('params'))} parameters, {scaled(row.get('macs'), ' ')} multiply-adds"
        )
        rows.append((cells, f"{size}: {_words(row.get('architecture', ''))}"))
    return (
        f"<section><h2>Test results</h2>{table(headers, rows)}"
        '<p class="note">Trained again with other seeds and scored on the test images: mean ± '
        "standard deviation over the seeds. Validation is the accuracy that the search ranked "
        "by.</p></section>"
    )


def _progress(children: list[Evaluation]) -> str:
    if not any(child.ok for child in children):
        return ""
    curve = anytime(children)
    unit, size = _time_unit(curve[-1][1])
    by_count = [float(count) for count, _, _ in curve]
    by_time = [seconds / size for _, seconds, _ in curve]
    drawn = ""
    for label, xs in (
        ("distinct children", by_count),
        (f"child-training time ({unit})", by_time),
    ):
        pairs = list(zip(xs, children, strict=True))
        first = next(index for index, child in enumerate(children) if child.ok)
        chart = draw_curve(
            [(x, 100 * best) for x, (_, _, best) in zip(xs, curve, strict=True)][first:],
            label,
            "validation accuracy (%)",
            points=[(x, 100 * child.val_accuracy) for x, child in pairs if child.ok],
            failures=[x for x, child in pairs if not child.ok],
            label=percent(curve[-1][2]),
            limits=(0.0, 100.0),
        )
        drawn += f"<div>{chart}</div>"
    return f'<section><h2>Best so far</h2><div class="columns">{drawn}</div></section>'


def _best_table(children: list[Evaluation]) -> str:
    best = top(children, TOP)
    if not best:
        return ""
    headers = ["#", "accuracy", "loss", "params", "mult-adds", "seconds"]
    rows = [
        (
            [
                str(place),
                percent(child.val_accuracy),
                loss(child.val_loss),
                scaled(child.params),
                scaled(child.macs, " "),
                f"{child.seconds:.1f}",
            ],
            _words(child.architecture),
        )
        for place, child in enumerate(best, 1)
    ]
    name = f"The {len(best)} best architectures" if len(best) > 1 else "The only architecture"
    return f"<section><h2>{name}, by validation accuracy</h2>{table(headers, rows)}</section>"


def _counts(evaluations: Sequence[Evaluation], children: list[Evaluation]) -> str:
    if not children:
        return ""
    good = [child.val_accuracy for child in children if child.ok]
    figures = {
        "proposals": f"{len(evaluations):,}",
        "distinct children": f"{len(children):,}",
        "repeats, free": f"{len(evaluations) - len(children):,}",
    }
    text = ""
    if len(good) > 1:
        mean = statistics.fmean(good)
        text = (
            f"<p>The average child of this search reaches {percent(mean)} (mean of the "
            f"{len(good):,} trained to the end); the best is "
            f"{100 * (max(good) - mean):.2f} points above it.</p>"
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
        else "retrain the best with several new seeds and quote their test accuracy instead."
    )
    sentences = (
        "Accuracy in the search is measured on validation images that no child was trained on; "
        "the search never looks at test images.",
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


def _time_unit(seconds: float) -> tuple[str, float]:
    if seconds > 10_000:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds > 600 else ("seconds", 1.0)
