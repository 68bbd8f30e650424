"""The two benchmark tables: what they pay, what they cost, and what is wrong with a file."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import helpers
import made_up
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from torch import nn

import nas_gym
from nas_gym import DataError, Evaluation, NASEnv, NASVectorEnv, Recipe, Request, problem_of
from nas_gym.cost import measure
from nas_gym.search_spaces import Architecture, NASBench201, NASBenchMacro, SearchSpace
from nas_gym.search_spaces.nas_bench_201 import OPERATIONS
from nas_gym.tables import Rows, Sealed, Table, load_table, nas_bench_201, nas_bench_macro

MACRO, CELLS = "nas_gym/NASBenchMacro-v0", "nas_gym/NASBench201-v0"
TABLES = {MACRO: nas_bench_macro, CELLS: nas_bench_201}

every_table = pytest.mark.parametrize("env_id", TABLES)


@pytest.fixture(scope="module")
def macro(tmp_path_factory: pytest.TempPathFactory) -> made_up.Macro:
    return made_up.macro(tmp_path_factory.mktemp("macro") / "mine.json")


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> made_up.Cells:
    return made_up.cells(tmp_path_factory.mktemp("cells") / "mine.npz")


@pytest.fixture
def path(env_id: str, macro: made_up.Macro, cells: made_up.Cells) -> str:
    """The made-up table of an environment."""
    return str({MACRO: macro, CELLS: cells}[env_id].path)


def make(env_id: str, **kwargs: Any) -> NASEnv:
    env = gym.make(env_id, **kwargs).unwrapped
    assert isinstance(env, NASEnv)
    return env


def play(env: NASEnv, actions: Any) -> tuple[float, dict[str, Any]]:
    env.reset()
    for action in actions:
        _, reward, done, _, info = env.step(action)
    assert done
    return float(reward), info


def sequences(space: SearchSpace, count: int, seed: int = 0) -> list[list[int]]:
    shape = (count, len(space.decisions))
    drawn: list[list[int]] = np.random.default_rng(seed).integers(space.num_actions, size=shape)
    return np.array(drawn).tolist()


def every_sequence(space: SearchSpace) -> list[list[int]]:
    return np.stack(
        np.unravel_index(np.arange(int(np.prod(space.sizes))), space.sizes), axis=1
    ).tolist()


def ask(table: Table, architecture: Architecture, seed: int = 0) -> Evaluation:
    return table.source(Request(architecture, seed))


def sealed_scores(env_id: str, train_seed: int = 0, **options: Any) -> Sealed | None:
    """What a search with these arguments does not see."""
    problem, _ = problem_of(env_id, train_seed=train_seed, **options)
    return None if problem.sealed is None else problem.sealed(train_seed)


# ---------------------------------------------------------------- the architectures


def test_as_many_networks_as_the_benchmarks_count() -> None:
    macro = nas_bench_macro.SPACE
    merged, alone = (
        NASBench201((3, 32, 32), 10, merge_isomorphic=merge) for merge in (True, False)
    )
    counts = [
        len({space.decode(actions) for actions in every_sequence(space)})
        for space in (macro, merged, alone)
    ]
    assert counts == [3_969, 6_466, 15_625]
    assert len(Rows(macro).reachable()) == 3_969
    assert len(Rows(alone).reachable()) == 15_625
    assert nas_bench_201.space("cifar10") == alone


@pytest.mark.parametrize("space", [nas_bench_macro.SPACE, nas_bench_201.space("cifar10")])
def test_rows_are_numbered_in_the_order_of_the_actions(space: SearchSpace) -> None:
    rows = Rows(space)
    found = {}
    for number, actions in enumerate(every_sequence(space)):
        architecture = Architecture(space.name, tuple((c,) for c in space.choose(actions)))
        if space.decode(actions) == architecture:
            found[number] = rows.number(architecture)
        else:  # another sequence writes the same network, and it is called by that one
            with pytest.raises(ValueError, match=space.name):
                rows.number(architecture)
    assert list(found) == list(found.values()) == rows.reachable().tolist()
    first = space.decode([0] * len(space.decisions))
    for wrong in (
        Architecture("plain_cnn", first.layers),
        Architecture(space.name, first.layers[1:]),
        Architecture(space.name, (*first.layers, first.layers[0])),
        Architecture(space.name, (("conv",), *first.layers[1:])),
    ):
        with pytest.raises(ValueError, match=space.name):
            rows.number(wrong)


def test_isomorphic_cells_compute_the_same() -> None:
    """With one weight for each kind of operation: what is merged gives the same output."""
    alone, merged = (NASBench201((3, 8, 8), 10, merge_isomorphic=merge) for merge in (False, True))
    x = torch.linspace(-1, 1, 2 * 3 * 25).reshape(1, 2 * 3, 5, 5)

    def output(architecture: Architecture) -> torch.Tensor:
        from nas_gym.search_spaces.nas_bench_201 import Cell

        cell = Cell([str(operation) for (operation,) in architecture.layers], 6).eval().double()
        for module in cell.modules():
            if isinstance(module, nn.Conv2d):
                values = torch.sin(torch.arange(module.weight.numel(), dtype=torch.float64))
                module.weight.data = values.reshape(module.weight.shape)
        with torch.no_grad():
            result: torch.Tensor = cell(x.double())
        return result

    checked = 0
    for actions in sequences(alone, 60):
        written, first = alone.decode(actions), merged.decode(actions)
        if written != first:
            torch.testing.assert_close(output(written), output(first))
            checked += 1
    assert checked > 20


# ---------------------------------------------------------------- what is paid


@pytest.mark.parametrize("dataset", nas_bench_201.DATASETS)
def test_a_cell_is_paid_as_its_row_says(dataset: str, cells: made_up.Cells) -> None:
    """Whatever the file's name and the order of its rows, edges and operations."""
    env = make(CELLS, dataset=dataset, path=str(cells.path))
    field = made_up.FIELDS[dataset]
    classes, shape = {"cifar10": (10, 32), "cifar100": (100, 32), "imagenet16": (120, 16)}[dataset]
    assert (env.search_space.num_classes, env.search_space.input_shape[1]) == (classes, shape)
    for actions in sequences(env.search_space, 200):
        row = made_up.row_of(actions, 5)
        reward, info = play(env, actions)
        assert reward == info["val_accuracy"] == cells.columns[f"acc12_{field}_valid"][row] / 100
        assert info["params"] == cells.columns[f"params_{field}"][row]
        assert info["macs"] == cells.columns[f"flops_{field}"][row]
        assert info["status"] == "ok"
    table = nas_bench_201.table(dataset, str(cells.path))
    np.testing.assert_array_equal(
        table.look_up.accuracy(0), cells.columns[f"acc12_{field}_valid"] / 100
    )


