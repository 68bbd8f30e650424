"""What every search space must be."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from nas_gym.cost import measure
from nas_gym.evaluators import parcels
from nas_gym.isolation import run_isolated
from nas_gym.recipe import Recipe
from nas_gym.search_spaces import Architecture, SearchSpace


def check_search_space(space: SearchSpace, samples: int = 20, seed: int = 0) -> None:
    """Decisions, decoding, masks, canonical forms, networks and costs of a search space.

    Args:
        space: For inputs and outputs of any form.
        samples: Architectures that are drawn.
        seed: Of the draws.

    Raises:
        AssertionError: Something is not as it must be.
    """
    name = type(space).__name__
    decisions = space.decisions
    assert decisions, f"{name} has no decisions"
    names = [decision.name for decision in decisions]
    assert len(set(names)) == len(names), f"{name}: two decisions have one name: {names}"
    for decision in decisions:
        kinds = {type(choice) for choice in decision.choices}
        assert decision.choices, f"{name}: the decision {decision.name} has no choices"
        assert kinds <= {str, int}, f"{name}: choices are texts and whole numbers, not {kinds}"
        assert len(set(decision.choices)) == len(decision.choices), (
            f"{name}: the decision {decision.name} has a choice twice"
        )
    described = space.describe()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    copy = parcels.open_result(parcels.answer(parcels.pack((_itself, (space,)))))
    assert copy == space, f"{name} is another one after it travelled to a worker process"
    random = np.random.default_rng(seed)
    for actions in random.integers(space.num_actions, size=(samples, len(decisions))):
        _check_sequence(space, actions, random)
        _check_network(space, space.decode(actions))


def _check_sequence(
    space: SearchSpace, actions: np.ndarray[Any, Any], random: np.random.Generator
) -> None:
    architecture = space.decode(actions)
    wrapped = actions % space.sizes
    assert architecture == space.decode(wrapped), "an action beyond the choices must wrap around"
    assert architecture.space == space.name, f"it is called {architecture.space!r}"
    assert Architecture.from_json(architecture.to_json()) == architecture, (
        f"{architecture} is another one after JSON: layers are tuples of texts and numbers"
    )
    assert hash(space.decode(actions)) == hash(architecture)
    for step in range(len(actions)):
        mask = space.mask(actions[:step])
        assert mask.shape == (space.num_actions,)
        assert mask.dtype == np.bool_
        assert mask.any(), f"after {actions[:step].tolist()} every action is masked"
        assert not mask[space.sizes[step] :].any(), "an index beyond the choices is not distinct"
        for masked in np.flatnonzero(~mask[: space.sizes[step]]).tolist():
            _check_masked(space, actions[:step], masked, random)
    if type(space).encode is not SearchSpace.encode:
        encoded = space.decode(space.encode(architecture))
        assert encoded == architecture, f"encode gives the actions of {encoded}, not {architecture}"


def _check_masked(
    space: SearchSpace, before: Any, masked: int, random: np.random.Generator
) -> None:
    """A masked action writes what a lower one writes, with the same decisions after it."""
    rest = random.integers(space.num_actions, size=len(space.decisions) - len(before) - 1)
    written = space.decode([*before, masked, *rest])
    lower = [space.decode([*before, action, *rest]) for action in range(masked)]
    assert written in lower, (
        f"after {list(before)} the action {masked} is masked, and writes {written}, which no lower "
        "action writes"
    )


def _check_network(space: SearchSpace, architecture: Architecture) -> None:
    def build(seed: int) -> tuple[Any, torch.nn.Module]:
        torch.manual_seed(seed)
        network = space.build(architecture)
        outputs = network(space.example(2))
        return outputs, network

    outputs, network = run_isolated(lambda: build(0))
    _, again = run_isolated(lambda: build(0))
    first = outputs[0] if isinstance(outputs, tuple) else outputs  # beside what is carried
    assert first.shape[0] == 2, f"{architecture}: two inputs gave outputs {tuple(first.shape)}"
    assert first.shape[-1] == space.num_classes, (
        f"{architecture}: outputs are {tuple(first.shape)}, not of {space.num_classes} classes"
    )
    assert torch.isfinite(first).all(), f"{architecture}: outputs of zeros are no finite numbers"
    states = network.state_dict(), again.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items()), (
        f"{architecture}: two networks of one seed differ: draw from torch's generator only"
    )
    params = measure(space, architecture, Recipe()).params
    own = sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert params in (None, own)
    assert isinstance(space.recipe(architecture, Recipe()), Recipe)


def _itself(thing: Any) -> Any:
    return thing
