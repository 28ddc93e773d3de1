"""What the tests share: one thread each, a picture, data that may be absent, GPU tests left out without one."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

# Several test processes share few cores: one thread each is fastest. Tests of threads set their own number.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where torch finds no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def kodak() -> list[Path]:
    """The Kodak pictures, where they lie beside the repository."""
    paths = sorted((ROOT.parent / "shared/data/eval/kodak").glob("*.webp"))
    if not paths:
        pytest.skip("the Kodak pictures are not beside this repository (../shared/data/eval/kodak)")
    return paths


@pytest.fixture(scope="session")
def photograph() -> NDArray[np.uint8]:
    """A natural picture of odd size, uint8 [97, 141, 3]."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    return np.ascontiguousarray(data.chelsea()[100:197, 150:291])
