"""Numbers that a test computed once and that it must find again: JSON under ``tests/fixtures``.

What records is what checks: with ``NAS_GYM_RECORD=1`` in the environment, a test stores what it
would compare otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

FOLDER = Path(__file__).with_name("fixtures")
RECORDING = os.environ.get("NAS_GYM_RECORD") == "1"


@dataclass(frozen=True)
class Recorded:
    """What is on record under one name.

    Attributes:
        rows: The record, as JSON values.
        platform: Where it was made, see `platform`.
    """

    rows: list[Any]
    platform: dict[str, str]

    @property
    def made_here(self) -> bool:
        """Whether floating-point numbers should come out alike to the last bit."""
        return self.platform == platform()


def platform() -> dict[str, str]:
    """What the last bits of floating-point numbers depend on."""
    return {
        "torch": str(torch.__version__),
        "cpu_capability": str(torch.backends.cpu.get_cpu_capability()),
        "arithmetic": arithmetic(),
    }


@lru_cache(maxsize=1)
def arithmetic() -> str:
    """A short hash of what one step of a small network computes, to the last bit.

    The capability does not say it all: MKL chooses its code by the maker of the processor too, and
    is told by the environment (``MKL_ENABLE_INSTRUCTIONS``, ``MKL_CBWR``).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convolutions = (nn.Conv2d(1, 16, 3), nn.Conv2d(16, 16, 5, groups=16), nn.Conv2d(16, 64, 1))
        norms = (nn.BatchNorm2d(16), nn.SiLU(), nn.GELU())
        images = torch.randn(32, 1, 8, 8)
        linear = nn.Linear(64, 10)
    for convolution, norm in zip(convolutions, norms, strict=True):
        images = norm(convolution.to(memory_format=torch.channels_last)(images))
    F.cross_entropy(linear(images.mean((2, 3))), torch.arange(32) % 10).backward()
    hashed = hashlib.sha256()
    for module in (*convolutions, norms[0], linear):
        for weight in module.parameters():
            assert weight.grad is not None
            hashed.update(weight.grad.contiguous().numpy().tobytes())
    return hashed.hexdigest()[:8]


def on_record(file: str, name: str) -> Recorded:
    """What ``file`` holds under ``name``."""
    sections = _read(FOLDER / file)
    if name not in sections:
        pytest.fail(f"{file} holds no {name!r}: record it with NAS_GYM_RECORD=1")
    return Recorded(sections[name]["rows"], sections[name]["platform"])


def recorded(file: str, name: str, found: list[Any]) -> Recorded:
    """The same; when recording, after ``found`` was put there."""
    if RECORDING:
        section = {"platform": platform(), "rows": found}
        sections = _read(FOLDER / file) | {name: section}
        (FOLDER / file).write_text(_text(sections), encoding="utf-8")
    return on_record(file, name)


def _read(path: Path) -> dict[str, Any]:
    sections: dict[str, Any] = {}
    if path.exists():
        sections = json.loads(path.read_text(encoding="utf-8"))
    return sections


def _text(sections: dict[str, Any]) -> str:
    """JSON with a row a line, so that a difference shows what changed."""
    parts = []
    for name, section in sorted(sections.items()):
        rows = ",\n".join(f"  {json.dumps(row)}" for row in section["rows"])
        where = json.dumps(section["platform"])
        parts.append(f'{json.dumps(name)}: {{\n "platform": {where},\n "rows": [\n{rows}\n ]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"
