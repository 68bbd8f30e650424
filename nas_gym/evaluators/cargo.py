"""The source on its way to a cluster, and what the processes there do with it."""

from __future__ import annotations

import importlib
import os
import resource
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_gym.evaluation import Evaluation, Request
from nas_gym.evaluators import parcels, worker
from nas_gym.evaluators.worker_pool import PRELOAD
from nas_gym.sources.base import Source, ship


@dataclass(frozen=True)
class Cargo:
    """A source that is put on the cluster once.

    Attributes:
        token: Its name.
        parcel: What makes it; see `parcels.pack`.
        buffers: The memory of its arrays, which the processes of a node can share.
        path: Where Python finds modules here; a node that has these folders finds them too.
        context: What results depend on here.
    """

    token: str
    parcel: bytes
    buffers: tuple[NDArray[np.uint8], ...]
    path: tuple[str, ...]
    context: Mapping[str, Any]

    @classmethod
    def of(cls, source: Source) -> Cargo:
        """Pack a source.

        Raises:
            ValueError: Something in it cannot travel.
        """
        aside: list[Any] = []
        parcel = parcels.pack((ship(source, None), ()), aside)
        buffers = tuple(np.frombuffer(buffer.raw(), np.uint8) for buffer in aside)
        path = tuple(os.path.abspath(folder) for folder in sys.path)
        context = dict(source.context)
        if b"__main__" in parcel:  # code of the program itself travels, and has no file there
            context.pop("code", None)
        return cls(uuid.uuid4().hex, parcel, buffers, path, context)

    def made(self) -> Source:
        """The source, in a process of the cluster; made once in each."""
        return worker.made(self.token, self.parcel, self.buffers)


def prepare(cargo: Cargo) -> dict[str, Any]:
    """Make the source, with all that a first child would import.

    Returns:
        What its results depend on there.
    """
    sys.path += [folder for folder in cargo.path if folder not in sys.path]
    for module in PRELOAD:
        importlib.import_module(module)
    return dict(cargo.made().context)


def evaluate(cargo: Cargo, request: Request, memory_mb: float | None) -> Evaluation:
    """Answer for one child.

    Args:
        cargo: The source.
        request: The child.
        memory_mb: What this process may take meanwhile, in MiB; None for no limit.
    """
    with _limited(memory_mb):
        return cargo.made()(request)


def differing(cargo: Cargo, there: Mapping[str, Any]) -> list[str]:
    """In what the source differs elsewhere, of what results depend on."""
    here = cargo.context
    names = {**here, **there}.keys() - ({"code"} - here.keys())
    return sorted(name for name in names if here.get(name) != there.get(name))


def check_alike(cargo: Cargo, there: Mapping[str, Any], where: str) -> None:
    """Whether results of another machine are those of this one.

    Raises:
        ValueError: Data, code or anything else that they depend on differs there.
    """
    if names := differing(cargo, there):
        raise ValueError(
            f"{where} would give other results than this machine: {', '.join(names)} of the "
            "source differ there, as when a module of yours has another version"
        )


@contextmanager
def _limited(memory_mb: float | None) -> Iterator[None]:
    """An allocation beyond the limit fails as a Python exception; the kernel would kill."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if memory_mb is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (int(memory_mb * 2**20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
