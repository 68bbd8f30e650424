from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nas_gym import BENCHMARKS, ENVIRONMENTS
from nas_gym.tasks import Task, load_task

torch.set_num_threads(1)  # networks as small as these only lose by more

DATA = Path(
    os.environ.get("NAS_GYM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)

# What lies under the data root for a task or a table; a task that is not named here brings its
# own data.
FILES = {
    "mnist": "MNIST/raw/train-images-idx3-ubyte",
    "fashion_mnist": "FashionMNIST/raw/train-images-idx3-ubyte",
    "cifar10": "cifar-10-batches-py/data_batch_1",
    "nas_bench_macro": "nas-bench-macro/nas-bench-macro_cifar10.json",
    "nas_bench_201": "nas-bench-201/nas_bench_201_cifar10.npz",
}


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with torchvision's files; the test is skipped where there is none."""
    for name in ("mnist", "fashion_mnist"):
        _need(name)
    return DATA


@pytest.fixture
def cifar10_dir() -> Path:
    """The folder with CIFAR-10 in torchvision's layout."""
    _need("cifar10")
    return DATA


@pytest.fixture
def macro_dir() -> Path:
    """The folder with the table of NAS-Bench-Macro."""
    _need("nas_bench_macro")
    return DATA


@pytest.fixture
def cells_dir() -> Path:
    """The folder with the CIFAR-10 table of NAS-Bench-201."""
    _need("nas_bench_201")
    return DATA


@pytest.fixture(params=[*ENVIRONMENTS, *BENCHMARKS])
def env_id(request: pytest.FixtureRequest) -> str:
    """Every registered id whose data is here."""
    name: str = request.param
    _need((ENVIRONMENTS | BENCHMARKS)[name])
    return name


@pytest.fixture(scope="session")
def digits() -> Task:
    return load_task("digits")


def _need(task: str) -> None:
    if task in FILES and not (DATA / FILES[task]).is_file():
        pytest.skip(f"needs the files of {task}; none in {DATA} (set NAS_GYM_TEST_DATA)")
