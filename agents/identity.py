"""What a run's results depend on, the user's own code included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas_gym import Metric, Objective, Problem
from nas_gym.own_code import own_code
from nas_gym.problem import goals
from nas_gym.rewards import Reward

GOALS = ("reward", "objective", "failure_reward")


def identity(
    problem: Problem, env_code: Mapping[str, str], agent_class: Any = None
) -> dict[str, Any]:
    """The context of a problem's results, with the code of its environment and agent.

    Args:
        problem: What is solved.
        env_code: That of the environment's class, where it is the user's own.
        agent_class: What plays it; None where that is no part of it.
    """
    context = problem.context
    agent = own_code(agent=agent_class).get("code", {})
    code = {**context.get("code", {}), **env_code, **agent}
    return {**context, **({"code": code} if code else {})}


def record_goals(problem: Problem) -> dict[str, Any]:
    """What best means and what is paid, as JSON, for `read_goals`."""
    metrics = [asdict(metric) for metric in problem.source.metrics]
    named = {name: problem.spec.get(name) for name in GOALS}
    return {"metrics": metrics, **{name: v for name, v in named.items() if v is not None}}


def read_goals(record: Mapping[str, Any]) -> tuple[Objective, Reward]:
    """Objective and reward of what `record_goals` gave.

    Own functions among them are imported: ask for the user's trust before.
    """
    return goals(read_metrics(record), **{name: record[name] for name in GOALS if name in record})


def read_metrics(record: Mapping[str, Any]) -> list[Metric]:
    """The source's metrics of what `record_goals` gave, the headline first."""
    return [Metric(**metric) for metric in record["metrics"]]


def changed_code(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The parts of two contexts whose code differs, in words."""
    codes = before.get("code", {}), now.get("code", {})
    parts = sorted(codes[0].keys() | codes[1].keys())
    return [
        f"the code of its {part.replace('_', ' ')} has changed"
        for part in parts
        if codes[0].get(part) != codes[1].get(part)
    ]


def without_code(context: Mapping[str, Any]) -> dict[str, Any]:
    """A context without what `changed_code` compares."""
    return {name: value for name, value in context.items() if name != "code"}
