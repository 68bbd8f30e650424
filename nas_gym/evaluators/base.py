"""The protocol that every place of evaluating children speaks."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol, runtime_checkable

from nas_gym.evaluation import Evaluation, Request
from nas_gym.sources.base import Source


@runtime_checkable
class Evaluator(Protocol):
    """Where a source runs: requests in, futures of evaluations out.

    A child that fails is a value with a status. The exception of a future means a bug, or a run
    that cannot go on. Cancelling a future ends what it stands for, where that can be done.
    """

    @property
    def source(self) -> Source:
        """What answers."""

    @property
    def slots(self) -> int:
        """How many children run at a time."""

    def submit(self, request: Request) -> Future[Evaluation]:
        """Ask for one child; returns at once, or when the child is ready."""

    def close(self) -> None:
        """Give back what is held; closing twice is fine, and a later request begins anew."""
