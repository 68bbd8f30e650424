from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helpers
import pytest
import torch
from support.bag import BagOfWords
from support.cells import Cells
from support.dense import Dense
from support.regression import Positions
from support.stream import Letters
from support.tokens import Sentences

from nas_gym import load_child
from nas_gym.child import DESCRIPTION, WEIGHTS, save_child
from nas_gym.search_spaces import LayerCNN, PlainCNN, SearchSpace
from nas_gym.tasks import ImageClassification, Task
from nas_gym.training import Job, train_network

SPACE = LayerCNN((1, 8, 8), 10, depth=2, widths=(8, 16))


@pytest.fixture
def saved(tmp_path: Path, digits: Task) -> Path:
    architecture = SPACE.decode([1, 1, 0, 1, 5, 0, 0, 0])
    network, _ = train_network(Job(digits, SPACE, architecture, helpers.tiny(), "cpu"))
    save_child(tmp_path / "child", network, SPACE, architecture, digits, score=0.5)
    return tmp_path / "child"


@pytest.mark.parametrize("space", [SPACE, PlainCNN((3, 9, 7), 3), helpers.Probe((1, 8, 8), 10)])
def test_a_child_comes_back_with_the_same_logits(space: SearchSpace, tmp_path: Path) -> None:
    channels = space.input_shape[0]
    architecture = space.decode([1] * len(space.decisions))
    torch.manual_seed(0)
    network = space.build(architecture)
    x = torch.randint(256, (5, *space.input_shape), dtype=torch.uint8)
    network(x.float())  # so that running statistics are not the initial ones
    task = helpers.random_task(space.input_shape, 3 * space.num_classes, space.num_classes)
    object.__setattr__(task, "statistics", ([3.0] * channels, [2.0] * channels))
    save_child(tmp_path, network, space, architecture, task)
    loaded = load_child(tmp_path, trust=["helpers"])  # the tests' own space
    assert not loaded.training
    with torch.no_grad():
        expected = network.eval()((x.float() - 3) / 2)
        assert torch.equal(loaded(x), expected)
        assert torch.equal(loaded(x.float()), expected)
    assert expected.shape == (5, space.num_classes)
    assert loaded.classes == task.classes


def test_the_description_can_be_read(saved: Path, digits: ImageClassification) -> None:
    description = json.loads((saved / DESCRIPTION).read_text(encoding="utf-8"))
    assert description["architecture"]["space"] == "layer_cnn"
    assert description["search_space"] == SPACE.describe()
    assert description["score"] == 0.5
    assert description["task"] == "digits"
    mean, std = digits.statistics
    assert description["front"] == {"name": "normalize", "mean": mean, "std": std}
    assert description["classes"] == [*"0123456789"]
    assert (
        description["weights_sha256"] == hashlib.sha256((saved / WEIGHTS).read_bytes()).hexdigest()
    )
    assert sorted(path.name for path in saved.iterdir()) == [DESCRIPTION, WEIGHTS]


def test_a_child_can_be_saved_over_another(saved: Path, digits: Task) -> None:
    architecture = SPACE.decode([2] * 8)
    save_child(saved, SPACE.build(architecture), SPACE, architecture, digits)
    load_child(saved)
    assert "score" not in json.loads((saved / DESCRIPTION).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("make", "space"),
    [(Sentences, BagOfWords((12,), 3, vocabulary=20)), (Positions, Dense((1, 5, 5), 2))],
)
def test_a_child_of_any_task_takes_what_its_data_hold(
    make: type[Task], space: SearchSpace, tmp_path: Path
) -> None:
    task = make()
    architecture = space.decode([1] * len(space.decisions))
    network = space.build(architecture)
    save_child(tmp_path, network, space, architecture, task)
    with pytest.raises(ValueError, match="trust") as caught:
        load_child(tmp_path)
    assert helpers.is_sentence(caught.value, type(space).__module__)
    batch = next(task.data("validation", task.recipe, torch.device("cpu")).batches(5))
    with torch.no_grad():
        expected = network.eval()(batch.inputs)
        for loaded in (
            load_child(tmp_path, trust=[type(space).__module__]),
            load_child(tmp_path, search_space=type(space)),
            load_child(tmp_path, search_space=space),
        ):
            assert torch.equal(loaded(batch.inputs), expected)
            assert loaded.classes == ()


