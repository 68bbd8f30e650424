"""Output that any console takes, whatever characters its encoding knows."""

from __future__ import annotations

import codecs
import io
import sys
from typing import Any

HANDLER = "nas_gym.console"


def take_any_character() -> None:
    r"""Let standard output and error show what their encoding cannot: as ``\xb1``.

    Bytes of a path that the locale could not read go out as they came, so that a command that is
    printed names the same path.
    """
    codecs.register_error(HANDLER, _shown)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=HANDLER)


def make_console() -> Any:
    """Where tables and progress go."""
    from rich.console import Console

    wide = None if sys.stdout.isatty() else 110
    return Console(width=wide)


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return character.encode("ascii", "backslashreplace"), error.start + 1
