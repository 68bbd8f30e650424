"""What is made of raw records: judgements, tables, charts. No process is started here."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import gymnasium as gym
import numpy as np
import pytest

from agents.compare.charts import draw_curves, draw_intervals
from agents.compare.curves import by_evaluations, by_seconds, short_names, styles, value_range
from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, Row, Run, read_records, write_record
from agents.compare.noise import noise_floor
from agents.compare.records import Recorder, describe
from agents.compare.results import read_results
from agents.compare.specs import Spec, file_name, parse_list
from agents.compare.standings import FEWEST, Standing, aggregate
from agents.compare.statistics import Estimate
from agents.compare.summary import summarise
from agents.compare.tables import conclusion, notes_of, value
from agents.compare.trials import Measure, Trial, checkpoints
from agents.identity import read_goals
from agents.run_directory import RunError
from nas_gym import Architecture, Evaluation, InlineEvaluator, Request

HOSTILE = "</title><script>alert(1)</script>|\"'&\n"
GOALS = {"metrics": [{"name": "accuracy", "unit": "%"}, {"name": "loss", "up": False}]}
OBJECTIVE, _ = read_goals(GOALS)
SCORE = Measure(OBJECTIVE, "validation accuracy, %")


class Known(NamedTuple):
    """Sealed scores by the number of a child, whatever the seed."""

    optimum: float
    scores: Callable[[int], float]

    def score(self, architecture: Architecture) -> float:
        return self.scores(architecture.layers[0][0])


def regret(optimum: float, scores: Callable[[int], float]) -> Measure:
    known: Any = Known(optimum, scores)
    return Measure(OBJECTIVE, "test accuracy, %", lambda seed: known, optimum=optimum)


# Children whose sealed score is their number: see `child`.
REGRET = regret(90.0, lambda number: number % 1000 / 10)


def child(
    number: int, accuracy: float, seconds: float = 1.0, loss: float = 1.0, seed: int = 0
) -> Evaluation:
    request = Request(Architecture("s", ((1000 * number + round(1000 * accuracy),),)), seed)
    return Evaluation(request, "ok", {"accuracy": accuracy, "loss": loss}, seconds=seconds)


def failed(one: Evaluation) -> Evaluation:
    return replace(one, status="diverged", scores={})


def record(
    agent: str,
    seed: int,
    accuracies: Sequence[float],
    *,
    budget: int | None = None,
    ended: str = "budget",
    env: str = "e",
    seconds: float = 1.0,
    repeats: int = 0,
) -> Record:
    rows = tuple(
        Row(child(i, accuracy, seconds, seed=seed), i + 1, 0.001 * i, accuracy)
        for i, accuracy in enumerate(accuracies)
    )
    count = len(rows)
    run = Run(env, agent, seed, budget or count, ended, count, count + repeats, repeats)
    return Record(run, rows)


def standing(measure: Measure = SCORE, **agents: Sequence[float]) -> Standing:
    """Agents by the final accuracies of their seeds; four children each."""
    records = [
        record(agent, seed, [0.1, 0.2, final / 2, final])
        for agent, finals in agents.items()
        for seed, final in enumerate(finals)
    ]
    return Standing.of("e", measure, 4, records)


def places(found: Standing) -> dict[str, int | None]:
    return {entry.agent: found.place(entry) for entry in found.entries}


class TestSpecs:
    @pytest.mark.parametrize(
        ("text", "name", "options"),
        [
            ("reinforce", "reinforce", {}),
            ("reinforce:recipe=zoph2016", "reinforce", {"recipe": "zoph2016"}),
            ("p.m:make:lr=0.1:n=3", "p.m:make", {"lr": 0.1, "n": 3}),
            ("a:x=None:y=True:z=null", "a", {"x": None, "y": True, "z": None}),
            ("m:me/X-v0:dataset=c", "m:me/X-v0", {"dataset": "c"}),
            ("C-v0:task=folder:leaves:n=1", "C-v0", {"task": "folder:leaves", "n": 1}),
            (
                'e:search_space={"name":"a","depth":3}',
                "e",
                {"search_space": {"name": "a", "depth": 3}},
            ),
            ("a:text=x=y", "a", {"text": "x=y"}),
        ],
    )
    def test_are_read_and_written_back(self, text: str, name: str, options: Any) -> None:
        spec = Spec.parse(text)
        assert (spec.name, spec.options) == (name, options)
        assert Spec.parse(str(spec)) == spec

    def test_the_order_of_options_makes_no_other_spec(self) -> None:
        assert str(Spec.parse("a:y=2:x=1")) == str(Spec.parse("a:x=1:y=2")) == "a:x=1:y=2"

    def test_a_text_that_reads_like_a_number_stays_a_text(self) -> None:
        assert Spec.parse(str(Spec("a", {"x": "1", "y": "None"}))).options == {
            "x": "1",
            "y": "None",
        }

    def test_lists_are_words_and_commas_and_hold_nothing_twice(self) -> None:
        found = parse_list(["a,b:x=[1,2]", "c,a", "b:x=[1,2],"])
        assert [str(spec) for spec in found] == ["a", "b:x=[1,2]", "c"]

    @pytest.mark.parametrize("text", ["", "x=1", " a", "a:1x=2", "a:x=1:x=2"])
    def test_nonsense_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"begin with a name|each once"):
            Spec.parse(text)

    def test_file_names_are_safe_and_differ_where_specs_differ(self) -> None:
        names = ["a/b:c", "a~b+c", "a_b_c", "a%2Fb", ".", "..", "a b", "ü", "A", "x" * 300]
        names += ["x" * 301, HOSTILE, "nas_gym/NASBench201-v0:dataset=cifar100"]
        files = [file_name(name) for name in names]
        assert len(set(files)) == len(names)
        for file in files:
            assert re.fullmatch(r"[A-Za-z0-9_=+~%-][A-Za-z0-9._=+~%-]*", file)
            assert len(file) <= 255
        assert files[-1] == "nas_gym~NASBench201-v0+dataset=cifar100"


class TestTrials:
    def test_the_incumbent_is_by_observed_rank_and_judged_by_the_measure(self) -> None:
        sealed = {0: 50.0, 1: 80.0, 2: 70.0, 3: 99.0}
        measure = regret(100.0, lambda number: sealed[number // 1000])
        rows = [
            child(0, 0.5, loss=1.0),
            child(1, 0.7, loss=1.0),
            child(2, 0.7, loss=0.9),  # the loss decides
            failed(child(3, 0.9)),  # a failure is never the best
        ]
        run = Run("e", "a", 0, 4, distinct=4)
        trial = Trial(Record(run, tuple(Row(one, 1, 0.0, 0.0) for one in rows)), measure)
        assert trial.values.tolist() == [50.0, 20.0, 30.0, 30.0]  # what is observed can mislead
        assert trial.after([0, 1, 2, 3, 4, 9]).tolist() == [100.0, 50.0, 20.0, 30.0, 30.0, 30.0]
        assert trial.seconds.tolist() == [1.0, 2.0, 3.0, 4.0]

    def test_a_run_without_a_child_is_judged_as_nothing(self) -> None:
        run = Run("e", "a", 0, 4, "gave up")
        assert Trial(Record(run), REGRET).after([1, 4]).tolist() == [90.0, 90.0]
        assert Trial(Record(run), SCORE).after([1]).tolist() == [0.0]

    @pytest.mark.parametrize(
        ("budget", "points"),
        [(100, [10, 25, 50, 100]), (30, [3, 8, 15, 30]), (1, [1, 1, 1, 1])],
    )
    def test_checkpoints_are_parts_of_the_budget(self, budget: int, points: list[int]) -> None:
        assert checkpoints(budget) == points


class TestStandings:
    def test_lower_regret_and_higher_score_are_better(self) -> None:
        high, low = [0.8, 0.81, 0.82, 0.83, 0.84, 0.85], [0.5, 0.51, 0.52, 0.53, 0.54, 0.55]
        for measure in (SCORE, REGRET):
            found = standing(measure, worse=low, better=high)
            assert [entry.agent for entry in found.entries] == ["better", "worse"]
            assert places(found) == {"better": 1, "worse": 2}
            (pair,) = found.pairs
            assert (pair.winner, pair.verdict) == ("better", "better is better")
            assert pair.probability.value == 1.0
            assert conclusion(found) == "better is better than the other."

    def test_what_chance_explains_is_not_decided(self) -> None:
        found = standing(a=[0.5, 0.6, 0.7, 0.8, 0.5, 0.6], b=[0.6, 0.5, 0.8, 0.7, 0.6, 0.51])
        assert set(places(found).values()) == {1}
        (pair,) = found.pairs
        assert pair.verdict == "undecided: its interval holds zero"
        assert conclusion(found).startswith("No difference between the 2 ranked agents is decided")

    def test_what_is_inside_the_noise_floor_is_said_to_be(self) -> None:
        ends = {"a": [0.80] * 6, "b": [0.81] * 6}
        quiet, noisy = standing(SCORE, **ends), standing(replace(SCORE, noise=1.5), **ends)
        assert places(quiet) == places(noisy) == {"b": 1, "a": 2}
        assert noisy.pairs[0].verdict == "b is better, inside the noise floor of 1.50"
        said = "1 of the 1 decided differences are inside the noise floor of 1.50"
        assert said in conclusion(noisy)
        assert "noise" not in conclusion(quiet)

    def test_an_undecided_difference_is_also_said_to_be_inside_it(self) -> None:
        ends = {"a": [0.5, 0.6], "b": [0.6, 0.5]}
        (pair,) = standing(replace(SCORE, noise=1.5), **ends).pairs
        assert pair.verdict.startswith("undecided: its interval holds zero")
        assert pair.verdict.endswith("; inside the noise floor of 1.50")

    @pytest.mark.parametrize("seeds", [2, FEWEST - 1, FEWEST])
    def test_fewer_than_six_seeds_decide_nothing(self, seeds: int) -> None:
        found = standing(a=[0.5] * seeds, b=[0.9] * seeds)
        assert places(found) == {"b": 1, "a": 2 if seeds >= FEWEST else 1}
        assert (f"{seeds} in common are too few" in conclusion(found)) == (seeds < FEWEST)

    def test_one_seed_has_no_order(self) -> None:
        found = standing(b=[0.5], a=[0.9])
        assert places(found) == {"b": None, "a": None}
        assert [entry.agent for entry in found.entries] == ["b", "a"]  # as they came
        assert found.pairs == []
        assert "one seed ranks nothing" in conclusion(found)

    def test_differences_are_of_the_common_seeds(self) -> None:
        many = [record("a", seed, [0.5 + seed / 100]) for seed in range(12)]
        few = [record("b", seed, [0.6 + seed / 100]) for seed in range(4, 10)]
        (pair,) = Standing.of("e", SCORE, 1, many + few).pairs
        assert pair.seeds == 6
        assert pair.difference == pytest.approx((10.0, 10.0, 10.0))  # b minus a: the better first

    def test_runs_that_ended_early_are_named_and_not_ranked(self) -> None:
        records = [record("good", seed, [0.5, 0.6, 0.7]) for seed in range(6)]
        records += [record("other", seed, [0.5, 0.5, 0.5]) for seed in range(6)]
        short = {"budget": 3, "ended": "stalled", "repeats": 1000}
        records += [record("argmax", seed, [0.99], **short) for seed in range(6)]
        records += [record("once", seed, [0.9, 0.9, 0.9]) for seed in range(5)]
        records += [record("once", 5, [0.9, 0.9], budget=3, ended="gave up")]
        records += [replace(record("bug", 0, []), run=Run("e", "bug", 0, 3, "failed: Bug: x"))]
        found = Standing.of("e", SCORE, 3, records)
        assert places(found) == {"good": 1, "other": 2, "argmax": None, "once": None, "bug": None}
        assert [note for entry in found.entries for note in entry.notes] == [
            "argmax: 1 of 3 distinct children in 6 of 6 runs, the rest were repeats",
            "once: 2 of 3 distinct children in 1 of 6 runs, then it gave up",
            "bug: seed 0 failed: Bug: x",
        ]
        single = Standing.of("e", SCORE, 3, [record("argmax", 0, [0.9], **short)])
        (entry,) = single.entries
        assert entry.notes == ["argmax: 1 of 3 distinct children, the rest were repeats"]

    def test_over_several_environments_only_agents_that_are_ranked_in_all(self) -> None:
        one = standing(a=[0.5] * 6, b=[0.9] * 6, c=[0.1] * 6)
        other = standing(a=[0.5] * 6, b=[0.3] * 6)
        found = aggregate([one, other])
        assert found is not None
        assert sorted(found.agents) == ["a", "b"]
        assert list(found.probabilities.values()) == [Estimate(0.5, 0.5, 0.5)]
        assert found.iqms["a"][-1] == pytest.approx((50.0, 50.0, 50.0))
        assert found.iqms["b"][-1].value == pytest.approx(60.0)  # 6 of 30, 6 of 90: 3 + 3 are cut
        assert aggregate([one]) is None
        mixed = aggregate([one, standing(REGRET, a=[0.5] * 6, b=[0.9] * 6)])
        assert mixed is not None
        assert mixed.iqms == {}
        assert mixed.probabilities["b", "a"] == (1.0, 1.0, 1.0)


def picture(svg: str) -> ElementTree.Element:
    """The picture as XML, with every mark at a finite place."""
    root = ElementTree.fromstring(svg)
    assert not re.search(r"\b(nan|inf)\b", re.sub(">[^<]*<", "><", svg))
    return root


def words(svg: str) -> list[str]:
    return [node.text or "" for node in picture(svg).iter("{http://www.w3.org/2000/svg}text")]


def curves_of(**agents: Sequence[float]) -> tuple[Any, Any]:
    found, style = standing(**agents), styles(agents)
    return by_evaluations(found, style), by_seconds(found, style)


@lru_cache
def alike(count: int) -> tuple[Any, Any]:
    return curves_of(**{f"agent{i}": [0.5, 0.6, 0.7] for i in range(count)})


class TestCharts:
    @pytest.mark.parametrize("width", [370, 470, 940])
    @pytest.mark.parametrize("count", [1, 2, 12])
    def test_name_every_curve_apart(self, width: int, count: int) -> None:
        for curves in alike(count):
            legend = width == 370
            svg = draw_curves(curves, "x", "y", width=width, legend=legend)
            names = [
                node
                for node in picture(svg).iter("{http://www.w3.org/2000/svg}text")
                if (node.text or "").startswith("agent")
            ]
            assert {node.text for node in names} == {f"agent{i}" for i in range(count)}
            spots = [(float(node.attrib["x"]), float(node.attrib["y"])) for node in names]
            for i, (x, y) in enumerate(spots):
                assert 0 < y < 700
                for x2, y2 in spots[:i]:
                    assert abs(y - y2) >= 14 or abs(x - x2) >= 40

    def test_constant_runs_have_a_curve_without_a_band(self) -> None:
        curves, _ = curves_of(a=[0.5, 0.5], b=[0.5])
        assert not any(curve.uncertain for curve in curves)
        picture(draw_curves(curves, "x", "y"))

    def test_a_curve_by_seconds_holds_all_runs_at_every_point(self) -> None:
        records = [
            record("a", 0, [0.1, 0.2, 0.3], seconds=10),
            record("a", 1, [0.5, 0.6, 0.7], seconds=4),
        ]
        (curve,) = by_seconds(Standing.of("e", SCORE, 3, records), styles(["a"]))
        assert (curve.xs[0], curve.xs[-1]) == (10.0, 12.0)
        assert curve.middle[0] == pytest.approx((10 + 60) / 2)
        assert curve.middle[-1] == pytest.approx((10 + 70) / 2)

    def test_without_seconds_there_is_no_curve_by_seconds(self) -> None:
        records = [record("a", seed, [0.5], seconds=0.0) for seed in range(2)]
        assert by_seconds(Standing.of("e", SCORE, 1, records), styles(["a"])) == []

    def test_the_axis_is_that_of_the_ranked_agents(self) -> None:
        ends = {"a": [0.8, 0.82], "b": [0.81, 0.83]}
        records = [record(k, i, [v] * 10) for k, vs in ends.items() for i, v in enumerate(vs)]
        broken = [record("c", i, [0.1], budget=10, ended="stalled") for i in range(2)]
        found = Standing.of("e", SCORE, 10, records + broken)
        low, high = value_range(by_evaluations(found, styles("abc")))
        assert (low, high) == pytest.approx((80.0, 83.0))

    def test_intervals_show_every_run(self) -> None:
        style = styles(["a"])["a"]
        values = np.array([1.0, 2.0, 3.0, 900.0])
        svg = draw_intervals([("a", style, values, Estimate(2.5, 1.5, 3.5))], "regret", noise=0.5)
        assert svg.count('r="3.2"') == 3
        assert svg.count("l6 -4z") == 1, "what lies far out stands at the edge"
        assert "noise floor 0.5" in words(svg)
        constant = [("a", style, np.zeros(3), Estimate(0.0, 0.0, 0.0))]
        picture(draw_intervals(constant, "regret"))

    def test_random_search_is_always_grey_and_others_differ(self) -> None:
        found = styles(["random", *(f"a{i}" for i in range(15))])
        assert found["random"].color == "#6b7280"
        assert len(set(found.values())) == 16

    def test_short_names_leave_modules_away_unless_that_confuses(self) -> None:
        names = {"my.mod:Agent:lr=0.1": "Agent:lr=0.1", "random": "random"}
        assert short_names(names) == names
        same = ["one:Agent", "two:Agent"]
        assert short_names(same) == {name: name for name in same}


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class TestFiles:
    @pytest.fixture
    def out(self, tmp_path: Path) -> Path:
        """A comparison by hand: names that try to break out, loops, a failed run."""
        environments = {
            label: Environment(
                "nas_gym/Digits-v0", trained=True, context={"task": label}, goals=GOALS
            )
            for label in ("nas_gym/Digits-v0", f"x{HOSTILE}")
        }
        agents = ("random", f"evil{HOSTILE}")
        Comparison(tmp_path).join(Config(4, environments, agents, [*range(6)]))
        for label in environments:
            for place, agent in enumerate(agents):
                for seed in range(6):
                    ends = [0.1, 0.2, 0.3, 0.4 + place / 10 + seed / 100]
                    write_record(tmp_path, record(agent, seed, ends, env=label, seconds=20))
        failed = Run("nas_gym/Digits-v0", "loop", 0, 4, f"failed: {HOSTILE!r}")
        write_record(tmp_path, Record(failed))
        return tmp_path

    def test_records_come_back_as_they_were(self, out: Path) -> None:
        records = read_records(out)
        assert len(records) == 25
        e = Evaluation(
            Request(Architecture("s", (("a", 1, ("b",)),)), 7),
            "diverged",
            cost={"params": 3, "joules": 0.1},
            seconds=0.1 + 0.2,
            epochs=2,
            origin="recalled",
            detail='a "quoted", long\nreason',
        )
        ok = child(3, 0.1 + 0.2, loss=1e-17, seed=7)
        rows = (Row(e, 4, 0.25, -1.0), Row(ok, 5, 0.5, 0.1))
        one = Record(Run("e", "a", 7, 2, "gave up", versions={"x": "1"}), rows)
        write_record(out / "other", one)
        assert read_records(out / "other") == [one]

    def test_a_run_without_its_json_has_not_ended(self, out: Path) -> None:
        path = next(out.rglob("seed3.json"))
        path.unlink()
        assert len(read_records(out)) == 24

    def test_hostile_names_are_text(self, out: Path) -> None:
        summarise(out)
        text = (out / "report.html").read_text(encoding="utf-8")
        page = Page()
        page.feed(text)
        assert page.open == []
        assert "script" not in page.tags
        lines = (out / "summary.md").read_text(encoding="utf-8").splitlines()
        for line in lines:
            if line.startswith("|"):
                assert len(re.findall(r"(?<!\\)\|", line)) in (6, 7, 13)

    def test_the_same_records_give_the_same_bytes(self, out: Path) -> None:
        summarise(out)
        first = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        summarise(out)
        assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == first

    def test_nothing_ended_yet_is_said(self, tmp_path: Path) -> None:
        environment = Environment("nas_gym/Digits-v0", trained=True)
        Comparison(tmp_path).join(Config(4, {"nas_gym/Digits-v0": environment}))
        summarise(tmp_path)
        assert "No run has ended yet" in (tmp_path / "report.html").read_text(encoding="utf-8")

    def test_a_record_of_another_budget_is_refused(self, out: Path) -> None:
        write_record(out, record("random", 50, [0.5, 0.6], env="nas_gym/Digits-v0"))
        with pytest.raises(RunError, match=r"seed50\.json is of no run of this comparison"):
            read_results(out)

    def test_runs_of_several_versions_are_pointed_out(self, out: Path) -> None:
        old = record("random", 0, [0.1, 0.2, 0.3, 0.4], env="nas_gym/Digits-v0")
        for version in ("1", "2"):
            run = replace(old.run, agent=f"loop{version}", versions={"nas_gym": version})
            write_record(out, replace(old, run=run))
        (note,) = [one for one in notes_of(read_results(out)) if "different versions" in one]
        assert "nas_gym 1; nas_gym 2" in note

    def test_the_noise_floor_is_pooled_within_architectures(self, tmp_path: Path) -> None:
        from agents.compare.files import write_rows

        assert noise_floor(tmp_path, "e", OBJECTIVE) is None
        first, second = child(1, 0.5), child(2, 0.9)
        rows = [first, replace(first, scores={"accuracy": 0.52}), second, child(3, 0.1)]
        rows.append(replace(second, scores={"accuracy": 0.94}))
        rows.append(failed(first))
        write_rows(tmp_path / "noise" / "e.csv", [Row(one, 0, 0.0, 0.0) for one in rows])
        # Variances of two values: (2 ** 2) / 2 and (4 ** 2) / 2.
        assert noise_floor(tmp_path, "e", OBJECTIVE) == pytest.approx(math.sqrt((2 + 8) / 2))

    def test_no_value_is_minus_zero(self) -> None:
        assert value(-0.0001, REGRET) == "0.000"
        assert value(-0.0001, SCORE) == "0.00"


class TestDirectory:
    def test_what_a_comparison_holds_grows_and_does_not_change(self, tmp_path: Path) -> None:
        options = {"bonus": "a", "path": "here"}
        e = Environment("m:x", options, {"recipe": {"epochs": 1}}, True, {"data": "t"})
        comparison = Comparison(tmp_path)
        comparison.join(Config(9, {"e": e}, ["a"], [0, 1], "data"))
        comparison.join(Config(9, {"e": e, "f": replace(e, id="n:x")}, ["b"], [1, 5]))
        found = comparison.read()
        assert sorted(found.environments) == ["e", "f"]
        assert (found.agents, found.seeds, found.data_dir) == (["a", "b"], [0, 1, 5], "data")
        for other, words in (
            (replace(e, context={"data": "u"}), "data of e was 't' and is now 'u'"),
            (replace(e, options={"bonus": "b"}), "bonus of e was 'a' and is now 'b'"),
        ):
            with pytest.raises(RunError, match=words):
                comparison.join(Config(9, {"e": other}))
        assert comparison.read() == found

    def test_an_id_that_names_its_module_is_kept(self, tmp_path: Path) -> None:
        comparison = Comparison(tmp_path)
        for env_id in ("me/X-v0", "mod:me/X-v0", "me/X-v0"):
            comparison.join(Config(9, {"me/X-v0": Environment(env_id)}))
        assert comparison.read().environments["me/X-v0"].id == "mod:me/X-v0"


class TestRecorder:
    @pytest.mark.parametrize(
        ("options", "label"),
        [
            ({}, "nas_gym/Digits-v0"),
            ({"task": "digits", "train_seed": 5, "store": None}, "nas_gym/Digits-v0"),
            ({"search_space": "plain_cnn"}, "nas_gym/Digits-v0:search_space=plain_cnn"),
            ({"evaluator": {"name": "pool", "workers": 2}}, "nas_gym/Digits-v0"),
            ({"recipe": {"epochs": 1}}, "nas_gym/Digits-v0"),
        ],
    )
    def test_a_label_holds_what_is_compared_and_no_more(
        self, options: dict[str, Any], label: str
    ) -> None:
        for env in (
            gym.make("nas_gym/Digits-v0", **options),
            gym.make_vec("nas_gym/Digits-v0", num_envs=2, **options),
        ):
            found, environment = describe(env)
            env.close()
            assert found == label
            assert environment.trained
            assert environment.shared.get("recipe") == options.get("recipe")
            assert environment.context["data"]

    def test_the_time_of_training_is_not_the_agents(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import compare_helpers
        from compare_helpers import DIALS, episode

        def burn(seconds: float) -> None:
            end = time.process_time() + seconds
            while time.process_time() < end:
                pass

        env = gym.make(f"{compare_helpers.__name__}:test/Dials-v0")
        account = env.unwrapped.ledger  # type: ignore[attr-defined]
        source = account.evaluator.source

        def slow(request: Request) -> Evaluation:
            burn(0.2)
            return source(request)

        monkeypatch.setattr(account, "evaluator", InlineEvaluator(slow))
        recorder = Recorder(env, tmp_path, agent="mine", budget=3)
        episode(env, [0] * DIALS)
        burn(0.05)
        episode(env, [1] * DIALS)
        found = recorder.finish()
        assert found.rows[0].agent_seconds < 0.1 < 0.2 <= found.run.agent_seconds + 0.2
        assert 0.05 <= found.rows[1].agent_seconds < 0.2
        env.close()
