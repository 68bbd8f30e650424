from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import gymnasium as gym
import helpers
import numpy as np
import pytest
import torch
from PIL import Image

from nas_gym.evaluation import ACCURACY, Request
from nas_gym.search_spaces import make_search_space
from nas_gym.sources import TrainingSource
from nas_gym.tasks import (
    DATA_VARIABLE,
    TASKS,
    Classification,
    DataError,
    ImageClassification,
    Split,
    Task,
    data_root,
    from_folder,
    load_task,
)
from nas_gym.tasks.images import Images

CPU = torch.device("cpu")


def rows(split: Split | Images) -> list[bytes]:
    """Every image with its label, comparable and hashable."""
    return [
        image.numpy().tobytes() + bytes([int(label)])
        for image, label in zip(split.images, split.labels, strict=True)
    ]


def counts(split: Split | Images) -> list[int]:
    return torch.bincount(split.labels).tolist()


def forbidden(*_: object, **__: object) -> NoReturn:
    raise AssertionError("the test set was opened")


# ---------------------------------------------------------------- the embedded digits


def test_digits_split_sizes_and_shapes(digits: ImageClassification) -> None:
    test = digits.open_test(CPU)
    assert (len(digits.train), len(digits.validation), len(test)) == (1085, 357, 355)
    assert digits.input_shape == (1, 8, 8)
    assert digits.num_classes == 10
    for split in (digits.train, digits.validation, test):
        assert split.images.dtype == torch.uint8
        assert split.images.shape[1:] == (8, 8, 1)
        assert split.images.max() == 16
        assert split.labels.unique().tolist() == list(range(10))


def test_digits_splits_are_disjoint_and_cover_the_file(digits: ImageClassification) -> None:
    parts = [rows(digits.train), rows(digits.validation), rows(digits.open_test(CPU))]
    assert sum(map(len, parts)) == 1797
    assert len({row for part in parts for row in part}) == 1797  # no image is there twice


def test_digits_splits_are_stratified(digits: ImageClassification) -> None:
    train, validation, test = map(counts, (digits.train, digits.validation, digits.open_test(CPU)))
    for a, b, c in zip(train, validation, test, strict=True):
        total = a + b + c
        assert a == pytest.approx(0.6 * total, abs=1.5)
        assert b == pytest.approx(0.2 * total, abs=1.0)
        assert c == pytest.approx(0.2 * total, abs=1.0)


