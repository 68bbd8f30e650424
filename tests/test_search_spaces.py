"""One suite over every space in `SEARCH_SPACES` and inputs of every kind."""

from __future__ import annotations

import itertools
import pickle
from dataclasses import dataclass, replace
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from nas_gym.search_spaces import (
    SEARCH_SPACES,
    Architecture,
    Choice,
    LayerCNN,
    NASBench201,
    NASBenchMacro,
    PlainCNN,
    SearchSpace,
    format_layer,
    make_search_space,
)
from nas_gym.search_spaces.base import Actions

Shape = tuple[int, int, int]

SHAPES: list[Shape] = [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 17, 5), (3, 224, 224)]
CLASSES = 10

# An input and options that leave few enough architectures to build all of them, with every reason
# for two sequences to give one: a map that shrinks to 1x1, kernels that do not fit, ...
SMALL: dict[str, tuple[Shape, dict[str, Any]]] = {
    "layer_cnn": ((1, 2, 2), {"depth": 2, "widths": [8]}),
    "plain_cnn": ((1, 4, 4), {"depth": 2, "filters": [8, 16]}),
}

# Networks of these spaces are built quicker so; `test_tables.py` builds them as they are.
QUICK: dict[str, dict[str, Any]] = {
    "nas_bench_macro": {"stem_width": 8, "head_width": 16},
    "nas_bench_201": {"channels": 4, "cells": 1},
}

MOST = 3_000  # architectures that are few enough to build all of them

# A decision of these never has a choice that is another one under another name: networks are
# equal there by what was chosen at different places.
ALWAYS_DISTINCT = {"nas_bench_macro"}
WITHOUT_POOLS = {"nas_bench_macro"}

# What is canonical does not depend on the input here, so fewer random ones of each shape do.
SHAPELESS = {"nas_bench_macro", "nas_bench_201"}

