"""Over every registered id whose data is here. Most children are looked up, not trained."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import conftest
import gymnasium as gym
import helpers
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from PIL import Image

import nas_gym
from nas_gym import (
    Architecture,
    BudgetExhausted,
    FunctionSource,
    ImageClassification,
    InlineEvaluator,
    Metric,
    NASEnv,
    Request,
    Task,
    TrainingSource,
    make_problem,
    problem_of,
)
from nas_gym.evaluation import STATUSES, Evaluation
from nas_gym.search_spaces import SEARCH_SPACES, LayerCNN, PlainCNN
from nas_gym.store import Store

SMALL = {"name": "plain_cnn", "depth": 1}
SIZES = (
    ("layer_cnn", 120, 24),
    ("plain_cnn", 48, 12),
    ("nas_bench_macro", 32, 8),
    ("nas_bench_201", 36, 6),
)
DIGITS = "nas_gym/Digits-v0"
LAST = {
    "action_mask": np.ndarray,
    "architecture": str,
    "status": str,
    "val_accuracy": float,
    "cached": bool,
    "params": float,
    "macs": float,
    "seconds": float,
}
COUNTED = LAST | {"params": int, "macs": int}


def make(env_id: str = DIGITS, **kwargs: Any) -> gym.Env[Any, Any]:
    defaults = {"data_dir": str(conftest.DATA)}
    if env_id not in nas_gym.BENCHMARKS:
        defaults["evaluator"] = "helpers:table"
    return gym.make(env_id, **(defaults | kwargs))


def make_small(**kwargs: Any) -> NASEnv:
    env = make(**({"search_space": SMALL} | kwargs)).unwrapped
    assert isinstance(env, NASEnv)
    return env


def make_answered(source: Any, **kwargs: Any) -> NASEnv:
    """An environment whose children a function answers for."""
    return make_small(**({"source": source, "evaluator": "inline"} | kwargs))


def play(env: gym.Env[Any, Any], actions: list[int], **reset: Any) -> tuple[float, dict[str, Any]]:
    """One episode; its reward and last info."""
    env.reset(**reset)
    for action in actions[:-1]:
        _, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated, truncated) == (0.0, False, False)
    _, reward, terminated, truncated, info = env.step(actions[-1])
    assert (terminated, truncated) == (True, False)
    return float(reward), info


def steps(env: gym.Env[Any, Any]) -> int:
    return len(env.unwrapped.search_space.decisions)  # type: ignore[attr-defined]


@pytest.fixture
def env(env_id: str) -> Iterator[gym.Env[Any, Any]]:
    env = make(env_id)
    yield env
    env.close()


# ---------------------------------------------------------------- checkers and the spec


def test_gymnasiums_checker_has_nothing_to_say(env: gym.Env[Any, Any]) -> None:
    check_env(env.unwrapped)


def test_stable_baselines_checker_has_nothing_to_say(env: gym.Env[Any, Any]) -> None:
    from stable_baselines3.common.env_checker import check_env as check_sb3_env

    check_sb3_env(env.unwrapped)


@pytest.mark.parametrize("space", SEARCH_SPACES)
def test_checkers_have_nothing_to_say_of_any_space(space: str) -> None:
    from stable_baselines3.common.env_checker import check_env as check_sb3_env

    for check in (check_env, check_sb3_env):
        env = make(search_space=space)
        check(env.unwrapped)
        env.close()


def test_the_spec_survives_json(env: gym.Env[Any, Any]) -> None:
    assert env.spec is not None
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec == env.spec
    again = gym.make(spec)
    actions = [1] * steps(env)
    assert play(again, actions)[1]["architecture"] == play(env, actions)[1]["architecture"]


def test_a_full_set_of_arguments_survives_json(tmp_path: Path) -> None:
    env = make(
        search_space={"name": "layer_cnn", "depth": 2, "widths": [8, 16]},
        reward={"name": "mnasnet_soft", "target": 1e6},
        recipe=helpers.TINY,
        evaluator={"name": "pool", "workers": 2},
        device="cpu",
        store=str(tmp_path / "store.db"),
        run="a",
        seed_policy="resample",
        train_seed=3,
        failure_reward=-0.5,
        render_mode="ansi",
    )
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.search_space == env.unwrapped.search_space  # type: ignore[attr-defined]
    assert again.unwrapped.render_mode == "ansi"
    assert again.spec is not None
    assert again.spec.kwargs == env.spec.kwargs


def test_every_id_is_registered() -> None:
    for env_id in (*nas_gym.ENVIRONMENTS, nas_gym.CUSTOM, *nas_gym.BENCHMARKS):
        spec = gym.spec(env_id)
        assert spec.vector_entry_point is not None
        assert spec.nondeterministic  # seconds are measured; with a task, of a table's ids too


def test_ids_are_found_through_the_module_name() -> None:
    code = (
        "import gymnasium; env = gymnasium.make('nas_gym:nas_gym/Digits-v0');"
        "print(env.action_space)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "Discrete(7)\n"


def test_a_task_of_ones_own_gets_an_id() -> None:
    nas_gym.register_task("helpers/Noise-v0", "helpers:own_task", search_space=SMALL)
    try:
        env = gym.make("helpers/Noise-v0", recipe=helpers.TINY | {"train_images": None})
        reward, info = play(env, [0, 0, 0])
        assert info["status"] == "ok"
        assert reward == info["val_accuracy"]
    finally:
        del gym.registry["helpers/Noise-v0"]


# ---------------------------------------------------------------- the episode


def test_what_an_episode_shows(env: gym.Env[Any, Any]) -> None:
    space = env.unwrapped.search_space  # type: ignore[attr-defined]
    assert isinstance(env.action_space, gym.spaces.Discrete)
    assert env.action_space.n == space.num_actions
    observation, info = env.reset(seed=3)
    assert set(info) == {"action_mask"}
    random = np.random.default_rng(0)
    actions: list[int] = []
    for step in range(steps(env)):
        assert env.observation_space.contains(observation)
        assert observation.sum() == step + 1  # the choices made, and where we are
        mask = info["action_mask"]
        assert (mask.dtype, mask.shape) == (np.int8, (space.num_actions,))
        assert np.array_equal(mask, space.mask(actions))
        assert np.array_equal(env.unwrapped.action_masks(), mask)  # type: ignore[attr-defined]
        assert env.unwrapped.action_masks().dtype == np.bool_  # type: ignore[attr-defined]
        assert space.decisions[step].choices
        actions.append(int(random.integers(space.num_actions)))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        assert type(reward) is float
        assert type(terminated) is bool
        assert (terminated, truncated) == (step == steps(env) - 1, False)
        assert terminated or set(info) == {"action_mask"}
    assert observation.sum() == steps(env)
    known = COUNTED if isinstance(info["params"], int) else LAST
    assert {key: type(value) for key, value in info.items()} == known
    architecture = Architecture.from_json(info["architecture"])
    assert architecture == space.decode(actions)
    source = env.unwrapped.ledger.evaluator.source  # type: ignore[attr-defined]
    assert source is env.unwrapped.problem.source  # type: ignore[attr-defined]
    expected = source(Request(architecture))
    assert reward == info["val_accuracy"] == expected.scores["accuracy"] > 0
    assert info["status"] == expected.status == "ok"


def test_observations_are_told_apart() -> None:
    """Every prefix has an observation of its own: an agent sees all that was decided."""
    env = make_small()
    seen = {env.reset()[0].tobytes()}
    for first in range(4):
        for second in range(3):
            for third in range(2):
                env.reset()
                for action in (first, second, third):
                    seen.add(env.step(action)[0].tobytes())
    assert len(seen) == 1 + 4 + 12 + 24


def test_the_documented_sizes() -> None:
    for space, size, length in SIZES:
        env = make(search_space=space)
        assert env.observation_space.shape == (size,)
        assert steps(env) == length


def test_actions_beyond_the_choices_wrap_around() -> None:
    env = make_small()  # 4 filters, 3 kernels, 2 paddings
    for actions, same in (([1, 3, 2], [1, 0, 0]), ([3, 2, 3], [3, 2, 1])):
        observations = []
        for sequence in (actions, same):
            env.reset()
            observations.append([env.step(action)[0] for action in sequence])
        assert np.array_equal(*observations)
        assert play(env, actions)[1]["architecture"] == play(env, same)[1]["architecture"]


@pytest.mark.parametrize("action", [-1, 4, 10**9, np.int64(4)])
def test_actions_outside_the_space_are_refused(action: int) -> None:
    env = make_small()
    env.reset()
    with pytest.raises(ValueError, match=r"action must be 0 to 3, got"):
        env.step(action)
    assert play(env, [0, 0, 0])[1]["status"] == "ok"


def test_a_step_after_the_end_is_refused() -> None:
    env = make_small()
    play(env, [0, 0, 0])
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        env.step(0)
    play(env, [0, 0, 0])


def test_reset_in_the_middle_starts_again() -> None:
    env = make_small()
    fresh = env.reset()[0]
    env.step(3)
    assert np.array_equal(env.reset(options={})[0], fresh)
    assert (
        play(env, [1, 1, 1])[1]["architecture"] == play(make_small(), [1, 1, 1])[1]["architecture"]
    )


def test_two_environments_play_alike(env_id: str) -> None:
    one, other = make(env_id), make(env_id)
    random = np.random.default_rng(1)
    for episode in range(2):
        first, second = one.reset(seed=episode), other.reset(seed=episode)
        done = False
        while True:
            assert np.array_equal(first[0], second[0])
            assert first[-1].keys() == second[-1].keys()
            for name in first[-1]:
                np.testing.assert_equal(first[-1][name], second[-1][name])
            if done:
                assert first[1] == second[1]
                break
            action = int(random.integers(one.action_space.n))  # type: ignore[attr-defined]
            first, second = one.step(action), other.step(action)
            done = first[2]


def test_nothing_of_the_test_set_is_told(env: gym.Env[Any, Any]) -> None:
    _, info = env.reset()
    _, last = play(env, [0] * steps(env))
    assert not [key for key in (info | last) if "test" in key]


@pytest.mark.parametrize("travel", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_an_episode_travels(travel: Any) -> None:
    env = make_small()
    env.reset(seed=1)
    env.step(2)
    play(env, [0, 0, 0])
    env.reset()
    env.step(3)
    twin = travel(env)
    for action in (1, 0):
        here, there = env.step(action), twin.step(action)
        assert np.array_equal(here[0], there[0])
        assert here[1:4] == there[1:4]
    assert here[4]["architecture"] == there[4]["architecture"]
    assert env.np_random.random() == twin.np_random.random()


# ---------------------------------------------------------------- rewards and evaluators


def failing(status: Any) -> FunctionSource:
    return helpers.answers(
        lambda child, seed: Evaluation(
            Request(child, seed), status, cost={"params": 3}, origin="table", detail="why"
        )
    )


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
def test_a_failed_child_earns_the_floor(status: str) -> None:
    for kwargs, floor in (({}, 0.0), ({"failure_reward": -1}, -1.0)):
        reward, info = play(make_answered(failing(status), **kwargs), [0, 0, 0])
        assert reward == floor
        assert info["status"] == status
        assert math.isnan(info["val_accuracy"])
        assert info["params"] == 3
        assert math.isnan(info["macs"])
        assert {key: type(value) for key, value in info.items()} == LAST | {"params": int}


def test_a_bug_is_never_paid_for() -> None:
    def bug(child: Architecture, seed: int) -> float:
        raise helpers.Bug("in the table")

    env = make_answered(bug)
    with pytest.raises(helpers.Bug):
        play(env, [0, 0, 0])


@pytest.mark.parametrize(
    "reward", [helpers.accuracy_squared, "helpers:accuracy_squared", "accuracy_cubed"]
)
def test_the_reward_is_the_one_asked_for(reward: Any) -> None:
    paid, info = play(make_small(reward=reward), [0, 0, 0])
    power = 3 if reward == "accuracy_cubed" else 2
    assert paid == pytest.approx(info["val_accuracy"] ** power)


def test_children_are_really_trained(digits: ImageClassification) -> None:
    env = make_small(evaluator="inline", recipe=helpers.TINY | {"epochs": 4, "train_images": 320})
    reward, info = play(env, [2, 1, 0])
    assert info["status"] == "ok"
    assert 0.2 < reward == info["val_accuracy"] < 1.0
    assert info["seconds"] > 0
    assert info["params"] == 32 * 9 + 64 + 32 * 10 + 10
    space = PlainCNN((1, 8, 8), 10, depth=1)
    recipe = digits.recipe.replaced(helpers.TINY | {"epochs": 4, "train_images": 320})
    trained = TrainingSource(digits, space, recipe)(Request(space.decode([2, 1, 0])))
    assert trained.scores["accuracy"] == reward
    assert {f"val_{metric.name}" for metric in digits.metrics} <= set(info)
    for name, value in trained.scores.items():
        assert info[f"val_{name}"] == value


def test_a_live_evaluator_works(digits: Task) -> None:
    space = PlainCNN((1, 8, 8), 10, depth=1)
    evaluator = InlineEvaluator(TrainingSource(digits, space, helpers.tiny()))
    env = make_small(evaluator=evaluator, search_space=space)
    assert play(env, [0, 0, 0])[1]["status"] == "ok"
    assert env.ledger.evaluator is evaluator
    assert env.problem.source is evaluator.source  # it brings its own
    assert env.problem.training is evaluator.source


def test_an_executor_is_a_place_to_train() -> None:
    with ThreadPoolExecutor(1) as executor:
        env = make_small(evaluator=executor, recipe=helpers.TINY)
        there = play(env, [0, 0, 0])
        env.close()
    here = play(make_small(evaluator="inline", recipe=helpers.TINY), [0, 0, 0])
    assert there[0] == here[0]


def test_without_a_task_the_parts_must_be_ready() -> None:
    space = LayerCNN((1, 8, 8), 10, depth=1)
    for kwargs in ({"evaluator": helpers.table()}, {"source": helpers.answers()}):
        env = NASEnv(search_space=space, **kwargs)
        assert play(env, [0, 0, 0, 0])[1]["status"] == "ok"
    for kwargs in (
        {},
        {"search_space": space},
        {"source": helpers.answers()},
        {"search_space": "layer_cnn", "source": helpers.answers()},
        {"evaluator": helpers.table()},
        {"recipe": {"epochs": 1}},
    ):
        with pytest.raises(ValueError, match="no task is named") as caught:
            NASEnv(**kwargs)
        assert helpers.is_sentence(caught.value)


def test_without_a_task_a_space_in_json_says_its_form() -> None:
    described = {"name": "layer_cnn", "input_shape": [1, 8, 8], "num_classes": 10, "depth": 1}
    env = gym.make(nas_gym.CUSTOM, search_space=described, source="helpers:score")
    reward, info = play(env, [0, 0, 0, 0])
    assert reward == info["val_score"] > 0
    assert "val_accuracy" not in info
    assert env.spec is not None
    assert play(gym.make(EnvSpec.from_json(env.spec.to_json())), [0, 0, 0, 0])[0] == reward


# ---------------------------------------------------------------- sources


def test_a_functions_number_is_the_tasks_headline_metric() -> None:
    for source in (helpers.score, "helpers:score", {"name": "helpers:score"}):
        reward, info = play(make_answered(source), [0, 0, 0])
        assert (
            reward
            == info["val_accuracy"]
            == helpers.score(Architecture.from_json(info["architecture"]))
        )


def latency_and_accuracy(architecture: Architecture, seed: int) -> dict[str, float]:
    """Two metrics of the user's own."""
    wide = float(architecture.layers[0][0])
    return {"latency": wide, "accuracy": 1 - 1 / wide}


