"""What every agent shares: playing finished sequences, and spending a budget exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from nas_gym import Architecture, BudgetExhausted, Ledger, SearchSpace
from nas_gym.ledger import STALL

Environment: TypeAlias = gym.Env[Any, Any] | VectorEnv[Any, Any, Any]


class Agent(Protocol):
    """A controller: it proposes architectures by acting in an environment.

    Constructed as ``Agent(env, seed=0, logger=None, **options)``.
    """

    def learn(self, budget: int) -> None:
        """Search until ``budget`` more distinct children are evaluated."""

    def save(self, path: str) -> None:
        """Write the agent's state."""

    def load(self, path: str) -> None:
        """Read the state of an agent that was made with the same arguments."""


@dataclass(frozen=True)
class Outcome:
    """How one episode ended.

    Attributes:
        actions: The decisions, as action indices.
        reward: What the last step paid.
        architecture: What was written, in canonical form.
        status: As in `nas_gym.Evaluation`.
    """

    actions: tuple[int, ...]
    reward: float
    architecture: Architecture
    status: str


def copies(env: Environment) -> int:
    """How many architectures an environment writes at once."""
    return env.num_envs if isinstance(env, VectorEnv) else 1


def fitted(env: Environment, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options of an agent whose ``batch_size``, unless given, is the copies of its environment."""
    return {**({"batch_size": copies(env)} if copies(env) > 1 else {}), **changes}


def search_space(env: Environment) -> SearchSpace:
    """The search space of an environment of nas_gym, wrapped or not.

    Raises:
        TypeError: The environment is none of nas_gym's.
    """
    space = getattr(env.unwrapped, "search_space", None)
    if not isinstance(space, SearchSpace):
        raise TypeError(f"this agent plays environments of nas_gym, not {env}")
    return space


def ledger(env: Environment) -> Ledger:
    """The account of an environment of nas_gym, wrapped or not."""
    account = env.unwrapped.ledger  # type: ignore[union-attr]
    assert isinstance(account, Ledger)
    return account


class spending:
    """A block that ends, wherever it is, when ``budget`` more distinct children are evaluated.

    Or when nothing is left or found to spend it on; see `nas_gym.Ledger.ended`. It gives the
    environment's account.
    """

    def __init__(self, env: Environment, budget: int) -> None:
        if budget < 1:
            raise ValueError(f"budget must be at least 1, got {budget}")
        self._account = ledger(env)
        self._budget = budget
        self._outer: int | None = None

    def __enter__(self) -> Ledger:
        account = self._account
        self._outer, own = account.budget, account.distinct + self._budget
        account.ended = None
        if self._outer is None:
            account.budget, account.idle = own, 0
        else:
            account.budget = min(self._outer, own)  # nobody lifts an outer budget
        return account

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        self._account.budget = self._outer
        return kind is not None and issubclass(kind, BudgetExhausted)


def how_ended(account: Ledger, distinct: int, budget: int) -> str:
    """Why a search that spent ``distinct`` of its budget is over.

    ``"budget"``, ``"exhausted"`` or ``"stalled"`` as of `nas_gym.Ledger.ended`, or ``"gave up"``.
    """
    if distinct >= budget:
        return "budget"
    if account.ended == "exhausted":
        return "exhausted"
    return "stalled" if account.idle >= STALL else "gave up"


def play(env: Environment, sequences: Sequence[Sequence[int]]) -> list[Outcome]:
    """Play one episode per sequence of actions, as many at a time as the environment can.

    Where a vector environment has more copies than sequences are left, the rest repeat the last
    one, which costs nothing.

    Args:
        env: A single or a vector environment.
        sequences: Whole episodes, ``(batch, steps)``.
    """
    if isinstance(env, VectorEnv):
        outcomes: list[Outcome] = []
        for start in range(0, len(sequences), env.num_envs):
            outcomes += _play_together(env, list(sequences[start : start + env.num_envs]))
        return outcomes
    return [_play_one(env, actions) for actions in sequences]


def _play_one(env: gym.Env[Any, Any], actions: Sequence[int]) -> Outcome:
    env.reset()
    for action in actions:
        _, reward, done, _, info = env.step(action)
    assert done
    return _outcome(actions, float(reward), info)


def _play_together(env: VectorEnv[Any, Any, Any], sequences: list[Sequence[int]]) -> list[Outcome]:
    padding = [sequences[-1]] * (env.num_envs - len(sequences))
    env.reset()
    for actions in np.array([*sequences, *padding]).T:
        _, rewards, done, _, infos = env.step(actions)
    assert done.all()
    final = infos["final_info"]
    return [
        _outcome(
            actions,
            float(rewards[index]),
            {key: final[key][index] for key in ("architecture", "status")},
        )
        for index, actions in enumerate(sequences)
    ]


def _outcome(actions: Sequence[int], reward: float, info: dict[str, Any]) -> Outcome:
    return Outcome(
        tuple(int(action) for action in actions),
        reward,
        Architecture.from_json(info["architecture"]),
        str(info["status"]),
    )
