"""What a comparison's folder shows: every file of it written anew from the raw records."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.compare.curves import charts, styles
from agents.compare.figures import write_figures
from agents.compare.report import render
from agents.compare.results import Results, read_results
from agents.compare.statistics import Estimate
from agents.compare.tables import markdown
from agents.compare.trials import PERCENTS, Entry, checkpoints
from nas_gym._files import user_path, write_text

DIGITS = 6  # of what the CSV files round to: the last ones differ between machines

_TOTALS = ("budget", "ended", "distinct", "proposals", "repeats", "failures", "agent_seconds")


def summarise(out: str | Path) -> Results:
    """Read a comparison's raw records and write its tables, figures and report.

    The same records give the same files, to the byte.

    Raises:
        RunError: There is no comparison, or a file of it is damaged.
        DataError: The table behind an environment is gone.
    """
    results = read_results(out)
    folder = user_path(out)
    write_text(folder / "runs.csv", _csv(_runs(results)))
    write_text(folder / "summary.csv", _csv(_summary(results)))
    write_text(folder / "pairs.csv", _csv(_pairs(results)))
    write_text(folder / "summary.md", markdown(results))
    style = styles(entry.agent for one in results.standings for entry in one.entries)
    drawn = charts(results.standings, style)
    write_text(folder / "report.html", render(results, drawn, style))
    write_figures(folder, drawn)
    return results


def _runs(results: Results) -> Iterator[dict[str, Any]]:
    for standing in results.standings:
        columns = standing.measure.objective.columns
        for entry in standing.entries:
            for trial, values in zip(entry.trials, entry.values, strict=True):
                run, best = trial.record.run, trial.incumbents[-1] if trial.incumbents else None
                sealed = standing.measure.sealed
                scores = values if sealed is None else sealed(run.seed).optimum - values
                regrets = [""] * len(values) if sealed is None else values
                yield {
                    "env": run.env,
                    "agent": run.agent,
                    "seed": run.seed,
                    **{name: getattr(run, name) for name in _TOTALS},
                    "seconds": float(trial.seconds[-1]) if len(trial.seconds) else 0.0,
                    **{f"score_at_{p}%": v for p, v in zip(PERCENTS, scores, strict=True)},
                    **{f"regret_at_{p}%": v for p, v in zip(PERCENTS, regrets, strict=True)},
                    **{column.metric.name: column(best) if best else "" for column in columns},
                    "architecture": best.architecture.to_json() if best else "",
                }
            for record in entry.failed:
                run = record.run
                yield {
                    "env": run.env,
                    "agent": run.agent,
                    "seed": run.seed,
                    **{name: getattr(run, name) for name in _TOTALS},
                }


def _summary(results: Results) -> Iterator[dict[str, Any]]:
    points = list(zip(PERCENTS, checkpoints(results.config.budget), strict=True))
    for standing in results.standings:
        for entry in standing.entries:
            for index, (percent, children) in enumerate(points):
                yield {
                    "env": standing.label,
                    "agent": entry.agent,
                    "place": standing.place(entry) or "",
                    "seeds": len(entry.trials),
                    "measure": standing.measure.name,
                    "percent": percent,
                    "children": children,
                    **_cell(entry, index),
                    "notes": "; ".join(entry.notes),
                }


def _cell(entry: Entry, index: int) -> dict[str, Any]:
    if not entry.trials:
        return {}
    return {
        **_interval("iqm", entry.iqms[index], len(entry.trials)),
        **_interval("mean", entry.means[index], len(entry.trials)),
        **{name: entry.mean_of(name) for name in ("distinct", "repeats", "failures")},
        "agent_seconds_per_child": entry.agent_seconds_per_child,
    }


def _pairs(results: Results) -> Iterator[dict[str, Any]]:
    for standing in results.standings:
        for pair in standing.pairs:
            yield {
                "env": standing.label,
                "first": pair.first,
                "second": pair.second,
                "seeds": pair.seeds,
                **_interval("difference", pair.difference, pair.seeds),
                **_interval("probability_of_improvement", pair.probability, pair.seeds),
                "noise": "" if pair.noise is None else pair.noise,
                "verdict": pair.verdict,
            }


def _interval(name: str, found: Estimate, seeds: int) -> dict[str, Any]:
    """Value and interval; one seed has no interval."""
    low, high = (found.low, found.high) if seeds > 1 else ("", "")
    return {name: found.value, f"{name}_low": low, f"{name}_high": high}


def _csv(rows: Iterator[dict[str, Any]]) -> str:
    lines = list(rows)
    text = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    table = csv.DictWriter(text, names, restval="", lineterminator="\n")
    table.writeheader()
    for line in lines:
        table.writerow({name: _rounded(cell) for name, cell in line.items()})
    return text.getvalue()


def _rounded(cell: Any) -> Any:
    return round(float(cell), DIGITS) + 0.0 if isinstance(cell, float) else cell
