"""What comes from outside is an architecture that the space could have written, or is refused."""

from __future__ import annotations

import functools
import itertools
import json
import math
import time
from contextlib import suppress
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_gym.search_spaces import (
    SEARCH_SPACES,
    Architecture,
    LayerCNN,
    NASBench201,
    NASBenchMacro,
    PlainCNN,
    SearchSpace,
)
from nas_gym.search_spaces.architecture import DEEPEST, LONGEST

LARGE: list[SearchSpace] = [
    LayerCNN((1, 8, 8), 10),
    LayerCNN((3, 5, 2), 2, 9, widths=(1, 2), stem_width=1),
    LayerCNN((3, 224, 224), 10, 20, stem_stride=1),
    PlainCNN((1, 28, 28), 10),
    PlainCNN((3, 17, 5), 10, 6, filters=(1, 16), kernel_sizes=(7, 1, 5, 3)),
]

# So few architectures that a set holds all of them.
SMALL: list[SearchSpace] = [
    LayerCNN((1, 2, 2), 10, 2, widths=(8, 1)),
    LayerCNN((3, 1, 1), 10, 2, widths=(1,)),
    LayerCNN((3, 32, 32), 10, 1, stem_stride=32),
    PlainCNN((1, 4, 4), 10, 2, filters=(8, 16)),
    PlainCNN((1, 8, 8), 10, 3, filters=(1,), kernel_sizes=(5, 3)),
    NASBenchMacro((3, 32, 32), 10, stem_width=8, head_width=16),
    NASBench201((3, 32, 32), 10),
    NASBench201((1, 8, 8), 10, channels=4, cells=1, merge_isomorphic=False),
]

SPACES = LARGE + SMALL
COUNTS = {NASBenchMacro: {3_969}, NASBench201: {6_466, 15_625}}

every_space = st.sampled_from(SPACES)
small_spaces = pytest.mark.parametrize("space", SMALL, ids=lambda s: s.name)

NESTED: Any = ()
for _ in range(3_000):
    NESTED = (NESTED,)

# JSON values and what is none, some of them equal to a choice that they are not.
STRANGE: list[Any] = [
    *(True, False, None, 0, 1, -1, 2, 3, 16, 17, 10**40, 10**5_000),
    *(1.0, 3.0, 16.0, -0.0, math.nan, math.inf),
    *("", "1", "16", "same", "valid", "conv3", "conv7", "identity", "max_pool", "none", "relu"),
    *("skip_connect", "nor_conv_3x3", "mb3_k3", "Conv3", "conv3\n", "\ud800", "x" * 10_000),
    *((), [], {}, ("conv3",), ["none"], {"none": 1}, NESTED, b"none", object()),
    *(np.int64(16), np.float64(1), np.arange(2), np.array(["none"]), torch.ones(2), torch.ones(())),
]


@functools.cache
def everything(space: SearchSpace) -> dict[str, Architecture]:
    """All that a space writes, by its text."""
    product = itertools.product(*map(range, space.sizes.tolist()))
    return {a.to_json(): a for a in map(space.decode, product)}


def no_modules() -> Any:
    """Nothing of a network may be made here."""
    return mock.patch.object(nn.Module, "__init__", side_effect=AssertionError("a module is made"))


def is_sentence(message: str) -> bool:
    return message.isprintable() and 10 < len(message) < 1_000


def recognised(space: SearchSpace, architecture: Architecture) -> bool:
    """Whether a space takes an architecture; what `encode` and `build` do about it is checked."""
    try:
        actions = space.encode(architecture)
    except ValueError:
        for refuse in (space.encode, space.check, space.build):
            with no_modules(), pytest.raises(ValueError) as caught:  # noqa: PT011  (any sentence)
                refuse(architecture)
            assert is_sentence(str(caught.value)), caught.value
        return False
    assert space.decode(actions) == architecture
    assert space.decode(actions).to_json() == architecture.to_json()
    for length, action in enumerate(actions):  # none that a masked search could not have taken
        assert space.mask(actions[:length])[action]
    return True


# ---------------------------------------------------------------- what a space writes


