"""Comparisons as a user meets them: the command, its processes, kills, wrong input."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import helpers
import numpy as np
import pytest
from compare_helpers import CHOICES, DIALS, Climber, episode, true_accuracy

import nas_gym
from agents.cli import main
from agents.compare import results as compare_results
from agents.compare.files import Record, read_records
from agents.compare.records import Recorder
from agents.compare.summary import summarise
from agents.episodes import spending
from agents.run_directory import RunError
from nas_gym import Architecture
from nas_gym._files import read_json, write_json

ENV = "compare_helpers:test/Dials-v0"
TESTS = str(Path(__file__).parent)
CLIMBERS = "compare_helpers:Climber,compare_helpers:Climber:least=2"
ARGMAX = "compare_helpers:Argmax"
TRUST = ["--trust", "compare_helpers"]
WRITTEN = ("runs.csv", "summary.csv", "pairs.csv", "summary.md", "report.html")


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Any:
    """Worker processes find the helpers as they find a user's module, by the path."""
    before = list(sys.path)
    if TESTS not in sys.path:
        sys.path.insert(0, TESTS)
    yield
    sys.path[:] = before


def compare(out: Path, *arguments: str, figures: bool = False) -> str:
    """Run the command in this process; its output. Figures take a second, so most go without."""
    found = find_spec if figures else lambda name: None
    with redirect_stdout(io.StringIO()) as text, patch("agents.compare.figures.find_spec", found):
        main(["compare", "--out", str(out), "--workers", "2", *arguments, *TRUST])
    return text.getvalue()


