"""``nas-gym compare``: check what is asked for, do the runs, write the summary."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from rich.console import Console
from rich.table import Table

from agents.compare.directory import Comparison, Config, Environment, require_trust
from agents.compare.figures import MISSING, can_draw
from agents.compare.files import Run
from agents.compare.noise import measure_noise
from agents.compare.records import describe_problem
from agents.compare.results import Results
from agents.compare.runs import check_agent, execute, plan, set_up
from agents.compare.specs import Spec, parse_list
from agents.compare.summary import summarise
from agents.compare.tables import conclusion, interval, unit, value
from agents.compare.trials import PERCENTS, checkpoints
from agents.places import absolute_path
from agents.run_directory import RunError
from agents.search import (
    SetupError,
    check_env_id,
    checking_options,
    make_agent_class,
    sigterm_raises,
)
from agents.trust import own_modules
from nas_gym import problem_of
from nas_gym.evaluators.worker_pool import WorkerDied, WorkerPool

BUDGET, SEEDS = 100, 20


@dataclass(frozen=True)
class CompareConfig:
    """What ``nas-gym compare`` was asked for. What is None or empty stays as the folder has it.

    Attributes:
        out: The comparison's folder.
        environments: Specs, in words of one or several.
        agents: The same.
        budget: Distinct children of a run.
        seeds: How many.
        first_seed: The lowest.
        workers: Processes.
        data_dir: The data root.
        recipe: Changes to the recipe of the environments that train.
        noise: Further trainings of each agent's best architecture, to measure the noise floor.
        trust: Modules that the folder names and that may be imported; what is asked for here is
            trusted.
    """

    out: Path
    environments: Sequence[str] = ()
    agents: Sequence[str] = ()
    budget: int | None = None
    seeds: int | None = None
    first_seed: int = 0
    workers: int = 1
    data_dir: str | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    noise: int | None = None
    trust: Collection[str] = ()


def compare(config: CompareConfig, console: Console) -> tuple[Results, list[Run]]:
    """Run, go on with, or only summarise a comparison.

    Returns:
        All results, and the runs that failed now.

    Raises:
        SetupError: An option is wrong. Nothing is written then.
        RunError: The folder cannot be used.
    """
    torch.set_num_threads(1)
    comparison = Comparison(config.out)
    known = comparison.read() if Comparison.is_one(config.out) else None
    with checking_options():
        if known is not None:
            require_trust(config.out, _trusted(config), agents=not config.agents)
        asked = _asked(config, known)
        for agent in asked.agents:
            make_agent_class(Spec.parse(agent).name)  # a wrong name costs no process
    _check_agents(asked, known)
    with comparison.working(), sigterm_raises():
        joined = comparison.join(asked)
        everything = replace(
            asked,
            environments={label: joined.environments[label] for label in asked.environments},
            data_dir=joined.data_dir,
        )
        jobs = plan(config.out, everything)
        total = len(asked.environments) * len(asked.agents) * len(asked.seeds)
        console.print(
            f"{_count(asked.agents, 'agent')} in {_count(asked.environments, 'environment')} with "
            f"{_count(asked.seeds, 'seed')}, budget {asked.budget} distinct children: {total} "
            f"runs, {total - len(jobs)} of them on record, {config.workers} at a time",
            highlight=False,
            soft_wrap=True,
        )
        failed = execute(jobs, config.workers, console)
        if config.noise is not None:
            measure_noise(comparison, joined, config.noise, config.workers, console)
        results = summarise(config.out)
    return results, failed


def show(results: Results, out: Path, console: Console) -> None:
    """Print a table for every environment, and where everything is."""
    for standing in results.standings:
        table = Table(
            title=f"{standing.label}: IQM of {unit(standing.measure)}", title_justify="left"
        )
        table.add_column("place", justify="right")
        table.add_column("agent", overflow="fold")
        for percent, children in zip(PERCENTS, checkpoints(standing.budget), strict=True):
            table.add_column(f"{percent} % ({children})", justify="right")
        for entry in standing.entries:
            place, seeds = standing.place(entry), len(entry.trials)
            cells = [value(one.value, standing.measure) for one in entry.iqms[:-1] if seeds]
            cells += [interval(one, standing.measure, seeds) for one in entry.iqms[-1:] if seeds]
            table.add_row("" if place is None else str(place), entry.agent, *cells)
        console.print(table)
        lines = [
            conclusion(standing),
            *(note for entry in standing.entries for note in entry.notes),
        ]
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    if not can_draw():
        console.print(MISSING, highlight=False, soft_wrap=True, markup=False)
    console.print(f"tables  {out / 'summary.md'}", highlight=False, soft_wrap=True)
    console.print(f"report  {out / 'report.html'}", highlight=False, soft_wrap=True)


def _trusted(config: CompareConfig) -> list[str]:
    """Modules that are named with the options, and those that the user trusts by name."""
    agents = [spec.name for spec in parse_list(config.agents)]
    named = [
        m for one in parse_list(config.environments) for m in own_modules(one.name, one.options)
    ]
    return [*config.trust, *named, *own_modules("", {}, agents)]


def _asked(config: CompareConfig, known: Config | None) -> Config:
    """The whole of what is asked for, checked against the environments themselves."""
    if known is None:
        for name, given in (("--env", config.environments), ("--agents", config.agents)):
            if not given:
                raise ValueError(f"{config.out} is new: name what to compare with {name}")
    agents = [str(spec) for spec in parse_list(config.agents)]
    seeds: Sequence[int] = range(config.first_seed, config.first_seed + (config.seeds or SEEDS))
    specs = parse_list(config.environments)
    budget, data_dir = config.budget or BUDGET, absolute_path(config.data_dir)
    if known is not None:
        agents = agents or list(known.agents)
        if config.seeds is None and (known.seeds or not agents):
            seeds = known.seeds
        budget, data_dir = config.budget or known.budget, data_dir or known.data_dir
    if known is not None and not specs:
        environments = {
            label: _made(Spec(one.id, one.options), config.recipe or one.recipe, data_dir)[1]
            for label, one in known.environments.items()
        }
    else:
        environments = dict(_probe(spec, config.recipe, data_dir, known) for spec in specs)
    if config.recipe and not any(one.trained for one in environments.values()):
        raise ValueError(
            f"{_sentence(config.recipe)}: recipes are for environments that train their children, "
            "and none of these does"
        )
    return Config(budget, environments, agents, list(seeds), data_dir)


def _probe(
    spec: Spec, recipe: Mapping[str, Any], data_dir: str | None, known: Config | None
) -> tuple[str, Environment]:
    """The label of an environment and how to make it; the known one's where it is the same."""
    label, found = _made(spec, recipe, data_dir)
    before = {} if known is None else known.environments
    candidates = [label] if label in before else list(before)
    for name in candidates:
        if before[name].recipe and not recipe:
            found = _made(spec, before[name].recipe, data_dir)[1]
        if name == label or before[name].same(found):
            return name, found
    return _made(spec, recipe, data_dir)


