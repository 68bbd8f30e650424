"""Turns the official NAS-Bench-201 results (NATS-Bench, topology space) into this package's file.

The results come from the benchmark's authors (github.com/D-X-Y/NATS-Bench) as the folder
``NATS-tss-v1_0-3ffb9-simple`` or as one ``NATS-tss-v1_0-3ffb9.pickle.pbz2``, and are read by
their package ``nats_bench``. They are pickles, which can execute code when they are read: take
them from the authors only.

    pip install nats_bench
    python -m nas_gym.tables.convert NATS-tss-v1_0-3ffb9-simple nas_bench_201.npz
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas_gym._resolve import unknown
from nas_gym.search_spaces.nas_bench_201 import EDGES, OPERATIONS
from nas_gym.tables.nas_bench_201 import DATASETS, EPOCHS
from nas_gym.tasks import DataError

CELLS = len(OPERATIONS) ** len(EDGES)
FULL_EPOCHS = 200

# Names in the API: of the 12-epoch training that is validated, and of the training on all images
# that is tested.
OFFICIAL = {
    "cifar10": ("cifar10-valid", "cifar10"),
    "cifar100": ("cifar100", "cifar100"),
    "imagenet16": ("ImageNet16-120", "ImageNet16-120"),
}


class Api(Protocol):
    """What is used of ``nats_bench.create(path, "tss")``."""

    def __len__(self) -> int:
        """Number of architectures."""

    def arch(self, index: int) -> str:
        """An architecture as ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``."""

    def get_more_info(
        self,
        index: int,
        dataset: str,
        iepoch: int | None = None,
        hp: str = "12",
        is_random: bool | int = True,
    ) -> dict[str, Any]:
        """Accuracies in percent and seconds; the mean over seeds if ``is_random`` is False."""

    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> dict[str, Any]:
        """Millions of parameters (``params``) and of multiply-adds (``flops``)."""


def convert(
    api: Api,
    path: str | Path,
    datasets: Sequence[str] = tuple(OFFICIAL),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the ``.npz`` file that `nas_gym.tables.nas_bench_201` reads.

    Fields: ``ops`` (15625, 6) into ``op_names``, for the edges ``edges``; for each data set
    ``acc12_*_valid`` and ``acc12_*_test`` (12 epochs), ``acc200_*_test`` (200 epochs, mean of the
    seeds), ``params_*``, ``flops_*`` (multiply-adds) and ``train_seconds12_*`` (12 epochs on all
    training images), with ``cifar10``, ``cifar100`` or ``in16`` for ``*``.

    Args:
        api: The official API object.
        path: The file to write; it is replaced if it is there.
        datasets: Which of ``"cifar10"``, ``"cifar100"`` and ``"imagenet16"``.
        progress: Called with the number of cells that are done, and of all.

    Raises:
        ValueError: Another data set, or none.
        DataError: The API lacks cells or results, or the file cannot be written.
    """
    if not datasets:
        raise ValueError(f"name at least one data set of: {', '.join(OFFICIAL)}")
    for dataset in datasets:
        if dataset not in OFFICIAL:
            raise ValueError(unknown("dataset", dataset, OFFICIAL))
    if len(api) != CELLS:
        raise DataError(f"need the {CELLS:,} cells of the topology space, the API has {len(api):,}")
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        file = partial.open("wb")  # before the long work, in case it cannot be written
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
    try:
        with file:
            np.savez_compressed(file, **_columns(api, datasets, progress))
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _columns(
    api: Api, datasets: Sequence[str], progress: Callable[[int, int], None] | None
) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "ops": np.zeros((CELLS, len(EDGES)), dtype=np.uint8),
        "op_names": np.array(OPERATIONS),
        "edges": np.array([f"{node}<-{source}" for node, source in EDGES]),
    }
    for index in range(CELLS):
        try:
            columns["ops"][index] = _cell(api.arch(index))
            for dataset in datasets:
                for name, value in _results(api, index, dataset).items():
                    if name not in columns:
                        kind = np.int64 if isinstance(value, int) else np.float32
                        columns[name] = np.zeros(CELLS, dtype=kind)
                    columns[name][index] = value
        except Exception as error:  # whatever the API raises where results are missing
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise DataError(f"cell {index} cannot be read ({reason})") from error
        if getattr(api, "fast_mode", False):  # else it keeps all it has read, many GB
            getattr(api, "arch2infos_dict", {}).pop(index, None)
        if progress is not None:
            progress(index + 1, CELLS)
    return columns


def _results(api: Api, index: int, dataset: str) -> dict[str, float | int]:
    """One cell's values, by the name of their field."""
    validated, tested = OFFICIAL[dataset]
    field = DATASETS[dataset][0]

    def ask(name: str, epochs: int) -> dict[str, Any]:
        return api.get_more_info(index, name, hp=str(epochs), is_random=False)

    short = ask(tested, EPOCHS)
    cost = api.get_cost_info(index, tested, hp=str(EPOCHS))
    seconds = short["train-all-time"]
    return {
        f"acc12_{field}_valid": float(ask(validated, EPOCHS)["valid-accuracy"]),
        f"acc12_{field}_test": float(short["test-accuracy"]),
        f"acc200_{field}_test": float(ask(tested, FULL_EPOCHS)["test-accuracy"]),
        f"params_{field}": round(float(cost["params"]) * 1e6),
        f"flops_{field}": round(float(cost["flops"]) * 1e6),
        f"train_seconds12_{field}": np.nan if seconds is None else float(seconds),
    }


def _cell(text: str) -> list[int]:
    """The operation of each edge, in the order of `EDGES`."""
    found = {
        (node, int(source)): operation
        for node, part in enumerate(text.split("+"), 1)
        for operation, source in re.findall(r"([^|~]+)~(\d+)", part)
    }
    if found.keys() != set(EDGES) or not set(found.values()) <= set(OPERATIONS):
        raise ValueError(f"not a cell: {text!r}")
    return [OPERATIONS.index(found[edge]) for edge in EDGES]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nas_gym.tables.convert",
        description="Convert the official NATS-Bench topology results for nas_gym/NASBench201-v0.",
    )
    parser.add_argument(
        "source", type=Path, help="the folder NATS-tss-v1_0-3ffb9-simple, or the one .pickle.pbz2"
    )
    parser.add_argument("out", type=Path, help="the .npz file to write")
    parser.add_argument(
        "--datasets", nargs="+", default=list(OFFICIAL), metavar="NAME", help=", ".join(OFFICIAL)
    )
    options = parser.parse_args(arguments)
    try:
        convert(_open(options.source), options.out, options.datasets, _show)
    except (DataError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"\nwrote {options.out}; put it under the data root as nas-bench-201/nas_bench_201.npz, ")
    print(f"or use it with --env-options path={options.out}")


def _open(source: Path) -> Api:
    if not source.exists():
        raise DataError(
            f"there is no {source}; the authors' NATS-tss-v1_0-3ffb9-simple is linked from "
            "github.com/D-X-Y/NATS-Bench"
        )
    try:
        nats_bench = importlib.import_module("nats_bench")
    except ImportError as error:
        raise DataError("this needs the authors' package: pip install nats_bench") from error
    try:
        api: Api = nats_bench.create(str(source), "tss", source.is_dir(), verbose=False)
    except Exception as error:  # whatever the API raises on what it cannot read
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"{source} cannot be read as NATS-Bench results ({reason})") from error
    return api


def _show(done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        print(f"\r{done:,} of {total:,} cells", end="", flush=True)


if __name__ == "__main__":
    main()
