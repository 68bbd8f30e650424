from __future__ import annotations

from dataclasses import replace
from typing import Any

import helpers
import pytest

from nas_gym.evaluation import STATUSES, Evaluation
from nas_gym.rewards import REWARDS, Reward, make_reward
from nas_gym.search_spaces import Architecture

CHILD = Evaluation(
    Architecture("x", ()), "ok", val_accuracy=0.8, val_loss=0.5, params=2_000, macs=4_000_000
)
COSTED = [name for name in REWARDS if name not in ("accuracy", "accuracy_cubed")]


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
        (lambda evaluation: evaluation.val_accuracy - 1, -0.2),
    ],
)
def test_rewards_are_what_the_papers_say(reward: Any, expected: float) -> None:
    value = make_reward(reward)(CHILD)
    assert type(value) is float
    assert value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_failed_children_earn_the_floor(name: str, status: Any) -> None:
    failed = replace(CHILD, status=status, val_accuracy=0.0)
    floor = -1.0 if name == "tunas_absolute" else 0.0
    assert make_reward(spec(name))(failed) == floor
    assert make_reward(spec(name), floor=-2.5)(failed) == -2.5
    assert make_reward(spec(name), floor=-2.5)(CHILD) != -2.5


@pytest.mark.parametrize("name", REWARDS)
def test_no_trained_child_earns_less_than_a_failed_one_within_reach(name: str) -> None:
    """At the target's size even the worst accuracy is worth at least the floor."""
    reward = make_reward(spec(name))
    assert reward(replace(CHILD, val_accuracy=0.0, macs=1_000_000)) >= reward.floor


@pytest.mark.parametrize("name", COSTED)
def test_more_accuracy_or_less_cost_is_never_worse_over_the_target(name: str) -> None:
    reward = make_reward(spec(name))
    assert reward(replace(CHILD, val_accuracy=0.9)) > reward(CHILD)
    assert reward(replace(CHILD, macs=2_000_000)) > reward(CHILD)


def test_failures_are_not_shown_to_the_users_function() -> None:
    def strict(evaluation: Evaluation) -> float:
        assert evaluation.ok
        return 1.0

    reward = make_reward(strict, floor=-3)
    assert reward(replace(CHILD, status="crashed")) == -3
    assert reward(CHILD) == 1


def test_options_of_ones_own_function_are_ones_own() -> None:
    reward = make_reward({"name": "helpers:power", "cost": "seconds", "target": 0})
    assert reward(CHILD) == 1.0


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ("acuracy", ["'acuracy'", "did you mean 'accuracy'?", "tunas_absolute"]),
        ("zzz", ["'zzz'", "there are: accuracy"]),
        (3, ["3", "there are"]),
        ("helpers:absent", ["helpers", "'absent'"]),
        ("no_such_module:reward", ["no_such_module"]),
        ("helpers:TINY", ["helpers:TINY", "callable"]),
        ("mnasnet_soft", ["mnasnet_soft", "'target'"]),
        ({"name": "accuracy", "target": 3}, ["accuracy", "'target'"]),
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
        make_reward(spec(name))(replace(CHILD, macs=None))
    with pytest.raises(ValueError, match="needs the params"):
        make_reward(spec(name, cost="params"))(replace(CHILD, params=None))


@pytest.mark.parametrize("name", REWARDS)
def test_a_child_without_multiply_adds_has_a_finite_reward(name: str) -> None:
    make_reward(spec(name))(replace(CHILD, macs=0))
