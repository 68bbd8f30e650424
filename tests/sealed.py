"""Looks for numbers in everything that an object leads to, and in files."""

from __future__ import annotations

import array
import gc
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# A class or a module leads to the whole program; what they hold is not the object's.
OUTSIDE = (type, ModuleType, CodeType, FrameType)
LEAVES = (str, bytes, bytearray, memoryview, array.array, int, float, complex, np.generic)


def reachable(*roots: Any) -> Iterator[Any]:
    """Everything that is held by the objects: attributes, slots, elements, closures, caches, ...

    Functions are entered for their closures, defaults and attributes, not for the globals of
    their module.
    """
    seen: dict[int, Any] = {}  # the objects too, so that no address is used twice
    stack = list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) not in seen and not isinstance(thing, OUTSIDE):
            seen[id(thing)] = thing
            yield thing
            stack += _parts(thing)


def numbers(things: Iterable[Any]) -> Floats:
    """All numbers in the objects, also those written out in texts and in bytes."""
    loose: list[float] = []
    arrays: list[Floats] = []
    for thing in things:
        if isinstance(thing, torch.Tensor):
            thing = thing.detach().cpu().numpy()
        if isinstance(thing, np.ndarray) and thing.dtype.kind in "iuf":
            arrays.append(thing.astype(np.float64).ravel())
        elif isinstance(thing, bool | np.bool_):
            continue
        elif isinstance(thing, int) and abs(thing) > 2**53:
            continue  # the state of a random generator, and too large to be a score
        elif isinstance(thing, int | float | np.integer | np.floating):
            loose.append(float(thing))
        elif isinstance(thing, str):
            loose += _written(thing)
        elif isinstance(thing, bytes | bytearray | memoryview | array.array):
            arrays += in_bytes(bytes(thing))
    return np.concatenate([np.array(loose, dtype=np.float64), *arrays])


def in_bytes(data: bytes) -> list[Floats]:
    """Every eight bytes in a row read as a number, and numbers written out as text."""
    found = [np.array(_written(data.decode("latin-1")), dtype=np.float64)]
    if len(data) >= 8:
        windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(data, np.uint8), 8)
        eights = np.ascontiguousarray(windows)
        values = [eights.view(order).ravel().astype(np.float64) for order in ("<f8", ">f8")]
        found += [column[np.isfinite(column)] for column in values]
    # A made-up score has all its digits; what fits in a single is a chance neighbourhood of zeros.
    return [found[0], *(values[_single(values) != values] for values in found[1:])]


def in_files(folder: Path) -> Floats:
    """The numbers in all files of a folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    return np.concatenate([v for path in files for v in in_bytes(path.read_bytes())])


def known(found: Floats, secret: Floats) -> Floats:
    """Which of the secret numbers were found: in percent or as a share, in double or single."""
    secret, found = secret.ravel(), np.unique(found)
    singles = found[_single(found) == found]
    hits = np.zeros(len(secret), dtype=np.bool_)
    for values in (secret, secret / 100):
        hits |= _near(found, values, 1e-12) | _near(singles, _single(values), 0.0)
    return secret[hits]


def _single(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)


def _near(found: Floats, values: Floats, tolerance: float) -> NDArray[np.bool_]:
    if not len(found):
        return np.zeros(len(values), dtype=np.bool_)
    places = np.searchsorted(found, values)
    below, above = found[np.maximum(places - 1, 0)], found[np.minimum(places, len(found) - 1)]
    distance = np.minimum(np.abs(values - below), np.abs(above - values))
    near: NDArray[np.bool_] = distance <= tolerance * np.abs(values)
    return near


def _written(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+(?:[eE][-+]?\d+)?", text)]


def _parts(thing: Any) -> list[Any]:
    if isinstance(thing, LEAVES):
        return []
    if isinstance(thing, FunctionType):
        return [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
    if isinstance(thing, np.ndarray):  # a view keeps all of what it is a view of
        return [thing.base, *(thing.ravel().tolist() if thing.dtype == object else [])]
    return gc.get_referents(thing)