def test_a_file_in_another_order_is_the_same_table(cells_dir: Path, tmp_path: Path) -> None:
    own = nas_bench_201.table(data_dir=str(cells_dir))
    with np.load(nas_bench_201.find("cifar10", None, str(cells_dir))) as file:
        fields = dict(file)
    rows, edges, names = (np.random.default_rng(1).permutation(n) for n in (15_625, 6, 5))
    for name in fields.keys() - {"op_names", "edges"}:
        fields[name] = fields[name][rows]
    fields["ops"] = np.argsort(names)[fields["ops"]][:, edges]
    fields |= {"op_names": fields["op_names"][names], "edges": fields["edges"][edges]}
    np.savez(tmp_path / "shuffled.npz", **fields)
    other = nas_bench_201.table(path=str(tmp_path / "shuffled.npz"))
    assert other.source.context == own.source.context
    batch = [own.space.decode(actions) for actions in sequences(own.space, 300)]
    for mine, theirs in ((ask(own, child), ask(other, child)) for child in batch):
        assert mine.seconds == pytest.approx(theirs.seconds)
        assert (mine.scores, mine.cost) == (theirs.scores, theirs.cost)


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    for seed in (1, 2):
        made = made_up.cells(path, ("cifar10",), seed)
        os.utime(path, (seed, seed))
        table = nas_bench_201.table(path=str(path))
        np.testing.assert_array_equal(
            table.look_up.accuracy(0), made.columns["acc12_cifar10_valid"] / 100
        )


def test_a_file_is_found_under_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "nas-bench-201"
    folder.mkdir()
    monkeypatch.setenv("NAS_GYM_DATA", str(tmp_path))
    together = made_up.cells(folder / "nas_bench_201.npz", ("cifar10", "cifar100"), 1)
    alone = made_up.cells(folder / "nas_bench_201_cifar10.npz", ("cifar10",), 2)
    for dataset, made in (("cifar10", alone), ("cifar100", together)):
        reward, _ = play(make(CELLS, dataset=dataset), [0] * 6)
        assert reward == made.columns[f"acc12_{dataset}_valid"][0] / 100
    with pytest.raises(DataError, match="acc12_in16_valid"):
        make(CELLS, dataset="imagenet16")


def test_the_real_rows_are_paid(cells_dir: Path, macro_dir: Path) -> None:
    env = make(CELLS, data_dir=str(cells_dir))
    with np.load(nas_bench_201.find("cifar10", None, str(cells_dir))) as fields:
        accuracy, ops = fields["acc12_cifar10_valid"], fields["ops"]
    for index in range(0, 15_625, 100):
        assert play(env, ops[index].tolist())[0] == float(accuracy[index]) / 100
    table = json.loads(nas_bench_macro.find(None, str(macro_dir)).read_text(encoding="utf-8"))
    env = make(MACRO, data_dir=str(macro_dir))
    for actions in sequences(env.search_space, 200):
        row = table["".join(map(str, actions))]
        reward, info = play(env, actions)
        assert reward in [accuracy / 100 for accuracy in row["test_acc"]]
        assert (info["params"], info["macs"], info["seconds"]) == (row["params"], row["flops"], 0)


@every_table
def test_equal_networks_are_paid_equally(env_id: str, path: str) -> None:
    env = make(env_id, path=path)
    paid: dict[str, float] = {}
    repeats = 0
    for actions in sequences(env.search_space, 800, seed=2):
        reward, info = play(env, actions)
        repeats += info["cached"]
        assert info["cached"] == (info["architecture"] in paid)
        assert paid.setdefault(info["architecture"], reward) == reward
    assert repeats > 10
    assert env.ledger.repeats == repeats


def test_an_identity_may_stand_anywhere_in_its_stage(macro: made_up.Macro) -> None:
    env = make(MACRO, path=str(macro.path))
    one, other = play(env, [2, 2, 2, 1, 0, 2, 0, 2]), play(env, [2, 2, 2, 0, 1, 2, 2, 0])
    assert one[0] == other[0]
    assert other[1]["cached"]
    assert play(env, [2, 2, 0, 1, 2, 2, 0, 2])[0] != one[0]  # not at its head


# ---------------------------------------------------------------- which training


