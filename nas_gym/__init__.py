"""Neural architecture search as a Gymnasium environment.

``import nas_gym`` registers the environments and is cheap: torch is imported when one is made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from nas_gym.child import load_child as load_child
    from nas_gym.env import NASEnv as NASEnv
    from nas_gym.evaluation import Evaluation as Evaluation
    from nas_gym.evaluation import Metric as Metric
    from nas_gym.evaluation import Request as Request
    from nas_gym.evaluators import Evaluator as Evaluator
    from nas_gym.evaluators import ExecutorEvaluator as ExecutorEvaluator
    from nas_gym.evaluators import InlineEvaluator as InlineEvaluator
    from nas_gym.evaluators import PoolEvaluator as PoolEvaluator
    from nas_gym.ledger import BudgetExhausted as BudgetExhausted
    from nas_gym.ledger import Ledger as Ledger
    from nas_gym.objectives import Objective as Objective
    from nas_gym.problem import Problem as Problem
    from nas_gym.problem import make_problem as make_problem
    from nas_gym.recipe import Recipe as Recipe
    from nas_gym.registry import problem_of as problem_of
    from nas_gym.search_spaces import Architecture as Architecture
    from nas_gym.search_spaces import Decision as Decision
    from nas_gym.search_spaces import SearchSpace as SearchSpace
    from nas_gym.sources import FunctionSource as FunctionSource
    from nas_gym.sources import Source as Source
    from nas_gym.sources import TrainingSource as TrainingSource
    from nas_gym.store import Store as Store
    from nas_gym.tasks import Batch as Batch
    from nas_gym.tasks import Classification as Classification
    from nas_gym.tasks import Data as Data
    from nas_gym.tasks import DataError as DataError
    from nas_gym.tasks import ImageClassification as ImageClassification
    from nas_gym.tasks import Task as Task
    from nas_gym.tasks import Tensors as Tensors
    from nas_gym.tasks import from_folder as from_folder
    from nas_gym.vector_env import NASVectorEnv as NASVectorEnv

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "search_spaces",
    "Batch": "tasks",
    "BudgetExhausted": "ledger",
    "Classification": "tasks",
    "Data": "tasks",
    "DataError": "tasks",
    "Decision": "search_spaces",
    "Evaluation": "evaluation",
    "Evaluator": "evaluators",
    "ExecutorEvaluator": "evaluators",
    "FunctionSource": "sources",
    "ImageClassification": "tasks",
    "InlineEvaluator": "evaluators",
    "Ledger": "ledger",
    "Metric": "evaluation",
    "NASEnv": "env",
    "NASVectorEnv": "vector_env",
    "Objective": "objectives",
    "PoolEvaluator": "evaluators",
    "Problem": "problem",
    "Recipe": "recipe",
    "Request": "evaluation",
    "SearchSpace": "search_spaces",
    "Source": "sources",
    "Store": "store",
    "Task": "tasks",
    "Tensors": "tasks",
    "TrainingSource": "sources",
    "from_folder": "tasks",
    "load_child": "child",
    "make_problem": "problem",
    "problem_of": "registry",
}

ENVIRONMENTS = {
    "nas_gym/Digits-v0": "digits",
    "nas_gym/MNIST-v0": "mnist",
    "nas_gym/FashionMNIST-v0": "fashion_mnist",
    "nas_gym/CIFAR10-v0": "cifar10",
}

# Tables that hold the results of every network of a space; with a task= it is trained instead.
BENCHMARKS = {
    "nas_gym/NASBenchMacro-v0": "nas_bench_macro",
    "nas_gym/NASBench201-v0": "nas_bench_201",
}

CUSTOM = "nas_gym/Custom-v0"  # any task: gym.make(CUSTOM, task="folder:leaves")


def register_task(env_id: str, task: str | None, **kwargs: Any) -> None:
    """Register an environment for a task of one's own.

    Args:
        env_id: The new id, e.g. ``"me/Leaves-v0"``.
        task: ``"package.module:function"`` (it returns a `Task`), or ``"folder:PATH"``; None
            where every `gym.make` names its own.
        **kwargs: Defaults for other arguments of `NASEnv`, and options of the task, of JSON types.
    """
    gymnasium.register(
        env_id,
        entry_point="nas_gym.env:NASEnv",
        vector_entry_point="nas_gym.vector_env:NASVectorEnv",
        nondeterministic=True,  # the terminal info holds seconds
        kwargs={"task": task, **kwargs},
    )


for _id, _task in ENVIRONMENTS.items():
    register_task(_id, _task)
register_task(CUSTOM, None)
for _id, _table in BENCHMARKS.items():
    register_task(_id, None, table=_table)

__all__ = ["BENCHMARKS", "CUSTOM", "ENVIRONMENTS", "__version__", "register_task", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"nas_gym.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'nas_gym' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
