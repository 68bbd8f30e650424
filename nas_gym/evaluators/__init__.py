"""Evaluators: architectures in, evaluations out, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nas_gym._resolve import resolve
from nas_gym.evaluation import rank
from nas_gym.evaluators.base import Evaluator, OnResult
from nas_gym.evaluators.inline import InlineEvaluator
from nas_gym.evaluators.ledger import BudgetExhausted, Ledger
from nas_gym.evaluators.pool import PoolEvaluator
from nas_gym.evaluators.table import TableEvaluator
from nas_gym.training import Trainer

EVALUATORS: dict[str, Callable[..., Evaluator]] = {
    "inline": InlineEvaluator,
    "pool": PoolEvaluator,
}

__all__ = [
    "EVALUATORS",
    "BudgetExhausted",
    "Evaluator",
    "InlineEvaluator",
    "Ledger",
    "OnResult",
    "PoolEvaluator",
    "TableEvaluator",
    "make_evaluator",
    "rank",
]


def make_evaluator(spec: str | Mapping[str, Any], trainer: Trainer) -> Evaluator:
    """An evaluator of a trainer's children.

    Args:
        spec: A name in `EVALUATORS`, ``"package.module:callable"`` (called with the trainer), or
            a mapping with a ``"name"`` and options, e.g. ``{"name": "pool", "workers": 2}``.
        trainer: How children are trained.

    Raises:
        ValueError: An unknown name, or options that it does not have.
    """
    options = dict(spec) if isinstance(spec, Mapping) else {"name": spec}
    name = options.pop("name", "inline")
    make = resolve(name, EVALUATORS, "evaluator")
    try:
        evaluator = make(trainer, **options)
    except TypeError as error:
        raise ValueError(f"evaluator {name!r}: {error}") from error
    if not isinstance(evaluator, Evaluator):
        raise ValueError(f"evaluator {name!r} lacks context, evaluate or close")
    return evaluator
