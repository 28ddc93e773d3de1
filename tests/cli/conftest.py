"""What the tests of the command line share: running it, in this process and as a program, and files to run it on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs import api
from rarefy.tools.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in this process; returns exit code, stdout and stderr."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def encoded(photograph: NDArray[np.uint8]) -> bytes:
    """A file, made once."""
    return api.encode(photograph)


@pytest.fixture
def picture(tmp_path: Path, photograph: NDArray[np.uint8]) -> Path:
    """A picture on disk."""
    path = tmp_path / "cat.png"
    Image.fromarray(photograph).save(path)
    return path


@pytest.fixture
def small_file(tmp_path: Path, encoded: bytes) -> Path:
    """An encoded picture on disk."""
    path = tmp_path / "kept.rfy"
    path.write_bytes(encoded)
    return path
