"""The documents keep their word: commands and examples run as written, links lead somewhere, no gap is left.

What stands under a heading "Planned" is not run, nor are shell blocks marked `console` (installation, training).
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rarefy.tools.cli import main

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("docs", "weights", "recipes", "examples", "kernels")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HAS_WEIGHTS = (ROOT / "weights/image.safetensors").is_file() or "RAREFY_WEIGHTS" in os.environ
needs_weights = pytest.mark.skipif(not HAS_WEIGHTS, reason="weights/image.safetensors is not there")


def blocks(name: str, language: str) -> Iterator[str]:
    """Yield the fenced blocks of a language that a document has before its heading "Planned"."""
    promised = re.split(r"^## Planned$", (ROOT / name).read_text(), flags=re.MULTILINE)[0]
    for found, content in FENCED.findall(promised):
        if found == language:
            yield content


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with what the examples name: photo.png, and a folder of pictures."""
    y, x = np.mgrid[:96, :128]
    waves = np.stack([x + y, 255 - x - y, 128 + 60 * np.sin(x / 9) * np.cos(y / 7)], 2)
    picture = Image.fromarray(waves.clip(0, 255).astype(np.uint8))
    (tmp_path / "pictures/inner").mkdir(parents=True)
    for target in ("photo.png", "pictures/a.png", "pictures/inner/b.jpg"):
        picture.save(tmp_path / target)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_weights
@pytest.mark.parametrize("name", ["README.md", "docs/TOUR.md"])
def test_python_examples_run(name: str, folder: Path) -> None:
    examples = list(blocks(name, "python"))
    assert examples, f"{name} shows no Python"
    assert main(["pack", "pictures/", "-o", "shards/", "-q"]) == 0  # what the shell's blocks make for them
    names: dict[str, object] = {}
    for number, example in enumerate(examples, 1):
        exec(compile(example, f"{name}, Python block {number}", "exec"), names)
    assert np.asarray(names["image"]).shape == (96, 128, 3)


def test_the_codec_of_ones_own_is_a_codec() -> None:
    names: dict[str, object] = {}
    for example in blocks("docs/ADDING_A_CODEC.md", "python"):
        exec(compile(example, "docs/ADDING_A_CODEC.md", "exec"), names)
    gradients = [p.grad for p in names["codec"].parameters()]  # type: ignore[attr-defined]
    assert any(g is not None and bool(g.any()) for g in gradients)


@needs_weights
@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/TOUR.md"])
def test_shell_examples_run(name: str, folder: Path) -> None:
    examples = list(blocks(name, "sh"))
    assert examples, f"{name} shows no commands"
    rarefy = f'rarefy() {{ {shlex.quote(sys.executable)} -m rarefy "$@"; }}'
    script = "\n".join(["set -euo pipefail", rarefy, *examples])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    for made in {"README.md": ["small.png", "again.png"], "docs/TOUR.md": ["again.jpg", "copy.png"]}[name]:
        assert Image.open(folder / made).size == (128, 96)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    text = FENCED.sub("", (ROOT / name).read_text())
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), f"{name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name} links to {link}"


def anchors(document: Path) -> set[str]:
    """Return the anchors that the headings of a document get."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_fill_in(name: str) -> None:
    left = re.findall(r"TODO[\w-]*", (ROOT / name).read_text())
    assert not left, f"{name} still says {', '.join(left)}"


def test_messages_that_are_explained_are_those_of_the_source() -> None:
    section = (ROOT / "docs/QUESTIONS.md").read_text().split("## What does this message mean?")[1].split("## Words")[0]
    messages = [row.split("|")[1].strip().strip("`") for row in section.splitlines() if row.startswith("| `")]
    pieces = [piece.strip() for message in messages for piece in re.split(r"…|\bN\b|\b1\b", message)]
    paths = [path for folder in ("codecs", "entropy", "tools") for path in (ROOT / folder).rglob("*.py")]
    source = " ".join(re.sub(r'"\s+f?"', "", path.read_text()) for path in paths)  # sentences over several lines
    assert len(messages) > 8
    assert [piece for piece in pieces if piece.strip("() ") not in source] == []
