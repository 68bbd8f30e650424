from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import helpers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_gym import make_problem
from nas_gym.evaluation import ACCURACY, STATUSES, Evaluation, Metric, Request
from nas_gym.objectives import (
    Column,
    Objective,
    best,
    distinct,
    front,
    incumbents,
    make_objective,
    top,
)
from nas_gym.search_spaces import Architecture, LayerCNN
from nas_gym.sources import FunctionSource

LOSS = Metric("loss", up=False)
METRICS = (ACCURACY, LOSS)
FAILED = [status for status in STATUSES if status != "ok"]


def child(number: int, seed: int = 0, cost: dict[str, float] | None = None, **scores: float) -> Any:
    architecture = Architecture("x", (("conv", number),))
    return Evaluation(Request(architecture, seed), "ok", scores, cost or {})


def failed(number: int, status: Any = "diverged", **cost: float) -> Evaluation:
    return replace(child(number, cost=cost), status=status)


def numbers(evaluations: Sequence[Evaluation | None]) -> list[int | None]:
    return [None if e is None else int(e.architecture.layers[0][1]) for e in evaluations]


def power(evaluation: Evaluation, exponent: float) -> float:
    """A user's own column with an option."""
    return float(evaluation.scores["accuracy"] ** exponent)


# ---------------------------------------------------------------- one column


@pytest.mark.parametrize(
    ("spec", "winner"),
    [
        ("accuracy", 3),
        ("loss", 1),
        ("params", 2),
        ("macs", 1),
        ("seconds", 2),
        ("accuracy_cubed", 3),
        ({"name": "mnasnet_hard", "target": 10, "cost": "params"}, 2),
        ({"name": "mnasnet_hard", "target": 10_000, "cost": "params"}, 3),
        ({"name": "tunas_absolute", "target": 500, "cost": "params", "weight": -0.5}, 1),
        (lambda evaluation: -evaluation.scores["loss"] * evaluation.params, 2),
        ("test_objectives:least_macs", 1),
        ({"name": "test_objectives:power", "exponent": -1}, 2),
        ({}, 3),
        (["accuracy"], 3),
    ],
)
def test_best_is_what_the_objective_says(spec: Any, winner: int) -> None:
    children = [
        replace(child(1, cost={"params": 500, "macs": 1}, accuracy=0.7, loss=0.5), seconds=9.0),
        replace(child(2, cost={"params": 10, "macs": 3}, accuracy=0.6, loss=0.9), seconds=1.0),
        replace(child(3, cost={"params": 900, "macs": 2}, accuracy=0.8, loss=0.6), seconds=5.0),
    ]
    objective = make_objective(spec, METRICS)
    for order in (children, children[::-1]):
        assert numbers([best(objective, order)]) == [winner]
        assert numbers(top(objective, order, 1)) == [winner]
        assert numbers(front(objective, order)) == [winner]


def least_macs(evaluation: Evaluation) -> float:
    """A user's own objective: of its number more is better."""
    assert evaluation.macs is not None
    return 1 / evaluation.macs


@pytest.mark.parametrize("up", [True, False])
def test_a_column_goes_up_or_down(up: bool) -> None:
    objective = make_objective("score", (Metric("score", up),))
    children = [child(number, score=value) for number, value in enumerate([3, -1, 2, 3, -1])]
    assert numbers([best(objective, children)]) == [0 if up else 1]  # the first of equals
    assert numbers(top(objective, children, 9)) == ([0, 3, 2, 1, 4] if up else [1, 4, 2, 0, 3])
    assert numbers(incumbents(objective, children)) == ([0] * 5 if up else [0, 1, 1, 1, 1])
    assert objective.value(children[2]) == 2.0  # as it is, whichever way is better
    assert numbers(front(objective, children)) == [0 if up else 1]


def test_of_equal_children_the_one_of_less_loss_is_best_then_the_first() -> None:
    objective = make_objective("accuracy", METRICS)
    children = [
        child(1, accuracy=0.5, loss=1.0),
        child(2, accuracy=0.5, loss=0.9),
        child(3, accuracy=0.5, loss=0.9),
        child(4, accuracy=0.4, loss=0.1),
    ]
    assert numbers([best(objective, children)]) == [2]
    assert numbers(top(objective, children, 4)) == [2, 3, 1, 4]
    assert numbers(incumbents(objective, children)) == [1, 2, 2, 2]
    assert numbers([best(make_objective("accuracy", METRICS[:1]), children)]) == [1]


