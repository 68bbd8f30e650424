"""From a comparison's folder to its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, read_records
from agents.compare.noise import noise_floor
from agents.compare.standings import Aggregate, Standing, aggregate
from agents.compare.trials import Measure
from agents.run_directory import RunError
from agents.search import check_env_id
from nas_gym import Evaluation
from nas_gym.tables import sealed_scores


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
    standings = [
        Standing.of(label, measure(out, label, environment, config.data_dir), config.budget, mine)
        for label, environment in config.environments.items()
        if (mine := _in_order([one for one in records if one.run.env == label], config))
    ]
    return Results(config, records, standings, aggregate(standings))


def measure(out: str | Path, label: str, environment: Environment, data_dir: str | None) -> Measure:
    """How runs in an environment are judged: by the sealed scores of its table, where it has any.

    This is called when a comparison is summed up, and in no run's process.

    Raises:
        RunError: Gymnasium does not know the environment, as its module is not here.
    """
    try:
        check_env_id(environment.id)
    except ValueError as error:
        raise RunError(str(error)) from error
    scores = sealed_scores(environment.id, **environment.arguments(data_dir))
    if scores is None:
        noise = noise_floor(out, label)
        return Measure("validation accuracy, %", _accuracy, None, noise, environment.trained)

    def score(evaluation: Evaluation) -> float:
        return scores.score(evaluation.architecture)

    return Measure(scores.metric, score, scores.optimum, scores.noise)


def _accuracy(evaluation: Evaluation) -> float:
    return 100 * evaluation.val_accuracy


def _in_order(records: list[Record], config: Config) -> list[Record]:
    """By agent as they were named, those with loops of their own last; then by seed."""
    places = {agent: place for place, agent in enumerate(config.agents)}
    return sorted(records, key=lambda one: places.get(one.run.agent, len(places)))
