"""What every source, evaluator and reward must be."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nas_gym.evaluation import ACCURACY, Evaluation, Metric, Request
from nas_gym.evaluators import Evaluator, parcels
from nas_gym.objectives import Spec
from nas_gym.rewards import make_reward
from nas_gym.search_spaces import NASBenchMacro, SearchSpace
from nas_gym.sources import Source, checked, ship


def check_source(source: Source, space: SearchSpace, samples: int = 5, seed: int = 0) -> None:
    """Context, answers and travels of a source.

    Args:
        source: What answers.
        space: A space whose networks it knows.
        samples: Architectures that it is asked for.
        seed: Of the draws.

    Raises:
        AssertionError: Something is not as it must be.
    """
    assert isinstance(source, Source), f"{type(source).__name__} lacks context, metrics or __call__"
    context = dict(source.context)
    assert json.loads(json.dumps(context, allow_nan=False)) == context, "the context is no JSON"
    assert source.metrics, "a source needs a metric"
    assert all(isinstance(metric, Metric) for metric in source.metrics)
    random = np.random.default_rng(seed)
    sequences = random.integers(space.num_actions, size=(samples, len(space.decisions)))
    requests = [Request(space.decode(actions), seed=3) for actions in sequences]
    with tempfile.TemporaryDirectory() as folder:
        parcel = parcels.pack((ship(source, Path(folder)), ()))
        travelled = parcels.open_result(parcels.answer(parcel))
        for request in requests:
            here, there = (_asked(one, request) for one in (source, travelled))
            assert here == there, f"{request.architecture} has two answers: {here} and {there}"
            if here.ok:
                missing = [one.name for one in source.metrics if one.name not in here.scores]
                assert not missing, f"it does not give {', '.join(missing)}"
    assert dict(source.context) == context, "the context has changed"


def _asked(source: Source, request: Request) -> Evaluation:
    return replace(checked(source(request), request, source), seconds=0.0)


def check_evaluator(evaluator: Evaluator, requests: Sequence[Request]) -> None:
    """Answers, failures and the end of an evaluator; it is closed afterwards.

    Args:
        evaluator: With a source whose answers do not depend on where they are given.
        requests: Children to ask for; some may fail.

    Raises:
        AssertionError: Something is not as it must be.
    """
    name = type(evaluator).__name__
    assert isinstance(evaluator, Evaluator), f"{name} lacks source, slots, submit or close"
    assert evaluator.slots >= 1
    expected = [_asked(evaluator.source, request) for request in requests]
    for _ in range(2):  # the second time after it was closed
        futures = [evaluator.submit(request) for request in requests]
        found = [replace(future.result(), seconds=0.0) for future in futures]
        assert found == expected, f"{name} answers otherwise than its source"
        evaluator.close()
        evaluator.close()


def check_reward(reward: Spec, metrics: Sequence[Metric] = (ACCURACY,)) -> None:
    """Whether a reward, or an objective, is a pure function that gives finite numbers.

    Args:
        reward: As `gymnasium.make` takes it.
        metrics: Those of the children that it will be asked about.

    Raises:
        AssertionError: Something is not as it must be.
    """
    pays = make_reward(reward, metrics)
    space = NASBenchMacro((3, 8, 8), 10)
    for value in (0.0, 0.25, 1.0):
        for count in (1, 10**6, 10**10):
            child = Evaluation(
                Request(space.decode([1] * 8)),
                "ok",
                {metric.name: value for metric in metrics},
                {"params": count, "macs": 10 * count},
                seconds=1.0,
            )
            paid = pays(child)
            assert pays(child) == paid, f"it pays {paid} and {pays(child)} for one child"
    failed = Evaluation(Request(space.decode([0] * 8)), "diverged", detail="nan")
    assert np.isfinite(pays(failed))
