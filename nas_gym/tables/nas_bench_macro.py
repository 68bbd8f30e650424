"""NAS-Bench-Macro: 3,969 networks (6,561 sequences), trained on CIFAR-10 (Su et al. 2021).

Each sequence was trained three times for 50 epochs. Its accuracies are the best of these epochs on
the *test* images: they compare searches, and estimate nothing.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from nas_gym._resolve import unknown
from nas_gym.evaluators import TableEvaluator
from nas_gym.search_spaces import NASBenchMacro
from nas_gym.tables.base import Floats, Integers, LookUp, Rows, Scores, digest, read
from nas_gym.tasks import DataError, data_root

Training = Literal["drawn", "mean"]

FILE = "nas-bench-macro/nas-bench-macro_cifar10.json"
EPOCHS = 50
SPACE = NASBenchMacro((3, 32, 32), 10)


def evaluator(
    training: Training = "drawn", path: str | None = None, data_dir: str | None = None
) -> TableEvaluator:
    """What a search may see.

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
    draw = _Draw(file, training)
    name = f"nas_bench_macro/{training}/{digest(accuracies)}"
    return TableEvaluator(LookUp(Rows(SPACE), draw, params, macs, None, EPOCHS), name, SPACE)


def scores(path: str | None = None, data_dir: str | None = None) -> Scores:
    """The mean accuracy of all trainings.

    A search with a drawn training is paid one of them, so the score of what it chooses is partly
    its reward, and as lucky.
    """
    accuracies, _, _ = _columns(find(path, data_dir))
    values = 100 * accuracies.mean(1)
    rows = Rows(SPACE)
    reachable = rows.reachable()
    good = reachable[values[reachable] >= np.median(values[reachable])]
    noise = None
    if accuracies.shape[1] > 1:
        noise = float(np.sqrt((100 * accuracies[good]).var(1, ddof=1).mean()))
    metric = f"mean accuracy of {accuracies.shape[1]} trainings, %"
    return Scores(metric, float(values[reachable].max()), noise, rows, values)


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
                count, trainings = accuracies.shape
                random = np.random.default_rng(seed % 2**64)  # negative seeds too, as torch does
                chosen = random.integers(trainings, size=count)
                self._drawn = accuracies[np.arange(count), chosen]
            self._seed = seed
        return self._drawn


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
