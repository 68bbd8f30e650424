"""What travels to worker processes and back: calls, results and exceptions, as bytes.

Cloudpickle sends what lives in the program's main module (a class typed in a notebook's cell) by
value, and everything else by its name, as pickle does.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cloudpickle

T = TypeVar("T")
R = TypeVar("R")


class WorkerTraceback(Exception):
    """Where an exception came from in another process; the cause of the one that is raised."""


@dataclass(frozen=True)
class _Raised:
    """An exception instead of a result."""

    error: BaseException
    trace: str


def pack(
    call: tuple[Any, tuple[Any, ...]], buffers: list[pickle.PickleBuffer] | None = None
) -> bytes:
    """A function and its arguments, as bytes.

    Args:
        call: The function, and its arguments.
        buffers: Gets the memory of numpy arrays among them, which then is not in the bytes.

    Raises:
        ValueError: Something among them cannot travel; the message says why.
    """
    try:
        aside = None if buffers is None else buffers.append
        return bytes(cloudpickle.dumps(call, protocol=5, buffer_callback=aside))
    except Exception as error:  # objects raise whatever they like when they are pickled
        raise ValueError(
            f"this cannot be sent to a worker process ({_told(error)}): train with "
            "evaluator='inline', or keep what cannot travel out of the search space, the task and "
            "the source"
        ) from error


def answer(parcel: bytes) -> bytes:
    """Do the call of a parcel, and pack what it returned or raised."""
    return do(_called, (parcel,))


def do(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Call a function, and pack what it returned or raised."""
    try:
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


def opened(parcel: bytes, buffers: Iterable[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """The function and the arguments of a parcel.

    Raises:
        RuntimeError: A module of theirs is not found here; the message says which.
    """
    try:
        function, arguments = pickle.loads(parcel, buffers=buffers)
    except (ImportError, AttributeError) as error:
        raise RuntimeError(
            f"a worker process cannot find what it was sent ({_told(error)}): it must lie in a "
            "module that Python finds there too, or in the program itself"
        ) from error
    return function, arguments


def _called(parcel: bytes) -> Any:
    function, arguments = opened(parcel)
    return function(*arguments)


def open_result(parcel: bytes) -> Any:
    """What a call returned.

    Raises:
        BaseException: What it raised, with the other process's traceback as its cause.
    """
    result = pickle.loads(parcel)
    if isinstance(result, _Raised):
        raise result.error from WorkerTraceback(f"in a worker process:\n{result.trace}")
    return result


def follow(inner: Future[T], convert: Callable[[Future[T]], R]) -> Future[R]:
    """A future that is done when another one is.

    Args:
        inner: The other one; it is cancelled when this one is.
        convert: Called with it when it is done, for what this one gives or raises.
    """
    outer: _Follower[T, R] = _Follower(inner, convert)
    inner.add_done_callback(outer.take)
    return outer


class _Follower(Future[R], Generic[T, R]):
    def __init__(self, inner: Future[T], convert: Callable[[Future[T]], R]) -> None:
        super().__init__()
        self.inner = inner
        self.convert = convert

    def cancel(self) -> bool:
        """Cancel the other one; what runs already goes on where nothing can stop it."""
        cancelled = super().cancel()  # first, as the other one tells of its end at once
        self.inner.cancel()
        return cancelled

    def take(self, inner: Future[T]) -> None:
        """The other one is done."""
        if not self.set_running_or_notify_cancel():  # tells who waits for this one
            return
        try:
            self.set_result(self.convert(inner))
        except BaseException as error:
            self.set_exception(error)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
