"""Files against lossless WebP of the same latents: the same numbers on both sides, and sums that are those of files."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs import api
from rarefy.codecs.weights import candidates
from rarefy.data import decode
from rarefy.errors import OptionError
from rarefy.tools import bench_storing
from rarefy.tools.bench import main

needs_weights = pytest.mark.skipif(not candidates("walloc-image"), reason="no weights of walloc-image are here")


@pytest.mark.parametrize("channels", [1, 3, 12, 13, 48])
def test_every_channel_has_a_square_of_its_own(channels: int) -> None:
    latents = np.random.default_rng(0).integers(-128, 128, (channels, 5, 7)).astype(np.int16)
    tiled = bench_storing.tiled(latents)
    side = tiled.shape[0] // 5
    assert tiled.shape == (5 * side, 7 * side, 3) and 3 * side * side >= channels > 3 * (side - 1) ** 2
    for number, channel in enumerate(latents):
        plane, place = divmod(number, side * side)
        row, column = divmod(place, side)
        square = tiled[5 * row : 5 * row + 5, 7 * column : 7 * column + 7, plane]
        np.testing.assert_array_equal(square.astype(int) - 128, channel)
    assert (tiled.reshape(-1) != 128).sum() <= latents.size  # the rest is zeros


def test_nothing_is_lost_in_the_picture() -> None:
    latents = np.random.default_rng(1).integers(-128, 128, (12, 9, 4)).astype(np.int16)
    for method in bench_storing.METHODS:
        with Image.open(io.BytesIO(bench_storing.webp(latents, method))) as picture:
            np.testing.assert_array_equal(np.asarray(picture), bench_storing.tiled(latents))


@needs_weights
def test_sizes_are_those_of_files(
    tmp_path: Path, photograph: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for number, path in enumerate(paths):
        Image.fromarray(photograph[64 * number : 64 * number + 64, :96]).save(path)
    found = tmp_path / "found.json"
    command = ["storing", *map(str, paths), "--codec", "walloc-image@20,60", "--json", str(found)]
    assert main(command) == 0
    assert "2 pictures, walloc-image" in capsys.readouterr().out
    for row in json.loads(found.read_text())["qualities"]:
        files = [api.encode(path, codec="walloc-image", quality=row["quality"]) for path in paths]
        assert row["bytes"]["rfy"] == sum(map(len, files)) and row["beyond_a_byte"] == []
        latents = decode(files, output="integers")
        assert row["bytes"]["webp, method 4"] == sum(len(bench_storing.webp(one.numpy(), 4)) for one in latents)


@needs_weights
def test_latents_beyond_a_byte_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photograph: NDArray[np.uint8]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(photograph[:64, :64]).save(path)
    monkeypatch.setattr(bench_storing, "HIGHEST", -128)
    result = bench_storing.measure([path], "walloc-image", [50], ["test"])
    assert result["qualities"][0]["beyond_a_byte"] == ["a.png"] and not result["qualities"][0]["bits_per_latent"]
    assert "no picture's integers fit a byte" in bench_storing.table(result)


@pytest.mark.skipif(not candidates("image"), reason="no weights of image are here")
def test_a_codec_without_integers_is_refused() -> None:
    with pytest.raises(OptionError, match="has no integer latents"):
        bench_storing.measure([], "image", [50], ["test"])
