"""A run on disk: its configuration, its lock, and the results it stands for."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas_gym.evaluation import Evaluation
from nas_gym.store import Store

CONFIG, STORE = "config.json", "store.sqlite"

# What may differ when a run is resumed: it changes how long a run goes on or how fast it is,
# never what it asks for.
FREE = ("budget", "workers", "data_dir", "versions", "run")


class RunError(Exception):
    """A run directory that cannot be used. The message is one sentence."""


class RunDirectory:
    """The folder of one search.

    Args:
        path: The folder.

    Attributes:
        config: What `create_or_resume` wrote or found there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config: dict[str, Any] = {}
        self._lock: Any = None

    @classmethod
    def existing(cls, path: str | Path) -> RunDirectory:
        """Open a run to read it.

        Raises:
            RunError: There is no run.
        """
        run = cls(path)
        if not (run.path / CONFIG).is_file():
            raise RunError(f"{run.path} is no run directory: it has no {CONFIG}")
        run.config = run._read_config()
        return run

    def create_or_resume(self, config: Mapping[str, Any]) -> bool:
        """Take the folder for this process, for a run of this configuration.

        Args:
            config: JSON values.

        Returns:
            Whether there was a run to resume.

        Raises:
            RunError: The folder cannot be written, is in use, holds something else, or holds a
                run of another configuration.
        """
        self._refuse_strangers()
        self.lock()
        try:
            return self._enter(config)
        except BaseException:
            self.close()
            raise

    def lock(self) -> None:
        """Take the folder for this process; it is made if it is missing.

        Raises:
            RunError: It cannot be written, or another process has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a")
        except OSError as error:
            raise RunError(f"cannot write the folder {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise RunError(f"another process is working in {self.path} now") from error

    @property
    def run(self) -> str:
        """The name under which the store keeps this run's proposals."""
        return str(self.config["run"])

    @property
    def store_path(self) -> Path:
        """The store that this run's evaluations are in."""
        shared = self.config.get("store")
        return Path(shared) if shared else self.path / STORE

    def evaluations(self) -> list[Evaluation]:
        """Every answered proposal so far, repeats included, in order.

        Raises:
            RunError: The store is gone.
        """
        if not self.store_path.is_file():
            raise RunError(f"the store {self.store_path} of the run {self.path} is missing")
        with Store(self.store_path) as store:
            return store.run(self.run)

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _refuse_strangers(self) -> None:
        """Leave a folder alone that holds somebody's other files."""
        if self.path.is_dir() and not (self.path / CONFIG).is_file():
            strangers = sorted(p.name for p in self.path.iterdir() if p.name != ".lock")
            if strangers:
                raise RunError(
                    f"{self.path} holds other files ({strangers[0]}, ...) and no run: name a new "
                    "or empty folder"
                )

    def _enter(self, config: Mapping[str, Any]) -> bool:
        """Write the configuration, or compare it with the one that is there."""
        resumed = (self.path / CONFIG).is_file()
        if resumed:
            self.config = self._read_config()
            self._compare(config)
            self.config |= config
        else:
            self.config = {**config, "run": uuid.uuid4().hex}
        self._write_config()
        return resumed

    def _compare(self, config: Mapping[str, Any]) -> None:
        before, now = _flat(self.config), _flat(config)
        names = [
            name
            for name in sorted(before.keys() | now.keys())
            if name.split(".")[0] not in FREE and before.get(name) != now.get(name)
        ]
        # What an option led to says it better than the option.
        told = [name for name in names if not name.startswith("env_options.")] or names
        if told:
            differences = [
                f"{name.removeprefix('context.')} was {before.get(name)!r} and is now "
                f"{now.get(name)!r}"
                for name in told
            ]
            raise RunError(
                f"{self.path} holds a run of another configuration: {'; '.join(differences)} "
                "(resume it with the same options, or name another --out)"
            )

    def _read_config(self) -> dict[str, Any]:
        try:
            config = json.loads((self.path / CONFIG).read_text())
            if not isinstance(config["run"], str):
                raise TypeError
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.path / CONFIG} is damaged") from error
        return dict(config)

    def _write_config(self) -> None:
        write_text(self.path / CONFIG, json.dumps(self.config, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
