"""Sequences of actions to propose: drawn, changed in one decision, and never the same twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas_gym import Architecture, SearchSpace
from nas_gym.search_spaces.enumeration import Enumeration

TRIES = 1_000  # at something new, before a repeat is proposed
TRIES_EACH = 32  # with one change of a sequence, then with two, ...

T = TypeVar("T")
Move: TypeAlias = tuple[int, int]  # a decision, and what it becomes


class Proposals:
    """Draws and changes sequences of actions, and remembers what was proposed.

    Only distinct actions are used (`SearchSpace.mask`), and sequences are compared by the
    architecture that they write.

    Args:
        space: The decisions to make.
        random: Where everything random comes from, or the seed of it.

    Attributes:
        proposed: The architectures proposed so far.
        size: Number of them when a search for something new found nothing; None before.
    """

    def __init__(self, space: SearchSpace, random: np.random.Generator | int) -> None:
        self.space = space
        self.random = np.random.default_rng(random)
        self.proposed: set[Architecture] = set()
        self.size: int | None = None
        self._enumeration = Enumeration(space)
        self.distinct = lru_cache(maxsize=100_000)(self._distinct)  # masks are the costly part

    def draw(self) -> list[int]:
        """A whole sequence, uniform among the distinct actions of each decision."""
        return self._complete([], [])

    def moves(self, actions: Sequence[int]) -> list[Move]:
        """Every change of one decision of a sequence to another distinct action."""
        return [
            (step, action)
            for step in range(len(actions))
            for action in self.distinct(tuple(actions[:step]))
            if action != actions[step]
        ]

    def moved(self, actions: Sequence[int], move: Move) -> list[int]:
        """A sequence after a move.

        Later decisions stay as they are, as far as they can: what is masked now, and what had
        no alternative before and has one now, is drawn.
        """
        step, action = move
        return self._complete([*actions[:step], action], actions)

    def mutated(self, actions: Sequence[int], changes: int = 1) -> list[int]:
        """A sequence after some moves in a row: a random decision, then a random action."""
        changed = list(actions)
        for _ in range(changes):
            open_steps = [
                step
                for step in range(len(changed))
                if len(self.distinct(tuple(changed[:step]))) > 1
            ]
            if not open_steps:
                break
            step = self._one_of(open_steps)
            others = [a for a in self.distinct(tuple(changed[:step])) if a != changed[step]]
            changed = self.moved(changed, (step, self._one_of(others)))
        return changed

    def masks(self, actions: Sequence[int]) -> NDArray[np.bool_]:
        """Which actions were distinct at each decision of a sequence, ``(steps, actions)``."""
        masks = np.zeros((len(actions), self.space.num_actions), dtype=np.bool_)
        for step, mask in enumerate(masks):
            mask[list(self.distinct(tuple(actions[:step])))] = True
        return masks

    @property
    def spent(self) -> bool:
        """Whether nothing new was found, and nothing new was proposed since: why search again."""
        return len(self.proposed) == self.size

    def is_new(self, actions: Sequence[int]) -> bool:
        """Whether the architecture of a sequence was not proposed before."""
        return self.space.decode(actions) not in self.proposed

    def add(self, actions: Sequence[int]) -> None:
        """Remember the architecture of a sequence as proposed."""
        self.proposed.add(self.space.decode(actions))

    def new(self, propose: Callable[[], list[int]] | None = None) -> list[int]:
        """A sequence that was not proposed before, if one can be found; it is remembered.

        Args:
            propose: Called until it gives something new; None for `draw`. Where it does not, the
                first sequence of the space that does is taken.
        """
        propose = propose or self.draw
        for _ in range(1 if self.spent else TRIES):
            actions = propose()
            if self.is_new(actions):
                break
        else:
            if not self.spent:
                left = self._enumeration.unknown(self.proposed.__contains__)
                actions = actions if left is None else list(left)
                self.size = len(self.proposed) if left is None else None
        self.add(actions)
        return actions

    def new_like(self, actions: Sequence[int]) -> list[int]:
        """A mutation that was not proposed before; where one change gives none, of two, ..."""
        changes = (1 + attempt // TRIES_EACH for attempt in range(TRIES))
        return self.new(lambda: self.mutated(actions, next(changes)))

    def state(self) -> dict[str, Any]:
        """The random state and what was proposed, as plain values."""
        return {
            "random": json.dumps(self.random.bit_generator.state),
            "proposed": sorted(a.to_json() for a in self.proposed),
            "size": self.size,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` gave."""
        self.random.bit_generator.state = json.loads(state["random"])
        self.proposed = {Architecture.from_json(text) for text in state["proposed"]}
        self.size = state["size"]
        self._enumeration = Enumeration(self.space)

    def _complete(self, prefix: list[int], like: Sequence[int]) -> list[int]:
        """A whole sequence that starts with ``prefix`` and goes on like another, or at random."""
        actions = list(prefix)
        for step in range(len(prefix), len(self.space.decisions)):
            distinct = self.distinct(tuple(actions))
            keep = (
                len(like) > 0
                and like[step] in distinct
                and (len(distinct) == 1 or len(self.distinct(tuple(like[:step]))) > 1)
            )
            actions.append(like[step] if keep else self._one_of(distinct))
        return actions

    def _one_of(self, options: Sequence[T]) -> T:
        return options[int(self.random.integers(len(options)))]

    def _distinct(self, prefix: tuple[int, ...]) -> tuple[int, ...]:
        """The distinct actions of the decision after a prefix."""
        return tuple(np.flatnonzero(self.space.mask(prefix)).tolist())
