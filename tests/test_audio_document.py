"""The examples of docs/SOUND.md run as written, and its tables name what the code writes and keeps."""

import re
from pathlib import Path

import numpy as np
import pytest
from sounds import TAGS, tones

from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_tags import TAG_BYTES
from rarefy.codecs.audio_tags import TAGS as KEPT
from rarefy.codecs.audio_writing import SUFFIXES, write_audio

TEXT = (Path(__file__).resolve().parents[1] / "docs/SOUND.md").read_text()


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("soundfile", "soxr"):
        pytest.importorskip(package, reason="the examples read, resample and write")
    monkeypatch.chdir(tmp_path)
    write_audio("song.flac", Audio(tones(2, 60_000), 44_100, "PCM_16", TAGS))
    names: dict[str, object] = {}
    for number, example in enumerate(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL), 1):
        exec(compile(example, f"docs/SOUND.md, Python block {number}", "exec"), names)
    assert isinstance(names["audio"], Audio)
    assert names["audio"].tags == TAGS
    assert np.isclose(float(str(names["loudest"])), np.abs(names["audio"].samples).max())


def test_every_suffix_and_tag_is_listed() -> None:
    rows = [line.split("|")[1] for line in TEXT.split("## What goes out")[1].splitlines() if line.startswith("| `.")]
    assert sorted(re.findall(r"`(\.\w+)`", "".join(rows))) == sorted(SUFFIXES)
    assert f"{', '.join(KEPT)}; {TAG_BYTES} bytes" in " ".join(TEXT.split())