def test_a_training_is_drawn_by_seed_and_architecture_alone(macro: made_up.Macro) -> None:
    space = nas_bench_macro.SPACE
    batch = [space.decode(actions) for actions in sequences(space, 100)]
    rows = [nas_bench_macro.table(path=str(macro.path)).look_up.rows.number(a) for a in batch]
    drawn = {}
    for seed in range(-1, 5):
        one, other = (nas_bench_macro.table(path=str(macro.path)) for _ in range(2))
        drawn[seed] = [ask(one, child, seed).scores["accuracy"] for child in batch]
        for child, before in zip(batch, (9, seed, 7), strict=False):
            ask(other, child, before)  # what was asked before does not matter
        for index in reversed(range(100)):
            accuracy = ask(other, batch[index], seed).scores["accuracy"]
            assert accuracy == drawn[seed][index]
            assert accuracy in macro.trainings[rows[index]] / 100
    shares = [
        np.mean(np.array(drawn[a]) == np.array(drawn[b])) for a in drawn for b in drawn if a < b
    ]
    assert 0.1 < min(shares) <= max(shares) < 0.6
    for column in range(3):
        chosen = [
            np.isin(macro.trainings[rows, column] / 100, drawn[seed]).mean() for seed in drawn
        ]
        assert min(chosen) > 0.1


def test_the_seed_of_the_environment_draws_and_a_resampled_one_too(macro: made_up.Macro) -> None:
    path = str(macro.path)
    actions = sequences(nas_bench_macro.SPACE, 30)
    table = nas_bench_macro.table(path=path)
    env = make(MACRO, path=path, train_seed=3)
    batch = [env.search_space.decode(sequence) for sequence in actions]
    paid = [play(env, sequence)[0] for sequence in actions]
    assert paid == [ask(table, child, 3).scores["accuracy"] for child in batch]
    again = make(MACRO, path=path, seed_policy="resample")
    again.reset(seed=0)
    assert len({play(again, actions[0])[0] for _ in range(30)}) == 3


def test_the_mean_is_the_mean(macro: made_up.Macro) -> None:
    env = make(MACRO, path=str(macro.path), training="mean", train_seed=3)
    rows = Rows(nas_bench_macro.SPACE)
    for actions in sequences(env.search_space, 50):
        row = rows.number(env.search_space.decode(actions))
        assert play(env, actions)[0] == pytest.approx(macro.trainings[row].mean() / 100, abs=1e-12)


def test_a_cell_is_paid_alike_under_every_seed(cells: made_up.Cells) -> None:
    table = nas_bench_201.table(path=str(cells.path))
    child = table.space.decode([1, 2, 3, 4, 3, 2])
    assert len({ask(table, child, seed).scores["accuracy"] for seed in range(5)}) == 1


# ---------------------------------------------------------------- what is sealed


def test_the_published_optima(cells_dir: Path, macro_dir: Path) -> None:
    scores = sealed_scores(CELLS, data_dir=str(cells_dir))
    assert scores is not None
    assert scores.optimum == pytest.approx(94.3733, abs=1e-4)
    best = nas_bench_201.space("cifar10").decode([3, 3, 3, 1, 3, 2])
    assert (scores.score(best), scores.regret(best)) == (scores.optimum, 0)
    assert scores.regret(nas_bench_201.space("cifar10").decode([0] * 6)) == pytest.approx(84.3733)
    assert scores.noise == pytest.approx(0.25, abs=0.01)

    scores = sealed_scores(MACRO, data_dir=str(macro_dir), training="mean")
    assert scores is not None
    assert scores.optimum == pytest.approx(93.127, abs=1e-3)
    for actions in ([2, 2, 2, 1, 2, 2, 0, 2], [2, 2, 2, 1, 2, 2, 2, 0]):
        best = nas_bench_macro.SPACE.decode(actions)
        assert (scores.score(best), scores.regret(best)) == (scores.optimum, 0)
    assert scores.noise == pytest.approx(0.19, abs=0.01)
    drawn = sealed_scores(MACRO, data_dir=str(macro_dir))
    assert drawn is not None
    assert drawn.noise == scores.noise  # of one training, whatever is drawn
    assert abs(drawn.optimum - scores.optimum) < 0.5


def test_sealed_scores_are_those_of_the_file(macro: made_up.Macro, cells: made_up.Cells) -> None:
    scores = sealed_scores(CELLS, dataset="imagenet16", path=str(cells.path), train_seed=3)
    assert scores is not None
    np.testing.assert_array_equal(scores.values, cells.columns["acc200_in16_test"])
    assert scores.optimum == scores.values.max()
    assert "imagenet16" in scores.metric
    scores = sealed_scores(MACRO, path=str(macro.path), training="mean")
    assert scores is not None
    np.testing.assert_allclose(scores.values, macro.trainings.mean(1))
    reachable = Rows(nas_bench_macro.SPACE).reachable()
    assert scores.optimum == scores.values[reachable].max() < scores.values.max()
    for space, known in ((nas_bench_macro.SPACE, scores),):
        regrets = [known.regret(space.decode(actions)) for actions in sequences(space, 50)]
        assert min(regrets) > 0


