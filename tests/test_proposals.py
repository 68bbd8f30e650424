"""What agents draw and change their sequences with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pytest
from torch import nn

from agents.proposals import Proposals
from nas_gym import Architecture, Decision, SearchSpace
from nas_gym.search_spaces import LayerCNN

LAYERS = LayerCNN((1, 4, 4), 10, depth=3)


@dataclass(frozen=True)
class Sorted(SearchSpace):
    """Two letters without an order, and a number that matters for the letter ``a`` alone."""

    name: ClassVar[str] = "sorted"

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        letters = ("a", "b", "c")
        return (
            Decision("first", letters, "letter"),
            Decision("number", (1, 2), "number"),
            Decision("second", letters, "letter"),
        )

    def canonical(self, choices: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        first, number, second = choices
        if first == "a":
            return ((first, number), (second,))
        return tuple((letter,) for letter in sorted((first, second)))

    def redundant(self, chosen: tuple[Any, ...]) -> tuple[int, ...]:
        return (1,) if len(chosen) == 1 and chosen[0] != "a" else ()

    def build(self, architecture: Architecture) -> nn.Module:
        raise NotImplementedError


SORTED = Sorted((1, 4, 4), 2)


def is_distinct(space: SearchSpace, actions: list[int]) -> bool:
    return all(space.mask(actions[:step])[action] for step, action in enumerate(actions))


def test_draws_are_uniform_among_the_distinct_actions() -> None:
    proposals = Proposals(SORTED, 0)
    drawn = Counter(tuple(proposals.draw()) for _ in range(6_000))
    for sequence, expected in {(0, 0, 0): 1 / 18, (0, 1, 2): 1 / 18, (1, 0, 2): 1 / 9}.items():
        assert drawn[sequence] / 6_000 == pytest.approx(expected, abs=0.015)
    assert not any(sequence[0] != 0 and sequence[1] == 1 for sequence in drawn)


def test_moves_are_all_single_changes_to_distinct_actions() -> None:
    proposals = Proposals(SORTED, 0)
    assert proposals.moves([0, 1, 2]) == [(0, 1), (0, 2), (1, 0), (2, 0), (2, 1)]
    assert proposals.moves([1, 0, 0]) == [(0, 0), (0, 2), (2, 1), (2, 2)]


def test_a_move_keeps_what_it_can() -> None:
    proposals = Proposals(SORTED, 0)
    assert proposals.moved([0, 1, 2], (2, 1)) == [0, 1, 1]
    assert proposals.moved([0, 1, 2], (0, 1)) == [1, 0, 2]  # the number is masked now
    # The number had no alternative and has one now: it is drawn.
    assert {proposals.moved([1, 0, 2], (0, 0))[1] for _ in range(40)} == {0, 1}


@pytest.mark.parametrize("changes", [1, 2, 5])
def test_mutations_respect_masks(changes: int) -> None:
    proposals = Proposals(LAYERS, 1)
    for _ in range(200):
        assert is_distinct(LAYERS, proposals.mutated(proposals.draw(), changes))


def test_one_mutation_changes_one_decision_that_is_open() -> None:
    proposals = Proposals(SORTED, 2)
    parent = [0, 1, 2]
    children = Counter(tuple(proposals.mutated(parent)) for _ in range(3_000))
    assert tuple(parent) not in children
    steps = Counter(
        min(step for step in range(3) if child[step] != parent[step])
        for child, count in children.items()
        for _ in range(count)
    )
    for step in range(3):  # each of the open decisions as often
        assert steps[step] / 3_000 == pytest.approx(1 / 3, abs=0.03)


def test_masks_are_those_of_the_space() -> None:
    proposals = Proposals(LAYERS, 3)
    for _ in range(50):
        actions = proposals.draw()
        expected = [LAYERS.mask(actions[:step]) for step in range(len(actions))]
        assert np.array_equal(proposals.masks(actions), np.array(expected))


def test_new_ones_differ_as_architectures_until_there_are_no_more() -> None:
    proposals = Proposals(SORTED, 0)
    # Six with the letter a and a number first; b and c in any order with a second or each other.
    every = {SORTED.decode([i, j, k]) for i in range(3) for j in range(2) for k in range(3)}
    found = [SORTED.decode(proposals.new()) for _ in every]
    assert set(found) == every
    assert SORTED.decode(proposals.new()) in every  # a repeat, as nothing is left


def test_new_ones_like_another_are_near_while_there_are_near_ones() -> None:
    proposals = Proposals(SORTED, 0)
    parent = [0, 1, 2]
    proposals.add(parent)
    near = {SORTED.decode(proposals.moved(parent, move)) for move in [(1, 0), (2, 0), (2, 1)]}
    near |= {SORTED.decode([first, 0, 2]) for first in (1, 2)}
    found = [SORTED.decode(proposals.new_like(parent)) for _ in range(8)]
    assert set(found[: len(near)]) == near
    assert len(set(found)) == 8


def test_a_restored_state_goes_on_alike() -> None:
    first, second = Proposals(LAYERS, 0), Proposals(LAYERS, 7)
    for _ in range(5):
        first.new()
    second.restore(first.state())
    assert [first.new() for _ in range(5)] == [second.new() for _ in range(5)]
    assert first.proposed == second.proposed
