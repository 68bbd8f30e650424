"""The charts of a comparison as standalone SVG texts: curves with bands, and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from agents.compare.curves import Curve, Style, short_names, value_range
from agents.compare.statistics import Estimate, Values
from agents.drawing import GRID, INK, MUTED, PAPER, padded, svg, text_at, ticks
from agents.page import escape

CHARACTER = 7.9  # width of one at size 12, bold
HEIGHT = 340  # of curves with their axes
ROW = 15  # height of a line of text
LONGEST = 26  # characters of a name at a curve's end

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Frame:
    """A plot's rectangle and its axes, and the shapes that draw them."""

    left: float
    right: float
    top: float
    bottom: float
    at_x: Scale
    at_y: Scale
    shapes: list[str]

    def clipped(self, shapes: Sequence[str]) -> str:
        """Shapes, as far as they lie inside."""
        x, y, width, height = (
            self.left,
            self.top,
            self.right - self.left,
            self.bottom - self.top,
        )
        return (
            f'<svg x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'viewBox="{x:g} {y:g} {width:g} {height:g}">{"".join(shapes)}</svg>'
        )


def draw_curves(
    curves: Sequence[Curve],
    x_label: str,
    y_label: str,
    *,
    width: float = 940,
    legend: bool = False,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """Curves with interval bands, each named at its end.

    Args:
        curves: One per agent.
        x_label: What x is.
        y_label: What y is, with its unit.
        width: Of the picture; it is made for reading at this size.
        legend: Name the curves below the plot instead, for a narrow picture.
        limits: What the y axis never passes.

    Returns:
        A standalone SVG document, without a declaration.
    """
    names = short_names(curve.agent for curve in curves)
    longest = min(LONGEST, max(map(len, names.values())))
    names = {agent: _shortened(name, LONGEST) for agent, name in names.items()}
    room = 16.0 if legend else 26 + CHARACTER * longest
    rows = -(-len(curves) // _columns(width, longest)) if legend else 0
    height = HEIGHT + (18 * rows + 8 if legend else 0)
    low, high = padded(*value_range(list(curves)), limits)
    end = max(float(curve.xs[-1]) for curve in curves)
    frame = _frame((0.0, end), (low, high), width, HEIGHT, room)
    shapes = list(frame.shapes)
    shapes.append(text_at(8, 20, y_label, size=12.5, color=INK))
    middle = (frame.left + frame.right) / 2
    shapes.append(text_at(middle, frame.bottom + 38, x_label, "middle", 12.5, INK))
    shapes.append(frame.clipped([_band(curve, frame) for curve in curves]))
    shapes.append(frame.clipped([_line(curve, frame) for curve in curves]))
    if legend:
        shapes += _legend(curves, names, frame, _columns(width, longest), width)
    else:
        shapes += _names(curves, names, frame)
    return svg(width, height, f"{y_label} by {x_label}", shapes)


def draw_intervals(
    rows: Sequence[tuple[str, Style, Values, Estimate]],
    x_label: str,
    *,
    width: float = 940,
    noise: float | None = None,
) -> str:
    """One line per agent: its runs as dots, the interquartile mean and its interval.

    Args:
        rows: Label, style, one value per run, and the estimate.
        x_label: What the values are, with their unit.
        width: Of the picture.
        noise: Length of the noise floor, drawn as a measure; None for none.

    Returns:
        A standalone SVG document, without a declaration.
    """
    step, top = 40, 16
    dots = np.concatenate([values for _, _, values, _ in rows])
    ends = [end for _, _, _, found in rows for end in found]
    reach = max(ends) - min(ends)  # runs further out than that stand at the edge, as triangles
    low = max(float(dots.min()), min(ends) - reach)
    high = min(float(dots.max()), max(ends) + reach)
    low, high = padded(min(low, *ends), max(high, *ends))
    bottom = top + step * len(rows) + 4
    frame = _frame((low, high), (0.0, 1.0), width, bottom + 80, 14, left=14, plain=True)
    shapes = list(frame.shapes)
    for index, (label, style, values, found) in enumerate(rows):
        y = top + step * index + 26
        shapes.append(text_at(frame.left, y - 11, label, color=style.color, weight="600"))
        shapes.append(f'<path d="M{frame.left} {y}H{frame.right}" stroke="{GRID}"/>')
        shapes += [_dot(frame, low, high, float(one), y, style.color) for one in values]
        if len(values) > 1:
            start, end = frame.at_x(found.low), frame.at_x(found.high)
            shapes.append(
                f'<path d="M{start:.1f} {y}H{end:.1f}M{start:.1f} {y - 5}v10M{end:.1f} {y - 5}'
                f'v10" stroke="{style.color}" stroke-width="2.2"/>'
            )
        shapes.append(
            f'<circle cx="{frame.at_x(found.value):.1f}" cy="{y}" r="5" fill="{style.color}" '
            f'stroke="{PAPER}" stroke-width="1.5"/>'
        )
    label_y = frame.bottom + 38
    shapes.append(text_at((frame.left + frame.right) / 2, label_y, x_label, "middle", 12.5, INK))
    if noise is not None and 0 < noise <= high - low:
        shapes += _measure(frame, low, noise, label_y + 22)
    return svg(width, frame.bottom + 72, x_label, shapes)


def _dot(frame: Frame, low: float, high: float, x: float, y: float, color: str) -> str:
    paint = f'fill="{color}" fill-opacity="0.25"'
    if low <= x <= high:
        return f'<circle cx="{frame.at_x(x):.1f}" cy="{y:g}" r="3.2" {paint}/>'
    edge, tip = (frame.left, -6) if x < low else (frame.right, 6)
    return f'<path d="M{edge - tip:.1f} {y - 4:g}v8l{tip} -4z" {paint}/>'


def _frame(
    xs: tuple[float, float],
    ys: tuple[float, float],
    width: float,
    height: float,
    room: float,
    left: float | None = None,
    plain: bool = False,
) -> Frame:
    """Axes with grid and tick names; ``plain`` leaves the y axis away."""
    y_ticks = {} if plain else ticks(*ys)
    if left is None:
        left = 18 + 7 * max(map(len, y_ticks.values()), default=0)
    right, top, bottom = width - room, (14.0 if plain else 34.0), height - 52 - (14 if plain else 0)
    low, high = xs if xs[0] < xs[1] else (xs[0], xs[0] + 1)

    def at_x(x: float) -> float:
        return left + (x - low) / (high - low) * (right - left)

    def at_y(y: float) -> float:
        return bottom - (y - ys[0]) / (ys[1] - ys[0]) * (bottom - top)

    shapes = []
    for value, name in y_ticks.items():
        shapes.append(f'<path d="M{left} {at_y(value):.1f}H{right}" stroke="{GRID}"/>')
        shapes.append(text_at(left - 7, at_y(value) + 4, name, anchor="end"))
    names = ticks(low, high)
    crowded = sum(CHARACTER * len(name) + 12 for name in names.values()) > right - left
    for index, (value, name) in enumerate(names.items()):
        shapes.append(f'<path d="M{at_x(value):.1f} {bottom}v5" stroke="{MUTED}"/>')
        if not (crowded and index % 2):
            shapes.append(text_at(at_x(value), bottom + 19, name, anchor="middle"))
    shapes.append(f'<path d="M{left} {bottom}H{right}" stroke="{MUTED}"/>')
    return Frame(left, right, top, bottom, at_x, at_y, shapes)


def _band(curve: Curve, frame: Frame) -> str:
    if not curve.uncertain:
        return ""
    there = _points(curve.xs, curve.high, frame)
    back = _points(curve.xs[::-1], curve.low[::-1], frame)
    return (
        f'<path d="M{there}L{back}z" fill="{curve.style.color}" fill-opacity="0.13" stroke="none"/>'
    )


def _line(curve: Curve, frame: Frame) -> str:
    dash = f' stroke-dasharray="{curve.style.dash}"' if curve.style.dash else ""
    return (
        f"<g><title>{escape(curve.agent)}</title>"
        f'<path d="M{_points(curve.xs, curve.middle, frame)}" fill="none" '
        f'stroke="{curve.style.color}" stroke-width="2.2" stroke-linejoin="round"{dash}/></g>'
    )


def _points(xs: Values, ys: Values, frame: Frame) -> str:
    places = zip(xs.tolist(), ys.tolist(), strict=True)
    return "L".join(f"{frame.at_x(x):.1f} {frame.at_y(y):.1f}" for x, y in places)


def _names(curves: Sequence[Curve], names: Mapping[str, str], frame: Frame) -> list[str]:
    """Names at the right of the plot, moved apart, each with a line to its curve's end."""
    ends = [min(max(frame.at_y(c.middle[-1]), frame.top), frame.bottom) for c in curves]
    order = sorted(range(len(curves)), key=lambda index: ends[index])
    places = _apart([ends[index] for index in order], frame.top + 4, frame.bottom)
    shapes = []
    for index, y in zip(order, places, strict=True):
        curve = curves[index]
        color, x = curve.style.color, frame.at_x(float(curve.xs[-1]))
        shapes.append(
            f'<path d="M{x:.1f} {ends[index]:.1f}L{frame.right + 12:.1f} {y:.1f}h5" fill="none" '
            f'stroke="{color}" stroke-opacity="0.55"/>'
        )
        shapes.append(f'<circle cx="{x:.1f}" cy="{ends[index]:.1f}" r="3" fill="{color}"/>')
        name = text_at(frame.right + 20, y + 4, names[curve.agent], color=color, weight="600")
        shapes.append(f"<g><title>{escape(curve.agent)}</title>{name}</g>")
    return shapes


def _apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """Rising places, moved as little as needed to be a line of text apart."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + ROW) if moved else max(place, top))
    low = bottom
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], low)
        low = moved[index] - ROW
    return moved


def _legend(
    curves: Sequence[Curve], names: Mapping[str, str], frame: Frame, columns: int, width: float
) -> list[str]:
    step = (width - 16) / columns
    shapes = []
    for index, curve in enumerate(curves):
        x, y = 12 + step * (index % columns), frame.bottom + 62 + 18 * (index // columns)
        dash = f' stroke-dasharray="{curve.style.dash}"' if curve.style.dash else ""
        shapes.append(
            f'<path d="M{x:.1f} {y - 4}h16" stroke="{curve.style.color}" stroke-width="3"{dash}/>'
        )
        name = names[curve.agent]
        shapes.append(text_at(x + 21, y, name, color=curve.style.color, weight="600"))
    return shapes


def _columns(width: float, longest: int) -> int:
    return max(1, int((width - 16) / (36 + CHARACTER * longest)))


def _measure(frame: Frame, low: float, noise: float, y: float) -> list[str]:
    start, end = frame.at_x(low), frame.at_x(low + noise)
    words = f"noise floor {noise:.2g}"
    return [
        f'<path d="M{start:.1f} {y - 4}H{end:.1f}M{start:.1f} {y - 8}v8M{end:.1f} {y - 8}v8" '
        f'stroke="{MUTED}" stroke-width="1.6"/>',
        text_at(end + 8, y, words) if end < frame.right - 110 else text_at(start, y + 16, words),
    ]


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    tail = longest // 2 - 1
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"
