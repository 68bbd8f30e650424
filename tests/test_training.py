from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nas_gym import load_child
from nas_gym.evaluation import Evaluation, Request
from nas_gym.search_spaces import LayerCNN, PlainCNN, SearchSpace
from nas_gym.sources import TrainingSource
from nas_gym.tasks import SCORE_BATCH, ImageClassification, Split
from nas_gym.tasks.images import Images
from nas_gym.training import Job, fit, resolve_device, resolve_precision, train_network

CPU = torch.device("cpu")
SPACE = LayerCNN((1, 8, 8), 10, depth=2)
PLAIN = PlainCNN((1, 8, 8), 10, depth=1)
# With batch norm and dropout, so that every source of randomness takes part.
ACTIONS = [1, 0, 0, 2, 3, 0, 1, 2]


def child(space: SearchSpace = SPACE, actions: list[int] = ACTIONS) -> Any:
    return space.decode(actions)


def untimed(evaluation: Evaluation) -> Evaluation:
    return replace(evaluation, seconds=0.0)


# ---------------------------------------------------------------- determinism and isolation


def test_the_same_seed_gives_the_same_bits(digits: ImageClassification) -> None:
    recipe = helpers.tiny(epochs=2, augmentation="crop_flip")
    first, second, other = (
        train_network(Job(digits, SPACE, child(), recipe, "cpu", seed)) for seed in (3, 3, 4)
    )
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name]), name
    assert first[1] == second[1]
    assert other[1]["loss"] != first[1]["loss"]


def test_what_ran_before_does_not_matter(digits: ImageClassification) -> None:
    source = TrainingSource(digits, SPACE, helpers.tiny())
    first = source(Request(child(), seed=1))
    torch.manual_seed(99)
    torch.rand(7)
    source(Request(child(actions=[2] * 8), seed=5))
    assert untimed(source(Request(child(), seed=1))) == untimed(first)


