"""The command line: ``nas-gym search | compare | retrain | report | envs | agents``."""

from __future__ import annotations

import errno
import gc
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional, arg, subcommand

from agents.console import make_console, take_any_character
from agents.program import program
from nas_gym._files import user_path

Options = tuple[str, ...]

# Flags of more than one command.
DataDir = Annotated[
    str | None,
    arg(metavar="FOLDER", help="Data root; else $NAS_GYM_DATA, else ~/.cache/nas-gym."),
]
Epochs = Annotated[int | None, arg(metavar="N", help="Epochs of a child; else the task's own.")]
TrainImages = Annotated[
    int | None, arg(metavar="N", help="Training images of a child; else the task's own.")
]
RecipeFields = Annotated[
    Options, arg(metavar="NAME=VALUE ...", help="Other recipe fields, e.g. peak_lr=0.005.")
]
Trust = Annotated[
    Options,
    arg(metavar="MODULE ...", help="Modules that the folder names and that may be imported."),
]


@dataclass(frozen=True)
class Search:
    """Search for an architecture; the same command again resumes the run."""

    out: Annotated[Path, arg(help="Run directory; it is made.")]
    env: Annotated[
        str | None,
        arg(metavar="ID", help="Environment; nas-gym envs lists them. Else nas_gym/Digits-v0."),
    ] = None
    task: Annotated[
        str | None,
        arg(metavar="TASK", help="Your own data: folder:PATH or module:function."),
    ] = None
    task_options: Annotated[
        Options, arg(metavar="NAME=VALUE ...", help="Its options, e.g. size=64 channels=1.")
    ] = ()
    agent: Annotated[
        str, arg(help="Agent; nas-gym agents lists them. Your own: module:callable.")
    ] = "reinforce"
    budget: Annotated[int, arg(help="Distinct children to train.")] = 60
    workers: Annotated[
        str | None,
        arg(
            metavar="N",
            help="Children trained side by side; else one per core (one on a card). Or where: ray, "
            "ray:ADDRESS, dask:ADDRESS.",
        ),
    ] = None
    seed: Annotated[int, arg(help="Seed of the agent.")] = 0
    data_dir: DataDir = None
    env_options: Annotated[
        Options,
        arg(metavar="NAME=VALUE ...", help="Options of the environment, e.g. dataset=cifar100."),
    ] = ()
    search_space: Annotated[
        str | None,
        arg(help="layer_cnn, plain_cnn, ..., or your own: module:Class; else the environment's."),
    ] = None
    space_options: Annotated[
        Options, arg(metavar="NAME=VALUE ...", help="Options of the space, e.g. depth=8.")
    ] = ()
    reward: Annotated[
        str | None,
        arg(help="accuracy, accuracy_cubed, mnasnet_soft, ...; else the task's first metric."),
    ] = None
    reward_options: Annotated[
        Options, arg(metavar="NAME=VALUE ...", help="Its options, e.g. target=1e6 cost=macs.")
    ] = ()
    objective: Annotated[
        str | None,
        arg(
            help="What best means: accuracy, loss, params, ... or several, as accuracy,params; "
            "else what the reward pays."
        ),
    ] = None
    objective_options: Annotated[
        Options, arg(metavar="NAME=VALUE ...", help="Its options, as the reward's.")
    ] = ()
    epochs: Epochs = None
    train_images: TrainImages = None
    recipe: RecipeFields = ()
    agent_options: Annotated[
        Options,
        arg(metavar="NAME=VALUE ...", help="Options of the agent, e.g. recipe=zoph2016."),
    ] = ()
    device: Annotated[str, arg(help="Where children train: cpu, cuda, auto.")] = "cpu"
    child_seed: Annotated[int, arg(help="Seed of every child's training.")] = 0
    store: Annotated[
        str | None,
        arg(metavar="FILE", help="A store to share between runs; else one in the run directory."),
    ] = None

    def run(self) -> None:
        """Search, print the best and what to do next."""
        import nas_gym
        from agents.search import SearchConfig, search, summarise

        recipe = _recipe(self.recipe, self.epochs, self.train_images)
        env_options: dict[str, Any] = {"train_seed": self.child_seed}
        for name, flag, value, texts in (
            ("search_space", "--space-options", self.search_space, self.space_options),
            ("reward", "--reward-options", self.reward, self.reward_options),
            ("objective", "--objective-options", self.objective, self.objective_options),
        ):
            if value is not None:
                several = name == "objective" and "," in value
                env_options[name] = value.split(",") if several else value
            if options := _options(texts, flag):
                if isinstance(env_options.get(name), list):
                    raise UsageError(f"{flag} is for one column, and --{name} names several")
                named = {"name": env_options[name]} if name in env_options else {}
                env_options[name] = {**named, **options}
        if self.task is not None:
            task = {"name": self.task, **_options(self.task_options, "--task-options")}
            env_options["task"] = task if self.task_options else self.task
        elif self.task_options:
            raise UsageError("--task-options needs a --task")
        if recipe:
            env_options["recipe"] = recipe
        if self.device != "cpu":
            env_options["device"] = self.device
        own = _options(self.env_options, "--env-options")
        for name in own.keys() & {"store", "run", "data_dir"}:
            raise UsageError(f"--env-options cannot set {name}: it has a flag, or is the run's own")
        env_options |= own
        workers = _workers_of(self.workers, self.device)
        if self.budget < 1:
            raise UsageError(f"--budget must be at least 1, got {self.budget}")
        config = SearchConfig(
            env=self.env or (nas_gym.CUSTOM if self.task else "nas_gym/Digits-v0"),
            agent=self.agent,
            budget=self.budget,
            seed=self.seed,
            out=user_path(self.out),
            env_options=env_options,
            agent_options=_options(self.agent_options, "--agent-options"),
            workers=workers,
            data_dir=self.data_dir,
            store=None if self.store is None else str(user_path(self.store).absolute()),
        )
        console = make_console()
        summarise(config, search(config, console), console)


