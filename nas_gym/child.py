"""Trained children on disk: weights and everything needed to build and trust them again."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_gym._files import user_path, write_bytes, write_text
from nas_gym._resolve import require_trust, resolve
from nas_gym.isolation import isolated
from nas_gym.own_code import own_code
from nas_gym.search_spaces import Architecture, SearchSpace, form_of, make_search_space
from nas_gym.tasks.base import Part, Task

WEIGHTS, DESCRIPTION = "weights.pt", "child.json"


class Normalize(nn.Module):
    """Images in the data's own units, normalised.

    Args:
        mean: Per channel.
        std: Per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Of images ``(N, channels, height, width)``, uint8 or float."""
        return (images.float() - self.mean) / self.std


class Child(nn.Module):
    """A trained network that takes what the data hold.

    Args:
        front: From the data's own units to what the network takes.
        network: The trained network.
        classes: Names of its outputs; empty where they have none.
    """

    def __init__(self, front: nn.Module, network: nn.Module, classes: Sequence[str] = ()) -> None:
        super().__init__()
        self.front = front
        self.network = network
        self.classes = tuple(classes)

    def forward(self, inputs: Tensor, *carried: Any) -> Any:
        """What the network gives: of a classification the logits, ``(N, classes)``."""
        return self.network(self.front(inputs), *carried)


FRONTS: dict[str, Callable[..., nn.Module]] = {"identity": nn.Identity, "normalize": Normalize}


def make_front(spec: Mapping[str, Any]) -> nn.Module:
    """What a task's `front` describes.

    Args:
        spec: A ``"name"`` in `FRONTS` or ``"package.module:Class"``, and its options.

    Raises:
        ValueError: An unknown name.
    """
    options = dict(spec)
    front: nn.Module = resolve(options.pop("name", ""), FRONTS, "front")(**options)
    return front


def save_child(
    folder: Path,
    network: nn.Module,
    space: SearchSpace,
    architecture: Architecture,
    task: Task,
    part: Part = "train",
    **facts: Any,
) -> None:
    """Write a trained network: ``weights.pt`` (a state dict) and ``child.json``.

    Args:
        folder: Made if it is missing; the description is written last, so a folder that has one
            is complete.
        network: The trained network.
        space: What built it.
        architecture: What it was built from.
        task: What it was trained for.
        part: What of its data it was trained on.
        **facts: JSON values to keep beside it: recipe, seed, scores, ...
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DESCRIPTION).unlink(missing_ok=True)  # it says that the weights beside it are whole
    front = task.front(part)
    model = Child(make_front(front), network).to("cpu")
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_bytes(folder / WEIGHTS, buffer.getvalue())
    description = {
        "architecture": json.loads(architecture.to_json()),
        "search_space": space.describe(),
        "task": task.name,
        "front": dict(front),
        "classes": list(task.classes),
        "weights_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        **own_code(search_space=space),
        **facts,
    }
    write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


def load_child(
    folder: str | Path,
    search_space: type[SearchSpace] | SearchSpace | None = None,
    trust: Collection[str] = (),
) -> Child:
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
        form = form_of(options)
        front, classes = dict(description["front"]), tuple(description["classes"])
        code = dict(description.get("code", {}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{folder} holds no saved child: {error}") from error
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(f"{folder / WEIGHTS} is damaged: its sha256 is not the recorded one")
    if isinstance(search_space, SearchSpace):
        space = make_search_space(search_space, *form)
    else:
        if search_space is None:
            require_trust(file, {"search space": options.get("name"), "front": front}, trust)
        named = {"name": search_space} if search_space is not None else {}
        space = make_search_space({**options, **named}, *form)
    if own_code(search_space=space).get("code", {}) != code:
        warnings.warn(
            f"the code of the search space {space.name} is not that which built {folder}: the "
            "network may be another one",
            stacklevel=2,
        )
    return _built(space, architecture, front, classes, weights, folder / WEIGHTS)


@isolated
def _built(
    space: SearchSpace,
    architecture: Architecture,
    front: Mapping[str, Any],
    classes: tuple[str, ...],
    weights: bytes,
    file: Path,
) -> Child:
    model = Child(make_front(front), space.build(architecture), classes)
    try:
        model.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    except Exception as error:  # of a file that is not its own, torch raises nearly anything
        raise ValueError(f"{file} holds no weights of this child") from error
    return model.eval()
