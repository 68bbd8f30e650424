"""Children one after the other in this process."""

from __future__ import annotations

from concurrent.futures import Future

from nas_gym.evaluation import Evaluation, Request
from nas_gym.sources.base import Source


class InlineEvaluator:
    """Answers here and now: simple, debuggable, and no process to lose.

    A time limit is looked at between steps only; a child that hangs inside one hangs the run.

    Args:
        source: What answers.
    """

    slots = 1

    def __init__(self, source: Source) -> None:
        self.source = source

    def submit(self, request: Request) -> Future[Evaluation]:
        """The future is done when this returns."""
        future: Future[Evaluation] = Future()
        try:
            future.set_result(self.source(request))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing is held."""
