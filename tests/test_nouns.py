"""Tasks, spaces, sources and evaluators of kinds to come, with nothing of the package changed."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from support.bag import BagOfWords
from support.cells import Cells
from support.dense import Dense
from support.regression import Positions
from support.stream import Letters
from support.tokens import Sentences

import nas_gym
from agents.cli import main
from nas_gym import Architecture, Evaluation, NASEnv, Recipe, Request, SearchSpace, Task
from nas_gym.search_spaces import LayerCNN
from nas_gym.sources import TrainingSource
from nas_gym.testing import check_search_space, check_task

KINDS: dict[str, tuple[Callable[[], Task], SearchSpace]] = {
    "support.tokens:Sentences": (Sentences, BagOfWords((12,), 3, vocabulary=20)),
    "support.stream:Letters": (Letters, Cells((8,), 6, vocabulary=6)),
    "support.regression:Positions": (Positions, Dense((1, 5, 5), 2)),
}
SPACES = {name: f"{type(s).__module__}:{type(s).__name__}" for name, (_, s) in KINDS.items()}
HEADLINES = {
    "support.tokens:Sentences": ("accuracy", True),
    "support.stream:Letters": ("perplexity", False),
    "support.regression:Positions": ("rmse", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_a_task_with_a_space(kind: str) -> None:
    make, space = KINDS[kind]
    check_search_space(space, samples=4)
    check_task(make(), space)


@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_plays_it(kind: str) -> None:
    env = gym.make(nas_gym.CUSTOM, task=kind, search_space=SPACES[kind])
    env.reset(seed=0)
    done = False
    while not done:
        _, reward, done, _, info = env.step(1)
    assert isinstance(env.unwrapped, NASEnv)
    name, up = HEADLINES[kind]
    value = info[f"val_{name}"]
    assert reward == (value if up else 1 / (1 + value))
    env.close()


def search(out: Path, kind: str, *options: str) -> list[dict[str, str]]:
    """Every network of the space, and the rows of the run."""
    space = KINDS[kind][1]
    count = str(len({space.decode(actions) for actions in space.sequences()}))
    words = ["search", "--task", kind, "--search-space", SPACES[kind], "--agent", "random"]
    main([*words, "--budget", count, "--workers", "1", "--out", str(out), *options])
    with (out / "evaluations.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["architecture"] for row in rows}) == int(count)
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_ranks_by_its_metric(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = search(tmp_path / "run", kind)
    name, up = HEADLINES[kind]
    values = [float(row[f"val_{name}"]) for row in rows]
    assert len(set(values)) > 1
    best = max(values) if up else min(values)
    chosen = json.loads((tmp_path / "run" / "best.json").read_bytes())
    assert chosen["objective"] == {name: best}
    out = capsys.readouterr().out
    assert f"by validation {name}" in out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    shown = f"{best:.2%}" if name == "accuracy" else f"{best:.4g}"
    assert f'<p class="big">{shown}' in page
    main(["retrain", str(tmp_path / "run"), "--seeds", "1", "--trust", *trusted(kind)])
    (child,) = json.loads((tmp_path / "run" / "retrained.json").read_bytes())["children"]
    assert child["validation"] == best
    assert (Path(child["folder"]) / "seed0" / "weights.pt").is_file()


def trusted(kind: str) -> list[str]:
    return [kind.partition(":")[0], SPACES[kind].partition(":")[0]]


def test_a_comparison_ranks_by_a_metric_of_which_less_is_better(tmp_path: Path) -> None:
    kind, out = "support.stream:Letters", tmp_path / "compare"
    env = f"{nas_gym.CUSTOM}:task={kind}:search_space={SPACES[kind]}"
    options = ["--agents", "random", "--budget", "4", "--seeds", "2", "--workers", "1"]
    main(["compare", "--env", env, *options, "--out", str(out)])
    with (out / "runs.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            scores = [float(row[f"score_at_{percent}%"]) for percent in (25, 50, 100)]
            assert scores == sorted(scores, reverse=True)
            assert scores[-1] == pytest.approx(float(row["perplexity"]), abs=1e-4)
            assert scores[-1] < 2
    assert "lowest validation perplexity" in (out / "summary.md").read_text(encoding="utf-8")


def test_a_decision_can_be_about_training() -> None:
    space = Dense((1, 5, 5), 2)
    source = TrainingSource(Positions(), space, Positions.recipe)
    slow, fast = (source(Request(space.decode([1, rate]))) for rate in (0, 1))
    assert slow.cost == fast.cost
    assert fast.scores["rmse"] < slow.scores["rmse"] - 0.5


def test_two_objectives_have_a_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "support.regression:Positions"
    rows = search(tmp_path / "run", kind, "--objective", "rmse,params")
    points = {row["architecture"]: (float(row["val_rmse"]), float(row["params"])) for row in rows}
    front = [
        name
        for name, point in points.items()
        if not any(o != point and o[0] <= point[0] and o[1] <= point[1] for o in points.values())
    ]
    assert 1 < len(front) < len(points)
    out = capsys.readouterr().out
    table = out[out.index("Front of 4 distinct children") :]
    words = {name: " ".join(map(str, json.loads(name)["layers"][0])) for name in points}
    assert {name for name in points if words[name] in table} == set(front)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"The front: {len(front)} architectures" in page


# ---------------------------------------------------------------- where it runs


def slow_answer(architecture: Architecture, seed: int) -> dict[str, float]:
    """A function of the user's own, and the process it ran in."""
    return {"score": float(len(str(architecture))), "process": float(os.getpid())}


