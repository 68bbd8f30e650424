"""How the command line was called. Nothing here imports torch: it is needed when that fails."""

from __future__ import annotations

import sys
from pathlib import Path


def program() -> str:
    """How the user called the command line, for the commands that are printed."""
    called = Path(sys.argv[0])
    if called.name != "nas-gym":
        return "python -m agents"
    local = Path(".venv/bin/nas-gym")
    return str(local) if local.exists() and local.resolve() == called.resolve() else "nas-gym"
