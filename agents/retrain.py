"""``nas-gym retrain``: the best of a search, trained from scratch, and the test set, opened once.

Nothing that is learnt here flows back into a search.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from agents.drawing import draw_network
from agents.identity import read_goals
from agents.places import moved
from agents.report import test_title
from agents.results import RETRAINED, read_retrained, write_results
from agents.run_directory import CONFIG, RunDirectory, RunError
from agents.search import check_env_id
from agents.trust import own_modules, require
from nas_gym import (
    Data,
    Evaluation,
    Metric,
    Objective,
    PoolEvaluator,
    Request,
    TrainingSource,
    problem_of,
)
from nas_gym._files import write_json, write_text
from nas_gym._resolve import named_module
from nas_gym.child import DESCRIPTION, load_child
from nas_gym.isolation import isolated
from nas_gym.objectives import top
from nas_gym.own_code import raised_by_own_code
from nas_gym.search_spaces import format_layer

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
        options = {"data_dir": run.config["data_dir"], **run.config["env_options"]}
        named = own_modules("", {"task": config.task})
        trust = [*config.trust, *named]
        require(run.path / CONFIG, run.config["env"], options, trust=trust)
        objective, _ = read_goals(run.config["goals"])
        chosen = top(objective, evaluations, config.top)
        if not chosen:
            raise RunError(f"{run.path} has no child that was trained to the end")
        source = _source(run, config)
        requests = [
            Request(child.architecture, seed) for child in chosen for seed in range(config.seeds)
        ]
        task = source.task
        if not task.has_test:
            console.print(
                f"the task {task.name!r} has no test set: its networks are trained and saved, and "
                "get no test scores",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )
        _train(source, requests, config.workers, console)
        test = None
        if task.has_test:
            test = task.open_test(torch.device(source.device))  # the one place that does
            opened += 1
        if test is not None and opened > 1:
            console.print(
                f"note: the test set of this run is opened for the {_ordinal(opened)} time; "
                "the first result is the one to publish",
                soft_wrap=True,
            )
        rows = []
        for rank, child in enumerate(chosen, 1):
            mine = [one for one in requests if one.architecture == child.architecture]
            folders = [place(source, request) for request in mine]
            row = _row(rank, child, objective, folders, source)
            rows.append(
                row if test is None else row | {"test": _test_scores(folders, test, source)}
            )
        value = {"test_openings": opened, "recipe": source.recipe.to_dict(), "children": rows}
        write_json(run.path / RETRAINED, value)
        write_results(run, evaluations)
    finally:
        run.close()
    return rows


def summarise(rows: Sequence[dict[str, Any]], console: Console) -> None:
    """Print the test results, where there are any, and how to load the winner."""
    tested = shown(rows[0])
    table = Table(
        title="Retrained on train + validation"
        + (", scored on the test set" if tested else " (there is no test set)")
    )
    objective = Metric(**rows[0]["objective"])
    names = ["rank", "in the search", *(f"test {test_title(m)}" for m in tested.values())]
    for name in (*names, "parameters", "multiply-adds"):
        table.add_column(name, justify="right")
    table.add_column("architecture", overflow="fold")
    for row in rows:
        found = [(metric, row["test"][name]) for name, metric in tested.items()]
        table.add_row(
            str(row["rank"]),
            objective.format(row["validation"]),
            *(metric.spread(one["mean"], one["sd"]) for metric, one in found),
            *("" if row[name] is None else f"{row[name]:,}" for name in ("params", "macs")),
            row["architecture"],
        )
    console.print(table)
    console.print(f"in the search: {rows[0]['title']}", highlight=False)
    if tested:
        console.print(f"on the test set: mean and sd over {rows[0]['seeds']} seeds")
    console.print(f"weights, recipe and picture in {Path(rows[0]['folder'])}", soft_wrap=True)
    console.print("load it again:", highlight=False)
    folder = Path(rows[0]["folder"]) / "seed0"
    space = json.loads((folder / DESCRIPTION).read_bytes())["search_space"]
    module = named_module("search space", space)
    trust = f", trust=[{module!r}]" if module else ""
    lines = (
        "from nas_gym import load_child",
        f"model = load_child({str(folder)!r}{trust})",
        "outputs = model(inputs)  # in the data's own units",
    )
    for line in lines:
        console.print(f"    {line}", highlight=False, soft_wrap=True, markup=False)


def shown(row: Mapping[str, Any]) -> dict[str, Metric]:
    """The metrics of the test set that are shown; all of them are in `retrained.json`."""
    found = {name: Metric(name, unit=one["unit"]) for name, one in row.get("test", {}).items()}
    first = next(iter(found), "")
    return {k: v for k, v in found.items() if k in (first, "top5", row["objective"]["name"])}


def _source(run: RunDirectory, config: RetrainConfig) -> TrainingSource:
    """The search's training, on all data that is not sealed and without the search's limits."""
    options = {"data_dir": run.config["data_dir"], **run.config["env_options"]}
    if config.data_dir is not None:
        options["data_dir"] = config.data_dir
    if config.task is not None:
        options["task"] = moved(options.get("task"), config.task)
    try:
        check_env_id(run.config["env"])
        problem, _ = problem_of(run.config["env"], **options)
    except ValueError as error:
        if raised_by_own_code(error):
            raise
        raise RunError(str(error)) from error
    source = problem.training
    if source is None:
        answers = "a table" if problem.sealed is not None else problem.context["source"]
        raise RunError(f"{run.config['env']} answers from {answers}: there is nothing to train")
    before = run.config["context"]["data"]
    if source.task.fingerprint != before:
        raise RunError(
            f"the data of {source.task.name!r} is not the one that the run searched on: name "
            "where that is now with --task or --data-dir"
        )
    codes = [
        context.get("code", {}).get("search_space")
        for context in (run.config["context"], source.context)
    ]
    if codes[0] != codes[1]:
        raise RunError(
            f"the code of the search space {source.space.name} has changed since the search: its "
            "networks would be others than those that were scored"
        )
    recipe = replace(
        source.recipe,
        epochs=config.epochs or EPOCH_FACTOR * source.recipe.epochs,
        train_images=None,
        time_limit=None,
        max_params=None,
        max_macs=None,
        max_memory_mb=None,
    )
    return replace(source, part="all", recipe=recipe, keep=run.path / "retrained")


def place(source: TrainingSource, request: Request) -> Path:
    """Where a retrained network is saved."""
    folder = source.place(request)
    assert folder is not None
    return folder


def _train(source: TrainingSource, requests: list[Request], workers: int, console: Console) -> None:
    todo = [request for request in requests if not _done(request, source)]
    if len(todo) < len(requests):
        console.print(f"{len(requests) - len(todo)} of {len(requests)} trainings are saved already")
    if not todo:
        return
    evaluator = PoolEvaluator(source, min(workers, len(todo)), memory_mb=math.inf)
    title = f"training {len(todo)} networks, {source.recipe.epochs} epochs each"
    futures = {}
    try:
        futures = {evaluator.submit(request): request for request in todo}
        shown = track(
            as_completed(futures),
            title,
            total=len(todo),
            console=console,
            disable=not console.is_terminal,
        )
        for future in shown:
            request, evaluation = futures[future], future.result()
            if not evaluation.ok:
                raise RunError(
                    f"training {request.architecture} with seed {request.seed} "
                    f"{_became(evaluation)}"
                )
            if not console.is_terminal:
                console.print(
                    f"trained {place(source, request)} in {evaluation.seconds:.1f} s",
                    soft_wrap=True,
                    highlight=False,
                )
    finally:
        for future in futures:
            future.cancel()
        evaluator.close()


def _became(evaluation: Evaluation) -> str:
    if evaluation.status == "diverged":
        return f"diverged ({evaluation.detail}); search with a lower peak_lr"
    return f"failed: {evaluation.status.replace('_', ' ')}, {evaluation.detail}"


def _done(request: Request, source: TrainingSource) -> bool:
    """Whether this training is saved, and by the same recipe.

    Raises:
        RunError: It is saved, and not whole.
    """
    folder = place(source, request)
    if not (folder / DESCRIPTION).is_file():  # it is written last
        return False
    try:
        load_child(folder, source.space)
        description = json.loads((folder / DESCRIPTION).read_bytes())
        saved = description["architecture"], description["seed"]
        if saved != (json.loads(request.architecture.to_json()), request.seed):
            raise ValueError(f"{folder} holds another training than its name says")
    except (ValueError, KeyError) as error:
        raise RunError(f"{error}; delete {folder} to train it again") from error
    recipe = source.recipe_of(request.architecture).to_dict()
    return bool(description.get("recipe") == recipe)


def _row(
    rank: int,
    child: Evaluation,
    objective: Objective,
    folders: list[Path],
    source: TrainingSource,
) -> dict[str, Any]:
    space = source.space
    picture = draw_network(
        space.name, child.architecture.layers, space.input_shape, space.num_classes
    )
    write_text(folders[0].parent / "network.svg", picture)
    return {
        "rank": rank,
        "architecture": " | ".join(map(format_layer, child.architecture.layers)),
        "folder": str(folders[0].parent),
        "objective": asdict(objective.metric),
        "title": objective.columns[0].title,
        "validation": objective.value(child),
        "seeds": len(folders),
        "params": child.params,
        "macs": child.macs,
    }


def _test_scores(folders: list[Path], test: Data, source: TrainingSource) -> dict[str, Any]:
    """By metric, its unit, the value of every seed, their mean and standard deviation."""
    scores = [_test(folder, test, source) for folder in folders]
    found = {}
    for metric in source.metrics:
        values = [one[metric.name] for one in scores]
        found[metric.name] = {
            "unit": metric.unit,
            "values": values,
            "mean": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
        }
    return found


@isolated
def _test(folder: Path, test: Data, source: TrainingSource) -> dict[str, float]:
    """Score what was saved, as a user would load it: raw inputs, float32."""
    model = load_child(folder, source.space).to(torch.device(source.device)).eval()
    with torch.inference_mode():
        return source.task.score(model, test)


def _ordinal(number: int) -> str:
    ending = "th" if 10 < number % 100 < 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