def _made(spec: Spec, recipe: Mapping[str, Any], data_dir: str | None) -> tuple[str, Environment]:
    """The label of an environment and how to make it, from one that was made."""
    check_env_id(spec.name)
    arguments = {**spec.options} | ({"data_dir": data_dir} if data_dir else {})
    label, found = _described(spec, arguments)
    if recipe and found.trained:
        label, found = _described(spec, {**arguments, "recipe": dict(recipe)})
    return label, replace(found, id=spec.name)


def _described(spec: Spec, arguments: dict[str, Any]) -> tuple[str, Environment]:
    problem, code = problem_of(spec.name, **arguments)
    env_id = spec.name.rpartition(":")[2]
    try:
        return describe_problem(env_id, {**gym.spec(env_id).kwargs, **arguments}, problem, code)
    except RunError as error:
        raise ValueError(str(error)) from error


def _check_agents(asked: Config, known: Config | None) -> None:
    """Make every new agent once in every environment, which finds wrong options early.

    In a worker process, as a run would: what an agent imports can take this one seconds.
    """
    before = [] if known is None else itertools.product(known.environments, known.agents)
    fresh = itertools.product(asked.environments, asked.agents)
    todo = [pair for pair in fresh if pair not in set(before)]
    if not todo:
        return

    def finished(index: int, outcome: Any) -> None:
        if isinstance(outcome, WorkerDied):
            label, agent = todo[index]
            raise SetupError(f"agent {agent}: making it in {label} killed its process")

    calls = [(asked.environments[label], agent, asked.data_dir) for label, agent in todo]
    pool = WorkerPool(1, set_up)
    try:
        pool.run(check_agent, calls, finished)
    finally:
        pool.close()


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _sentence(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())