@pytest.mark.parametrize("outcome", ["ok", "diverged", "bug"])
def test_the_callers_random_state_and_threads_are_left_alone(
    outcome: str, digits: ImageClassification
) -> None:
    space = helpers.Probe((1, 8, 8), 10)
    behaviour = {"ok": "narrow", "diverged": "nan", "bug": "bug"}[outcome]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
        source = TrainingSource(digits, space, helpers.tiny(threads=1))
        if outcome == "bug":
            with pytest.raises(helpers.Bug):
                source(Request(space.child(behaviour), seed=5))
        else:
            assert source(Request(space.child(behaviour), seed=5)).status == outcome
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.array_equal(np.random.get_state()[1], before[2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_children_train_with_the_recipes_threads(digits: ImageClassification) -> None:
    seen: set[int] = set()

    class Watching(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                seen.add(torch.get_num_threads())
            return super().forward(x)

    class Space(helpers.Probe):
        def build(self, architecture: Any) -> nn.Module:
            return nn.Sequential(Watching(), nn.Linear(64, 10))

    space = Space((1, 8, 8), 10)
    for threads in (1, 2):
        seen.clear()
        TrainingSource(digits, space, helpers.tiny(threads=threads))(Request(space.child("narrow")))
        assert seen == {threads}


# ---------------------------------------------------------------- statuses


def test_a_trained_child_has_everything(digits: ImageClassification) -> None:
    recipe = helpers.tiny(epochs=3, train_images=None)
    evaluation = TrainingSource(digits, SPACE, recipe)(Request(child(), seed=7))
    assert evaluation.ok
    assert evaluation.architecture == child()
    assert (evaluation.status, evaluation.origin, evaluation.detail) == ("ok", "trained", "")
    assert (evaluation.seed, evaluation.epochs) == (7, 3)
    assert 0.5 < evaluation.scores["accuracy"] <= 1.0  # it learns
    assert list(evaluation.scores) == [metric.name for metric in digits.metrics]
    assert evaluation.scores["accuracy"] <= evaluation.scores["top5"] <= 1.0
    assert 0 < evaluation.scores["loss"] < 2.3
    assert evaluation.seconds > 0
    assert evaluation.params
    assert evaluation.macs


@pytest.mark.parametrize(
    ("limit", "word"),
    [
        ({"max_params": 100}, "parameters"),
        ({"max_macs": 100}, "multiply-adds"),
        ({"max_memory_mb": 0.1}, "memory"),
    ],
)
def test_children_over_a_limit_are_rejected_untrained(
    limit: dict[str, Any], word: str, digits: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "nas_gym.sources.training.train_network", lambda *_: pytest.fail("was trained")
    )
    evaluation = TrainingSource(digits, SPACE, helpers.tiny(**limit))(Request(child()))
    assert (evaluation.status, evaluation.scores, evaluation.epochs) == ("rejected", {}, 0)
    assert word in evaluation.detail
    assert evaluation.params


def test_a_huge_learning_rate_diverges(digits: ImageClassification) -> None:
    space = LayerCNN((1, 8, 8), 10, depth=2)
    recipe = helpers.tiny(optimizer="sgd", peak_lr=1e30, train_images=320, warmup=0)
    evaluation = TrainingSource(digits, space, recipe)(
        Request(child(actions=[1, 0, 0, 0, 1, 0, 0, 0]))
    )
    assert (evaluation.status, evaluation.scores) == ("diverged", {})
    assert "loss is nan" in evaluation.detail or "loss is inf" in evaluation.detail


def test_a_loss_that_breaks_only_in_validation_diverges_too(digits: ImageClassification) -> None:
    class OnlyInEvaluation(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if self.training else x * float("nan")

    class Space(helpers.Probe):
        def build(self, architecture: Any) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), OnlyInEvaluation())

    space = Space((1, 8, 8), 10)
    evaluation = TrainingSource(digits, space, helpers.tiny())(Request(space.child("narrow")))
    assert evaluation.status == "diverged"
    assert "validation" in evaluation.detail


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [("nan", "diverged"), ("out_of_memory", "out_of_memory"), ("memory_error", "out_of_memory")],
)
def test_failures_of_a_child_are_values(
    behaviour: str, status: str, digits: ImageClassification
) -> None:
    space = helpers.Probe((1, 8, 8), 10)
    evaluation = TrainingSource(digits, space, helpers.tiny())(
        Request(space.child(behaviour), seed=2)
    )
    assert evaluation.status == status
    assert not evaluation.ok
    assert (evaluation.scores, evaluation.seed) == ({}, 2)
    assert evaluation.detail
    assert "\n" not in evaluation.detail
    assert evaluation.params


def test_a_child_that_takes_too_long_times_out(digits: ImageClassification) -> None:
    recipe = helpers.tiny(epochs=10_000, time_limit=0.05)
    evaluation = TrainingSource(digits, PLAIN, recipe)(Request(child(PLAIN, [0, 0, 0])))
    assert (evaluation.status, evaluation.scores) == ("timeout", {})
    assert "0.05 s" in evaluation.detail
    assert 0.05 <= evaluation.seconds < 30


@pytest.mark.parametrize("error", [ValueError("shapes"), RuntimeError("mat1 and mat2"), KeyError()])
def test_a_bug_is_an_exception(error: Exception, digits: ImageClassification) -> None:
    class Faulty(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if not x.is_meta:
                raise error
            return x

    class Space(helpers.Probe):
        def build(self, architecture: Any) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Faulty())

    space = Space((1, 8, 8), 10)
    with pytest.raises(type(error)):
        TrainingSource(digits, space, helpers.tiny())(Request(space.child("narrow")))


# ---------------------------------------------------------------- scores


@pytest.mark.parametrize("classes", [2, 5, 6, 10])
def test_scores_equal_a_plain_computation(classes: int) -> None:
    task = helpers.random_task(images=700, classes=classes, validation=0.5)
    assert len(task.validation) > SCORE_BATCH  # several batches, the last one smaller
    space = PlainCNN((1, 8, 8), classes, depth=1)
    recipe = helpers.tiny(epochs=2)
    model, scores = train_network(Job(task, space, child(space, [0, 1, 0]), recipe, "cpu", 0))

    mean, std = task.statistics
    images = task.validation.images.permute(0, 3, 1, 2).double()
    normal = (images - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    labels = task.validation.labels
    assert not model.training
    with torch.no_grad():
        logits = model(normal.float()).double()
    order = logits.argsort(dim=1, descending=True)
    hits = order == labels[:, None]
    losses = logits.exp().sum(1).log() - logits[torch.arange(len(labels)), labels]
    assert scores["accuracy"] == pytest.approx(hits[:, 0].double().mean().item(), abs=1e-9)
    assert scores["loss"] == pytest.approx(losses.mean().item(), rel=1e-4)
    if classes <= 5:
        assert "top5" not in scores
    else:
        assert scores["top5"] == pytest.approx(hits[:, :5].double().sum(1).mean().item(), abs=1e-9)


class Certain(nn.Module):
    """Gives the class that each image's first pixel names the highest logit, and so on down."""

    def forward(self, x: Tensor) -> Tensor:
        named = x[:, 0, 0, 0].round().long()
        return 10.0 - 2.0 * ((torch.arange(10) - named[:, None]) % 10)


def test_top_five_counts_exactly_five(digits: ImageClassification) -> None:
    images = torch.arange(10, dtype=torch.float32).view(10, 1, 1, 1)
    for shift, expected in ((0, (1.0, 1.0)), (4, (0.0, 1.0)), (5, (0.0, 0.0))):
        labels = (torch.arange(10) + shift) % 10
        scores = digits.score(Certain(), Images(Split(images, labels), ([0.0], [1.0]), CPU))
        assert (scores["accuracy"], scores["top5"]) == expected


# ---------------------------------------------------------------- unbalanced classes


class Named(nn.Module):
    """Gives the class that each image's first pixel names the highest logit."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return 5.0 * F.one_hot(x[:, 0, 0, 0].round().long(), self.classes).float()


TRUE = [0] * 6 + [1] * 3 + [2]
PREDICTED = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("classes", "true", "predicted", "accuracy", "recall", "f1"),
    [
        # recalls 4/6, 2/3, 0; F1s 2*4/12, 2*2/7, 0
        (3, TRUE, PREDICTED, 0.6, (4 / 6 + 2 / 3) / 3, (8 / 12 + 4 / 7) / 3),
        # a class that is nowhere does not count
        (5, TRUE, PREDICTED, 0.6, (4 / 6 + 2 / 3) / 3, (8 / 12 + 4 / 7) / 3),
        # one that is predicted and does not occur has an F1 (of 0), and no recall
        (4, [0, 0, 1, 1], [0, 3, 1, 1], 0.75, (1 / 2 + 1) / 2, (2 / 3 + 1 + 0) / 3),
        # always the largest class: the accuracy is high, and the others are not
        (2, [0] * 9 + [1], [0] * 10, 0.9, 0.5, (18 / 19) / 2),
        (7, [3, 4, 5, 6], [3, 4, 5, 6], 1.0, 1.0, 1.0),
    ],
)
def test_scores_of_unbalanced_classes_are_those_made_by_hand(
    classes: int,
    true: list[int],
    predicted: list[int],
    accuracy: float,
    recall: float,
    f1: float,
) -> None:
    task = helpers.random_task(images=4 * classes, classes=classes)
    copies = 80  # several batches, and the numbers stay
    named = torch.tensor(predicted * copies, dtype=torch.float32).view(-1, 1, 1, 1)
    labels = torch.tensor(true * copies)
    data = Images(Split(named, labels), neutral(1), CPU)
    scores = task.score(Named(classes), data)
    assert scores["accuracy"] == pytest.approx(accuracy)
    assert scores["balanced_accuracy"] == pytest.approx(recall)
    assert scores["macro_f1"] == pytest.approx(f1)
    assert list(scores) == [metric.name for metric in task.metrics] or classes > 5
    assert set(scores) == {metric.name for metric in task.metrics}


def unbalanced(counts: tuple[int, ...] = (60, 20, 8), **options: Any) -> ImageClassification:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (len(labels), 1, 8, 8), generator=random)
    pixels[:, 0, 0, 0] = 80 * labels  # there is something to learn
    return ImageClassification.from_tensors("few", pixels.to(torch.uint8), labels, **options)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("train_images", [None, 30])
def test_balanced_weights_are_those_made_by_hand(
    smoothing: float, train_images: int | None
) -> None:
    task = unbalanced(validation=0.25)
    recipe = helpers.tiny(
        class_weights="balanced", label_smoothing=smoothing, train_images=train_images
    )
    labels = task.train.labels[:train_images]
    counts = [int((labels == number).sum()) for number in range(3)]
    assert train_images is not None or counts == [45, 15, 6]
    assert len(set(counts)) > 1
    weights = torch.tensor([len(labels) / (3 * count) for count in counts])
    assert weights[labels].mean().item() == pytest.approx(1)  # on average over the images
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    data = task.data("train", recipe, CPU)
    assert len(data) == len(labels)
    for batch in data.batches(16):
        loss, carry = task.loss(model, batch, None, recipe)
        logits = model(batch.inputs)
        torch.testing.assert_close(
            loss,
            F.cross_entropy(logits, batch.targets, weights, label_smoothing=smoothing),
        )
        if not smoothing:
            each = -logits.log_softmax(1)[torch.arange(len(logits)), batch.targets]
            of_each = weights[batch.targets]
            torch.testing.assert_close(loss, (of_each * each).sum() / of_each.sum())
        assert carry is None


def test_every_class_has_the_same_say_when_weighted() -> None:
    task = unbalanced()
    recipe = helpers.tiny(class_weights="balanced", train_images=None)
    data = task.data("train", recipe, CPU)
    (batch,) = data.batches(len(data))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    loss, _ = task.loss(model, batch, None, recipe)
    each = F.cross_entropy(model(batch.inputs), batch.targets, reduction="none")
    means = [each[batch.targets == number].mean() for number in range(3)]
    torch.testing.assert_close(loss, torch.stack(means).mean())


def test_a_class_without_training_images_weighs_nothing() -> None:
    task = unbalanced(num_classes=5)
    recipe = helpers.tiny(class_weights="balanced", train_images=None)
    data = task.data("train", recipe, CPU)
    (batch,) = data.batches(len(data))
    loss, _ = task.loss(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), batch, None, recipe)
    assert loss.isfinite()


class PlainLoss(ImageClassification):
    """Its loss knows of no weights."""

    def loss(self, model: nn.Module, batch: Any, carry: Any, recipe: Any) -> tuple[Tensor, None]:
        smoothing = recipe.label_smoothing
        return F.cross_entropy(model(batch.inputs), batch.targets, label_smoothing=smoothing), None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_weights_the_bits_are_those_of_the_plain_loss(smoothing: float) -> None:
    task = unbalanced()
    plain = PlainLoss(task.name, task.train, task.validation, 3)
    space = LayerCNN((1, 8, 8), 3, depth=1)
    recipe = helpers.tiny(train_images=None, epochs=2, label_smoothing=smoothing)
    assert recipe.class_weights == "none"  # as it always was
    architecture = child(space, [1, 0, 0, 2])
    expected, scores = train_network(Job(plain, space, architecture, recipe, "cpu", 1))
    network, found = train_network(Job(task, space, architecture, recipe, "cpu", 1))
    assert found == scores
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name
    weighted = recipe.replaced({"class_weights": "balanced"})
    assert train_network(Job(task, space, architecture, weighted, "cpu", 1))[1] != scores


# ---------------------------------------------------------------- all data, and what is kept


def test_a_retraining_sees_all_data_and_is_another_result(digits: ImageClassification) -> None:
    recipe = helpers.tiny(train_images=None)
    parts: list[Any] = ["train", "all"]
    counts = [len(digits.data(part, recipe, CPU)) for part in parts]
    assert counts == [1085, 1085 + 357]
    searched, again = (TrainingSource(digits, PLAIN, recipe, part=part) for part in parts)
    assert searched.context | {"part": "all"} == again.context
    request = Request(child(PLAIN, [0, 1, 0]))
    assert searched(request).scores != again(request).scores


def test_what_is_kept_is_the_trained_network(digits: ImageClassification, tmp_path: Path) -> None:
    source = TrainingSource(digits, SPACE, helpers.tiny(epochs=2), keep=tmp_path)
    request = Request(child(), 3)
    assert source.context == TrainingSource(digits, SPACE, helpers.tiny(epochs=2)).context
    place = source.place(request)
    assert place is not None
    scores = source(request).scores
    loaded = load_child(place)
    images = digits.validation.images.permute(0, 3, 1, 2)
    with torch.no_grad():
        hits = loaded(images).argmax(1) == digits.validation.labels
    assert hits.double().mean().item() == pytest.approx(scores["accuracy"], abs=0.01)
    assert loaded.classes == digits.classes
    assert source.place(Request(child(), 4)) != place
    assert TrainingSource(digits, SPACE, helpers.tiny()).place(request) is None


def test_a_network_that_needs_plain_memory_is_trained_in_it(digits: ImageClassification) -> None:
    class Viewing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(len(x), -1)  # not of channels-last maps

    class Space(helpers.Probe):
        def build(self, architecture: Any) -> nn.Module:
            layers = nn.Conv2d(1, 4, 3, padding=1), Viewing(), nn.Linear(4 * 64, 10)
            return nn.Sequential(*layers)

    space = Space((1, 8, 8), 10)
    evaluation = TrainingSource(digits, space, helpers.tiny())(Request(space.child("narrow")))
    assert evaluation.ok


# ---------------------------------------------------------------- the schedule


@contextmanager
def learning_rates() -> Iterator[list[float]]:
    rates: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        (rate,) = {float(group["lr"]) for group in optimizer.param_groups}
        rates.append(rate)

    handle = register_optimizer_step_pre_hook(note)
    try:
        yield rates
    finally:
        handle.remove()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize(
    ("epochs", "images", "batch_size", "warmup"),
    [(4, 128, 16, 0.25), (1, 320, 32, 0.5), (2, 100, 16, 0.0), (3, 10, 64, 0.4)],
)
def test_the_learning_rate_rises_once_and_falls_to_nothing(
    optimizer: Any,
    epochs: int,
    images: int,
    batch_size: int,
    warmup: float,
    digits: ImageClassification,
) -> None:
    recipe = helpers.tiny(
        epochs=epochs,
        train_images=images,
        batch_size=batch_size,
        warmup=warmup,
        peak_lr=0.02,
        optimizer=optimizer,
    )
    with learning_rates() as rates:
        TrainingSource(digits, PLAIN, recipe)(Request(child(PLAIN, [0, 0, 0])))
    steps = epochs * max(1, images // batch_size)
    assert len(rates) == steps
    assert min(rates) > 0
    assert max(rates) <= recipe.peak_lr
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert abs((top + 0.5) / steps - warmup) <= 0.5 / steps + 1e-9
    # The area under a triangle: half its base times its height, exact where the top is between
    # two steps.
    assert sum(rates) == pytest.approx(steps * recipe.peak_lr / 2, rel=0.5 / steps)
    assert rates[-1] == pytest.approx(recipe.peak_lr * 0.5 / steps / (1 - warmup))


# ---------------------------------------------------------------- batches


def unique_images(count: int, shape: tuple[int, int, int] = (8, 8, 1)) -> Split:
    """Noise, so that no crop of one image is a crop of another; the label is the position."""
    pixels = torch.randint(1, 256, (count, *shape), generator=torch.Generator().manual_seed(0))
    return Split(pixels.to(torch.uint8), torch.arange(count))


def naive_variants(image: Tensor, pad: tuple[int, int], mirror: bool) -> list[bytes]:
    """Every crop of a padded image, one at a time, and its mirror image."""
    height, width, channels = image.shape
    padded = torch.zeros(height + 2 * pad[0], width + 2 * pad[1], channels, dtype=image.dtype)
    padded[pad[0] : pad[0] + height, pad[1] : pad[1] + width] = image
    found = []
    for top in range(2 * pad[0] + 1):
        for left in range(2 * pad[1] + 1):
            crop = padded[top : top + height, left : left + width]
            found += [crop, crop.flip(1)] if mirror else [crop]
    return [crop.contiguous().numpy().tobytes() for crop in found]


def raw(batch: Tensor) -> list[bytes]:
    """The images of a batch that was normalised with mean 0 and deviation 1, as they were."""
    assert batch.dtype == torch.float32
    pixels = batch.permute(0, 2, 3, 1).round().to(torch.uint8)
    return [image.contiguous().numpy().tobytes() for image in pixels]


def neutral(channels: int) -> tuple[list[float], list[float]]:
    return [0.0] * channels, [1.0] * channels


@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 8, 3), (5, 20, 3)])
def test_augmented_images_are_crops_and_mirror_images(
    augmentation: str, shape: tuple[int, int, int]
) -> None:
    split = unique_images(30, shape)
    images = Images(split, neutral(shape[2]), CPU, augmentation)
    pad = (0, 0) if augmentation == "none" else (max(1, shape[0] // 8), max(1, shape[1] // 8))
    mirror = augmentation == "crop_flip"
    allowed = [naive_variants(image, pad, mirror) for image in split.images]
    generator = torch.Generator().manual_seed(1)
    drawn: list[set[int]] = [set() for _ in allowed]
    for _ in range(60):
        for batch, labels in images.batches(15, generator):
            assert batch.shape == (15, shape[2], shape[0], shape[1])
            for pixels, label in zip(raw(batch), labels.tolist(), strict=True):
                assert pixels in allowed[label]
                drawn[label].add(allowed[label].index(pixels))
    variants = (2 * pad[0] + 1) * (2 * pad[1] + 1) * (2 if mirror else 1)
    everywhere = set.union(*drawn)
    assert len(everywhere) == variants  # the whole range of moves, both edges included
    assert all(len(one) > 1 for one in drawn) == (augmentation != "none")


@pytest.mark.parametrize(
    ("count", "size", "batches"), [(64, 32, 2), (70, 32, 2), (63, 32, 1), (20, 32, 1), (1, 8, 1)]
)
def test_an_epoch_shows_every_image_at_most_once(count: int, size: int, batches: int) -> None:
    images = Images(unique_images(count), neutral(1), CPU)
    generator = torch.Generator().manual_seed(0)
    orders = []
    for _ in range(2):
        epoch = list(images.batches(size, generator))
        assert images.steps(size) == len(epoch)
        assert [len(labels) for _, labels in epoch] == [min(size, count)] * batches
        seen = torch.cat([labels for _, labels in epoch]).tolist()
        assert len(set(seen)) == len(seen)
        orders.append(seen)
    assert orders[0] != orders[1] or count == 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augmentation", ["none", "crop_flip"])
def test_batches_in_order_are_normalised_and_whole(
    dtype: torch.dtype, channels: int, augmentation: str
) -> None:
    split = unique_images(10, (6, 7, channels))
    split = Split(split.images.to(dtype), split.labels)
    mean, std = [10.0, 20.0, 30.0][:channels], [2.0, 3.0, 4.0][:channels]
    images = Images(split, (mean, std), CPU, augmentation)
    batches = list(images.batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    together = torch.cat([batch for batch, _ in batches])
    expected = (split.images.float() - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(together, expected.permute(0, 3, 1, 2))
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(10))
    assert together.is_contiguous(memory_format=torch.channels_last) or channels == 1
    assert sum(len(labels) for _, labels in images.batches(4, limit=7)) == 7


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("augmentation", ["none", "crop", "crop_flip"])
def test_every_kind_of_input_trains(dtype: torch.dtype, channels: int, augmentation: str) -> None:
    task = helpers.random_task((channels, 9, 7), dtype=dtype)
    space = LayerCNN(task.input_shape, 3, depth=1)
    recipe = helpers.tiny(train_images=None, augmentation=augmentation)
    evaluation = TrainingSource(task, space, recipe)(Request(child(space, [1, 0, 0, 1])))
    assert evaluation.status == "ok"
    assert "top5" not in evaluation.scores


def test_only_the_first_images_are_trained_on(digits: ImageClassification) -> None:
    """A recipe of n images gives the bits of a task that has no others (but its statistics)."""
    recipe = helpers.tiny(train_images=50)
    first = replace(digits, train=digits.train.take(torch.arange(50)))
    object.__setattr__(first, "statistics", digits.statistics)
    whole = TrainingSource(digits, PLAIN, recipe)(Request(child(PLAIN, [0, 1, 0])))
    part = TrainingSource(first, PLAIN, recipe.replaced({"train_images": None}))(
        Request(child(PLAIN, [0, 1, 0]))
    )
    assert whole.scores["loss"] == part.scores["loss"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_both_optimisers_learn(
    optimizer: Any, smoothing: float, digits: ImageClassification
) -> None:
    recipe = helpers.tiny(
        optimizer=optimizer,
        label_smoothing=smoothing,
        peak_lr=0.01 if optimizer == "adamw" else 0.1,
        epochs=4,
        train_images=400,
    )
    evaluation = TrainingSource(digits, SPACE, recipe)(Request(child()))
    assert evaluation.scores["accuracy"] > 0.3  # chance is 0.1


# ---------------------------------------------------------------- batch-norm statistics


@pytest.mark.parametrize("count", [1, 2, 100, 256, 257, 600])
def test_batch_norm_statistics_are_recomputed_from_the_given_images(
    count: int, digits: ImageClassification
) -> None:
    recipe = helpers.tiny(bn_images=count, train_images=640, batch_size=64)
    model, _ = train_network(Job(digits, PLAIN, child(PLAIN, [0, 1, 0]), recipe, "cpu", 0))
    convolution, norm = next(
        (a, b)
        for a, b in zip(model.children(), list(model.children())[1:], strict=False)
        if isinstance(b, nn.BatchNorm2d)
    )
    assert norm.running_mean is not None
    assert norm.running_var is not None
    if count == 1:  # of one image there is no variance: the statistics of the training stay
        assert not torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        return
    mean, std = digits.statistics
    images = (digits.train.images[:count].permute(0, 3, 1, 2).float() - mean[0]) / std[0]
    with torch.no_grad():
        maps = convolution(images)  # each image once, however they fell into batches
    mean, var = maps.mean((0, 2, 3)), maps.var((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, var, rtol=1e-4, atol=1e-5)


def test_batch_norm_statistics_of_the_training_stay_if_asked(digits: ImageClassification) -> None:
    fresh = helpers.tiny(bn_images=64)
    models = [
        train_network(Job(digits, PLAIN, child(PLAIN, [0, 1, 0]), recipe, "cpu", 0))[0]
        for recipe in (fresh, fresh.replaced({"bn_images": 0}))
    ]
    weights = [dict(model.named_parameters()) for model in models]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    states = [model.state_dict() for model in models]
    changed = [name for name in states[0] if not torch.equal(states[0][name], states[1][name])]
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


# ---------------------------------------------------------------- fit, devices, precision


def test_fit_trains_in_place() -> None:
    split = unique_images(32)
    split = Split(split.images, split.labels % 2)
    images = Images(split, ([128.0], [70.0]), CPU)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    before = F.cross_entropy(model(next(images.batches(32)).inputs), split.labels).item()
    task = helpers.random_task(classes=2)
    recipe = helpers.tiny(epochs=10, batch_size=8, peak_lr=0.05)
    fit(model, images, Job(task, PLAIN, child(PLAIN, [0, 0, 0]), recipe, "cpu"))
    after = F.cross_entropy(model(next(images.batches(32)).inputs), split.labels).item()
    assert after < 0.5 * before


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "tpu", "", "cpu:7"])
def test_unusable_devices_are_one_clear_sentence(name: str, digits: ImageClassification) -> None:
    with pytest.raises(ValueError, match="usable: cpu, auto") as caught:
        TrainingSource(digits, PLAIN, helpers.tiny(), name)
    assert helpers.is_sentence(caught.value, repr(name))


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert resolve_device("auto").type == expected


def test_the_precision_is_resolved_and_recorded(
    digits: ImageClassification, monkeypatch: pytest.MonkeyPatch
) -> None:
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert resolve_precision("auto", CPU) == expected
        source = TrainingSource(digits, PLAIN, helpers.tiny(precision="auto"))
        assert source.recipe.precision == expected
        assert source.context["recipe"]["precision"] == expected
    assert resolve_precision("float32", CPU) == "float32"
    assert resolve_precision("bfloat16", CPU) == "bfloat16"


def test_mixed_precision_trains(digits: ImageClassification) -> None:
    recipe = helpers.tiny(precision="bfloat16", epochs=3, train_images=None)
    evaluation = TrainingSource(digits, PLAIN, recipe)(Request(child(PLAIN, [1, 1, 0])))
    assert evaluation.scores["accuracy"] > 0.25  # chance is 0.1
    exact = TrainingSource(digits, PLAIN, recipe.replaced({"precision": "float32"}))
    assert exact(Request(child(PLAIN, [1, 1, 0]))).scores["loss"] != evaluation.scores["loss"]


# ---------------------------------------------------------------- what a result depends on


def test_more_training_images_than_there_are_is_one_clear_sentence(
    digits: ImageClassification,
) -> None:
    with pytest.raises(ValueError, match="train_images must be at most 1085") as caught:
        TrainingSource(digits, PLAIN, helpers.tiny(train_images=1086))
    assert helpers.is_sentence(caught.value, "digits", "1086")
    TrainingSource(digits, PLAIN, helpers.tiny(train_images=1085))


def test_the_context_tells_everything_apart(digits: ImageClassification) -> None:
    reference = TrainingSource(digits, PLAIN, helpers.tiny())
    other_data = replace(digits, train=digits.train.take(torch.arange(100)))
    others = [
        TrainingSource(other_data, PLAIN, helpers.tiny()),
        TrainingSource(digits, PlainCNN((1, 8, 8), 10, depth=2), helpers.tiny()),
        TrainingSource(digits, SPACE, helpers.tiny()),
        TrainingSource(digits, PLAIN, helpers.tiny(epochs=2)),
        TrainingSource(digits, PLAIN, helpers.tiny(precision="bfloat16")),
    ]
    contexts = [source.context for source in (reference, *others)]
    assert len({str(context) for context in contexts}) == len(contexts)
    same = replace(digits, name="other")  # the data are what they are, whatever they are called
    assert TrainingSource(same, PLAIN, helpers.tiny()).context == reference.context
