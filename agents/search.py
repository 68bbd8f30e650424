"""``nas-gym search``: one agent, one environment, one budget, one directory."""

from __future__ import annotations

import importlib
import inspect
import platform
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import closing, contextmanager
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
from agents.identity import identity, read_goals, read_metrics, record_goals
from agents.places import absolute, absolute_path
from agents.progress import Progress
from agents.results import write_results
from agents.run_directory import RunDirectory
from agents.scalars import ScalarLog
from agents.trust import retrain_command
from nas_gym import Evaluation, Ledger, Objective, Problem, problem_of
from nas_gym._resolve import resolve, unknown
from nas_gym.evaluators import make_evaluator
from nas_gym.objectives import distinct, front, make_column, top
from nas_gym.own_code import raised_by_own_code
from nas_gym.registry import make_single
from nas_gym.rewards import Reward
from nas_gym.search_spaces import format_layer


class SetupError(Exception):
    """Options of the environment or the agent that are wrong. The message is one sentence."""


@contextmanager
def checking_options() -> Iterator[None]:
    """A block in which a wrong option is a `SetupError`; a bug of the user's code stays what it is.

    Raises:
        SetupError: This package raised a ValueError about what it was given.
    """
    try:
        yield
    except ValueError as error:
        if raised_by_own_code(error):
            raise
        raise SetupError(str(error)) from error


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
        workers: Where children are trained, as an evaluator is named.
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
    workers: Mapping[str, Any] = field(default_factory=lambda: {"name": "pool", "workers": 1})
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
            "workers": dict(self.workers),
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


def make_env(config: SearchConfig, checked: _Checked, run: RunDirectory) -> Any:
    """The environment that the search plays.

    Args:
        config: The search.
        checked: What it plays; children are trained in worker processes.
        run: Where evaluations are kept.
    """
    arguments: dict[str, Any] = {
        "store": str(run.store_path),
        "run": run.run,
        "data_dir": config.data_dir,
        **config.env_options,
    }
    if checked.problem.sealed is None:  # a table has its answers at once
        arguments.setdefault("evaluator", dict(config.workers))
    if checked.num_envs is None:
        return gym.make(config.env, **arguments)
    return gym.make_vec(config.env, num_envs=checked.num_envs, **arguments)


def search(config: SearchConfig, console: Console) -> list[Evaluation]:
    """Run or resume a search, and leave a complete run directory.

    Returns:
        Every answered proposal, in order.

    Raises:
        KeyboardInterrupt, Terminated: After the workers are stopped; what ended is on record.
    """
    torch.set_num_threads(1)  # the controller is small, and the children need the cores
    checked = _checked(config)  # nothing is written before
    run = RunDirectory(config.out)
    goals = record_goals(checked.problem)
    resumed = run.create_or_resume({**config.record(), "goals": goals, "context": checked.context})
    env = logger = None
    try:
        known = distinct(run.evaluations()) if resumed else None  # before anything is written
        with sigterm_raises():
            env = make_env(config, checked, run)
            logger = ScalarLog(run.path)
            options = dict(config.agent_options)
            if "logger" in inspect.signature(checked.agent_class).parameters:
                options["logger"] = logger
            agent = checked.agent_class(env, seed=config.seed, **options)
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


@dataclass(frozen=True)
class _Checked:
    """What was found out about a search before anything is written."""

    agent_class: Any
    num_envs: int | None  # architectures at a time; None: the agent plays a single environment
    problem: Problem
    context: dict[str, Any]  # what results depend on


def _checked(config: SearchConfig) -> _Checked:
    """Find what is wrong with the options.

    Raises:
        SetupError: The message says what would be right.
    """
    options = {"data_dir": config.data_dir, **config.env_options}
    with checking_options():
        check_env_id(config.env)
        agent_class = make_agent_class(config.agent)
        problem, env_code = problem_of(config.env, **options)
        check_options(config.agent, agent_class, config.agent_options)
        num_envs = None
        if hasattr(agent_class, "num_envs"):
            num_envs = agent_class.num_envs(**config.agent_options)
        with closing(make_single(config.env, problem, options)) as probe:
            agent_class(probe, seed=config.seed, **config.agent_options)
        with closing(make_evaluator(config.workers, problem.source)) as evaluator:
            _ = evaluator.slots  # which a cluster is asked for, where there is one
    return _Checked(agent_class, num_envs, problem, identity(problem, env_code, agent_class))


def check_options(name: str, agent_class: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that an agent does not take.

    Raises:
        ValueError: The message says which.
    """
    try:
        inspect.signature(agent_class).bind(None, seed=0, **options)
    except TypeError as error:
        raise ValueError(f"agent {name}: {error}") from error


def summarise(config: SearchConfig, evaluations: list[Evaluation], console: Console) -> None:
    """Print the best architectures and what to do next."""
    run = RunDirectory.existing(config.out)
    objective, reward = read_goals(run.config["goals"])
    metrics = read_metrics(run.config["goals"])
    children = distinct(evaluations)
    best = top(objective, children, 5)
    several = len(objective.columns) > 1
    title = f"Best of {len(children)} distinct children, by {objective.title}"
    if several:
        best = front(objective, children)
        title = f"Front of {len(children)} distinct children, in {objective.title}"
    table = Table(title=title)
    headline = make_column(metrics[0].name, metrics, "objective")
    shown = {column.title: column for column in (*objective.columns, headline)}
    paid = _differs(objective, reward, best)
    for name in ("rank", *shown, *(["reward"] if paid else [])):
        table.add_column(name.replace("validation ", "val. "), justify="right")
    known = {"parameters": "params", "multiply-adds": "macs"}
    costs = [name for name in known if name not in shown]
    for name in (*costs, "seconds"):
        table.add_column(name, justify="right")
    table.add_column("architecture", overflow="fold")
    for rank, e in enumerate(best, 1):
        numbers = [getattr(e, known[name]) for name in costs]
        table.add_row(
            str(rank),
            *(column.metric.format(column(e)) for column in shown.values()),
            *([f"{reward(e):.4g}"] if paid else []),
            *(f"{number:,}" if number is not None else "" for number in numbers),
            f"{e.seconds:.1f}",
            " | ".join(map(format_layer, e.architecture.layers)),
        )
    console.print(table)
    if not best:
        console.print("No child was trained to the end: see evaluations.csv for the reasons.")
    console.print(f"run directory  {config.out}", soft_wrap=True)
    console.print(f"report         {config.out / 'report.html'}", soft_wrap=True)
    if best and run.config["context"]["source"] == "training":
        console.print(f"next           {retrain_command(run)}", soft_wrap=True)


def _differs(objective: Objective, reward: Reward, best: Sequence[Evaluation]) -> bool:
    """Whether the reward says something that the first column does not."""
    return any(reward(e) != objective.value(e) for e in best)


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
        f"{_where(config.workers)}: {state}",
        highlight=False,
        soft_wrap=True,
    )


def _where(workers: Mapping[str, Any]) -> str:
    if "workers" in workers:
        return f"{workers['workers']} workers"
    return " at ".join([str(workers["name"]), *filter(None, [workers.get("address")])])


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
