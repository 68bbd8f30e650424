"""What is usual in a network of somebody's own trains, or is one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nas_gym import Architecture, Decision, Recipe, Request, SearchSpace, TrainingSource
from nas_gym.batch_norm import recompute_batch_norm
from nas_gym.cost import measure
from nas_gym.tasks import load_task

RECIPE = {"epochs": 1, "train_images": 300, "precision": "float32", "max_memory_mb": 500.0}


class Plain(nn.Module):
    """A convolution and a linear layer; the others go the same way by other words."""

    def __init__(self, shape: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        channels, height, width_px = shape
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.out = nn.Linear(width * height * width_px, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.conv(x).relu().flatten(1))
        return out


class Views(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x.view(len(x), -1).view(x.shape)).relu()
        out: Tensor = self.out(x.view(len(x), -1))
        return out


class ViewsInTraining(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        out: Tensor = self.out(x.view(len(x), -1) if self.training else x.flatten(1))
        return out


class ReadsAValue(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (0.0 if x.mean().item() > 1e9 else 1.0)


class CountsValues(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * len(torch.nonzero(x))


class AsksNumpy(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * float(np.asarray(x.detach()).mean())


class Checkpoints(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(lambda image: self.conv(image).relu(), x, use_reentrant=False)
        out: Tensor = self.out(x.flatten(1))
        return out


class Squeezes(Plain):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.conv(x).relu().squeeze().reshape(len(x), -1))
        return out


class Lazy(nn.Sequential):
    def __init__(self, shape: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__(
            nn.LazyConv2d(width, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes)
        )


class LazyNorm(nn.Sequential):
    def __init__(self, shape: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__(
            nn.LazyConv2d(width, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(classes)
        )


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    network.__name__: network
    for network in (
        *(Plain, Views, ViewsInTraining, ReadsAValue, CountsValues, AsksNumpy, Checkpoints),
        *(Squeezes, Lazy, LazyNorm),
    )
}


@dataclass(frozen=True)
class Own(SearchSpace):
    """Widths of one network."""

    name: ClassVar[str] = "own"

    network: str = "Plain"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("width", (8, 16), "width"),)

    def canonical(self, choices: tuple[Any, ...]) -> tuple[Any, ...]:
        return (choices,)

    def build(self, architecture: Architecture) -> nn.Module:
        make = NETWORKS[self.network]
        return make(self.input_shape, architecture.layers[0][0], self.num_classes)


@pytest.mark.parametrize("network", NETWORKS)
def test_it_trains(network: str) -> None:
    space = {"name": "test_own_networks:Own", "network": network}
    env = gym.make("nas_gym/Digits-v0", search_space=space, recipe=RECIPE)
    env.reset()
    _, reward, _, _, info = env.step(0)
    env.close()
    assert info["status"] == "ok"
    assert float(reward) > 0.5
    same = Own((1, 8, 8), 10)
    plain = measure(same, same.decode([0]), Recipe())
    if network != "LazyNorm":  # the same network, in other words
        assert (info["params"], info["macs"]) == (plain.params, plain.macs)


def test_a_network_by_other_words_becomes_the_same_network() -> None:
    spaces = [Own((1, 8, 8), 10, name) for name in ("ReadsAValue", "CountsValues", "Checkpoints")]
    plain = TrainingSource(load_task("digits"), Own((1, 8, 8), 10), helpers.tiny())
    expected = plain(Request(plain.space.decode([0]))).scores["loss"]
    for space in spaces:
        source = TrainingSource(load_task("digits"), space, helpers.tiny())
        assert source(Request(space.decode([0]))).scores["loss"] == expected


def test_lazy_weights_that_are_over_a_limit_are_counted() -> None:
    space = Own((1, 8, 8), 10, "Lazy")
    source = TrainingSource(load_task("digits"), space, helpers.tiny(max_params=100))
    found = source(Request(space.decode([0])))
    assert (found.status, found.params) == ("rejected", 8 * 10 + 8 * 64 * 10 + 10)


@dataclass(frozen=True)
class Hungry(helpers.Probe):
    """Reads a value, so that it is counted on real inputs, for which there is no memory."""

    name: ClassVar[str] = "hungry"

    def build(self, architecture: Architecture) -> nn.Module:
        class Reads(nn.Flatten):
            def forward(self, x: Tensor) -> Tensor:
                if x.mean().item() < 1e9:
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")
                return super().forward(x)

        return nn.Sequential(Reads(), nn.Linear(64, 10))


@pytest.mark.parametrize("evaluator", ["inline", {"name": "pool", "workers": 2}])
def test_a_network_for_which_there_is_no_memory_when_it_is_counted(evaluator: Any) -> None:
    space = {"name": "test_own_networks:Hungry"}
    env = gym.make_vec("nas_gym/Digits-v0", num_envs=2, search_space=space, evaluator=evaluator)
    env.reset()
    *_, infos = env.step(np.array([0, 1]))
    env.close()
    assert list(infos["final_info"]["status"]) == ["out_of_memory"] * 2


@dataclass(frozen=True)
class Leaving(helpers.Probe):
    """Ends the program instead of building a network."""

    name: ClassVar[str] = "leaving"

    code: Any = 0

    def build(self, architecture: Architecture) -> nn.Module:
        if self.code == "interrupt":
            raise KeyboardInterrupt
        sys.exit(self.code)


@pytest.mark.parametrize("evaluator", ["inline", {"name": "pool", "workers": 1}])
@pytest.mark.parametrize("code", [0, "bye", "interrupt"])
def test_a_network_that_ends_the_program_is_a_bug_of_that_network(
    code: Any, evaluator: Any
) -> None:
    space = {"name": "test_own_networks:Leaving", "code": code}
    env = gym.make("nas_gym/Digits-v0", search_space=space, evaluator=evaluator)
    env.reset()
    with pytest.raises(RuntimeError, match=r"SystemExit|KeyboardInterrupt") as caught:
        env.step(0)
    env.close()
    assert helpers.is_sentence(caught.value)


@pytest.mark.parametrize("sizes", [[256, 2], [2, 256], [100, 100, 58], [258]])
def test_batch_norm_counts_every_image_once(sizes: list[int]) -> None:
    images = torch.zeros(258, 1, 4, 4)
    images[256:] = 10.0
    images[:5] = 3.0
    norms = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.BatchNorm1d(16))
    recompute_batch_norm(norms, images.split(sizes))
    first = norms[0]
    assert isinstance(first, nn.BatchNorm2d)
    assert first.running_mean is not None
    assert first.running_var is not None
    torch.testing.assert_close(first.running_mean, images.mean().reshape(1))
    torch.testing.assert_close(first.running_var, images.var().reshape(1))
    assert first.momentum == 0.1
    assert not norms.training


def test_a_norm_that_is_used_twice_knows_both_inputs() -> None:
    norm = nn.BatchNorm1d(2)
    inputs = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.norm(x) + self.norm(x + 5)
            return out

    recompute_batch_norm(Twice(), inputs.split(32))
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, torch.cat([inputs, inputs + 5]).mean(0))
