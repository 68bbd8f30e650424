"""What the benchmarks' README says of the controllers is what their results hold."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SECTION = (FOLDER / "README.md").read_text(encoding="utf-8").split("## Controllers")[1]
TABLES = {
    "NASBenchMacro-v0": "**NAS-Bench-Macro** ",
    "NASBench201-v0": "**NAS-Bench-201, CIFAR-10** ",
    "NASBenchMacro-v0-training-mean": "**NAS-Bench-Macro without noise** ",
}
POINTS = (50, 100, 200)


def rows(name: str) -> list[dict[str, str]]:
    with (FOLDER / "results" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def published(heading: str) -> dict[str, list[str]]:
    """The cells of the table below a heading, by agent."""
    lines = SECTION.split(heading)[1].split("\n\n")[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {agent.strip("`"): rest for agent, *rest in cells}


@pytest.mark.parametrize("name", TABLES)
def test_the_table_is_that_of_the_results(name: str) -> None:
    table = published(TABLES[name])
    results = [row for row in rows(name) if not row["agent"].startswith("(")]
    assert [row["agent"] for row in results] == [agent for agent in table if "every" not in agent]
    for row in results:
        cells = table[row["agent"]]
        means = [f"{float(row[f'mean_at_{point}']):.3f}" for point in POINTS]
        assert cells[:5] == [row["seeds"], *means, f"{float(row['found_highest']):.0%}"]
        for point, cell in zip(POINTS, cells[5:], strict=True):
            expected = [row[f"ahead_{part}_at_{point}"] for part in ("by", "low", "high")]
            found = re.findall(r"[+-]\d\.\d{3}", cell)
            assert found == [f"{float(number):+.3f}" for number in expected if number]
            if found:
                outside = float(expected[1]) > 0 or float(expected[2]) < 0
                assert cell.startswith("**") == outside


@pytest.mark.parametrize("name", TABLES)
def test_the_results_are_those_of_the_runs(name: str) -> None:
    """Means, and by how much the default is ahead: positive where its regret is lower."""
    runs: dict[str, dict[int, list[float]]] = {}
    for run in rows(f"{name}-runs"):
        regrets = [float(run[f"at_{point}"]) for point in POINTS]
        runs.setdefault(run["agent"], {})[int(run["seed"])] = regrets
    default = runs["reinforce"]
    for row in rows(name):
        if row["agent"].startswith("("):
            continue
        mine = runs[row["agent"]]
        assert sorted(mine) == list(range(int(row["seeds"])))
        means = np.mean(list(mine.values()), axis=0)
        ahead = np.mean([np.subtract(mine[s], default[s]) for s in mine.keys() & default], axis=0)
        for column, point in enumerate(POINTS):
            assert float(row[f"mean_at_{point}"]) == pytest.approx(means[column], abs=2e-4)
            if row["agent"] != "reinforce":
                assert float(row[f"ahead_by_at_{point}"]) == pytest.approx(ahead[column], abs=2e-4)
