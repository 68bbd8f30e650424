"""From a comparison's folder to its results."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, read_records
from agents.compare.noise import noise_floor
from agents.compare.standings import Aggregate, Standing, aggregate
from agents.compare.trials import Measure
from agents.identity import read_goals
from agents.run_directory import RunError
from agents.search import check_env_id
from nas_gym import Objective, problem_of


@dataclass(frozen=True)
class Results:
    """All that a comparison found.

    Attributes:
        config: What is compared.
        records: Every run that has ended.
        standings: The agents in each environment.
        aggregate: The agents over all environments; None where that says nothing.
    """

    config: Config
    records: Sequence[Record]
    standings: Sequence[Standing]
    aggregate: Aggregate | None


def read_results(out: str | Path) -> Results:
    """Judge the raw records of a comparison.

    Raises:
        RunError: There is no comparison, or a file of it is damaged.
        DataError: The table behind an environment is gone.
    """
    config = Comparison(out).read()
    records = read_records(out)
    for record in records:
        run = record.run
        if run.env not in config.environments or run.budget != config.budget:
            raise RunError(
                f"{run.path(out, '.json')} is of no run of this comparison: its environment or "
                "budget is another"
            )
    standings = []
    for label, environment in config.environments.items():
        if mine := _in_order([one for one in records if one.run.env == label], config):
            judge = measure(out, label, environment, config.data_dir, mine)
            standings.append(Standing.of(label, judge, config.budget, mine))
    return Results(config, records, standings, aggregate(standings))


def measure(
    out: str | Path,
    label: str,
    environment: Environment,
    data_dir: str | None,
    records: Sequence[Record],
) -> Measure:
    """How runs in an environment are judged: by the sealed scores of its table, where it has any.

    This is called when a comparison is summed up, and in no run's process.

    Raises:
        RunError: Gymnasium does not know the environment, as its module is not here, or the
            comparison is of an older release.
    """
    if not environment.goals:
        raise RunError(
            f"{out} holds a comparison of an older release of nas-gym: name a new folder"
        )
    objective, _ = read_goals(environment.goals)
    if not environment.sealed:
        title, unit = objective.columns[0].title, objective.metric.unit
        words = f"{title}, {unit}" if unit else title
        noise = noise_floor(out, label, objective)
        worst = _worst(objective, records)
        return Measure(objective, words, None, worst, noise, None, environment.trained)
    try:
        check_env_id(environment.id)
        problem, _ = problem_of(environment.id, **environment.arguments(data_dir))
    except ValueError as error:
        raise RunError(str(error)) from error
    assert problem.sealed is not None
    known = [problem.sealed(seed) for seed in sorted({record.run.seed for record in records})]
    optimum = statistics.fmean(one.optimum for one in known)
    first = known[0]
    return Measure(objective, first.metric, problem.sealed, 0.0, first.noise, optimum)


def _worst(objective: Objective, records: Sequence[Record]) -> float:
    """What a run has before its first child: 0, or what is no better than any child there was."""
    metric = objective.metric
    values = (objective.value(row.evaluation) for record in records for row in record.rows)
    shown = [metric.scale * value for value in values if value is not None]
    return min([0.0, *shown]) if metric.up else max(shown, default=0.0)


def _in_order(records: list[Record], config: Config) -> list[Record]:
    """By agent as they were named, those with loops of their own last; then by seed."""
    places = {agent: place for place, agent in enumerate(config.agents)}
    return sorted(records, key=lambda one: places.get(one.run.agent, len(places)))
