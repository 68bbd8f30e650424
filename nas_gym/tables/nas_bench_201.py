"""NAS-Bench-201: 15,625 cells on three data sets (Dong & Yang 2020; NATS-Bench topology)."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from nas_gym._resolve import unknown
from nas_gym.search_spaces import NASBench201
from nas_gym.search_spaces.nas_bench_201 import EDGES, OPERATIONS
from nas_gym.tables.base import Floats, Integers, LookUp, Rows, Sealed, Table, digest, read
from nas_gym.tasks import DataError, data_root

Dataset = Literal["cifar10", "cifar100", "imagenet16"]

# Name in the file's fields, images and classes.
DATASETS: dict[str, tuple[str, tuple[int, int, int], int]] = {
    "cifar10": ("cifar10", (3, 32, 32), 10),
    "cifar100": ("cifar100", (3, 32, 32), 100),
    "imagenet16": ("in16", (3, 16, 16), 120),
}
EPOCHS = 12

# The search trains on half of CIFAR-10's training images; the times are of all of them.
TRAINED_SHARE = {"cifar10": 0.5}


def space(dataset: str) -> NASBench201:
    """The search space of a data set; every cell is an architecture, as the benchmark trained it.

    Raises:
        ValueError: There is no such data set.
    """
    if dataset not in DATASETS:
        raise ValueError(unknown("dataset", dataset, get_args(Dataset)))
    _, shape, classes = DATASETS[dataset]
    return NASBench201(shape, classes, merge_isomorphic=False)


def table(dataset: str = "cifar10", path: str | None = None, data_dir: str | None = None) -> Table:
    """What a search may see: 12-epoch validation accuracy, size, and the seconds of that training.

    Sealed is the test accuracy after 200 epochs.

    Args:
        dataset: ``"cifar10"``, ``"cifar100"`` or ``"imagenet16"``.
        path: The ``.npz`` file; else ``nas-bench-201/nas_bench_201_<dataset>.npz`` under the data
            root, else ``nas-bench-201/nas_bench_201.npz`` there.
        data_dir: The data root.

    Raises:
        ValueError: Another ``dataset``.
        DataError: The file is missing, damaged, or holds other data sets only.
    """
    rows = Rows(space(dataset))
    file = find(dataset, path, data_dir)
    field = DATASETS[dataset][0]
    accuracy = _column(file, f"acc12_{field}_valid") / 100
    params = _column(file, f"params_{field}", required=False)
    macs = _column(file, f"flops_{field}", required=False)
    seconds = _seconds(file, dataset, rows)
    look_up = LookUp(
        rows,
        _Fixed(accuracy),
        None if params is None else params.astype(np.int64),
        None if macs is None else macs.astype(np.int64),
        seconds,
        EPOCHS,
    )
    name = f"nas_bench_201/{dataset}/{digest(accuracy)}"
    return Table(rows.space, look_up, name, partial(sealed, dataset, path, data_dir))


def sealed(dataset: str, path: str | None, data_dir: str | None, seed: int) -> Sealed:
    """Test accuracy after 200 epochs, which a search never sees, whatever its seed."""
    del seed
    return _sealed(dataset, find(dataset, path, data_dir))


def _sealed(dataset: str, file: Path) -> Sealed:
    rows = Rows(space(dataset))
    values = _column(file, f"acc200_{DATASETS[dataset][0]}_test")
    return Sealed(
        f"test accuracy after 200 epochs on {dataset}, %",
        float(values.max()),
        _noise(values, dataset),
        rows,
        values,
    )


def find(dataset: str, path: str | None, data_dir: str | None) -> Path:
    """The table's file."""
    if path:
        return Path(path).expanduser()
    folder = data_root(data_dir) / "nas-bench-201"
    own = folder / f"nas_bench_201_{dataset}.npz"
    together = folder / "nas_bench_201.npz"
    return together if together.is_file() and not own.is_file() else own


class _Fixed:
    """The same accuracies for every seed: the table has one 12-epoch training of each cell."""

    def __init__(self, accuracy: Floats) -> None:
        self.accuracy = accuracy

    def __call__(self, seed: int) -> Floats:
        del seed
        return self.accuracy