TWO = [{"name": "latency", "up": False, "unit": "ms"}, {"name": "accuracy", "unit": "%"}]


def test_a_function_says_what_its_metrics_are() -> None:
    described = {"name": "test_env:latency_and_accuracy", "metrics": TWO}
    env = make_answered(described)
    reward, info = play(env, [1, 0, 0])  # 16 filters
    assert (info["val_latency"], info["val_accuracy"]) == (16.0, 1 - 1 / 16)
    assert reward == 1 / 17
    assert env.problem.objective.metrics == (Metric("latency", up=False, unit="ms"),)
    play(env, [0, 0, 0])
    assert env.ledger.best is not None
    assert env.ledger.best.scores["latency"] == 8.0  # less is better
    front = make_answered(described, objective=["latency", "accuracy"])
    assert [metric.name for metric in front.problem.objective.metrics] == ["latency", "accuracy"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("helpers:absent", ["helpers", "'absent'"]),
        ("absent", ["source", "'absent'"]),
        ("helpers:TINY", ["helpers:TINY"]),
        ({"name": "helpers:score", "metric": 3}, ["helpers:score", "'metric'", "only metrics"]),
        ({"name": "helpers:score", "metrics": [{"nam": "a"}]}, ["helpers:score", "name, up"]),
        ({"name": "helpers:score", "metrics": ["accuracy"]}, ["helpers:score", "name, up"]),
        ({"name": "helpers:score", "metrics": [{"name": "a b"}]}, ["'a b'", "word"]),
        ({"name": "helpers:score", "metrics": []}, ["at least one metric"]),
    ],
)
def test_bad_sources_are_one_clear_sentence(source: Any, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        NASEnv("digits", source=source)
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_a_recipe_is_for_training() -> None:
    with pytest.raises(ValueError, match="not trained where a source is named") as caught:
        NASEnv("digits", source="helpers:score", recipe={"epochs": 3})
    assert helpers.is_sentence(caught.value, "recipe")


def test_best_is_what_the_objective_says_and_pay_what_the_reward_says() -> None:
    env = make_answered(
        {"name": "test_env:latency_and_accuracy", "metrics": TWO},
        objective="accuracy",
        reward="latency",
    )
    paid = [play(env, actions)[0] for actions in ([0, 0, 0], [3, 0, 0], [1, 0, 0])]
    assert paid == [1 / 9, 1 / 65, 1 / 17]
    assert env.ledger.best is not None
    assert env.ledger.best.scores["latency"] == 64.0


# ---------------------------------------------------------------- the problem


def test_a_problem_is_what_an_environment_plays() -> None:
    problem = make_problem("digits", SMALL, reward="accuracy_cubed", recipe=helpers.TINY)
    env = NASEnv(problem=problem)
    assert env.problem is problem
    assert env.search_space is problem.space
    reward, info = play(env, [0, 0, 0])
    assert reward == info["val_accuracy"] ** 3
    assert (
        play(make_small(evaluator="inline", recipe=helpers.TINY), [0, 0, 0])[1]["val_accuracy"]
        == info["val_accuracy"]
    )


def test_the_problem_of_an_id_is_that_of_its_environment(env_id: str) -> None:
    options: dict[str, Any] = {"data_dir": str(conftest.DATA), "evaluator": "inline"}
    problem, code = problem_of(env_id, **options, train_seed=3, seed_policy="resample")
    env = make(env_id, **options)
    assert problem.context == env.unwrapped.problem.context  # type: ignore[attr-defined]
    assert problem.spec == env.unwrapped.problem.spec  # type: ignore[attr-defined]
    assert code == {}
    assert (problem.training is None) == (env_id in nas_gym.BENCHMARKS)
    assert json.loads(json.dumps(problem.context, allow_nan=False)) == problem.context
    assert json.loads(json.dumps(dict(problem.spec))) == problem.spec
    env.close()


def test_what_a_result_depends_on_holds_ones_own_code() -> None:
    parts = {
        "task": "helpers:own_task",
        "reward": "helpers:accuracy_squared",
        "objective": "test_env:own_objective",
    }
    whole = make_problem(**parts)
    assert set(whole.context["code"]) == set(parts)
    assert "code" not in make_problem("digits", reward="accuracy_cubed").context
    for name in ("reward", "objective"):
        left = make_problem(**{**parts, name: "accuracy"})
        assert set(left.context["code"]) == set(parts) - {name}


def own_objective(evaluation: Evaluation) -> float:
    """A user's own objective."""
    return evaluation.scores["macro_f1"]


def test_repeats_are_told(digits: Task) -> None:
    recorder = helpers.Recorder()
    env = make_small(evaluator=recorder)
    cached = [play(env, actions)[1]["cached"] for actions in ([0, 0, 0], [1, 0, 0], [0, 0, 1])]
    assert cached == [False, False, True]  # of a 1x1 kernel the padding does not matter
    assert len(recorder.asked) == 2
    assert env.ledger.repeats == 1


def test_a_spent_budget_ends_a_search() -> None:
    env = make_small()
    env.ledger.budget = 1
    play(env, [0, 0, 0])
    with pytest.raises(BudgetExhausted):
        play(env, [1, 0, 0])
    assert play(env, [0, 0, 0])[1]["cached"]


# ---------------------------------------------------------------- the store


def test_a_store_outlives_its_environment(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    kwargs: dict[str, Any] = {"store": str(path), "evaluator": "inline", "recipe": helpers.TINY}
    answers = []
    for run in ("a", "b"):
        env = make_small(run=run, **kwargs)
        played = [play(env, actions) for actions in ([0, 0, 0], [1, 1, 1], [0, 0, 0])]
        answers.append([(reward, info | {"action_mask": None}) for reward, info in played])
        recalled = env.ledger.recalled
        env.close()
    assert recalled == 2
    assert answers[0] == answers[1]  # rewards and infos, the seconds of the training included
    with Store(path) as store:
        assert len(store) == 2
        assert len(store.run("a")) == len(store.run("b")) == 3


def test_another_recipe_or_seed_is_trained_again(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    for kwargs in ({}, {"recipe": {"bn_images": 32}}, {"train_seed": 1}, {"search_space": SMALL}):
        env = make_small(
            **({"store": path, "evaluator": "inline"} | kwargs)
            | {"recipe": helpers.TINY | kwargs.get("recipe", {})}
        )
        play(env, [0, 0, 0])
        env.close()
    with Store(path) as store:
        assert len(store) == 3


def test_an_environment_can_be_used_after_it_was_closed(tmp_path: Path) -> None:
    env = make_small(store=str(tmp_path / "store.db"))
    first = play(env, [0, 0, 0])[0]
    env.close()
    env.close()
    assert play(env, [0, 0, 0])[0] == first
    env.close()


# ---------------------------------------------------------------- seeds


def test_a_fixed_seed_is_the_same_for_every_child() -> None:
    recorder = helpers.Recorder()
    env = make_small(evaluator=recorder, train_seed=7)
    play(env, [0, 0, 0], seed=1)
    play(env, [1, 0, 0], seed=2)
    assert [request.seed for request in recorder.asked] == [7, 7]


def test_resampled_seeds_differ_and_are_reproducible() -> None:
    drawn = []
    for seed in (1, 1, 2):
        recorder = helpers.Recorder()
        env = make_small(evaluator=recorder, seed_policy="resample")
        play(env, [0, 0, 0], seed=seed)
        play(env, [0, 0, 0])
        drawn.append([request.seed for request in recorder.asked])
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0] + drawn[2])) == 4


