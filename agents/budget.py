"""A budget around a plain loop: any script that plays a Gymnasium environment, as it is."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from agents.episodes import Environment, how_ended, ledger, search_space, spending
from nas_gym import BudgetExhausted, Evaluation


class _Budget:
    """The block in which an environment evaluates so many distinct children and no more.

    Attributes:
        env: What is played.
    """

    env: Any
    _inside = False
    _ended: str | None = None

    def _limit(
        self, env: Environment, budget: int, record: str | Path | None, agent: str | None, seed: int
    ) -> None:
        search_space(env)  # refuses what is no environment of nas_gym
        if budget < 1:
            raise ValueError(f"budget must be at least 1, got {budget}")
        if record is not None and agent is None:
            raise ValueError("a run on record needs a name: Budgeted(..., agent='mine')")
        self._account = ledger(env)
        self._before = (0, 0)
        self._budget = budget
        self._spending = spending(env, budget)
        self._recorder: Any = None
        if record is not None:
            from agents.compare.records import Recorder

            assert agent is not None
            self._recorder = Recorder(env, record, agent=agent, seed=seed, budget=budget)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_recorder": None}  # a copy is not the run on record

    @property
    def distinct(self) -> int:
        """Distinct children evaluated since the block began."""
        return self._account.distinct - self._before[0]

    @property
    def repeats(self) -> int:
        """Proposals since then that were asked for before."""
        return self._account.repeats - self._before[1]

    @property
    def ended(self) -> str | None:
        """Why the block is over; None inside of it.

        ``"budget"`` (spent), ``"exhausted"`` (every network of the space is evaluated),
        ``"stalled"`` (the last 1,000 proposals were known) or ``"gave up"`` (left before).
        """
        return self._ended

    @property
    def best(self) -> Evaluation | None:
        """The environment's child with the highest validation accuracy; None if there is none."""
        return self._account.best

    def close(self, **kwargs: Any) -> None:
        """Close the environment; inside of the block it stays open until that ends.

        A library that closes an environment before it makes it anew would begin a new account.
        """
        if not self._inside:
            self.env.close(**kwargs)

    def __enter__(self) -> Self:
        self._inside = True
        self._ended = None
        self._before = self._account.distinct, self._account.repeats
        self._spending.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        spent = _spent(error)
        self._inside = False
        self._ended = how_ended(self._account, self.distinct, self._budget)
        self._spending.__exit__(None, None, None)
        try:
            if self._recorder is not None and (error is None or spent):
                self._recorder.finish()
            elif self._recorder is not None and isinstance(error, Exception | SystemExit):
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._recorder.finish(reason, "".join(traceback.format_exception(error)))
        finally:
            self.close()
        return spent


def _spent(error: BaseException | None) -> bool:
    """Whether an exception is the budget's, or a library's own that it led to."""
    while error is not None and not isinstance(error, BudgetExhausted):
        error = error.__cause__
    return error is not None


class BudgetedEnv(_Budget, gym.Wrapper[Any, Any, Any, Any]):
    """`Budgeted` of a single environment."""

    def __init__(self, env: gym.Env[Any, Any], *limits: Any) -> None:
        gym.Wrapper.__init__(self, env)
        self._limit(env, *limits)


class BudgetedVectorEnv(_Budget, VectorWrapper):  # not generic in Gymnasium 1.2
    """`Budgeted` of a vector environment."""

    def __init__(self, env: VectorEnv[Any, Any, Any], *limits: Any) -> None:
        VectorWrapper.__init__(self, env)
        self._limit(env, *limits)


@overload
def Budgeted(
    env: VectorEnv[Any, Any, Any],
    budget: int,
    *,
    record: str | Path | None = ...,
    agent: str | None = ...,
    seed: int = ...,
) -> BudgetedVectorEnv: ...


@overload
def Budgeted(
    env: gym.Env[Any, Any],
    budget: int,
    *,
    record: str | Path | None = ...,
    agent: str | None = ...,
    seed: int = ...,
) -> BudgetedEnv: ...


def Budgeted(
    env: Environment,
    budget: int,
    *,
    record: str | Path | None = None,
    agent: str | None = None,
    seed: int = 0,
) -> BudgetedEnv | BudgetedVectorEnv:
    """An environment whose ``with`` block ends when its budget is spent, wherever it is.

    For a loop that knows nothing of budgets::

        with Budgeted(gym.make("nas_gym/Digits-v0"), budget=100) as env:
            while True:
                ...  # reset, step, learn
        print(env.distinct, env.repeats, env.best)

    The block ends at exactly ``budget`` distinct children; before that when every network of the
    space is evaluated, or after 1,000 proposals in a row that were all known: ``env.ended`` says
    which. The environment is closed then, as by any ``with env``.

    Args:
        env: A single or vector environment of nas_gym, wrapped or not.
        budget: Distinct children.
        record: A comparison's folder, as of ``nas-gym compare``, that the run enters under the
            name ``agent``. It asks for an environment that was made with ``train_seed=seed``.
        agent: What to call the loop on record.
        seed: Of the run on record.

    Returns:
        The environment, wrapped; with ``distinct``, ``repeats``, ``best`` and ``ended``, also
        afterwards.

    Raises:
        TypeError: The environment is none of nas_gym's.
        ValueError: The budget is below 1, or a run on record has no name.
        RunError: The run does not fit into the comparison; see `agents.compare.records.Recorder`.
    """
    wrap = BudgetedVectorEnv if isinstance(env, VectorEnv) else BudgetedEnv
    return wrap(env, budget, record, agent, seed)  # type: ignore[arg-type]
