"""What it costs to hand children of two seconds to two workers: pool, executor, Ray, Dask.

Run ``python -m benchmarks.clusters --out results.csv`` (with the extras ``ray`` and ``dask``). The
children sleep for two seconds, or are trained for about as long; all evaluators take turns in
random order within one run, with their workers started and warm. The overhead is the wall time
over what two workers need at least, minus one: half of the children's own seconds together.
"""

from __future__ import annotations

import csv
import os
import platform
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from nas_gym import Architecture, Evaluation, FunctionSource, Request, TrainingSource
from nas_gym.evaluators import Evaluator, make_evaluator
from nas_gym.search_spaces import PlainCNN
from nas_gym.sources import Source
from nas_gym.tasks import load_task

WORKERS = 2
SLEEP = 2.0  # seconds


@dataclass(frozen=True)
class Config:
    """Options of the benchmark.

    Attributes:
        kinds: Of children: ``asleep``, ``trained``.
        evaluators: Which are compared.
        children: Children of one measurement.
        epochs: Of a trained child on the digits; so many that it takes about two seconds.
        rounds: Measurements of every evaluator and kind of children.
        seed: Draws the order.
        out: Where to write all numbers as CSV; None for nowhere.
    """

    kinds: tuple[str, ...] = ("asleep", "trained")
    evaluators: tuple[str, ...] = ("pool", "executor", "ray", "dask")
    children: int = 10
    epochs: int = 4
    rounds: int = 3
    seed: int = 0
    out: Path | None = None


def asleep(architecture: Architecture, seed: int) -> Evaluation:
    """A child that takes two seconds of nobody's processor; a seed below 0 takes none."""
    started = time.perf_counter()
    time.sleep(SLEEP if seed >= 0 else 0)
    return Evaluation(
        Request(architecture, seed), "ok", {"score": 0.0}, seconds=time.perf_counter() - started
    )


def sources(config: Config) -> dict[str, Source]:
    """What answers, by the kind of children."""
    task = load_task("digits")
    space = PlainCNN(task.input_shape, task.num_classes)
    recipe = task.recipe.replaced({"epochs": config.epochs, "precision": "float32"})
    return {
        "asleep": FunctionSource(asleep, "asleep", space),
        "trained": TrainingSource(task, space, recipe),
    }


@contextmanager
def place(name: str) -> Iterator[Any]:
    """What `make_evaluator` takes, as long as it runs."""
    if name == "executor":
        with ProcessPoolExecutor(WORKERS, get_context("forkserver")) as executor:
            yield executor
    elif name == "dask":
        made = import_module("distributed").LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
        )
        with made as cluster:
            yield {"name": name, "address": cluster.scheduler_address}
    else:
        yield {"name": name, "workers": WORKERS}


def measure(evaluator: Evaluator, requests: list[Request]) -> tuple[float, float]:
    """Wall seconds, and the least that the workers need for these children."""
    started = time.perf_counter()
    futures = [evaluator.submit(request) for request in requests]
    found = [future.result() for future in futures]
    wall = time.perf_counter() - started
    if not all(one.ok for one in found):
        raise RuntimeError(f"a child failed: {[one.detail for one in found if not one.ok]}")
    return wall, sum(one.seconds for one in found) / WORKERS


def run(config: Config) -> list[dict[str, Any]]:
    """Every evaluator with every kind of children, in random order within a round."""
    order, rows = random.Random(config.seed), []
    known = sources(config)
    for kind in config.kinds:
        source = known[kind]
        space = PlainCNN((1, 8, 8), 10)
        child = space.decode([1, 1, 0] * space.depth)
        warm = [Request(child, -1 - seed if kind == "asleep" else seed) for seed in range(WORKERS)]
        with ExitStack() as stack:
            ready: dict[str, Evaluator] = {}
            for name in config.evaluators:
                ready[name] = make_evaluator(stack.enter_context(place(name)), source)
                stack.callback(ready[name].close)
            for number in range(config.rounds + 1):  # the first one starts everything
                for name in order.sample(config.evaluators, len(config.evaluators)):
                    started = time.perf_counter()
                    measure(ready[name], warm)
                    start = time.perf_counter() - started
                    if not number:
                        print(f"{kind:<8}{name:<10}first two children after {start:.1f} s")
                        continue
                    requests = [Request(child, 100 + seed) for seed in range(config.children)]
                    wall, ideal = measure(ready[name], requests)
                    numbers = {"wall": f"{wall:.4f}", "ideal": f"{ideal:.4f}"}
                    overhead = f"{wall / ideal - 1:.4f}"
                    rows.append(
                        {"children": kind, "evaluator": name, "round": number}
                        | numbers
                        | {"overhead": overhead, "load": f"{os.getloadavg()[0]:.2f}"}
                    )
                    print(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def processor() -> str:
    """Its name, as the kernel gives it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def main(config: Config) -> None:
    """Measure, print, and write CSV."""
    print(processor())
    rows = run(config)
    for kind in config.kinds:
        for name in config.evaluators:
            own = [row for row in rows if (row["children"], row["evaluator"]) == (kind, name)]
            shares = [float(row["overhead"]) for row in own]
            each = [float(row["ideal"]) * WORKERS / config.children for row in own]
            print(
                f"{kind:<8}{name:<10}{median(each):>6.2f} s a child, overhead "
                f"{median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
            )
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        with config.out.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main(tyro.cli(Config))
