"""Pictures as standalone SVG texts: one network, and the curve of the best so far."""

from __future__ import annotations

import itertools
import math
import re
import statistics
import textwrap
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agents.page import MONO, SANS, escape
from nas_gym.search_spaces.base import Layer, format_layer

INK, MUTED, GRID, PAPER = "#1f2933", "#5b6776", "#e6eaef", "#ffffff"
LINE, DOT, FAILED = "#1d4ed8", "#64748b", "#c2410c"
COLORS = {
    "convolution": "#2563eb",
    "separable": "#0d9488",
    "pool": "#d97706",
    "linear": "#475569",
    "other": "#7c3aed",
    "frame": "#94a3b8",
}

_FAMILIES = (  # the first whose pattern is found in a layer's words
    ("pool", re.compile("pool|downsample")),
    ("separable", re.compile("sep|depthwise|dw")),
    ("convolution", re.compile("conv")),
    ("linear", re.compile("linear|dense|fully")),
    ("frame", re.compile("identity|skip|none|zero")),
)


class Box(NamedTuple):
    """One box of a network's picture.

    Attributes:
        family: A key of `COLORS`.
        title: What it is.
        details: Small text at its right.
        words: The layer as `format_layer` writes it, shown on hovering.
        follows: Whether its input is the output of the box above.
    """

    family: str
    title: str
    details: str = ""
    words: str = ""
    follows: bool = True


def draw_network(
    space: str, layers: Sequence[Layer], input_shape: tuple[int, ...], num_classes: int
) -> str:
    """A picture of one architecture, from its input at the top to the classes at the bottom.

    Args:
        space: The search space's name. Layers of ``layer_cnn`` and ``plain_cnn`` are a chain, with
            channels and kernels; of any other space each is a box with its words, unconnected, as
            nothing says that they are a chain.
        layers: The architecture's layers.
        input_shape: Shape of one input.
        num_classes: Number of classes.

    Returns:
        A standalone SVG document, without a declaration, 420 units wide.
    """
    width, margin = 420, 12
    y = float(margin)
    shapes: list[str] = []
    for box in _boxes(space, layers, input_shape, num_classes):
        plain = bool(box.words) and box.title == box.words
        lines = textwrap.wrap(box.title, 50, max_lines=4, placeholder=" …")[: 4 if plain else 1]
        if shapes:
            y += 14 if box.follows else 5
        if shapes and box.follows:
            shapes.append(
                f'<path d="M{width / 2:g} {y - 14:g}v9m-4 -1l4 5l4 -5z" fill="{MUTED}" '
                f'stroke="{MUTED}"/>'
            )
        height = 14 + 17 * max(1, len(lines))
        shapes.append(_draw_box(box, lines, plain, margin, y, width - 2 * margin, height))
        y += height
    label = f"Architecture of {space}: {len(layers)} layers, {num_classes} classes"
    return svg(width, y + margin, label, shapes)


