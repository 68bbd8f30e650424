"""The noise floor of a really trained environment: how much one network's score wanders."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, Row, read_records, read_rows, write_rows
from agents.compare.runs import in_processes
from agents.compare.specs import file_name
from agents.identity import read_goals
from nas_gym import (
    Architecture,
    Evaluation,
    InlineEvaluator,
    Ledger,
    Objective,
    Request,
    Store,
    problem_of,
)
from nas_gym._files import user_path
from nas_gym.objectives import best

FOLDER = "noise"
FIRST_SEED = 1_000_000  # beyond the seeds of any run, so no training here chose its architecture


@dataclass(frozen=True)
class Training:
    """One further training of one architecture."""

    store: Path
    environment: Environment
    data_dir: str | None
    architecture: Architecture
    seed: int


def measure_noise(
    comparison: Comparison, config: Config, trainings: int, workers: int, console: Console
) -> None:
    """Train the best architecture of every agent with further seeds, on record.

    Only environments that train; only validation scores are measured, the test set stays sealed.
    What the store knows is not trained again.
    """
    records = read_records(comparison.path)
    for label, environment in config.environments.items():
        objective, reward = read_goals(environment.goals)
        again = incumbents(objective, [one for one in records if one.run.env == label])
        if not environment.trained or not again:
            continue
        jobs = [
            Training(comparison.store, environment, config.data_dir, architecture, seed)
            for architecture in again
            for seed in range(FIRST_SEED, FIRST_SEED + trainings)
        ]
        found: dict[tuple[Architecture, int], Evaluation] = {}

        def finished(job: Training, outcome: Any) -> str:
            if isinstance(outcome, Exception):
                return f"a further training of {job.architecture} failed: {outcome}"
            found[job.architecture, job.seed] = outcome  # noqa: B023  (used in this turn only)
            return ""

        in_processes("further trainings", train, jobs, workers, console, finished)
        rows = [
            Row(one, 0, 0.0, reward(one))
            for job in jobs
            if (one := found.get((job.architecture, job.seed)))
        ]
        write_rows(_path(comparison.path, label), rows, {"env": label})


def incumbents(objective: Objective, records: Sequence[Record]) -> list[Architecture]:
    """The best architecture of every agent, no architecture twice."""
    children: dict[str, list[Evaluation]] = defaultdict(list)
    for record in records:
        children[record.run.agent] += [row.evaluation for row in record.rows]
    found = [best(objective, each) for each in children.values()]
    return list(dict.fromkeys(one.architecture for one in found if one is not None))


def train(job: Training) -> Evaluation:
    """Train one child, or recall it from the store."""
    problem, _ = problem_of(job.environment.id, **job.environment.arguments(job.data_dir))
    evaluator = InlineEvaluator(problem.source)
    with Store(job.store) as store:
        account = Ledger(evaluator, problem.objective, store)
        return account.evaluate([Request(job.architecture, job.seed)])[0]


def noise_floor(out: str | Path, label: str, objective: Objective) -> float | None:
    """Standard deviation of what one network is worth over trainings, as it is shown.

    Pooled over the architectures that were trained again; None where none was, twice.

    Raises:
        RunError: The record of these trainings is damaged.
    """
    path = _path(user_path(out), label)
    if not path.with_suffix(".json").is_file():  # it is written last
        return None
    found: dict[Architecture, list[float]] = defaultdict(list)
    for row in read_rows(path)[0]:
        value = objective.value(row.evaluation)
        if value is not None:
            found[row.evaluation.architecture].append(objective.metric.scale * value)
    several = [np.var(values, ddof=1) for values in found.values() if len(values) > 1]
    return math.sqrt(float(np.mean(several))) if several else None


def _path(out: Path, label: str) -> Path:
    return out / FOLDER / f"{file_name(label)}.csv"
