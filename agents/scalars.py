"""Scalars over time: a CSV always, TensorBoard where it is installed."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class ScalarLog:
    """Writes one row of named numbers per step.

    Args:
        folder: Gets ``agent.csv`` and, if the package is installed, ``tensorboard/``. Both start
            anew: a resumed run plays its beginning again.
        tensorboard: Whether to write TensorBoard events; None for whether it is installed and
            takes the folder's name, which it does not where the locale cannot read that.
    """

    def __init__(self, folder: Path, tensorboard: bool | None = None) -> None:
        self._file = (folder / "agent.csv").open("w", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        self._names: list[str] = []
        self._events: Any = None
        if tensorboard is None:
            readable = not any("\ud800" <= one <= "\udfff" for one in str(folder))
            tensorboard = readable and find_spec("tensorboard") is not None
        if tensorboard:
            from torch.utils.tensorboard.writer import SummaryWriter

            for old in (folder / "tensorboard").glob("events.*"):
                old.unlink()
            self._events = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write one row; every row has the names of the first."""
        if not self._names:
            self._names = list(scalars)
            self._rows.writerow(["step", *self._names])
        self._rows.writerow([step, *(repr(float(scalars[name])) for name in self._names)])
        self._file.flush()
        if self._events is not None:
            for name in self._names:
                self._events.add_scalar(name, scalars[name], step)

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._events is not None:
            self._events.close()
