"""Who writes what the default `REINFORCE` trains: its Gaussian process, or its policy?

Run ``python -m benchmarks.planned --data-dir DATA``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import tyro

import nas_gym  # noqa: F401  (registers the environments)
from agents import REINFORCE
from agents.episodes import ledger
from agents.planner import Planner
from nas_gym import Architecture

TABLES = ("nas_gym/NASBench201-v0", "nas_gym/NASBenchMacro-v0")


@dataclass(frozen=True)
class Shares:
    """Where distinct children came from.

    Attributes:
        children: All of them.
        planned: Those that the Gaussian process chose.
        mutations: Those of the latter that the policy had not written.
    """

    children: int = 0
    planned: int = 0
    mutations: int = 0

    def __add__(self, other: Shares) -> Shares:
        return Shares(
            self.children + other.children,
            self.planned + other.planned,
            self.mutations + other.mutations,
        )


def shares(env: Any, seed: int, children: int) -> Shares:
    """Play one search, and count."""
    chosen: dict[Architecture, bool] = {}  # whether it is a mutation

    class Noting(Planner):
        def plan(self, written: Any, count: int) -> Any:
            decode = self.proposals.space.decode
            own = {decode(actions) for actions in written}
            sequences, values = super().plan(written, count)
            for architecture in map(decode, sequences):
                chosen.setdefault(architecture, architecture not in own)
            return sequences, values

    trained: list[Architecture] = []
    ledger(env).watchers.append(lambda _, evaluation: trained.append(evaluation.architecture))
    with patch("agents.reinforce.Planner", Noting):
        REINFORCE(env, seed=seed).learn(children)
    planned = [chosen[architecture] for architecture in trained if architecture in chosen]
    return Shares(len(trained), len(planned), sum(planned))


def main(data_dir: str | None = None, seeds: int = 10, children: int = 100) -> None:
    """Print the shares on both tables.

    Args:
        data_dir: The data root with the tables' files.
        seeds: Searches on each.
        children: Distinct children of a search.
    """
    for env_id in TABLES:
        total = Shares()
        for seed in range(seeds):
            copies = REINFORCE.num_envs()
            env = gym.make_vec(env_id, num_envs=copies, data_dir=data_dir, train_seed=seed)
            total += shares(env, seed, children)
            env.close()
        print(
            f"{env_id}: of {total.children} children {total.planned / total.children:.1%} chosen "
            f"by the Gaussian process, of these {total.mutations / total.planned:.1%} mutations"
        )


if __name__ == "__main__":
    tyro.cli(main)
