"""Decisions, architectures, and the search space that turns the first into the second."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

Choice: TypeAlias = str | int
Layer: TypeAlias = tuple[Any, ...]  # JSON scalars, or tuples of them
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
class Architecture:
    """The canonical, immutable description of one child network.

    Two action sequences that give the same network give equal architectures, so an architecture
    is what results are stored and repeats are recognised by.

    Attributes:
        space: Name of the search space that wrote it and can build it.
        layers: One tuple of JSON scalars per layer (or edge, or node: the space says which).
    """

    space: str
    layers: tuple[Layer, ...]

    def to_json(self) -> str:
        """The one JSON text of this architecture: equal architectures, equal text."""
        return json.dumps({"space": self.space, "layers": self.layers}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is not an architecture.
        """
        try:
            value = json.loads(text)
            layers = tuple(_freeze(layer) for layer in value["layers"])
            if not all(isinstance(layer, tuple) for layer in layers):
                raise TypeError("a layer is a list")
            return cls(str(value["space"]), layers)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"not an architecture in JSON: {text[:80]!r}") from error

    @property
    def key(self) -> str:
        """A short, stable name: the first 16 hex digits of the sha256 of the JSON text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return f"{self.space}: " + (" | ".join(map(format_layer, self.layers)) or "(no layer)")


def format_layer(layer: Layer) -> str:
    """One layer in words, e.g. ``conv3 64 relu batch_norm``."""
    return " ".join(format_layer(part) if isinstance(part, tuple) else str(part) for part in layer)


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class SearchSpace(ABC):
    """An ordered list of decisions, their canonical reading, and the networks they stand for.

    A new space is a frozen dataclass with a `name`, its own options as fields with defaults, and
    three methods: `decisions`, `canonical` and `build` (and `redundant`, where some choice can be
    known to change nothing). The README shows one.

    Attributes:
        input_shape: Shape of one input as ``(channels, height, width)``.
        num_classes: Number of outputs.
    """

    name: ClassVar[str]

    input_shape: tuple[int, ...]
    num_classes: int

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
        return {"name": name, **json.loads(json.dumps(asdict(self)))}

    def check(self, architecture: Architecture) -> None:
        """Refuse an architecture of another space.

        Raises:
            ValueError: It names another space.
        """
        if architecture.space != self.name:
            raise ValueError(
                f"{self.name} cannot build an architecture of the space {architecture.space!r}"
            )