# ---------------------------------------------------------------- rendering


def test_rendering_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    env = make_small(render_mode="ansi")
    env.reset()
    assert "0 of 3" in env.render()
    env.step(1)
    assert "16" in env.render()
    play(env, [1, 1, 1])
    assert "16 3 valid" in env.render()
    assert capsys.readouterr().out == ""


def test_rendering_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    env = make_small(render_mode="human")
    play(env, [1, 1, 1])
    out = capsys.readouterr().out
    assert out.count("plain_cnn") == 4
    assert "complete" in out
    assert env.render() is None


def test_rendering_as_a_picture() -> None:
    env = make_small(render_mode="rgb_array")
    pictures = []
    env.reset()
    for action in (None, 0, 1, 1):
        if action is not None:
            env.step(action)
        pictures.append(env.render())
    for picture in pictures:
        assert picture.dtype == np.uint8
        assert picture.shape == pictures[0].shape
        assert picture.ndim == 3
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_rendering_without_a_mode_is_a_warning() -> None:
    env = make_small()
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


# ---------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"search_space": "layer_cnm"}, ["search space", "did you mean 'layer_cnn'"]),
        ({"reward": "acuracy"}, ["unknown reward", "did you mean 'accuracy'"]),
        ({"objective": "acuracy"}, ["unknown objective", "did you mean 'accuracy'"]),
        ({"objective": "acuracy", "reward": "loss"}, ["unknown objective", "'acuracy'"]),
        ({"objective": "loss", "reward": "acuracy"}, ["unknown reward", "'acuracy'"]),
        ({"objective": []}, ["objective", "at least one"]),
        ({"objective": 3}, ["unknown objective", "3"]),
        ({"reward": 3}, ["unknown reward", "3"]),
        ({"evaluator": "poool"}, ["evaluator", "did you mean 'pool'"]),
        ({"recipe": {"epoch": 1}}, ["recipe field", "did you mean 'epochs'"]),
        ({"recipe": {"epochs": 0}}, ["epochs", "0"]),
        ({"recipe": {"train_images": 10**6}}, ["train_images", "1085"]),
        ({"device": "gpu"}, ["device", "'gpu'", "cpu"]),
        ({"seed_policy": "random"}, ["seed_policy", "'random'", "fixed", "resample"]),
        ({"render_mode": "rgb"}, ["render_mode", "'rgb'", "rgb_array"]),
        ({"task": "digit"}, ["task", "did you mean 'digits'"]),
        ({"task": "zzz"}, ["task", "there are: cifar10"]),
    ],
)
def test_bad_arguments_are_one_clear_sentence(kwargs: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        NASEnv(**({"task": "digits"} | kwargs))
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_unknown_arguments_are_options_of_the_task_and_refused() -> None:
    with pytest.raises(ValueError, match="unexpected keyword argument 'epochs'") as caught:
        make(epochs=3)
    assert helpers.is_sentence(caught.value, "'digits'", "its options are: none")


def test_options_of_a_task_are_arguments(tmp_path: Path) -> None:
    for name in ("ash", "oak"):
        (tmp_path / name).mkdir()
        for index in range(4):
            Image.new("L", (5, 5), index).save(tmp_path / name / f"{index}.png")
    env = gym.make(nas_gym.CUSTOM, task=f"folder:{tmp_path}", size=4, channels=1)
    assert env.unwrapped.search_space.input_shape == (1, 4, 4)  # type: ignore[attr-defined]
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.search_space.input_shape == (1, 4, 4)  # type: ignore[attr-defined]


def test_a_ready_task_takes_no_options(digits: Task) -> None:
    with pytest.raises(ValueError, match="takes no options") as caught:
        NASEnv(digits, size=3)
    assert helpers.is_sentence(caught.value, "size")


# ---------------------------------------------------------------- an agent that knows nothing of us


def test_ppo_of_stable_baselines_runs_as_it_is() -> None:
    from stable_baselines3 import PPO

    recorder = helpers.Recorder()
    env = make(search_space={"name": "layer_cnn", "depth": 1}, evaluator=recorder)
    agent = PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
    agent.learn(32)
    ledger = env.unwrapped.ledger  # type: ignore[attr-defined]
    assert ledger.proposals == 32 // 4
    assert agent.ep_info_buffer is not None
    assert [episode["l"] for episode in agent.ep_info_buffer] == [4] * 8
    rewards = {round(helpers.score(request.architecture), 6) for request in recorder.asked}
    assert {round(episode["r"], 6) for episode in agent.ep_info_buffer} == rewards


def test_infos_are_plain() -> None:
    """They are copied at every step and may be logged: no tensors, no objects."""
    _, info = play(make_small(), [0, 0, 0])
    json.dumps({key: value for key, value in info.items() if key != "action_mask"})


def test_the_seal_holds_in_every_environment(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any) -> None:
        raise AssertionError("the test set was opened")

    monkeypatch.setattr(ImageClassification, "open_test", forbidden)
    env = make(env_id)
    assert play(env, [0] * steps(env))[1]["status"] == "ok"


def test_a_task_object_is_accepted(digits: ImageClassification) -> None:
    other = replace(digits, name="mine")
    env = make_small(task=other, evaluator="inline", recipe=helpers.TINY)
    assert env.problem.training is not None
    assert env.problem.training.task is other
