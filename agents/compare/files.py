"""The raw record of one run, as files.

A run is one agent in one environment with one seed. Its record is two files, written when it ends:
``records/<environment>/<agent>/seed<k>.csv`` has a row for each distinct child in the order of
their arrival, ``seed<k>.json`` says what the run was and how it ended. The JSON is written last,
so a run without it has not ended.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.compare.specs import file_name
from agents.run_directory import RunError, write_text
from nas_gym import Architecture, Evaluation

FOLDER = "records"
COLUMNS = (
    "index",  # distinct children so far, from 1
    "proposals",  # children asked for so far, repeats and the rest of a batch included
    "architecture",
    "status",
    "val_accuracy",
    "val_loss",
    "params",
    "macs",
    "seconds",  # of training, or what the table says it takes
    "agent_seconds",  # CPU seconds outside the evaluator so far
    "source",
    "seed",
    "detail",
)


@dataclass(frozen=True)
class Row:
    """One distinct child of a run.

    Attributes:
        evaluation: What became of it.
        proposals: Children asked for so far, repeats and the rest of its batch included.
        agent_seconds: CPU seconds that the run spent outside the evaluator so far.
    """

    evaluation: Evaluation
    proposals: int
    agent_seconds: float


@dataclass(frozen=True)
class Run:
    """What a run was, and how it ended.

    Attributes:
        env: Label of the environment.
        agent: Label of the agent.
        seed: Of the agent, and of the training of all its children.
        budget: Distinct children it was given.
        ended: ``"budget"`` (spent), ``"exhausted"`` (every network of the space is evaluated),
            ``"stalled"`` (the last 1,000 proposals were all known), ``"gave up"`` (returned
            before), or ``"failed: ..."`` with the reason.
        distinct: Distinct children evaluated.
        proposals: Children asked for.
        repeats: Proposals that were asked for before.
        failures: Distinct children that are not ``ok``.
        agent_seconds: CPU seconds spent outside the evaluator.
        versions: Of the packages that matter.
        detail: The traceback of a run that failed.
    """

    env: str
    agent: str
    seed: int
    budget: int
    ended: str = "budget"
    distinct: int = 0
    proposals: int = 0
    repeats: int = 0
    failures: int = 0
    agent_seconds: float = 0.0
    versions: dict[str, str] | None = None
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether an exception or a kill ended it, so that it says nothing about the agent."""
        return self.ended.startswith("failed")

    def path(self, out: str | Path, suffix: str) -> Path:
        """Its file in a comparison; the suffix is ``.csv`` or ``.json``."""
        folder = Path(out) / FOLDER / file_name(self.env) / file_name(self.agent)
        return folder / f"seed{self.seed}{suffix}"


@dataclass(frozen=True)
class Record:
    """A run and all it evaluated."""

    run: Run
    rows: tuple[Row, ...] = ()


def write_record(out: str | Path, record: Record) -> None:
    """Write the two files of a run."""
    data, head = (record.run.path(out, suffix) for suffix in (".csv", ".json"))
    head.unlink(missing_ok=True)  # a kill in between leaves a run that has not ended
    write_rows(data, record.rows)
    write_text(head, json.dumps(asdict(record.run), indent=2) + "\n")


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a row for every child, under `COLUMNS`."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for index, row in enumerate(rows, 1):
        e = row.evaluation
        values: list[Any] = [index, row.proposals, e.architecture.to_json(), e.status]
        values += [e.val_accuracy, e.val_loss, e.params, e.macs, e.seconds]
        table.writerow([*values, row.agent_seconds, e.source, e.seed, e.detail])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text.getvalue())


def read_run(out: str | Path, run: Run) -> Run | None:
    """How a run of this environment, agent and seed ended; None if it has not.

    Raises:
        RunError: The file is damaged.
    """
    path = run.path(out, ".json")
    return _read_head(path) if path.is_file() else None


def read_records(out: str | Path) -> list[Record]:
    """Every run that has ended, by environment, agent and seed.

    Raises:
        RunError: A file is damaged or missing.
    """
    heads = sorted((Path(out) / FOLDER).glob("*/*/seed*.json"))
    records = [Record(_read_head(path), read_rows(path.with_suffix(".csv"))) for path in heads]
    return sorted(records, key=lambda one: (one.run.env, one.run.agent, one.run.seed))


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a file.

    Raises:
        RunError: It is missing or damaged.
    """
    try:
        with path.open(newline="") as file:
            return tuple(_read_row(row) for row in csv.DictReader(file, strict=True))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged") from error


def _read_head(path: Path) -> Run:
    try:
        return Run(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} is damaged") from error


def _read_row(row: dict[str, Any]) -> Row:
    def number(name: str, kind: type[int] | type[float]) -> Any:
        return kind(row[name]) if row[name] else None

    evaluation = Evaluation(
        _architecture(row["architecture"]),
        row["status"],
        float(row["val_accuracy"]),
        val_loss=number("val_loss", float),
        params=number("params", int),
        macs=number("macs", int),
        seconds=float(row["seconds"]),
        seed=int(row["seed"]),
        source=row["source"],
        detail=row["detail"],
    )
    return Row(evaluation, int(row["proposals"]), float(row["agent_seconds"]))


# Runs of one environment meet the same architectures over and over.
_architecture = lru_cache(maxsize=100_000)(Architecture.from_json)
