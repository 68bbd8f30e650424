from __future__ import annotations

import resource
from typing import Any

import helpers
import pytest
import torch
from support.bag import BagOfWords
from torch import Tensor, nn

from nas_gym.cost import Cost, measure
from nas_gym.evaluation import Request
from nas_gym.search_spaces import LayerCNN, PlainCNN, SearchSpace
from nas_gym.sources import TrainingSource
from nas_gym.tasks import Task

# By hand, on 1x8x8 inputs and ten classes; batch norm has two parameters a channel.
STEM = (1 * 9 * 16 + 32, 64 * 1 * 9 * 16)  # parameters, multiply-adds
HAND: dict[str, tuple[SearchSpace, list[int], int, int]] = {
    "one 3x3 convolution": (
        PlainCNN((1, 8, 8), 10, depth=1),
        [0, 1, 0],  # 8 filters, kernel 3, same
        8 * 9 + 16 + 8 * 10 + 10,
        64 * 8 * 9 + 80,
    ),
    "valid, so smaller": (
        PlainCNN((1, 8, 8), 10, depth=1),
        [0, 1, 1],
        8 * 9 + 16 + 8 * 10 + 10,
        36 * 8 * 9 + 80,
    ),
    "pooled between": (
        PlainCNN((1, 8, 8), 10, depth=3, filters=(8,), kernel_sizes=(3,)),
        [0] * 9,
        (9 * 8 + 16) + (72 * 8 + 16) * 2 + 90,
        64 * 9 * 8 + 64 * 72 * 8 + 16 * 72 * 8 + 80,
    ),
    "stem alone": (
        LayerCNN((1, 8, 8), 10, depth=1),
        [0, 0, 0, 0],
        STEM[0] + 170,
        STEM[1] + 160,
    ),
    "convolution with a bias": (
        LayerCNN((1, 8, 8), 10, depth=1),
        [1, 1, 0, 0],  # conv3, 32 wide, relu, none
        STEM[0] + 16 * 9 * 32 + 32 + 330,
        STEM[1] + 64 * 16 * 9 * 32 + 320,
    ),
    "separable, normalised": (
        LayerCNN((1, 8, 8), 10, depth=1),
        [4, 0, 0, 1],  # separable5, 16 wide, relu, batch_norm
        STEM[0] + 16 * 25 + 16 * 16 + 32 + 170,
        STEM[1] + 64 * 16 * 25 + 64 * 16 * 16 + 160,
    ),
    "after a pool": (
        LayerCNN((1, 8, 8), 10, depth=2),
        [5, 0, 0, 0, 1, 0, 0, 0],
        STEM[0] + 16 * 9 * 16 + 16 + 170,
        STEM[1] + 16 * 16 * 9 * 16 + 160,
    ),
}


@pytest.mark.parametrize(("space", "actions", "params", "macs"), HAND.values(), ids=HAND.keys())
def test_counts_equal_those_made_by_hand(
    space: SearchSpace, actions: list[int], params: int, macs: int
) -> None:
    cost = measure(space, space.decode(actions), helpers.tiny())
    assert (cost.params, cost.macs, cost.memory_mb) == (params, macs, None)
    model = space.build(space.decode(actions))
    assert sum(p.numel() for p in model.parameters()) == params


