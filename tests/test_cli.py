"""The command line as a user meets it: real processes, real kills, wrong input."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import made_up
import numpy as np
import pytest
import sealed
import torch
from PIL import Image

import nas_gym
from agents import AGENTS
from agents.cli import main
from agents.run_directory import RunDirectory
from agents.storage import load_plain
from nas_gym import load_child

TINY = ["--epochs", "1", "--train-images", "200", "--workers", "2"]
COMMAND = [sys.executable, "-m", "agents"]


def start(*arguments: str | Path, **kwargs: Any) -> subprocess.Popen[str]:
    """A search in a process group of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **kwargs,
    )


def finish(*arguments: str | Path) -> str:
    """Run a command to its end in this process, which saves the start of another; its output."""
    with redirect_stdout(io.StringIO()) as out:
        main([str(argument) for argument in arguments])
    return out.getvalue()


def wait_for_evaluations(process: subprocess.Popen[str], run: Path, count: int) -> None:
    """Wait until the run has this many evaluations on record."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, "ended before it could be disturbed"
        try:
            with sqlite3.connect(f"file:{run / 'store.sqlite'}?mode=ro", uri=True) as database:
                (found,) = database.execute("SELECT count(*) FROM evaluation").fetchone()
            database.close()
            if found >= count:
                return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    pytest.fail(f"no {count} evaluations within two minutes")


def group_members(group: int) -> list[int]:
    """Processes of a group that are still running."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                members.append(int(entry.name))
    return members


def records(run: Path) -> list[tuple[Any, ...]]:
    """What a run asked for and what came of it, without times."""
    return [
        (e.architecture, e.status, e.scores.get("accuracy"), e.scores, None, e.params, e.macs)
        for e in RunDirectory.existing(run).evaluations()
    ]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 children that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "calm"
    finish("search", "--out", run, "--budget", "12", "--seed", "3", *TINY)
    return run