def test_a_tie_of_costs_is_settled_by_the_loss_too() -> None:
    objective = make_objective("params", METRICS)
    children = [child(n, cost={"params": 7}, accuracy=0.5, loss=1 / n) for n in (1, 2, 3)]
    assert numbers([best(objective, children)]) == [3]


@pytest.mark.parametrize("status", FAILED)
@pytest.mark.parametrize("spec", ["accuracy", "loss", "params", "seconds", ["params", "accuracy"]])
def test_what_failed_is_never_best(spec: Any, status: Any) -> None:
    objective = make_objective(spec, METRICS)
    light = failed(1, status, params=1)
    assert set(objective.values(light)) == {None}
    assert best(objective, [light]) is None
    assert incumbents(objective, [light]) == [None]
    assert top(objective, [light], 3) == front(objective, [light]) == []
    fine = child(2, cost={"params": 9}, accuracy=0.0, loss=99.0)
    for order in ([light, fine], [fine, light]):
        assert best(objective, order) is fine
        assert top(objective, order, 3) == front(objective, order) == [fine]
    assert objective.rank(light) < objective.rank(fine)


@pytest.mark.parametrize("spec", ["params", "macs"])
def test_what_was_not_counted_is_never_best(spec: str) -> None:
    objective = make_objective(spec, METRICS)
    unknown = child(1, accuracy=1.0, loss=0.0)
    known = child(2, cost={spec: 10**9}, accuracy=0.1, loss=9.0)
    assert objective.value(unknown) is None
    for order in ([unknown, known], [known, unknown]):
        assert best(objective, order) is known
        assert top(objective, order, 2) == front(objective, order) == [known]
    assert best(objective, [unknown]) is None


def test_a_function_is_not_shown_what_failed() -> None:
    def strict(evaluation: Evaluation) -> float:
        assert evaluation.ok
        return 1.0

    objective = make_objective(strict, METRICS)
    fine = child(2)
    assert best(objective, [failed(1), fine, failed(3)]) is fine


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_function_that_gives_no_finite_number_is_one_clear_sentence(value: float) -> None:
    def mine(evaluation: Evaluation) -> float:
        return value

    with pytest.raises(ValueError, match=f"the objective mine is {value}") as caught:
        best(make_objective(mine, METRICS), [child(1)])
    assert helpers.is_sentence(caught.value, "conv")


def test_a_function_may_not_know() -> None:
    objective = make_objective(lambda evaluation: evaluation.scores.get("latency"), METRICS)
    slow, fast = child(1, latency=3.0), child(2, latency=5.0)
    assert best(objective, [child(3), slow, fast, child(4)]) is fast
    assert numbers(top(objective, [child(3), slow, fast], 3)) == [2, 1]


# ---------------------------------------------------------------- the top


def test_an_architecture_of_several_seeds_is_there_once_with_its_best() -> None:
    objective = make_objective("accuracy", METRICS)
    children = [
        child(1, seed=0, accuracy=0.3),
        child(2, seed=0, accuracy=0.5),
        child(1, seed=1, accuracy=0.9),
        child(2, seed=1, accuracy=0.5),
        child(3, seed=0, accuracy=0.4),
        child(1, seed=2, accuracy=0.6),
    ]
    found = top(objective, children, 9)
    assert [(e.architecture.layers[0][1], e.seed) for e in found] == [(1, 1), (2, 0), (3, 0)]
    assert top(objective, children, 2) == found[:2]
    assert top(objective, children, 0) == []


def test_the_top_of_several_columns_is_front_after_front() -> None:
    objective = make_objective(["accuracy", "params"], METRICS)
    points = {
        1: (0.9, 900),
        2: (0.5, 100),
        3: (0.8, 900),
        4: (0.5, 200),
        5: (0.4, 300),
        6: (0.7, 90),
    }
    children = [child(n, cost={"params": p}, accuracy=a) for n, (a, p) in points.items()]
    assert numbers(front(objective, children)) == [1, 6]
    assert numbers(top(objective, children, 9)) == [1, 6, 3, 2, 4, 5]
    assert numbers(top(objective, children, 1)) == [1]
    assert numbers(top(objective, children, 3)) == [1, 6, 3]


