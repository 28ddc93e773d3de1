"""The examples of docs/PLUGINS.md run as written, and what it quotes of the example package stands there."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rarefy.codecs.weights import candidates

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall((ROOT / "docs/PLUGINS.md").read_text())


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("imageio", "zarr", "numcodecs"):
        pytest.importorskip(library, reason=f"needs {library}")
    if not candidates("image"):
        pytest.skip('no weights of codec "image" are here')
    y, x = np.mgrid[:96, :128]
    waves = np.stack([x + y, 255 - x - y, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], 2)
    Image.fromarray(waves.clip(0, 255).astype(np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    examples = [content for language, content in BLOCKS if language == "python"]
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"docs/PLUGINS.md, Python block {number}", "exec"), names)
    assert Image.open("thumb.png").size == (64, 48)
    for decoded in (names["decoded"], names["again"]):
        assert np.abs(np.asarray(decoded).astype(int) - np.asarray(names["pixels"])).mean() < 4


@pytest.mark.parametrize(("language", "file"), [("toml", "pyproject.toml"), ("text", "rarefy_blocks/__init__.py")])
def test_what_is_quoted_stands_in_the_package(language: str, file: str) -> None:
    quoted = [content for found, content in BLOCKS if found == language]
    assert quoted
    for content in quoted:
        assert content in (ROOT / "examples/codec_package" / file).read_text()
