"""``nas-gym retrain``: the best of a search, trained from scratch, and the test set, opened once.

Nothing that is learnt here flows back into a search.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.drawing import draw_network
from agents.places import moved
from agents.report import top
from agents.results import RETRAINED, read_retrained, write_results
from agents.run_directory import CONFIG, RunDirectory, RunError
from agents.search import check_env_id
from agents.trust import own_modules, require
from nas_gym._files import write_json, write_text
from nas_gym._resolve import named_module
from nas_gym.child import DESCRIPTION, load_child
from nas_gym.evaluation import Evaluation
from nas_gym.evaluators import worker
from nas_gym.evaluators.worker_pool import WorkerPool
from nas_gym.images import Images
from nas_gym.isolation import isolated
from nas_gym.search_spaces import format_layer
from nas_gym.tasks import Split
from nas_gym.training import Diverged, Scores, Trainer, score

EPOCH_FACTOR = 4  # default epochs of a retraining, over those of the search


@dataclass(frozen=True)
class RetrainConfig:
    """What to train again.

    Attributes:
        run: The run directory.
        top: Number of architectures, best validation first.
        seeds: Trainings of each.
        epochs: Passes over the data; None for four times the search's.
        workers: Trainings side by side.
        data_dir: The data root; None for that of the search.
        task: The search's task at its place now, ``folder:PATH``; None for where it was.
        trust: Modules of the user's own that the run names and that may be imported.
    """

    run: Path
    top: int = 1
    seeds: int = 3
    epochs: int | None = None
    workers: int = 1
    data_dir: str | None = None
    task: str | None = None
    trust: Collection[str] = ()


def retrain(config: RetrainConfig, console: Console) -> list[dict[str, Any]]:
    """Train the best architectures on train + validation, then score them on the test set.

    Trainings that are saved already are not repeated. A task without a test set gives trained
    networks and no scores.

    Returns:
        One row per architecture, as `retrained.json` keeps it.

    Raises:
        RunError: There is nothing to retrain, or what was retrained before is damaged.
    """
    run = RunDirectory.existing(config.run)
    run.lock()
    try:
        evaluations = run.evaluations()
        opened = int(read_retrained(run).get("test_openings", 0))
        chosen = top(evaluations, config.top)
        if not chosen:
            raise RunError(f"{run.path} has no child that was trained to the end")
        trainer = _trainer(run, config)
        jobs = [
            (run.path / "retrained" / child.architecture.key / f"seed{seed}", child, seed)
            for child in chosen
            for seed in range(config.seeds)
        ]
        sealed = trainer.task._open_test is not None
        if not sealed:
            console.print(
                f"the task {trainer.task.name!r} has no test set: its networks are trained and "
                "saved, and get no test scores",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
        _train(trainer, jobs, config.workers, console)
        test = trainer.task.open_test() if sealed else None  # the one place in nas-gym that does
        opened += sealed
        if sealed and opened > 1:
            console.print(
                f"note: the test set of this run is opened for the {_ordinal(opened)} time; "
                "the first result is the one to publish",
                soft_wrap=True,
            )
        rows = [
            _row(rank, child, [folder for folder, c, _ in jobs if c is child], test, trainer)
            for rank, child in enumerate(chosen, 1)
        ]
        value = {"test_openings": opened, "recipe": trainer.recipe.to_dict(), "children": rows}
        write_json(run.path / RETRAINED, value)
        write_results(run, evaluations)
    finally:
        run.close()
    return rows


def summarise(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the test results, where there are any, and how to load the winner."""
    tested = "test_top1" in rows[0]
    table = Table(
        title="Retrained on train + validation"
        + (", scored on the test set" if tested else " (there is no test set)")
    )
    columns = ["rank", "val. accuracy", *(["test top-1", "test top-5"] if tested else [])]
    for name in (*columns, "parameters", "multiply-adds"):
        table.add_column(name, justify="right")
    table.add_column("architecture", overflow="fold")
    for row in rows:
        scores = [
            _spread(row[f"test_{name}_mean"], row[f"test_{name}_sd"])
            for name in ("top1", "top5")
            if tested
        ]
        table.add_row(
            str(row["rank"]),
            f"{row['val_accuracy']:.2%}",
            *scores,
            f"{row['params']:,}",
            f"{row['macs']:,}",
            row["architecture"],
        )
    console.print(table)
    if tested:
        console.print(f"mean and sd over {rows[0]['seeds']} seeds; val. accuracy is the search's")
    console.print(f"weights, recipe and picture in {Path(rows[0]['folder'])}", soft_wrap=True)
    console.print("load it again:", highlight=False)
    folder = Path(rows[0]["folder"]) / "seed0"
    space = json.loads((folder / DESCRIPTION).read_bytes())["search_space"]
    module = named_module("search space", space)
    trust = f", trust=[{module!r}]" if module else ""
    lines = (
        "from nas_gym import load_child",
        f"model = load_child({str(folder)!r}{trust})",
        "logits = model(images)  # (N, channels, height, width), in the data's own units",
    )
    for line in lines:
        console.print(f"    {line}", highlight=False, soft_wrap=True, markup=False)


