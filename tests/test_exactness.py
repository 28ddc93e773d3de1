"""The matrix of `rarefy bench exactness`: its settings, its bounds, and a small part of it with the shipped weights."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from rarefy.codecs.weights import candidates
from rarefy.tools import exactness
from rarefy.tools.bench import main
from rarefy.tools.exactness import CHECKERBOARD, PHOTOGRAPH, VALUES, Setting, compare, covering_settings, decode, encode

PLAIN = Setting()
OTHER = Setting(
    precision="bfloat16", batch=2, is_autocast=True
)  # two threads would wait for each other where tests run in parallel


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The settings change torch's threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> dict[str, torch.Tensor]:
    """Two windows of each picture."""
    pytest.importorskip("skimage", reason="needs scikit-image for a photograph")
    if not candidates("image"):
        pytest.skip('no weights of codec "image" are here')
    return {name: windows[:2] for name, windows in exactness.pictures().items()}


@pytest.mark.parametrize("times", [1, 2])
def test_every_two_values_meet(times: int) -> None:
    settings = covering_settings(times)
    assert len(set(settings)) == len(settings) <= 8 * times
    for (first, firsts), (second, seconds) in combinations(VALUES.items(), 2):
        met = Counter((getattr(setting, first), getattr(setting, second)) for setting in settings)
        assert all(met[a, b] >= times for a in firsts for b in seconds), (first, second)


def written_by(setting: Setting, picture: str, x: torch.Tensor, quality: int) -> dict[str, Any]:
    """What one encoder leaves for the decoders."""
    return {**encode(setting, x, quality), "picture": picture, "quality": quality}


@pytest.mark.parametrize("encoder", [PLAIN, OTHER], ids=["plain-encoder", "other-encoder"])
@pytest.mark.parametrize("picture", [PHOTOGRAPH, CHECKERBOARD])
def test_two_decoders_read_what_two_encoders_write(
    pictures: dict[str, torch.Tensor], encoder: Setting, picture: str
) -> None:
    for quality in exactness.QUALITIES:
        written = written_by(encoder, picture, pictures[picture], quality)
        files = exactness._coded(written)
        reference = torch.cat([decode(PLAIN, [file], quality)[1] for file in files])
        for decoder in (PLAIN, OTHER):
            found = compare(decoder, written, reference)
            assert found["are_symbols_equal"] and found["latents_of_bound"] <= 1
            if picture == PHOTOGRAPH:
                assert exactness.is_within_bounds(found, decoder.precision), found


def test_what_differs_is_told(pictures: dict[str, torch.Tensor]) -> None:
    written = written_by(PLAIN, PHOTOGRAPH, pictures[PHOTOGRAPH], 12800)
    files = exactness._coded(written)
    reference = torch.cat([decode(PLAIN, [file], 12800)[1] for file in files])
    assert exactness.is_within_bounds(compare(PLAIN, written, reference), "float32")
    symbols, y_hat = written["symbols"].clone(), written["y_hat"].clone()
    symbols[1, 0, 0, 3] += 1
    y_hat[1, 2, 1, 5] += 0.0011 + 3e-6 * y_hat[1, 2, 1, 5].abs()
    brighter, not_a_number = reference.clone(), reference.clone()
    brighter[0, 1, 5, 5] = (brighter[0, 1, 5, 5] + 2.1) % 255
    not_a_number[0, 1, 5, 5] = float("nan")
    for changed, pixels in (
        ({"symbols": symbols}, reference),
        ({"y_hat": y_hat}, reference),
        ({"checksums": [written["checksums"][0], written["checksums"][1] ^ 1]}, reference),
        ({}, brighter),
        ({}, not_a_number),
    ):
        found = compare(PLAIN, {**written, **changed}, pixels)
        assert not exactness.is_within_bounds(found, "float32"), (list(changed), found)


@pytest.mark.slow
def test_processes_of_the_matrix(pictures: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: Any) -> None:
    settings = [PLAIN, Setting(processor=VALUES["processor"][-1], batch=8)]
    monkeypatch.setattr(exactness, "covering_settings", lambda: settings)
    code = main(["exactness", "--json", str(tmp_path / "result.json")])
    result = json.loads((tmp_path / "result.json").read_text())
    photographs = [row for row in result["rows"] if row["picture"] == PHOTOGRAPH]
    assert len(result["rows"]) == 2 * len(photographs) == 16
    assert {(row["encoder"], row["decoder"]) for row in photographs} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(row["are_symbols_equal"] and row["latents_of_bound"] <= 1 for row in result["rows"])
    assert all(row["is_within_bounds"] for row in photographs)
    assert code == (1 if result["failures"] else 0)
    assert result["failures"] == sum(not row["is_within_bounds"] for row in result["rows"])
