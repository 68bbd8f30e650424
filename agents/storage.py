"""Agent state on disk: plain values with a checksum, replaced whole, never a program."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from nas_gym._files import user_path, write_bytes

MAGIC = b"nas-gym agent "  # then the sha256 of the rest in hex, and a line's end


def save_plain(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an older file stays whole until the new one is.

    Args:
        path: The file.
        state: Strings, numbers, tensors, and lists and dicts of them.
    """
    buffer = io.BytesIO()  # as torch writes to a full disk with errors of its own
    torch.save(state, buffer)
    data = buffer.getvalue()
    head = MAGIC + hashlib.sha256(data).hexdigest().encode() + b"\n"
    write_bytes(user_path(path), head + data)


@contextmanager
def load_plain(path: str | Path) -> Iterator[dict[str, Any]]:
    """A block that reads what `save_plain` wrote. A pickle that would run code is refused.

    Raises:
        ValueError: The file is missing, damaged, or holds more than tensors and plain values, or
            the block does not find in it what it needs.
    """
    path = user_path(path)
    try:
        state = _read(path.read_bytes())
    except Exception as error:  # torch raises many kinds for foreign files
        raise ValueError(f"{path} is no saved agent: {_told(error)}") from error
    try:
        yield state
    except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} is not of this kind of agent: {_told(error)}") from error


def _read(data: bytes) -> dict[str, Any]:
    head, _, rest = data.partition(b"\n")
    if not head.startswith(MAGIC):
        raise ValueError("it was written by something else")
    if head.removeprefix(MAGIC) != hashlib.sha256(rest).hexdigest().encode():
        raise ValueError("it is damaged, as its sha256 is not the recorded one")
    state = torch.load(io.BytesIO(rest), weights_only=True)
    if not isinstance(state, dict):
        raise TypeError("it holds no state")
    return state


def _told(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0] or type(error).__name__
