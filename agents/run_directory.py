"""A run on disk: its configuration, its lock, and the results it stands for."""

from __future__ import annotations

import fcntl
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agents.identity import changed_code, without_code
from agents.places import lasting
from nas_gym._files import read_json, user_path, write_json
from nas_gym.evaluation import Evaluation
from nas_gym.store import Store

CONFIG, STORE = "config.json", "store.sqlite"

# What may differ when a run is resumed: it changes how long a run goes on, how fast it is or where
# things lie, never what it asks for.
FREE = ("budget", "workers", "data_dir", "store", "versions", "run", "goals")

# What a kill can leave of a run or a comparison before its configuration is written.
BEGUN = re.compile(
    r"(\.comparison)?\.lock|(config|comparison)\.json\.(.*\.)?partial|agent\.csv|tensorboard|"
    r"store\.sqlite(\.lock|-wal|-shm|-journal)?"
)


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
        self.path = user_path(path)
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
        refuse_strangers(self.path, CONFIG, "run")
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
            self._lock = (self.path / ".lock").open("ab")
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
        return self._place(self.config)

    def evaluations(self) -> list[Evaluation]:
        """Every answered proposal so far, repeats included, in order.

        Raises:
            RunError: The store is not the one that the run began with.
            StoreError: It is missing or damaged.
        """
        with Store(self.store_path, must_exist=True) as store:
            if not store.knows(self.run):
                raise RunError(
                    f"the store {self.store_path} is not the one that {self.path} began with: it "
                    "does not know this run"
                )
            return store.run(self.run)

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _enter(self, config: Mapping[str, Any]) -> bool:
        """Write the configuration, or compare it with the one that is there."""
        resumed = (self.path / CONFIG).is_file()
        if resumed:
            self.config = self._read_config()
            self._compare(config)
            self.config |= config
        else:
            self._begin(config)
        write_json(self.path / CONFIG, self.config)
        return resumed

    def _begin(self, config: Mapping[str, Any]) -> None:
        """Make the store, which is there before the configuration is: a run always has one."""
        own = self.path / STORE
        if own.is_file():
            with Store(own) as left:
                if len(left):
                    raise RunError(
                        f"{own} holds {len(left)} children of a run whose {CONFIG} is missing: "
                        "restore it, or name a new folder (the store can be shared with --store)"
                    )
        self.config = {**config, "run": uuid.uuid4().hex}
        with Store(self.store_path) as store:
            store.begin(self.run)

    def _place(self, config: Mapping[str, Any]) -> Path:
        shared = config.get("store")
        return Path(shared) if shared else self.path / STORE

    def _compare(self, config: Mapping[str, Any]) -> None:
        before, now = _identity(self.config), _identity(config)
        names = [
            name for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)
        ]
        differences = changed_code(self.config.get("context", {}), config.get("context", {}))
        differences += [
            f"{name.removeprefix('context.')} was {before.get(name)!r} and is now {now.get(name)!r}"
            for name in names
        ]
        stores = self.config.get("store"), config.get("store")
        if stores[0] != stores[1] and not self._moved_to(self._place(config)):
            differences.append(f"store was {stores[0]!r} and is now {stores[1]!r}")
        if differences:
            raise RunError(
                f"{self.path} holds a run of another configuration: {'; '.join(differences)} "
                "(resume it with the same options, or name another --out)"
            )

    def _moved_to(self, place: Path) -> bool:
        """Whether a store at another place is the one that this run began with."""
        if not place.is_file():
            return False
        with Store(place, must_exist=True) as store:
            return store.knows(self.run)

    def _read_config(self) -> dict[str, Any]:
        try:
            config = read_json(self.path / CONFIG)
        except ValueError as error:
            raise RunError(str(error)) from error
        if "goals" not in config:
            raise RunError(
                f"{self.path} holds a run of an older release of nas-gym: name a new folder"
            )
        return config


def refuse_strangers(path: Path, config: str, kind: str) -> None:
    """Leave a folder alone that holds somebody's other files.

    Raises:
        RunError: It does, and no file ``config`` of ours.
    """
    if path.is_dir() and not (path / config).is_file():
        strangers = sorted(one.name for one in path.iterdir() if not BEGUN.fullmatch(one.name))
        if strangers:
            raise RunError(
                f"{path} holds other files ({strangers[0]}, ...) and no {kind}: name a new or "
                "empty folder"
            )


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run the same run."""
    kept = {name: value for name, value in config.items() if name not in FREE}
    kept |= {"env_options": lasting(config["env_options"])}
    return _flat(kept | {"context": without_code(config.get("context", {}))})


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
