"""Trained children on disk: weights and everything needed to build and trust them again."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_gym._files import user_path, write_bytes, write_text
from nas_gym._resolve import require_trust
from nas_gym.isolation import isolated
from nas_gym.own_code import own_code
from nas_gym.search_spaces import Architecture, SearchSpace, make_search_space

WEIGHTS, DESCRIPTION = "weights.pt", "child.json"


class Normalized(nn.Module):
    """A network that takes images in the data's own units.

    Args:
        network: Takes normalised images.
        mean: Per channel.
        std: Per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, classes)`` of images ``(N, channels, height, width)``, uint8 or float."""
        logits: Tensor = self.network((images.float() - self.mean) / self.std)
        return logits


def save_child(
    folder: Path,
    network: nn.Module,
    space: SearchSpace,
    architecture: Architecture,
    statistics: tuple[list[float], list[float]],
    **facts: Any,
) -> None:
    """Write a trained network: ``weights.pt`` (a state dict) and ``child.json``.

    Args:
        folder: Made if it is missing; the description is written last, so a folder that has one
            is complete.
        network: The trained network.
        space: What built it.
        architecture: What it was built from.
        statistics: Mean and standard deviation of its training images, per channel.
        **facts: JSON values to keep beside it: recipe, seed, scores, ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # it says that the weights beside it are whole
    model = Normalized(network, *statistics).to("cpu")
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_bytes(folder / WEIGHTS, buffer.getvalue())
    description = {
        "architecture": json.loads(architecture.to_json()),
        "search_space": space.describe(),
        "weights_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        **own_code(search_space=space),
        **facts,
    }
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_child(
    folder: str | Path,
    search_space: type[SearchSpace] | SearchSpace | None = None,
    trust: Collection[str] = (),
) -> Normalized:
    """Build a saved child again, in evaluation mode.

    Nothing that the files contain or name is executed, unless you say so: a child of a search space
    of your own needs that space, or your trust in the module that the file names.

    Args:
        folder: What `save_child` wrote.
        search_space: The class that builds the child, or a ready space; None for the one that the
            file names, which is one of this package's then.
        trust: Modules that the file may name and that may be imported, e.g. ``["my_space"]``.

    Raises:
        ValueError: Files are missing, or the weights are not the ones that were written, or the
            file names a module that is not trusted.
    """
    folder = user_path(folder)
    file = folder / DESCRIPTION
    try:
        description = json.loads(file.read_bytes())
        weights = (folder / WEIGHTS).read_bytes()
        digest, options = description["weights_sha256"], dict(description["search_space"])
        architecture = Architecture.from_json(json.dumps(description["architecture"]))
        shape, classes = tuple(options.pop("input_shape")), options.pop("num_classes")
        code = dict(description.get("code", {}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder} holds no saved child: {error}") from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(f"{folder / WEIGHTS} is damaged: its sha256 is not the recorded one")
    if isinstance(search_space, SearchSpace):
        space = make_search_space(search_space, shape, classes)
    else:
        if search_space is None:
            require_trust(file, {"search space": options.get("name")}, trust)
        named = {"name": search_space} if search_space is not None else {}
        space = make_search_space({**options, **named}, shape, classes)
    if own_code(search_space=space).get("code", {}) != code:
        warnings.warn(
            f"the code of the search space {space.name} is not that which built {folder}: the "
            "network may be another one",
            stacklevel=2,
        )
    return _built(space, architecture, weights, folder / WEIGHTS)


@isolated
def _built(
    space: SearchSpace, architecture: Architecture, weights: bytes, file: Path
) -> Normalized:
    channels = [0.0] * space.input_shape[0]
    model = Normalized(space.build(architecture), channels, channels)
    try:
        model.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    except Exception as error:  # of a file that is not its own, torch raises nearly anything
        raise ValueError(f"{file} holds no weights of this child") from error
    return model.eval()
