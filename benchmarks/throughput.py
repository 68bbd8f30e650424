"""Time per child: our trainer against an ordinary PyTorch loop of the same recipe, on one thread.

Run ``python -m benchmarks.throughput --data-dir DATA`` (without a folder: the digits only). All
loops train the same few random networks; they take turns in random order within one process,
and what is compared is processor time, so that other load on the machine disturbs little. See
`benchmarks/plain_loop.py` for what each step of the ladder replaces.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
import tyro
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.plain_loop import Switches, train
from nas_gym import (
    Architecture,
    ImageClassification,
    Recipe,
    Request,
    SearchSpace,
    TrainingSource,
)
from nas_gym.cost import measure
from nas_gym.search_spaces import make_search_space
from nas_gym.tasks import Split, load_task
from nas_gym.tasks.images import Images
from nas_gym.training import Job, fit

PLAIN, ONCE, TRAINER = "plain loop", "validated once", "nas_gym trainer"
LADDER: dict[str, Switches | None] = {
    PLAIN: Switches(),
    ONCE: Switches(validate_once=True),
    "tensors in memory": Switches(True, in_memory=True),
    "no .item()": Switches(True, True, no_item=True),
    "channels last": Switches(True, True, True, channels_last=True),
    "fused optimiser": Switches(True, True, True, True, fused=True),
    TRAINER: None,
}
# What an operation of the profiler belongs to: the first word that its name contains.
KINDS = {
    "convolution_backward": "convolution, backward",
    "convolution": "convolution, forward",
    "batch_norm": "batch norm",
    "bernoulli": "dropout",
    "dropout": "dropout",
    "relu": "activation",
    "threshold": "activation",
    "gelu": "activation",
    "silu": "activation",
    "pool": "pooling",
    "mean": "pooling",
    "adamw": "optimiser",
    "optimizer": "optimiser",
    "index": "data",
    "addcmul": "data",
    "rand": "data",
    "where": "data",
    "mm": "linear layer and loss",
    "softmax": "linear layer and loss",
    "nll_loss": "linear layer and loss",
}


@dataclass(frozen=True)
class Config:
    """What to measure.

    Attributes:
        data_dir: Folder with MNIST and FashionMNIST as torchvision stores them; None leaves
            these two out.
        tasks: What to train on, of digits, mnist and fashion_mnist.
        architectures: Random networks of layer_cnn per task, from small to large.
        train_images: Training images of MNIST and Fashion-MNIST; the digits use all of theirs.
            Validation images are 5 for 8 of these, as in the tasks' own recipes, and batch-norm
            statistics come from 128 images, not 512, as children are trained so much shorter.
        epochs: Epochs on MNIST and Fashion-MNIST.
        digits_epochs: Epochs on the digits.
        rounds: How often every loop trains every network; round r has seed r.
        ladder_rounds: In how many of these rounds the steps in between are measured too.
        seed: Draws the networks and the order of the loops.
        out: Where to write all numbers as JSON; None for nowhere.
    """

    data_dir: Path | None = None
    tasks: tuple[str, ...] = ("digits", "mnist", "fashion_mnist")
    architectures: int = 4
    train_images: int = 400
    epochs: int = 2
    digits_epochs: int = 3
    rounds: int = 2
    ladder_rounds: int = 0
    seed: int = 0
    out: Path | None = None


@dataclass(frozen=True)
class Bench:
    """One task: the networks and everything that was measured on them.

    Attributes:
        task: The data, cut to size.
        recipe: The task's own, cut to size.
        space: The search space.
        networks: From small to large, with their multiply-adds.
        samples: Training images that one child sees.
        runs: By loop and round, ``(accuracy, seconds)`` per network.
        kinds: Share of the trainer's time by kind of operation.
    """

    task: ImageClassification
    recipe: Recipe
    space: SearchSpace
    networks: list[tuple[Architecture, int]]
    samples: int
    runs: dict[str, list[list[tuple[float, float]]]] = field(default_factory=dict)
    kinds: dict[str, float] = field(default_factory=dict)

    def seconds(self, loop: str, network: int | None = None) -> list[float]:
        """Seconds of each round: of one network, or of all of them together."""
        return [
            sum(spent for i, (_, spent) in enumerate(runs) if network in (None, i))
            for runs in self.runs[loop]
        ]

    def ratio(self, loop: str, network: int | None = None) -> float:
        """How many times faster than the plain loop: ratio of medians over the same rounds."""
        own = self.seconds(loop, network)
        return median(self.seconds(PLAIN, network)[: len(own)]) / median(own)


def prepare(name: str, config: Config) -> Bench:
    """Load a task, cut it to size and draw its networks: the middles of as many cost classes."""
    task = load_task(name, config.data_dir)
    assert isinstance(task, ImageClassification)
    recipe = task.recipe.replaced({"epochs": config.digits_epochs})
    if name != "digits":
        held_out = config.train_images * 5 // 8
        cut = Split(task.validation.images[:held_out], task.validation.labels[:held_out])
        task = replace(task, validation=cut)
        sizes = {"train_images": config.train_images, "epochs": config.epochs, "bn_images": 128}
        recipe = recipe.replaced(sizes)
    space = make_search_space(
        "layer_cnn", input_shape=task.input_shape, num_classes=task.num_classes
    )
    draws = np.random.default_rng(config.seed)
    drawn: list[tuple[Architecture, int]] = []
    while len(drawn) < 6 * config.architectures:
        architecture = space.decode(draws.integers(space.sizes))
        cost = measure(space, architecture, recipe)
        if not cost.over(recipe):
            drawn.append((architecture, cost.macs or 0))
    drawn.sort(key=lambda network: network[1])
    images = recipe.train_images or len(task.train)
    samples = images // recipe.batch_size * recipe.batch_size * recipe.epochs
    return Bench(task, recipe, space, drawn[3::6], samples)


def run(bench: Bench, config: Config) -> None:
    """Train every network with every loop, in random order within a round."""
    source = TrainingSource(bench.task, bench.space, bench.recipe)
    order = random.Random(config.seed)
    loops = list(LADDER) if config.ladder_rounds else [PLAIN, ONCE, TRAINER]
    for loop in loops:  # the first call of everything is slow and not part of the comparison
        _child(bench, source, loop, bench.networks[0][0], 0)
        bench.runs[loop] = []
    for seed in range(config.rounds):
        due = [x for x in loops if x in (PLAIN, ONCE, TRAINER) or seed < config.ladder_rounds]
        for loop in due:
            bench.runs[loop].append([(0.0, 0.0)] * len(bench.networks))
        for number, (architecture, _) in enumerate(bench.networks):
            for loop in order.sample(due, len(due)):
                result = _child(bench, source, loop, architecture, seed)
                bench.runs[loop][seed][number] = result
    for architecture, _ in bench.networks:
        for kind, seconds in _profiled(bench, architecture).items():
            bench.kinds[kind] = bench.kinds.get(kind, 0.0) + seconds
    total = sum(bench.kinds.values())
    bench.kinds.update({kind: seconds / total for kind, seconds in bench.kinds.items()})


def _child(
    bench: Bench, source: TrainingSource, loop: str, architecture: Architecture, seed: int
) -> tuple[float, float]:
    """Validation accuracy and processor seconds of one child."""
    switches = LADDER[loop]
    started = time.process_time()
    if switches is None:
        result = source(Request(architecture, seed))
        if not result.ok:  # a child that diverged has no accuracy, and 0 is not one
            raise RuntimeError(f"{architecture} was not trained: {result.status} {result.detail}")
        accuracy = result.scores["accuracy"]
    else:
        accuracy = train(bench.space, architecture, bench.task, bench.recipe, seed, switches)
    return accuracy, time.process_time() - started


def _profiled(bench: Bench, architecture: Architecture) -> dict[str, float]:
    """Seconds of six training steps by kind of operation; the rest is Python and small calls."""
    count = 6 * bench.recipe.batch_size
    recipe = bench.recipe.replaced({"train_images": None, "epochs": 1, "bn_images": 0})
    train = Split(bench.task.train.images[:count], bench.task.train.labels[:count])
    images = Images(train, bench.task.statistics, torch.device("cpu"), recipe.augmentation)
    model = bench.space.build(architecture).to(memory_format=torch.channels_last)
    job = Job(bench.task, bench.space, architecture, recipe, "cpu")
    fit(model, images, job)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        fit(model, images, job)
    seconds: Counter[str] = Counter()
    for event in profiler.key_averages():
        name = event.key.lower()
        own = "evaluate_function" not in name and "autograd" not in name
        kind = next((kind for word, kind in KINDS.items() if own and word in name), "the rest")
        seconds[kind] += event.self_cpu_time_total / 1e6
    return dict(seconds)


def machine_rate() -> dict[str, float]:
    """What one thread reaches here, in GFLOP/s (a multiply-add is two operations)."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    x, w = torch.randn(16, 64, 28, 28), torch.randn(64, 64, 3, 3)
    x, w = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (x, w))

    def best(call: Callable[[], Any], operations: float) -> float:
        times = []
        for _ in range(12):
            started = time.process_time()
            call()
            times.append(time.process_time() - started)
        return operations / min(times) / 1e9

    return {
        "matmul 1024": best(lambda: a @ b, 2 * 1024**3),
        "conv3 64-64, 28x28": best(lambda: F.conv2d(x, w, padding=1), 2 * x.numel() * 64 * 9),
    }


