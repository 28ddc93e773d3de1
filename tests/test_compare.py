"""Variants of a recipe side by side: read strictly, trained for equal time, measured, and not twice."""

import json
from pathlib import Path

import pytest
from tiny_training import RECIPE, write_pictures

from rarefy.errors import OptionError
from rarefy.tools.compare import difference, read_variants
from rarefy.tools.train_command import main

VARIANTS = """
[[variant]]
name = "as it is"
[[variant]]
name = "wider, by Adam"
set = ["model.width=32", "train.muon=0"]
"""


def test_wrong_variants_are_told(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    for text in (
        "",
        "variant = 3",
        "[[variant]]\nset = []",
        VARIANTS.replace("wider, by Adam", "as it is"),
        "x",
        "variant = []",
    ):
        path.write_text(text)
        with pytest.raises(OptionError, match=r"variants\.toml"):
            read_variants(path)


@pytest.mark.parametrize("name", ["../outside", "", ".", "a/b", " "])
def test_names_that_are_no_folders_are_told(name: str, tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text(f'[[variant]]\nname = "{name}"\n')
    with pytest.raises(OptionError, match="names are those of folders"):
        read_variants(path)


def test_differences_are_of_rates_at_equal_fidelity() -> None:
    curve = [{"bits_per_pixel": 0.1 * 2**n, "psnr": 25.0 + 3 * n} for n in range(5)]
    fewer = [{**point, "bits_per_pixel": 0.9 * point["bits_per_pixel"]} for point in curve]
    assert difference(fewer, curve) == pytest.approx(-0.1)
    assert difference([{**point, "psnr": 90.0} for point in curve], curve) is None


def test_variants_are_trained_measured_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, variants, out = tmp_path / "tiny.toml", tmp_path / "variants.toml", tmp_path / "out"
    recipe.write_text(RECIPE)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    write_pictures(pictures)
    variants.write_text(VARIANTS)
    line = [str(recipe), "--data", str(pictures), "--out", str(out), "--compare", str(variants), "--device", "cpu"]
    assert main(line) == 0
    rows = json.loads((out / "comparison.json").read_text())["variants"]
    assert [row["name"] for row in rows] == ["as it is", "wider, by Adam"]
    assert rows[0]["bd_rate"] == 0 and rows[1]["parameters"] > rows[0]["parameters"]
    for row in rows:
        assert row["steps"] > 0 and 0.004 * 60 <= row["seconds"] < 30
        assert row["megapixels"] == pytest.approx(64 * 64 * 2 * row["steps"] / 1e6, abs=0.06)
        assert len(row["held_back"]) == 7 and all(point["bits_per_pixel"] > 0 for point in row["held_back"])
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/row.json")}
    assert len(written) == 2
    assert main(line) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/row.json")} == written
    assert capsys.readouterr().err.count("wider, by Adam") == 2
    for more in (["train.minutes=0.01"], ["data.held_back_one_in=0"]):
        with pytest.raises(OptionError, match=r"another recipe|nothing is held back"):
            main([*line, "--set", *more])
