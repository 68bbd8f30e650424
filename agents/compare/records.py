"""The recorder of a run: for ``nas-gym compare``, and for a loop of one's own.

A loop of one's own joins a comparison so::

    recorder = Recorder(env, "runs/compare", agent="mine", seed=0, budget=100)
    ...  # play env until its ledger raises BudgetExhausted, or less
    recorder.finish()
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import nas_gym
from agents import AGENTS
from agents.compare.directory import Comparison, Config, Environment
from agents.compare.files import Record, Row, Run, write_record
from agents.compare.specs import Spec
from agents.episodes import Environment as Env
from agents.episodes import how_ended, ledger
from agents.identity import identity, record_goals
from agents.places import absolute
from agents.run_directory import RunError
from nas_gym import BudgetExhausted, Evaluation, Ledger, Problem
from nas_gym._files import user_path
from nas_gym.evaluators import EVALUATORS
from nas_gym.own_code import own_code

# Arguments of an environment that are no part of what is compared.
_ELSEWHERE = frozenset({"data_dir", "train_seed", "store", "run", "render_mode", "recipe"})
_ELSEWHERE |= {"num_envs", "vectorization_mode"}


class Recorder:
    """Takes the record of one run: watches an environment's ledger from now until `finish`.

    Nothing is charged to the agent but its own CPU time, and nothing beyond the budget is
    recorded: a ledger that goes on is stopped by `nas_gym.BudgetExhausted`.

    Args:
        env: A single or vector environment of nas_gym, wrapped or not, that has evaluated
            nothing yet. It was made by `gymnasium.make` or ``make_vec`` with
            ``train_seed=seed``: the runs of one seed share the noise of training.
        out: The comparison's folder; made if it is missing.
        agent: What to call the agent there.
        seed: Of the run.
        budget: Distinct children, as all runs of the comparison have.
        label: The environment's label, where the folder holds it already; None to find it from
            ``env`` and to join the comparison.
        code: Of the agent, where it is the user's own: a sha256.

    Raises:
        RunError: The folder holds something else or a comparison under other conditions, or
            the environment or the agent's name does not fit in. Nothing is written then.
    """

    def __init__(
        self,
        env: Env,
        out: str | Path,
        *,
        agent: str,
        seed: int = 0,
        budget: int = 100,
        label: str | None = None,
        code: str | None = None,
    ) -> None:
        self.ledger: Ledger = ledger(env)
        _check_seed(env, seed)
        if self.ledger.proposals:
            raise RunError("the environment has evaluated children already: make a new one")
        if label is None:
            _check_name(agent)
            label, described = describe(env)
            comparison = Comparison(out)
            if comparison.is_one(out):
                label = comparison.read().label_of(label, described)
            comparison.join(Config(budget, {label: described}))
        self.out = user_path(out)
        self.run = Run(label, agent, seed, budget, versions=versions(), code=code)
        self.rows: list[Row] = []
        self._reward = env.unwrapped.problem.reward  # type: ignore[union-attr]
        self._began = time.process_time() - self.ledger.cpu_seconds
        self.ledger.watchers.append(self._watch)

    def finish(self, error: str = "", detail: str = "") -> Record:
        """Stop watching and write the record; an older one of the same run is replaced.

        Args:
            error: Why the run failed, in one line; empty if it did not.
            detail: More of that, e.g. the traceback.

        Returns:
            What was written.
        """
        seconds = self._seconds()
        self.ledger.watchers.remove(self._watch)
        run = self.run
        record = Record(
            Run(
                **{name: getattr(run, name) for name in ("env", "agent", "seed", "budget")},
                ended=f"failed: {error}" if error else self._ended(),
                distinct=len(self.rows),
                proposals=self.ledger.proposals,
                repeats=self.ledger.repeats,
                failures=sum(not row.evaluation.ok for row in self.rows),
                agent_seconds=seconds,
                versions=run.versions,
                code=run.code,
                detail=detail,
            ),
            tuple(self.rows),
        )
        write_record(self.out, record)
        return record

    def _ended(self) -> str:
        return how_ended(self.ledger, len(self.rows), self.run.budget)

    def _watch(self, account: Ledger, evaluation: Evaluation) -> None:
        if len(self.rows) == self.run.budget:
            raise BudgetExhausted(f"the budget of {self.run.budget} distinct children is spent")
        reward = self._reward(evaluation)
        self.rows.append(Row(evaluation, account.proposals, self._seconds(), reward))

    def _seconds(self) -> float:
        """CPU seconds of this process outside of evaluating, so far."""
        return round(time.process_time() - self.ledger.cpu_seconds - self._began, 6)


def describe(env: Env) -> tuple[str, Environment]:
    """The label of an environment in a comparison, and how to make it again.

    Raises:
        RunError: It was not made by `gymnasium.make`, or with options that are no JSON values.
    """
    if env.spec is None:
        raise RunError(
            "this environment has no id to call it by: make it with gymnasium.make (register_task "
            "gives your own one)"
        )
    single = _single(env)
    code = own_code(environment=type(single)).get("code", {})
    return describe_problem(env.spec.id, env.spec.kwargs, single.problem, code)


def describe_problem(
    env_id: str, arguments: Mapping[str, Any], problem: Problem, env_code: Mapping[str, str]
) -> tuple[str, Environment]:
    """The same for an environment that was not made.

    Args:
        env_id: Its id.
        arguments: All that it would be made with.
        problem: What it would play; see `nas_gym.problem_of`.
        env_code: That of its class, where it is the user's own.

    Raises:
        RunError: Options that are no JSON values.
    """
    defaults = gym.spec(env_id).kwargs
    given = {k: v for k, v in arguments.items() if k not in defaults or defaults[k] != v}
    name = given.get("evaluator")
    if (name.get("name", "inline") if isinstance(name, dict) else name) in (*EVALUATORS, None):
        given.pop("evaluator", None)  # only where children are trained
    options = {k: v for k, v in given.items() if k not in _ELSEWHERE}
    shared = {"recipe": given["recipe"]} if given.get("recipe") else {}
    try:
        plain = json.loads(json.dumps([options, shared, record_goals(problem)]))
    except TypeError as error:
        raise RunError(
            f"options of {env_id} in a comparison must be numbers, texts, lists or dicts: {error}"
        ) from error
    options, shared, goals = plain
    return str(Spec(env_id, options)), Environment(
        env_id,
        absolute(options),
        shared,
        trained=problem.training is not None,
        context=json.loads(json.dumps(identity(problem, env_code))),
        goals=goals,
        sealed=problem.sealed is not None,
    )


def versions() -> dict[str, str]:
    """Versions of what results depend on."""
    return {
        "nas_gym": nas_gym.__version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "gymnasium": gym.__version__,
        "python": platform.python_version(),
    }


def _check_name(agent: str) -> None:
    try:
        name = Spec.parse(agent).name
    except ValueError as error:
        raise RunError(f"the agent's name: {error}") from error
    if name in AGENTS:
        raise RunError(f"{agent!r} is an agent of nas-gym: call yours by another name")


def _single(env: Env) -> Any:
    """The environment itself, or the one inside a vector environment."""
    return getattr(env.unwrapped, "env", env.unwrapped)


def _check_seed(env: Env, seed: int) -> None:
    trained = _single(env).train_seed
    if trained != seed:
        raise RunError(
            f"the environment was made with train_seed={trained} and the run has seed {seed}: "
            "make it with train_seed=seed, so that all agents of a seed meet the same noise"
        )
