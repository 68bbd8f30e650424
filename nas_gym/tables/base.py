"""What every benchmark table shares: one row per action sequence, and the sealed scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_gym.evaluation import ACCURACY, Evaluation, Request
from nas_gym.search_spaces import Architecture, SearchSpace
from nas_gym.sources import FunctionSource
from nas_gym.tasks import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Rows:
    """Numbers the architectures of a space whose layers are its choices, one ``(choice,)`` each.

    The number of an architecture is the place of its choices among all sequences in
    lexicographic order, so a column of a table is one array of ``size`` values.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.size = int(np.prod(space.sizes))
        self._known: dict[Architecture, int] = {}
        strides = self.size // np.cumprod(space.sizes)
        self._parts = [
            {(choice,): int(stride) * index for index, choice in enumerate(decision.choices)}
            for decision, stride in zip(space.decisions, strides, strict=True)
        ]

    def number(self, architecture: Architecture) -> int:
        """The row of an architecture.

        Raises:
            ValueError: It is not one of the space.
        """
        row = self._known.get(architecture)
        if row is None:
            self.space.check(architecture)
            try:
                pairs = zip(self._parts, architecture.layers, strict=True)
                row = sum(part[layer] for part, layer in pairs)
            except (KeyError, ValueError) as error:
                raise ValueError(f"{self.space.name} has no architecture {architecture}") from error
            self._known[architecture] = row
        return row

    def reachable(self) -> Integers:
        """The rows that an episode can end in: one per canonical architecture, ascending."""
        decode = self.space.decode
        return np.unique([self.number(decode(actions)) for actions in self.space.sequences()])


@dataclass(frozen=True)
class LookUp:
    """What a search may see of a table: the function behind its source.

    Attributes:
        rows: Numbers the architectures.
        accuracy: From a seed to the validation accuracies in [0, 1], shape ``(rows.size,)``.
        params: Trainable parameters, or None where the table does not know.
        macs: Multiply-adds of one input, or None.
        seconds: What training a child took when the table was made, or None.
        epochs: Epochs of a child.
    """

    rows: Rows
    accuracy: Callable[[int], Floats]
    params: Integers | None
    macs: Integers | None
    seconds: Floats | None
    epochs: int

    def __call__(self, architecture: Architecture, seed: int) -> Evaluation:
        """The record of one child."""
        row = self.rows.number(architecture)
        costs = {"params": self.params, "macs": self.macs}
        return Evaluation(
            Request(architecture, seed),
            "ok",
            {"accuracy": float(self.accuracy(seed)[row])},
            {name: int(values[row]) for name, values in costs.items() if values is not None},
            0.0 if self.seconds is None else float(self.seconds[row]),
            self.epochs,
            "table",
        )


@dataclass(frozen=True)
class Sealed:
    """What a table knows and a search with one seed never sees.

    Attributes:
        metric: What a score is, in words.
        optimum: The best score of any architecture that can be written, in percent.
        noise: Standard deviation, in percentage points, of the score of one good network between
            two trainings; None where the table cannot tell.
        rows: Numbers the architectures.
        values: The score of every row, in percent.
    """

    metric: str
    optimum: float
    noise: float | None
    rows: Rows
    values: Floats

    def score(self, architecture: Architecture) -> float:
        """The sealed score of an architecture, in percent."""
        return float(self.values[self.rows.number(architecture)])

    def regret(self, architecture: Architecture) -> float:
        """How far it is from the optimum, in percentage points."""
        return self.optimum - self.score(architecture)


@dataclass(frozen=True)
class Table:
    """A benchmark's answers.

    Attributes:
        space: The search space whose networks it knows.
        look_up: What a search may see.
        name: What it is called, with what tells it from others; results are stored under it.
        sealed: What a search with a ``train_seed`` does not see: from that seed.
    """

    space: SearchSpace
    look_up: LookUp
    name: str
    sealed: Callable[[int], Sealed]

    @property
    def source(self) -> FunctionSource:
        """What answers for its networks."""
        return FunctionSource(self.look_up, self.name, self.space, (ACCURACY,))


def read(path: Path, what: str, reader: Callable[[Path], Any]) -> Any:
    """Read a table's file.

    Raises:
        DataError: It is missing or damaged; the message is one sentence.
    """
    if not path.is_file():
        raise DataError(
            f"{what}: there is no file {path}; put it there, or give its place as path= "
            "(the README says where it comes from)"
        )
    try:
        return reader(path)
    except DataError:
        raise
    except Exception as error:  # whatever a damaged file makes a reader raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{what}: {path} is damaged or no such table ({reason})") from error


def digest(*columns: NDArray[Any]) -> str:
    """A short name of the values, so that results of different files are never mixed."""
    total = hashlib.sha256()
    for column in columns:
        total.update(np.ascontiguousarray(column).tobytes())
    return total.hexdigest()[:12]