@settings(deadline=None)  # a space may prepare itself on first use
@given(data=st.data(), space=every_space)
def test_random_architectures_are_read_back(data: st.DataObject, space: SearchSpace) -> None:
    actions = data.draw(st.tuples(*[st.integers(0, size - 1) for size in space.sizes.tolist()]))
    architecture = space.decode(actions)
    assert recognised(space, Architecture.from_json(architecture.to_json()))


@small_spaces
def test_every_architecture_is_read_back(space: SearchSpace) -> None:
    written = everything(space)
    assert len(written) in COUNTS.get(type(space), {len(written)})
    for text, architecture in written.items():
        assert space.decode(space.encode(architecture)).to_json() == text


def test_every_shipped_space_reads_back_quickly() -> None:
    assert {type(space) for space in SPACES} == set(SEARCH_SPACES.values())
    for space in SPACES:
        rows = np.random.default_rng(0).integers(space.num_actions, size=(50, len(space.sizes)))
        architectures = [space.decode(actions) for actions in rows]
        start = time.perf_counter()
        for architecture in architectures:
            space.encode(architecture)
        assert (time.perf_counter() - start) / len(rows) < 5e-3  # 0.1 ms, on a machine of its own


# ---------------------------------------------------------------- what it does not write


@small_spaces
def test_the_forms_that_are_not_canonical_are_refused(space: SearchSpace) -> None:
    """Choices as they were made, for the spaces whose layers are the choices."""
    step = {LayerCNN: 4, PlainCNN: 3}.get(type(space), 1)
    product = list(itertools.product(*(decision.choices for decision in space.decisions)))
    for choices in product[:: 1 + len(product) // 500]:
        layers = tuple(choices[start : start + step] for start in range(0, len(choices), step))
        architecture = Architecture(space.name, layers)
        assert recognised(space, architecture) == (architecture.to_json() in everything(space))


def mutate(data: st.DataObject, layers: list[Any]) -> list[Any]:
    """Layers with one thing changed, as lists."""
    nodes = [layers, *(layer for layer in layers if isinstance(layer, list))]
    node = data.draw(st.sampled_from(nodes))
    kind = data.draw(st.sampled_from(["replace", "drop", "repeat", "swap", "wrap"]))
    if not node:
        node.append(data.draw(st.sampled_from(STRANGE)))
        return layers
    one, other = (data.draw(st.integers(0, len(node) - 1)) for _ in range(2))
    if kind == "replace":
        node[one] = data.draw(st.sampled_from(STRANGE))
    elif kind == "drop":
        del node[one]
    elif kind == "repeat":
        node.insert(other, node[one])
    elif kind == "swap":
        node[one], node[other] = node[other], node[one]
    else:
        node[one] = [node[one]]
    return layers


def froze(value: Any) -> Any:
    return tuple(map(froze, value)) if isinstance(value, list) else value


@settings(deadline=None, max_examples=1_000)
@given(data=st.data(), space=every_space)
def test_changed_architectures_are_read_back_or_refused(
    data: st.DataObject, space: SearchSpace
) -> None:
    actions = data.draw(st.tuples(*[st.integers(0, size - 1) for size in space.sizes.tolist()]))
    layers = [list(layer) for layer in space.decode(actions).layers]
    for _ in range(data.draw(st.integers(1, 3))):
        layers = mutate(data, layers)
    taken = recognised(space, architecture := Architecture(space.name, froze(layers)))
    if space in SMALL and not taken:
        with suppress(TypeError, ValueError, RecursionError):  # strange values have no text
            assert architecture.to_json() not in everything(space)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
def test_what_is_equal_and_reads_otherwise_is_refused(space: SearchSpace) -> None:
    """True == 1 == 1.0 and ["none"] reads as ("none",): none of them is what was written."""
    architecture = space.decode([1] * len(space.sizes))
    assert recognised(space, architecture)
    layers = architecture.layers
    changes: list[Any] = [list(layers), (*layers, ()), (layers,), None, "none", 3, NESTED]
    changes += [tuple(map(list, layers)), iter(layers), dict.fromkeys(layers)]
    for at, layer in enumerate(layers):
        for place, choice in enumerate(layer):
            others: list[Any] = [[choice], (choice,), str(choice) + " ", None]
            if isinstance(choice, int):
                others += [float(choice), str(choice), -choice, choice + 1_000, bool(choice)]
            for other in others:
                changed = (*layer[:place], other, *layer[place + 1 :])
                changes.append((*layers[:at], changed, *layers[at + 1 :]))
    for change in changes:
        assert not recognised(space, Architecture(space.name, change)), change
    for name in ("", "elsewhere", None, 3, [space.name], NESTED):
        wrong: Any = name
        assert not recognised(space, Architecture(wrong, layers)), name


def test_messages_say_what_is_wrong() -> None:
    space = PlainCNN((1, 8, 8), 10, 1)
    for layers, words in [
        (((17, 3, "same"),), "plain_cnn: layer1.filters is one of (8, 16, 32, 64), not 17"),
        (((8, 1, "valid"),), "plain_cnn does not write this architecture, but 'plain_cnn: 8 1 sam"),
        (((8, 3, "same"),) * 2, "plain_cnn makes no architecture of so many layers"),
    ]:
        wrong: Any = layers
        with pytest.raises(ValueError, match="plain_cnn") as caught:
            space.build(Architecture("plain_cnn", wrong))
        assert words in str(caught.value)


def test_a_module_that_is_made_is_noticed() -> None:
    for space in SPACES:
        architecture = space.decode([0] * len(space.sizes))
        with no_modules(), pytest.raises(AssertionError, match="a module is made"):
            space.build(architecture)


# ---------------------------------------------------------------- text

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(SCALARS, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=20)
NAMED = st.fixed_dictionaries({"space": st.text() | VALUES, "layers": st.lists(st.lists(VALUES))})


def deep(lists: int) -> str:
    return '{"space": "x", "layers": [' + "[" * lists + "]" * lists + "]}"


def read(text: Any) -> Architecture | None:
    """What a text says; it is an architecture that is written and read again, or a ValueError."""
    try:
        architecture = Architecture.from_json(text)
    except ValueError as error:
        message = str(error)
    else:
        assert Architecture.from_json(architecture.to_json()) == architecture
        return architecture
    assert message.startswith("not an architecture in JSON (")
    assert is_sentence(message)
    return None


@settings(deadline=None, max_examples=300)
@given(text=(VALUES | NAMED).map(json.dumps) | st.text() | VALUES | st.binary())
def test_any_text_is_an_architecture_or_refused(text: Any) -> None:
    read(text)


@settings(deadline=None, max_examples=500)
@given(data=st.data(), space=every_space, more=st.text('[]{}",:0e9-tnN', max_size=3))
def test_damaged_texts_are_read_or_refused(
    data: st.DataObject, space: SearchSpace, more: str
) -> None:
    text = space.decode([1] * len(space.sizes)).to_json()
    start, end = sorted(data.draw(st.integers(0, len(text))) for _ in range(2))
    if architecture := read(text[:start] + more + text[min(end, start + 3) :]):
        recognised(space, architecture)


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", "[]", "{}", '{"space": "x"}', '{"layers": []}', "\ufeff{}"),
        *("[" * 900, "[" * (LONGEST - 1), "x" * (LONGEST + 1), deep(DEEPEST + 1), deep(900)),
        *('{"space": "", "layers": []}', '{"space": 3, "layers": []}'),
        *(f'{{"space": "x", "layers": {x}}}' for x in ("{}", "3", '"ab"', "[3]", '["ab"]', "null")),
        *(f'{{"space": "x", "layers": [[{x}]]}}' for x in ("NaN", "-Infinity", "1e999", "[{}]")),
        f'{{"space": "x", "layers": [[{"1" * 5_000}]]}}',
        '{"space": "x", "layers": [], "more": 1}',
        '{"space": "x", "layers": [], "layers": []}',
        *(None, 3, 1.5, b'{"space": "x", "layers": []}', [], {"space": "x", "layers": []}),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_architecture_is_refused(text: Any) -> None:
    assert read(text) is None


def test_what_an_architecture_may_hold_is_read() -> None:
    assert read('{"layers": [[], [1, -2.5, "a", true, null, [[]]]], "space": "x"}') == Architecture(
        "x", ((), (1, -2.5, "a", True, None, ((),)))
    )
    assert read(deep(DEEPEST)) is not None