def evaluated(evaluator: Any, **options: Any) -> list[Evaluation]:
    space = LayerCNN((1, 8, 8), 10, depth=2)
    env = gym.make_vec(
        nas_gym.CUSTOM, num_envs=4, search_space=space, evaluator=evaluator, **options
    )
    assert isinstance(env, nas_gym.NASVectorEnv)
    found: list[Evaluation] = []
    env.ledger.watchers.append(lambda _, evaluation: found.append(evaluation))
    env.reset(seed=0)
    actions = np.random.default_rng(0).integers(space.num_actions, size=(8, 4))
    for row in actions:
        env.step(row)
    env.close()
    return sorted((replace(one, seconds=0.0) for one in found), key=lambda one: str(one.request))


def test_a_function_of_ones_own_runs_in_a_pool() -> None:
    found = evaluated({"name": "pool", "workers": 2}, source="test_nouns:slow_answer")
    assert len(found) == 4
    processes = {one.scores["process"] for one in found}
    assert os.getpid() not in processes
    assert [one.scores["score"] for one in found] == [
        float(len(str(o.architecture))) for o in found
    ]


def test_a_foreign_process_pool_gives_what_inline_gives() -> None:
    options: dict[str, Any] = {"task": "digits", "recipe": {"epochs": 1, "train_images": 200}}
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(2, context) as executor:
        there = evaluated(executor, **options)
        assert executor.submit(os.getpid).result() != os.getpid()  # it is left running
    assert there == evaluated("inline", **options)
    assert all(one.ok for one in there)


# ---------------------------------------------------------------- several fidelities


def paused(task: Task, space: SearchSpace, recipe: Recipe, actions: list[int], keep: Path) -> Any:
    source = TrainingSource(task, space, recipe, keep=keep)
    return source, Request(space.decode(actions), seed=3)


PAUSED: dict[str, tuple[Any, SearchSpace, list[int], dict[str, Any]]] = {
    "images": (
        lambda: nas_gym.tasks.load_task("digits"),
        LayerCNN((1, 8, 8), 10, depth=2),
        [0, 1, 1, 2, 1, 0, 0, 2],
        {"train_images": 300},
    ),
    "stream": (Letters, Cells((8,), 6, vocabulary=6), [1, 1], {}),
}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kind", PAUSED)
def test_a_training_that_pauses_comes_to_the_same_bits(
    kind: str, optimizer: str, tmp_path: Path
) -> None:
    make, space, actions, changes = PAUSED[kind]
    task = make()
    recipe = task.recipe.replaced({**changes, "epochs": 4, "optimizer": optimizer})
    source = TrainingSource(task, space, recipe, keep=tmp_path)
    architecture = space.decode(actions)
    at_once = TrainingSource(task, space, recipe)
    requests = [Request(architecture, 3, until) for until in (1, 2, None)]
    whole = [at_once(request).scores for request in requests]
    steps = [source(request) for request in requests]
    assert [step.scores for step in steps] == whole
    assert [step.epochs for step in steps] == [1, 2, 4]
    assert len({tuple(scores.values()) for scores in whole}) == 3

    checkpoint = next(tmp_path.rglob("checkpoint-*.pt"))
    assert source(requests[1]).scores == whole[1]
    for damage in (b"", b"no checkpoint", checkpoint.read_bytes()[:-100]):
        checkpoint.write_bytes(damage)
        assert source(requests[1]).scores == whole[1]
    checkpoint.unlink()
    assert source(requests[2]).scores == whole[2]


@pytest.mark.parametrize(
    "change", [{"peak_lr": 0.03}, {"optimizer": "sgd"}, {"train_images": 150}, {"batch_size": 50}]
)
def test_a_pause_of_another_training_is_not_gone_on_with(
    change: dict[str, Any], tmp_path: Path
) -> None:
    """Sources may share a folder: what differs in anything is kept apart."""
    space, task = LayerCNN((1, 8, 8), 10, depth=2), nas_gym.tasks.load_task("digits")
    recipe = task.recipe.replaced({"epochs": 3, "train_images": 200})
    request = Request(space.decode([0, 1, 1, 2, 1, 0, 0, 2]), 0)
    TrainingSource(task, space, recipe, keep=tmp_path)(replace(request, until=1))
    other = TrainingSource(task, space, recipe.replaced(change))
    kept = replace(other, keep=tmp_path)
    assert kept(request).scores == other(request).scores


def test_a_pause_is_no_result_of_the_whole(tmp_path: Path) -> None:
    space, task = LayerCNN((1, 8, 8), 10, depth=2), nas_gym.tasks.load_task("digits")
    recipe = task.recipe.replaced({"epochs": 2, "train_images": 200})
    source = TrainingSource(task, space, recipe)
    objective = nas_gym.objectives.make_objective("accuracy", source.metrics)
    store = nas_gym.Store(tmp_path / "store.sqlite")
    account = nas_gym.Ledger(nas_gym.InlineEvaluator(source), objective, store)
    architecture = space.decode([0, 1, 1, 1, 1, 0, 0, 1])
    first, whole = account.evaluate([Request(architecture, 0, 1), Request(architecture)])
    assert first.scores != whole.scores
    assert (account.distinct, len(store)) == (2, 2)
    again = nas_gym.Ledger(nas_gym.InlineEvaluator(source), objective, store)
    assert again.evaluate([Request(architecture, 0, 1)])[0].scores == first.scores
    assert again.recalled == 1
    account.close()


@pytest.mark.parametrize("until", [0, 3, -1])
def test_a_pause_lies_within_the_recipe(until: int) -> None:
    space, task = LayerCNN((1, 8, 8), 10, depth=2), nas_gym.tasks.load_task("digits")
    source = TrainingSource(task, space, task.recipe.replaced({"epochs": 2}))
    with pytest.raises(ValueError, match="until must be 1 to 2"):
        source(Request(space.decode([0] * 8), 0, until))
