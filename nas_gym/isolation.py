"""A computation of its own: whatever the caller's state is, and without a trace left in it.

Torch keeps much of its state by thread: gradient and inference mode, autocast with its cache,
the default device, modes and hooks, and the OpenMP threads that a fork leaves dead. A computation
here gets a new thread, in which all of it is as at the start of a program. What belongs to the
process (generators, default dtype, thread count, switches of the backends) is set here, for one
computation at a time, and given back. Nothing else in nas_gym sets any of this.
"""

from __future__ import annotations

import ctypes
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE = 10.0  # seconds that an interrupted computation gets to give everything back


class _Interrupted(BaseException):
    """The caller is gone: Ctrl-C, a signal."""


class _Here(threading.local):
    """Whether this thread is one of ours."""

    ours = False


_here = _Here()
_alone = threading.Lock()


def _after_fork() -> None:
    global _alone
    _alone = threading.Lock()  # whoever holds the other one does not exist here


os.register_at_fork(after_in_child=_after_fork)


def isolated(function: Callable[P, T]) -> Callable[P, T]:
    """A function that runs isolated, with one thread and seed 0; see `run_isolated`."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        return run_isolated(partial(function, *args, **kwargs))

    return wrapped


def run_isolated(
    function: Callable[[], T], *, seed: int = 0, threads: int = 1, device: str = "cpu"
) -> T:
    """Call a function in a clean state of torch, numpy and Python.

    Equal functions give equal results whatever the caller has set, and the caller finds
    everything as it was. Computations of several threads run one after the other, as the
    generators are those of the process; a thread of one's own that draws from the global
    generators without asking here is not kept out.

    Args:
        function: What to compute.
        seed: Of the global generators of torch (``device`` and CPU), numpy and Python.
        threads: Threads of one operation on a CPU.
        device: Where it computes.

    Returns:
        What the function returned.

    Raises:
        RuntimeError: The function tried to end the process (``sys.exit``).
        BaseException: Whatever else it raised, with its traceback.
    """
    state = partial(_state, seed, threads, torch.device(device))
    if _here.ours:
        with state():
            return function()
    outcome: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def body() -> None:
        _here.ours = True
        torch.set_flush_denormal(False)  # a thread inherits this one
        try:
            with state():
                outcome.append(function())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    with _alone:
        thread = threading.Thread(target=body, name="nas-gym", daemon=True)
        try:
            thread.start()
            done.wait()  # not join: interrupted, Python 3.11's takes the thread for ended
        except BaseException:
            _interrupt(thread, done)
            raise
        thread.join()
    if not errors:
        return outcome[0]
    error = errors[0]
    if not isinstance(error, Exception):
        told = f"{type(error).__name__}({error})" if str(error) else type(error).__name__
        raise RuntimeError(
            f"code of a network, task or reward raised {told}, which ends a program: it must "
            "raise an Exception"
        ) from error
    raise error


def _interrupt(thread: threading.Thread, done: threading.Event) -> None:
    """Raise in another thread at its next step in Python, and wait for its end for a while."""
    if thread.ident is not None and not done.is_set():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(_Interrupted)
        )
        done.wait(PATIENCE)


@contextmanager
def _state(seed: int, threads: int, device: torch.device) -> Iterator[None]:
    """Seeds, and the settings of the process as they are when a program starts."""
    cards = [device] if device.type == "cuda" else []
    python, legacy = random.getstate(), np.random.get_state()
    with ExitStack() as stack:
        stack.callback(random.setstate, python)
        stack.callback(np.random.set_state, legacy)
        stack.enter_context(torch.random.fork_rng(devices=cards))
        for read, write, value in _SETTINGS:
            stack.callback(write, read())
            write(value)
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        stack.enter_context(
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
        )
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        for card in cards:
            with torch.cuda.device(card):
                torch.cuda.manual_seed(seed)
        yield


def _read_anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _read_precisions() -> dict[tuple[str, str], str]:
    get = getattr(torch._C, _PRECISION, None)
    return {} if get is None else {place: get(*place) for place in _PRECISIONS}


def _write_precisions(values: dict[tuple[str, str], str]) -> None:
    for place, value in values.items():
        torch._C._set_fp32_precision_setter(*place, value)


def _read_matmul_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # the caller has set the precisions one by one
        return None


def _write_matmul_precision(value: str | None) -> None:
    if value is not None:
        torch.set_float32_matmul_precision(value)


_PRECISION = "_get_fp32_precision_getter"  # since torch 2.9
_PRECISIONS = [
    ("generic", "all"),
    *((where, what) for where in ("mkldnn", "cuda") for what in ("all", "matmul", "conv", "rnn")),
]
_PLAIN = {place: "none" for place in _PRECISIONS} | {
    ("cuda", "conv"): "tf32",
    ("cuda", "rnn"): "tf32",
}
_Setting = tuple[Callable[[], Any], Callable[[Any], Any], Any]

# How each setting of the process is read and written, and what a program starts with. The
# precisions are read before the one that sets several of them, and written back after it.
_SETTINGS: list[_Setting] = [
    (_read_precisions, _write_precisions, _PLAIN if hasattr(torch._C, _PRECISION) else {}),
    (_read_matmul_precision, _write_matmul_precision, "highest"),
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    (_read_anomaly, lambda both: torch._C.set_anomaly_enabled(*both), (False, True)),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
    (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled, True),
    (torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp, True),
    (torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp, True),
    (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
        True,
    ),
]
