from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import helpers
import pytest

from nas_gym.evaluation import ACCURACY, STATUSES, Evaluation, Metric, Request
from nas_gym.formulas import FORMULAS
from nas_gym.rewards import FLOORS, Reward
from nas_gym.rewards import make_reward as make_reward_of
from nas_gym.search_spaces import Architecture

METRICS = (ACCURACY, Metric("loss", up=False))
CHILD = Evaluation(
    Request(Architecture("x", ())),
    "ok",
    {"accuracy": 0.8, "loss": 0.5},
    {"params": 2_000, "macs": 4_000_000},
    seconds=3.0,
)
COSTED = [name for name in FORMULAS if name not in ("accuracy", "accuracy_cubed")]


def make_reward(spec: Any, floor: float | None = None) -> Reward:
    return make_reward_of(spec, METRICS, floor)


def failed(status: Any = "crashed") -> Evaluation:
    return replace(CHILD, status=status, scores={})


def changed(accuracy: float = 0.8, **cost: float) -> Evaluation:
    scores = {**CHILD.scores, "accuracy": accuracy}
    return replace(CHILD, scores=scores, cost={**CHILD.cost, **cost})


def spec(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name} | ({"target": 1e6} if name in COSTED else {}) | options


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        ("accuracy", 0.8),
        ({"name": "accuracy"}, 0.8),
        ({}, 0.8),
        ("accuracy_cubed", 0.512),
        # 0.8 * 4 ** -0.07, by hand
        ({"name": "mnasnet_soft", "target": 1e6}, 0.72602),
        ({"name": "mnasnet_soft", "target": 4e6}, 0.8),
        # under the target the soft one pays more than the accuracy: 0.8 * 0.5 ** -0.07
        ({"name": "mnasnet_soft", "target": 8e6}, 0.83978),
        ({"name": "mnasnet_soft", "target": 1e6, "exponent": -0.5}, 0.4),
        ({"name": "mnasnet_soft", "target": 500, "cost": "params", "exponent": -0.5}, 0.4),
        ({"name": "mnasnet_hard", "target": 1e6}, 0.2),
        ({"name": "mnasnet_hard", "target": 8e6}, 0.8),
        ({"name": "mnasnet_hard", "target": 1000, "cost": "params"}, 0.4),
        ({"name": "mnasnet_hard", "target": 1e6, "exponent": -0.5}, 0.4),
        ({"name": "tunas_absolute", "target": 1e6}, 0.8 - 0.3),
        ({"name": "tunas_absolute", "target": 4e6}, 0.8),
        ({"name": "tunas_absolute", "target": 8e6}, 0.8 - 0.05),
        ({"name": "tunas_absolute", "target": 1000, "cost": "params", "weight": -0.2}, 0.6),
        ("helpers:accuracy_squared", 0.64),
        (lambda evaluation: evaluation.scores["accuracy"] - 1, -0.2),
        # of what less is better: 1 / (1 + value)
        ("loss", 1 / 1.5),
        ("params", 1 / 2_001),
        ("seconds", 1 / 4),
    ],
)
def test_rewards_are_what_the_papers_say(reward: Any, expected: float) -> None:
    value = make_reward(reward)(CHILD)
    assert type(value) is float
    assert value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_failed_children_earn_the_floor(name: str, status: Any) -> None:
    floor = -1.0 if name == "tunas_absolute" else 0.0
    assert make_reward(spec(name))(failed(status)) == floor
    assert make_reward(spec(name), floor=-2.5)(failed(status)) == -2.5
    assert make_reward(spec(name), floor=-2.5)(CHILD) != -2.5


@pytest.mark.parametrize("name", FORMULAS)
def test_no_trained_child_earns_less_than_a_failed_one_within_reach(name: str) -> None:
    """At the target's size even the worst accuracy is worth at least the floor."""
    reward = make_reward(spec(name))
    assert reward(changed(0.0, macs=1_000_000)) >= reward.floor


@pytest.mark.parametrize("name", COSTED)
def test_more_accuracy_or_less_cost_is_never_worse_over_the_target(name: str) -> None:
    reward = make_reward(spec(name))
    assert reward(changed(0.9)) > reward(CHILD)
    assert reward(changed(macs=2_000_000)) > reward(CHILD)


def test_failures_are_not_shown_to_the_users_function() -> None:
    def strict(evaluation: Evaluation) -> float:
        assert evaluation.ok
        return 1.0

    reward = make_reward(strict, floor=-3)
    assert reward(failed()) == -3
    assert reward(CHILD) == 1


