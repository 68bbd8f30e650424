"""A comparison on disk: what is compared, under which budget, and who may write."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agents import trust as trusting
from agents.compare.specs import Spec
from agents.identity import changed_code, without_code
from agents.places import lasting
from agents.run_directory import RunDirectory, RunError, refuse_strangers
from nas_gym._files import read_json, user_path, write_json
from nas_gym._lock import Lock

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
        goals: What best means and what is paid; see `agents.identity.record_goals`.
        sealed: Whether a table knows scores that no run sees.
    """

    id: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)
    goals: Mapping[str, Any] = field(default_factory=dict)
    sealed: bool = False

    def arguments(self, data_dir: str | None) -> dict[str, Any]:
        """Keyword arguments of `gymnasium.make`, without the seed."""
        where = {} if data_dir is None else {"data_dir": data_dir}
        return {**where, **self.options, **self.shared}

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The changes to its recipe."""
        recipe: Mapping[str, Any] = self.shared.get("recipe", {})
        return recipe

    def same(self, other: Environment) -> bool:
        """Whether another one gives the same results, wherever its data lie."""
        ids = {one.id.split(":")[-1] for one in (self, other)}
        options = lasting(self.options), lasting(other.options)
        return len(ids) == 1 and options[0] == options[1] and self.context == other.context


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

    def label_of(self, label: str, environment: Environment) -> str:
        """The label that an environment has here, which is its own where it is new."""
        if label in self.environments:
            return label
        known = [one for one, before in self.environments.items() if before.same(environment)]
        return known[0] if known else label


class Comparison:
    """The folder of a comparison.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = user_path(path)

    @classmethod
    def is_one(cls, path: str | Path) -> bool:
        """Whether a folder holds a comparison."""
        return (user_path(path) / CONFIG).is_file()

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
            value = read_json(path)
            environments = {k: Environment(**v) for k, v in value.pop("environments").items()}
            return Config(environments=environments, **value)
        except FileNotFoundError as error:
            raise RunError(f"{self.path} is no comparison: it has no {CONFIG}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged") from error
        except ValueError as error:
            raise RunError(str(error)) from error

    def join(self, config: Config) -> Config:
        """Add environments, agents and seeds; the folder is made if it is missing.

        Returns:
            All that it compares now.

        Raises:
            RunError: The folder cannot be written, holds something else, or holds a comparison
                with another budget, or with other options of an environment.
        """
        refuse_strangers(self.path, CONFIG, "comparison")
        with self._locked():
            before = self.read() if self.is_one(self.path) else None
            if before is not None:
                self._compare(before, config)
                config = _united(before, config)
            if config != before:
                write_json(self.path / CONFIG, asdict(config))
        return config

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block in which no other ``nas-gym compare`` works in this folder.

        Raises:
            RunError: One does, or the folder cannot be written or holds something else.
        """
        refuse_strangers(self.path, CONFIG, "comparison")
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
            lock = Lock(self.path / LOCK)
        except OSError as error:
            raise RunError(f"cannot write the folder {self.path}: {error.strerror}") from error
        try:
            with lock.held():
                yield
        except TimeoutError as error:
            raise RunError(str(error)) from error
        finally:
            lock.close()

    def _compare(self, before: Config, now: Config) -> None:
        told = []
        if before.budget != now.budget:
            told.append(f"budget was {before.budget} and is now {now.budget}")
        for label in before.environments.keys() & now.environments.keys():
            old, new = before.environments[label], now.environments[label]
            told += [f"{one} ({label})" for one in changed_code(old.context, new.context)]
            told += _differences(label, without_code(old.context), without_code(new.context))
            told += _differences(label, lasting(old.options), lasting(new.options))
        if told:
            raise RunError(
                f"{self.path} holds a comparison under other conditions: {'; '.join(told)} (go on "
                "with the same options, or name another folder)"
            )


def _united(before: Config, now: Config) -> Config:
    environments = {**now.environments, **before.environments}
    for label, new in now.environments.items():  # its data may lie elsewhere now, and
        ids = environments[label].id, new.id  # an id that names its module can be made anywhere
        environments[label] = replace(new, id=max(ids, key=lambda one: ":" in one))
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


def require_trust(path: str | Path, trust: Collection[str], agents: bool = False) -> None:
    """Refuse a comparison whose file names modules that the user does not trust.

    Args:
        path: The comparison's folder.
        trust: Modules that may be imported.
        agents: Whether its agents will run, too.

    Raises:
        RunError: The message names the module.
    """
    comparison = Comparison(path)
    config = comparison.read()
    names = [Spec.parse(agent).name for agent in config.agents] if agents else []
    for environment in config.environments.values():
        options = environment.arguments(None)
        trusting.require(comparison.path / CONFIG, environment.id, options, names, trust)
