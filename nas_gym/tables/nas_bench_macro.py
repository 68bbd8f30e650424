"""NAS-Bench-Macro: 3,969 networks (6,561 sequences), trained on CIFAR-10 (Su et al. 2021).

Each sequence was trained three times for 50 epochs. Its accuracies are the best of these epochs on
the *test* images: they compare searches, and estimate nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from nas_gym._resolve import unknown
from nas_gym.search_spaces import NASBenchMacro
from nas_gym.tables.base import Floats, Integers, LookUp, Rows, Sealed, Table, digest, read
from nas_gym.tasks import DataError, data_root

Training = Literal["drawn", "mean"]

FILE = "nas-bench-macro/nas-bench-macro_cifar10.json"
EPOCHS = 50
SPACE = NASBenchMacro((3, 32, 32), 10)


def table(
    training: Training = "drawn", path: str | None = None, data_dir: str | None = None
) -> Table:
    """What a search may see, and what is sealed.

    Args:
        training: The reward is the accuracy of one of the trainings, ``"drawn"`` by the seed for
            each architecture, or their ``"mean"``.
        path: The benchmark's JSON file; else the one under the data root.
        data_dir: The data root.

    Raises:
        ValueError: Another ``training``.
        DataError: The file is missing or damaged.
    """
    if training not in get_args(Training):
        raise ValueError(unknown("training", training, get_args(Training)))
    file = find(path, data_dir)
    accuracies, params, macs = _columns(file)
    look_up = LookUp(Rows(SPACE), _Draw(file, training), params, macs, None, EPOCHS)
    name = f"nas_bench_macro/{training}/{digest(accuracies)}"
    return Table(SPACE, look_up, name, partial(sealed, training, path, data_dir))


def sealed(training: Training, path: str | None, data_dir: str | None, seed: int) -> Sealed:
    """The mean accuracy of the trainings that a search did not see.

    A search with a drawn training sees one of them, by its seed. One with their mean sees all, so
    its score is its reward.
    """
    file = find(path, data_dir)
    _columns(file)  # which says what is wrong with it
    return _sealed(training, file, file.stat().st_mtime_ns, seed)


@lru_cache(maxsize=32)
def _sealed(training: Training, file: Path, written: int, seed: int) -> Sealed:
    """What `sealed` gives, kept for each file as it was ``written`` last, in nanoseconds."""
    del written
    accuracies, _, _ = _columns(file)
    count = accuracies.shape[1]
    values = 100 * accuracies.mean(1)
    metric = f"mean accuracy of {count} trainings, %"
    if training == "drawn" and count > 1:
        seen = accuracies[np.arange(len(accuracies)), _drawn(accuracies, seed)]
        values = 100 * (accuracies.sum(1) - seen) / (count - 1)
        metric = f"mean accuracy of the {count - 1} trainings that the search did not see, %"
    rows = Rows(SPACE)
    reachable = rows.reachable()
    means = accuracies.mean(1)
    good = reachable[means[reachable] >= np.median(means[reachable])]
    noise = None
    if count > 1:
        noise = float(np.sqrt((100 * accuracies[good]).var(1, ddof=1).mean()))
    return Sealed(metric, float(values[reachable].max()), noise, rows, values)


def find(path: str | None, data_dir: str | None) -> Path:
    """The table's file."""
    return Path(path).expanduser() if path else data_root(data_dir) / FILE


class _Draw:
    """Accuracies of one training per architecture; holds those of the last seed only.

    So that nothing here is the sealed score, their mean. Whoever calls it with many seeds can
    compute that.
    """

    def __init__(self, file: Path, training: Training) -> None:
        self.file = file
        self.training = training
        self._seed: int | None = None
        self._drawn: Floats = np.zeros(0)

    def __call__(self, seed: int) -> Floats:
        if self._seed != seed:
            accuracies, _, _ = _columns(self.file)
            if self.training == "mean":
                self._drawn = accuracies.mean(1)
            else:
                self._drawn = accuracies[np.arange(len(accuracies)), _drawn(accuracies, seed)]
            self._seed = seed
        return self._drawn


def _drawn(accuracies: Floats, seed: int) -> Integers:
    """Which training of each architecture a search with this seed sees, ``(6561,)``."""
    count, trainings = accuracies.shape
    random = np.random.default_rng(seed % 2**64)  # negative seeds too, as torch does
    return np.asarray(random.integers(trainings, size=count), dtype=np.int64)


def _columns(file: Path) -> tuple[Floats, Integers, Integers]:
    """Accuracies in [0, 1], ``(6561, trainings)``; parameters and multiply-adds, ``(6561,)``."""
    columns: tuple[Floats, Integers, Integers] = read(
        file, "NAS-Bench-Macro", lambda path: _parsed(path, path.stat().st_mtime_ns)
    )
    return columns


@lru_cache(maxsize=2)
def _parsed(file: Path, written: int) -> tuple[Floats, Integers, Integers]:
    """What `_columns` gives, kept for each file as it was ``written`` last, in nanoseconds."""
    del written
    table = json.loads(file.read_text(encoding="utf-8"))
    keys = ["".join(map(str, digits)) for digits in np.ndindex(*SPACE.sizes.tolist())]
    missing = [key for key in keys if not isinstance(table, dict) or key not in table]
    if missing:
        raise DataError(
            f"NAS-Bench-Macro: {file} lacks {len(missing)} of {len(keys)} networks, among them "
            f"{missing[0]!r}"
        )
    try:
        rows = [table[key] for key in keys]
        accuracies = np.array([row["test_acc"] for row in rows], dtype=np.float64) / 100
        params = np.array([row["params"] for row in rows], dtype=np.int64)
        macs = np.array([row["flops"] for row in rows], dtype=np.int64)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"NAS-Bench-Macro: {file}: every network needs test_acc (as many trainings each), "
            f"params and flops ({type(error).__name__}: {error})"
        ) from error
    in_range = ((accuracies >= 0) & (accuracies <= 1)).all()
    if accuracies.ndim != 2 or not accuracies.size or not in_range:
        raise DataError(f"NAS-Bench-Macro: {file}: test_acc must hold percentages, 0 to 100")
    return accuracies, params, macs
