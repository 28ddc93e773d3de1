"""Parts of pictures, previews, damaged files, and encoding to a size or a fidelity, on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import rarefy
from rarefy.codecs.container import read_info

Run = Callable[..., tuple[int, str, str]]


def test_a_region_is_the_crop_of_the_whole(run: Run, small_file: Path, encoded: bytes) -> None:
    target = small_file.with_name("part.png")
    code, _, err = run("decode", small_file, "--region", "10,20,30,40", "-o", target)
    assert code == 0
    assert "(30x40)" in err
    whole = np.asarray(rarefy.decode(encoded))
    assert np.array_equal(np.asarray(Image.open(target)), whole[20:60, 10:40])


def test_a_region_outside_is_wrong_usage(run: Run, small_file: Path) -> None:
    code, _, err = run("decode", small_file, "--region", "120,0,30,40")
    assert code == 2
    assert err.startswith(f"rarefy: error: {small_file}: ")
    assert not small_file.with_suffix(".png").exists()


@pytest.mark.parametrize("reduction", [2, 8])
def test_a_preview_is_the_picture_made_small(run: Run, small_file: Path, encoded: bytes, reduction: int) -> None:
    assert run("decode", small_file, "--preview", reduction)[0] == 0
    with Image.open(small_file.with_suffix(".png")) as preview:
        assert preview.size == (-(-141 // reduction), -(-97 // reduction))
        whole = rarefy.decode(encoded).to_pil().reduce(reduction)
        assert np.abs(np.asarray(preview).astype(int) - np.asarray(whole)).mean() < 2


def test_a_target_size_is_filled_and_kept(run: Run, picture: Path) -> None:
    assert run("encode", picture, "--target-size", "1.5k")[0] == 0
    assert 1400 < picture.with_suffix(".rfy").stat().st_size <= 1500
    code, _, err = run("encode", picture, "--target-size", "20", "-f")
    assert code == 2
    assert err.startswith(f"rarefy: error: {picture}: ")


def test_a_target_rate_is_filled_and_kept(run: Run, picture: Path) -> None:
    assert run("encode", picture, "--target-bpp", "1")[0] == 0
    assert 0.95 < read_info(picture.with_suffix(".rfy")).bits_per_pixel <= 1


def test_a_target_fidelity_is_reached(run: Run, picture: Path, photograph: NDArray[np.uint8]) -> None:
    code, out, _ = run("encode", picture, "--target-psnr", "32", "--json")
    assert code == 0
    data = picture.with_suffix(".rfy").read_bytes()
    error = np.asarray(rarefy.decode(data)).astype(float) - photograph
    assert 31.95 < 10 * np.log10(255**2 / (error**2).mean()) < 33
    assert json.loads(out)["quality"] == read_info(data).quality


@pytest.mark.slow
def test_what_is_whole_of_a_damaged_file_is_shown(run: Run, tmp_path: Path) -> None:
    y, x = np.mgrid[:1040, :1040]
    pixels = np.stack([x // 5, y // 5, (x + y) // 10], 2).astype(np.uint8)
    path = tmp_path / "large.rfy"
    path.write_bytes(rarefy.encode(pixels))
    whole = np.asarray(rarefy.decode(path)).astype(int)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run("decode", path)[0] == 3
    assert not path.with_suffix(".png").exists()
    code, _, err = run("decode", path, "--allow-damaged")
    assert code == 0
    assert err.startswith(f"rarefy: warning: {path}: ")
    shown = np.asarray(Image.open(path.with_suffix(".png"))).astype(int)
    assert shown.shape == whole.shape
    assert np.abs(shown[:256, :256] - whole[:256, :256]).mean() < 1
    assert np.abs(shown[-16:, -16:] - whole[-16:, -16:]).mean() > 10
