from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(
    os.environ.get("NAS_GYM_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)


@pytest.fixture
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder with torchvision's files; the test is skipped where there is none."""
    if not (DATA / "FashionMNIST").is_dir():
        pytest.skip(f"needs MNIST and Fashion-MNIST; none in {DATA} (set NAS_GYM_TEST_DATA)")
    return DATA
