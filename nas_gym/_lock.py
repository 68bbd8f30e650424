"""Lock files between processes of one machine."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT = 30.0  # seconds that anybody waits for another process
DIGITS = 19


class Lock:
    """A lock file, which can also keep a number.

    Args:
        path: The file; made if it is missing, and left behind.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._file is None

    @property
    def number(self) -> int:
        """The number that was written last; 0 where there is none."""
        text = os.pread(self._opened, DIGITS, 0)
        return int(text) if text.isdigit() else 0

    @number.setter
    def number(self, number: int) -> None:
        os.pwrite(self._opened, b"%0*d\n" % (DIGITS, number), 0)

    @contextmanager
    def held(self) -> Iterator[float]:
        """A block alone with what the lock stands for; gives the seconds that are left of `WAIT`.

        Raises:
            TimeoutError: Another process kept it. The message is one sentence.
        """
        deadline = time.monotonic() + WAIT
        pause = 0.001
        while not self._taken():
            if time.monotonic() >= deadline:
                raise TimeoutError(
                    f"{self.path} has been locked{self._holder()} for {WAIT:g} seconds: let that "
                    "process go on, or end it"
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        try:
            yield max(0.0, deadline - time.monotonic())
        finally:
            fcntl.flock(self._opened, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @property
    def _opened(self) -> int:
        if self._file is None:
            raise ValueError(f"{self.path} is closed")
        return self._file

    def _taken(self) -> bool:
        try:
            fcntl.flock(self._opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _holder(self) -> str:
        """Who has the lock, in words; empty where Linux does not say."""
        status = os.fstat(self._opened)
        inode = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        try:
            rows = [line.split() for line in Path("/proc/locks").read_bytes().decode().splitlines()]
        except OSError:
            return ""
        held = [row[4] for row in rows if row[1] == "FLOCK" and row[5] == inode]
        return f" by process {held[0]}" if held else ""