def _trainer(run: RunDirectory, config: RetrainConfig) -> Trainer:
    """The search's trainer, on all data that is not sealed and without the search's limits."""
    options = {"data_dir": run.config["data_dir"], **run.config["env_options"]}
    if config.data_dir is not None:
        options["data_dir"] = config.data_dir
    if config.task is not None:
        options["task"] = moved(options.get("task"), config.task)
    named = own_modules("", {"task": config.task})
    require(run.path / CONFIG, run.config["env"], options, trust=[*config.trust, *named])
    try:
        check_env_id(run.config["env"])
        env = gym.make(run.config["env"], **options)
    except ValueError as error:
        raise RunError(str(error)) from error
    trainer: Trainer | None = env.unwrapped.trainer  # type: ignore[attr-defined]
    env.close()
    if trainer is None:
        raise RunError(f"{run.config['env']} answers from a table: there is nothing to train")
    before = run.config["context"]["data"]
    if trainer.task.fingerprint != before:
        raise RunError(
            f"the data of {trainer.task.name!r} is not the one that the run searched on: name "
            "where that is now with --task or --data-dir"
        )
    codes = [
        context.get("code", {}).get("search_space")
        for context in (run.config["context"], trainer.context)
    ]
    if codes[0] != codes[1]:
        raise RunError(
            f"the code of the search space {trainer.space.name} has changed since the search: its "
            "networks would be others than those that were scored"
        )
    recipe = replace(
        trainer.recipe,
        epochs=config.epochs or EPOCH_FACTOR * trainer.recipe.epochs,
        train_images=None,
        time_limit=None,
        max_params=None,
        max_macs=None,
        max_memory_mb=None,
    )
    return replace(trainer, task=trainer.task.joined(), recipe=recipe)


def _train(
    trainer: Trainer, jobs: list[tuple[Path, Evaluation, int]], workers: int, console: Console
) -> None:
    todo = [job for job in jobs if not _done(*job, trainer)]
    if len(todo) < len(jobs):
        console.print(f"{len(jobs) - len(todo)} of {len(jobs)} trainings are saved already")
    if not todo:
        return
    scratch = Path(tempfile.mkdtemp(prefix="nas-gym-"))
    trainer.task.save(scratch / "task.pt")
    arguments = (scratch / "task.pt", trainer.space, trainer.recipe, trainer.device, None)
    pool = WorkerPool(min(workers, len(todo)), worker.set_up, arguments, scratch)
    bar = track(
        range(len(todo)),
        f"training {len(todo)} networks, {trainer.recipe.epochs} epochs each",
        console=console,
        disable=not console.is_terminal,
    )
    steps = iter(bar)
    next(steps)

    def finished(position: int, outcome: Any) -> None:
        next(steps, None)
        folder, child, seed = todo[position]
        if isinstance(outcome, Exception):
            raise RunError(f"training {child.architecture} with seed {seed} failed: {outcome}")
        if not console.is_terminal:
            console.print(f"trained {folder} in {outcome:.1f} s", soft_wrap=True, highlight=False)

    try:
        calls = [(folder, child.architecture, seed) for folder, child, seed in todo]
        pool.run(worker.train_to, calls, finished)
    except Diverged as error:
        raise RunError(f"a retraining diverged ({error}); search with a lower peak_lr") from error
    finally:
        pool.close()


def _done(folder: Path, child: Evaluation, seed: int, trainer: Trainer) -> bool:
    """Whether this training is saved, and by the same recipe.

    Raises:
        RunError: It is saved, and not whole.
    """
    if not (folder / DESCRIPTION).is_file():  # it is written last
        return False
    try:
        load_child(folder, trainer.space)
        description = json.loads((folder / DESCRIPTION).read_bytes())
        saved = description["architecture"], description["seed"]
        if saved != (json.loads(child.architecture.to_json()), seed):
            raise ValueError(f"{folder} holds another training than its name says")
    except (ValueError, KeyError) as error:
        raise RunError(f"{error}; delete {folder} to train it again") from error
    return bool(description.get("recipe") == trainer.recipe.to_dict())


def _row(
    rank: int, child: Evaluation, folders: list[Path], test: Split | None, trainer: Trainer
) -> dict[str, Any]:
    picture = draw_network(
        trainer.space.name,
        child.architecture.layers,
        trainer.task.input_shape,
        trainer.task.num_classes,
    )
    write_text(folders[0].parent / "network.svg", picture)
    return {
        "rank": rank,
        "architecture": " | ".join(map(format_layer, child.architecture.layers)),
        "folder": str(folders[0].parent),
        "val_accuracy": child.val_accuracy,
        **({} if test is None else _test_scores(folders, test, trainer)),
        "seeds": len(folders),
        "params": child.params,
        "macs": child.macs,
    }


def _test_scores(folders: list[Path], test: Split, trainer: Trainer) -> dict[str, Any]:
    scores = [_test(folder, test, trainer) for folder in folders]
    top1, top5 = [s.top1 for s in scores], [s.top5 for s in scores if s.top5 is not None]
    return {
        "test_top1": top1,
        "test_top1_mean": statistics.fmean(top1),
        "test_top1_sd": statistics.stdev(top1) if len(top1) > 1 else None,
        "test_top5_mean": statistics.fmean(top5) if top5 else None,
        "test_top5_sd": statistics.stdev(top5) if len(top5) > 1 else None,
    }


@isolated
def _test(folder: Path, test: Split, trainer: Trainer) -> Scores:
    """Score what was saved, as a user would load it: raw pixels in, float32."""
    channels = test.images.shape[-1]
    where = torch.device(trainer.device)
    raw = Images(test, ([0.0] * channels, [1.0] * channels), where, channels_last=False)
    return score(load_child(folder, trainer.space).to(where), raw, "float32")


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _spread(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.2%}" if sd is None else f"{mean:.2%} ± {100 * sd:.2f}"
