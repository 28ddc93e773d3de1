"""docs/COMMAND_LINE.md: its examples run in order and leave what they say, and it names all verbs and options."""

import argparse
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs.container import read_info
from rarefy.tools.cli import PASSED_ON, build_parser

Run = Callable[..., tuple[int, str, str]]

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs/COMMAND_LINE.md").read_text()
EXAMPLES = [
    shlex.split(line, comments=True)
    for block in re.findall(r"^```sh\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def section(title: str) -> str:
    """Return the text under a heading."""
    parts = re.split(r"^## (.*)$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(map(str.lower, parts[1::2]), parts[2::2], strict=True))[title]


def verbs() -> dict[str, argparse.ArgumentParser]:
    (action,) = [a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
    return {verb: parser for verb, parser in action.choices.items() if verb not in PASSED_ON}


def test_examples_run(run: Run, tmp_path: Path, photograph: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pictures/inner").mkdir(parents=True)
    for name in ("photo.png", "pictures/a.png", "pictures/inner/b.jpg"):
        Image.fromarray(photograph).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) > 20
    for program, *arguments in EXAMPLES:
        assert program == "rarefy"
        code, _, err = run(*arguments)
        assert code == 0, f"rarefy {shlex.join(arguments)}: {err}"
    made = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert {"photo.rfy", "small.rfy", "encoded/inner/b.rfy", "photos/inner/b.rfy", "decoded/a.png"} <= made
    assert read_info("smaller/inner/b.rfy").quality == 30
    assert read_info("encoded/a.rfy").quality == 50
    assert Image.open("part.png").size == (64, 48)
    assert Image.open("thumb.png").size == (36, 25)


@pytest.mark.parametrize("verb", list(verbs()))
def test_every_option_stands_in_its_section_and_no_other(verb: str) -> None:
    text = section(verb)
    pages = [text] + [section(link) for link in re.findall(r"\[(inputs and outputs|the machine|words)\]", text)]
    tables = "\n".join(line for page in pages for line in page.splitlines() if line.startswith("| `"))
    sentences = " ".join(re.findall(r"^Takes .*$", text, re.MULTILINE))
    named = set(re.findall(r"(?<=`)--?[a-z][a-z-]*", tables + sentences))
    options = {option for action in verbs()[verb]._actions for option in action.option_strings}
    assert named == options - {"-h", "--help"}


def test_every_verb_has_a_row() -> None:
    rows = re.findall(r"^\| \[`([^]]*)`\]\(#", DOCUMENT, re.MULTILINE)
    assert sorted(name for row in rows for name in row.split("`, `")) == sorted([*verbs(), *PASSED_ON])
