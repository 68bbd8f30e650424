"""The converter on an object with the methods of the official one."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import helpers
import numpy as np
import pytest

from nas_gym import DataError, Request
from nas_gym.search_spaces.nas_bench_201 import EDGES, OPERATIONS
from nas_gym.tables import nas_bench_201
from nas_gym.tables.convert import CELLS, convert, main

NAMES = {"cifar10": "cifar10", "cifar100": "cifar100", "imagenet16": "ImageNet16-120"}


def accuracy(index: int, dataset: str, epochs: str, kind: str) -> float:
    """A made-up percentage that tells where it comes from."""
    place = ["cifar10-valid", *NAMES.values()].index(dataset)
    parts = (place, ["12", "200"].index(epochs), ["valid", "test"].index(kind))
    return 10 + index / 1_000 + sum(20 * part / 2**n for n, part in enumerate(parts, 1))


class FakeApi:
    """Every cell once, in an order of its own; keeps what it has read, as the official one."""

    fast_mode = True

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken
        self.order = np.random.default_rng(0).permutation(CELLS)
        self.arch2infos_dict: dict[int, str] = {}
        self.most = 0

    def __len__(self) -> int:
        return CELLS

    def operations(self, index: int) -> list[int]:
        return [int(place) for place in np.unravel_index(self.order[index], (5,) * 6)]

    def arch(self, index: int) -> str:
        edges = dict(zip(EDGES, self.operations(index), strict=True))
        return "+".join(
            "|" + "".join(f"{OPERATIONS[edges[node, source]]}~{source}|" for source in range(node))
            for node in (1, 2, 3)
        )

    def get_more_info(
        self,
        index: int,
        dataset: str,
        iepoch: int | None = None,
        hp: str = "12",
        is_random: bool | int = True,
    ) -> dict[str, Any]:
        assert is_random is False
        assert iepoch is None
        if index == self.broken:
            raise ValueError(f"Did not find {index} from arch2infos_dict.\nMore of it.")
        self.arch2infos_dict[index] = "large"
        self.most = max(self.most, len(self.arch2infos_dict))
        info = {"test-accuracy": accuracy(index, dataset, hp, "test"), "comment": "official"}
        info["train-all-time"] = None if index % 10 else 100.0 + index  # type: ignore[assignment]
        if dataset != "cifar10":
            info["valid-accuracy"] = accuracy(index, dataset, hp, "valid")
        return info

    def get_cost_info(self, index: int, dataset: str, hp: str = "12") -> dict[str, Any]:
        assert (hp, dataset in NAMES.values()) == ("12", True)
        return {"params": np.float64((70_001 + index) / 1e6), "flops": 15.64737, "latency": -1.0}


def test_what_the_api_knows_is_in_the_file(tmp_path: Path) -> None:
    api, path = FakeApi(), tmp_path / "all.npz"
    told: list[tuple[int, int]] = []
    convert(api, path, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, CELLS) for done in range(1, CELLS + 1)]
    assert [file.name for file in tmp_path.iterdir()] == ["all.npz"]
    assert api.most == 1
    for dataset, name in NAMES.items():
        searched = "cifar10-valid" if dataset == "cifar10" else name
        table = nas_bench_201.table(dataset, str(path))
        scores = table.sealed(0)
        space = nas_bench_201.space(dataset)
        for index in range(0, CELLS, 500):
            child = space.decode(api.operations(index))
            found = table.source(Request(child))
            valid = accuracy(index, searched, "12", "valid") / 100
            assert found.scores["accuracy"] == pytest.approx(valid, rel=1e-6)
            assert (found.params, found.macs) == (70_001 + index, 15_647_370)
            share = 0.5 if dataset == "cifar10" else 1.0
            assert found.seconds == pytest.approx(share * (100 + index))
            assert scores.score(child) == pytest.approx(accuracy(index, name, "200", "test"))


def test_the_fields_are_the_documented_ones(tmp_path: Path) -> None:
    convert(FakeApi(), tmp_path / "one.npz", ["imagenet16"])
    with np.load(tmp_path / "one.npz") as file:
        fields = dict(file)
    assert fields.keys() == {
        *("ops", "op_names", "edges", "acc12_in16_valid", "acc12_in16_test"),
        *("acc200_in16_test", "params_in16", "flops_in16", "train_seconds12_in16"),
    }
    assert (fields["ops"].dtype, fields["ops"].shape) == (np.uint8, (CELLS, 6))
    assert fields["op_names"].tolist() == list(OPERATIONS)
    assert fields["edges"].tolist() == ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]
    assert fields["ops"][7].tolist() == FakeApi().operations(7)
    assert np.isfinite(fields["train_seconds12_in16"]).sum() == CELLS / 10 + 0.5
    for index, kind in ((7, "valid"), (8, "test")):
        expected = accuracy(index, "ImageNet16-120", "12", kind)
        assert fields[f"acc12_in16_{kind}"][index] == pytest.approx(expected)
    with pytest.raises(DataError, match="acc12_cifar10_valid"):
        nas_bench_201.table(path=str(tmp_path / "one.npz"))


def test_what_cannot_be_converted_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    path.write_text("precious", encoding="utf-8")
    size = FakeApi()
    size.__class__ = type("Size", (FakeApi,), {"__len__": lambda api: 32_768})
    odd = FakeApi()
    odd.arch = lambda index: "|conv~0|"  # type: ignore[method-assign]
    fails: list[tuple[Any, Any, type[Exception], list[str]]] = [
        (FakeApi(broken=7), ["cifar10"], DataError, ["cell 7", "ValueError: Did not find 7"]),
        (odd, ["cifar10"], DataError, ["cell 0", "conv"]),
        (size, ["cifar10"], DataError, ["15,625", "32,768"]),
        (FakeApi(), ["cifar"], ValueError, ["dataset", "did you mean 'cifar10'?"]),
        (FakeApi(), [], ValueError, ["cifar10, cifar100, imagenet16"]),
    ]
    for api, datasets, error, words in fails:
        with pytest.raises(error) as caught:
            convert(api, path, datasets)
        assert helpers.is_sentence(caught.value, *words), caught.value
        assert [file.name for file in tmp_path.iterdir()] == ["out.npz"]
        assert path.read_text(encoding="utf-8") == "precious"
    for place in (tmp_path / "no" / "out.npz", path / "out.npz"):
        with pytest.raises(DataError) as caught:
            convert(FakeApi(), place)
        assert helpers.is_sentence(caught.value, "cannot write", place)


def test_the_command_writes_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Any] = []

    def create(source: str, space: str, fast_mode: bool = False, verbose: bool = True) -> FakeApi:
        opened.append((source, space, fast_mode, verbose))
        return FakeApi()

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))
    single = tmp_path / "NATS.pickle.pbz2"
    single.touch()
    for source in (tmp_path, single):
        out = tmp_path / f"{source.name}.npz"
        main([str(source), str(out), "--datasets", "cifar10"])
        assert nas_bench_201.table(path=str(out))
        assert f"wrote {out}" in capsys.readouterr().out
    assert opened == [(str(tmp_path), "tss", True, False), (str(single), "tss", False, False)]


def test_the_command_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            main([*arguments, str(tmp_path / "out.npz")])
        message = str(stop.value.code)
        assert message.startswith("error: ")
        assert "\n" not in message
        assert not (tmp_path / "out.npz").exists()
        return message

    assert f"there is no {tmp_path / 'nowhere'}" in said(str(tmp_path / "nowhere"))
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    assert "pip install nats_bench" in said(str(tmp_path))

    def refuse(*_: Any, **__: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory", "meta.pickle.pbz2")

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=refuse))
    assert f"{tmp_path} cannot be read as NATS-Bench results" in said(str(tmp_path))
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2
    assert "source" in capsys.readouterr().err