def test_the_first_answer_to_a_request_counts() -> None:
    one, again, other = child(1, accuracy=0.1), child(1, accuracy=0.2), child(1, 1, accuracy=0.3)
    assert distinct([one, other, again, other]) == [one, other]


# ---------------------------------------------------------------- several columns

VALUES = st.one_of(st.none(), st.integers(-3, 3), st.sampled_from([0.0, -0.0, 1e-9]))
COLUMNS = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        st.tuples(*[st.booleans()] * count), st.lists(st.tuples(*[VALUES] * count), max_size=12)
    )
)
WHOLE = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        st.tuples(*[st.booleans()] * count),
        st.lists(st.tuples(*[st.integers(-3, 3)] * count), max_size=12),
    )
)


def of_points(
    ups: tuple[bool, ...], points: list[tuple[float | None, ...]]
) -> tuple[Objective, list[Evaluation]]:
    """An objective with a column for each direction, and children with these values."""
    metrics = tuple(Metric(f"m{i}", up) for i, up in enumerate(ups))
    children = []
    for number, values in enumerate(points):
        pairs = zip(metrics, values, strict=True)
        children.append(child(number, **{m.name: v for m, v in pairs if v is not None}))
    return make_objective([metric.name for metric in metrics], metrics), children


def at_least(objective: Objective, one: Evaluation, other: Evaluation) -> bool:
    """Whether a child is as good as another one in all columns."""
    pairs = zip(objective.metrics, objective.values(one), objective.values(other), strict=True)
    return all(a >= b if metric.up else a <= b for metric, a, b in pairs)  # type: ignore[operator]


@given(COLUMNS)
def test_the_front_is_what_nobody_beats(drawn: Any) -> None:
    ups, points = drawn
    objective, children = of_points(ups, points)
    found = front(objective, children)
    known = [c for c in children if None not in objective.values(c)]
    assert all(c in known for c in found)
    for one in found:  # nobody is as good as one of the front, but itself and its equals
        for other in known:
            if other is not one and at_least(objective, other, one):
                assert objective.values(other) == objective.values(one)
                assert children.index(one) < children.index(other)  # of equals the first
    for one in known:  # everybody else is beaten by somebody there
        assert one in found or any(at_least(objective, other, one) for other in found)
    firsts = [
        metric.sign * (objective.value(c) or 0) for metric in objective.metrics[:1] for c in found
    ]
    assert firsts == sorted(firsts, reverse=True)


@given(COLUMNS, st.randoms())
def test_the_front_does_not_depend_on_the_order(drawn: Any, random: Any) -> None:
    ups, points = drawn
    objective, children = of_points(ups, points)
    shuffled = random.sample(children, len(children))
    expected = [objective.values(c) for c in front(objective, children)]
    assert [objective.values(c) for c in front(objective, shuffled)] == expected


@given(WHOLE)
def test_the_best_one_is_of_the_front_and_first_there(drawn: Any) -> None:
    ups, points = drawn
    objective, children = of_points(ups, points)
    found, layers = best(objective, children), front(objective, children)
    assert (found is None) == (layers == []) == (children == [])
    if found is not None:
        assert found is layers[0]
        assert incumbents(objective, children)[-1] is found
        assert top(objective, children, 1) == [found]


@given(WHOLE)
def test_the_top_of_all_is_everybody_the_front_first(drawn: Any) -> None:
    ups, points = drawn
    objective, children = of_points(ups, points)
    found = top(objective, children, len(children))
    assert sorted(numbers(found)) == sorted(numbers(children))  # type: ignore[type-var]
    layer = front(objective, children)
    assert found[: len(layer)] == layer
    for k in range(len(children)):
        assert top(objective, children, k) == found[:k]


@given(WHOLE)
def test_incumbents_only_get_better(drawn: Any) -> None:
    ups, points = drawn
    objective, children = of_points(ups, points)
    ranks = [objective.rank(one) for one in incumbents(objective, children) if one is not None]
    assert len(ranks) == len(children)
    assert ranks == sorted(ranks)