@dataclass(frozen=True)
class Retrain:
    """Train the best of a run from scratch and open the test set, once."""

    run_dir: Annotated[Positional[Path], arg(metavar="RUN", help="The run directory.")]
    top: Annotated[int, arg(help="Architectures to retrain, best validation first.")] = 1
    seeds: Annotated[int, arg(help="Trainings of each.")] = 3
    epochs: Annotated[
        int | None, arg(metavar="N", help="Epochs; else four times the search's.")
    ] = None
    workers: Annotated[
        int | None, arg(metavar="N", help="Trainings side by side; else one per core.")
    ] = None
    data_dir: Annotated[
        str | None, arg(metavar="FOLDER", help="Data root; else that of the search.")
    ] = None
    task: Annotated[
        str | None,
        arg(metavar="TASK", help="The search's data where it is now: folder:PATH."),
    ] = None
    trust: Trust = ()

    def run(self) -> None:
        """Retrain and print the test results."""
        from agents.retrain import RetrainConfig, retrain, summarise

        console = make_console()
        for name in ("top", "seeds", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be at least 1, got {value}")
        config = RetrainConfig(
            user_path(self.run_dir),
            self.top,
            self.seeds,
            self.epochs,
            _workers(self.workers, "cpu"),
            self.data_dir,
            self.task,
            self.trust,
        )
        summarise(retrain(config, console), console)


@dataclass(frozen=True)
class Compare:
    """Compare agents under equal budgets; the same command again resumes, more goes on."""

    out: Annotated[Path, arg(help="Directory of the comparison; it is made.")]
    env: Annotated[
        Options,
        arg(metavar="ID ...", help="Environments, e.g. nas_gym/NASBench201-v0:dataset=cifar100."),
    ] = ()
    agents: Annotated[
        Options,
        arg(metavar="AGENT ...", help="Agents, e.g. random,reinforce,reinforce:recipe=zoph2016."),
    ] = ()
    budget: Annotated[
        int | None, arg(metavar="N", help="Distinct children of a run; else 100.")
    ] = None
    seeds: Annotated[
        int | None, arg(metavar="N", help="Runs of every agent in every environment; else 20.")
    ] = None
    first_seed: Annotated[int, arg(help="The lowest seed.")] = 0
    workers: Annotated[
        int | None, arg(metavar="N", help="Runs side by side; else one per core.")
    ] = None
    data_dir: DataDir = None
    epochs: Epochs = None
    train_images: TrainImages = None
    recipe: RecipeFields = ()
    noise: Annotated[
        int | None,
        arg(metavar="K", help="Train each agent's best child K times again: the noise floor."),
    ] = None
    trust: Trust = ()

    def run(self) -> None:
        """Do the runs, print the result and where the report is."""
        from agents.compare.command import CompareConfig, compare, show
        from agents.compare.runs import describe_failures

        for name in ("budget", "seeds", "epochs", "train_images", "noise"):
            value, low = getattr(self, name), 2 if name == "noise" else 1
            if value is not None and value < low:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be at least {low}, got {value}")
        if self.first_seed < 0:
            raise UsageError(f"--first-seed must be at least 0, got {self.first_seed}")
        console = make_console()
        config = CompareConfig(
            out=user_path(self.out),
            environments=self.env,
            agents=self.agents,
            budget=self.budget,
            seeds=self.seeds,
            first_seed=self.first_seed,
            workers=_workers(self.workers, "cpu"),
            data_dir=self.data_dir,
            recipe=_recipe(self.recipe, self.epochs, self.train_images),
            noise=self.noise,
            trust=self.trust,
        )
        results, failed = compare(config, console)
        show(results, config.out, console)
        if failed:
            raise UsageError(describe_failures(failed))


@dataclass(frozen=True)
class Report:
    """Write the report and the tables of a run or a comparison again."""

    run_dir: Annotated[
        Positional[Path], arg(metavar="RUN", help="Directory of the run or the comparison.")
    ]
    trust: Trust = ()

    def run(self) -> None:
        """Write report.html and the tables beside it from what is on record."""
        from agents.compare.directory import Comparison, require_trust
        from agents.identity import GOALS
        from agents.results import write_results
        from agents.run_directory import CONFIG, RunDirectory
        from agents.trust import require

        folder = user_path(self.run_dir)
        if Comparison.is_one(folder):
            from agents.compare.summary import summarise

            require_trust(folder, self.trust)
            summarise(folder)
            print(folder / "report.html")
            return
        run = RunDirectory.existing(folder)
        goals = {name: spec for name, spec in run.config["goals"].items() if name in GOALS}
        require(run.path / CONFIG, "", goals, trust=self.trust)
        write_results(run, run.evaluations())
        print(run.path / "report.html")


@dataclass(frozen=True)
class Envs:
    """List the environments."""

    def run(self) -> None:
        """Print a line per environment of nas_gym."""
        import gymnasium as gym

        import nas_gym

        for env_id in nas_gym.ENVIRONMENTS:
            print(f"{env_id:28} task {gym.spec(env_id).kwargs['task']}, reward by real training")
        print(f"{nas_gym.CUSTOM:28} your own: --task folder:PATH or --task module:function")
        for env_id, table in nas_gym.BENCHMARKS.items():
            print(f"{env_id:28} table {table}; with --task its networks are really trained")


@dataclass(frozen=True)
class Agents:
    """List the agents."""

    def run(self) -> None:
        """Print a line per agent."""
        from agents import AGENTS

        for name, (_, summary) in AGENTS.items():
            print(f"{name:22} {summary}")


class UsageError(Exception):
    """Options that make no sense. The message is one sentence."""


COMMANDS = (
    Annotated[Search, subcommand("search")]
    | Annotated[Compare, subcommand("compare")]
    | Annotated[Retrain, subcommand("retrain")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Envs, subcommand("envs")]
    | Annotated[Agents, subcommand("agents")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (bad input), 2 (bad usage), 130 or 143."""
    here = os.getcwd()
    # For module:name; at the end, so that no file there is taken for a library.
    sys.path[:] = [place for place in sys.path if place not in ("", here)] + [here]
    take_any_character()
    try:
        command: Any = tyro.cli(
            COMMANDS,
            prog="nas-gym",
            args=arguments,
            description="Neural architecture search as a Gymnasium environment.",
            config=(tyro.conf.ConsolidateSubcommandArgs,),
        )
        _run(command)
        return
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        if type(error).__name__ == "Terminated":
            code = 143
        elif _is_user_error(error):
            sys.exit(f"error: {error}")
        else:
            raise
    _stopped(arguments, code)  # out here the exception holds nothing that is half started


def _run(command: Any) -> None:
    try:
        command.run()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # who reads has gone: nothing to say
            raise
        raise RuntimeError(
            f"code of an agent, a task or an environment called sys.exit({error.code!r}): it must "
            "raise an Exception"
        ) from error


def _is_user_error(error: BaseException) -> bool:
    """Whether the message alone says what is wrong; anything else keeps its traceback."""
    from agents.run_directory import RunError
    from agents.search import SetupError
    from nas_gym.store import ReplayError, StoreError
    from nas_gym.tasks import DataError

    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
    return isinstance(
        error, UsageError | SetupError | RunError | StoreError | ReplayError | DataError
    )


def _stopped(arguments: Sequence[str] | None, code: int) -> None:
    if arguments is None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # who presses twice wants the command too
    words = sys.argv[1:] if arguments is None else arguments
    print(
        f"\nstopped; every finished child is on record. Go on with:\n"
        f"{program()} {shlex.join(words)}",
        file=sys.stderr,
        flush=True,
    )
    if arguments is None:
        gc.collect()  # what belongs to the system is given back
        os._exit(code)  # all is closed; taking torch down in good order can take seconds
    sys.exit(code)


def _options(texts: Options, flag: str) -> dict[str, Any]:
    """``NAME=VALUE`` texts as a dict; a value that is JSON is read as JSON."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{flag} takes NAME=VALUE, got {text!r}")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = {"None": None, "True": True, "False": False}.get(value, value)
    return options


def _recipe(texts: Options, epochs: int | None, train_images: int | None) -> dict[str, Any]:
    named = {"epochs": epochs, "train_images": train_images}
    given = {name: value for name, value in named.items() if value is not None}
    return _options(texts, "--recipe") | given


def _workers_of(text: str | None, device: str) -> dict[str, Any]:
    """The evaluator that ``--workers`` names."""
    from nas_gym.evaluators import workers_spec

    if text is None:
        return {"name": "pool", "workers": _workers(None, device)}
    try:
        return workers_spec(text)
    except ValueError as error:
        raise UsageError(f"--workers {error}") from error


def _workers(asked: int | None, device: str) -> int:
    if asked is not None and asked < 1:
        raise UsageError(f"--workers must be at least 1, got {asked}")
    return asked or (len(os.sched_getaffinity(0)) if device == "cpu" else 1)
