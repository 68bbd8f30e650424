"""What travels to worker processes and back: calls, results and exceptions, as bytes.

Cloudpickle sends what lives in the program's main module (a class typed in a notebook's cell) by
value, and everything else by its name, as pickle does.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import Any

import cloudpickle


class WorkerTraceback(Exception):
    """Where an exception came from in another process; the cause of the one that is raised."""


@dataclass(frozen=True)
class _Raised:
    """An exception instead of a result."""

    error: BaseException
    trace: str


def pack(call: tuple[Any, tuple[Any, ...]]) -> bytes:
    """A function and its arguments, as bytes.

    Raises:
        ValueError: Something among them cannot travel; the message says why.
    """
    try:
        return bytes(cloudpickle.dumps(call))
    except Exception as error:  # objects raise whatever they like when they are pickled
        raise ValueError(
            f"this cannot be sent to a worker process ({_told(error)}): train with "
            "evaluator='inline', or keep what cannot travel out of the search space, the task and "
            "the evaluator"
        ) from error


def answer(parcel: bytes) -> bytes:
    """Do the call of a parcel, and pack what it returned or raised."""
    try:
        try:
            function, arguments = pickle.loads(parcel)
        except (ImportError, AttributeError) as error:
            raise RuntimeError(
                f"a worker process cannot find what it was sent ({_told(error)}): it must lie in a "
                "module that Python finds there too, or in the program itself"
            ) from error
        return bytes(cloudpickle.dumps(function(*arguments)))
    except BaseException as error:
        trace = traceback.format_exc()
        if not isinstance(error, Exception):  # would end the worker, and the search with it
            error = RuntimeError(f"code of a worker process raised {_told(error)}")
        try:
            packed = bytes(cloudpickle.dumps(_Raised(error, trace)))
            pickle.loads(packed)
        except Exception:  # an exception that cannot travel
            return bytes(cloudpickle.dumps(_Raised(RuntimeError(_told(error)), trace)))
        return packed


def open_result(parcel: bytes) -> Any:
    """What a call returned.

    Raises:
        BaseException: What it raised, with the other process's traceback as its cause.
    """
    result = pickle.loads(parcel)
    if isinstance(result, _Raised):
        raise result.error from WorkerTraceback(f"in a worker process:\n{result.trace}")
    return result


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
