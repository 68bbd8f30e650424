"""What a table knows and a search must not see is nowhere in what a search is given."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import made_up
import numpy as np
import pytest
import sealed
import torch

from nas_gym import NASEnv, NASVectorEnv

SEED = 5  # of the children: which training of NAS-Bench-Macro is drawn
EPISODES = 20


@dataclass
class Played:
    """An environment that was played, and all that it gave.

    Attributes:
        env: The environment, in its wrappers.
        given: Observations, rewards and infos.
        folder: Where it kept its store.
        visible: What a search may see, in percent.
        secret: What it may not, in percent.
    """

    env: Any
    given: list[Any]
    folder: Path
    visible: sealed.Floats
    secret: sealed.Floats

    @property
    def inner(self) -> NASEnv:
        env = self.env.unwrapped
        single = env.env if isinstance(env, NASVectorEnv) else env
        assert isinstance(single, NASEnv)
        return single


def play(env: Any) -> list[Any]:
    """Some episodes; everything that they gave."""
    given = [env.reset(seed=1)]
    random = np.random.default_rng(0)
    space = env.unwrapped.search_space
    shape = (env.num_envs,) if hasattr(env, "num_envs") else ()
    for _ in range(EPISODES):
        given.append(env.reset())
        for _ in space.decisions:
            action = random.integers(space.num_actions, size=shape)
            given.append(env.step(action if shape else int(action)))
    return given


def macro(folder: Path) -> tuple[str, dict[str, Any], sealed.Floats, sealed.Floats]:
    """Id and arguments of an environment; what of its table is visible, and what is sealed."""
    made = made_up.macro(folder / "macro.json")
    arguments = {"path": str(made.path)}
    env: Any = gym.make("nas_gym/NASBenchMacro-v0", **arguments).unwrapped
    drawn = 100 * env.problem.source.function.accuracy(SEED)
    others = made.trainings[np.abs(made.trainings - drawn[:, None]) > 1e-9]
    assert others.size == 2 * drawn.size
    of_the_others = (made.trainings.sum(1) - drawn) / 2  # what is sealed
    secret = np.concatenate([others, made.trainings.mean(1), of_the_others])
    return "nas_gym/NASBenchMacro-v0", arguments, drawn, secret


def cells(folder: Path) -> tuple[str, dict[str, Any], sealed.Floats, sealed.Floats]:
    """The same of NAS-Bench-201, from a file with all three data sets."""
    made = made_up.cells(folder / "cells.npz")
    hidden = [column for name, column in made.columns.items() if name.endswith("_test")]
    arguments = {"path": str(made.path), "dataset": "cifar100"}
    visible = made.columns["acc12_cifar100_valid"]
    return "nas_gym/NASBench201-v0", arguments, visible, np.concatenate(hidden)


def make(table: Any, num_envs: int | None, folder: Path) -> Played:
    env_id, arguments, visible, secret = table(folder)
    run = folder / "run"
    arguments |= {"store": str(run / "store.sqlite"), "run": "a", "train_seed": SEED}
    env: Any
    if num_envs is None:
        env = gym.make(env_id, **arguments)
    else:
        env = gym.make_vec(env_id, num_envs=num_envs, **arguments)
    seen: list[Any] = []
    env.unwrapped.ledger.watchers.append(lambda ledger, evaluation: seen.append(evaluation))
    given = play(env)
    assert len(seen) == env.unwrapped.ledger.distinct
    return Played(env, [*given, seen], run, visible, secret)


shapes = pytest.mark.parametrize("num_envs", [None, 3], ids=["single", "vector"])


@pytest.fixture(params=[macro, cells])
def played(request: pytest.FixtureRequest, num_envs: int | None, tmp_path: Path) -> Iterator[Any]:
    played = make(request.param, num_envs, tmp_path)
    yield played
    played.env.close()


@pytest.fixture(scope="module", params=[None, 3], ids=["single", "vector"])
def honest(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """One that scores are hidden in; who hides one takes it out again."""
    honest = make(cells, request.param, tmp_path_factory.mktemp("honest"))
    yield honest
    honest.env.close()


def found(played: Played) -> sealed.Floats:
    """All numbers in an environment and in what it gave."""
    return sealed.numbers(sealed.reachable(played.env, played.given))


@shapes
def test_no_sealed_score_is_within_reach(played: Played) -> None:
    for numbers in (found(played), sealed.numbers([pickle.dumps(played.inner)])):
        assert len(sealed.known(numbers, played.visible)) == len(played.visible)  # it does look
        assert len(sealed.known(numbers, played.secret)) == 0


@shapes
def test_no_sealed_score_is_in_the_store(played: Played) -> None:
    children = played.inner.ledger.distinct
    for _ in range(2):
        numbers = sealed.in_files(played.folder)
        assert len(sealed.known(numbers, played.visible)) == children >= EPISODES
        assert len(sealed.known(numbers, played.secret)) == 0
        played.env.close()  # once more with what was written ahead in its place


class Slots:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def method(self) -> None:
        """Bound to what holds the value."""


def closure(value: Any) -> Callable[[], Any]:
    return lambda: value


def default(value: Any) -> Callable[[], Any]:
    def function(kept: Any = value) -> Any:
        return kept

    return function


def cache(value: Any) -> Callable[[], Any]:
    @lru_cache
    def function() -> Any:
        return np.array(value)

    function()
    return function


HIDING: dict[str, Callable[[list[float]], Any]] = {
    "array": np.array,
    "single": lambda scores: np.array(scores, dtype=np.float32),
    "shares": lambda scores: np.array(scores) / 100,
    "tensor": torch.tensor,
    "base of a view": lambda scores: np.array([*scores, 0.0])[-1:],
    "array of objects": lambda scores: np.array([scores, "x"], dtype=object),
    "list": list,
    "key": lambda scores: {score: "x" for score in scores},
    "set": frozenset,
    "nested": lambda scores: {"a": [({"b": tuple(scores)},)]},
    "slot": Slots,
    "bound method": lambda scores: Slots(scores).method,
    "closure": closure,
    "default": default,
    "cache": cache,
    "partial": lambda scores: partial(print, scores),
    "generator": lambda scores: (score for score in scores),
    "text": json.dumps,
    "bytes": lambda scores: b"x" + np.array(scores).tobytes(),
    "pickle": pickle.dumps,
    "one number": lambda scores: scores[0],
}


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING.keys())
def test_a_sealed_score_is_found_wherever_it_is_hidden(
    honest: Played, hide: Callable[[list[float]], Any]
) -> None:
    scores = honest.secret[:5].tolist()
    expected = scores[:1] if isinstance(hide(scores), float) else scores
    for place in (honest.env, honest.inner.ledger, honest.inner._evaluator):
        place.hidden = hide(scores)
        assert sealed.known(found(honest), honest.secret).tolist() == expected
        del place.hidden


@pytest.mark.parametrize("hide", [json.dumps, pickle.dumps, lambda s: np.array(s).tobytes()])
def test_a_sealed_score_is_found_in_a_file(honest: Played, hide: Any) -> None:
    scores = honest.secret[:5].tolist()
    data = hide(scores)
    notes = honest.folder / "notes"
    notes.write_bytes(data if isinstance(data, bytes) else data.encode())
    assert sealed.known(sealed.in_files(honest.folder), honest.secret).tolist() == scores
    notes.unlink()


def test_an_environment_that_reads_the_sealed_column_is_found_out(
    honest: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up: Any = honest.inner.problem.source.function  # type: ignore[attr-defined]
    monkeypatch.setattr(look_up.accuracy, "accuracy", honest.secret[-15_625:] / 100)
    assert len(sealed.known(found(honest), honest.secret)) == 15_625
