from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import conftest
import gymnasium as gym
import helpers
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from nas_gym import BENCHMARKS, BudgetExhausted, Evaluation, NASVectorEnv, Request

DIGITS = "nas_gym/Digits-v0"
SMALL = {"name": "plain_cnn", "depth": 1}


def defaults(env_id: str) -> dict[str, Any]:
    table = {} if env_id in BENCHMARKS else {"evaluator": "helpers:table"}
    return {"data_dir": str(conftest.DATA), **table}


def make(env_id: str = DIGITS, num_envs: int = 3, **kwargs: Any) -> NASVectorEnv:
    env = gym.make_vec(env_id, num_envs=num_envs, **(defaults(env_id) | kwargs))
    assert isinstance(env, NASVectorEnv)
    return env


def reference(env_id: str, num_envs: int, **kwargs: Any) -> SyncVectorEnv:
    """Gymnasium's own vector of single environments."""
    return SyncVectorEnv(
        [lambda: gym.make(env_id, **(defaults(env_id) | kwargs)).unwrapped] * num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )


def same(one: Any, other: Any, path: str = "") -> None:
    """Equal values, types and dtypes, down to the last array, and dicts in the same order."""
    if isinstance(one, dict):
        assert list(one) == list(other), path
        for name in one:
            same(one[name], other[name], f"{path}/{name}")
    elif isinstance(one, tuple):
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{path}[{index}]")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert other.dtype == object, path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{path}[{index}]")
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, path
        np.testing.assert_array_equal(one, other, path)
    else:
        assert type(one) is type(other), path
        np.testing.assert_equal(one, other, path)


# ---------------------------------------------------------------- as Gymnasium's own


