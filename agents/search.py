"""``nas-gym search``: one agent, one environment, one budget, one directory."""

from __future__ import annotations

import importlib
import inspect
import platform
import signal
import threading
from collections.abc import Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from rich.console import Console
from rich.table import Table

import nas_gym
from agents import AGENTS
from agents.episodes import how_ended, ledger, spending
from agents.identity import identity
from agents.places import absolute, absolute_path
from agents.progress import Progress
from agents.report import anytime, top
from agents.results import write_results
from agents.run_directory import RunDirectory
from agents.scalars import ScalarLog
from agents.trust import retrain_command
from nas_gym import Ledger
from nas_gym._resolve import resolve, unknown
from nas_gym.evaluation import Evaluation
from nas_gym.search_spaces import format_layer


class SetupError(Exception):
    """Options of the environment or the agent that are wrong. The message is one sentence."""


class Terminated(BaseException):
    """SIGTERM arrived."""


@dataclass(frozen=True)
class SearchConfig:
    """Everything that one search depends on.

    Attributes:
        env: Environment id.
        agent: Name in `agents.AGENTS`, or ``module:callable``.
        budget: Distinct trained children.
        seed: Of the agent.
        out: The run directory.
        env_options: Keyword arguments of the environment, JSON values.
        agent_options: Keyword arguments of the agent, JSON values.
        workers: Children trained side by side.
        data_dir: The data root.
        store: A store to share with other runs; None for one in the run directory.
    """

    env: str
    agent: str
    budget: int
    seed: int
    out: Path
    env_options: dict[str, Any] = field(default_factory=dict)
    agent_options: dict[str, Any] = field(default_factory=dict)
    workers: int = 1
    data_dir: str | None = None
    store: str | None = None

    def record(self) -> dict[str, Any]:
        """What the run directory keeps, as JSON values."""
        return {
            "env": self.env,
            "agent": self.agent,
            "seed": self.seed,
            "env_options": absolute(self.env_options),
            "agent_options": self.agent_options,
            "budget": self.budget,
            "workers": self.workers,
            "data_dir": absolute_path(self.data_dir),
            "store": absolute_path(self.store),
            "versions": {
                "nas_gym": nas_gym.__version__,
                "torch": torch.__version__,
                "gymnasium": gym.__version__,
                "python": platform.python_version(),
            },
        }


def make_agent_class(name: str) -> Any:
    """The agent of this name.

    Raises:
        ValueError: There is none.
    """
    homes = {key: home for key, (home, _) in AGENTS.items()}
    if name in homes:
        return resolve(homes[name], {}, "agent")
    return resolve(name, homes, "agent")


def check_env_id(env_id: str) -> None:
    """Refuse an id that Gymnasium does not know.

    Raises:
        ValueError: The message says what there is.
    """
    module, _, name = env_id.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        gym.spec(name)
    except (gym.error.Error, ModuleNotFoundError) as error:
        known = [i for i, s in gym.registry.items() if "nas_gym" in str(s.entry_point)]
        raise ValueError(unknown("environment", env_id, known)) from error


def make_env(
    config: SearchConfig, num_envs: int | None, run: RunDirectory, trained: bool = True
) -> Any:
    """The environment that the search plays.

    Args:
        config: The search.
        num_envs: Copies of a vector environment; None for a single one.
        run: Where evaluations are kept.
        trained: Whether children are trained, in worker processes then.
    """
    arguments: dict[str, Any] = {
        "store": str(run.store_path),
        "run": run.run,
        "data_dir": config.data_dir,
        **config.env_options,
    }
    if trained:
        arguments.setdefault("evaluator", {"name": "pool", "workers": config.workers})
    if num_envs is None:
        return gym.make(config.env, **arguments)
    return gym.make_vec(config.env, num_envs=num_envs, **arguments)


