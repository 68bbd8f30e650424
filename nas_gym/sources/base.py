"""The protocol of whatever answers for a child."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nas_gym.evaluation import Evaluation, Metric, Request


@runtime_checkable
class Source(Protocol):
    """What answers for a child: training it, a table, a function of the user's.

    A source is called wherever an evaluator runs, so it can be pickled, or has a method
    ``ship(folder)`` as `TrainingSource` has. It may say, as ``time_limit``, how many seconds a
    child takes at most, and, as ``device``, where it computes (else ``"cpu"``).
    """

    @property
    def context(self) -> Mapping[str, Any]:
        """What a result depends on beside the request, as JSON values."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The scores that its evaluations have; the first is the headline."""

    def __call__(self, request: Request) -> Evaluation:
        """Answer for one child.

        A child that fails is a value with a status. An exception is a bug.
        """


def ship(source: Source, folder: Path | None) -> Callable[[], Source]:
    """What makes a source again in another process.

    Args:
        source: What is sent.
        folder: Where large data may be left for processes of this machine; None where they are on
            other machines too, and all data travel in what is returned.

    Returns:
        A function without arguments that can be pickled.
    """
    own: Callable[[Path | None], Callable[[], Source]] | None = getattr(source, "ship", None)
    return partial(_itself, source) if own is None else own(folder)


def checked(answer: object, request: Request, *who: object) -> Evaluation:
    """What a source or an evaluator of anybody's answered, if it is one.

    Args:
        answer: What came.
        request: What was asked.
        who: Those who answered, for the message.

    Raises:
        ValueError: It is no evaluation, or one of another child.
    """
    name = " by ".join(str(getattr(one, "name", type(one).__name__)) for one in who)
    if not isinstance(answer, Evaluation):
        raise ValueError(
            f"{name} must give a nas_gym.Evaluation of the child, it gave {type(answer).__name__}"
        )
    if answer.request != request:
        raise ValueError(
            f"{name} was asked for {request.architecture} with seed {request.seed} and answered "
            f"for {answer.request.architecture} with seed {answer.request.seed}"
        )
    return answer


def _itself(source: Source) -> Source:
    return source
