"""The raw record of one run, as files.

A run is one agent in one environment with one seed. Its record is two files, written when it ends:
``records/<environment>/<agent>/seed<k>.csv`` has a row for each distinct child in the order of
their arrival, ``seed<k>.json`` says what the run was and how it ended, and holds the checksums of
both. The JSON is written last, so a run without it has not ended.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from agents.compare.specs import file_name
from agents.run_directory import RunError
from nas_gym import Architecture, Evaluation, Request
from nas_gym._files import read_json, user_path, write_json, write_text

FOLDER = "records"
ROWS_DIGEST = "rows_sha256"
FIRST = (
    "index",  # distinct children so far, from 1
    "proposals",  # children asked for so far, repeats and the rest of a batch included
    "architecture",
    "status",
    "reward",
)  # then val_<metric> for every score, and every cost under its name
LAST = (
    "seconds",  # of training, or what the table says it takes
    "agent_seconds",  # CPU seconds outside the evaluator so far
    "epochs",
    "origin",
    "seed",
    "detail",
)
SCORE = "val_"


@dataclass(frozen=True)
class Row:
    """One distinct child of a run.

    Attributes:
        evaluation: What became of it.
        proposals: Children asked for so far, repeats and the rest of its batch included.
        agent_seconds: CPU seconds that the run spent outside the evaluator so far.
        reward: What was paid for it.
    """

    evaluation: Evaluation
    proposals: int
    agent_seconds: float
    reward: float


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
        code: sha256 of the agent's code, where it is the user's own.
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
    code: str | None = None
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether an exception or a kill ended it, so that it says nothing about the agent."""
        return self.ended.startswith("failed")

    def path(self, out: str | Path, suffix: str) -> Path:
        """Its file in a comparison; the suffix is ``.csv`` or ``.json``."""
        folder = user_path(out) / FOLDER / file_name(self.env) / file_name(self.agent)
        return folder / f"seed{self.seed}{suffix}"


@dataclass(frozen=True)
class Record:
    """A run and all it evaluated."""

    run: Run
    rows: tuple[Row, ...] = ()


def write_record(out: str | Path, record: Record) -> None:
    """Write the two files of a run."""
    write_rows(record.run.path(out, ".csv"), record.rows, asdict(record.run))


def write_rows(path: Path, rows: Sequence[Row], head: Mapping[str, Any] | None = None) -> None:
    """Write a row for every child, and a JSON file beside it.

    Args:
        path: The CSV file; its folder is made.
        rows: What it holds.
        head: What the JSON file says, beside the checksum of the rows.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    scores = list(dict.fromkeys(name for row in rows for name in row.evaluation.scores))
    costs = list(dict.fromkeys(name for row in rows for name in row.evaluation.cost))
    table.writerow([*FIRST, *(f"{SCORE}{name}" for name in scores), *costs, *LAST])
    for index, row in enumerate(rows, 1):
        e = row.evaluation
        values: list[Any] = [index, row.proposals, e.architecture.to_json(), e.status, row.reward]
        values += [e.scores.get(name) for name in scores] + [e.cost.get(name) for name in costs]
        values += [e.seconds, row.agent_seconds, e.epochs, e.origin, e.seed, e.detail]
        table.writerow(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)  # a kill now leaves rows that do not count
    write_text(path, text.getvalue())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(path.with_suffix(".json"), {**(head or {}), ROWS_DIGEST: digest})


def read_run(out: str | Path, run: Run) -> Run | None:
    """How a run of this environment, agent and seed ended; None if it has not.

    Raises:
        RunError: Its record is damaged.
    """
    path = run.path(out, ".json")
    return _read_record(out, path).run if path.is_file() else None


def read_records(out: str | Path) -> list[Record]:
    """Every run that has ended, by environment, agent and seed.

    Raises:
        RunError: A file is damaged, missing, or under the name of another one.
    """
    heads = sorted((user_path(out) / FOLDER).glob("*/*/seed*.json"))
    records = [_read_record(out, path) for path in heads]
    return sorted(records, key=lambda one: (one.run.env, one.run.agent, one.run.seed))


def read_rows(path: Path) -> tuple[tuple[Row, ...], dict[str, Any]]:
    """The rows of a CSV file, and what the JSON file beside it says.

    Raises:
        RunError: One of them is missing or damaged.
    """
    try:
        head = read_json(path.with_suffix(".json"))
    except FileNotFoundError as error:
        raise RunError(f"{error.filename} is missing") from error
    except ValueError as error:
        raise RunError(str(error)) from error
    try:
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != head.pop(ROWS_DIGEST):
            raise RunError(f"{path} is damaged: its rows are not those that were written")
        table = csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True)
        return tuple(_read_row(row) for row in table), head
    except FileNotFoundError as error:
        raise RunError(f"{error.filename} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path} is damaged") from error


def _read_record(out: str | Path, head: Path) -> Record:
    rows, facts = read_rows(head.with_suffix(".csv"))
    try:
        record = Record(Run(**facts), rows)
    except TypeError as error:
        raise RunError(f"{head} is damaged") from error
    if record.run.path(out, ".json") != head:
        raise RunError(
            f"{head} is the record of another run: {record.run.agent} on {record.run.env}, seed "
            f"{record.run.seed}"
        )
    return record


def _read_row(row: dict[str, str]) -> Row:
    known = {name: value for name, value in row.items() if value and name not in FIRST + LAST}
    scores = {k.removeprefix(SCORE): float(v) for k, v in known.items() if k.startswith(SCORE)}
    cost = {k: _number(v) for k, v in known.items() if not k.startswith(SCORE)}
    evaluation = Evaluation(
        Request(_architecture(row["architecture"]), int(row["seed"])),
        row["status"],  # type: ignore[arg-type]  # it is checked
        scores,
        cost,
        float(row["seconds"]),
        int(row["epochs"]),
        row["origin"],  # type: ignore[arg-type]
        row["detail"],
    )
    reward, seconds = float(row["reward"]), float(row["agent_seconds"])
    return Row(evaluation, int(row["proposals"]), seconds, reward)


def _number(text: str) -> float:
    """A cost; whole numbers stay whole."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


# Runs of one environment meet the same architectures over and over.
_architecture = lru_cache(maxsize=100_000)(Architecture.from_json)
