"""Steps a second of the table environments: architectures in lockstep against one by one.

Run ``python -m benchmarks.stepping --data-dir DATA``. Both ways write the same random
architectures, take turns within one process on one thread, and what is compared is processor
time. A step is one decision of one architecture; looking the finished ones up is part of it.
"""

from __future__ import annotations

import cProfile
import json
import pstats
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray

import nas_gym

LOCKSTEP, LOOP = "lockstep", "plain loop"
TARGET = 100_000  # steps a second in lockstep


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
        data_dir: The data root with the tables' files.
        num_envs: Architectures in lockstep, and single environments of the plain loop.
        episodes: Episodes of each in a round.
        rounds: How often each way is measured.
        functions: Functions that are listed with their share of the time.
        out: A JSON file for the results.
    """

    data_dir: str | None = None
    num_envs: int = 64
    episodes: int = 200
    rounds: int = 5
    functions: int = 12
    out: Path | None = None


def lockstep(env_id: str, config: Config, actions: NDArray[np.int64]) -> Callable[[], int]:
    """One vector environment; it begins the next episodes by itself."""
    env = gym.make_vec(env_id, num_envs=config.num_envs, data_dir=config.data_dir)

    def run() -> int:
        env.reset(seed=0)
        for episode in actions:
            for step in episode:
                env.step(step)
        distinct: int = env.unwrapped.ledger.distinct  # type: ignore[attr-defined]
        return distinct

    return run


def loop(env_id: str, config: Config, actions: NDArray[np.int64]) -> Callable[[], int]:
    """As many single environments, one after the other, without Gymnasium's checks."""
    envs = [
        gym.make(env_id, data_dir=config.data_dir, disable_env_checker=True)
        for _ in range(config.num_envs)
    ]
    sequences = actions.tolist()

    def run() -> int:
        for episode in sequences:
            for number, env in enumerate(envs):
                env.reset(seed=0)
                for step in episode:
                    env.step(step[number])
        return sum(env.unwrapped.ledger.distinct for env in envs)  # type: ignore[attr-defined]

    return run


def seconds(run: Callable[[], int]) -> tuple[float, int]:
    """Processor time of a call, and what it gave."""
    started = time.process_time()
    distinct = run()
    return time.process_time() - started, distinct


def shares(run: Callable[[], int], functions: int) -> dict[str, float]:
    """Share of the time that is spent in each function itself, the largest first."""
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(run)
    rows: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in rows.values())
    names: dict[str, float] = {}
    for (file, _, function), (_, _, own, _, _) in rows.items():
        place = "" if file == "~" else "/".join(Path(file).parts[-2:]) + ": "
        names[place + function] = names.get(place + function, 0.0) + own / total
    return dict(sorted(names.items(), key=lambda item: -item[1])[:functions])


def measure(env_id: str, config: Config) -> dict[str, Any]:
    """Rates, ratios and shares of one table."""
    space = gym.make(env_id, data_dir=config.data_dir).unwrapped.search_space  # type: ignore[attr-defined]
    shape = (config.episodes, len(space.decisions), config.num_envs)
    actions = np.random.default_rng(0).integers(space.num_actions, size=shape)
    rates: dict[str, list[float]] = {LOCKSTEP: [], LOOP: []}
    distinct = 0
    for number in range(config.rounds):
        ways = [(LOCKSTEP, lockstep), (LOOP, loop)]
        for name, way in ways if number % 2 else reversed(ways):
            taken, found = seconds(way(env_id, config, actions))
            rates[name].append(actions.size / taken)
            if way is lockstep:
                distinct = found
    return {
        "steps": actions.size,
        "distinct": distinct,
        "rates": rates,
        "ratio": median(rates[LOCKSTEP]) / median(rates[LOOP]),
        "shares": shares(lockstep(env_id, config, actions), config.functions),
    }


def report(env_id: str, result: dict[str, Any], config: Config) -> None:
    """Print what was measured on one table."""
    episodes = config.episodes * config.num_envs
    print(
        f"\n{env_id}: {result['steps']:,} steps a round, {config.num_envs} architectures at a "
        f"time, {result['distinct']:,} distinct of {episodes:,}"
    )
    for name, rates in result["rates"].items():
        print(f"{name:<12}{median(rates):>12,.0f} steps/s{min(rates):>12,.0f} ..{max(rates):,.0f}")
    reached = "reached" if median(result["rates"][LOCKSTEP]) >= TARGET else "missed"
    print(f"ratio {result['ratio']:.1f}; the target of {TARGET:,} steps/s is {reached}")
    for function, share in result["shares"].items():
        print(f"{share:>6.1%}  {function}")


def main(config: Config) -> None:
    """Measure, print, and write JSON."""
    torch.set_num_threads(1)
    results = {}
    for env_id in nas_gym.BENCHMARKS:
        results[env_id] = measure(env_id, config)
        report(env_id, results[env_id], config)
    if config.out is not None:
        content = {"config": asdict(config), "tables": results}
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Config))
