"""The protocol that every way of evaluating children speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from nas_gym.evaluation import Evaluation
from nas_gym.search_spaces.base import Architecture

OnResult: TypeAlias = Callable[[int, Evaluation], None]


@runtime_checkable
class Evaluator(Protocol):
    """Architectures in, evaluations out: batch first, order kept.

    A child that fails is a value with a status. An exception means a bug, or a run that cannot
    go on.
    """

    @property
    def context(self) -> Mapping[str, Any]:
        """What a result depends on beside architecture and seed, as JSON values."""

    def evaluate(
        self,
        architectures: Sequence[Architecture],
        seeds: Sequence[int] | None = None,
        on_result: OnResult | None = None,
    ) -> list[Evaluation]:
        """Evaluate a batch.

        Args:
            architectures: The children.
            seeds: One training seed per child; None for 0 everywhere.
            on_result: Called in this thread with the position and the evaluation of each child
                the moment it ends, in whatever order they end.

        Returns:
            One evaluation per architecture, in their order.
        """

    def close(self) -> None:
        """Give back what is held; closing twice is fine."""


def seeds_for(architectures: Sequence[Architecture], seeds: Sequence[int] | None) -> list[int]:
    """One seed per architecture.

    Raises:
        ValueError: Their numbers differ.
    """
    chosen = [0] * len(architectures) if seeds is None else [int(seed) for seed in seeds]
    if len(chosen) != len(architectures):
        raise ValueError(f"need one seed per architecture ({len(architectures)}), got {seeds}")
    return chosen
