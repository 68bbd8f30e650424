"""Agent state on disk: tensors and plain values, replaced whole, never a program."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from nas_gym._files import user_path, write_bytes


def save_plain(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values; an older file stays whole until the new one is.

    Args:
        path: The file.
        state: Strings, numbers, tensors, and lists and dicts of them.
    """
    buffer = io.BytesIO()  # as torch writes to a full disk with errors of its own
    torch.save(state, buffer)
    write_bytes(user_path(path), buffer.getvalue())


def load_plain(path: str | Path) -> dict[str, Any]:
    """Read what `save_plain` wrote. A pickle that would run code is refused, not run.

    Raises:
        ValueError: The file is missing, damaged, or holds more than tensors and plain values.
    """
    path = user_path(path)
    try:
        state = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged or foreign files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is no saved agent: {reason}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} is no saved agent")
    return state