def _draw_box(
    box: Box, lines: list[str], plain: bool, x: float, y: float, width: float, height: float
) -> str:
    color = COLORS[box.family]
    font = f'font-family="{MONO}" font-size="12"' if plain else 'font-size="13" font-weight="600"'
    texts = [
        f'<text x="{x + 16:g}" y="{y + 20 + 17 * row:g}" {font} fill="{INK}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    ]
    if box.details:
        texts.append(
            f'<text x="{x + width - 10:g}" y="{y + 20:g}" text-anchor="end" font-size="11.5" '
            f'fill="{MUTED}">{escape(box.details)}</text>'
        )
    return (
        f"<g><title>{escape(box.words or box.title)}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5" fill="{color}" '
        f'fill-opacity="0.09" stroke="{color}" stroke-opacity="0.45"/>'
        f'<rect x="{x:g}" y="{y:g}" width="6" height="{height:g}" rx="3" fill="{color}"/>'
        f"{''.join(texts)}</g>"
    )


def _boxes(
    space: str, layers: Sequence[Layer], input_shape: tuple[int, ...], num_classes: int
) -> Iterator[Box]:
    yield Box("frame", "input", " \u00d7 ".join(map(str, input_shape)))
    known = [_known_layer(space, layer) for layer in layers]
    chain = space in ("layer_cnn", "plain_cnn") and None not in known
    if not chain:
        for index, words in enumerate(map(format_layer, layers)):
            family = next((name for name, hint in _FAMILIES if hint.search(words)), "other")
            yield Box(family, words, words=words, follows=index == 0)
        if not layers:
            yield Box("frame", "(no layer)")
        yield Box("linear", f"{num_classes} classes")
        return
    if space == "layer_cnn":
        yield Box("convolution", f"stem: {_square(3)} conv", "batch norm · relu")
    pools = _plain_pools(layers, input_shape) if space == "plain_cnn" else {}
    for index, box in enumerate([None, *known]):
        if box is not None:
            yield box
        if index in pools:
            yield Box("pool", pools[index], "not searched")
    yield Box("pool", "global average pooling")
    yield Box("linear", "linear", f"{num_classes} classes")


def _known_layer(space: str, layer: Layer) -> Box | None:
    """The box of a layer of ``layer_cnn`` or ``plain_cnn``; None where it is none."""
    words = format_layer(layer)
    match space, layer:
        case "layer_cnn", ("max_pool" | "average_pool" as pool,):
            title = f"{_square(2)} {pool.replace('_pool', '')} pooling"
            return Box("pool", title, "halves the map", words)
        case "layer_cnn", (str(operation), int(channels), str(activation), str(regularisation)):
            kind, kernel = operation[:-1], operation[-1:]
            family = {"conv": "convolution", "separable": "separable"}.get(kind)
            if family is None:
                return None
            name = "conv" if kind == "conv" else "separable conv"
            norm = "" if regularisation == "none" else "batch norm · "
            dropout = " · dropout" if regularisation.endswith("dropout") else ""
            title = f"{_square(kernel)} {name} → {channels}"
            return Box(family, title, norm + activation + dropout, words)
        case "plain_cnn", (int(channels), int(kernel), str(padding)):
            title = f"{_square(kernel)} conv → {channels}"
            return Box("convolution", title, f"{padding} padding · batch norm · relu", words)
    return None


def _square(side: object) -> str:
    return f"{side}\u00d7{side}"


def _plain_pools(layers: Sequence[Layer], input_shape: tuple[int, ...]) -> dict[int, str]:
    """The poolings that ``plain_cnn`` puts after so many convolutions (0: before the first)."""
    pools: dict[int, str] = {}
    sides = list(input_shape[1:])
    shrink = 1
    while sides and -(-max(sides) // shrink) > 32:
        shrink *= 2
    if shrink > 1:
        pools[0] = f"{_square(shrink)} average pooling"
        sides = [-(-side // shrink) for side in sides]
    for number, (_, kernel, padding) in enumerate(layers, 1):
        if padding == "valid":
            sides = [side - kernel + 1 for side in sides]
        if number % 2 == 0 and sides and min(sides) > 4:
            pools[number] = f"{_square(2)} max pooling"
            sides = [-(-side // 2) for side in sides]
    return pools


def draw_curve(
    series: Sequence[tuple[float, float]],
    x_label: str,
    y_label: str,
    *,
    points: Sequence[tuple[float, float]] = (),
    failures: Sequence[float] = (),
    label: str = "",
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> str:
    """A step curve over the evaluations that it is made of.

    The y axis ends where the box plot of the points would: the few that lie further below become
    triangles at the bottom, so that they do not flatten the rest. The x axis begins at 0.

    Args:
        series: Steps ``(x, y)`` with rising x; the last y holds to the end of the axis.
        x_label: What x is.
        y_label: What y is, with its unit.
        points: One dot for each evaluation.
        failures: Where on the x axis evaluations failed.
        label: Text at the end of the curve.
        limits: What the y axis never passes.

    Returns:
        A standalone SVG document, without a declaration, 480 units wide, on a white ground.
    """
    width, height, top, right, bottom = 480, 330, 40, 18, 250
    steps, dots = _finite(series), _finite(points)
    crosses = [x for x, _ in _finite([(x, 0.0) for x in failures])]
    ys = [y for _, y in steps + dots] or [y for y in limits if math.isfinite(y)] or [0.0, 1.0]
    low, high = min(ys), max(ys)
    if len(dots) >= 8:
        lower, _, upper = statistics.quantiles([y for _, y in dots], n=4)
        low = max(low, min(lower - 1.5 * (upper - lower), high))
    low, high = padded(low, high, limits)
    x_values = [0.0, *(x for x, _ in steps + dots), *crosses]
    x_low, x_high = min(x_values), max(x_values)
    if x_high == x_low:
        x_high += 1
    x_ticks = ticks(x_low, x_high, whole=all(x.is_integer() for x in x_values))
    y_ticks = ticks(low, high)
    left = 20 + 7 * max(map(len, y_ticks.values()), default=0)

    def at_x(x: float) -> float:
        return left + 6 + (x - x_low) / (x_high - x_low) * (width - right - left - 12)

    def at_y(y: float) -> float:
        return bottom - (min(max(y, low), high) - low) / (high - low) * (bottom - top)

    shapes = [text_at(left, 22, y_label, size=12.5, color=INK)]
    for value, name in y_ticks.items():
        y = at_y(value)
        shapes.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="{GRID}"/>')
        shapes.append(text_at(left - 7, y + 4, name, anchor="end"))
    for value, name in x_ticks.items():
        x = at_x(value)
        shapes.append(f'<path d="M{x:.1f} {bottom}v5" stroke="{MUTED}"/>')
        shapes.append(text_at(x, bottom + 19, name, anchor="middle"))
    shapes.append(f'<path d="M{left} {bottom}H{width - right}" stroke="{MUTED}"/>')
    shapes.append(text_at((left + width - right) / 2, bottom + 39, x_label, "middle", 12.5, INK))
    shapes += [_mark("below" if y < low else "dot", at_x(x), at_y(y)) for x, y in dots]
    shapes += [_mark("failed", at_x(x), bottom) for x in crosses]
    if steps:
        path = f"M{at_x(steps[0][0]):.1f} {at_y(steps[0][1]):.1f}"
        path += "".join(f"H{at_x(x):.1f}V{at_y(y):.1f}" for x, y in steps[1:])
        path += f"H{at_x(x_high):.1f}"
        shapes.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="2.2"/>')
        rises = [steps[0], *(new for old, new in itertools.pairwise(steps) if new[1] != old[1])]
        shapes += [_mark("best", at_x(x), at_y(y)) for x, y in rises]
        shapes.append(text_at(width - right, at_y(steps[-1][1]) - 8, label, "end", 13, LINE, "600"))
    shown = {
        "line": ("best so far", bool(steps)),
        "dot": ("one child", any(y >= low for _, y in dots)),
        "below": ("below the axis", any(y < low for _, y in dots)),
        "failed": ("failed", bool(crosses)),
    }
    x = left + 6.0
    for kind, (name, present) in shown.items():
        if present:
            shapes += [
                _mark(kind, x, bottom + (64 if kind == "below" else 60)),
                text_at(x + 12, bottom + 64, name),
            ]
            x += 32 + 6.6 * len(name)
    if x == left + 6:
        shapes.append(text_at(width / 2, (top + bottom) / 2, "nothing to show yet", "middle", 13))
    return svg(width, height, f"{y_label} by {x_label}", shapes)


def ticks(low: float, high: float, whole: bool = False) -> dict[float, str]:
    """About six round values in a range, with their names; whole numbers only if asked for."""
    raw = (high - low) / 6
    power = math.floor(math.log10(raw))
    step = next(
        (factor * 10.0**power for factor in (1, 2, 5) if factor * 10.0**power >= raw * 0.99),
        10.0 ** (power + 1),
    )
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    values = [number * step for number in range(first, min(last, first + 12) + 1)]
    largest = max(map(abs, values), default=0.0)
    if step >= 1e-4 and largest < 1e7:
        decimals = max(0, -math.floor(math.log10(step) + 1e-6))
        return {value: f"{value:,.{decimals}f}" for value in values}
    digits = math.floor(math.log10(largest or step)) - math.floor(math.log10(step) + 1e-6) + 1
    return {value: f"{value:.{max(1, min(digits, 15))}g}" for value in values}


def _finite(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Pairs of finite numbers, none so large or small that arithmetic on them fails."""

    def tame(value: float) -> float:
        return 0.0 if abs(value) < 1e-280 else max(-1e280, min(1e280, float(value)))

    return [(tame(x), tame(y)) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]


def padded(
    low: float, high: float, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float]:
    """The range with some room at both ends, inside the limits, never empty."""
    size = max(abs(low), abs(high))
    room = 0.06 * (high - low) if high - low > 1e-9 * size else (0.01 * size or 1.0)
    below, above = max(low - room, limits[0]), min(high + room, limits[1])
    return (below, above) if below < above else (low - room, high + room)


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "line":
        return f'<path d="M{x - 8:.1f} {y:.1f}h16" stroke="{LINE}" stroke-width="2.2"/>'
    if kind == "best":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{LINE}"/>'
    if kind == "dot":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{DOT}" fill-opacity="0.45"/>'
    if kind == "below":
        return f'<path d="M{x - 3.5:.1f} {y - 7:.1f}h7l-3.5 6z" fill="{DOT}" fill-opacity="0.6"/>'
    return (
        f'<path d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7" stroke="{FAILED}" '
        'stroke-width="1.8"/>'
    )


def text_at(
    x: float,
    y: float,
    text: str,
    anchor: str = "start",
    size: float = 12,
    color: str = MUTED,
    weight: str = "400",
) -> str:
    """A line of text; a long one is cut."""
    short = text if len(text) <= 48 else text[:47] + "…"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" '
        f'fill="{color}" font-weight="{weight}">{escape(short)}</text>'
    )


def svg(width: float, height: float, label: str, shapes: Sequence[str]) -> str:
    """A standalone SVG document on a white ground."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}" role="img" aria-label="{escape(label)}" '
        f'font-family="{SANS}"><title>{escape(label)}</title>'
        f'<rect width="{width:g}" height="{height:g}" rx="8" fill="{PAPER}"/>'
        f"{''.join(shapes)}</svg>"
    )
