"""Is the default controller ahead? Tables from the records of ``nas-gym compare``.

The runs are made by ``benchmarks/controllers.sh``. This reads their raw records and writes, for
each environment, the mean regret at 50, 100 and 200 distinct children and the paired difference
of the default ``reinforce`` to every other agent; how often a run found the highest reward of all
networks, and the regret of a search that evaluates every network; the regrets of every run; and
the protocol of NAS-Bench-201 (Dong & Yang 2020, section 4): 12,000 simulated seconds, chosen by
12-epoch validation, scored by the 200-epoch test.

    python -m benchmarks.controllers runs/controllers benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from agents.compare.directory import Comparison, Environment
from agents.compare.files import Record, read_records
from agents.compare.statistics import estimate, iqm, paired_difference
from nas_gym.evaluation import rank
from nas_gym.evaluators import TableEvaluator
from nas_gym.tables import Scores, nas_bench_201, nas_bench_macro, sealed_scores
from nas_gym.tables.base import LookUp

POINTS = (50, 100, 200)
DEFAULT = "reinforce"
SECONDS = 12_000.0  # of simulated training

EVALUATORS: dict[str, Callable[..., TableEvaluator]] = {
    "nas_gym/NASBenchMacro-v0": nas_bench_macro.evaluator,
    "nas_gym/NASBench201-v0": nas_bench_201.evaluator,
}

Runs: TypeAlias = Mapping[str, Mapping[int, Sequence[float]]]  # regrets by agent and seed


def regrets(record: Record, scores: Scores) -> list[float]:
    """Regret of the incumbent at each of `POINTS`, in percentage points."""
    found: list[float] = []
    best = None
    for index, row in enumerate(record.rows, 1):
        if best is None or rank(row.evaluation) > rank(best):
            best = row.evaluation
        if index in POINTS:
            found.append(scores.regret(best.architecture))
    return found + found[-1:] * (len(POINTS) - len(found))


def within(record: Record, scores: Scores, seconds: float) -> tuple[float, int]:
    """Score of the incumbent when the simulated seconds are spent, and the children afforded."""
    best, spent, children = None, 0.0, 0
    for row in record.rows:
        spent += row.evaluation.seconds
        if spent > seconds:
            break
        children += 1
        if best is None or rank(row.evaluation) > rank(best):
            best = row.evaluation
    return (scores.score(best.architecture) if best else 0.0), children


def exhaustive(
    environment: Environment, scores: Scores, seeds: Iterable[int], data_dir: str | None
) -> dict[int, tuple[float, float]]:
    """By seed, the highest reward of all networks, and the regret of the network that has it."""
    options = environment.arguments(data_dir)
    look_up = EVALUATORS[environment.id](**options).look_up
    assert isinstance(look_up, LookUp)
    reachable = scores.rows.reachable()
    found = {}
    for seed in seeds:
        rewards = look_up.accuracy(seed)[reachable]
        row = reachable[rewards.argmax()]
        found[seed] = (float(rewards.max()), scores.optimum - float(scores.values[row]))
    return found


def by_agent(records: Sequence[Record], scores: Scores) -> Runs:
    """The regrets of every run."""
    runs: dict[str, dict[int, Sequence[float]]] = {}
    for record in records:
        runs.setdefault(record.run.agent, {})[record.run.seed] = regrets(record, scores)
    return runs


def compared(runs: Runs, found: Mapping[str, float]) -> list[list[object]]:
    """One row per agent: regrets, and differences to the default.

    Args:
        runs: Regrets.
        found: Share of an agent's runs that found the highest reward.
    """
    default = runs.get(DEFAULT, {})
    rows: list[list[object]] = []
    for agent, by_seed in sorted(runs.items(), key=lambda item: _last(item[1])):
        row: list[object] = [agent, len(by_seed), _text(found[agent])]
        for column in range(len(POINTS)):
            values = np.array([one[column] for one in by_seed.values()])
            mean = estimate([values], np.mean)
            row += [_text(mean.value), _text(mean.low), _text(mean.high), _text(iqm(values))]
            common = sorted(default.keys() & by_seed.keys())
            if agent == DEFAULT or len(common) < 2:
                row += ["", "", ""]
                continue
            ahead = paired_difference(
                {seed: mine[column] for seed, mine in by_seed.items()},
                {seed: by_default[column] for seed, by_default in default.items()},
            )
            row += [_text(value) for value in ahead]
        rows.append(row)
    return rows


def protocol(records: Sequence[Record], scores: Scores) -> list[list[object]]:
    """One row per agent: the score after `SECONDS`, as mean and standard deviation."""
    found: dict[str, list[tuple[float, int]]] = {}
    for record in records:
        found.setdefault(record.run.agent, []).append(within(record, scores, SECONDS))
    rows: list[list[object]] = []
    for agent, pairs in found.items():
        values, children = np.array(pairs).T
        optimal = float(np.mean(np.isclose(values, scores.optimum)))
        rows.append(
            [
                agent,
                len(pairs),
                f"{values.mean():.2f}",
                f"{values.std(ddof=1):.2f}",
                f"{np.median(values):.2f}",
                f"{children.mean():.0f}",
                f"{optimal:.2f}",
            ]
        )
    return sorted(rows, key=lambda row: str(row[2]), reverse=True)


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([header, *rows])
    print(path)


def main() -> None:
    """Read the records, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="folder of nas-gym compare")
    parser.add_argument("out", type=Path, help="where the CSV files go")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = Comparison(arguments.comparison).read()
    records = read_records(arguments.comparison)
    names = ("mean", "low", "high", "iqm", "ahead_by", "ahead_low", "ahead_high")
    header = ["agent", "seeds", "found_highest"]
    header += [f"{name}_at_{point}" for point in POINTS for name in names]
    for label, environment in config.environments.items():
        scores = sealed_scores(environment.id, **environment.arguments(config.data_dir))
        if scores is None:
            continue
        own = [one for one in records if one.run.env == label and not one.run.failed]
        name = label.split("/")[-1].replace(":", "-").replace("=", "-")
        runs = by_agent(own, scores)
        seeds = {one.run.seed for one in own}
        highest = exhaustive(environment, scores, seeds, config.data_dir)
        hits: dict[str, list[bool]] = {}
        for one in own:
            best = max(row.evaluation.val_accuracy for row in one.rows)
            hits.setdefault(one.run.agent, []).append(best >= highest[one.run.seed][0])
        rows = compared(runs, {agent: float(np.mean(shares)) for agent, shares in hits.items()})
        regret = _text(float(np.mean([regret for _, regret in highest.values()])))
        rows.append(["(every network)", len(seeds), _text(1.0), *[""] * 14, regret])
        write(arguments.out / f"{name}.csv", header, rows)
        rows = [
            [agent, seed, *map(_text, found)]
            for agent, seeds in sorted(runs.items())
            for seed, found in sorted(seeds.items())
        ]
        columns = ["agent", "seed", *(f"at_{point}" for point in POINTS)]
        write(arguments.out / f"{name}-runs.csv", columns, rows)
        if any(row.evaluation.seconds for row in own[0].rows):
            columns = ["agent", "seeds", "test_mean", "test_sd", "median", "children", "optimal"]
            write(arguments.out / f"{name}-12000s.csv", columns, protocol(own, scores))


def _last(by_seed: Mapping[int, Sequence[float]]) -> float:
    return float(np.mean([values[-1] for values in by_seed.values()]))


def _text(value: float) -> str:
    return f"{value:.4f}"


if __name__ == "__main__":
    main()