@pytest.fixture(scope="module")
def retrained(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("retrained") / "run"
    shutil.copytree(finished, run)
    out = finish("retrain", run, "--top", "2", "--seeds", "2", "--epochs", "3", "--workers", "2")
    assert "test top-1" in out
    assert "load_child" in out
    return run


class TestSearch:
    def test_leaves_a_complete_run_directory(self, finished: Path) -> None:
        names = {path.name for path in finished.iterdir()}
        assert {"config.json", "store.sqlite", "evaluations.csv", "agent.csv"} <= names
        assert {"agent.pt", "best.json", "report.html"} <= names
        lines = (finished / "evaluations.csv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 13
        assert not [name for name in names if name.endswith(".partial")]
        found = records(finished)
        assert len({architecture for architecture, *_ in found}) == 12
        best = json.loads((finished / "best.json").read_text(encoding="utf-8"))
        assert best["val_accuracy"] == max(accuracy for _, _, accuracy, *_ in found)

    def test_nothing_that_a_search_leaves_speaks_of_the_test_set(self, finished: Path) -> None:
        for name in ("evaluations.csv", "agent.csv", "best.json", "config.json"):
            assert "test" not in (finished / name).read_text(encoding="utf-8").lower()
        with sqlite3.connect(finished / "store.sqlite") as database:
            columns = [row[1] for row in database.execute("PRAGMA table_info(evaluation)")]
        database.close()
        assert not [column for column in columns if "test" in column]

    def test_the_same_command_again_trains_nothing(self, finished: Path) -> None:
        before = (finished / "agent.pt").read_bytes(), records(finished)
        out = finish("search", "--out", finished, "--budget", "12", "--seed", "3", *TINY)
        assert "12 distinct children on record" in out
        assert "12 recalled" in out
        assert ((finished / "agent.pt").read_bytes(), records(finished)) == before

    def test_kill_9_twice_then_resumed_equals_a_run_that_was_never_disturbed(
        self, finished: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "killed"
        command = ["search", "--out", run, "--budget", "12", "--seed", "3", *TINY]
        for count in (2, 7):
            process = start(*command)
            wait_for_evaluations(process, run, count)
            process.kill()
            process.communicate(timeout=60)
            deadline = time.monotonic() + 10
            while group_members(process.pid) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert not group_members(process.pid), "workers outlived their parent"
        finish(*command)
        assert records(run) == records(finished)
        weights = []
        for path in (run, finished):
            with load_plain(path / "agent.pt") as state:
                weights.append(state["controller"])
        assert weights[0].keys() == weights[1].keys()
        for name, tensor in weights[0].items():
            assert torch.equal(tensor, weights[1][name]), name
        with sqlite3.connect(run / "store.sqlite") as database:
            (rows,) = database.execute("SELECT count(*) FROM evaluation").fetchone()
        database.close()
        assert rows == 12

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_a_signal_stops_within_3_seconds_and_names_the_resume_command(
        self, tmp_path: Path, number: signal.Signals, code: int
    ) -> None:
        run = tmp_path / "stopped"
        slow = ["--epochs", "500", "--workers", "2", "--budget", "20"]
        process = start("search", "--out", run, *slow, "--seed", "1")
        deadline = time.monotonic() + 120
        while len(group_members(process.pid)) < 5 and time.monotonic() < deadline:
            time.sleep(0.05)  # parent, resource tracker, fork server, two workers
        time.sleep(0.5)
        before = time.monotonic()
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert time.monotonic() - before < 3
        assert process.returncode == code
        assert f"search --out {run} --epochs 500" in err
        assert "Traceback" not in err
        deadline = time.monotonic() + 5
        while group_members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not group_members(process.pid)

    @pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.3), (signal.SIGTERM, 0.7)])
    def test_a_signal_while_the_first_worker_starts_is_as_quiet(
        self, tmp_path: Path, number: signal.Signals, delay: float
    ) -> None:
        process = start("search", "--out", tmp_path / "early", "--workers", "2", "--budget", "20")
        deadline = time.monotonic() + 120
        while len(group_members(process.pid)) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)  # parent, resource tracker, fork server
        time.sleep(delay)
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "search --out" in err
        assert "Traceback" not in err
        assert "leaked" not in err

    def test_a_larger_budget_goes_on(self, finished: Path, tmp_path: Path) -> None:
        run = tmp_path / "longer"
        shutil.copytree(finished, run)
        out = finish("search", "--out", run, "--budget", "14", "--seed", "3", *TINY)
        assert "12 recalled" in out
        assert records(run)[:12] == records(finished)
        assert len(records(run)) == 14

    def test_two_runs_share_a_store(self, finished: Path, tmp_path: Path) -> None:
        shared = tmp_path / "shared.sqlite"
        common = ["--budget", "4", "--seed", "3", *TINY, "--store", str(shared)]
        finish("search", "--out", tmp_path / "one", *common)
        out = finish("search", "--out", tmp_path / "two", *common)
        assert "4 recalled" in out
        assert records(tmp_path / "one") == records(tmp_path / "two") == records(finished)[:4]
        assert not (tmp_path / "two" / "store.sqlite").exists()