@pytest.mark.parametrize(
    ("env_id", "write"),
    [(MACRO, made_up.macro), (CELLS, made_up.cells)],
)
def test_a_file_that_was_replaced_is_read_anew(env_id: str, write: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.npz"
    found = []
    for seed in range(2):
        write(path, seed=seed)
        os.utime(path, (seed + 1, seed + 1))
        paid = play(make(env_id, path=str(path)), [1] * 8 if env_id == MACRO else [1] * 6)[0]
        scores = sealed_scores(env_id, path=str(path))
        assert scores is not None
        found.append((paid, scores.optimum))
    assert found[0][0] != found[1][0]
    assert found[0][1] != found[1][1]


SEEDS = [0, 1, 2, 7, 2**31 - 1, -1]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_sealed_of_a_drawn_training_is_the_mean_of_the_others(
    seed: int, macro: made_up.Macro
) -> None:
    """By the numbers of the file: the one that is paid has no part in it."""
    table = nas_bench_macro.table(path=str(macro.path))
    rows, scores = Rows(nas_bench_macro.SPACE), table.sealed(seed)
    assert "2 trainings" in scores.metric
    for actions in sequences(nas_bench_macro.SPACE, 300, seed=abs(seed)):
        child = nas_bench_macro.SPACE.decode(actions)
        trainings = macro.trainings[rows.number(child)].tolist()
        paid = 100 * ask(table, child, seed).scores["accuracy"]
        (seen,) = [i for i in range(3) if trainings[i] == pytest.approx(paid, abs=1e-9)]
        others = [trainings[i] for i in range(3) if i != seen]
        assert scores.score(child) == pytest.approx(sum(others) / 2, abs=1e-9)
        for wrong in (sum(trainings) / 3, *((paid + other) / 2 for other in others)):
            assert scores.score(child) != pytest.approx(wrong, abs=1e-9)


def test_the_reward_tells_nothing_of_what_is_sealed(macro: made_up.Macro) -> None:
    """Of independent trainings it is uncorrelated with the mean of the others, not of all."""
    table = nas_bench_macro.table(path=str(macro.path))
    for seed in SEEDS:
        paid = table.look_up.accuracy(seed)
        assert abs(np.corrcoef(paid, table.sealed(seed).values)[0, 1]) < 0.05
        assert np.corrcoef(paid, macro.trainings.mean(1))[0, 1] > 0.5


def test_the_optimum_is_that_of_the_seed(macro: made_up.Macro) -> None:
    table = nas_bench_macro.table(path=str(macro.path))
    rows = Rows(nas_bench_macro.SPACE)
    reachable = rows.reachable()
    found = {}
    for seed in SEEDS:
        scores = table.sealed(seed)
        drawn = 100 * table.look_up.accuracy(seed)
        others = (macro.trainings.sum(1) - drawn) / 2
        np.testing.assert_allclose(scores.values, others)
        assert scores.optimum == scores.values[reachable].max()
        space = nas_bench_macro.SPACE
        regrets = [scores.regret(space.decode(row)) for row in sequences(space, 50)]
        assert min(regrets) >= 0
        found[seed] = scores.optimum
        assert sealed_scores(MACRO, path=str(macro.path), train_seed=seed) is not None
    assert len(set(found.values())) > 1
    assert table.sealed(SEEDS[0]).optimum == found[SEEDS[0]]  # whatever was asked in between


def test_a_search_of_the_mean_has_nothing_sealed_from_it(macro: made_up.Macro) -> None:
    table = nas_bench_macro.table(training="mean", path=str(macro.path))
    for seed in SEEDS:
        scores = table.sealed(seed)
        np.testing.assert_allclose(scores.values, macro.trainings.mean(1))
        np.testing.assert_allclose(scores.values, 100 * table.look_up.accuracy(seed))
        assert "3 trainings" in scores.metric


def test_a_table_of_one_training_has_no_others(macro: made_up.Macro, tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    one = {net: row | {"test_acc": row["test_acc"][:1]} for net, row in macro.table.items()}
    path.write_text(json.dumps(one), encoding="utf-8")
    scores = nas_bench_macro.table(path=str(path)).sealed(3)
    np.testing.assert_allclose(scores.values, macro.trainings[:, 0])
    assert scores.noise is None


def test_cells_have_the_same_sealed_scores_under_every_seed(cells: made_up.Cells) -> None:
    table = nas_bench_201.table(path=str(cells.path))
    for seed in SEEDS:
        np.testing.assert_array_equal(
            table.sealed(seed).values, cells.columns["acc200_cifar10_test"]
        )


def own_table(path: str, data_dir: str | None = None) -> Table:
    """A user's own table."""
    del data_dir
    return nas_bench_201.table("cifar100", path)


def test_only_a_table_has_sealed_scores(cells: made_up.Cells) -> None:
    assert sealed_scores("nas_gym/Digits-v0") is None
    assert sealed_scores(CELLS, task="digits") is None
    own = "test_tables:own_table"
    nas_gym.register_task("helpers/Cells-v0", None, table=own, path=str(cells.path))
    try:
        scores = sealed_scores("helpers/Cells-v0")
        assert scores is not None
        assert scores.optimum == cells.columns["acc200_cifar100_test"].max()
        assert play(make("helpers/Cells-v0"), [0] * 6)[0] == pytest.approx(
            cells.columns["acc12_cifar100_valid"][0] / 100
        )
    finally:
        del gym.registry["helpers/Cells-v0"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nas_bench_20", ["table", "did you mean 'nas_bench_201'?"]),
        ("helpers:score", ["helpers:score", "its options are: architecture"]),
        ("helpers:no_task", ["helpers:no_task", "Table", "int"]),
        ("helpers:absent", ["helpers", "'absent'"]),
    ],
)
def test_what_is_no_table_is_one_clear_sentence(name: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        load_table(name, None, {})
    assert helpers.is_sentence(caught.value, *words), caught.value


# ---------------------------------------------------------------- simulated seconds


@pytest.mark.parametrize(
    ("dataset", "share"), [("cifar10", 0.5), ("cifar100", 1.0), ("imagenet16", 1.0)]
)
def test_seconds_are_those_of_the_images_trained_on(
    dataset: str, share: float, cells: made_up.Cells
) -> None:
    """Measured or not: the made-up times are linear in the operations."""
    table = nas_bench_201.table(dataset, str(cells.path))
    shortest = np.nanmin(cells.columns[f"train_seconds12_{made_up.FIELDS[dataset]}"])
    expected = share * np.maximum(made_up.seconds(), shortest)
    np.testing.assert_allclose(table.look_up.seconds, expected)
    _, info = play(make(CELLS, dataset=dataset, path=str(cells.path)), [3] * 6)
    assert info["seconds"] == pytest.approx(share * (86 + 6 * 54.25))


def test_real_seconds_are_half_of_what_was_measured(cells_dir: Path) -> None:
    seconds = nas_bench_201.table(data_dir=str(cells_dir)).look_up.seconds
    with np.load(nas_bench_201.find("cifar10", None, str(cells_dir))) as fields:
        measured, ops = fields["train_seconds12_cifar10"].astype(float), fields["ops"]
    assert seconds is not None
    rows = np.ravel_multi_index(tuple(ops.T), (5,) * 6)
    have = np.isfinite(measured)
    assert have.sum() == 1_000
    np.testing.assert_array_equal(seconds[rows[have]], measured[have] / 2)
    counts = np.stack([(ops == operation).sum(1) for operation in range(1, 5)], axis=1)
    linear = 86.1 + counts @ np.array([-4.6, 41.5, 54.4, 19.6])
    linear = np.maximum(linear, measured[have].min()) / 2  # none is quicker than what was measured
    np.testing.assert_allclose(seconds[rows[~have]], linear[~have], atol=0.5)


@pytest.mark.parametrize("measured", [0, 99, None])
def test_without_enough_times_none_are_made_up(
    measured: int | None, cells: made_up.Cells, tmp_path: Path
) -> None:
    fields = dict(cells.fields)
    times = fields.pop("train_seconds12_cifar10")
    if measured is not None:
        times[measured:] = np.nan
        times[:measured] = 100.0
        fields["train_seconds12_cifar10"] = times
    np.savez(tmp_path / "table.npz", **fields)
    _, info = play(make(CELLS, path=str(tmp_path / "table.npz")), [3] * 6)
    assert info["seconds"] == 0.0


# ---------------------------------------------------------------- the networks of the tables


@pytest.fixture
def quick_building(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are not initialised; only their number is asked for."""
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        monkeypatch.setattr(kind, "reset_parameters", lambda module: None)


def params(space: SearchSpace, architecture: Architecture) -> int:
    with torch.device("meta"):
        model = space.build(architecture)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_params(table: Any, batch: list[list[int]]) -> None:
    space: SearchSpace = table.space
    for actions in batch:
        known = ask(table, space.decode(actions))
        assert params(space, known.architecture) == known.params, known.architecture


def test_networks_have_the_parameters_of_the_table(
    quick_building: None, macro_dir: Path, cells_dir: Path
) -> None:
    for module, folder in ((nas_bench_macro, macro_dir), (nas_bench_201, cells_dir)):
        table = module.table(data_dir=str(folder))
        check_params(table, sequences(table.space, 40, seed=4))


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("module", TABLES.values(), ids=["macro", "cells"])
def test_every_network_has_the_parameters_of_the_table(
    quick_building: None, macro_dir: Path, cells_dir: Path, module: Any
) -> None:
    table = module.table(data_dir=str(macro_dir))
    check_params(table, every_sequence(table.space))


def test_networks_of_macro_have_the_multiply_adds_of_the_table(macro_dir: Path) -> None:
    table = nas_bench_macro.table(data_dir=str(macro_dir))
    for actions in sequences(nas_bench_macro.SPACE, 3, seed=5):
        known = ask(table, nas_bench_macro.SPACE.decode(actions))
        assert measure(nas_bench_macro.SPACE, known.architecture, Recipe()).macs == known.macs


def test_cells_have_the_multiply_adds_of_the_table_beside_its_other_operations(
    cells_dir: Path,
) -> None:
    """That file counts batch norm (2 a value), ReLU (1) and pooling (9) too."""
    table = nas_bench_201.table(data_dir=str(cells_dir))
    space = nas_bench_201.space("cifar10")
    values = 5 * (16 * 32**2 + 32 * 16**2 + 64 * 8**2)  # of one node, in all fifteen cells
    for actions in sequences(space, 3, seed=5):
        known = ask(table, space.decode(actions))
        convolutions = sum(action in (2, 3) for action in actions)
        elementwise = 3 * convolutions + 9 * actions.count(OPERATIONS.index("avg_pool_3x3"))
        assert known.macs is not None
        beside = known.macs - measure(space, known.architecture, Recipe()).macs
        assert beside == 160_832 + values * elementwise


@pytest.mark.parametrize(
    ("dataset", "cell", "published_params", "published_flops"),
    [
        ("cifar10", [4, 2, 1, 2, 1, 1], 129_306, 15_647_370),
        ("cifar10", [3, 3, 4, 0, 3, 4], 802_426, 113_951_370),
        ("cifar10", [1, 1, 1, 0, 2, 0], 101_306, 11_715_210),
        ("cifar100", [4, 2, 1, 2, 1, 1], 135_156, 15_653_220),
        ("imagenet16", [4, 2, 1, 2, 1, 1], 136_456, 3_919_480),
    ],
)
def test_cells_have_the_size_that_the_official_results_give(
    dataset: str, cell: list[int], published_params: int, published_flops: int
) -> None:
    """These count the additions of the last layer's bias, one a class."""
    space = nas_bench_201.space(dataset)
    cost = measure(space, space.decode(cell), Recipe())
    assert (cost.params, cost.macs + space.num_classes) == (published_params, published_flops)


# ---------------------------------------------------------------- files that are no such table


def macro_text(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path, Any, Any], None]:
    def write(path: Path, macro: made_up.Macro, cells: made_up.Cells) -> None:
        table = json.loads(json.dumps(macro.table))
        path.write_text(json.dumps(change(table) or table), encoding="utf-8")

    return write


def first(**changes: Any) -> Callable[[Path, Any, Any], None]:
    """A change of one network's entry; None removes a value."""

    def change(table: dict[str, Any]) -> None:
        table["00000000"] |= changes
        for name in [name for name, value in changes.items() if value is None]:
            del table["00000000"][name]

    return macro_text(change)


def all_trainings(trainings: list[float]) -> Callable[[Path, Any, Any], None]:
    def change(table: dict[str, Any]) -> None:
        for row in table.values():
            row["test_acc"] = trainings

    return macro_text(change)


def fields(**changes: Any) -> Callable[[Path, Any, Any], None]:
    """A change of the fields; None removes one, a function changes it."""

    def write(path: Path, macro: Any, cells: made_up.Cells) -> None:
        found = {name: column.copy() for name, column in cells.fields.items()}
        for name, value in changes.items():
            if value is None:
                del found[name]
            else:
                found[name] = value(found[name]) if callable(value) else value
        with path.open("wb") as file:
            np.savez(file, **found)

    return write


def content(data: bytes | None) -> Callable[[Path, Any, Any], None]:
    """Other bytes, or the first half of the table's own."""

    def write(path: Path, macro: made_up.Macro, cells: made_up.Cells) -> None:
        own = (macro if path.suffix == ".json" else cells).path.read_bytes()
        path.write_bytes(own[: len(own) // 2] if data is None else data)

    return write


def put(value: float) -> Callable[[Any], Any]:
    def change(column: Any) -> Any:
        column[7] = value
        return column

    return change


def plain_array(path: Path, macro: Any, cells: made_up.Cells) -> None:
    with path.open("wb") as file:
        np.save(file, cells.columns["acc12_cifar10_valid"])


VALID = "acc12_cifar10_valid"
WRONG: dict[str, tuple[str, Callable[[Path, Any, Any], None], list[str]]] = {
    "macro, half of the file": (MACRO, content(None), ["damaged"]),
    "macro, empty": (MACRO, content(b""), ["damaged"]),
    "macro, no text": (MACRO, content(b"\xff\xfe\x00" * 99), ["damaged"]),
    "macro, a list": (MACRO, content(b"[1]"), ["lacks 6561 of 6561", "'00000000'"]),
    "macro, one missing": (MACRO, macro_text(lambda t: t.pop("2" * 8) and None), ["'22222222'"]),
    "macro, no accuracy": (MACRO, first(test_acc=None), ["test_acc"]),
    "macro, no size": (MACRO, first(params=None), ["params"]),
    "macro, no cost": (MACRO, first(flops=None), ["flops"]),
    "macro, one training less": (MACRO, first(test_acc=[90.0, 90.0]), ["test_acc"]),
    "macro, no training": (MACRO, all_trainings([]), ["test_acc"]),
    "macro, above 100": (MACRO, first(test_acc=[90.0, 101.0, 90.0]), ["percentages"]),
    "macro, below 0": (MACRO, first(test_acc=[90.0, -1.0, 90.0]), ["percentages"]),
    "macro, not a number": (MACRO, first(test_acc=[90.0, float("nan"), 90.0]), ["percentages"]),
    "macro, words": (MACRO, first(test_acc=["good", "good", "bad"]), ["test_acc"]),
    "macro, an entry of another kind": (
        MACRO,
        macro_text(lambda t: dict.fromkeys(t, 3)),
        ["every"],
    ),
    "201, half of the file": (CELLS, content(None), ["damaged"]),
    "201, empty": (CELLS, content(b""), ["damaged"]),
    "201, no archive": (CELLS, content(b"PK\x03\x04" + b"x" * 999), ["damaged"]),
    "201, a pickle": (CELLS, content(pickle.dumps([1, 2])), ["damaged"]),
    "201, a plain array": (CELLS, plain_array, ["damaged"]),
    "201, objects": (CELLS, fields(**{VALID: np.array([{}] * 15_625)}), ["damaged"]),
    "201, words": (CELLS, fields(**{VALID: np.array(["good"] * 15_625)}), ["damaged"]),
    "201, no such field": (CELLS, fields(**{VALID: None}), [VALID, "edges", "ops"]),
    "201, no edges": (CELLS, fields(edges=None), ["edges"]),
    "201, other edges": (CELLS, fields(edges=lambda e: e[::-1].astype("U1")), ["3<-2"]),
    "201, other operations": (CELLS, fields(op_names=lambda n: np.char.upper(n)), ["nor_conv_3x3"]),
    "201, too short": (CELLS, fields(**{VALID: lambda c: c[1:]}), [VALID, "15625"]),
    "201, a table of tables": (CELLS, fields(**{VALID: lambda c: c[:, None]}), [VALID]),
    "201, above 100": (CELLS, fields(**{VALID: put(100.5)}), [VALID, "percentages"]),
    "201, below 0": (CELLS, fields(**{VALID: put(-0.5)}), [VALID, "percentages"]),
    "201, not a number": (CELLS, fields(**{VALID: put(np.nan)}), [VALID, "no numbers"]),
    "201, infinite": (CELLS, fields(**{VALID: put(np.inf)}), [VALID, "no numbers"]),
    "201, a cell twice": (CELLS, fields(ops=lambda ops: ops[[0, *range(15_624)]]), ["15,625"]),
    "201, a cell less": (CELLS, fields(ops=lambda ops: ops[1:]), ["15,625"]),
    "201, a sixth operation": (CELLS, fields(ops=lambda ops: ops + 1), ["damaged"]),
    "201, five edges": (CELLS, fields(ops=lambda ops: ops[:, :5]), ["damaged"]),
}


@pytest.mark.parametrize(("env_id", "write", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_is_no_such_table_is_one_sentence(
    env_id: str, write: Any, words: list[str], macro: Any, cells: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"table{'.json' if env_id == MACRO else '.npz'}"
    write(path, macro, cells)
    with pytest.raises(DataError) as caught:
        make(env_id, path=str(path))
    assert helpers.is_sentence(caught.value, str(path), *words), caught.value


@pytest.mark.parametrize(
    "write",
    [fields(acc200_cifar10_test=value) for value in (None, put(101.0), put(np.nan))],
    ids=["missing", "above 100", "not a number"],
)
def test_sealed_scores_of_a_wrong_file_are_refused(
    write: Any, macro: Any, cells: Any, tmp_path: Path
) -> None:
    path = tmp_path / "table.npz"
    write(path, macro, cells)
    make(CELLS, path=str(path))  # a search does not even look at them
    with pytest.raises(DataError) as caught:
        sealed_scores(CELLS, path=str(path))
    assert helpers.is_sentence(caught.value, path, "acc200_cifar10_test"), caught.value


@every_table
@pytest.mark.parametrize("vector", [False, True])
def test_a_missing_file_is_named(env_id: str, vector: bool, tmp_path: Path) -> None:
    def fail(**kwargs: Any) -> str:
        with pytest.raises(DataError) as caught:
            gym.make_vec(env_id, num_envs=2, **kwargs) if vector else gym.make(env_id, **kwargs)
        assert helpers.is_sentence(caught.value, "no file", "path=")
        return str(caught.value)

    assert str(tmp_path / "nas-bench-") in fail(data_dir=str(tmp_path))
    assert str(tmp_path / "mine") in fail(path=str(tmp_path / "mine"))
    assert str(tmp_path) in fail(path=str(tmp_path))  # a folder


# ---------------------------------------------------------------- options


@every_table
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize(
    "option",
    [
        {"recipe": {"epochs": 1}},
        {"device": "auto"},
        {"search_space": "layer_cnn"},
        {"recipe": {"epochs": 1}, "search_space": "plain_cnn", "task": None},
    ],
)
def test_options_of_training_need_a_task(
    env_id: str, path: str, option: dict[str, Any], vector: bool
) -> None:
    make: Any = gym.make_vec if vector else gym.make
    with pytest.raises(ValueError, match="options of training") as caught:
        make(env_id, path=path, **option)
    names = option.keys() - {"task"}
    assert helpers.is_sentence(caught.value, "task='cifar10'", *names), caught.value


@pytest.mark.parametrize(
    ("env_id", "option"),
    [(MACRO, {"training": "mean"}), (CELLS, {"dataset": "cifar100"})]
    + [(env_id, {"path": "x"}) for env_id in TABLES],
)
def test_options_of_a_table_are_refused_with_a_task(env_id: str, option: dict[str, Any]) -> None:
    for make in (gym.make, gym.make_vec):
        with pytest.raises(ValueError, match="which is not read when") as caught:
            make(env_id, task="digits", **option)  # type: ignore[operator]
        assert helpers.is_sentence(caught.value, *option), caught.value


@pytest.mark.parametrize(
    ("env_id", "option", "words"),
    [
        (MACRO, {"training": "best"}, ["training", "'best'", "drawn", "mean"]),
        (CELLS, {"dataset": "cifar-10"}, ["dataset", "did you mean 'cifar10'?", "imagenet16"]),
        (CELLS, {"reward": "acuracy"}, ["reward", "did you mean 'accuracy'?"]),
    ],
)
def test_unknown_values_are_one_clear_sentence(
    env_id: str, option: dict[str, Any], words: list[str], macro: Any, cells: Any
) -> None:
    file = macro.path if env_id == MACRO else cells.path
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        make(env_id, path=str(file), **option)
    assert helpers.is_sentence(caught.value, *words), caught.value


@every_table
def test_unknown_arguments_are_refused(env_id: str, path: str) -> None:
    for wrong in ({"epochs": 3}, {"training": "drawn", "dataset": "cifar10"}):
        with pytest.raises(ValueError, match="unexpected keyword argument") as caught:
            make(env_id, path=path, **wrong)
        assert helpers.is_sentence(caught.value, "its options are: ", "path"), caught.value


def test_a_reward_that_weighs_the_cost_works(cells: made_up.Cells) -> None:
    reward = {"name": "mnasnet_soft", "target": 1e7, "exponent": -0.5}
    paid, info = play(make(CELLS, path=str(cells.path), reward=reward), [3] * 6)
    assert paid == pytest.approx(info["val_accuracy"] * (info["macs"] / 1e7) ** -0.5)


# ---------------------------------------------------------------- the same networks, trained


@pytest.mark.parametrize(
    ("env_id", "options", "actions"),
    [
        (MACRO, {"stem_width": 4, "head_width": 8}, [1, 0, 2, 0, 0, 0, 0, 0]),
        (CELLS, {"channels": 2, "cells": 1}, [3, 0, 4, 0, 1, 2]),
        (CELLS, {"channels": 2, "cells": 1}, [0] * 6),  # nothing comes out of such a cell
    ],
)
def test_with_a_task_children_are_trained(
    env_id: str, options: dict[str, Any], actions: list[int]
) -> None:
    env = make(env_id, task="digits", recipe=helpers.TINY, search_space=options)
    assert env.search_space.input_shape == (1, 8, 8)
    reward, info = play(env, actions)
    assert info["status"] == "ok"
    assert info["seconds"] > 0
    assert reward == info["val_accuracy"] < 0.9
    architecture = Architecture.from_json(info["architecture"])
    assert info["params"] == params(env.search_space, architecture)
    assert env.problem.training is not None
    assert env.problem.sealed is None
    env.close()


@every_table
def test_the_space_with_a_task_is_the_tables_unless_another_is_named(env_id: str) -> None:
    own = make(env_id, task="digits").search_space
    assert own in (NASBenchMacro((1, 8, 8), 10), NASBench201((1, 8, 8), 10))
    assert own.name == nas_gym.BENCHMARKS[env_id]
    vector = gym.make_vec(env_id, num_envs=2, task="digits")
    assert isinstance(vector, NASVectorEnv)
    assert vector.search_space == own
    other = make(env_id, task="digits", search_space="plain_cnn").search_space
    assert other.name == "plain_cnn"


# ---------------------------------------------------------------- as any environment


@every_table
def test_a_table_is_deterministic(env_id: str, path: str) -> None:
    answers = []
    for _ in range(2):
        env = make(env_id, path=path, seed_policy="resample")
        env.reset(seed=4)
        played = [play(env, actions) for actions in sequences(env.search_space, 20)]
        answers.append([(reward, info | {"action_mask": None}) for reward, info in played])
    assert answers[0] == answers[1]


@every_table
@pytest.mark.parametrize("travel", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_an_episode_travels(env_id: str, path: str, travel: Any) -> None:
    env = make(env_id, path=path, train_seed=3)
    (actions,) = sequences(env.search_space, 1)
    play(env, actions[::-1])
    env.reset(seed=1)
    for action in actions[:3]:
        env.step(action)
    twin = travel(env)
    for action in actions[3:]:
        here, there = env.step(action), twin.step(action)
    np.testing.assert_array_equal(here[0], there[0])
    assert here[1:4] == there[1:4]
    assert {k: v for k, v in here[4].items() if k != "action_mask"} == {
        k: v for k, v in there[4].items() if k != "action_mask"
    }


@pytest.mark.parametrize(
    ("env_id", "options"),
    [
        (MACRO, {"training": "mean", "train_seed": 2, "reward": "accuracy_cubed"}),
        (CELLS, {"dataset": "imagenet16", "reward": {"name": "mnasnet_hard", "target": 1e7}}),
    ],
)
def test_the_spec_survives_json(env_id: str, options: dict[str, Any], path: str) -> None:
    env = gym.make(env_id, path=path, **options)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    for actions in sequences(env.unwrapped.search_space, 5):  # type: ignore[attr-defined]
        one, other = (play(e.unwrapped, actions) for e in (env, again))  # type: ignore[arg-type]
        assert one[0] == other[0]
        assert one[1]["architecture"] == other[1]["architecture"]


@every_table
def test_every_render_mode_works(
    env_id: str, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, picture, person = (
        make(env_id, path=path, render_mode=mode) for mode in ("ansi", "rgb_array", "human")
    )
    for env in (text, picture, person):
        play(env, [1] * len(env.search_space.decisions))
    assert "complete" in text.render()
    assert picture.render().dtype == np.uint8
    assert "complete" in capsys.readouterr().out


@every_table
def test_results_are_stored_under_what_the_table_holds(
    env_id: str, path: str, tmp_path: Path
) -> None:
    """Another table, data set or kind of training is another context; the same file is not."""

    def context(**options: Any) -> dict[str, Any]:
        return dict(make(env_id, **options).ledger.context)

    own = context(path=path)
    assert json.loads(json.dumps(own)) == own == context(path=path, train_seed=1)
    assert own["search_space"]["name"] == nas_gym.BENCHMARKS[env_id]
    other = tmp_path / "other"
    made_up.macro(other, 9) if env_id == MACRO else made_up.cells(Path(f"{other}.npz"), seed=9)
    found = other if env_id == MACRO else Path(f"{other}.npz")
    assert context(path=str(found))["source"] != own["source"]
    option = {"training": "mean"} if env_id == MACRO else {"dataset": "cifar100"}
    assert context(path=path, **option)["source"] != own["source"]


@every_table
def test_a_store_outlives_its_environment(env_id: str, path: str, tmp_path: Path) -> None:
    answers: list[list[float]] = []
    for run in ("a", "b"):
        env = make(env_id, path=path, store=str(tmp_path / "store.sqlite"), run=run)
        batch = sequences(env.search_space, 10)
        answers.append([play(env, actions)[0] for actions in batch])
        assert env.ledger.recalled == (0 if run == "a" else env.ledger.distinct)
        env.close()
    assert answers[0] == answers[1]


@pytest.fixture
def tables(macro: made_up.Macro, cells: made_up.Cells) -> Iterator[list[NASVectorEnv]]:
    envs = [
        gym.make_vec(env_id, num_envs=64, path=str(made.path))
        for env_id, made in ((MACRO, macro), (CELLS, cells))
    ]
    yield envs  # type: ignore[misc]
    for env in envs:
        env.close()


def test_many_architectures_are_written_in_lockstep(tables: list[NASVectorEnv]) -> None:
    for env in tables:
        env.reset(seed=0)
        batch = np.array(sequences(env.search_space, 64))
        for actions in batch.T:
            _, rewards, done, _, infos = env.step(actions)
        assert done.all()
        np.testing.assert_array_equal(rewards, infos["final_info"]["val_accuracy"])
        expected = [env.search_space.decode(actions).to_json() for actions in batch.tolist()]
        assert infos["final_info"]["architecture"].tolist() == expected
        assert env.ledger.proposals == 64
