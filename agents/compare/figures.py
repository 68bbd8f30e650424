"""The anytime curves as PNG files, by matplotlib where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.compare.curves import Chart, Curve, value_range
from agents.compare.standings import Standing
from agents.compare.tables import unit
from agents.drawing import padded

EVALUATIONS, SECONDS = "anytime_evaluations.png", "anytime_seconds.png"
LEGEND_COLUMNS = 2  # a panel
MISSING = (
    "The PNG figures need matplotlib: pip install 'nas-gym[plot]'. The report has the same curves."
)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def write_figures(out: Path, charts: Sequence[Chart]) -> list[Path]:
    """Write the curves by distinct children, and by seconds where training takes any.

    Returns:
        The files written; none without matplotlib.
    """
    if not can_draw():
        return []
    panels = {
        (EVALUATIONS, "distinct children"): [(one.standing, one.evaluations) for one in charts],
        (SECONDS, "child-training seconds"): [(one.standing, one.seconds) for one in charts],
    }
    written = []
    for (name, axis), drawn in panels.items():
        filled = [(standing, curves) for standing, curves in drawn if curves]
        if filled:
            _write(out / name, axis, filled)
            written.append(out / name)
    return written


def _write(path: Path, axis: str, panels: Sequence[tuple[Standing, list[Curve]]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    agents = {curve.agent for _, curves in panels for curve in curves}
    columns = LEGEND_COLUMNS * len(panels)
    height = 4.2 + 0.2 * -(-len(agents) // columns)
    figure = Figure(figsize=(5.6 * len(panels), height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(1, len(panels), squeeze=False)
    lines: dict[str, Any] = {}  # an agent looks the same in every panel
    for plot, (standing, curves) in zip(grid[0], panels, strict=True):
        for curve in curves:
            color = curve.style.color
            dash = tuple(map(float, curve.style.dash.split()))
            line = (0, dash) if dash else "solid"
            drawn = plot.plot(curve.xs, curve.middle, color=color, lw=1.8, ls=line)
            lines.setdefault(curve.agent, drawn[0])
            plot.fill_between(curve.xs, curve.low, curve.high, color=color, alpha=0.13, lw=0)
        plot.set_ylim(*padded(*value_range(curves)))
        plot.set_xlim(left=0)
        plot.set_title(standing.label, fontsize=10)
        plot.set_xlabel(axis)
        plot.set_ylabel(f"{unit(standing.measure)}, IQM and 95 % interval")
        plot.spines[["top", "right"]].set_visible(False)
        plot.grid(axis="y", color="#e6eaef")
    figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
        handlelength=3.0,
    )
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", metadata={"Software": None})
    partial.replace(path)
