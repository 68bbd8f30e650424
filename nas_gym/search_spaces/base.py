"""Decisions, architectures, and the search space that turns the first into the second."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nas_gym.search_spaces.architecture import Architecture, Layer, format_layer, show

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nas_gym.recipe import Recipe

__all__ = [
    "Actions",
    "Architecture",
    "Choice",
    "Decision",
    "Layer",
    "SearchSpace",
    "format_layer",
]

Choice: TypeAlias = str | int
Actions: TypeAlias = Sequence[int] | NDArray[np.int64]


@dataclass(frozen=True)
class Decision:
    """One question that an episode answers.

    Attributes:
        name: Unique in its space, e.g. ``"layer3.width"``.
        choices: The possible answers, each of them an action index.
        kind: Decisions of one kind mean the same thing at different places; a controller may
            share weights between them.
    """

    name: str
    choices: tuple[Choice, ...]
    kind: str


@dataclass(frozen=True)
class SearchSpace(ABC):
    """An ordered list of decisions, their canonical reading, and the networks they stand for.

    A new space is a frozen dataclass with a `name`, its own options as fields with defaults, and
    three methods: `decisions`, `canonical` and `build` (and `redundant`, where some choice can be
    known to change nothing). The README shows one.

    Attributes:
        input_shape: Shape of one input: of images ``(channels, height, width)``.
        num_classes: Number of outputs.
        vocabulary: Number of tokens, where inputs are tokens; None for numbers.
    """

    name: ClassVar[str]

    input_shape: tuple[int, ...]
    num_classes: int
    vocabulary: int | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions of one episode, in order."""

    @abstractmethod
    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        """The layers of the network that these choices (one per decision) describe.

        The same network must give the same layers: drop what does nothing, forget choices that
        do not matter, sort what has no order.
        """

    @abstractmethod
    def build(self, architecture: Architecture) -> nn.Module:
        """A freshly initialised network from ``(N, *input_shape)`` to ``(N, num_classes)``.

        Raises:
            ValueError: The architecture is not one of this space.
        """

    def recipe(self, architecture: Architecture, recipe: Recipe) -> Recipe:
        """How a child is trained, where some decisions are about that.

        Args:
            architecture: The child.
            recipe: What holds for all; `Recipe.replaced` changes a field.
        """
        del architecture
        return recipe

    def example(self, count: int) -> Tensor:
        """``count`` inputs of zeros, on the default device."""
        import torch

        kind = torch.float32 if self.vocabulary is None else torch.int64
        return torch.zeros(count, *self.input_shape, dtype=kind)

    def encode(self, architecture: Architecture) -> tuple[int, ...]:
        """The actions that write an architecture, so that ``decode(encode(a)) == a``.

        A space that has this recognises what it could have written: `check` refuses everything
        else before anything is built.

        Raises:
            ValueError: The architecture is not one of this space.
            NotImplementedError: The space does not say.
        """
        raise NotImplementedError

    def redundant(self, chosen: tuple[Choice, ...]) -> Collection[int]:
        """Indices for the next decision that give the same network as a lower index.

        Args:
            chosen: The choices made so far, fewer than there are decisions.
        """
        del chosen
        return ()

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of choices of every decision, shape ``(len(decisions),)``."""
        return np.array([len(decision.choices) for decision in self.decisions], dtype=np.int64)

    @cached_property
    def num_actions(self) -> int:
        """Size of the action space: the largest number of choices of any decision."""
        return int(self.sizes.max())

    def choose(self, actions: Actions) -> tuple[Choice, ...]:
        """The choices that a prefix of actions stands for.

        An index beyond a decision's choices wraps around (``action % len(choices)``), so every
        action means something at every step.
        """
        if len(actions) > len(self.decisions):
            raise ValueError(
                f"{self.name} has {len(self.decisions)} decisions, got {len(actions)} actions"
            )
        return tuple(
            decision.choices[int(action) % len(decision.choices)]
            for decision, action in zip(self.decisions, actions, strict=False)
        )

    def decode(self, actions: Actions) -> Architecture:
        """The architecture that a whole sequence of actions (one per decision) writes.

        Raises:
            ValueError: The number of actions is not the number of decisions.
        """
        if len(actions) != len(self.decisions):
            raise ValueError(f"{self.name} needs {len(self.decisions)} actions, got {len(actions)}")
        return Architecture(self.name, self.canonical(self.choose(actions)))

    def mask(self, actions: Actions) -> NDArray[np.bool_]:
        """Which actions are distinct at the next decision, shape ``(num_actions,)``.

        An action is masked out when a lower one writes the same network whatever follows: an
        index beyond the choices, or a choice that changes nothing here. At least one is left.
        After the last decision every action is marked, as nothing is left to choose.
        """
        if len(actions) == len(self.decisions):
            return np.ones(self.num_actions, dtype=np.bool_)
        mask: NDArray[np.bool_] = np.arange(self.num_actions) < self.sizes[len(actions)]
        mask[list(self.redundant(self.choose(actions)))] = False
        return mask

    @cached_property
    def fixed_masks(self) -> bool:
        """Whether the mask of a decision is the same whatever was chosen before."""
        own = type(self)
        return own.redundant is SearchSpace.redundant and own.mask is SearchSpace.mask

    def masks(self, actions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """`mask` of B prefixes of one length: ``(B, t)`` to ``(B, num_actions)``."""
        if self.fixed_masks and len(actions):
            return np.repeat(self.mask(actions[0])[None], len(actions), axis=0)
        rows = [self.mask(row) for row in actions]
        return np.array(rows, dtype=np.bool_).reshape(-1, self.num_actions)

    def sequences(self) -> Iterator[tuple[int, ...]]:
        """Every sequence of distinct actions, in lexicographic order.

        Each architecture is written by one of them at least. Two may write the same one, where
        `redundant` does not know all that changes nothing.
        """
        prefix: list[int] = []
        untried = [iter(np.flatnonzero(self.mask(prefix)).tolist())]  # at each decision up to here
        while untried:
            action = next(untried[-1], None)
            if action is None:
                untried.pop()
                del prefix[-1:]
                continue
            prefix.append(action)
            if len(prefix) < len(self.sizes):
                untried.append(iter(np.flatnonzero(self.mask(prefix)).tolist()))
            else:
                yield tuple(prefix)
                prefix.pop()

    def describe(self) -> dict[str, Any]:
        """The space as JSON, for `make_search_space`: its name and options.

        Part of every stored result's identity.
        """
        own = type(self)
        ours = own.__module__.startswith("nas_gym.")
        name = self.name if ours else f"{own.__module__}:{own.__qualname__}"
        fields = asdict(self)
        if self.vocabulary is None:
            del fields["vocabulary"]
        return {"name": name, **json.loads(json.dumps(fields))}

    def check(self, architecture: Architecture) -> None:
        """Refuse an architecture that this space could not have written.

        A space without an `encode` of its own refuses those of another space only.

        Raises:
            ValueError: The message says what is wrong with it.
        """
        space: object = architecture.space
        if not (isinstance(space, str) and space == self.name):
            raise ValueError(f"{self.name} cannot build an architecture of the space {show(space)}")
        if type(self).encode is not SearchSpace.encode:
            self.encode(architecture)

    def _verified(self, architecture: Architecture, per_layer: int) -> tuple[int, ...]:
        """The actions that choose what an architecture's layers say, if they write just that.

        An `encode` for spaces whose layers are their choices: ``per_layer`` decisions a layer,
        one after the other. What a layer leaves out, and the layers that are not there, take
        action 0, the one that is never redundant.

        Raises:
            ValueError: They write something else, or there are none.
        """
        actions: list[int] = []
        layers: object = architecture.layers
        for layer in layers if isinstance(layers, tuple) else (layers,):
            if not isinstance(layer, tuple):
                raise ValueError(f"{self.name} writes tuples as layers, not {show(layer)}")
            for choice in layer:
                actions.append(self._action(len(actions), choice))
            actions += [0] * (-len(actions) % per_layer)
        actions += [0] * (len(self.decisions) - len(actions))
        written = self.decode(actions)
        # Equal is not enough: True == 1, in another text.
        if written != architecture or written.to_json() != architecture.to_json():
            raise ValueError(
                f"{self.name} does not write this architecture, but {show(str(written))}"
            )
        return tuple(actions)

    def _action(self, step: int, choice: object) -> int:
        if step >= len(self.decisions):
            raise ValueError(f"{self.name} makes no architecture of so many layers")
        decision = self.decisions[step]
        if isinstance(choice, str | int) and choice in decision.choices:
            return decision.choices.index(choice)
        offered = show(decision.choices)
        raise ValueError(f"{self.name}: {decision.name} is one of {offered}, not {show(choice)}")