@pytest.mark.parametrize("seed_policy", ["fixed", "resample"])
@pytest.mark.parametrize("seed", [4, [7, 1, 7]])
def test_it_equals_gymnasiums_vector_of_single_environments(
    env_id: str, seed_policy: str, seed: Any
) -> None:
    kwargs: dict[str, Any] = {"seed_policy": seed_policy}
    if env_id not in BENCHMARKS:
        kwargs["search_space"] = {"name": "layer_cnn", "depth": 2}
    ours, theirs = make(env_id, **kwargs), reference(env_id, 3, **kwargs)
    assert ours.single_action_space == theirs.single_action_space
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.action_space == theirs.action_space
    assert ours.observation_space == theirs.observation_space

    same(ours.reset(seed=seed), theirs.reset(seed=seed))
    random = np.random.default_rng(0)
    episodes = 0
    for _ in range(3 * len(ours.search_space.decisions) + 3):
        actions = random.integers(ours.search_space.num_actions, size=3)
        here, there = ours.step(actions), theirs.step(actions)
        for index, name in enumerate(("observation", "reward", "terminated", "truncated", "info")):
            same(here[index], there[index], name)
        episodes += int(here[2].sum())
        np.testing.assert_array_equal(ours.action_masks(), here[4]["action_mask"])
        assert ours.action_masks().dtype == np.bool_
    assert episodes == 9
    same(ours.reset(), theirs.reset())
    ours.close()
    theirs.close()


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_final_infos_are_what_gymnasium_makes_of_those_of_the_copies(
    env_id: str, num_envs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copy by copy, with the method that every vector environment of Gymnasium inherits."""
    env = make(env_id, num_envs)
    told: list[tuple[Any, Any, Any]] = []
    final_infos = env._final_infos

    def note(observations: Any, masks: Any, infos: Any) -> dict[str, Any]:
        told.append((observations, masks, infos))
        return final_infos(observations, masks, infos)

    monkeypatch.setattr(env, "_final_infos", note)
    env.reset(seed=0)
    for step in range(len(env.search_space.decisions)):
        *_, infos = env.step(np.arange(num_envs) * (step + 1) % env.search_space.num_actions)
    ((observations, masks, ended),) = told
    expected: dict[str, Any] = {}
    for index, (observation, mask, info) in enumerate(zip(observations, masks, ended, strict=True)):
        final = {"final_obs": observation, "final_info": {"action_mask": mask, **info}}
        expected = env._add_info(expected, final, index)
    same({name: infos[name] for name in expected}, expected)
    assert list(infos) == [*expected, "action_mask", "_action_mask"]


def test_gymnasiums_statistics_work() -> None:
    env = RecordEpisodeStatistics(make(search_space=SMALL))
    env.reset(seed=0)
    for _ in range(2):
        for actions in ([0, 1, 2], [1, 1, 1], [0, 0, 1]):
            _, rewards, terminated, _, infos = env.step(np.array(actions))
        assert terminated.all()
        assert infos["episode"]["l"].tolist() == [3, 3, 3]
        np.testing.assert_allclose(infos["episode"]["r"], rewards, rtol=1e-6)
        assert (rewards > 0).all()
    env.close()


def test_stepping_through_one_environment() -> None:
    env = make(num_envs=1, search_space=SMALL)
    env.reset()
    for _ in range(3):
        _, rewards, terminated, truncated, infos = env.step(np.array([0]))
    assert terminated.tolist() == [True]
    assert truncated.tolist() == [False]
    assert infos["final_info"]["val_accuracy"][0] == rewards[0]


# ---------------------------------------------------------------- what it is for


class Together(helpers.Recorder):
    """Answers when the children of a step are all asked for."""

    slots = 4

    def __init__(self) -> None:
        super().__init__()
        self.together: list[int] = []
        self.waiting: list[tuple[Future[Evaluation], Future[Evaluation]]] = []

    def submit(self, request: Request) -> Future[Evaluation]:
        future: Future[Evaluation] = Future()
        self.waiting.append((future, super().submit(request)))
        if len(self.waiting) == self.slots:
            self.together.append(len(self.waiting))
            for waiting, answered in self.waiting:
                waiting.set_result(answered.result())
            self.waiting = []
        return future


def test_all_children_of_a_step_are_one_batch() -> None:
    recorder = Together()
    env = make(num_envs=4, search_space=SMALL, evaluator=recorder)
    env.reset(seed=0)
    first = np.array([0, 1, 2, 3])
    for actions in (first, np.ones(4), np.zeros(4), first, np.ones(4), np.ones(4)):
        env.step(actions.astype(np.int64))
    assert recorder.together == [4, 4]
    filters = [request.architecture.layers[0][0] for request in recorder.asked[:4]]
    assert filters == [8, 16, 32, 64]


def test_a_duplicate_in_a_step_is_trained_once_and_told() -> None:
    recorder = helpers.Recorder()
    env = make(search_space=SMALL, evaluator=recorder)
    env.reset()
    for actions in ([0, 1, 0], [1, 1, 1], [0, 0, 0]):
        _, rewards, *_, infos = env.step(np.array(actions))
    assert len(recorder.asked) == 2
    assert infos["final_info"]["cached"].tolist() == [False, False, True]
    assert rewards[0] == rewards[2] != rewards[1]
    assert env.ledger.repeats == 1


def test_a_pool_trains_a_step_and_pays_as_inline() -> None:
    paid = []
    for evaluator in ("inline", {"name": "pool", "workers": 2}):
        env = make(search_space=SMALL, evaluator=evaluator, recipe=helpers.TINY)
        env.reset(seed=0)
        for actions in ([0, 1, 2], [1, 1, 1], [0, 0, 0]):
            _, rewards, *_ = env.step(np.array(actions))
        paid.append(rewards)
        env.close()
    np.testing.assert_array_equal(*paid)
    assert (paid[0] > 0).all()


def test_a_spent_budget_ends_a_search_and_a_reset_goes_on() -> None:
    env = make(search_space=SMALL)
    env.ledger.budget = 2
    env.reset()
    env.step(np.array([0, 1, 2]))
    env.step(np.array([1, 1, 1]))
    with pytest.raises(BudgetExhausted):
        env.step(np.array([0, 0, 0]))
    assert env.ledger.distinct == 2
    with pytest.raises(RuntimeError, match=r"call reset\(\) first"):
        env.step(np.array([0, 0, 0]))
    env.reset()
    for actions in ([0, 0, 1], [1, 1, 1], [0, 0, 0]):
        _, _, terminated, _, _ = env.step(np.array(actions))
    assert terminated.all()


# ---------------------------------------------------------------- seeds


def test_one_seed_counts_up_and_many_are_taken_as_they_are() -> None:
    drawn = []
    for seed in (5, [5, 6, 7], [5, None, 7], None):
        recorder = helpers.Recorder()
        env = make(search_space=SMALL, evaluator=recorder, seed_policy="resample")
        env.reset(seed=seed)
        for _ in range(3):
            env.step(np.array([0, 1, 2]))
        drawn.append([request.seed for request in recorder.asked])
    assert drawn[0] == drawn[1]
    assert drawn[2][0::2] == drawn[0][0::2]
    assert drawn[2][1] != drawn[0][1]
    assert len(set(drawn[0])) == 3
    assert not set(drawn[3]) & set(drawn[0])


@pytest.mark.parametrize("seeds", [[], [1], [1, 2, 3, 4]])
def test_the_number_of_seeds_must_fit(seeds: list[int]) -> None:
    with pytest.raises(ValueError, match=f"need 3 seeds, got {len(seeds)}"):
        make(search_space=SMALL).reset(seed=seeds)


# ---------------------------------------------------------------- refusals


def test_a_partial_reset_is_refused() -> None:
    env = make(search_space=SMALL)
    env.reset()
    with pytest.raises(ValueError, match="only be reset together"):
        env.reset(options={"reset_mask": np.array([True, False, True])})
    env.reset(options={"reset_mask": np.array([True, True, True])})


@pytest.mark.parametrize("actions", [[0, 0], [0, 0, 0, 0], [[0, 0, 0]], 0, []])
def test_actions_of_another_shape_are_refused(actions: Any) -> None:
    env = make(search_space=SMALL)
    env.reset()
    with pytest.raises(ValueError, match="need 3 actions, got shape"):
        env.step(np.array(actions, dtype=np.int64))


@pytest.mark.parametrize("action", [-1, 4])
def test_actions_outside_the_space_are_refused(action: int) -> None:
    env = make(search_space=SMALL)
    env.reset()
    with pytest.raises(ValueError, match="actions must be 0 to 3"):
        env.step(np.array([0, 0, action]))
    _, _, terminated, _, _ = env.step(np.array([0, 0, 0]))  # the episode goes on
    assert not terminated.any()


@pytest.mark.parametrize("num_envs", [0, -1])
def test_at_least_one_environment(num_envs: int) -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1"):
        NASVectorEnv(num_envs, task="digits")


# ---------------------------------------------------------------- rendering and closing


def test_each_architecture_is_rendered(capsys: pytest.CaptureFixture[str]) -> None:
    texts = make(search_space=SMALL, render_mode="ansi")
    texts.reset()
    texts.step(np.array([0, 1, 2]))
    assert [str(width) in text for width, text in zip((8, 16, 32), texts.render(), strict=True)]
    pictures = make(search_space=SMALL, render_mode="rgb_array")
    pictures.reset()
    pictures.step(np.array([0, 1, 2]))
    assert len({picture.tobytes() for picture in pictures.render()}) == 3
    people = make(search_space=SMALL, render_mode="human")
    people.reset()
    people.render()
    assert capsys.readouterr().out.count("plain_cnn") == 3


def test_closing_closes_the_evaluator() -> None:
    recorder = helpers.Recorder()
    env = make(search_space=SMALL, evaluator=recorder)
    env.reset()
    env.close()
    assert recorder.closed == 1
    env.close()


def test_an_environment_per_copy_is_not_made() -> None:
    env = make(num_envs=1000, search_space=SMALL)
    observation, infos = env.reset()
    assert observation.shape[0] == len(infos["action_mask"]) == 1000
