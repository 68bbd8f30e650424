"""What the README says in numbers and lists is so."""

from __future__ import annotations

import re
from pathlib import Path

import gymnasium as gym

from agents import AGENTS
from benchmarks.planned import shares
from nas_gym.tables import nas_bench_macro
from nas_gym.tables.base import Rows

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


def test_agents_are_listed_as_on_the_command_line() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", README.split("| agent | what it is |")[1], re.M)
    assert rows == [(name, text) for name, (_, text) in AGENTS.items()]


def test_networks_of_the_macro_table() -> None:
    space = nas_bench_macro.SPACE
    assert (len(Rows(space).reachable()), Rows(space).size) == (3_969, 6_561)
    for text in (README, BENCHMARKS, nas_bench_macro.__doc__ or ""):
        for line in text.splitlines():
            assert "6,561 networks" not in line
    assert "3,969 of its 6,561 sequences" in README


def test_most_of_what_the_default_agent_trains_is_planned(macro_dir: Path) -> None:
    env = gym.make_vec("nas_gym/NASBenchMacro-v0", num_envs=5, data_dir=str(macro_dir))
    found = shares(env, seed=0, children=100)
    env.close()
    assert found.children == 100
    assert 0.75 < found.planned / found.children < 0.95
    assert 0.8 < found.mutations / found.planned < 1
