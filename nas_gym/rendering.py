"""The architecture so far, as text and as a small picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas_gym.search_spaces.base import Actions, SearchSpace, format_layer

CELL = 12  # pixels
GAP = 2
BACKGROUND, OPEN = (250, 250, 250), (225, 225, 225)


def render_text(space: SearchSpace, actions: Actions) -> str:
    """The decisions made so far, one group per line; complete ones as the canonical network."""
    if len(actions) == len(space.decisions):
        layers = space.decode(actions).layers
        lines = [f"{number:2}. {format_layer(layer)}" for number, layer in enumerate(layers, 1)]
        return "\n".join([f"{space.name}, complete:", *(lines or ["    (no layer)"])])
    lines = [f"{space.name}, {len(actions)} of {len(space.decisions)} decisions:"]
    group = None
    for decision, choice in zip(space.decisions, space.choose(actions), strict=False):
        place, _, what = decision.name.rpartition(".")
        if place != group:
            lines.append(f"    {place or what}:")
            group = place
        lines[-1] += f" {choice}"
    return "\n".join(lines)


def render_pixels(space: SearchSpace, actions: Actions) -> NDArray[np.uint8]:
    """A column of cells per decision, the chosen one coloured; uint8, ``(height, width, 3)``."""
    rows, columns = space.num_actions, len(space.decisions)
    shape = (rows * CELL + GAP, columns * CELL + GAP, 3)
    picture = np.full(shape, BACKGROUND, dtype=np.uint8)
    for column, size in enumerate(space.sizes):
        chosen = int(actions[column]) % int(size) if column < len(actions) else None
        for row in range(int(size)):
            top, left = row * CELL + GAP, column * CELL + GAP
            color = _color(row, rows) if row == chosen else OPEN
            picture[top : top + CELL - GAP, left : left + CELL - GAP] = color
    return picture


def _color(index: int, count: int) -> tuple[int, int, int]:
    """Evenly spread hues of one lightness."""
    angle = 2 * np.pi * index / count
    wave = 128 + 90 * np.cos(angle - np.array([0.0, 2.1, 4.2]))
    red, green, blue = (int(value) for value in wave)
    return red, green, blue
