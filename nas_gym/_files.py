"""Files that survive a kill, whatever the locale, and paths that users give."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "lustre", "gpfs", "beegfs", "9p")
DIGEST = "sha256"  # the field of a JSON file that vouches for the others


def user_path(path: str | Path) -> Path:
    """A path as a user gave it, ``~`` for their home included."""
    return Path(os.path.expanduser(path))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file, or nothing."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_text(path: Path, text: str) -> None:
    """Write a whole file in UTF-8, or nothing."""
    write_bytes(path, _utf8(text))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object that `read_json` will know to be whole, or nothing."""
    plain = json.loads(json.dumps(value))
    write_text(path, json.dumps({**plain, DIGEST: _digest(plain)}, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what was written. The message is one sentence.
    """
    try:
        value = json.loads(path.read_bytes())
        whole = isinstance(value, dict) and value.pop(DIGEST) == _digest(value)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or of another release of nas-gym") from error
    if not whole:
        raise ValueError(f"{path} is damaged: its {DIGEST} is not the recorded one")
    return dict(value)


def on_network(path: Path) -> bool:
    """Whether a file lies on a network file system, by the mount that holds it."""
    try:
        mounts = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines()
    except OSError:
        return False
    real = path.resolve()
    best, kind = "", ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4]
        if real.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind.startswith(NETWORK_FILE_SYSTEMS)


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _utf8(text: str) -> bytes:
    try:
        raw = text.encode("utf-8", "surrogateescape")  # a path that this locale could not read
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace").encode()
