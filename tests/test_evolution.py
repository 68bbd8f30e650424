"""Aging evolution, beyond what every agent is tested for."""

from __future__ import annotations

from typing import Any

import helpers
import numpy as np
import pytest
from test_agents import Lock, closeness, layers_env, lock_env, searched

from agents import Evolution
from agents.episodes import Outcome, ledger
from agents.evolution import RECIPES
from nas_gym import NASEnv


def played_by(agent: Evolution, budget: int) -> list[tuple[int, ...]]:
    """The sequences that an agent plays, repeats included."""
    played: list[tuple[int, ...]] = []
    observe = agent._observe

    def watched(outcomes: list[Outcome]) -> None:
        played.extend(outcome.actions for outcome in outcomes)
        observe(outcomes)

    agent._observe = watched  # type: ignore[method-assign]
    agent.learn(budget)
    return played


def changed(parent: tuple[int, ...], child: tuple[int, ...]) -> int:
    return sum(a != b for a, b in zip(parent, child, strict=True))


def test_children_are_one_decision_from_one_of_the_living() -> None:
    agent = Evolution(lock_env(1), seed=0, population=6, sample=3)
    played = played_by(agent, 80)
    for index in range(6, 40):
        living = played[index - 6 : index]
        assert min(changed(parent, played[index]) for parent in living) == 1


def test_the_oldest_dies_however_good_it_is() -> None:
    agent = Evolution(lock_env(1), seed=0, population=5, sample=5)
    played = played_by(agent, 60)
    assert [tuple(actions) for actions, _ in agent.population] == played[-5:]


def test_a_tournament_of_all_breeds_from_the_best_alive() -> None:
    agent = Evolution(lock_env(1), seed=3, population=5, sample=5)
    played = played_by(agent, 40)
    space = Lock((1, 8, 8), 10)
    for index in range(5, 20):
        living = {
            actions: closeness(space.decode(actions)) for actions in played[index - 5 : index]
        }
        best = [actions for actions, value in living.items() if value == max(living.values())]
        assert min(changed(parent, played[index]) for parent in best) == 1


def test_real2019_is_the_paper() -> None:
    config = RECIPES["real2019"]
    assert (config.population, config.sample) == (100, 25)
    assert (config.replacement, config.unique) == (True, False)


def test_real2019_repeats_itself_and_the_default_does_not() -> None:
    env = lock_env(1)
    Evolution(env, seed=0, recipe="real2019", population=10, sample=10).learn(100)
    assert ledger(env).repeats > 0
    env = lock_env(1)
    Evolution(env, seed=0).learn(100)
    assert ledger(env).repeats == 0


@pytest.mark.parametrize(
    "changes",
    [{"population": 10}, {"sample": 3}, {"replacement": True}, {"unique": False}],
)
def test_every_option_changes_the_search(changes: dict[str, Any]) -> None:
    plain, other = (searched(Evolution, 0, 60, **options) for options in ({}, changes))
    assert [e.architecture for e in plain] != [e.architecture for e in other]


def test_a_batch_larger_than_the_population_is_played() -> None:
    env = layers_env(8)
    agent = Evolution(env, seed=0, population=3, sample=2)
    agent.learn(40)
    assert agent.config.batch_size == 8
    assert len(agent.population) == 3


def test_the_environment_changes_nothing_but_how_many_are_played_together() -> None:
    single = NASEnv(search_space=Lock((1, 8, 8), 10), source=helpers.answers(closeness))
    found: list[Any] = []
    ledger(single).watchers.append(lambda _, evaluation: found.append(evaluation))
    Evolution(single, seed=0, batch_size=4).learn(30)
    assert found == searched(Evolution, 0, 30, batch_size=4)


def test_failures_have_no_children() -> None:
    env = layers_env(1)
    agent = Evolution(env, seed=1)
    agent.learn(150)
    rewards = np.array([reward for _, reward in agent.population])
    assert (rewards > 0).mean() > 0.5
    assert max(rewards) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "real2018"}, "unknown recipe of evolution 'real2018'; did you mean 'real2019'"),
        ({"populatoin": 10}, "unknown option of evolution 'populatoin'; did you mean 'population'"),
        ({"population": 0}, "population of evolution must be at least 1, got 0"),
        ({"sample": 21}, "sample of evolution must be at most 20, got 21"),
        ({"sample": "many"}, "sample of evolution must be a whole number, got 'many'"),
        ({"unique": "yes"}, "unique of evolution must be true or false, got 'yes'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Evolution(lock_env(1), seed=0, **options)


def test_a_file_of_other_options_is_refused(tmp_path: Any) -> None:
    path = str(tmp_path / "agent.pt")
    Evolution(lock_env(1), seed=0).save(path)
    with pytest.raises(ValueError, match="another config"):
        Evolution(lock_env(1), seed=0, population=30).load(path)
