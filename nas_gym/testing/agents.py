"""What every agent must do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import Any

import numpy as np
import torch

from nas_gym.env import NASEnv
from nas_gym.evaluation import ACCURACY
from nas_gym.ledger import BudgetExhausted
from nas_gym.search_spaces import Architecture, NASBenchMacro
from nas_gym.sources import FunctionSource
from nas_gym.vector_env import NASVectorEnv


def check_agent(
    agent: Callable[..., Any], options: Mapping[str, Any] | None = None, budget: int = 30
) -> None:
    """Whether an agent spends a budget exactly, by its seed alone, and learns without a bug.

    One that proposes nothing new in 1,000 proposals is stopped, and passes.

    Args:
        agent: Called with an environment, ``seed`` and options; has ``learn(budget)``. With a
            static ``num_envs(**options)`` it plays a vector environment.
        options: Its options.
        budget: Distinct children.

    Raises:
        AssertionError: Something is not as it must be.
    """
    options = dict(options or {})
    first, again, other = (_played(agent, options, budget, seed) for seed in (0, 0, 1))
    for found in (first, other):
        assert 0 < len(found) <= budget, f"it evaluated {len(found)} distinct children of {budget}"
    assert first == again, "two searches of one seed differ: draw from generators of the seed"
    assert first != other, "the seed has no part in it"


def _played(
    agent: Callable[..., Any], options: Mapping[str, Any], budget: int, seed: int
) -> list[Architecture]:
    """What an agent evaluates, in order."""
    space = NASBenchMacro((3, 8, 8), 10)
    source = FunctionSource(_made_up, "made up", space, (ACCURACY,))
    env: Any
    if hasattr(agent, "num_envs"):
        copies = agent.num_envs(**options)
        env = NASVectorEnv(copies, search_space=space, source=source)
    else:
        env = NASEnv(search_space=space, source=source)
    found: list[Architecture] = []
    env.ledger.watchers.append(lambda _, evaluation: found.append(evaluation.architecture))
    env.ledger.budget = budget
    with closing(env):
        for draw in (np.random.seed, torch.manual_seed):
            draw(seed)
        with suppress(BudgetExhausted):
            agent(env, seed=seed, **options).learn(budget)
    if env.unwrapped.ledger.ended is None:
        assert len(found) == budget, f"it gave up after {len(found)} distinct children of {budget}"
    return found


def _made_up(architecture: Architecture, seed: int) -> float:
    """Better for every larger block; the same everywhere."""
    del seed
    return sum(_WORTH[str(layer[0])] for layer in architecture.layers) / 16


_WORTH = {"identity": 0, "mb3_k3": 1, "mb6_k5": 2}
