"""Things that several test files need. Worker processes import this file too."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nas_gym.evaluation import ACCURACY, Evaluation, Request
from nas_gym.evaluators import InlineEvaluator
from nas_gym.recipe import Recipe
from nas_gym.search_spaces import Architecture, Choice, Decision, Layer, SearchSpace
from nas_gym.sources import FunctionSource
from nas_gym.tasks import ImageClassification, Task

TINY = {"epochs": 1, "train_images": 64, "batch_size": 32, "precision": "float32", "bn_images": 64}


class Bug(Exception):
    """What a mistake in somebody's space raises."""


@dataclass(frozen=True)
class Probe(SearchSpace):
    """One decision: how the child behaves while it trains.

    Attributes:
        marker: A file that the first try of ``kill_once`` leaves behind.
    """

    name: ClassVar[str] = "probe"

    marker: str = ""

    CHOICES: ClassVar[tuple[str, ...]] = (
        "narrow",
        "middle",
        "wide",
        "nan",
        "bug",
        "out_of_memory",
        "memory_error",
        "hungry",
        "hang",
        "kill",
        "kill_once",
        "astronomic",
    )

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return (Decision("behaviour", self.CHOICES, "behaviour"),)

    def canonical(self, choices: tuple[Choice, ...]) -> tuple[Layer, ...]:
        return (choices,)

    def build(self, architecture: Architecture) -> nn.Module:
        self.check(architecture)
        behaviour = str(architecture.layers[0][0])
        inputs = int(torch.Size(self.input_shape).numel())
        width = {"middle": 8, "wide": 16, "astronomic": 200_000}.get(behaviour, 4)
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(inputs, width)]
        if behaviour == "astronomic":
            layers.append(nn.Linear(width, width))
        last = nn.Linear(width, self.num_classes)
        return nn.Sequential(*layers, Behaviour(behaviour, self.marker), last)

    def child(self, behaviour: str) -> Architecture:
        """The architecture that behaves so."""
        return self.decode([self.CHOICES.index(behaviour)])


class Behaviour(nn.Module):
    """Passes its input on, or does what its name says."""

    def __init__(self, behaviour: str, marker: str) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.marker = marker

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:  # only being measured
            return x
        act: Callable[[], Any] = getattr(self, f"_{self.behaviour}", lambda: 1.0)
        return x * act()

    def _nan(self) -> float:
        return float("nan")

    def _bug(self) -> float:
        raise Bug("a mistake in the space")

    def _out_of_memory(self) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    def _memory_error(self) -> float:
        raise MemoryError

    def _hungry(self) -> float:
        torch.empty(8 * 2**30, dtype=torch.uint8)  # not touched, so only a limit forbids it
        return 1.0

    def _hang(self) -> float:
        while True:
            time.sleep(1)

    def _kill(self) -> float:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0.0

    def _kill_once(self) -> float:
        marker = Path(self.marker)
        if not marker.exists():
            marker.touch()
            self._kill()
        return 1.0


def score(architecture: Architecture, seed: int = 0) -> float:
    """A made-up accuracy in [0, 1) that depends on nothing else."""
    return (int(architecture.key, 16) + 7919 * seed) % 2**64 / 2**64


def answers(
    function: Callable[..., Any] = score, name: str = "made_up", space: SearchSpace | None = None
) -> FunctionSource:
    """A source whose function gives accuracies."""
    return FunctionSource(function, name, space, (ACCURACY,))


def table(source: Any = None) -> InlineEvaluator:
    """An evaluator by name: ``evaluator="helpers:table"``; it trains nothing."""
    del source
    return InlineEvaluator(answers())


def accuracy_squared(evaluation: Evaluation) -> float:
    """A user's own reward."""
    return evaluation.scores["accuracy"] ** 2


def power(evaluation: Evaluation, cost: str, target: float) -> float:
    """A user's own reward with options that mean something else than the package's."""
    assert cost == "seconds"
    return evaluation.scores["accuracy"] ** target


class Recorder(InlineEvaluator):
    """An evaluator of made-up numbers that keeps what it was asked for."""

    def __init__(self, function: Callable[..., Any] = score) -> None:
        super().__init__(answers(function))
        self.asked: list[Request] = []
        self.closed = 0

    def submit(self, request: Request) -> Future[Evaluation]:
        self.asked.append(request)
        return super().submit(request)

    def close(self) -> None:
        self.closed += 1


def random_task(
    shape: tuple[int, int, int] = (1, 8, 8),
    images: int = 60,
    classes: int = 3,
    dtype: torch.dtype = torch.uint8,
    **kwargs: Any,
) -> ImageClassification:
    """Noise with labels, every class equally often."""
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, *shape), generator=random)
    pixels = pixels.to(dtype) if dtype == torch.uint8 else pixels.to(dtype) / 255
    return Task.from_tensors("noise", pixels, torch.arange(images) % classes, **kwargs)


def own_task(data_dir: Path) -> Task:
    """A user's own task, by name: ``task="helpers:own_task"``."""
    del data_dir
    return random_task()


def no_task(data_dir: Path) -> int:
    """Something that is called like a task and is none."""
    del data_dir
    return 3


def tiny(**changes: Any) -> Recipe:
    """A recipe that trains in a fraction of a second."""
    return Recipe().replaced(TINY | changes)


def is_sentence(error: BaseException, *words: object) -> bool:
    """Whether a message is one line and holds the words."""
    text = str(error)
    return "\n" not in text and len(text) > 10 and all(str(word) in text for word in words)


# ---------------------------------------------------------------- calls for worker processes


def dead(process: int) -> bool:
    """Whether a process is gone (or waits only for its parent to take note)."""
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            == "Z"
        )
    except OSError:
        return True


def probe_name(source: Any) -> str:
    """Called like an evaluator, and none."""
    return type(source).__name__


def nothing() -> None:
    """Set a worker up with nothing."""


def process_id() -> int:
    time.sleep(0.05)
    return os.getpid()


def meet(folder: Path, number: int) -> int:
    """Wait until two calls are here."""
    (folder / str(number)).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    return number


def fail(message: str) -> None:
    raise Bug(message)


class NeedsTwo(Exception):
    """Cannot be unpickled: exceptions are made again from their one message."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail_unpicklable() -> None:
    raise NeedsTwo("needs", "two")


def die_if(die: bool) -> str:
    if die:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die_once(marker: str, value: int) -> int:
    if marker and not Path(marker).exists():
        Path(marker).touch()
        die_if(True)
    return value


def hang_if(hang: bool) -> str:
    while hang:
        time.sleep(1)
    return "awake"


def leave_trace(folder: Path) -> None:
    (folder / str(os.getpid())).touch()


def behave(architecture: Architecture, seed: int) -> Evaluation | float:
    """A function over `Probe` whose children fail as trained ones do."""
    behaviour = architecture.layers[0][0]
    if behaviour == "bug":
        raise Bug("a mistake in the space")
    if behaviour == "nan":
        request = Request(architecture, seed)
        return Evaluation(request, "diverged", origin="table", detail="nan")
    return score(architecture, seed)
