"""Agents that play the environments of nas_gym.

Every agent is made as ``Agent(env, seed=0, **options)`` and has ``learn(budget)``, ``save(path)``
and ``load(path)``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.random_search import RandomSearch as RandomSearch
    from agents.reinforce import REINFORCE as REINFORCE

# Name on the command line: where it lives, and what it is in a line.
AGENTS: dict[str, tuple[str, str]] = {
    "reinforce": (
        "agents.reinforce:REINFORCE",
        "LSTM controller and policy gradient (Zoph & Le 2016); recipes default, zoph2016",
    ),
    "random": (
        "agents.random_search:RandomSearch",
        "uniform random search without repeats (Li & Talwalkar 2019)",
    ),
}

_HOMES = {"REINFORCE": "reinforce", "RandomSearch": "random_search"}

__all__ = ["AGENTS", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"agents.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'agents' has no attribute {name!r}")
