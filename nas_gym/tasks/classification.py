"""Classification of anything: cross-entropy, accuracy, and what unbalanced classes need."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_gym.evaluation import ACCURACY, Metric
from nas_gym.recipe import Recipe
from nas_gym.tasks.base import SCORE_BATCH, Batch, Data, Task

LOSS = Metric("loss", up=False)
TOP5 = Metric("top5", unit="%")
BALANCED = (Metric("balanced_accuracy", unit="%"), Metric("macro_f1", unit="%"))


class Classification(Task):
    """A task whose networks give a number for each class.

    Networks take ``(N, *input_shape)`` and give ``(N, num_classes)``. Metrics: ``accuracy``,
    ``loss`` (mean cross-entropy in nats, without label smoothing and weights), ``top5`` (of more
    than five classes), ``balanced_accuracy`` (mean recall of the classes that occur) and
    ``macro_f1`` (mean F1 of the classes that occur or are predicted).
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Accuracy first."""
        return (ACCURACY, LOSS, *([TOP5] if self.num_classes > 5 else []), *BALANCED)

    def labels(self, recipe: Recipe) -> Tensor:
        """``(N,)`` class numbers of the examples that a recipe trains on."""
        data = self.data("train", recipe, torch.device("cpu"))
        return torch.cat([batch.targets for batch in data.batches(SCORE_BATCH)])

    def loss(
        self, model: nn.Module, batch: Batch, carry: Any, recipe: Recipe
    ) -> tuple[Tensor, Any]:
        """Mean cross-entropy, smoothed and weighted as the recipe says."""
        del carry
        weight = None
        if recipe.class_weights == "balanced":
            weight = self._balanced(recipe).to(batch.targets.device)
        loss = F.cross_entropy(
            model(batch.inputs),
            batch.targets,
            weight=weight,
            label_smoothing=recipe.label_smoothing,
        )
        return loss, None

    def _balanced(self, recipe: Recipe) -> Tensor:
        """Weights that give every class that occurs the same say; their mean over examples is 1."""
        known: dict[int | None, Tensor] = self.__dict__.setdefault("_class_weights", {})
        if recipe.train_images not in known:
            counts = torch.bincount(self.labels(recipe), minlength=self.num_classes).double()
            present = int((counts > 0).sum())
            weights = counts.sum() / (present * counts.clamp(min=1))
            known[recipe.train_images] = weights.float()
        return known[recipe.train_images]

    def score(self, model: nn.Module, data: Data) -> dict[str, float]:
        """Every metric, in batches of 256; nothing waits for the device before the last."""
        zero = torch.zeros(())
        top1, top5, loss, confusion = zero, zero, zero, torch.zeros(0)
        for inputs, labels in data.batches(SCORE_BATCH):
            logits = model(inputs).float()
            classes = logits.shape[1]
            best = logits.topk(min(5, classes), dim=1).indices
            hits = best == labels[:, None]
            top1 = top1.to(logits.device) + hits[:, 0].sum()
            top5 = top5.to(logits.device) + hits.sum()
            loss = loss.to(logits.device) + F.cross_entropy(logits, labels, reduction="sum")
            pairs = torch.bincount(labels * classes + best[:, 0], minlength=classes**2)
            confusion = pairs if confusion.numel() == 0 else confusion + pairs
        count, classes = len(data), self.num_classes
        scores = {"accuracy": float(top1) / count, "loss": float(loss) / count}
        if classes > 5:
            scores["top5"] = float(top5) / count
        return scores | balanced_scores(confusion.view(classes, classes))


def balanced_scores(confusion: Tensor) -> dict[str, float]:
    """Balanced accuracy and macro F1.

    Args:
        confusion: ``(classes, classes)`` counts, true class by row, predicted one by column.
    """
    hits = confusion.diagonal().double()
    true, predicted = confusion.sum(1).double(), confusion.sum(0).double()
    recall = hits[true > 0] / true[true > 0]
    either = true + predicted > 0
    f1 = 2 * hits[either] / (true + predicted)[either]
    return {"balanced_accuracy": recall.mean().item(), "macro_f1": f1.mean().item()}
