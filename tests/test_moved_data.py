"""Where things lie is no part of a run: data, tables, stores and homes that move."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import made_up
import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import TINY, finish, records

from agents import REINFORCE, Budgeted
from agents.cli import main
from agents.compare.files import read_records
from nas_gym import Task, load_child
from nas_gym.tasks import load_task

FEW = ("--budget", "2", "--epochs", "1", "--workers", "1", "--agent", "random")
SIZE = ("--task-options", "size=8")


def leaves(folder: Path, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for split in ("train", "test"):
        for label in ("oak", "willow"):
            (folder / split / label).mkdir(parents=True)
            for number in range(10):
                pixels = random.integers(0, 255, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder that is the user's home as well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


# ---------------------------------------------------------------- image folders


@pytest.mark.parametrize(
    "task",
    ["folder:other/place", "folder:{here}/other/place", "folder:other/place/"],
)
def test_a_search_goes_on_with_its_images_elsewhere(here: Path, task: str) -> None:
    leaves(here / "leaves")
    finish("search", "--out", "run", "--task", "folder:leaves", *SIZE, *FEW)
    before = records(here / "run")
    (here / "other").mkdir()
    (here / "leaves").rename(here / "other" / "place")
    more = (*SIZE, "channels=3", *FEW, "--budget", "3")
    out = finish("search", "--out", "run", "--task", task.format(here=here), *more)
    assert "2 recalled" in out
    assert records(here / "run")[:2] == before
    finish("retrain", "run", "--seeds", "1", "--epochs", "1", "--workers", "1")  # knows the place


def test_a_retraining_is_told_where_the_images_are(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves(here / "leaves")
    finish("search", "--out", "run", "--task", "folder:leaves", *SIZE, *FEW)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    quick = ("--seeds", "1", "--epochs", "1", "--workers", "1")
    finish("retrain", "../run", *quick)  # a place is good in any working folder
    (here / "leaves").rename(here / "moved")
    with pytest.raises(SystemExit, match="there is no image folder"):
        main(["retrain", "../run", *quick])
    assert "1 of 1 trainings are saved" in finish(
        "retrain", "../run", "--task", "folder:../moved", *quick
    )


def test_other_images_are_another_run(here: Path) -> None:
    leaves(here / "leaves")
    leaves(here / "other", seed=1)
    finish("search", "--out", "run", "--task", "folder:leaves", *SIZE, *FEW)
    for command in (
        ["search", "--out", "run", "--task", "folder:other", *SIZE, *FEW],
        ["retrain", "run", "--task", "folder:other"],
    ):
        with pytest.raises(SystemExit, match=r"error: .*data"):
            main(command)


def test_a_comparison_goes_on_with_its_images_elsewhere(here: Path) -> None:
    leaves(here / "leaves")
    size = ("--budget", "2", "--seeds", "1", "--epochs", "1", "--agents", "random")
    env = 'nas_gym/Custom-v0:task={{"name":"folder:{}","size":8}}'
    finish("compare", "--out", "out", "--env", env.format("leaves"), "--workers", "1", *size)
    (here / "leaves").rename(here / "moved")
    again = ("--env", env.format(here / "moved"), "--seeds", "2", "--workers", "1")
    assert "1 of them on record" in finish("compare", "--out", "out", *again)
    assert len({one.run.env for one in read_records(here / "out")}) == 1
    assert "2 of them on record" in finish("compare", "--out", "out")


# ---------------------------------------------------------------- tables, stores, devices


def test_a_search_goes_on_with_its_table_elsewhere(here: Path) -> None:
    made_up.cells(here / "mine.npz")
    base = ("--env", "nas_gym/NASBench201-v0", "--agent", "random", "--budget", "5")
    finish("search", "--out", "run", *base, "--env-options", "path=mine.npz")
    (here / "data" / "nas-bench-201").mkdir(parents=True)
    (here / "mine.npz").rename(here / "data" / "nas-bench-201" / "nas_bench_201.npz")
    for options in (
        ["--env-options", "path=~/data/nas-bench-201/nas_bench_201.npz"],
        ["--data-dir", "data", "--env-options", "dataset=cifar10"],
        ["--data-dir", "~/data"],
    ):
        assert "5 recalled" in finish("search", "--out", "run", *base, *options)


def test_a_comparison_goes_on_with_its_table_elsewhere(here: Path) -> None:
    made_up.cells(here / "mine.npz")
    env = "nas_gym/NASBench201-v0:path="
    size = ("--agents", "random", "--budget", "3", "--seeds", "1", "--workers", "1")
    finish("compare", "--out", "out", "--env", f"{env}mine.npz", *size)
    (here / "mine.npz").rename(here / "yours.npz")
    again = ("--env", f"{env}~/yours.npz", "--workers", "1", "--seeds", "1")
    assert "1 runs, 1 of them on record" in finish("compare", "--out", "out", *again)
    finish("report", "out")
    assert len(read_records(here / "out")) == 1


def test_a_run_goes_on_with_its_shared_store_elsewhere(here: Path) -> None:
    finish("search", "--out", "run", *FEW, *TINY, "--store", "shared.sqlite")
    before = records(here / "run")
    (here / "shared.sqlite").rename(here / "moved.sqlite")
    again = ("search", "--out", "run", *FEW, *TINY, "--store")
    finish("search", "--out", "other", *FEW, *TINY, "--store", "other.sqlite")
    with pytest.raises(SystemExit, match=r"store was '.*shared\.sqlite' and is now '.*other"):
        main([*again, "other.sqlite"])
    assert "2 recalled" in finish(*again, "~/moved.sqlite")
    assert records(here / "run") == before


def test_how_children_are_trained_is_told_by_the_context(here: Path) -> None:
    """Defaults spelt out are no difference, nor is where children are trained."""
    momentum = load_task("digits").recipe.momentum
    finish("search", "--out", "run", *FEW, *TINY)
    out = finish(
        *("search", "--out", "run", *FEW, *TINY, "--space-options", "depth=6"),
        *("--recipe", f"momentum={momentum}"),
        *("--env-options", "seed_policy=fixed", "evaluator=inline"),
    )
    assert "2 recalled" in out
    with pytest.raises(SystemExit, match="seed_policy was 'fixed' and is now 'resample'"):
        main(["search", "--out", "run", *FEW, *TINY, "--env-options", "seed_policy=resample"])


# ---------------------------------------------------------------- a user's home


def test_a_users_home_is_known_in_every_path(here: Path) -> None:
    finish("search", "--out", "~/run", *FEW, *TINY, "--store", "~/shared/s.sqlite")
    finish("retrain", "~/run", "--seeds", "1", "--epochs", "1", "--workers", "1")
    finish("report", "~/run")
    assert (here / "run" / "report.html").is_file()
    assert (here / "shared" / "s.sqlite").is_file()
    (folder,) = (here / "run" / "retrained").iterdir()
    load_child(f"~/run/retrained/{folder.name}/seed0")

    tiny = {"epochs": 1, "train_images": 100}
    env = gym.make("nas_gym/Digits-v0", recipe=tiny, store="~/mine.sqlite", train_seed=0)
    agent = REINFORCE(env, seed=0)
    agent.save("~/agent.pt")
    REINFORCE(env, seed=0).load("~/agent.pt")
    with Budgeted(env, 1, record="~/compare", agent="mine", seed=0) as played:
        while True:
            played.reset()
            for _ in range(24):
                played.step(0)
    finish("report", "~/compare")
    assert len(read_records("~/compare")) == 1
    names = {"run", "shared", "mine.sqlite", "mine.sqlite.lock", "agent.pt", "compare"}
    assert {path.name for path in here.iterdir()} - {".cache", ".config"} == names


def test_the_data_root_may_be_under_a_users_home(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "data" / "nas-bench-201").mkdir(parents=True)
    made_up.cells(here / "data" / "nas-bench-201" / "nas_bench_201.npz")
    monkeypatch.setenv("NAS_GYM_DATA", "~/data")
    gym.make("nas_gym/NASBench201-v0").close()
    monkeypatch.delenv("NAS_GYM_DATA")
    size = ("--agents", "random", "--budget", "2", "--seeds", "1", "--workers", "1")
    env = "nas_gym/NASBench201-v0"
    finish("compare", "--out", "~/out", "--data-dir", "~/data", "--env", env, *size)
    assert not (here / "~").exists()


# ---------------------------------------------------------------- no test set


def untested(data_dir: Path) -> Task:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(255, (60, 1, 8, 8), generator=random, dtype=torch.uint8)
    return Task.from_tensors("untested", images, torch.arange(60) % 3)


@pytest.mark.parametrize("kind", ["folder", "tensors"])
def test_a_task_without_a_test_set_is_retrained_without_test_scores(
    here: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "folder":
        shutil.rmtree(leaves(here / "leaves") / "test")
        task: tuple[str, ...] = ("--task", "folder:leaves", *SIZE)
    else:
        sys.path.append(str(Path(__file__).parent))
        task = ("--task", "test_moved_data:untested")
    finish("search", "--out", "run", *task, *FEW)
    for _ in range(2):
        one = ["--seeds", "1", "--epochs", "1", "--workers", "1"]
        out = finish("retrain", "run", "--trust", __name__, *one)
        told, _, after = out.partition("has no test set: its networks are trained and saved")
        assert told.endswith(f"the task {'leaves' if kind == 'folder' else 'untested'!r} ")
        assert "test top" not in out
        assert "opened" not in out
        assert "model = load_child(" in after
    value: dict[str, Any] = json.loads((here / "run" / "retrained.json").read_bytes())
    assert value["test_openings"] == 0
    assert not [name for row in value["children"] for name in row if "test" in name]
    page = (here / "run" / "report.html").read_bytes().decode()
    assert "Test results" not in page
    folder = Path(value["children"][0]["folder"]) / "seed0"
    assert load_child(folder)(torch.zeros(2, 3 if kind == "folder" else 1, 8, 8)).shape[0] == 2