def search(config: SearchConfig, console: Console) -> list[Evaluation]:
    """Run or resume a search, and leave a complete run directory.

    Returns:
        Every answered proposal, in order.

    Raises:
        KeyboardInterrupt, Terminated: After the workers are stopped; what ended is on record.
    """
    torch.set_num_threads(1)  # the controller is small, and the children need the cores
    agent_class, num_envs, trained, context = _checked(config)  # nothing is written before
    run = RunDirectory(config.out)
    resumed = run.create_or_resume({**config.record(), "context": context})
    env = logger = None
    try:
        known = anytime(run.evaluations()) if resumed else None  # before anything is written
        with sigterm_raises():
            env = make_env(config, num_envs, run, trained)
            logger = ScalarLog(run.path)
            options = dict(config.agent_options)
            if "logger" in inspect.signature(agent_class).parameters:
                options["logger"] = logger
            agent = agent_class(env, seed=config.seed, **options)
            _announce(config, known, console)
            with Progress(console, config.budget) as progress:
                ledger(env).watchers.append(progress.update)
                with spending(env, config.budget):  # stops an agent that does not stop itself
                    agent.learn(config.budget)
            if shortfall := _shortfall(config, ledger(env)):
                console.print(shortfall, highlight=False, soft_wrap=True, markup=False)
            if hasattr(agent, "save"):
                agent.save(str(run.path / "agent.pt"))
    finally:
        for held in (env, logger):
            if held is not None:
                held.close()
        run.close()
    evaluations = run.evaluations()
    write_results(run, evaluations)
    return evaluations


def _checked(config: SearchConfig) -> tuple[Any, int | None, bool, dict[str, Any]]:
    """Find what is wrong with the options before anything is written.

    Returns:
        The agent's class, the architectures it writes at a time (None if it plays a single
        environment), whether children are trained, and what results depend on.
    """
    try:
        check_env_id(config.env)
        agent_class = make_agent_class(config.agent)
        try:
            probe = gym.make(config.env, **{"data_dir": config.data_dir, **config.env_options})
        except TypeError as error:
            reason = str(error).split(" was raised from")[0]
            raise ValueError(f"environment {config.env}: {reason}") from error
        context = identity(probe, agent_class)
        trained = getattr(probe.unwrapped, "trainer", None) is not None
        try:
            agent_class(probe, seed=config.seed, **config.agent_options)
            num_envs = None
            if hasattr(agent_class, "num_envs"):
                num_envs = agent_class.num_envs(**config.agent_options)
        except TypeError as error:
            raise ValueError(f"agent {config.agent}: {error}") from error
        probe.close()
    except ValueError as error:
        raise SetupError(str(error)) from error
    return agent_class, num_envs, trained, context


def summarise(config: SearchConfig, evaluations: list[Evaluation], console: Console) -> None:
    """Print the best architectures and what to do next."""
    distinct = anytime(evaluations)
    table = Table(title=f"Best of {len(distinct)} distinct children, by validation accuracy")
    for name in ("rank", "val. accuracy", "parameters", "multiply-adds", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("architecture", overflow="fold")
    best = top(evaluations, 5)
    for rank, e in enumerate(best, 1):
        table.add_row(
            str(rank),
            f"{e.val_accuracy:.2%}",
            f"{e.params:,}" if e.params is not None else "",
            f"{e.macs:,}" if e.macs is not None else "",
            f"{e.seconds:.1f}",
            " | ".join(map(format_layer, e.architecture.layers)),
        )
    console.print(table)
    if not best:
        console.print("No child was trained to the end: see evaluations.csv for the reasons.")
    console.print(f"run directory  {config.out}", soft_wrap=True)
    console.print(f"report         {config.out / 'report.html'}", soft_wrap=True)
    run = RunDirectory.existing(config.out)
    if best and "table" not in run.config["context"]:
        console.print(f"next           {retrain_command(run)}", soft_wrap=True)


def _shortfall(config: SearchConfig, account: Ledger) -> str:
    """Why a search ended before its budget, in a sentence; empty if it did not."""
    ended = how_ended(account, account.distinct, config.budget)
    if ended == "budget":
        return ""
    space = "the space" if account.space is None else account.space.name
    so_far = f"{account.distinct:,} of {config.budget:,}"
    return {
        "exhausted": f"stopped at {so_far}: all networks of {space} are evaluated",
        "stalled": f"stopped at {so_far}: the last {account.idle:,} proposals were known",
        "gave up": f"the agent gave up at {so_far}",
    }[ended]


def _announce(config: SearchConfig, known: Sized | None, console: Console) -> None:
    state = "new run"
    if known is not None:
        state = f"resumed, {len(known)} distinct children on record are replayed"
    console.print(
        f"{config.agent} on {config.env}, seed {config.seed}, budget {config.budget}, "
        f"{config.workers} workers: {state}",
        highlight=False,
        soft_wrap=True,
    )


class sigterm_raises:
    """Turns SIGTERM into an exception inside the block, so that workers are stopped."""

    def __enter__(self) -> None:
        self._old: Any = None
        if threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGTERM, self._raise)

    def __exit__(self, *_: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGTERM, self._old)

    @staticmethod
    def _raise(*_: object) -> None:
        raise Terminated
