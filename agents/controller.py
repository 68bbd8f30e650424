"""The policies of REINFORCE: an LSTM that reads its last decision, and one that reads nothing."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from nas_gym import SearchSpace

Sharing = Literal["decision", "kind"]


class Controller(nn.Module):
    """An LSTM with a softmax head per decision, or per kind of decision (Zoph & Le 2016, 3.1).

    Args:
        space: The decisions to make.
        layers: LSTM layers.
        units: Units per layer, and size of the embedding of the last decision.
        init: Every parameter starts uniform in [-init, init].
        share: Whether heads and embeddings belong to each ``decision``, or to all decisions of
            one ``kind``.
        random: Source of the initial parameters and of every sample.
        temperature: Divides the logits.
        tanh_constant: Keeps the logits within this of 0, by a tanh after the temperature
            (Bello et al. 2017, arXiv 1611.09940); None for no bound.
    """

    groups: Tensor
    inputs: Tensor

    def __init__(
        self,
        space: SearchSpace,
        layers: int,
        units: int,
        init: float,
        share: Sharing,
        random: torch.Generator,
        temperature: float = 1.0,
        tanh_constant: float | None = None,
    ) -> None:
        super().__init__()
        self.space = space
        self.random = random
        self.temperature = temperature
        self.tanh_constant = tanh_constant
        names = [d.name if share == "decision" else d.kind for d in space.decisions]
        order = {name: index for index, name in enumerate(dict.fromkeys(names))}
        groups = torch.tensor([order[name] for name in names])
        actions = space.num_actions
        self.register_buffer("groups", groups, persistent=False)
        # Row 0 of the embedding starts an episode; then come the actions of each group.
        self.register_buffer("inputs", 1 + groups * actions, persistent=False)
        with torch.random.fork_rng(devices=()):  # their own initialisation draws from the global
            self.embedding = nn.Embedding(1 + len(order) * actions, units)
            self.lstm = nn.LSTM(units, units, layers, batch_first=True)
        self.head_weight = nn.Parameter(torch.empty(len(order), actions, units))
        self.head_bias = nn.Parameter(torch.empty(len(order), actions))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -init, init, generator=random)

    @torch.no_grad()
    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Write ``count`` architectures at once.

        Returns:
            Actions ``(count, steps)``, int64, and the masks they respected,
            ``(count, steps, actions)``, bool.
        """
        steps = len(self.space.decisions)
        actions = torch.zeros(count, steps, dtype=torch.int64)
        masks = torch.zeros(count, steps, self.space.num_actions, dtype=torch.bool)
        token = torch.zeros(count, 1, dtype=torch.int64)
        state: tuple[Tensor, Tensor] | None = None
        for step in range(steps):
            output, state = self.lstm(self.embedding(token), state)
            masks[:, step] = torch.from_numpy(self.space.masks(actions[:, :step].numpy()))
            group = self.groups[step]
            logits = output[:, 0] @ self.head_weight[group].T + self.head_bias[group]
            logits = self._bounded(logits).masked_fill(~masks[:, step], -torch.inf)
            chosen = torch.multinomial(logits.softmax(1), 1, generator=self.random)
            actions[:, step] = chosen[:, 0]
            token = self.inputs[step] + chosen
        return actions, masks

    def log_probabilities(self, actions: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each action and entropy of each decision, both ``(batch, steps)``.

        Args:
            actions: ``(batch, steps)``.
            masks: ``(batch, steps, actions)``.
        """
        start = torch.zeros(len(actions), 1, dtype=torch.int64)
        tokens = torch.cat([start, self.inputs[:-1] + actions[:, :-1]], dim=1)
        output, _ = self.lstm(self.embedding(tokens))
        weight, bias = self.head_weight[self.groups], self.head_bias[self.groups]
        logits = torch.einsum("bsu,sau->bsa", output, weight) + bias
        return _score(self._bounded(logits), actions, masks)

    def _bounded(self, logits: Tensor) -> Tensor:
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return logits if self.tanh_constant is None else self.tanh_constant * logits.tanh()


class CategoricalPolicy(nn.Module):
    """One independent softmax per decision: no weights but the logits (Dong & Yang 2020).

    Args:
        space: The decisions to make.
        init: Every logit starts uniform in [-init, init].
        random: Source of the initial logits and of every sample.
    """

    def __init__(self, space: SearchSpace, init: float, random: torch.Generator) -> None:
        super().__init__()
        self.space = space
        self.random = random
        self.logits = nn.Parameter(torch.empty(len(space.decisions), space.num_actions))
        nn.init.uniform_(self.logits, -init, init, generator=random)

    @torch.no_grad()
    def sample(self, count: int) -> tuple[Tensor, Tensor]:
        """Write ``count`` architectures at once; see `Controller.sample`."""
        steps = len(self.space.decisions)
        actions = torch.zeros(count, steps, dtype=torch.int64)
        masks = torch.zeros(count, steps, self.space.num_actions, dtype=torch.bool)
        for step in range(steps):
            masks[:, step] = torch.from_numpy(self.space.masks(actions[:, :step].numpy()))
            logits = self.logits[step].masked_fill(~masks[:, step], -torch.inf)
            chosen = torch.multinomial(logits.softmax(1), 1, generator=self.random)
            actions[:, step] = chosen[:, 0]
        return actions, masks

    def log_probabilities(self, actions: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies; see `Controller.log_probabilities`."""
        return _score(self.logits, actions, masks)


Policy: TypeAlias = Controller | CategoricalPolicy


def _score(logits: Tensor, actions: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability of each action and entropy of each decision under masked logits."""
    # A finite number for what is masked keeps 0 * log 0 at 0 in the entropy.
    logs = logits.masked_fill(~masks, -1e9).log_softmax(2)
    entropy = -(logs.exp() * logs).sum(2)
    return logs.gather(2, actions[:, :, None])[:, :, 0], entropy
