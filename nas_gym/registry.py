"""From the arguments of an environment to what it plays, and where that runs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import gymnasium as gym

from nas_gym.evaluators import Evaluator, make_evaluator
from nas_gym.own_code import own_code
from nas_gym.problem import Problem, make_problem

ENTRY_POINT = "nas_gym.env:NASEnv"

# Arguments of an environment that are no part of its problem.
_AROUND = ("evaluator", "store", "run", "seed_policy", "train_seed", "render_mode", "num_envs")


def problem_of(env_id: str, **options: Any) -> tuple[Problem, dict[str, str]]:
    """The problem that an environment plays, without the environment.

    Args:
        env_id: Its id, as for `gymnasium.make`.
        options: The arguments it would be made with.

    Returns:
        The problem, and the sha256 of the environment's class where that is the user's own.

    Raises:
        ValueError: Options that do not fit.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gym.spec(name)
    if spec.entry_point != ENTRY_POINT:  # it may know what nobody else does
        env: Any = gym.make(env_id, **options)
        env.close()
        return env.unwrapped.problem, own_code(environment=type(env.unwrapped)).get("code", {})
    known = {**spec.kwargs, **options}
    described = {key: value for key, value in known.items() if key not in _AROUND}
    ready = described.pop("problem", None)
    problem, evaluator = parts_of(ready, known.get("evaluator", "inline"), described)
    if not isinstance(known.get("evaluator"), Evaluator):
        evaluator.close()
    return problem, {}


def make_single(env_id: str, problem: Problem, options: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """A single environment that plays a problem which is there already.

    Args:
        env_id: Its id, as for `gymnasium.make`.
        problem: What `problem_of` gave for it.
        options: The arguments it would be made with.
    """
    if gym.spec(env_id.rpartition(":")[2]).entry_point != ENTRY_POINT:
        return gym.make(env_id, **options)
    around = {name: value for name, value in options.items() if name in _AROUND}
    return gym.make(env_id, problem=problem, **around)


def parts_of(
    problem: Problem | None, evaluator: Any, described: Mapping[str, Any]
) -> tuple[Problem, Evaluator]:
    """What is solved, and where; a ready evaluator has a source of its own."""
    ready = not isinstance(evaluator, str | Mapping | Executor)
    if problem is None:
        if ready and described.get("source") is None and isinstance(evaluator, Evaluator):
            described = {**described, "source": evaluator.source}
        problem = make_problem(**described)
    found = make_evaluator(evaluator, problem.source)
    if found.source is not problem.source:
        problem = replace(problem, source=found.source)
    return problem, found