def test_a_child_whose_state_is_carried_gives_and_takes_it(tmp_path: Path) -> None:
    space, task = Cells((8,), 6, vocabulary=6), Letters()
    architecture = space.decode([1, 0])
    network = space.build(architecture)
    save_child(tmp_path, network, space, architecture, task)
    loaded = load_child(tmp_path, search_space=Cells)
    first, second = list(task.data("validation", task.recipe, torch.device("cpu")).batches(10))[:2]
    with torch.no_grad():
        _, state = network.eval()(first.inputs)
        expected, _ = network(second.inputs, state)
        _, carried = loaded(first.inputs)
        assert torch.equal(loaded(second.inputs, carried)[0], expected)


@dataclass(frozen=True)
class Doubling(ImageClassification):
    """A task whose inputs are made ready by code of the user's own."""

    def front(self, part: Any = "train") -> dict[str, Any]:
        return {"name": "test_child:Scale", "factor": 2.0}


class Scale(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() * self.factor


def test_a_front_of_ones_own_is_not_run_without_trust(
    tmp_path: Path, digits: ImageClassification
) -> None:
    task = Doubling("mine", digits.train, digits.validation, 10)
    architecture = SPACE.decode([1] * 8)
    network = SPACE.build(architecture)
    save_child(tmp_path, network, SPACE, architecture, task)
    with pytest.raises(ValueError, match="trust") as caught:
        load_child(tmp_path)
    assert helpers.is_sentence(caught.value, "test_child")
    x = torch.ones(2, 1, 8, 8)
    with torch.no_grad():
        loaded = load_child(tmp_path, trust=["test_child"])
        assert torch.equal(loaded(x), network.eval()(2 * x))


# ---------------------------------------------------------------- damage


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize("damage", [flip, cut])
def test_damaged_weights_are_refused(saved: Path, damage: Any) -> None:
    damage(saved / WEIGHTS)
    with pytest.raises(ValueError, match="damaged") as caught:
        load_child(saved)
    assert helpers.is_sentence(caught.value, saved / WEIGHTS)


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION])
def test_missing_files_are_refused(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ValueError, match="no saved child") as caught:
        load_child(str(saved))
    assert helpers.is_sentence(caught.value, saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"weights_sha256": 3}', '"text"', "null"])
def test_a_damaged_description_is_refused(saved: Path, text: str) -> None:
    (saved / DESCRIPTION).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        load_child(saved)
    assert helpers.is_sentence(caught.value, saved)


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the description, with the weights' digest as it is now."""
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    (folder / DESCRIPTION).write_text(
        json.dumps(description | {"weights_sha256": digest} | changes), encoding="utf-8"
    )


class Bomb:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return Path.touch, (self.proof,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_weights_that_would_execute_something_are_refused(
    saved: Path, form: str, tmp_path: Path
) -> None:
    """Whoever can write the folder can write a matching digest too."""
    proof = tmp_path / "executed"
    if form == "pickle":
        (saved / WEIGHTS).write_bytes(pickle.dumps(Bomb(proof)))
    else:
        torch.save({"network.0.weight": Bomb(proof)}, saved / WEIGHTS)
    rewrite(saved)
    with pytest.raises(ValueError, match="no weights") as caught:
        load_child(saved)
    assert helpers.is_sentence(caught.value, saved)
    assert not proof.exists()
    if form == "torch":
        torch.load(saved / WEIGHTS, weights_only=False)
    else:
        pickle.loads((saved / WEIGHTS).read_bytes())
    assert proof.exists()  # it was a bomb


def test_weights_of_another_network_are_refused(saved: Path) -> None:
    torch.save({"mean": torch.zeros(1)}, saved / WEIGHTS)
    rewrite(saved)
    with pytest.raises(ValueError, match="no weights") as caught:
        load_child(saved)
    assert helpers.is_sentence(caught.value, saved)