def test_options_of_ones_own_function_are_ones_own() -> None:
    reward = make_reward({"name": "helpers:power", "cost": "seconds", "target": 0})
    assert reward(CHILD) == 1.0


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("acuracy", ["'acuracy'", "did you mean 'accuracy'?", "tunas_absolute"]),
        ("zzz", ["'zzz'", "there are: ", "accuracy_cubed"]),
        (3, ["3", "there are"]),
        ("helpers:absent", ["helpers", "'absent'"]),
        ("no_such_module:reward", ["no_such_module"]),
        ("helpers:TINY", ["helpers:TINY", "callable"]),
        ("mnasnet_soft", ["mnasnet_soft", "'target'"]),
        ({"name": "accuracy", "target": 3}, ["accuracy", "has no options", "target"]),
        ({"name": "mnasnet_hard", "target": 0}, ["mnasnet_hard", "target"]),
        ({"name": "mnasnet_hard", "target": -1}, ["target"]),
        ({"name": "mnasnet_hard", "target": float("nan")}, ["target"]),
        ({"name": "mnasnet_hard", "target": "1e6"}, ["target", "'1e6'"]),
        ({"name": "mnasnet_hard", "target": None}, ["target", "None"]),
        ({"name": "mnasnet_hard", "target": 1, "exponent": "a"}, ["exponent", "'a'"]),
        ({"name": "tunas_absolute", "target": 1, "weight": None}, ["weight", "None"]),
        ({"name": "tunas_absolute", "target": 1, "cost": "flops"}, ["cost", "params", "macs"]),
    ],
)
def test_bad_rewards_are_one_clear_sentence(reward: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make_reward(reward)
    assert helpers.is_sentence(caught.value, *words), caught.value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_rewards_that_are_no_number_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=f"gave {value}"):
        Reward(lambda _: value)(CHILD)


@pytest.mark.parametrize("name", COSTED)
def test_a_cost_that_was_not_counted_is_no_zero(name: str) -> None:
    with pytest.raises(ValueError, match="needs the macs"):
        make_reward(spec(name))(replace(CHILD, cost={"params": 2_000}))
    with pytest.raises(ValueError, match="needs the params"):
        make_reward(spec(name, cost="params"))(replace(CHILD, cost={"macs": 4}))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_child_without_multiply_adds_has_a_finite_reward(name: str) -> None:
    make_reward(spec(name))(changed(macs=0))


# ---------------------------------------------------------------- metrics of any source


@pytest.mark.parametrize(
    ("value", "paid"), [(0.0, 1.0), (1.0, 0.5), (3.0, 0.25), (1e9, 1 / (1 + 1e9)), (-0.5, 1.0)]
)
def test_a_metric_of_which_less_is_better_pays_more_for_less(value: float, paid: float) -> None:
    reward = make_reward_of("perplexity", (Metric("perplexity", up=False),))
    child = replace(CHILD, scores={"perplexity": value})
    assert reward(child) == pytest.approx(paid)
    assert reward.floor == 0.0  # what no child that is trained falls below
    assert reward(child) >= reward.floor


def test_a_metric_of_which_more_is_better_is_paid_as_it_is() -> None:
    reward = make_reward_of("bleu", (Metric("bleu"),))
    assert reward(replace(CHILD, scores={"bleu": 27.5})) == 27.5
    assert reward(replace(CHILD, scores={"bleu": -3.0})) == -3.0


def test_no_name_is_the_headline_metric() -> None:
    metrics = (Metric("rmse", up=False), Metric("mae", up=False))
    child = replace(CHILD, scores={"rmse": 1.0, "mae": 3.0})
    assert make_reward_of({}, metrics)(child) == 0.5


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_needs_an_accuracy(name: str) -> None:
    with pytest.raises(ValueError, match="needs an accuracy") as caught:
        make_reward_of(spec(name), (Metric("rmse", up=False),))
    assert helpers.is_sentence(caught.value, name, "rmse")


def test_a_metric_that_is_missing_is_no_reward() -> None:
    with pytest.raises(ValueError, match="gave None") as caught:
        make_reward("loss")(replace(CHILD, scores={"accuracy": 0.5}))
    assert helpers.is_sentence(caught.value)


def test_floors_are_of_formulas() -> None:
    assert set(FLOORS) <= set(FORMULAS)
    assert make_reward("loss").floor == make_reward("params").floor == 0.0


def test_a_reward_travels() -> None:
    for one in ("loss", "accuracy", spec("mnasnet_soft"), "helpers:accuracy_squared"):
        reward = make_reward(one)
        assert pickle.loads(pickle.dumps(reward))(CHILD) == reward(CHILD)