def test_the_fingerprint_of_the_digits_is_what_it_was(digits: ImageClassification) -> None:
    """Results on record are found by it: another split is another task."""
    assert digits.fingerprint == "7d0c7e027fe516bf6346124925534f740fa42a42b21af71a5fc8d2f02b60d0ef"


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_embedded_digits_are_reported(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("nas_gym.tasks.digits")  # the name alone is the function
    copy = tmp_path / "digits.csv.gz"
    if damage == "changed":
        content = bytearray(module.FILE.read_bytes())
        content[1000] ^= 1
        copy.write_bytes(content)
    monkeypatch.setattr(module, "FILE", copy)
    with pytest.raises(DataError) as caught:
        TASKS["digits"](tmp_path)
    assert helpers.is_sentence(caught.value, copy, "damaged")


def test_any_prefix_of_the_training_images_is_balanced(digits: ImageClassification) -> None:
    for size in (10, 100, 355, 700):
        found = counts(replace_train(digits, size).train)
        assert max(found) - min(found) <= 1


def replace_train(task: ImageClassification, size: int) -> ImageClassification:
    return replace(task, train=task.train.take(torch.arange(size)))


def test_statistics_are_those_of_the_training_images(digits: ImageClassification) -> None:
    mean, std = digits.statistics
    pixels = digits.train.images.double()
    assert mean == pytest.approx([pixels.mean().item()])
    assert std == pytest.approx([pixels.std(correction=0).item()])


def test_a_split_takes_and_joins() -> None:
    split = Split(torch.arange(12).view(3, 2, 2, 1), torch.tensor([0, 1, 2]))
    taken = split.take(torch.tensor([2, 0]))
    assert taken.labels.tolist() == [2, 0]
    assert taken.images[1].flatten().tolist() == [0, 1, 2, 3]
    joined = taken.joined(split)
    assert len(joined) == 5
    assert joined.labels.tolist() == [2, 0, 0, 1, 2]


# ---------------------------------------------------------------- the sealed test set


def sealed(task: ImageClassification) -> ImageClassification:
    return replace(task, _open_test=forbidden)


def test_the_seal_can_be_noticed(digits: ImageClassification) -> None:
    with pytest.raises(AssertionError, match="was opened"):
        sealed(digits).open_test(CPU)


@pytest.mark.parametrize("evaluator", ["inline", {"name": "pool", "workers": 1}])
def test_nothing_in_an_episode_opens_the_test_set(
    digits: ImageClassification, evaluator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageClassification, "open_test", forbidden)
    env = gym.make(
        "nas_gym/Digits-v0",
        task=sealed(digits),
        search_space={"name": "plain_cnn", "depth": 1},
        evaluator=evaluator,
        recipe=helpers.TINY,
    )
    env.reset(seed=0)
    for _ in range(2):
        env.step(0)
    _, reward, terminated, _, info = env.step(0)
    env.close()
    assert terminated
    assert info["status"] == "ok"
    assert reward == info["val_accuracy"]
    assert env.unwrapped.problem.source.task.has_test


def test_what_workers_get_holds_no_test_images(digits: ImageClassification, tmp_path: Path) -> None:
    sealed(digits).save(tmp_path / "task.pt")
    tensors: list[torch.Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                collect(item)

    collect(torch.load(tmp_path / "task.pt", weights_only=True))
    assert sorted(len(t) for t in tensors) == [357, 357, 1085, 1085]
    with pytest.raises(DataError, match="no test set"):
        ImageClassification.load(tmp_path / "task.pt").open_test(CPU)


def test_a_saved_task_is_the_same_task(digits: ImageClassification, tmp_path: Path) -> None:
    digits.save(tmp_path / "task.pt")
    loaded = ImageClassification.load(tmp_path / "task.pt")
    assert loaded.fingerprint == digits.fingerprint
    assert loaded.statistics == digits.statistics
    assert loaded.recipe == digits.recipe
    assert (loaded.name, loaded.num_classes, loaded.input_shape) == ("digits", 10, (1, 8, 8))


def test_the_test_images_are_raw(digits: ImageClassification) -> None:
    """A child that is loaded normalises itself, so what it is tested on is as it was."""
    test = digits.open_test(CPU)
    (batch,) = test.batches(len(test))
    assert torch.equal(batch.inputs, test.images.permute(0, 3, 1, 2).float())
    assert torch.equal(batch.targets, test.labels)
    assert digits.has_test
    assert not helpers.random_task().has_test


def test_what_is_shipped_is_the_same_task_without_its_test(
    digits: ImageClassification, tmp_path: Path
) -> None:
    make = pickle.loads(pickle.dumps(digits.ship(tmp_path)))
    shipped = make()
    assert shipped.fingerprint == digits.fingerprint
    assert not shipped.has_test
    assert len(pickle.dumps(digits.ship(tmp_path))) < 2000  # the images are in the folder


# ---------------------------------------------------------------- what every task is


def test_a_task_of_ones_own_has_all_that_is_asked_of_it() -> None:
    for make, missing in ((Task, "score"), (Classification, "data")):
        with pytest.raises(TypeError, match=missing):
            make()


def test_metrics_of_a_classification(digits: ImageClassification) -> None:
    names = ["accuracy", "loss", "top5", "balanced_accuracy", "macro_f1"]
    assert [metric.name for metric in digits.metrics] == names
    assert digits.metrics[0] == ACCURACY
    assert [metric.name for metric in digits.metrics if not metric.up] == ["loss"]
    few = helpers.random_task(classes=5).metrics
    assert [metric.name for metric in few] == [name for name in names if name != "top5"]


@pytest.mark.parametrize("name", ["flip", "Crop", ""])
def test_an_augmentation_that_a_task_does_not_have_is_one_clear_sentence(
    name: str, digits: ImageClassification
) -> None:
    recipe = digits.recipe.replaced({"augmentation": name})  # another task may have it
    with pytest.raises(ValueError, match="augmentation must be one of none, crop, crop_flip") as c:
        digits.check(recipe)
    assert helpers.is_sentence(c.value, "digits", repr(name))
    space = make_search_space("layer_cnn", digits.input_shape, 10)
    with pytest.raises(ValueError, match="augmentation must be one of"):
        TrainingSource(digits, space, recipe)


def test_a_task_of_images_has_names_of_its_classes(digits: ImageClassification) -> None:
    assert digits.classes == tuple("0123456789")
    assert helpers.random_task(classes=3).classes == ("0", "1", "2")


# ---------------------------------------------------------------- MNIST, Fashion-MNIST, CIFAR-10

FAMILY = [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_official_files_are_split(name: str, data_dir: Path) -> None:
    task = load_task(name, data_dir)
    test = task.open_test(CPU)
    assert (len(task.train), len(task.validation), len(test)) == (55_000, 5_000, 10_000)
    assert task.input_shape == (1, 28, 28)
    assert task.train.labels[:20].tolist() == [*range(10), *range(10)]
    found = counts(replace_train(task, 8_000).train)
    assert max(found) - min(found) <= 1
    train = set(rows(task.train))
    assert len(train.intersection(rows(task.validation))) == 0
    assert len(train.intersection(rows(test))) == 0
    assert load_task(name, data_dir) is task


def test_cifar10_is_split(cifar10_dir: Path) -> None:
    task = load_task("cifar10", cifar10_dir)
    assert (len(task.train), len(task.validation)) == (45_000, 5_000)
    assert len(task.open_test(CPU)) == 10_000
    assert task.input_shape == (3, 32, 32)
    assert len(task.statistics[0]) == 3


def with_damage(data: Path, target: Path, dataset: str, file: str, damage: str) -> Path:
    """A data root whose files are links, but for one damaged copy; returns that one."""
    raw = target / dataset / "raw"
    raw.mkdir(parents=True)
    for path in (data / dataset / "raw").iterdir():
        (raw / path.name).symlink_to(path)
    damaged = raw / file
    damaged.unlink()
    shutil.copyfile(data / dataset / "raw" / file, damaged)
    size = damaged.stat().st_size
    with damaged.open("r+b") as stream:
        if damage == "truncated":
            stream.truncate(size - 100)
        else:
            stream.seek(size // 2)
            byte = stream.read(1)[0]
            stream.seek(size // 2)
            stream.write(bytes([byte ^ 1]))
    return damaged


@pytest.mark.parametrize(("name", "dataset"), FAMILY)
@pytest.mark.parametrize("damage", ["truncated", "bit flipped"])
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_damaged_training_files_are_named(
    name: str, dataset: str, damage: str, file: str, data_dir: Path, tmp_path: Path
) -> None:
    damaged = with_damage(data_dir, tmp_path, dataset, file, damage)
    with pytest.raises(DataError) as caught:
        load_task(name, tmp_path)
    assert helpers.is_sentence(caught.value, damaged, "damaged")


@pytest.mark.parametrize("damage", ["truncated", "bit flipped"])
@pytest.mark.parametrize("file", ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_test_files_are_named_when_the_seal_is_broken(
    damage: str, file: str, data_dir: Path, tmp_path: Path
) -> None:
    damaged = with_damage(data_dir, tmp_path, "MNIST", file, damage)
    task = load_task("mnist", tmp_path)  # a search does not even look at them
    with pytest.raises(DataError) as caught:
        task.open_test(CPU)
    assert helpers.is_sentence(caught.value, damaged, "damaged")


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
@pytest.mark.parametrize(
    "error",
    [URLError("no route to host"), RuntimeError("several\nlines"), PermissionError(13, "denied")],
    ids=lambda error: type(error).__name__,
)
def test_missing_data_without_a_network_is_one_sentence(
    name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> NoReturn:
        raise error

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(
            f"torchvision.datasets.{module}.download_and_extract_archive", unreachable
        )
    with pytest.raises(DataError) as caught:
        load_task(name, tmp_path)
    assert helpers.is_sentence(caught.value, tmp_path, "missing", DATA_VARIABLE)


def test_a_damaged_cifar_batch_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batches are pickles: one of another md5 must not be opened."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    proof = tmp_path / "executed"
    bomb = f"cos\nsystem\n(S'touch {proof}'\ntR.".encode()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(bomb)

    def unreachable(*_: object, **__: object) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(DataError) as caught:
        load_task("cifar10", tmp_path)
    assert helpers.is_sentence(caught.value, "CIFAR10", "damaged", tmp_path)
    assert not proof.exists()


# ---------------------------------------------------------------- names and places


def test_tasks_of_ones_own_are_found_by_name() -> None:
    assert load_task("helpers:own_task").name == "noise"
    assert load_task("helpers:own_task") is load_task("helpers:own_task")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnits", ["'mnits'", "did you mean 'mnist'?", "digits"]),
        ("zzz", ["'zzz'", "there are: cifar10, digits"]),
        ("helpers:absent", ["helpers", "'absent'"]),
        ("no_such_module:task", ["no_such_module"]),
        ("helpers:accuracy_squared_of", ["helpers"]),
        ("helpers:no_task", ["helpers:no_task", "Task", "int"]),
    ],
)
def test_unknown_tasks_are_one_clear_sentence(name: str, words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the words are checked)
        load_task(name)
    assert helpers.is_sentence(caught.value, *words), caught.value


def test_where_data_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert data_root() == Path.home() / ".cache" / "nas-gym"
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_root() == tmp_path
    assert data_root("~/elsewhere") == Path.home() / "elsewhere"


# ---------------------------------------------------------------- tensors of one's own


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.int64])
def test_tensors_become_a_task(dtype: torch.dtype) -> None:
    images = torch.arange(40 * 3 * 4 * 5).view(40, 3, 4, 5).remainder(256).to(dtype)
    labels = torch.arange(40) % 4
    task = Task.from_tensors("mine", images, labels, test_images=images[:4], test_labels=labels[:4])
    assert task.input_shape == (3, 4, 5)
    assert task.num_classes == 4
    assert (counts(task.train), counts(task.validation)) == ([8] * 4, [2] * 4)
    assert task.train.images.dtype == (torch.uint8 if dtype == torch.uint8 else torch.float32)
    together = set(rows(task.train) + rows(task.validation))
    assert len(together) == 40
    original = images[0].permute(1, 2, 0).to(task.train.images.dtype)
    assert torch.equal(task.train.images[0], original)  # channels last, the same pixels
    assert torch.equal(task.open_test(CPU).images[0], original)


def test_grey_images_need_no_channel() -> None:
    task = Task.from_tensors("mine", torch.zeros(10, 6, 7), torch.arange(10) % 2)
    assert task.input_shape == (1, 6, 7)
    with pytest.raises(DataError, match="'mine' has no test set"):
        task.open_test(CPU)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 1 / 3, 0.4, 0.5, 0.7, 0.9])
def test_the_asked_share_of_each_class_validates(share: float) -> None:
    labels = torch.arange(300) % 3
    task = Task.from_tensors("mine", torch.rand(300, 2, 2), labels, validation=share)
    assert counts(task.validation) == pytest.approx([100 * share] * 3, abs=1)
    assert len(task.train) + len(task.validation) == 300


IMAGES, LABELS = torch.zeros(10, 1, 4, 4), torch.arange(10) % 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": torch.zeros(10, 16)}, ["(10, 16)", "(N, height, width)"]),
        ({"images": torch.zeros(9, 1, 4, 4)}, ["one label per image", "(9, 1, 4, 4)"]),
        ({"labels": LABELS.view(5, 2)}, ["one label per image", "(5, 2)"]),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, ["one label per image"]),
        ({"images": IMAGES.log() - IMAGES.log()}, ["finite"]),
        ({"images": 1 / IMAGES}, ["finite"]),
        ({"labels": LABELS - 1}, ["0 to", "-1"]),
        ({"labels": LABELS * 0}, ["labels must be"]),
        ({"num_classes": 1}, ["labels must be 0 to 1"]),
        ({"labels": LABELS + 1, "num_classes": 2}, ["0 to 1", "got 1 to 2"]),
        ({"validation": 0.0}, ["validation", "(0, 1)", "0.0"]),
        ({"validation": 1.0}, ["validation", "(0, 1)"]),
        ({"images": IMAGES[:2], "labels": LABELS[:2]}, ["enough images", "0.2"]),
        ({"test_images": IMAGES}, ["test images and test labels"]),
        ({"test_labels": LABELS}, ["test images and test labels"]),
        ({"test_images": torch.zeros(10, 1, 5, 5), "test_labels": LABELS}, ["shape"]),
        ({"test_images": IMAGES, "test_labels": LABELS + 5}, ["labels", "5"]),
        ({"test_images": IMAGES, "test_labels": LABELS[:3]}, ["one label per image"]),
    ],
)
def test_tensors_that_do_not_fit_are_one_clear_sentence(
    arguments: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        Task.from_tensors("mine", **({"images": IMAGES, "labels": LABELS} | arguments))
    assert helpers.is_sentence(caught.value, "'mine'", *words), caught.value


def test_a_constant_image_is_no_division_by_zero() -> None:
    task = Task.from_tensors("flat", IMAGES, LABELS)
    space = make_search_space({"name": "plain_cnn", "depth": 1}, task.input_shape, 2)
    source = TrainingSource(task, space, helpers.tiny(train_images=None))
    evaluation = source(Request(space.decode([0] * len(space.decisions))))
    assert evaluation.status == "ok"


# ---------------------------------------------------------------- folders of images


def paint(folder: Path, count: int, color: int, mode: str = "RGB", suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(color)
    for index in range(count):
        pixels = random.integers(color, color + 40, (6 + index % 3, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{index:02}.{suffix}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "leaves"
    for part, count in (("train", 10), ("test", 3)):
        paint(root / part / "oak", count, 0)
        paint(root / part / "ash", count, 200, mode="L", suffix="bmp")
    return root


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_becomes_a_task(folder: Path, channels: int) -> None:
    task = from_folder(folder, size=12, channels=channels)
    assert task.name == "leaves"
    assert task.num_classes == 2
    assert task.input_shape == (channels, 12, 12)
    assert (counts(task.train), counts(task.validation)) == ([8, 8], [2, 2])
    dark = task.train.images[task.train.labels == 1]  # ash before oak
    assert dark.max() < 50
    assert counts(task.open_test(CPU)) == [3, 3]


def test_a_folder_takes_its_options_by_name(folder: Path) -> None:
    task = load_task({"name": f"folder:{folder}", "size": 12, "channels": 1})
    assert task.input_shape == (1, 12, 12)
    with pytest.raises(ValueError, match="unexpected keyword argument 'sise'"):
        load_task({"name": f"folder:{folder}", "sise": 12})
    with pytest.raises(ValueError, match="unexpected keyword argument 'size'"):
        load_task({"name": "digits", "size": 12})
    with pytest.raises(ValueError, match="needs a name"):
        load_task({"size": 12})


def test_a_folder_without_train_has_no_test_set(folder: Path) -> None:
    task = load_task(f"folder:{folder / 'train'}")
    assert len(task.train) == 16
    with pytest.raises(DataError, match="no test set"):
        task.open_test(CPU)


def test_a_folder_trains(folder: Path) -> None:
    task = from_folder(folder, size=8)
    space = make_search_space({"name": "plain_cnn", "depth": 1}, task.input_shape, 2)
    recipe = helpers.tiny(train_images=None, epochs=8, batch_size=4)
    source = TrainingSource(task, space, recipe)
    evaluation = source(Request(space.decode([0] * len(space.decisions))))
    assert evaluation.scores["accuracy"] == 1.0  # black against white


def damage_truncated(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def damage_emptied(file: Path) -> None:
    file.write_bytes(b"")


def damage_text(file: Path) -> None:
    file.write_text("no image at all", encoding="utf-8")


def damage_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[11] ^= 8  # the length of the header chunk
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [damage_truncated, damage_emptied, damage_text, damage_header])
@pytest.mark.parametrize("part", ["train", "test"])
def test_broken_images_are_named_before_anything_is_trained(
    folder: Path, part: str, damage: Callable[[Path], None]
) -> None:
    broken = folder / part / "oak" / "01.png"
    damage(broken)
    with pytest.raises(DataError) as caught:
        from_folder(folder).open_test(CPU)
    assert helpers.is_sentence(caught.value, broken), caught.value


def test_no_single_flipped_bit_gives_anything_but_an_image_or_a_sentence(folder: Path) -> None:
    file = folder / "train" / "oak" / "00.png"
    content = file.read_bytes()
    failures: list[DataError] = []
    for position in range(8, len(content)):
        file.write_bytes(
            content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        )
        try:
            from_folder(folder, size=4)
        except DataError as error:
            failures.append(error)
    assert failures
    assert all(helpers.is_sentence(error, file) for error in failures)


def test_folders_that_do_not_fit_are_one_clear_sentence(folder: Path, tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "nowhere", ["no image folder", "nowhere"]),
        (folder / "train" / "oak", ["sub-folder of images per class"]),
    ):
        with pytest.raises(DataError) as caught:
            from_folder(path)
        assert helpers.is_sentence(caught.value, *words)
    paint(folder / "test" / "elm", 1, 9)
    with pytest.raises(DataError, match="elm"):
        from_folder(folder).open_test(CPU)
    for name in ("one", "two"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        from_folder(tmp_path / "empty")