def test_what_is_unknown_in_one_column_is_not_of_the_front() -> None:
    objective = make_objective(["accuracy", "params"], METRICS)
    unknown = child(1, accuracy=0.9)
    known = child(2, cost={"params": 10}, accuracy=0.5)
    assert objective.values(unknown) == (0.9, None)
    assert front(objective, [unknown, known]) == [known]


def test_what_is_unknown_in_one_column_is_not_best() -> None:
    objective = make_objective(["accuracy", "params"], METRICS)
    unknown = child(1, accuracy=0.9)
    known = child(2, cost={"params": 10}, accuracy=0.5)
    assert best(objective, [unknown, known]) is known
    assert incumbents(objective, [unknown, known]) == [None, known]


@pytest.mark.timeout(20)
def test_the_top_ends_where_a_column_is_unknown() -> None:
    objective = make_objective(["accuracy", "params"], METRICS)
    children = [child(1, accuracy=0.9), child(2, cost={"params": 10}, accuracy=0.5)]
    assert numbers(top(objective, children, 2)) == [2]


# ---------------------------------------------------------------- what an objective is


def test_an_objective_says_what_it_is() -> None:
    objective = make_objective(["accuracy", "params", "seconds"], METRICS)
    assert objective.title == "validation accuracy and parameters and seconds of training"
    assert [metric.name for metric in objective.metrics] == ["accuracy", "params", "seconds"]
    assert [metric.up for metric in objective.metrics] == [True, False, False]
    assert objective.metric == ACCURACY
    assert objective.tie == LOSS
    assert make_objective("accuracy", (ACCURACY,)).tie is None
    assert make_objective(least_macs, METRICS).metric == Metric("least_macs")
    assert make_objective("test_objectives:least_macs", METRICS).title == "least macs"
    assert make_objective(lambda _: 1.0, METRICS).metric == Metric("objective")


def test_an_objective_is_a_metric_of_the_source_before_a_formula() -> None:
    own = Metric("accuracy_cubed", up=False)
    objective = make_objective("accuracy_cubed", (own,))
    assert objective.metric == own
    assert objective.value(child(1, accuracy_cubed=3.0)) == 3.0


