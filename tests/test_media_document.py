"""The examples of docs/PICTURES.md run as written, and its tables name what the code reads and writes."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rarefy.codecs.picture_kinds import SUFFIXES
from rarefy.codecs.transparency import fill_invisible
from rarefy.codecs.weights import candidates

TEXT = (Path(__file__).resolve().parents[1] / "docs/PICTURES.md").read_text()


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:96, :128]
    waves = np.stack([x + y, 255 - x - y, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], 2)
    Image.fromarray(waves.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, example in enumerate(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL), 1):
        exec(compile(example, f"docs/PICTURES.md, Python block {number}", "exec"), names)
    assert Image.open("photo.jpg").size == Image.open("white.jpg").size == (128, 96)


def test_every_suffix_is_listed() -> None:
    table = TEXT.split("## What goes out")[1]
    listed = [
        suffix for line in table.splitlines() if line.startswith("| `.") for suffix in re.findall(r"`(\.\w+)`", line)
    ]
    assert sorted(listed) == sorted(SUFFIXES)


@pytest.mark.slow
def test_filling_what_nobody_sees_makes_files_smaller() -> None:
    if not candidates("image"):
        pytest.skip('no weights of codec "image" are here')
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    import rarefy

    photograph = data.chelsea()[:256, :384]
    y, x = np.mgrid[:256, :384]
    alpha = (np.clip(100 - np.hypot(y - 128, x - 192), 0, 1) * 255).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, photograph.shape, np.uint8)
    garbage = np.where(alpha[:, :, np.newaxis] == 0, noise, photograph)
    black = np.where(alpha[:, :, np.newaxis] == 0, np.uint8(0), photograph)
    filled, plain, dark = (len(rarefy.encode(pixels)) for pixels in (fill_invisible(garbage, alpha), garbage, black))
    assert filled < plain / 5 and filled < dark
