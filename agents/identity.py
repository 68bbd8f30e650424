"""What a run's results depend on, the user's own code included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agents.episodes import Environment, ledger, search_space
from nas_gym.own_code import own_code


def identity(env: Environment, agent_class: Any = None) -> dict[str, Any]:
    """The context of an environment's results, with the code of its reward, task and agent.

    Args:
        env: A single or vector environment of nas_gym, wrapped or not.
        agent_class: What plays it; None where that is no part of it.
    """
    # an evaluator of the user's own need not say what it evaluates
    context = {"search_space": search_space(env).describe(), **ledger(env).context}
    single = getattr(env.unwrapped, "env", env.unwrapped)
    agent = own_code(agent=agent_class).get("code", {})
    code = {**context.get("code", {}), **getattr(single, "code", {}), **agent}
    return {**context, **({"code": code} if code else {})}


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
