"""What a child needs of the node that it runs on, and how a node is looked at."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_gym.sources.base import Source


@dataclass(frozen=True)
class Needs:
    """What one child needs.

    Attributes:
        cpus: Processor cores.
        gpus: Cards.
        memory_mb: MiB of memory; None where nobody has said.
        keep: A folder that must be the same on all nodes; None where nothing is kept.
    """

    cpus: int
    gpus: float
    memory_mb: float | None
    keep: Path | None

    @classmethod
    def of(
        cls, source: Source, cpus: int | None, gpus: float | None, memory_mb: float | None
    ) -> Needs:
        """Those of a source; what is None is the recipe's threads, and a card for a CUDA device.

        Raises:
            ValueError: A number is out of range.
        """
        device = str(getattr(source, "device", "cpu"))
        if cpus is None:
            cpus = int(getattr(getattr(source, "recipe", None), "threads", 1))
        if gpus is None:
            gpus = 0 if device.startswith("cpu") else 1
        if cpus < 1 or gpus < 0 or (memory_mb is not None and memory_mb <= 0):
            raise ValueError(
                "a child needs at least one core, no negative number of cards, and some memory, "
                f"got cpus={cpus}, gpus={gpus}, memory_mb={memory_mb}"
            )
        return cls(cpus, gpus, memory_mb, getattr(source, "keep", None))

    def __str__(self) -> str:
        parts = [f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"]
        parts += [f"{self.gpus:g} GPU{'s' if self.gpus > 1 else ''}"] if self.gpus else []
        parts += [] if self.memory_mb is None else [f"{self.memory_mb:g} MiB of memory"]
        return ", ".join(parts)

    def lack(self, seen: Mapping[str, Any]) -> str:
        """What a node lacks to give the results of this machine; empty where it lacks nothing."""
        here = look(None, cards=False)()
        for package in ("python", "nas_gym", "torch"):
            there, own = seen[package], here[package]
            if there is None:
                return f"has no {package} ({own} is needed): {seen['why']}"
            if there != own:
                return f"has {package} {there}, and {own} is needed, as here"
        if seen["cpus"] < self.cpus:
            return f"has {seen['cpus']} CPUs, and a child needs {self.cpus}"
        if self.gpus and seen["cards"] < self.gpus:
            return f"shows {seen['cards']} GPUs to torch, and a child needs {self.gpus:g}"
        limit = seen["memory_mb"]
        if limit is not None and self.memory_mb is not None and limit < self.memory_mb:
            return f"has {limit:.0f} MiB of memory, and a child needs {self.memory_mb:g}"
        if not seen["keep"]:
            return f"does not see the folder {self.keep}, in which children are kept"
        return ""


def look(marker: str | None, cards: bool) -> Callable[..., dict[str, Any]]:
    """What looks at a node; it travels as code, since nas_gym may be missing there.

    Args:
        marker: A file that should be seen there.
        cards: Whether to count the cards that torch sees.
    """

    def seen(dask_worker: Any = None) -> dict[str, Any]:
        import importlib
        import importlib.metadata
        import os
        import platform

        found: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
        found |= {"host": platform.node(), "nas_gym": None, "torch": None, "cards": 0, "why": ""}
        try:
            found["nas_gym"] = importlib.import_module("nas_gym").__version__
            found["torch"] = importlib.metadata.version("torch").partition("+")[0]
            if cards:
                found["cards"] = importlib.import_module("torch").cuda.device_count()
        except Exception as error:
            found["why"] = f"{type(error).__name__}: {error}"
        found["cpus"] = len(os.sched_getaffinity(0))
        found["keep"] = marker is None or os.path.exists(marker)
        found["memory_mb"] = None
        if dask_worker is not None:
            limit = dask_worker.memory_manager.memory_limit
            found["memory_mb"] = limit / 2**20 if limit else None
            found["id"], found["nanny"] = dask_worker.id, dask_worker.nanny
        return found

    return seen


@contextmanager
def marked(folder: Path | None) -> Iterator[str | None]:
    """A file in the folder in which children are kept, for other machines to look for."""
    if folder is None:
        yield None
        return
    marker = folder / f".nas-gym-{uuid.uuid4().hex}"
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    try:
        yield str(marker)
    finally:
        marker.unlink(missing_ok=True)
