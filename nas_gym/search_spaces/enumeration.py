"""Whether a search has anything left to find in its space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nas_gym.search_spaces.base import Architecture, SearchSpace

LIMIT = 50_000  # sequences that are looked at, a second or two of work; beyond them nobody knows


class Enumeration:
    """Goes through the sequences of a space, once, past those that write what is known.

    What it says depends on the space and on what is known, and on nothing else. In a large space
    one of the first sequences is not known, and it goes no further.

    Args:
        space: The search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._sequences = space.sequences()
        self._here = next(self._sequences, None)
        self._passed = 0

    def unknown(self, known: Callable[[Architecture], bool]) -> tuple[int, ...] | None:
        """The first sequence that writes something unknown; None if none was found.

        Args:
            known: Whether an architecture is known. What is known once stays known.
        """
        while self._here is not None and known(self.space.decode(self._here)):
            self._passed += 1
            self._here = next(self._sequences, None) if self._passed < LIMIT else None
        return self._here

    def exhausted(self, known: Callable[[Architecture], bool]) -> bool:
        """Whether every architecture of the space is known, for sure."""
        return self.unknown(known) is None and self._passed < LIMIT

    def __reduce__(self) -> Any:
        return Enumeration, (self.space,)  # a generator does not travel: a copy begins anew
