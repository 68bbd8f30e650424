"""Code of the user's own that a file names: run only where the user names it too."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.program import program
from agents.run_directory import RunDirectory, RunError
from nas_gym._resolve import named_module, require_trust

KINDS = (
    "task",
    "search_space",
    "source",
    "evaluator",
    "reward",
    "objective",
)  # options of an environment that name code


def own_modules(env: str, options: Mapping[str, Any], agents: Collection[str] = ()) -> list[str]:
    """Modules that an environment and agents name."""
    found = (named_module(kind, spec) for kind, spec in _specs(env, options, agents))
    return list(dict.fromkeys(module for module in found if module is not None))


def require(
    file: Path,
    env: str,
    options: Mapping[str, Any],
    agents: Collection[str] = (),
    trust: Collection[str] = (),
) -> None:
    """Refuse what a file names, unless the user trusts its module.

    Args:
        file: Where it stands, for the error message.
        env: Id of an environment.
        options: Its options.
        agents: Names of agents, without options.
        trust: Modules that may be imported.

    Raises:
        RunError: A module is not trusted.
    """
    try:
        for kind, spec in _specs(env, options, agents):
            require_trust(file, {kind: spec}, trust)
    except ValueError as error:
        raise RunError(str(error)) from error


def retrain_command(run: RunDirectory) -> str:
    """What retrains the best of a run, with the modules that it names."""
    modules = own_modules(run.config["env"], run.config["env_options"])
    words = [program(), "retrain", shlex.quote(str(run.path))]
    return " ".join([*words, *(["--trust", *modules] if modules else [])])


def _specs(
    env: str, options: Mapping[str, Any], agents: Collection[str]
) -> Iterator[tuple[str, Any]]:
    yield "environment", env
    for kind in KINDS:
        spec = options.get(kind)
        for one in spec if isinstance(spec, list) else [spec]:
            yield kind, one
    for agent in agents:
        yield "agent", agent
