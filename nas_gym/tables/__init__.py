"""Benchmark tables as environments: the children were trained once, by the tables' authors.

The environments of this room are registered by ``import nas_gym``; the same ids with a ``task``
write the same networks and really train them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym

from nas_gym.env import NASEnv
from nas_gym.tables import nas_bench_201, nas_bench_macro
from nas_gym.tables.base import Scores
from nas_gym.vector_env import NASVectorEnv

__all__ = [
    "Scores",
    "make_nas_bench_201",
    "make_nas_bench_201_vector",
    "make_nas_bench_macro",
    "make_nas_bench_macro_vector",
    "sealed_scores",
]


def make_nas_bench_macro(**options: Any) -> NASEnv:
    """``nas_gym/NASBenchMacro-v0``: eight decisions, three choices each.

    Args:
        **options: ``training`` (``"drawn"`` or ``"mean"``) and ``path``, see
            `nas_gym.tables.nas_bench_macro.evaluator`, and those of `NASEnv`. With a ``task``
            (``task="cifar10"``) children are really trained and the table is not read.

    Raises:
        ValueError: Options of the table with a task, or of training without one.
        DataError: The table is missing or damaged.
    """
    return NASEnv(**_macro_arguments(options))


def make_nas_bench_macro_vector(num_envs: int = 1, **options: Any) -> NASVectorEnv:
    """The same for ``gym.make_vec``."""
    return NASVectorEnv(num_envs, **_macro_arguments(options))


def make_nas_bench_201(**options: Any) -> NASEnv:
    """``nas_gym/NASBench201-v0``: six decisions, five choices each.

    Args:
        **options: ``dataset`` (``"cifar10"``, ``"cifar100"`` or ``"imagenet16"``) and ``path``,
            see `nas_gym.tables.nas_bench_201.evaluator`, and those of `NASEnv`. With a ``task``
            (``task="cifar10"``) children are really trained and the table is not read.

    Raises:
        ValueError: Options of the table with a task, or of training without one.
        DataError: The table is missing or damaged.
    """
    return NASEnv(**_201_arguments(options))


def make_nas_bench_201_vector(num_envs: int = 1, **options: Any) -> NASVectorEnv:
    """The same for ``gym.make_vec``."""
    return NASVectorEnv(num_envs, **_201_arguments(options))


def sealed_scores(env_id: str, **options: Any) -> Scores | None:
    """What the table behind an environment knows and its agents never see.

    Args:
        env_id: The environment's id.
        **options: The arguments it is made with.

    Returns:
        The scores; None where children are trained and no optimum is known.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gym.spec(name)
    known = _SCORES.get(str(spec.entry_point))
    options = {**spec.kwargs, **options}
    if known is None or options.get("task") is not None:
        return None
    make, names = known
    return make(**{name: options[name] for name in names if name in options})


_SCORES: dict[str, tuple[Callable[..., Scores], tuple[str, ...]]] = {
    "nas_gym.tables:make_nas_bench_macro": (nas_bench_macro.scores, ("path", "data_dir")),
    "nas_gym.tables:make_nas_bench_201": (
        nas_bench_201.scores,
        ("dataset", "path", "data_dir"),
    ),
}

_TRAINING = ("search_space", "recipe", "evaluator", "device")


def _macro_arguments(options: dict[str, Any]) -> dict[str, Any]:
    own = _split("nas_bench_macro", options, ("training", "path"))
    if own is None:
        return {**options, "search_space": _own_space(options, "nas_bench_macro")}
    data_dir = options.pop("data_dir", None)
    table = nas_bench_macro.evaluator(data_dir=data_dir, **own)
    return {**options, "search_space": nas_bench_macro.SPACE, "evaluator": table}


def _201_arguments(options: dict[str, Any]) -> dict[str, Any]:
    own = _split("nas_bench_201", options, ("dataset", "path"))
    if own is None:
        return {**options, "search_space": _own_space(options, "nas_bench_201")}
    data_dir = options.pop("data_dir", None)
    table = nas_bench_201.evaluator(data_dir=data_dir, **own)
    space = nas_bench_201.space(own.get("dataset", "cifar10"))
    return {**options, "search_space": space, "evaluator": table}


def _own_space(options: Mapping[str, Any], name: str) -> Any:
    """The search space asked for; the table's own where only its options are given."""
    space = options.get("search_space", name)
    return {"name": name, **space} if isinstance(space, Mapping) else space


def _split(table: str, options: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    """Take the table's own options out; None where a task asks for training."""
    own = {name: options.pop(name) for name in names if name in options}
    if options.get("task") is not None:
        if own:
            raise ValueError(
                f"{', '.join(own)}: options of the table {table}, which is not read when "
                "children are trained on a task"
            )
        return None
    wrong = [name for name in _TRAINING if name in options]
    if wrong:
        raise ValueError(
            f"{', '.join(wrong)}: options of training, but {table} is a table; name a task to "
            "train its networks, e.g. task='cifar10'"
        )
    options.pop("task", None)
    return own