def test_an_objective_travels() -> None:
    for spec in ("loss", {"name": "mnasnet_hard", "target": 3}, ["accuracy", "params"], least_macs):
        objective = make_objective(spec, METRICS)
        one = child(1, cost={"params": 2, "macs": 4}, accuracy=0.5, loss=1.0)
        assert pickle.loads(pickle.dumps(objective)).values(one) == objective.values(one)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("acuracy", ["'acuracy'", "did you mean 'accuracy'?", "mnasnet_hard", "'module:name'"]),
        (
            "zzz",
            [
                "unknown objective 'zzz'",
                "there are: accuracy, accuracy_cubed, loss, macs",
                "params",
            ],
        ),
        ("top5", ["'top5'", "there are: "]),
        (["accuracy", "zzz"], ["'zzz'"]),
        ({"name": "accuracy", "target": 3}, ["'accuracy'", "no options", "target"]),
        ({"name": "params", "weight": 3}, ["'params'", "no options", "weight"]),
        ("mnasnet_hard", ["mnasnet_hard", "'target'"]),
        ({"name": "mnasnet_hard", "target": 0}, ["objective", "target", "above 0"]),
        ({"name": "mnasnet_hard", "target": 1, "cost": "flops"}, ["cost", "params", "macs"]),
        ({"name": "mnasnet_hard", "target": 1, "limit": 3}, ["mnasnet_hard", "'limit'"]),
        ("helpers:absent", ["helpers", "'absent'"]),
        ("helpers:TINY", ["helpers:TINY", "callable"]),
        ({"name": "test_objectives:power"}, ["test_objectives:power", "'exponent'"]),
        ({"name": 3}, ["3"]),
        ([], ["at least one column"]),
        (["accuracy", "params", "accuracy"], ["must differ", "accuracy, params, accuracy"]),
        ([lambda _: 1.0, lambda _: 2.0], ["must differ", "objective, objective"]),
    ],
)
def test_bad_objectives_are_one_clear_sentence(spec: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make_objective(spec, METRICS)
    assert helpers.is_sentence(caught.value, *words), caught.value


@pytest.mark.parametrize("spec", [3, None, [3], [None]])
def test_what_names_no_objective_is_one_clear_sentence(spec: Any) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make_objective(spec, METRICS)
    assert helpers.is_sentence(caught.value, "objective"), caught.value


def test_a_formula_needs_an_accuracy() -> None:
    with pytest.raises(ValueError, match="needs an accuracy") as caught:
        make_objective("accuracy_cubed", (Metric("rmse", up=False),))
    assert helpers.is_sentence(caught.value, "rmse", "objective")


# ---------------------------------------------------------------- rewards and objectives

SPACE = LayerCNN((1, 8, 8), 10, depth=1)
HEAVY, LIGHT = SPACE.decode([1, 2, 0, 0]), SPACE.decode([1, 0, 0, 0])


def answer(architecture: Architecture, seed: int) -> Evaluation:
    """The heavy net is a little better and much larger."""
    heavy = architecture == HEAVY
    return Evaluation(
        Request(architecture, seed),
        "ok",
        {"accuracy": 0.8 if heavy else 0.7, "loss": 0.9 if heavy else 1.0},
        {"params": 1000 if heavy else 10},
    )


HARD = {"name": "mnasnet_hard", "target": 10, "cost": "params"}


@pytest.mark.parametrize(
    ("named", "winner", "name", "paid"),
    [
        ({}, HEAVY, "accuracy", 0.8),
        ({"reward": "accuracy"}, HEAVY, "accuracy", 0.8),
        ({"reward": "accuracy_cubed"}, HEAVY, "accuracy", 0.512),
        ({"reward": HARD}, LIGHT, "mnasnet_hard", 0.008),
        ({"reward": "loss"}, HEAVY, "loss", 1 / 1.9),
        ({"reward": "params"}, LIGHT, "params", 1 / 1001),
        ({"reward": lambda e: -e.params}, LIGHT, "objective", -1000),
        ({"objective": "params"}, LIGHT, "params", 1 / 1001),
        ({"objective": "loss"}, HEAVY, "loss", 1 / 1.9),
        ({"objective": HARD}, LIGHT, "mnasnet_hard", 0.008),
        ({"objective": ["params", "accuracy"]}, LIGHT, "params", 1 / 1001),
        ({"objective": ["accuracy", "params"]}, HEAVY, "accuracy", 0.8),
        ({"objective": "params", "reward": "accuracy"}, LIGHT, "params", 0.8),
        ({"objective": "accuracy", "reward": HARD}, HEAVY, "accuracy", 0.008),
        ({"objective": lambda e: -e.params}, LIGHT, "objective", -1000),
    ],
)
def test_reward_and_objective_follow_each_other(
    named: dict[str, Any], winner: Architecture, name: str, paid: float
) -> None:
    source = FunctionSource(answer, metrics=METRICS)
    problem = make_problem(search_space=SPACE, source=source, **named)
    heavy, light = (problem.source(Request(one)) for one in (HEAVY, LIGHT))
    chosen = best(problem.objective, [heavy, light])
    assert chosen is not None
    assert chosen.architecture == winner
    assert problem.objective.metric.name == name
    assert problem.reward(heavy) == pytest.approx(paid)


def test_a_named_formula_ranks_as_the_metric_it_is_of() -> None:
    """With or without a mapping around the name."""
    source = FunctionSource(answer, metrics=METRICS)
    for reward in ("accuracy_cubed", {"name": "accuracy_cubed"}):
        objective = make_problem(search_space=SPACE, source=source, reward=reward).objective
        values = [objective.value(source(Request(one))) for one in (HEAVY, LIGHT)]
        assert values[0] > values[1]  # type: ignore[operator]


def test_a_headline_metric_of_which_less_is_better_pays_its_inverse() -> None:
    rmse = Metric("rmse", up=False)
    source = FunctionSource(lambda architecture, seed: 3.0, metrics=(rmse,))
    problem = make_problem(search_space=SPACE, source=source)
    assert problem.reward(problem.source(Request(LIGHT))) == 0.25
    assert problem.objective.metric == rmse


def test_a_column_is_read_where_a_score_and_a_cost_have_one_name() -> None:
    """A source may score what it counts; the score is what its metric is about."""
    metrics = (Metric("params"),)
    objective = make_objective("params", metrics)
    assert isinstance(objective.columns[0], Column)
    assert objective.metric.up
    assert objective.value(child(1, cost={"params": 5}, params=7.0)) == 7.0
