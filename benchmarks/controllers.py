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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from agents.compare.directory import Comparison
from agents.compare.files import Record, read_records
from agents.compare.statistics import estimate, iqm, paired_difference
from nas_gym import Evaluation, FunctionSource, Problem, problem_of
from nas_gym.objectives import incumbents
from nas_gym.tables import LookUp, Sealed

POINTS = (50, 100, 200)
DEFAULT = "reinforce"
SECONDS = 12_000.0  # of simulated training

Runs: TypeAlias = Mapping[str, Mapping[int, Sequence[float]]]  # regrets by agent and seed


def bests(record: Record, table: Problem) -> list[Evaluation | None]:
    """The incumbent after each distinct child."""
    return incumbents(table.objective, (row.evaluation for row in record.rows))


def regrets(record: Record, table: Problem) -> list[float]:
    """Regret of the incumbent at each of `POINTS`, in percentage points."""
    sealed = sealed_of(table, record.run.seed)
    found = [
        sealed.regret(best.architecture)
        for index, best in enumerate(bests(record, table), 1)
        if index in POINTS and best is not None
    ]
    return found + found[-1:] * (len(POINTS) - len(found))


def within(record: Record, table: Problem, seconds: float) -> tuple[float, int]:
    """Score of the incumbent when the simulated seconds are spent, and the children afforded."""
    spent = np.cumsum([row.evaluation.seconds for row in record.rows])
    children = int((spent <= seconds).sum())
    best = bests(record, table)[children - 1] if children else None
    sealed = sealed_of(table, record.run.seed)
    return (sealed.score(best.architecture) if best else 0.0), children


def sealed_of(table: Problem, seed: int) -> Sealed:
    """What the table knows and a run with this seed does not see."""
    assert table.sealed is not None
    return table.sealed(seed)


def exhaustive(table: Problem, seeds: Iterable[int]) -> dict[int, tuple[float, float]]:
    """By seed, the highest reward of all networks, and the regret of the network that has it."""
    assert isinstance(table.source, FunctionSource)
    look_up = table.source.function
    assert isinstance(look_up, LookUp)
    found = {}
    for seed in seeds:
        sealed = sealed_of(table, seed)
        reachable = sealed.rows.reachable()
        rewards = look_up.accuracy(seed)[reachable]
        row = reachable[rewards.argmax()]
        found[seed] = (float(rewards.max()), sealed.optimum - float(sealed.values[row]))
    return found


def by_agent(records: Sequence[Record], table: Problem) -> Runs:
    """The regrets of every run."""
    runs: dict[str, dict[int, Sequence[float]]] = {}
    for record in records:
        runs.setdefault(record.run.agent, {})[record.run.seed] = regrets(record, table)
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


def protocol(records: Sequence[Record], table: Problem) -> list[list[object]]:
    """One row per agent: the score after `SECONDS`, as mean and standard deviation."""
    found: dict[str, list[tuple[float, int]]] = {}
    for record in records:
        found.setdefault(record.run.agent, []).append(within(record, table, SECONDS))
    rows: list[list[object]] = []
    for agent, pairs in found.items():
        values, children = np.array(pairs).T
        optimal = float(np.mean(np.isclose(values, sealed_of(table, 0).optimum)))
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
        if not environment.sealed:
            continue
        table, _ = problem_of(environment.id, **environment.arguments(config.data_dir))
        own = [one for one in records if one.run.env == label and not one.run.failed]
        name = label.split("/")[-1].replace(":", "-").replace("=", "-")
        runs = by_agent(own, table)
        seeds = {one.run.seed for one in own}
        highest = exhaustive(table, seeds)
        hits: dict[str, list[bool]] = {}
        for one in own:
            best = max(row.evaluation.scores["accuracy"] for row in one.rows)
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
            write(arguments.out / f"{name}-12000s.csv", columns, protocol(own, table))


def _last(by_seed: Mapping[int, Sequence[float]]) -> float:
    return float(np.mean([values[-1] for values in by_seed.values()]))


def _text(value: float) -> str:
    return f"{value:.4f}"


if __name__ == "__main__":
    main()