def _column(file: Path, name: str, required: bool = True) -> Any:
    """One field of the file, in the order of `Rows`; None if it is absent and not required.

    Only the field asked for is read, so the process of a search never holds the test scores.
    """

    def load(path: Path) -> Any:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as fields:
            if name not in fields.files:
                if not required:
                    return None
                raise DataError(
                    f"NAS-Bench-201: {path} has no field {name!r}; it has {', '.join(fields.files)}"
                )
            values = fields[name]
        order = _order(path, path.stat().st_mtime_ns)
        if values.shape != order.shape:
            raise DataError(
                f"NAS-Bench-201: {path}: {name} must have {len(order)} values, has {values.shape}"
            )
        values = values.astype(np.float64)[order]
        if not np.isfinite(values).all() and not name.startswith("train_seconds"):
            raise DataError(f"NAS-Bench-201: {path}: {name} holds values that are no numbers")
        if name.startswith("acc") and not ((values >= 0) & (values <= 100)).all():
            raise DataError(f"NAS-Bench-201: {path}: {name} must hold percentages, 0 to 100")
        return values

    return read(file, "NAS-Bench-201", load)


@lru_cache(maxsize=4)
def _order(path: Path, written: int) -> Integers:
    """Which row of the file each cell is, whatever order of edges and operations the file has.

    Kept for each file as it was ``written`` last, in nanoseconds.
    """
    del written
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as fields:
        cells, names, edges = (fields[name] for name in ("ops", "op_names", "edges"))
    wanted = [f"{node}<-{source}" for node, source in EDGES]
    if sorted(edges.tolist()) != sorted(wanted) or sorted(names.tolist()) != sorted(OPERATIONS):
        raise DataError(
            f"NAS-Bench-201: {path} needs the edges {', '.join(wanted)} and the operations "
            f"{', '.join(OPERATIONS)}"
        )
    meaning = np.array([OPERATIONS.index(name) for name in names.tolist()])
    columns = [edges.tolist().index(edge) for edge in wanted]
    shape = (len(OPERATIONS),) * len(EDGES)
    numbers = np.ravel_multi_index(tuple(meaning[cells[:, column]] for column in columns), shape)
    if sorted(numbers.tolist()) != list(range(int(np.prod(shape)))):
        raise DataError(f"NAS-Bench-201: {path} must hold each of the 15,625 cells once")
    return np.argsort(numbers)


def _seconds(file: Path, dataset: str, rows: Rows) -> Floats | None:
    """Seconds of a cell's training; None where the file has no or too few of them.

    Where a cell was not measured, what its operations cost elsewhere: the time is linear in their
    numbers (R2 .995 on CIFAR-10).
    """
    seconds = _column(file, f"train_seconds12_{DATASETS[dataset][0]}", required=False)
    if seconds is None:
        return None
    measured = np.isfinite(seconds)
    if not measured.all():
        if measured.sum() < 100:  # too few to fit five numbers and trust them
            return None
        cells = np.stack(np.unravel_index(np.arange(rows.size), rows.space.sizes), axis=1)
        counts = [(cells == operation).sum(1) for operation in range(1, len(OPERATIONS))]
        design = np.stack([np.ones(rows.size), *counts], axis=1)
        weights = np.linalg.lstsq(design[measured], seconds[measured], rcond=None)[0]
        estimate = np.maximum(design @ weights, seconds[measured].min())
        seconds = np.where(measured, seconds, estimate)
    filled: Floats = seconds * TRAINED_SHARE.get(dataset, 1.0)
    return filled


def _noise(values: Floats, dataset: str) -> float:
    """Spread of the scores of isomorphic cells, which are one network trained more than once.

    Pooled over the classes whose mean is above the median.
    """
    merged = NASBench201(*DATASETS[dataset][1:], merge_isomorphic=True)
    rows = Rows(merged)
    sequences = np.stack(np.unravel_index(np.arange(rows.size), merged.sizes), axis=1)
    classes: dict[int, list[float]] = {}
    for row, value in zip(sequences.tolist(), values.tolist(), strict=True):
        classes.setdefault(rows.number(merged.decode(row)), []).append(value)
    repeated = [np.array(scores) for scores in classes.values() if len(scores) > 1]
    middle = np.median(values)
    variances = [scores.var(ddof=1) for scores in repeated if scores.mean() >= middle]
    return float(np.sqrt(np.mean(variances)))