def refused(out: Path, *arguments: str) -> str:
    """The message of a command that ends with an error."""
    missing = patch("agents.compare.figures.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as stop, redirect_stdout(io.StringIO()), missing:
        main(["compare", "--out", str(out), *arguments, *TRUST])
    message = str(stop.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def raw(record: Record) -> list[tuple[Any, ...]]:
    """What a run evaluated, without the time that it took."""
    return [(row.evaluation, row.proposals) for row in record.rows]


def written(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four agents, one of them stuck, with seven seeds."""
    out = tmp_path_factory.mktemp("compare") / "calm"
    agents = f"random,reinforce,{CLIMBERS}", ARGMAX
    arguments = ("--env", ENV, "--agents", *agents, "--budget", "12", "--seeds", "7")
    compare(out, *arguments, figures=True)
    return out


class TestCompare:
    def test_every_run_is_on_record_under_the_same_budget(self, finished: Path) -> None:
        records = read_records(finished)
        runs = {(one.run.env, one.run.agent, one.run.seed) for one in records}
        assert len(runs) == len(records) == 5 * 7
        for record in records:
            run = record.run
            path = run.path(finished, ".csv")
            rows = table(path)
            assert path.parent.parent.parent == finished / "records"
            assert len(rows) == run.distinct == (1 if run.agent == ARGMAX else 12)
            assert [int(row["index"]) for row in rows] == list(range(1, len(rows) + 1))
            assert len({row["architecture"] for row in rows}) == len(rows)
            assert {row["seed"] for row in rows} == {str(run.seed)}
            assert run.ended == ("stalled" if run.agent == ARGMAX else "budget")
            assert run.proposals == run.distinct + run.repeats
            assert 0 <= record.rows[-1].agent_seconds <= run.agent_seconds
            assert (run.versions or {})["nas_gym"]

    def test_all_agents_of_a_seed_meet_the_same_noise(self, finished: Path) -> None:
        met: dict[tuple[Architecture, int], set[float]] = {}
        for record in read_records(finished):
            for row in record.rows:
                one = row.evaluation
                met.setdefault((one.architecture, one.seed), set()).add(one.scores["accuracy"])
        assert all(len(accuracies) == 1 for accuracies in met.values())
        of_one = {k[1]: v for k, v in met.items() if k[0].layers == ((0,),) * DIALS}
        assert len({min(v) for v in of_one.values()}) > 1, "another seed is other noise"

    def test_the_better_agent_wins_and_the_stuck_one_is_not_ranked(self, finished: Path) -> None:
        rows = {row["agent"]: row for row in table(finished / "summary.csv")}
        assert rows["compare_helpers:Climber:least=2"]["place"] == "1"
        assert int(rows["compare_helpers:Climber"]["place"]) > 1
        assert rows[ARGMAX]["place"] == ""
        note = f"{ARGMAX}: 1 of 12 distinct children in 7 of 7 runs, the rest were repeats"
        assert rows[ARGMAX]["notes"] == note
        for name in ("summary.md", "report.html"):
            assert note in (finished / name).read_text(encoding="utf-8")
        assert not [p for p in table(finished / "pairs.csv") if ARGMAX in (p["first"], p["second"])]

    def test_leaves_figures_and_a_page_that_needs_nothing_beside_it(self, finished: Path) -> None:
        pytest.importorskip("matplotlib")
        for name in ("anytime_evaluations.png", "anytime_seconds.png"):
            assert (finished / name).read_bytes().startswith(b"\x89PNG")
        page = (finished / "report.html").read_text(encoding="utf-8")
        assert "<svg" in page
        assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
        assert "95 % bootstrap" in page

    def test_without_matplotlib_one_sentence_says_how_to_get_the_figures(
        self, finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out, ignore=shutil.ignore_patterns("*.png"))
        assert "pip install 'nas-gym[plot]'" in compare(out)
        assert not list(out.glob("*.png"))

    def test_the_summary_is_recomputed_from_the_raw_records(
        self, finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "copy"
        for name in ("records", "comparison.json"):
            source = finished / name
            copy: Any = shutil.copytree if source.is_dir() else shutil.copy
            out.mkdir(exist_ok=True)
            copy(source, out / name)
        summarise(out)
        before, after = written(finished), written(out)
        for name in (*WRITTEN, "anytime_evaluations.png"):
            assert after.get(name) == before.get(name), name

    def test_report_redraws_a_comparison(self, finished: Path, tmp_path: Path) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        (out / "report.html").unlink()
        with redirect_stdout(io.StringIO()) as text:
            main(["report", str(out), *TRUST])
        assert text.getvalue().strip() == str(out / "report.html")
        assert written(out)["report.html"] == written(finished)["report.html"]

    def test_the_same_command_again_runs_nothing(self, finished: Path, tmp_path: Path) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        heads = {p: p.stat().st_mtime_ns for p in out.rglob("seed*.json")}
        agents = f"random,reinforce,{CLIMBERS}"
        text = compare(out, "--env", ENV, "--agents", agents, "--budget", "12", "--seeds", "7")
        assert "28 runs, 28 of them on record" in text
        assert "35 runs, 35 of them on record" in compare(out)  # all that the folder names
        assert {p: p.stat().st_mtime_ns for p in out.rglob("seed*.json")} == heads
        assert {n: written(out)[n] for n in WRITTEN} == {n: written(finished)[n] for n in WRITTEN}

    def test_more_seeds_agents_and_environments_go_on(self, finished: Path, tmp_path: Path) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        more = ("--env", f"{ENV}:table=other", "--agents", "random,reinforce", "--seeds", "8")
        assert "16 runs, 0 of them on record" in compare(out, *more)
        assert "10 runs, 7 of them on record" in compare(
            out, "--env", ENV, "--agents", "random", "--seeds", "10"
        )
        found = [(one.run.env, one.run.agent) for one in read_records(out)]
        assert found.count(("test/Dials-v0", "random")) == 10
        assert found.count(("test/Dials-v0:table=other", "random")) == 8
        text = (out / "summary.md").read_text(encoding="utf-8")
        assert "## All environments" in text
        assert "2 environments, 7 to 10 seeds" in text

    def test_one_worker_or_two_give_the_same_runs(self, finished: Path, tmp_path: Path) -> None:
        out = tmp_path / "one"
        agents = ("--agents", "reinforce,compare_helpers:Climber")
        main_arguments = ["compare", "--out", str(out), "--workers", "1", "--env", ENV, *agents]
        with redirect_stdout(io.StringIO()):
            main([*main_arguments, "--budget", "12", "--seeds", "1", "--first-seed", "3"])
        mine = {one.run.agent: one for one in read_records(out)}
        for record in read_records(finished):
            if record.run.agent in mine and record.run.seed == 3:
                assert raw(mine[record.run.agent]) == raw(record)
        assert [one.run.seed for one in mine.values()] == [3, 3]

    def test_one_seed_ranks_nothing(self, tmp_path: Path) -> None:
        text = compare(
            *(tmp_path / "one", "--env", ENV, "--agents", f"random,{CLIMBERS}"),
            *("--budget", "8", "--seeds", "1"),
        )
        assert "one seed ranks nothing" in text
        assert {row["place"] for row in table(tmp_path / "one" / "summary.csv")} == {""}
        rows = [row for row in table(tmp_path / "one" / "summary.csv") if row["percent"] == "100"]
        assert [row["agent"] for row in rows] == ["random", *CLIMBERS.split(",")], "no order"
        assert all(row["iqm"] and not row["iqm_low"] for row in rows)
        assert "one seed ranks nothing" in (tmp_path / "one" / "report.html").read_text(
            encoding="utf-8"
        )

    def test_a_few_seeds_decide_nothing(self, tmp_path: Path) -> None:
        compare(
            *(tmp_path / "few", "--env", ENV, "--agents", f"{CLIMBERS},compare_helpers:Lazy"),
            *("--budget", "8", "--seeds", "3"),
        )
        (pair,) = table(tmp_path / "few" / "pairs.csv")
        assert abs(float(pair["difference"])) > 5  # an obvious difference, of three seeds
        assert pair["verdict"].startswith("undecided: ")
        assert "3 common seeds are too few" in pair["verdict"]
        lazy = "compare_helpers:Lazy: 3 of 8 distinct children in 3 of 3 runs, then it gave up"
        assert lazy in (tmp_path / "few" / "summary.md").read_text(encoding="utf-8")

    def test_an_agent_that_lifts_the_budget_is_stopped(self, tmp_path: Path) -> None:
        compare(
            *(tmp_path / "greedy", "--env", ENV, "--agents", "compare_helpers:Greedy"),
            *("--budget", "9", "--seeds", "2"),
        )
        assert [len(one.rows) for one in read_records(tmp_path / "greedy")] == [9, 9]


class TestFailures:
    @pytest.mark.parametrize(
        ("agent", "reason"),
        [
            ("Fails", "failed: Bug: a mistake in two lines"),
            ("Kills", "failed: its process died, twice"),
        ],
    )
    def test_the_others_go_on_and_the_same_command_retries(
        self, tmp_path: Path, agent: str, reason: str
    ) -> None:
        out, fixed = tmp_path / "out", tmp_path / "fixed"
        spec = f"compare_helpers:{agent}:fixed={fixed}"
        arguments = ("--env", ENV, "--agents", f"{spec},compare_helpers:Climber")
        message = refused(out, *arguments, "--budget", "5", "--seeds", "4", "--workers", "2")
        assert message.startswith("error: 2 of the runs failed")
        found = {(one.run.agent, one.run.seed): one for one in read_records(out)}
        assert len(found) == 8
        for seed in range(4):
            assert found[spec, seed].run.ended == (reason if seed % 2 else "budget")
            assert found["compare_helpers:Climber", seed].run.ended == "budget"
        if agent == "Fails":
            assert "Traceback" in found[spec, 1].run.detail
            assert len(found[spec, 1].rows) == 1, "what it evaluated before is on record"
        note = f"{spec}: seeds 1, 3 {reason}"
        assert note in (out / "summary.md").read_text(encoding="utf-8")
        assert {row["place"] for row in table(out / "summary.csv")} == {""}
        fixed.touch()
        assert "8 runs, 6 of them on record" in compare(out)
        assert {one.run.ended for one in read_records(out)} == {"budget"}

    def test_a_run_that_exits_is_a_run_that_failed(self, tmp_path: Path) -> None:
        arguments = ("--agents", "compare_helpers:Exits", "--budget", "3", "--seeds", "1")
        assert "SystemExit: 3" in refused(tmp_path / "out", "--env", ENV, *arguments)
        assert "1 run" not in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")

    def test_kill_9_and_resume(self, tmp_path: Path) -> None:
        out, calm = tmp_path / "killed", tmp_path / "calm"
        arguments = [
            *("--env", ENV, "--agents", "compare_helpers:Slow,random"),
            *("--budget", "6", "--seeds", "4", "--workers", "2"),
        ]
        process = start("compare", "--out", str(out), *arguments)
        wait_for_records(process, out, 2)
        process.kill()
        process.communicate(timeout=60)
        assert wait_for_end(process.pid), "workers outlived their parent"
        before = {p: p.read_bytes() for p in out.rglob("seed*")}
        assert 0 < len(list(out.rglob("seed*.json"))) < 8
        compare(out, *arguments)
        compare(calm, *arguments)
        assert list(map(raw, read_records(out))) == list(map(raw, read_records(calm)))
        assert len(read_records(out)) == 8
        heads = [p for p in before if p.suffix == ".json"]
        assert all(p.read_bytes() == before[p] for p in heads), "what was finished is kept"

    def test_ctrl_c_ends_the_processes_and_names_the_resume_command(self, tmp_path: Path) -> None:
        out = tmp_path / "stopped"
        arguments = ("--env", ENV, "--agents", "random,compare_helpers:Slow", "--budget", "300")
        process = start("compare", "--out", str(out), *arguments)
        wait_for_records(process, out, 1)
        assert "another process is working in" in refused(out, *arguments)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert f"compare --out {out} --env {ENV}" in err
        assert "Traceback" not in err
        assert wait_for_end(process.pid)
        assert "random" in {one.run.agent for one in read_records(out)}

    def test_sigterm_keeps_what_is_finished(self, tmp_path: Path) -> None:
        out = tmp_path / "stopped"

        def terminate() -> None:
            deadline = time.monotonic() + 250
            while not list(out.rglob("seed*.json")) and time.monotonic() < deadline:
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGTERM)

        arguments = ("--env", ENV, "--agents", "random,compare_helpers:Slow", "--budget", "300")
        thread = threading.Thread(target=terminate)
        thread.start()
        with pytest.raises(SystemExit) as stop, redirect_stderr(io.StringIO()) as err:
            compare(out, *arguments)
        thread.join()
        assert stop.value.code == 143
        assert f"compare --out {out}" in err.getvalue()
        assert {one.run.ended for one in read_records(out)} == {"budget"}


class TestTrained:
    def test_agents_share_children_a_store_and_the_noise_floor(self, tmp_path: Path) -> None:
        out = tmp_path / "digits"
        tiny = ("--epochs", "1", "--train-images", "64", "--recipe", "batch_size=32")
        arguments = ("--env", "nas_gym/Digits-v0:search_space=plain_cnn", "--budget", "3")
        agents = ("--agents", "random,random:batch_size=3", "--seeds", "2")
        compare(out, *arguments, *agents, *tiny)
        records = {(one.run.agent, one.run.seed): one for one in read_records(out)}
        assert {one.run.distinct for one in records.values()} == {3}
        for seed in range(2):  # the second agent asks for the same children of each seed
            one, other = records["random", seed], records["random:batch_size=3", seed]
            assert [row.evaluation.architecture for row in one.rows] == [
                row.evaluation.architecture for row in other.rows
            ]
            for mine, its in zip(one.rows, other.rows, strict=True):
                assert mine.evaluation.scores == its.evaluation.scores
        sources = [row.evaluation.origin for one in records.values() for row in one.rows]
        assert sorted(set(sources)) == ["recalled", "trained"]
        assert "epochs of nas_gym/Digits-v0:search_space=plain_cnn was 1 and is now 2" in refused(
            out, "--epochs", "2"
        )

        text = (out / "summary.md").read_text(encoding="utf-8")
        assert "The noise floor is not known: --noise K measures it." in text
        assert "4 runs, 4 of them on record" in compare(out, "--noise", "2")
        (path,) = (out / "noise").glob("*.csv")
        further = table(path)
        assert len(further) == 2  # the two agents have one best architecture
        assert {row["architecture"] for row in further} <= {
            row.evaluation.architecture.to_json() for one in records.values() for row in one.rows
        }
        spread = np.std([100 * float(row["val_accuracy"]) for row in further], ddof=1)
        assert f"changes it by {spread:.2f} points" in (out / "summary.md").read_text(
            encoding="utf-8"
        )
        assert not list(out.rglob("*test*"))


class TestLoops:
    """A plain Gymnasium loop joins a comparison."""

    def record(self, out: Path, seed: int = 0, budget: int = 12, **options: Any) -> Record:
        env = gym.make(ENV, train_seed=seed, **options)
        recorder = Recorder(env, out, agent="mine", seed=seed, budget=budget)
        with spending(env, budget):
            Climber(env, seed).learn(budget)
        env.close()
        return recorder.finish()

    def test_its_record_is_that_of_compare(self, finished: Path, tmp_path: Path) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        for seed in range(7):
            self.record(out, seed)
        records = read_records(out)
        mine = [one for one in records if one.run.agent == "mine"]
        theirs = [one for one in records if one.run.agent == "compare_helpers:Climber"]
        assert list(map(raw, mine)) == list(map(raw, theirs))
        assert "35 runs, 35 of them on record" in compare(out)  # a loop is not run by compare
        rows = {row["agent"]: row for row in table(out / "summary.csv")}
        assert rows["mine"]["iqm"] == rows["compare_helpers:Climber"]["iqm"]
        assert rows["mine"]["place"]
        self.record(out, 0)  # the script again
        assert len(read_records(out)) == len(records)

    def test_starts_a_comparison_that_others_join(self, tmp_path: Path) -> None:
        for seed in range(2):
            self.record(tmp_path / "new", seed)
        assert "0 runs" in compare(tmp_path / "new")
        compare(tmp_path / "new", "--env", ENV, "--agents", "random", "--seeds", "2")
        assert {one.run.agent for one in read_records(tmp_path / "new")} == {"mine", "random"}

    def test_what_does_not_fit_is_refused_before_anything_is_written(
        self, finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        before = written(out)
        with pytest.raises(RunError, match="budget was 12 and is now 13"):
            self.record(out, budget=13)
        env = gym.make(ENV, train_seed=3)
        with pytest.raises(RunError, match=r"train_seed=3 and the run has seed 0"):
            Recorder(env, out, agent="mine", seed=0, budget=12)
        with pytest.raises(RunError, match="'random' is an agent of nas-gym"):
            Recorder(env, out, agent="random", seed=3, budget=12)
        episode(env, [0] * DIALS)
        with pytest.raises(RunError, match="has evaluated children already"):
            Recorder(env, out, agent="mine", seed=3, budget=12)
        env.close()
        with pytest.raises(RunError, match="no id to call it by"):
            Recorder(gym.make(ENV).unwrapped.__class__(**_parts()), out, agent="mine", budget=12)
        assert written(out) == before

    def test_a_vector_environment_and_a_short_loop(self, tmp_path: Path) -> None:
        env = gym.make_vec(ENV, num_envs=3, train_seed=0)
        recorder = Recorder(env, tmp_path / "out", agent="mine", seed=0, budget=12)
        env.reset()
        for step in range(DIALS):
            env.step(np.array([0, 0, min(step, CHOICES - 1)]))
        record = recorder.finish()
        env.close()
        assert (record.run.distinct, record.run.repeats, record.run.ended) == (2, 1, "gave up")
        assert [row.proposals for row in record.rows] == [3, 3]
        assert read_records(tmp_path / "out") == [record]


def _parts() -> dict[str, Any]:
    from compare_helpers import Dials, source

    return {"search_space": Dials((1, 8, 8), 10), "source": source("dials")}


class TestOwnEvaluator:
    def test_it_answers_in_every_run(self, tmp_path: Path) -> None:
        """An evaluator with a source of its own is part of what is compared."""
        env = "nas_gym/Digits-v0:evaluator=helpers:table"
        out = tmp_path / "out"
        compare(out, "--env", env, "--agents", "random", "--budget", "3", "--seeds", "2")
        rows = [row.evaluation for record in read_records(out) for row in record.rows]
        assert len(rows) == 6
        assert {one.origin for one in rows} == {"table"}
        assert all(
            one.scores == {"accuracy": helpers.score(one.architecture, one.seed)} for one in rows
        )


class TestSealedScores:
    def test_regret_is_what_the_search_does_not_see(
        self, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)

        class Sealed:
            metric, optimum, noise = "true accuracy, %", 100.0, 500.0

            def score(self, architecture: Architecture) -> float:
                return 100 * true_accuracy(architecture)

        asked = set()

        def sealed(seed: int) -> Any:
            asked.add(seed)
            return Sealed()

        def problem_of(env_id: str, **options: Any) -> Any:
            assert (env_id, options) == (ENV, {})
            problem, code = nas_gym.problem_of(env_id)
            return replace(problem, sealed=sealed), code

        config = read_json(out / "comparison.json")
        for environment in config["environments"].values():
            environment["sealed"] = True
        write_json(out / "comparison.json", config)
        monkeypatch.setattr(compare_results, "problem_of", problem_of)
        found = summarise(out)
        assert asked == set(found.config.seeds)
        for row in table(out / "runs.csv"):
            best = Architecture.from_json(row["architecture"])
            assert float(row["regret_at_100%"]) == pytest.approx(100 * (1 - true_accuracy(best)))
        (standing,) = found.standings
        assert standing.pairs
        verdicts = {row["verdict"] for row in table(out / "pairs.csv")}
        assert all("inside the noise floor of 500.00" in verdict for verdict in verdicts)


class TestWrongInput:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--agents", "random"], "name what to compare with --env"),
            (["--env", ENV], "name what to compare with --agents"),
            (["--env", "nas_gym/Digit-v0", "--agents", "random"], "did you mean 'nas_gym/Digits"),
            (["--env", f"{ENV}:tabel=x", "--agents", "random"], "tabel"),
            (["--env", ENV, "--agents", "randon"], "did you mean 'random'"),
            (["--env", ENV, "--agents", "random:size=3"], "agent random:size=3: "),
            (["--env", ENV, "--agents", "compare_helpers:Nobody"], "has no 'Nobody'"),
            (["--env", ENV, "--agents", "compare_helpers:no_agent"], "int has no learn(budget)"),
            (["--env", ENV, "--agents", ":a=1"], "must begin with a name"),
            (["--env", ENV, "--agents", "random:a=1:a=2"], "each once"),
            (["--env", ENV, "--agents", "random", "--epochs", "2"], "epochs=2: recipes are for"),
            (["--env", ENV, "--agents", "random", "--budget", "0"], "--budget must be at least 1"),
            (["--env", ENV, "--agents", "random", "--seeds", "0"], "--seeds must be at least 1"),
            (["--env", ENV, "--agents", "random", "--noise", "1"], "--noise must be at least 2"),
            (["--env", ENV, "--agents", "random", "--first-seed", "-1"], "at least 0"),
        ],
    )
    def test_is_one_sentence_and_writes_nothing(
        self, tmp_path: Path, arguments: list[str], words: str
    ) -> None:
        assert words in refused(tmp_path / "out", *arguments)
        assert not (tmp_path / "out").exists()

    def test_another_budget_is_refused_with_the_difference(self, finished: Path) -> None:
        before = written(finished)
        assert "budget was 12 and is now 13" in refused(finished, "--budget", "13")
        assert written(finished) == before

    def test_a_folder_with_other_files_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
        message = refused(tmp_path, "--env", ENV, "--agents", "random")
        assert "thesis.txt" in message
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize("name", ["comparison.json", "seed3.json", "seed3.csv"])
    def test_a_damaged_file_is_named(self, finished: Path, tmp_path: Path, name: str) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        path = next(out.rglob(name))
        path.write_text(
            path.read_text(encoding="utf-8")[: len(path.read_text(encoding="utf-8")) // 2],
            encoding="utf-8",
        )
        with pytest.raises(SystemExit, match=rf"error: .*{name} is damaged"):
            main(["report", str(out), *TRUST])

    def test_an_environment_whose_module_is_gone_is_named(
        self, finished: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "copy"
        shutil.copytree(finished, out)
        config = read_json(out / "comparison.json")
        config["environments"]["test/Dials-v0"]["id"] = "gone:test/Dials-v0"
        write_json(out / "comparison.json", config)
        main(["report", str(out), *TRUST, "gone"])  # the records say enough
        config["environments"]["test/Dials-v0"]["sealed"] = True  # that nobody else knows
        write_json(out / "comparison.json", config)
        with pytest.raises(SystemExit, match="error: unknown environment 'gone:test/Dials-v0'"):
            main(["report", str(out), *TRUST, "gone"])


# ---------------------------------------------------------------- processes


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "agents", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": TESTS},
    )


def wait_for_records(process: subprocess.Popen[str], out: Path, count: int) -> None:
    deadline = time.monotonic() + 250
    while len(list(out.rglob("seed*.json"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_end(group: int) -> bool:
    """Whether all processes of a group are gone, soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        states = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
            except OSError:
                continue
            states += [fields[0]] if int(fields[2]) == group and fields[0] != "Z" else []
        if not states:
            return True
        time.sleep(0.05)
    return False


def test_an_unknown_flag_is_answered_with_the_right_one() -> None:
    with pytest.raises(SystemExit) as stop, redirect_stderr(io.StringIO()) as err:
        main(["compare", "--out", "x", "--seed", "3"])
    assert stop.value.code == 2
    assert "--seeds" in err.getvalue()


def test_settings_are_readable_by_others(finished: Path) -> None:
    config = json.loads((finished / "comparison.json").read_text(encoding="utf-8"))
    assert config["budget"] == 12
    assert config["seeds"] == list(range(7))
    assert list(config["environments"]) == ["test/Dials-v0"]
