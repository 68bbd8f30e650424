"""Search spaces with few networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import gymnasium as gym
from helpers import answers, score
from torch import nn

from nas_gym import NASEnv, NASVectorEnv
from nas_gym.search_spaces import Architecture, Decision, SearchSpace


@dataclass(frozen=True)
class Few(SearchSpace):
    """Some decisions, most of which write the same few networks.

    Attributes:
        steps: Decisions.
        choices: Of each decision.
        networks: How many different ones there are at most.
        masked: Whether decisions after the first are known to change nothing.
    """

    name: ClassVar[str] = "few"

    input_shape: tuple[int, ...] = (1, 8, 8)
    num_classes: int = 10
    steps: int = 1
    choices: int = 20
    networks: int = 20
    masked: bool = False

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        choices = tuple(range(self.choices))
        return tuple(Decision(f"digit{i}", choices, "digit") for i in range(self.steps))

    def canonical(self, choices: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        kept = choices[:1] if self.masked else choices
        return ((sum(kept) % self.networks,),)

    def redundant(self, chosen: tuple[Any, ...]) -> range:
        return range(1, self.choices) if self.masked and chosen else range(0)

    def build(self, architecture: Architecture) -> nn.Module:
        raise NotImplementedError


SPACES = {
    "one decision": Few(),
    "one network": Few(choices=3, networks=1),
    "one choice": Few(steps=2, choices=1),
    "redundant": Few(steps=6, choices=4, masked=True),
    "pairs": Few(steps=2, choices=20),
    "merging": Few(steps=17, choices=2, networks=15),
}


@dataclass(frozen=True)
class Needle(SearchSpace):
    """One sequence of a million writes another network than all the others."""

    name: ClassVar[str] = "needle"

    input_shape: tuple[int, ...] = (1, 8, 8)
    num_classes: int = 10

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(Decision(f"digit{i}", tuple(range(10)), "digit") for i in range(6))

    def canonical(self, choices: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
        return (("needle" if choices == (0, 0, 0, 1, 2, 3) else "hay",),)

    def build(self, architecture: Architecture) -> nn.Module:
        raise NotImplementedError


def answered(space: SearchSpace) -> dict[str, Any]:
    """A space and its made-up numbers, as arguments of an environment."""
    return {"search_space": space, "source": answers(score, space.name, space)}


def make(space: str = "pairs", data_dir: str | None = None, **options: Any) -> NASEnv:
    del data_dir
    return NASEnv(**answered(SPACES[space]), **options)


def make_vector(
    num_envs: int = 1, space: str = "pairs", data_dir: str | None = None, **options: Any
) -> NASVectorEnv:
    del data_dir
    return NASVectorEnv(num_envs, **answered(SPACES[space]), **options)


gym.register(
    "test/Few-v0", entry_point="few_networks:make", vector_entry_point="few_networks:make_vector"
)


class Loop:
    """An agent that knows nothing of budgets or of what it proposed before."""

    def __init__(self, env: Any, seed: int = 0, action: int | None = None) -> None:
        self.env = env
        self.action = action
        env.action_space.seed(seed)

    def learn(self, budget: int) -> None:
        while True:
            self.env.reset()
            done = False
            while not done:
                drawn = self.env.action_space.sample()
                _, _, done, _, _ = self.env.step(drawn if self.action is None else self.action)


class Quitter(Loop):
    """Stops after one child."""

    def learn(self, budget: int) -> None:
        self.env.reset()
        done = False
        while not done:
            _, _, done, _, _ = self.env.step(0)