def test_a_folder_of_images_is_searched_and_retrained(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 10)):
        for label in ("dark", "light"):
            folder = tmp_path / "shades" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 100, (12, 12)) + 150 * (label == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    task = ["--task", f"folder:{tmp_path / 'shades'}", "--task-options", "size=8", "channels=1"]
    run = tmp_path / "run"
    finish("search", "--out", run, "--budget", "3", "--epochs", "4", "--workers", "2", *task)
    finish("retrain", run, "--seeds", "1", "--workers", "1")
    (row,) = json.loads((run / "retrained.json").read_text(encoding="utf-8"))["children"]
    assert row["test"]["accuracy"]["mean"] > 0.9
    assert "top5" not in row["test"]


class TestRetrain:
    def test_reports_mean_and_spread_of_the_test_scores(self, retrained: Path) -> None:
        value = json.loads((retrained / "retrained.json").read_text(encoding="utf-8"))
        assert value["test_openings"] == 1
        assert [row["rank"] for row in value["children"]] == [1, 2]
        for row in value["children"]:
            top1, top5 = row["test"]["accuracy"], row["test"]["top5"]
            assert len(top1["values"]) == 2
            assert top1["mean"] == sum(top1["values"]) / 2
            assert top1["sd"] >= 0
            assert top1["mean"] <= top5["mean"] <= 1
        assert value["recipe"]["train_images"] is None
        assert "test" in (retrained / "report.html").read_text(encoding="utf-8").lower()

    def test_a_saved_child_is_the_network_that_was_scored(self, retrained: Path) -> None:
        row = json.loads((retrained / "retrained.json").read_text(encoding="utf-8"))["children"][0]
        task = nas_gym.tasks.load_task("digits")  # type: ignore[attr-defined]
        (images, labels), *_ = task.open_test(torch.device("cpu")).batches(1_000)
        for seed, expected in enumerate(row["test"]["accuracy"]["values"]):
            folder = Path(row["folder"]) / f"seed{seed}"
            model = load_child(folder)
            with torch.no_grad():
                right = (model(images).argmax(1) == labels).float().mean()
            assert float(right) == pytest.approx(expected)
            assert json.loads((folder / "child.json").read_text(encoding="utf-8"))["seed"] == seed
        assert (Path(row["folder"]) / "network.svg").read_text(encoding="utf-8").startswith("<svg")

    def test_again_trains_nothing_and_counts_the_opening(self, retrained: Path) -> None:
        before = json.loads((retrained / "retrained.json").read_text(encoding="utf-8"))
        out = finish("retrain", retrained, "--top", "2", "--seeds", "2", "--epochs", "3")
        assert "4 of 4 trainings are saved already" in out
        assert "opened for the 2nd time" in out
        after = json.loads((retrained / "retrained.json").read_text(encoding="utf-8"))
        assert after["children"] == before["children"]
        assert after["test_openings"] == 2

    def test_trains_on_train_and_validation(self, retrained: Path) -> None:
        row = json.loads((retrained / "retrained.json").read_text(encoding="utf-8"))["children"][0]
        model = load_child(Path(row["folder"]) / "seed0")
        task = nas_gym.tasks.load_task("digits")  # type: ignore[attr-defined]
        assert task.recipe.train_images is None
        both = task.data("all", task.recipe, torch.device("cpu"))
        assert len(both) == len(task.train) + len(task.validation)
        pixels = task.train.joined(task.validation).images.double()
        assert float(model.front.mean) == pytest.approx(float(pixels.mean()))
        recipe = json.loads((Path(row["folder"]) / "seed0" / "child.json").read_bytes())["recipe"]
        assert recipe["train_images"] is None


def test_report_is_written_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (finished / "report.html").read_text(encoding="utf-8")
    (finished / "report.html").unlink()
    main(["report", str(finished)])
    assert capsys.readouterr().out.strip() == str(finished / "report.html")
    assert (finished / "report.html").read_text(encoding="utf-8") == before


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    main(["envs"])
    main(["agents"])
    out = capsys.readouterr().out
    for name in (*nas_gym.ENVIRONMENTS, nas_gym.CUSTOM, *nas_gym.BENCHMARKS, *AGENTS):
        assert name in out


CELLS = ("--env", "nas_gym/NASBench201-v0", "--agent", "random", "--budget", "30")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> made_up.Cells:
    return made_up.cells(tmp_path_factory.mktemp("tables") / "mine.npz")


@pytest.fixture(scope="module")
def searched(table: made_up.Cells, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 30 children that a table answered for."""
    run = tmp_path_factory.mktemp("searched") / "run"
    options = ["--env-options", "dataset=cifar100", f"path={table.path}", "--seed", "2"]
    out = finish("search", "--out", run, *CELLS, *options)
    assert "Best of 30 distinct children" in out
    assert "retrain" not in out
    return run


class TestTable:
    def test_leaves_a_complete_run_directory(self, table: made_up.Cells, searched: Path) -> None:
        rows = records(searched)
        assert len(rows) == 30
        accuracies = table.columns["acc12_cifar100_valid"] / 100
        for architecture, status, accuracy, _, _, params, macs in rows:
            operations = [made_up.OPERATIONS.index(name) for (name,) in architecture.layers]
            row = made_up.row_of(operations, 5)
            assert (status, accuracy) == ("ok", accuracies[row])
            assert params == table.columns["params_cifar100"][row]
            assert macs == table.columns["flops_cifar100"][row]
        best = json.loads((searched / "best.json").read_text(encoding="utf-8"))
        assert best["val_accuracy"] == max(accuracy for _, _, accuracy, *_ in rows)
        page = (searched / "report.html").read_text(encoding="utf-8")
        assert "nas_gym/NASBench201-v0" in page
        assert (
            json.loads((searched / "config.json").read_text(encoding="utf-8"))["context"]["source"]
            in page
        )

    def test_nothing_that_a_search_leaves_holds_a_sealed_score(
        self, table: made_up.Cells, searched: Path
    ) -> None:
        found = sealed.in_files(searched)
        assert len(sealed.known(found, table.columns["acc12_cifar100_valid"])) == 30
        for name, column in table.columns.items():
            if name.endswith("_test"):
                assert len(sealed.known(found, column)) == 0, name

    def test_goes_on_and_is_refused_with_another_table(
        self, table: made_up.Cells, searched: Path
    ) -> None:
        before = records(searched)
        command = ["search", "--out", str(searched), *CELLS, "--seed", "2"]
        options = ["--env-options", f"path={table.path}"]
        out = finish(*command, *options, "dataset=cifar100")
        assert "30 recalled" in out
        assert records(searched) == before
        with pytest.raises(SystemExit, match=r"source was 'nas_bench_201/cifar100/\w+' and is now"):
            main([*command, *options])

    def test_retrain_is_refused_by_one_sentence(self, searched: Path) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["retrain", str(searched)])
        message = str(stop.value.code)
        assert message == (
            "error: nas_gym/NASBench201-v0 answers from a table: there is nothing to train"
        )

    def test_the_child_seed_draws_the_training(self, tmp_path: Path) -> None:
        table = made_up.macro(tmp_path / "mine.json")
        found = []
        for seed in ("-1", "0", "0", "1"):
            run = tmp_path / f"run{len(found)}"
            arguments = ["--agent", "random", "--budget", "20", "--child-seed", seed]
            arguments += ["--env-options", f"path={table.path}"]
            finish("search", "--out", run, "--env", "nas_gym/NASBenchMacro-v0", *arguments)
            found.append(records(run))
        assert [record[0] for record in found[0]] == [record[0] for record in found[3]]
        assert found[1] == found[2]
        assert found[0] != found[1] != found[3]

    def test_with_a_task_its_networks_are_trained(self, tmp_path: Path) -> None:
        run = tmp_path / "run"
        arguments = ["--env", "nas_gym/NASBench201-v0", "--task", "digits", "--workers", "1"]
        arguments += ["--search-space", "nas_bench_201", "--space-options", "cells=1", "channels=2"]
        finish("search", "--out", run, "--budget", "1", "--epochs", "1", *arguments)
        ((architecture, status, accuracy, *_),) = records(run)
        assert (architecture.space, status) == ("nas_bench_201", "ok")
        assert 0 < accuracy < 1

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--env-options", "path=nowhere.npz"], "there is no file nowhere.npz"),
            (["--data-dir", "nowhere"], "nowhere/nas-bench-201/nas_bench_201"),
            (["--env-options", "dataset=cifar1"], "did you mean 'cifar10'"),
            (["--env-options", "dataset"], "--env-options takes NAME=VALUE, got 'dataset'"),
            (["--epochs", "3"], "recipe: options of training"),
            (["--search-space", "layer_cnn"], "search_space: options of training"),
            (["--device", "auto"], "device: options of training"),
            (["--task", "digits", "--env-options", "dataset=cifar10"], "is not read when"),
        ],
    )
    def test_wrong_input_is_one_sentence_and_writes_nothing(
        self, tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["search", "--out", str(tmp_path / "run"), *CELLS, *arguments])
        message = str(stop.value.code)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert words in message
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("env", list(nas_gym.BENCHMARKS))
    def test_a_truncated_file_is_named(
        self, tmp_path: Path, table: made_up.Cells, env: str
    ) -> None:
        data = table.path.read_bytes()
        (tmp_path / "table").write_bytes(data[: len(data) // 2])
        arguments = ["--env", env, "--env-options", f"path={tmp_path / 'table'}"]
        with pytest.raises(SystemExit, match=r"error: .*table is damaged"):
            main(["search", "--out", str(tmp_path / "run"), *arguments])
        assert not (tmp_path / "run").exists()


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--env", "nas_gym/Digit-v0"], "did you mean 'nas_gym/Digits-v0'"),
            (["--env", "nas_gym/Digits-v7"], "unknown environment 'nas_gym/Digits-v7'"),
            (["--env", "no_such_module:X-v0"], "unknown environment"),
            (["--agent", "reinforc"], "did you mean 'reinforce'"),
            (["--agent", "no_module:Agent"], "there is no module 'no_module'"),
            (["--search-space", "layercnn"], "did you mean 'layer_cnn'"),
            (["--space-options", "dept=3"], "dept"),
            (["--space-options", "depth=0"], "depth must be a whole number, at least 1, got 0"),
            (["--reward", "acuracy"], "did you mean 'accuracy'"),
            (["--reward", "mnasnet_soft"], "target"),
            (["--device", "cuda:77"], "device 'cuda:77' is not usable here"),
            (["--device", "gpu"], "usable: cpu, auto"),
            (["--recipe", "peak_rl=1"], "did you mean 'peak_lr'"),
            (["--recipe", "peak_lr=-1"], "peak_lr must be above 0, got -1"),
            (["--recipe", "peak_lr"], "--recipe takes NAME=VALUE, got 'peak_lr'"),
            (["--epochs", "0"], "epochs must be at least 1"),
            (["--train-images", "99999"], "train_images must be at most 1085"),
            (
                ["--agent-options", "recipe=zoph"],
                "there are: default, enas2018, model_free, zoph2016",
            ),
            (["--agent-options", "lr=1"], "unknown option of reinforce 'lr'"),
            (["--agent", "random", "--agent-options", "lr=1"], "agent random"),
            (["--env", "nas_gym/Custom-v0"], "no task is named"),
            (["--task", "folder:nowhere"], "there is no image folder"),
            (["--task", "diggits"], "did you mean 'digits'"),
            (["--task-options", "size=3"], "--task-options needs a --task"),
            (["--budget", "0"], "at least 1"),
            (["--workers", "0"], "at least 1"),
        ],
    )
    def test_is_one_sentence_and_writes_nothing(
        self, tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["search", "--out", str(tmp_path / "run"), *arguments])
        message = str(stop.value.code)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert words in message
        assert not (tmp_path / "run").exists()

    def test_an_unknown_option_ends_with_2(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stop:
            main(["search", "--out", "x", "--buget", "3"])
        assert stop.value.code == 2
        assert "--budget" in capsys.readouterr().err

    def test_missing_data_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nas_gym.tasks.vision._open", _no_network)
        with pytest.raises(SystemExit, match="error: MNIST is missing"):
            main(["search", "--out", str(tmp_path / "r"), "--env", "nas_gym/MNIST-v0"])

    def test_a_truncated_data_file_is_named(self, tmp_path: Path, data_dir: Path) -> None:
        raw = tmp_path / "data" / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for file in (data_dir / "FashionMNIST" / "raw").iterdir():
            (raw / file.name).write_bytes(file.read_bytes()[:100_000])
        arguments = ["--env", "nas_gym/FashionMNIST-v0", "--data-dir", str(tmp_path / "data")]
        with pytest.raises(SystemExit, match=r"error: .*train-images-idx3-ubyte is damaged"):
            main(["search", "--out", str(tmp_path / "r"), *arguments])
        assert not (tmp_path / "r").exists()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--seed", "4"], "seed was 3 and is now 4"),
            (["--seed", "3", "--epochs", "2"], "recipe.epochs was 1 and is now 2"),
            (["--seed", "3", "--agent", "random"], "agent was 'reinforce' and is now 'random'"),
            (["--seed", "3", "--search-space", "plain_cnn"], "search_space.name was 'layer_cnn'"),
            (
                ["--seed", "3", "--reward", "accuracy_cubed"],
                "reward was None and is now 'accuracy_cubed'",
            ),
            (["--seed", "3", "--child-seed", "1"], "train_seed was 0 and is now 1"),
            (["--seed", "3", "--store", "/tmp/other.sqlite"], "store was None and is now"),
            (["--seed", "3", "--agent-options", "units=8"], "agent_options.units was None"),
        ],
    )
    def test_a_run_of_another_configuration_is_refused(
        self, finished: Path, arguments: list[str], words: str
    ) -> None:
        before = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
        epochs = [] if "--epochs" in arguments else ["--epochs", "1"]
        with pytest.raises(SystemExit) as stop:
            main(["search", "--out", str(finished), "--train-images", "200", *epochs, *arguments])
        assert words in str(stop.value.code)
        assert "\n" not in str(stop.value.code)
        assert {p: p.read_bytes() for p in finished.iterdir() if p.is_file()} == before

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
        with pytest.raises(SystemExit, match=r"thesis\.txt"):
            main(["search", "--out", str(tmp_path)])
        assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]

    def test_an_output_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(SystemExit, match=r"error: cannot write the folder .*file/run"):
            main(["search", "--out", str(tmp_path / "file" / "run")])

    @pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
    def test_a_read_only_file_system_is_named(self, tmp_path: Path) -> None:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], capture_output=True
        )
        if mounted.returncode:
            pytest.skip("this machine does not let us mount")
        try:
            with pytest.raises(SystemExit, match="Read-only file system"):
                main(["search", "--out", str(tmp_path / "run")])
        finally:
            subprocess.run(["umount", str(tmp_path)], check=True)

    def test_a_run_in_use_is_refused(self, finished: Path) -> None:
        holder = RunDirectory.existing(finished)
        holder.lock()
        try:
            with pytest.raises(SystemExit, match="another process is working in"):
                main(["search", "--out", str(finished), "--seed", "3", *TINY])
        finally:
            holder.close()

    def test_a_damaged_store_is_named_and_kept(self, finished: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        shutil.copytree(finished, run)
        for extra in run.glob("store.sqlite-*"):
            extra.unlink()
        (run / "store.sqlite").write_bytes(b"garbage" * 1000)
        for command in (["search", "--out", str(run), "--seed", "3", *TINY], ["report", str(run)]):
            with pytest.raises(SystemExit, match=r"error: .*store\.sqlite"):
                main(command)
        assert (run / "store.sqlite").read_bytes() == b"garbage" * 1000

    @pytest.mark.parametrize("command", ["retrain", "report"])
    def test_a_folder_that_is_no_run(self, command: str, tmp_path: Path) -> None:
        with pytest.raises(SystemExit, match="is no run directory"):
            main([command, str(tmp_path / "nowhere")])

    def test_retrain_refuses_a_run_without_a_trained_child(self, tmp_path: Path) -> None:
        limit = ["--recipe", "max_params=1"]
        finish("search", "--out", tmp_path / "run", "--budget", "3", *TINY, *limit)
        with pytest.raises(SystemExit, match="no child that was trained to the end"):
            main(["retrain", str(tmp_path / "run")])


def _no_network(dataset: str, data_dir: Path, train: bool) -> Any:
    from nas_gym import DataError

    raise DataError(f"{dataset} is missing or damaged in the data root {data_dir}")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_winner_of_the_main_job_reaches_98_5_percent_on_the_test_set(tmp_path: Path) -> None:
    run = tmp_path / "digits"
    finish("search", "--out", run, "--budget", "60", "--workers", "2")
    finish("retrain", run, "--seeds", "3", "--workers", "2")
    (row,) = json.loads((run / "retrained.json").read_text(encoding="utf-8"))["children"]
    assert row["test"]["accuracy"]["mean"] >= 0.985
