"""The checks for parts of one's own: the package's parts pass, and each kind of fault is told."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import helpers
import pytest
import torch
from torch import nn

from agents import AGENTS
from agents.search import make_agent_class
from nas_gym import (
    Architecture,
    Batch,
    Decision,
    Evaluation,
    InlineEvaluator,
    PoolEvaluator,
    Recipe,
    Request,
    SearchSpace,
    Tensors,
    TrainingSource,
)
from nas_gym.evaluation import ACCURACY
from nas_gym.search_spaces import SEARCH_SPACES, LayerCNN
from nas_gym.sources import FunctionSource
from nas_gym.tables import nas_bench_macro
from nas_gym.tasks import load_task
from nas_gym.testing import (
    check_agent,
    check_evaluator,
    check_reward,
    check_search_space,
    check_source,
    check_task,
)

DIGITS = load_task("digits")
SMALL = LayerCNN((1, 8, 8), 10, depth=2)
COUNTER = itertools.count()
QUICK = ("random", "evolution", "local_search", "reinforce", "surrogate")


@pytest.mark.parametrize("name", SEARCH_SPACES)
def test_spaces_of_the_package_pass(name: str) -> None:
    check_search_space(SEARCH_SPACES[name]((3, 16, 16), 10), samples=4)


def test_a_task_a_source_and_evaluators_of_the_package_pass() -> None:
    check_task(DIGITS)
    source = TrainingSource(DIGITS, SMALL, Recipe(epochs=1, train_images=100))
    check_source(source, SMALL, samples=2)
    requests = [Request(SMALL.decode([i] * 8), seed=i) for i in range(2)]
    check_evaluator(InlineEvaluator(source), requests)
    check_evaluator(PoolEvaluator(source, 2), requests)


def test_a_table_passes(macro_dir: Path) -> None:
    table = nas_bench_macro.table(data_dir=str(macro_dir))
    check_source(table.source, table.space)


@pytest.mark.parametrize("reward", ["accuracy", "params", {"name": "mnasnet_hard", "target": 9}])
def test_rewards_of_the_package_pass(reward: Any) -> None:
    check_reward(reward)


@pytest.mark.parametrize("name", QUICK)
def test_agents_of_the_package_pass(name: str) -> None:
    assert name in AGENTS
    check_agent(make_agent_class(name), budget=12)


# ---------------------------------------------------------------- faults


@dataclass(frozen=True)
class Layers(SearchSpace):
    """A space that is right."""

    name: ClassVar[str] = "layers"
    decisions: ClassVar[Any] = (Decision("a", (1, 2), "w"), Decision("b", (1, 2, 3), "w"))

    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return (choices,)

    def build(self, architecture: Architecture) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, self.num_classes))


class SameNames(Layers):
    decisions = (Decision("a", (1, 2), "w"), Decision("a", (1, 2), "w"))


class NoJson(Layers):
    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return ([*choices],)


class WrongMask(Layers):
    def redundant(self, chosen: tuple[Any, ...]) -> tuple[int, ...]:
        return (1,)  # which writes another network than 0


class WrongOutputs(Layers):
    def build(self, architecture: Architecture) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


class OwnGenerator(Layers):
    def build(self, architecture: Architecture) -> nn.Module:
        network = super().build(architecture)
        nn.init.constant_(network[1].bias, float(next(COUNTER)))  # type: ignore[index, arg-type]
        return network


class WrongEncode(Layers):
    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        return (0, 0)


SPACES: dict[type[Layers], str] = {
    SameNames: "two decisions have one name",
    NoJson: "after JSON|unhashable",
    WrongMask: "which no lower action writes",
    WrongOutputs: "not of 10 classes",
    OwnGenerator: "two networks of one seed differ",
    WrongEncode: "encode gives the actions of",
}


@pytest.mark.parametrize("space", SPACES)
def test_a_fault_of_a_space_is_told(space: type[Layers]) -> None:
    check_search_space(Layers((1, 8, 8), 10))
    with pytest.raises((AssertionError, TypeError), match=SPACES[space]):
        check_search_space(space((1, 8, 8), 10))


class Rows(Tensors):
    """Data with a fault, by its name."""

    fault: ClassVar[str] = ""

    def batches(
        self, size: int, random: torch.Generator | None = None, limit: int | None = None
    ) -> Iterator[Batch]:
        if self.fault == "limit":
            limit = None
        if self.fault == "order" and random is not None:
            random = torch.Generator().manual_seed(next(COUNTER))
        found = list(super().batches(size, random, limit))
        yield from found[: -1 if self.fault == "steps" and random is not None else None]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("steps", "another number of batches than steps"),
        ("limit", "limit=3 gives"),
        ("order", "the order is not the seed's"),
        ("shape", "not of the shape"),
        ("score", "score does not give top5"),
    ],
)
def test_a_fault_of_a_task_is_told(fault: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = type(DIGITS)
    right = task.data

    def data(self: Any, part: Any, recipe: Recipe, device: torch.device, *rest: Any) -> Any:
        images, labels = next(iter(right(self, part, recipe, device).batches(300)))
        return Rows(images[..., :7] if fault == "shape" else images, labels)

    monkeypatch.setattr(task, "data", data)
    monkeypatch.setattr(Rows, "fault", fault)
    if fault == "score":
        scored = task.score
        monkeypatch.setattr(
            task, "score", lambda *a: {k: v for k, v in scored(*a).items() if k != "top5"}
        )
    with pytest.raises(AssertionError, match=words):
        check_task(DIGITS)


def restless(architecture: Architecture, seed: int) -> float:
    return float(next(COUNTER))


def test_a_fault_of_a_source_is_told() -> None:
    with pytest.raises(AssertionError, match="has two answers"):
        check_source(FunctionSource(restless, "restless"), SMALL)
    with pytest.raises(AssertionError, match="lacks context"):
        check_source(restless, SMALL)  # type: ignore[arg-type]


class Other(InlineEvaluator):
    def submit(self, request: Request) -> Future[Evaluation]:
        future = super().submit(request)
        found = future.result()
        wrong: Future[Evaluation] = Future()
        wrong.set_result(replace(found, scores={"accuracy": 0.5}))
        return wrong


def test_a_fault_of_an_evaluator_is_told() -> None:
    request = Request(SMALL.decode([0] * 8))
    with pytest.raises(AssertionError, match="answers otherwise than its source"):
        check_evaluator(Other(helpers.answers()), [request])


def test_a_fault_of_a_reward_is_told() -> None:
    with pytest.raises(AssertionError, match="for one child"):
        check_reward(lambda evaluation: float(next(COUNTER)))
    with pytest.raises(ValueError, match="gave nan"):
        check_reward(lambda evaluation: float("nan"), [ACCURACY])


class Agent:
    """Plays random episodes."""

    def __init__(self, env: Any, seed: int = 0) -> None:
        self.env = env
        env.action_space.seed(seed)

    def learn(self, budget: int) -> None:
        while True:
            self.episode()

    def episode(self) -> None:
        self.env.reset()
        done = False
        while not done:
            _, _, done, _, _ = self.env.step(self.env.action_space.sample())


class Lazy(Agent):
    def learn(self, budget: int) -> None:
        self.episode()


class Seedless(Agent):
    def __init__(self, env: Any, seed: int = 0) -> None:
        super().__init__(env, 0)


class Unsteady(Agent):
    def __init__(self, env: Any, seed: int = 0) -> None:
        super().__init__(env, next(COUNTER))


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (Lazy, "gave up after 1"),
        (Seedless, "the seed has no part in it"),
        (Unsteady, "two searches of one seed differ"),
    ],
)
def test_a_fault_of_an_agent_is_told(agent: Callable[..., Any], words: str) -> None:
    check_agent(Agent)
    with pytest.raises(AssertionError, match=words):
        check_agent(agent)
