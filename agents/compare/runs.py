"""The runs of a comparison: planned, executed in processes, gone on with."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, Run, read_run, write_record
from agents.compare.records import Recorder, versions
from agents.compare.specs import Spec
from agents.episodes import spending
from agents.run_directory import RunError
from agents.search import check_options, checking_options, make_agent_class
from nas_gym._resolve import named_module
from nas_gym.evaluators.worker_pool import WorkerPool
from nas_gym.own_code import code_of

PLAIN_EVERY = 5.0  # seconds between two lines where the output is no terminal


@dataclass(frozen=True)
class Job:
    """One run to do, as it travels to a worker process.

    Attributes:
        out: The comparison's folder.
        run: Environment, agent, seed, budget.
        environment: How to make it.
        data_dir: The data root.
    """

    out: Path
    run: Run
    environment: Environment
    data_dir: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the environment."""
        arguments = self.environment.arguments(self.data_dir)
        if self.environment.trained:  # a killed run is replayed, and agents share children
            arguments["store"] = str(Comparison(self.out).store)
        return {**arguments, "train_seed": self.run.seed}


def plan(out: Path, config: Config) -> list[Job]:
    """Every run that the configuration asks for and that has not ended.

    Seeds come first, so that a comparison that is stopped has about as many of every agent.

    Raises:
        RunError: An agent's code is not that of its runs on record.
    """
    jobs = [
        Job(out, Run(label, agent, seed, config.budget), environment, config.data_dir)
        for seed in config.seeds
        for label, environment in config.environments.items()
        for agent in config.agents
    ]
    codes = {agent: _own_code(agent) for agent in config.agents}
    todo = []
    for job in jobs:
        done = read_run(out, job.run)
        if done is None or done.failed:
            todo.append(job)
        elif done.code != codes[done.agent]:
            raise RunError(
                f"the code of the agent {done.agent} has changed since its runs on record: give it "
                f"another name, or delete {done.path(out, '.json').parent} to run it anew"
            )
    return todo


def _own_code(agent: str) -> str | None:
    """The sha256 of an agent's code; None for those of this package."""
    name = Spec.parse(agent).name
    return code_of(make_agent_class(name)) if named_module("agent", name) else None


def execute(jobs: Sequence[Job], workers: int, console: Console) -> list[Run]:
    """Do the runs, as many at a time as there are workers.

    Returns:
        Those that failed. The others went on.
    """
    failed: list[Run] = []

    def finished(job: Job, outcome: Any) -> str:
        if isinstance(outcome, Exception):  # the process died, so it left no record
            run = _failed(job.run, f"failed: {outcome}")
            write_record(job.out, Record(run))
        else:
            run = outcome
        if run.failed:
            failed.append(run)
            return f"{run.agent} on {run.env}, seed {run.seed}, {run.ended}"
        return ""

    in_processes("runs", run_job, jobs, workers, console, finished)
    return failed


def in_processes(
    title: str,
    function: Callable[[Any], Any],
    jobs: Sequence[Any],
    workers: int,
    console: Console,
    finished: Callable[[Any, Any], str],
) -> None:
    """Call a function for every job in worker processes, with progress and an ETA.

    Args:
        title: What the jobs are.
        function: A module-level function of one job.
        jobs: Its arguments.
        workers: Processes.
        console: Where progress goes.
        finished: Called with a job and what came of it; returns a line to print, or nothing.
    """
    if not jobs:
        return
    started = last_line = time.monotonic()
    done = 0
    bar = Bar(
        TextColumn(title),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=len(jobs), text="")

    def on_result(index: int, outcome: Any) -> None:
        nonlocal done, last_line
        line = finished(jobs[index], outcome)
        if line:
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        done += 1
        now = time.monotonic()
        left = (now - started) / done * (len(jobs) - done)
        text = f"ETA {int(left // 60)}:{int(left % 60):02}"
        bar.update(task, completed=done, text=text)
        if not console.is_terminal and (now - last_line >= PLAIN_EVERY or done == len(jobs)):
            last_line = now
            console.print(f"{done}/{len(jobs)} {title} | {text}", highlight=False)

    pool = WorkerPool(min(workers, len(jobs)), set_up)
    try:
        with bar:
            pool.run(function, [(job,) for job in jobs], on_result)
    finally:
        pool.close()


def set_up() -> None:
    """Once in every worker process."""
    torch.set_num_threads(1)  # the other cores have runs of their own


def run_job(job: Job) -> Run:
    """Do one run in this process, write its record, and say how it ended."""
    run = job.run
    for seed_all in (random.seed, np.random.seed, torch.manual_seed):
        seed_all(run.seed)  # for agents that draw from what is global
    env = recorder = None
    try:
        spec = Spec.parse(run.agent)
        agent_class = make_agent_class(spec.name)
        env = make(job.environment.id, num_envs(agent_class, spec), job.arguments())
        recorder = Recorder(
            env,
            job.out,
            agent=run.agent,
            seed=run.seed,
            budget=run.budget,
            label=run.env,
            code=_own_code(run.agent),
        )
        with spending(env, run.budget):  # stops an agent that does not stop itself
            make_agent(agent_class, env, run.seed, spec).learn(run.budget)
        return recorder.finish().run
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        detail = traceback.format_exc()
        if recorder is not None:
            return recorder.finish(reason, detail).run
        record = Record(_failed(run, f"failed: {reason}", detail))
        write_record(job.out, record)
        return record.run
    finally:
        if env is not None:
            env.close()


def check_agent(environment: Environment, agent: str, data_dir: str | None) -> None:
    """Make an agent in an environment, and throw both away.

    Raises:
        SetupError: The agent does not take its options, or cannot learn.
    """
    spec = Spec.parse(agent)
    with (
        checking_options(),
        closing(make(environment.id, None, environment.arguments(data_dir))) as env,
    ):
        make_agent(make_agent_class(spec.name), env, 0, spec)


def make(env_id: str, copies: int | None, arguments: dict[str, Any]) -> Any:
    """An environment: a vector one, unless ``copies`` is None."""
    if copies is None:
        return gym.make(env_id, **arguments)
    return gym.make_vec(env_id, num_envs=copies, **arguments)


def make_agent(agent_class: Any, env: Any, seed: int, spec: Spec) -> Any:
    """The agent of a spec.

    Raises:
        ValueError: It does not take these options, or cannot learn.
    """
    check_options(str(spec), agent_class, spec.options)
    agent = agent_class(env, seed=seed, **spec.options)
    if not hasattr(agent, "learn"):
        raise ValueError(f"agent {spec}: {type(agent).__name__} has no learn(budget)")
    return agent


def num_envs(agent_class: Any, spec: Spec) -> int | None:
    """Architectures that the agent writes at a time; None if it plays a single environment."""
    if not hasattr(agent_class, "num_envs"):
        return None
    return int(agent_class.num_envs(**spec.options))


def _failed(run: Run, ended: str, detail: str = "") -> Run:
    return Run(run.env, run.agent, run.seed, run.budget, ended, versions=versions(), detail=detail)


def describe_failures(failed: Iterable[Run]) -> str:
    """One sentence about runs that failed."""
    runs = list(failed)
    first = runs[0]
    return (
        f"{len(runs)} of the runs failed, the first was {first.agent} on {first.env} with seed "
        f"{first.seed} ({first.ended.removeprefix('failed: ')}); tracebacks are in the .json "
        "files under records/, and the same command again retries them"
    )
