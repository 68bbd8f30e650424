"""Benchmark tables with made-up numbers, no two of which are equal."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_gym.search_spaces.nas_bench_201 import EDGES, OPERATIONS

Array = NDArray[Any]

NETS = ["".join(digits) for digits in itertools.product("012", repeat=8)]
CELLS = np.array(list(itertools.product(range(5), repeat=6)), dtype=np.uint8)
FIELDS = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "in16"}


@dataclass(frozen=True)
class Macro:
    """A table of NAS-Bench-Macro.

    Attributes:
        path: The file.
        trainings: Accuracies in percent, ``(6561, 3)``, in the order of `NETS`.
        table: What the file holds.
    """

    path: Path
    trainings: Array
    table: dict[str, Any]


@dataclass(frozen=True)
class Cells:
    """A table of NAS-Bench-201.

    Attributes:
        path: The file, whose rows, edges and operations are in an order of its own.
        columns: Its columns in the order of `CELLS`.
        fields: Everything that the file holds, as it is there.
    """

    path: Path
    columns: dict[str, Array]
    fields: dict[str, Array]


def macro(path: Path, seed: int = 0) -> Macro:
    """Write a table of NAS-Bench-Macro."""
    random = np.random.default_rng(seed)
    trainings = random.uniform(40, 95, (len(NETS), 3))
    order = random.permutation(len(NETS)).tolist()
    table = {
        NETS[row]: {
            "test_acc": trainings[row].tolist(),
            "mean_acc": float(trainings[row].mean()),
            "std": float(trainings[row].std()),
            "params": 400_000 + row,
            "flops": 8_000_000 + row,
        }
        for row in order
    }
    path.write_text(json.dumps(table), encoding="utf-8")
    return Macro(path, trainings, table)


def cells(path: Path, datasets: tuple[str, ...] = tuple(FIELDS), seed: int = 0) -> Cells:
    """Write a table of NAS-Bench-201 with times of a tenth of the cells."""
    random = np.random.default_rng(seed)
    rows, edges, names = (random.permutation(size) for size in (len(CELLS), 6, 5))
    columns: dict[str, Array] = {}
    for dataset in datasets:
        field = FIELDS[dataset]
        for name in (f"acc12_{field}_valid", f"acc12_{field}_test", f"acc200_{field}_test"):
            columns[name] = random.uniform(10, 95, len(CELLS))
        columns[f"params_{field}"] = random.permutation(len(CELLS)) + 70_000
        columns[f"flops_{field}"] = random.permutation(len(CELLS)) + 8_000_000
        columns[f"train_seconds12_{field}"] = np.where(
            random.random(len(CELLS)) < 0.1, seconds(), np.nan
        )
    fields: dict[str, Array] = {
        "ops": np.argsort(names)[CELLS][rows][:, edges].astype(np.uint8),
        "op_names": np.array(OPERATIONS)[names],
        "edges": np.array([f"{node}<-{source}" for node, source in EDGES])[edges],
    }
    fields |= {name: column[rows] for name, column in columns.items()}
    np.savez(path, **fields)  # type: ignore[arg-type]
    return Cells(path, columns, fields)


def seconds() -> Array:
    """Made-up times of all cells, linear in the numbers of their operations."""
    counts = np.stack([(operation == CELLS).sum(1) for operation in range(5)], axis=1)
    times: Array = 86.0 + counts @ np.array([0.0, -4.5, 41.5, 54.25, 19.75])
    return times


def row_of(actions: Any, choices: int) -> int:
    """The place of a sequence of actions among all, in lexicographic order."""
    return int(np.ravel_multi_index(tuple(actions), (choices,) * len(actions)))