every_space = pytest.mark.parametrize("name", SEARCH_SPACES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


def make(name: str, shape: Shape = (1, 8, 8), **options: Any) -> SearchSpace:
    return make_search_space({"name": name, **QUICK.get(name, {}), **options}, shape, CLASSES)


def small(name: str) -> SearchSpace:
    shape, options = SMALL.get(name, ((1, 8, 8), {}))
    return make(name, shape, **options)


def random_actions(space: SearchSpace, count: int, seed: int = 0) -> np.ndarray:
    shape = (count, len(space.decisions))
    return np.random.default_rng(seed).integers(space.num_actions, size=shape)


def structure(space: SearchSpace, architecture: Architecture) -> str:
    return repr(space.build(architecture))


def as_actions(space: SearchSpace, *choices: Choice) -> list[int]:
    return [d.choices.index(c) for d, c in zip(space.decisions, choices, strict=True)]


def spaces() -> list[SearchSpace]:
    return [make(name, shape) for name in SEARCH_SPACES for shape in SHAPES]


# ---------------------------------------------------------------- decisions and decoding


@every_space
def test_decisions_are_named_uniquely_and_offer_distinct_choices(name: str) -> None:
    space = make(name)
    assert len({decision.name for decision in space.decisions}) == len(space.decisions)
    for decision, size in zip(space.decisions, space.sizes, strict=True):
        assert len(set(decision.choices)) == len(decision.choices) == size >= 1
        assert decision.kind
    assert space.num_actions == max(space.sizes)


@every_space
@every_shape
def test_ten_thousand_random_sequences_decode(name: str, shape: Shape) -> None:
    space = make(name, shape)
    seen: dict[str, Architecture] = {}
    for actions in random_actions(space, 2_000 if name in SHAPELESS else 10_000):
        architecture = space.decode(actions)
        text = architecture.to_json()
        assert seen.setdefault(text, architecture) == architecture
        assert Architecture.from_json(text) == architecture
        assert hash(Architecture.from_json(text)) == hash(architecture)
    assert len(seen) > 1_000


@settings(deadline=None)  # a space may prepare itself on first use
@given(data=st.data(), space=st.sampled_from(spaces()))
def test_decoding_is_pure_and_wraps_around(data: st.DataObject, space: SearchSpace) -> None:
    length = len(space.decisions)
    anything = st.lists(st.integers(-(2**40), 2**40), min_size=length, max_size=length)
    actions = data.draw(anything)
    before = list(actions)
    architecture = space.decode(actions)
    assert actions == before
    wrapped = [int(action) % int(size) for action, size in zip(actions, space.sizes, strict=True)]
    assert architecture == space.decode(wrapped) == space.decode(np.array(wrapped))
    assert architecture.space == space.name
    assert Architecture.from_json(architecture.to_json()) == architecture


@every_space
def test_equal_spaces_decode_alike_and_travel(name: str) -> None:
    space, twin = make(name), make(name)
    assert space == twin
    assert hash(space) == hash(twin)
    actions = random_actions(space, 1)[0]
    copy = pickle.loads(pickle.dumps(space))
    assert copy == space
    assert copy.decode(actions) == twin.decode(actions) == space.decode(actions)


@every_space
def test_a_space_describes_itself(name: str) -> None:
    space = small(name)
    options = space.describe()
    shape, classes = tuple(options.pop("input_shape")), options.pop("num_classes")
    assert make_search_space(options, shape, classes) == space


def test_a_space_of_ones_own_is_found_again_by_its_description() -> None:
    space = helpers.Probe((1, 8, 8), CLASSES, marker="here")
    options = space.describe()
    assert options["name"] == "helpers:Probe"
    del options["input_shape"], options["num_classes"]
    assert make_search_space(options, (1, 8, 8), CLASSES) == space


@every_space
@pytest.mark.parametrize("length", [0, -1, 1])
def test_decode_refuses_sequences_of_another_length(name: str, length: int) -> None:
    space = make(name)
    actions = [0] * (0 if length == 0 else len(space.decisions) + length)
    with pytest.raises(ValueError, match=f"needs {len(space.decisions)} actions"):
        space.decode(actions)


@every_space
def test_prefixes_longer_than_an_episode_are_refused(name: str) -> None:
    space = make(name)
    too_many = [0] * (len(space.decisions) + 1)
    for call in (space.choose, space.mask):
        with pytest.raises((ValueError, IndexError)):
            call(too_many)


# ---------------------------------------------------------------- masks


def same_whatever_follows(
    space: SearchSpace, prefix: list[int], one: int, other: int, trials: int, seed: int
) -> bool:
    rest = random_actions(space, trials, seed)[:, len(prefix) + 1 :].tolist()
    return all(
        space.decode([*prefix, one, *suffix]) == space.decode([*prefix, other, *suffix])
        for suffix in rest
    )


@every_space
@every_shape
def test_the_mask_marks_exactly_the_distinct_actions(name: str, shape: Shape) -> None:
    space = make(name, shape)
    masked_out = 0
    for seed, actions in enumerate(random_actions(space, 60)):
        prefix = actions[: seed % len(space.decisions)].tolist()
        mask = space.mask(prefix)
        assert mask.shape == (space.num_actions,)
        assert mask.dtype == np.bool_
        allowed, hidden = np.flatnonzero(mask).tolist(), np.flatnonzero(~mask).tolist()
        assert allowed
        for action in hidden:
            lower = [other for other in allowed if other < action]
            assert any(
                same_whatever_follows(space, prefix, action, other, 12, seed) for other in lower
            ), f"{action} after {prefix} is masked out but writes networks of its own"
        for one, other in itertools.combinations(allowed, 2):
            assert not same_whatever_follows(space, prefix, one, other, 30, seed), (
                f"{one} and {other} after {prefix} always write the same network"
            )
        masked_out += len(hidden)
    assert (masked_out == 0) == (name in ALWAYS_DISTINCT)


@every_space
@every_shape
def test_masks_of_a_batch_are_those_of_its_rows(name: str, shape: Shape) -> None:
    space = make(name, shape)
    for length in range(len(space.decisions) + 1):
        prefixes = random_actions(space, 20, seed=length)[:, :length]
        masks = space.masks(prefixes)
        assert (masks.dtype, masks.shape) == (np.bool_, (20, space.num_actions))
        np.testing.assert_array_equal(masks, [space.mask(prefix) for prefix in prefixes])
        assert space.masks(prefixes[:0]).shape == (0, space.num_actions)


@dataclass(frozen=True)
class Cautious(LayerCNN):
    """Masks of its own."""

    def mask(self, actions: Actions) -> NDArray[np.bool_]:
        mask = np.ones(self.num_actions, dtype=np.bool_)
        mask[list(actions)] = False  # no action twice
        return mask


def test_masks_are_fixed_only_where_nothing_chosen_matters() -> None:
    alone = {"name": "nas_bench_201", "merge_isomorphic": False}
    assert make_search_space(alone, (1, 8, 8), 10).fixed_masks
    assert make("nas_bench_macro").fixed_masks
    for space in (*map(make, ("layer_cnn", "plain_cnn", "nas_bench_201")), Cautious((1, 8, 8), 10)):
        assert not space.fixed_masks, space
        drawn = random_actions(space, 20)
        masks = [space.masks(drawn[:, :length]) for length in range(len(space.decisions))]
        assert any((rows != rows[0]).any() for rows in masks)


@every_space
def test_after_the_last_decision_every_action_is_marked(name: str) -> None:
    space = make(name)
    assert space.mask([0] * len(space.decisions)).all()


@every_space
def test_every_architecture_can_be_written_with_allowed_actions(name: str) -> None:
    """Whatever is masked out, nothing is lost: the small space is covered by masked play."""
    space = small(name)
    prefixes: list[list[int]] = [[]]
    for _ in space.decisions:
        prefixes = [[*p, int(a)] for p in prefixes for a in np.flatnonzero(space.mask(p))]
    reached = {space.decode(prefix) for prefix in prefixes}
    everything = {space.decode(a) for a in itertools.product(*map(range, space.sizes.tolist()))}
    assert reached == everything
    assert (len(prefixes) == np.prod(space.sizes)) == (name in ALWAYS_DISTINCT)


# ---------------------------------------------------------------- canonical form


@every_space
def test_architectures_differ_exactly_if_their_networks_do(name: str) -> None:
    """All architectures of a small space, built: as many networks as architectures.

    Where they are too many, a sample of them.
    """
    space = small(name)
    product = itertools.product(*map(range, space.sizes.tolist()))
    everything = list(dict.fromkeys(space.decode(actions) for actions in product))
    assert len(everything) > 10
    if len(everything) > MOST:
        assert name in SHAPELESS
        chosen = np.random.default_rng(0).choice(len(everything), 100, replace=False)
        everything = [everything[index] for index in chosen]
    assert len({structure(space, architecture) for architecture in everything}) == len(everything)


@every_space
@every_shape
def test_random_architectures_differ_exactly_if_their_networks_do(name: str, shape: Shape) -> None:
    space = make(name, shape)
    count = 10 if name in SHAPELESS else 100
    architectures = {space.decode(actions) for actions in random_actions(space, count, seed=5)}
    networks = {structure(space, architecture) for architecture in architectures}
    assert len(networks) == len(architectures)


Pair = tuple[SearchSpace, list[Choice], list[Choice]]

CONV: list[Choice] = ["conv3", 32, "gelu", "batch_norm"]
NOTHING: list[Choice] = ["identity", 16, "relu", "none"]
POOL: list[Choice] = ["max_pool", 16, "relu", "none"]
NONE, K3, K5 = "identity", "mb3_k3", "mb6_k5"
SKIP, CONV1, CONV3, POOL3 = "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"
AVERAGE: list[Choice] = ["average_pool", 64, "silu", "batch_norm_dropout"]

EQUAL: dict[str, Pair] = {
    "place of an identity": (LayerCNN((1, 8, 8), 10, 2), NOTHING + CONV, CONV + NOTHING),
    "details of an identity": (
        LayerCNN((1, 8, 8), 10, 2),
        CONV + NOTHING,
        [*CONV, "identity", 64, "silu", "batch_norm"],
    ),
    "details of a pool": (
        LayerCNN((1, 8, 8), 10, 2),
        POOL + CONV,
        ["max_pool", 64, "gelu", "batch_norm_dropout", *CONV],
    ),
    "pool of a 1x1 map": (
        LayerCNN((1, 8, 8), 10, 5),
        POOL * 3 + POOL + CONV,
        POOL * 3 + CONV + AVERAGE,
    ),
    "pool of a 1x1 input": (LayerCNN((3, 1, 1), 10, 1), POOL, AVERAGE),
    "pool of a 1x1 map, sides halved unevenly": (
        LayerCNN((3, 5, 2), 10, 4),
        POOL * 4,
        POOL * 3 + AVERAGE,
    ),
    "padding of a 1x1 kernel": (
        PlainCNN((1, 8, 8), 10, 1),
        [8, 1, "same"],
        [8, 1, "valid"],
    ),
    "a kernel larger than the map": (
        PlainCNN((1, 4, 4), 10, 1),
        [8, 5, "same"],
        [8, 5, "valid"],
    ),
    "a kernel longer than the shorter side": (
        PlainCNN((3, 17, 4), 10, 1),
        [8, 5, "same"],
        [8, 5, "valid"],
    ),
    "a kernel larger than what is left": (
        PlainCNN((1, 8, 8), 10, 3),
        [8, 5, "valid", 8, 1, "same", 8, 5, "same"],
        [8, 5, "valid", 8, 1, "valid", 8, 5, "valid"],
    ),
    "an identity later in a stage": (
        NASBenchMacro((3, 32, 32), 10),
        [K3, NONE, K3, K5, NONE, K3, NONE, K5],
        [K3, NONE, K3, NONE, K5, K3, K5, NONE],
    ),
    "a skip is what it skips from": (
        NASBench201((3, 32, 32), 10),
        [SKIP, "none", CONV3, "none", "none", CONV1],
        ["none", CONV3, "none", "none", "none", CONV1],
    ),
    "edges from nothing": (
        NASBench201((3, 32, 32), 10),
        ["none", CONV3, CONV1, SKIP, POOL3, "none"],
        ["none", CONV1, "none", SKIP, "none", "none"],
    ),
    "order of a sum": (
        NASBench201((3, 32, 32), 10),
        [SKIP, CONV1, CONV3, "none", "none", SKIP],
        [SKIP, CONV3, CONV1, "none", "none", SKIP],
    ),
}

DIFFERENT: dict[str, Pair] = {
    "order of layers": (LayerCNN((1, 8, 8), 10, 2), POOL + CONV, CONV + POOL),
    "kind of pool": (LayerCNN((1, 8, 8), 10, 1), POOL, AVERAGE),
    "pool of a 1x2 map": (LayerCNN((3, 1, 2), 10, 1), POOL, NOTHING),
    "one convolution more": (LayerCNN((1, 8, 8), 10, 2), CONV + CONV, CONV + NOTHING),
    "activation": (
        LayerCNN((1, 8, 8), 10, 1),
        CONV,
        ["conv3", 32, "relu", "batch_norm"],
    ),
    "a kernel as large as the map": (
        PlainCNN((1, 5, 5), 10, 1),
        [8, 5, "same"],
        [8, 5, "valid"],
    ),
    "an identity at the head of a stage": (
        NASBenchMacro((3, 32, 32), 10),
        [K3, NONE, K3, K5, NONE, K3, NONE, K5],
        [K3, NONE, NONE, K3, K5, K3, NONE, K5],
    ),
    "order of blocks": (
        NASBenchMacro((3, 32, 32), 10),
        [K3, NONE, K3, K5, K3, K3, NONE, K5],
        [K3, NONE, K3, K3, K5, K3, NONE, K5],
    ),
    "cells that are trained apart": (
        NASBench201((3, 32, 32), 10, merge_isomorphic=False),
        [SKIP, CONV1, CONV3, "none", "none", SKIP],
        [SKIP, CONV3, CONV1, "none", "none", SKIP],
    ),
    "another operation of an edge": (
        NASBench201((3, 32, 32), 10),
        [SKIP, CONV1, CONV3, "none", "none", SKIP],
        [SKIP, CONV1, CONV3, "none", "none", POOL3],
    ),
    "padding of a 3x3 kernel": (PlainCNN((1, 8, 8), 10, 1), [8, 3, "same"], [8, 3, "valid"]),
}


@pytest.mark.parametrize(("space", "one", "other"), EQUAL.values(), ids=EQUAL.keys())
def test_the_same_network_is_the_same_architecture(
    space: SearchSpace, one: list[Choice], other: list[Choice]
) -> None:
    first = space.decode(as_actions(space, *one))
    second = space.decode(as_actions(space, *other))
    assert first == second
    assert first.to_json() == second.to_json()
    assert first.key == second.key


@pytest.mark.parametrize(("space", "one", "other"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_another_network_is_another_architecture(
    space: SearchSpace, one: list[Choice], other: list[Choice]
) -> None:
    first = space.decode(as_actions(space, *one))
    second = space.decode(as_actions(space, *other))
    assert first != second
    assert first.key != second.key
    assert structure(space, first) != structure(space, second)


@every_space
def test_building_twice_under_one_seed_gives_one_network(name: str) -> None:
    space = make(name)
    x = torch.rand(2, *space.input_shape)
    for actions in random_actions(space, 5):
        outputs, shapes = [], []
        for _ in range(2):
            torch.manual_seed(3)
            model = space.build(space.decode(actions)).eval()
            outputs.append(model(x))
            shapes.append([tuple(p.shape) for p in model.parameters()])
        assert torch.equal(*outputs)
        assert shapes[0] == shapes[1]


# ---------------------------------------------------------------- networks


@every_space
@every_shape
def test_children_train_and_use_all_they_have(name: str, shape: Shape) -> None:
    space = make(name, shape)
    count = 3 if max(shape) > 100 else 10
    x, labels = torch.rand(2, *shape), torch.tensor([0, 1])
    for actions in random_actions(space, count, seed=1):
        torch.manual_seed(0)
        model = space.build(space.decode(actions))
        before = [p.detach().clone() for p in model.parameters()]
        logits = model(x)
        assert logits.shape == (2, CLASSES)
        nn.functional.cross_entropy(logits, labels).backward()
        torch.optim.SGD(model.parameters(), 0.1).step()
        after = list(model.parameters())
        assert all(p.grad is not None and torch.isfinite(p).all() for p in after)
        assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))


@every_space
@every_shape
def test_no_pooling_layer_is_without_effect(name: str, shape: Shape) -> None:
    space = make(name, shape)
    pools = nn.MaxPool2d | nn.AvgPool2d
    checked = 0

    def does_something(module: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal checked
        checked += 1
        smooths = module.stride == 1 and module.kernel_size > 1 and inputs[0][0, 0].numel() > 1
        assert smooths or inputs[0].shape != output.shape

    for actions in random_actions(space, 10, seed=2):
        with torch.device("meta"):
            model = space.build(space.decode(actions)).eval()
        for module in model.modules():
            if isinstance(module, pools):
                module.register_forward_hook(does_something)
        model(torch.empty(1, *shape, device="meta"))
    assert checked > 0 or max(shape) <= 8 or name in WITHOUT_POOLS


@every_space
def test_the_batch_size_is_free(name: str) -> None:
    space = make(name)
    model = space.build(space.decode([0] * len(space.decisions))).eval()
    for batch in (1, 7):
        assert model(torch.rand(batch, *space.input_shape)).shape == (batch, CLASSES)


# ---------------------------------------------------------------- errors


@every_space
@pytest.mark.parametrize("shape", [(8, 8), (1, 0, 8), (1, 8, 8, 8), ()])
def test_shapes_that_are_no_image_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"channels, height, width") as caught:
        make_search_space(name, shape, CLASSES)
    assert str(shape) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("layer_cnn", {"depth": 0}, ["depth", "0"]),
        ("plain_cnn", {"depth": 0}, ["depth", "0"]),
        ("layer_cnn", {"stem_stride": 0}, ["stem_stride", "0"]),
        ("layer_cnn", {"stem_width": 0}, ["stem_width", "0"]),
        ("layer_cnn", {"widths": []}, ["widths"]),
        ("layer_cnn", {"widths": [16, 16]}, ["widths", "16"]),
        ("layer_cnn", {"widths": [16, 0]}, ["widths", "0"]),
        ("layer_cnn", {"widths": ["16"]}, ["widths", "'16'"]),
        ("layer_cnn", {"widths": 16}, ["widths", "16"]),
        ("layer_cnn", {"depth": "six"}, ["depth", "six"]),
        ("plain_cnn", {"filters": []}, ["filters"]),
        ("plain_cnn", {"filters": [8, -8]}, ["filters", "-8"]),
        ("plain_cnn", {"kernel_sizes": [2]}, ["kernel_sizes", "2"]),
        ("plain_cnn", {"kernel_sizes": [3, 3]}, ["kernel_sizes", "3"]),
        ("plain_cnn", {"kernel_sizes": [-1]}, ["kernel_sizes", "-1"]),
        ("layer_cnn", {"dept": 3}, ["layer_cnn", "dept"]),
        ("plain_cnn", {"widths": [3]}, ["plain_cnn", "widths"]),
        ("nas_bench_macro", {"stem_width": 0}, ["stem_width", "0"]),
        ("nas_bench_macro", {"head_width": -1}, ["head_width", "-1"]),
        ("nas_bench_macro", {"depth": 8}, ["nas_bench_macro", "depth"]),
        ("nas_bench_201", {"channels": 0}, ["channels", "0"]),
        ("nas_bench_201", {"cells": "five"}, ["cells", "five"]),
        ("nas_bench_201", {"nodes": 4}, ["nas_bench_201", "nodes"]),
        ("layer_cmm", {}, ["'layer_cmm'", "did you mean 'layer_cnn'?", "plain_cnn"]),
        ("zzz", {}, ["'zzz'", "there are: ", "layer_cnn", "plain_cnn", "module:name"]),
        ("helpers:Nothing", {}, ["helpers", "'Nothing'"]),
        ("no_such_module:Space", {}, ["no_such_module"]),
        ("helpers:score", {}, ["helpers:score", "SearchSpace"]),
    ],
)
def test_bad_options_are_one_clear_sentence(
    name: str, options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make(name, **options)
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_a_missing_dependency_of_ones_own_module_is_not_hidden(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import no_such_dependency\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        make("half_installed:Space")


def test_a_ready_space_must_fit_the_task() -> None:
    space = LayerCNN((1, 8, 8), 10)
    assert make_search_space(space, (1, 8, 8), 10) is space
    assert make_search_space(LayerCNN, (1, 8, 8), 10) == space
    for shape, classes in (((3, 8, 8), 10), ((1, 8, 8), 2)):
        with pytest.raises(ValueError, match="the task has"):
            make_search_space(space, shape, classes)


@every_space
def test_architectures_of_another_space_are_refused(name: str) -> None:
    space = make(name)
    stranger = replace(space.decode([0] * len(space.decisions)), space="elsewhere")
    with pytest.raises(ValueError, match="'elsewhere'"):
        space.build(stranger)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"space": "x"}', "null", "3", '{"layers": []}'])
def test_text_that_is_no_architecture_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an architecture"):
        Architecture.from_json(text)


def test_architectures_read_well() -> None:
    space = LayerCNN((1, 8, 8), 10, 2)
    architecture = space.decode(as_actions(space, *CONV, *POOL))
    assert str(architecture) == "layer_cnn: conv3 32 gelu batch_norm | max_pool"
    assert "no layer" in str(space.decode(as_actions(space, *NOTHING, *NOTHING)))
    assert format_layer((("conv3", 1), "skip")) == "conv3 1 skip"
    assert len(architecture.key) == 16


def test_the_documented_decisions_are_there() -> None:
    layer, plain = LayerCNN((1, 8, 8), 10), PlainCNN((1, 8, 8), 10)
    assert (len(layer.decisions), layer.num_actions) == (24, 7)
    assert (len(plain.decisions), plain.num_actions) == (12, 4)
    macro, cell = NASBenchMacro((1, 8, 8), 10), NASBench201((1, 8, 8), 10)
    assert (len(macro.decisions), macro.num_actions) == (8, 3)
    assert (len(cell.decisions), cell.num_actions) == (6, 5)
    assert [d.kind == "reduction" for d in macro.decisions] == [
        *(True, False),
        *(True, False, False),
        *(True, False, False),
    ]
    assert [d.name for d in cell.decisions][:3] == ["node1<-node0", "node2<-node0", "node2<-node1"]
    assert [d.kind for d in layer.decisions[:4]] == [
        "operation",
        "width",
        "activation",
        "regularisation",
    ]
    assert [d.kind for d in plain.decisions[:3]] == ["filters", "kernel", "padding"]