@pytest.mark.parametrize(("optimizer", "copies"), [("adamw", 4), ("sgd", 3)])
def test_memory_is_that_of_weights_and_activations(optimizer: Any, copies: int) -> None:
    """Of a network that is all weights, or all activations, the estimate is nearly exact."""
    heavy = helpers.Probe((1, 100, 100), 10)
    recipe = helpers.tiny(optimizer=optimizer, max_memory_mb=1e6, batch_size=2)
    cost = measure(heavy, heavy.child("wide"), recipe)
    assert cost.memory_mb == pytest.approx(cost.params * copies * 4 / 2**20, rel=0.15)

    plain = PlainCNN((1, 32, 32), 10, depth=1)
    small, large = (
        measure(plain, plain.decode([3, 1, 0]), recipe.replaced({"batch_size": size})).memory_mb
        for size in (8, 16)
    )
    assert small is not None
    assert large is not None
    one_map = 8 * 64 * 32 * 32 * 4 / 2**20  # what eight more images keep, per 64-channel map
    assert one_map <= large - small <= 4 * one_map


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"max_params": 1_000}, "parameters"),
        ({"max_macs": 20_000}, "multiply-adds"),
        ({"max_memory_mb": 3.0}, "training memory"),
    ],
)
def test_a_limit_is_exceeded_in_words_or_not_at_all(changes: dict[str, Any], word: str) -> None:
    recipe = helpers.tiny(**changes)
    (limit,) = changes.values()
    at_the_limit = Cost(1_000, 20_000, 3.0)
    assert at_the_limit.over(recipe) == ""
    message = Cost(1_001, 20_001, 3.9).over(recipe)
    assert message.startswith(word)
    assert f"{limit:,.0f}" in message
    assert Cost(10**9, 10**12, 1e6).over(helpers.tiny()) == ""


@pytest.mark.parametrize("limit", [{"max_params": 10**6}, {"max_macs": 10**6}])
def test_an_astronomic_child_is_rejected_without_being_allocated(
    limit: dict[str, int], digits: Task
) -> None:
    space = helpers.Probe((1, 8, 8), 10)
    recipe = helpers.tiny(max_memory_mb=1000, **limit)
    measure(space, space.child("narrow"), recipe)  # what it imports is not counted below
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluation = TrainingSource(digits, space, recipe)(Request(space.child("astronomic")))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert evaluation.status == "rejected"
    assert evaluation.params == 200_000**2 + 200_000 + 65 * 200_000 + 200_001 * 10
    assert grown < 50 * 1024  # KiB; the weights alone would be 150 GiB


def test_measuring_leaves_the_random_state_alone() -> None:
    space = LayerCNN((1, 8, 8), 10)
    before = torch.get_rng_state()
    measure(space, space.decode([1] * 24), helpers.tiny(max_memory_mb=100))
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------- what cannot be counted


class Uncountable(nn.Module):
    """Runs on no zeros and on no meta tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta or not x.any():
            raise RuntimeError("finds no values")
        return self.layer(x.flatten(1))


class Lazy(nn.Module):
    """Has no weights before it sees an input, and reads a value of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyLinear(10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)) + 0 * x.max().item()


class Space(helpers.Probe):
    """Probe with another network."""

    network: type[nn.Module] = Uncountable

    def build(self, architecture: Any) -> nn.Module:
        return self.network()


class LazySpace(Space):
    network = Lazy


@pytest.mark.parametrize("limit", [{}, {"max_params": 1}, {"max_memory_mb": 0.001}])
def test_what_cannot_be_counted_is_trained_uncounted(limit: dict[str, Any], digits: Task) -> None:
    """A limit on what is not known is not exceeded."""
    space = Space((1, 8, 8), 10)
    recipe = helpers.tiny(**limit)
    assert measure(space, space.child("narrow"), recipe) == Cost()
    evaluation = TrainingSource(digits, space, recipe)(Request(space.child("narrow")))
    assert evaluation.ok
    assert evaluation.cost == {}
    assert (evaluation.params, evaluation.macs) == (None, None)


def test_what_reads_its_values_is_counted_on_zeros() -> None:
    space = LazySpace((1, 8, 8), 10)
    cost = measure(space, space.child("narrow"), helpers.tiny())
    assert (cost.params, cost.macs) == (650, 640)


def test_only_what_is_known_is_kept() -> None:
    assert Cost().known == {}
    assert Cost(3).known == {"params": 3}
    assert Cost(3, 4, 5.0).known == {"params": 3, "macs": 4}


def test_tokens_are_counted_as_tokens() -> None:
    space = BagOfWords((12,), 3, vocabulary=20)
    cost = measure(space, space.decode([1]), helpers.tiny(max_memory_mb=100))
    assert cost.params == 20 * 8 + 8 * 3 + 3
    assert cost.macs == 8 * 3
    assert cost.memory_mb is not None
