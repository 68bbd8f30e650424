"""Local search, beyond what every agent is tested for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_agents import CHOICES, OPTIMUM, STEPS, Lock, closeness, lock_env, searched

from agents import LocalSearch
from agents.episodes import ledger
from agents.storage import load_plain, save_plain
from nas_gym import Architecture

SPACE = Lock((1, 8, 8), 10)


def right(architecture: Architecture, seed: int = 0) -> float:
    """One peak and a way up from everywhere."""
    dials = zip(architecture.layers, OPTIMUM, strict=True)
    return sum(layer[0] == best for layer, best in dials) / STEPS


def sequences(agent_options: dict[str, Any], budget: int, look_up: Any = right) -> list[Any]:
    env = lock_env(LocalSearch.num_envs(**agent_options), look_up)
    found: list[Any] = []
    ledger(env).watchers.append(lambda _, e: found.append(e))
    LocalSearch(env, seed=0, **agent_options).learn(budget)
    assert ledger(env).repeats == 0
    return found


def distance(a: Architecture, b: Architecture) -> int:
    return sum(x != y for x, y in zip(a.layers, b.layers, strict=True))


def test_first_improvement_moves_at_once() -> None:
    found = sequences({}, 16)
    here = found[0]
    for evaluation in found[1:]:
        if here.scores["accuracy"] == 1:
            break
        assert distance(here.architecture, evaluation.architecture) == 1
        if evaluation.scores["accuracy"] > here.scores["accuracy"]:
            here = evaluation
    assert here.scores["accuracy"] > found[0].scores["accuracy"]


def test_best_improvement_looks_at_all_neighbours_before_it_moves() -> None:
    found = sequences({"improvement": "best"}, 30)
    start, all_neighbours = found[0], STEPS * (CHOICES - 1)
    around = found[1 : 1 + all_neighbours]
    assert all(distance(start.architecture, e.architecture) == 1 for e in around)
    assert len({e.architecture for e in around}) == all_neighbours
    best = max(around, key=lambda e: e.scores["accuracy"])
    assert distance(best.architecture, found[1 + all_neighbours].architecture) == 1
    assert distance(start.architecture, found[1 + all_neighbours].architecture) == 2


def test_a_peak_is_left_for_a_new_start() -> None:
    found = sequences({}, 120)
    top = next(index for index, e in enumerate(found) if e.scores["accuracy"] == 1)
    far = [e for e in found[top:] if distance(found[top].architecture, e.architecture) > 2]
    assert far  # all 15 neighbours of the peak are worse
    assert len(found) == 120


def test_a_batch_is_of_neighbours_and_moves_to_its_best() -> None:
    found = sequences({"batch_size": 5}, 15)
    starts, first = found[:5], found[5:10]
    here = max(starts, key=lambda e: e.scores["accuracy"])
    assert all(distance(here.architecture, e.architecture) == 1 for e in first)
    best = max([here, *first], key=lambda e: e.scores["accuracy"])
    assert all(distance(best.architecture, e.architecture) == 1 for e in found[10:15])


def test_known_neighbours_are_compared_from_memory(tmp_path: Path) -> None:
    optimum = SPACE.decode(OPTIMUM)
    near = SPACE.decode([*OPTIMUM[:4], (OPTIMUM[4] + 1) % CHOICES])
    agent = LocalSearch(lock_env(1), seed=0)
    agent.save(str(tmp_path / "agent.pt"))
    with load_plain(tmp_path / "agent.pt") as state:
        pass
    state |= {
        "here": ([*OPTIMUM[:4], (OPTIMUM[4] + 1) % CHOICES], closeness(near)),
        "moves": [(step, action) for step in range(STEPS) for action in range(CHOICES)],
        "rewards": {near.to_json(): closeness(near), optimum.to_json(): 1.0},
    }
    save_plain(tmp_path / "agent.pt", state)
    agent.load(str(tmp_path / "agent.pt"))
    found: list[Any] = []
    ledger(agent.batches.env).watchers.append(lambda _, e: found.append(e.architecture))
    agent.learn(20)
    assert optimum not in found
    around = [a for a in found if distance(a, optimum) == 1 and distance(a, near) == 2]
    assert around  # it went to the optimum and on


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"improvement": "fist"}, "improvement of local_search must be one of first, best"),
        ({"batch_size": 0}, "batch_size of local_search must be at least 1, got 0"),
        ({"recipe": "defalt"}, "did you mean 'default'"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LocalSearch(lock_env(1), seed=0, **options)


def test_improvement_changes_the_search() -> None:
    first, best = (searched(LocalSearch, 0, 40, improvement=i) for i in ("first", "best"))
    assert [e.architecture for e in first] != [e.architecture for e in best]