def report(bench: Bench, rate: float) -> None:
    """Print what was measured on one task."""
    recipe, rounds = bench.recipe, len(bench.runs[PLAIN])
    print(
        f"\n{bench.task.name}: {bench.samples // recipe.epochs} training images, "
        f"{len(bench.task.validation)} validation images, {recipe.epochs} epochs, batch "
        f"{recipe.batch_size}, {recipe.augmentation}, {len(bench.networks)} networks, "
        f"{rounds} rounds\n"
        f"{'loop':<20}{'s/child':>9}{'ratio':>7}{'per round':>15}{'accuracy':>10}"
    )
    for loop, rows in bench.runs.items():
        own = bench.seconds(loop)
        ratios = [plain / x for plain, x in zip(bench.seconds(PLAIN), own, strict=False)]
        accuracy = mean(accuracy for row in rows for accuracy, _ in row)
        print(
            f"{loop:<20}{median(own) / len(bench.networks):>9.2f}{bench.ratio(loop):>7.2f}"
            f"{min(ratios):>9.2f}..{max(ratios):.2f}{accuracy:>10.3f}"
        )
    print(f"\n{'M multiply-adds':>16}{'plain, s':>10}{'ours, s':>9}{'ratio':>7}{'over floor':>12}")
    for number, (architecture, macs) in enumerate(bench.networks):
        plain, ours = (median(bench.seconds(loop, number)) for loop in (PLAIN, TRAINER))
        floor = macs * 3 * 2 * bench.samples / rate / 1e9
        print(
            f"{macs / 1e6:>16.2f}{plain:>10.2f}{ours:>9.2f}{bench.ratio(TRAINER, number):>7.2f}"
            f"{ours / floor:>12.1f}  {str(architecture).removeprefix('layer_cnn: ')}"
        )
    shares = sorted(bench.kinds.items(), key=lambda item: -item[1])
    print("\ntime in training: " + ", ".join(f"{kind} {share:.0%}" for kind, share in shares))


def main(config: Config) -> None:
    """Measure, print, and write JSON."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    rates = machine_rate()
    print("one thread: " + ", ".join(f"{name}: {rate:.0f} GFLOP/s" for name, rate in rates.items()))
    benches = []
    for name in config.tasks:
        if name != "digits" and config.data_dir is None:
            print(f"\n{name}: left out, it needs --data-dir")
            continue
        bench = prepare(name, config)
        run(bench, config)
        report(bench, max(rates.values()))
        benches.append(bench)
    print(f"\n{time.perf_counter() - started:.0f} s")
    if config.out is not None:
        results = {
            bench.task.name: {
                "recipe": bench.recipe.to_dict(),
                "networks": [[str(network), macs] for network, macs in bench.networks],
                "accuracy_and_seconds": bench.runs,
                "time_by_kind": bench.kinds,
            }
            for bench in benches
        }
        content = {"config": asdict(config), "gflops": rates, "tasks": results}
        config.out.parent.mkdir(parents=True, exist_ok=True)
        config.out.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Config))
