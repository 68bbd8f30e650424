"""A comparison on disk: what is compared, under which budget, and who may write."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from agents.run_directory import RunDirectory, RunError, write_text

CONFIG, LOCK, STORE = "comparison.json", ".comparison.lock", "store.sqlite"


@dataclass(frozen=True)
class Environment:
    """One environment of a comparison, and how to make it again.

    Attributes:
        id: What `gymnasium.make` takes.
        options: The options in its label.
        shared: Options that all environments of a comparison get and no label holds: ``recipe``.
        trained: Whether its children are really trained.
        context: What a result depends on, beside architecture and seed.
    """

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, data_dir: str | None) -> dict[str, Any]:
        """Keyword arguments of `gymnasium.make`, without the seed."""
        where = {} if data_dir is None else {"data_dir": data_dir}
        return {**where, **self.options, **self.shared}


@dataclass(frozen=True)
class Config:
    """What a comparison compares. It grows; what is in it does not change.

    Attributes:
        budget: Distinct children of every run.
        environments: By label.
        agents: Specs of the agents that ``nas-gym compare`` runs; loops of one's own, which only
            leave a record, are not among them.
        seeds: The seeds that it runs.
        data_dir: The data root that was named last.
    """

    budget: int
    environments: Mapping[str, Environment] = field(default_factory=dict)
    agents: Sequence[str] = ()
    seeds: Sequence[int] = ()
    data_dir: str | None = None


class Comparison:
    """The folder of a comparison.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def is_one(cls, path: str | Path) -> bool:
        """Whether a folder holds a comparison."""
        return (Path(path) / CONFIG).is_file()

    @property
    def store(self) -> Path:
        """The store that the runs of really trained environments share."""
        return self.path / STORE

    def read(self) -> Config:
        """What it compares.

        Raises:
            RunError: There is no comparison, or its file is damaged.
        """
        path = self.path / CONFIG
        try:
            value = json.loads(path.read_text())
            environments = {k: Environment(**v) for k, v in value.pop("environments").items()}
            return Config(environments=environments, **value)
        except FileNotFoundError as error:
            raise RunError(f"{self.path} is no comparison: it has no {CONFIG}") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged") from error

    def join(self, config: Config) -> Config:
        """Add environments, agents and seeds; the folder is made if it is missing.

        Returns:
            All that it compares now.

        Raises:
            RunError: The folder cannot be written, holds something else, or holds a comparison
                with another budget, or with other options of an environment.
        """
        self._refuse_strangers()
        with self._locked():
            before = self.read() if self.is_one(self.path) else None
            if before is not None:
                self._compare(before, config)
                config = _united(before, config)
            if config != before:
                write_text(self.path / CONFIG, json.dumps(asdict(config), indent=2) + "\n")
        return config

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block in which no other ``nas-gym compare`` works in this folder.

        Raises:
            RunError: One does, or the folder cannot be written or holds something else.
        """
        self._refuse_strangers()
        folder = RunDirectory(self.path)
        folder.lock()
        try:
            yield
        finally:
            folder.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A moment alone with ``comparison.json``."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK).open("a")
        except OSError as error:
            raise RunError(f"cannot write the folder {self.path}: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _refuse_strangers(self) -> None:
        if self.path.is_dir() and not self.is_one(self.path):
            ours = (LOCK, ".lock", f"{CONFIG}.partial")
            strangers = sorted(p.name for p in self.path.iterdir() if p.name not in ours)
            if strangers:
                raise RunError(
                    f"{self.path} holds other files ({strangers[0]}, ...) and no comparison: name "
                    "a new or empty folder"
                )

    def _compare(self, before: Config, now: Config) -> None:
        told = []
        if before.budget != now.budget:
            told.append(f"budget was {before.budget} and is now {now.budget}")
        for label in before.environments.keys() & now.environments.keys():
            old, new = before.environments[label], now.environments[label]
            # What an option led to says it better than the option.
            told += _differences(label, old.context, new.context) or _differences(
                label, {**old.options, **old.shared}, {**new.options, **new.shared}
            )
        if told:
            raise RunError(
                f"{self.path} holds a comparison under other conditions: {'; '.join(told)} (go on "
                "with the same options, or name another folder)"
            )


def _united(before: Config, now: Config) -> Config:
    environments = {**now.environments, **before.environments}
    for label, new in now.environments.items():  # an id that names its module can be made anywhere
        environments[label] = max(environments[label], new, key=lambda one: ":" in one.id)
    return Config(
        budget=before.budget,
        environments=environments,
        agents=list(dict.fromkeys([*before.agents, *now.agents])),
        seeds=sorted({*before.seeds, *now.seeds}),
        data_dir=before.data_dir if now.data_dir is None else now.data_dir,
    )


def _differences(label: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = _flat(old), _flat(json.loads(json.dumps(new)))
    return [
        f"{name} of {label} was {before.get(name)!r} and is now {after.get(name)!r}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, one in value.items():
        if isinstance(one, Mapping):
            flat |= _flat(one, f"{prefix}{name}.")
        else:
            flat[prefix + name] = one
    return flat
