"""Runs as one file for another machine: what is in it, how large it may be, that it trains and goes on."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from tiny_training import RECIPE, write_pictures

from rarefy.codecs.registry import build
from rarefy.errors import OptionError, WeightsError
from rarefy.tools.bundle import recipe_text, write_bundle
from rarefy.tools.checkpoint import write_weights
from rarefy.tools.patches import is_held_back
from rarefy.tools.pieces import join, split
from rarefy.tools.recipe import read_recipe
from rarefy.tools.train_command import main


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe that trains in a second."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve small pictures in two folders, one with a name too long for a block of a tar file."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return folder


def names(path: Path) -> list[str]:
    """What a tar file holds."""
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_a_bundle_keeps_to_its_size_and_holds_what_is_held_back(
    recipe_file: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe, everything = read_recipe(recipe_file, []), tmp_path / "all.tar"
    words = write_bundle(everything, recipe, [pictures / "a", pictures / ("b" * 120)], None, [], 60)
    found = names(everything)
    held_back = [name for name in (f"{n}.png" for n in range(12)) if is_held_back(name, 3)]
    assert {Path(name).name for name in found if name.startswith("data/")} == {f"{n}.png" for n in range(12)}
    assert f"{12 - len(held_back)} of {12 - len(held_back)} files to train on, {len(held_back)} held back" in words
    write_bundle(tmp_path / "twice.tar", recipe, [pictures, pictures / "a"], None, [], 60)
    assert len([name for name in names(tmp_path / "twice.tar") if name.startswith("data/")]) == 12
    assert "rarefy/tools/train.py" in found and "rarefy/weights/image.toml" in found
    assert not [name for name in found if name.endswith((".safetensors", ".so")) or "rarefy/tests" in name]

    size = everything.stat().st_size
    smaller = tmp_path / "smaller.tar"
    write_bundle(smaller, recipe, [pictures], None, [], (size - 30_000) / 1e6)
    assert smaller.stat().st_size <= size - 30_000
    left = {Path(name).name for name in names(smaller) if name.startswith("data/")}
    assert set(held_back) < left < {f"{n}.png" for n in range(12)}
    with pytest.raises(OptionError, match="no room"):
        write_bundle(tmp_path / "none.tar", recipe, [pictures], None, [], 1)


def test_the_same_run_gives_the_same_bundle(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, [])
    for name in ("one.tar", "two.tar"):
        write_bundle(tmp_path / name, recipe, [pictures], None, ["--compile"], 60)
        os.utime(pictures / "a" / "1.png")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_recipes_keep_their_overrides(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, ["train.minutes=2.5", "data.scales=[1.0]", 'train.part="synthesis"'])
    again = tmp_path / "again.toml"
    again.write_text(recipe_text(recipe))
    assert read_recipe(again, []) == recipe


def test_a_bundle_trains_goes_on_and_comes_back_in_pieces(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    """Started by the Python below the environment, which finds torch by its folder, and of ours the bundle alone."""
    recipe = read_recipe(recipe_file, [])
    start = tmp_path / "start"
    start.mkdir()
    write_weights(build(recipe.codec, recipe.model), start, 10_000)
    bundle, there = tmp_path / "run.tar", tmp_path / "there"
    arguments = [str(recipe_file), "--data", str(pictures), "--start", str(start), "--bundle", str(bundle)]
    assert main([*arguments, "--piece-megabytes", "1", "--set", "train.seed=6"]) == 0
    there.mkdir()
    with tarfile.open(bundle) as tar:
        filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later
        tar.extractall(there, **filtered)
    assert len(list((there / "start").iterdir())) > 1
    out, packages = tmp_path / "out", Path(torch.__file__).parents[1]
    surroundings = {
        **os.environ,
        "PYTHON": getattr(sys, "_base_executable", sys.executable),
        "PYTHONPATH": str(packages),
    }
    for minutes in ("0.004", "0.006"):
        line = ["sh", str(there / "run.sh"), str(out), "--device", "cpu", "--set", f"train.minutes={minutes}"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=240, env=surroundings)
        assert done.returncode == 0 and "complete" in done.stderr, done.stderr
        assert (out / "held-back.json").exists() and '"seed": 6' in (out / "recipe.json").read_text()
        steps = torch.load(out / "state.pt", weights_only=True)["step"]
        (out / "state.pt").unlink()  # what comes back may be the pieces alone
    assert join(out / "state.pt")
    assert torch.load(out / "state.pt", weights_only=True)["step"] == steps > 2


def test_links_are_packed_as_what_they_lead_to(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    linked, start = tmp_path / "linked", tmp_path / "start.safetensors"
    linked.mkdir()
    for picture in (pictures / "a").iterdir():
        (linked / picture.name).symlink_to(picture)
    (tmp_path / "weights.safetensors").write_bytes(b"weights")
    start.symlink_to(tmp_path / "weights.safetensors")
    bundle = tmp_path / "run.tar"
    write_bundle(bundle, read_recipe(recipe_file, []), [linked], start, [], 60)
    with tarfile.open(bundle) as tar:
        assert all(member.isfile() for member in tar.getmembers())
        kept = tar.extractfile("data/0/1.png")
        assert kept is not None and kept.read() == (pictures / "a/1.png").read_bytes()


def test_a_codec_of_another_package_is_told(
    recipe_file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rarefy.tools.bundle.is_own", lambda name: False)
    with pytest.raises(OptionError, match="of another package"):
        write_bundle(tmp_path / "run.tar", read_recipe(recipe_file, []), [pictures], None, [], 60)
    assert not (tmp_path / "run.tar").exists()


def test_a_bundle_of_nothing_is_told(recipe_file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(recipe_file, [])
    with pytest.raises(OptionError, match="nothing to train on"):
        write_bundle(tmp_path / "run.tar", recipe, [tmp_path], None, [], 60)
    with pytest.raises(OptionError, match="no such folder"):
        write_bundle(tmp_path / "run.tar", recipe, [tmp_path / "nowhere"], None, [], 60)
    assert not (tmp_path / "run.tar").exists()


def test_pieces_that_are_missing_make_no_state(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(os.urandom(25))
    split(path, 10)
    path.unlink()
    piece = tmp_path / "state.pt.001"
    data = piece.read_bytes()
    for wrong in (None, b"", data[:-1]):
        piece.unlink(missing_ok=True)
        if wrong is not None:
            piece.write_bytes(wrong)
        with pytest.raises(WeightsError, match="not all, or not whole"):
            join(path)
        assert not path.exists()
    piece.write_bytes(data)
    told = tmp_path / "state.pt.sha256"
    told.rename(tmp_path / "elsewhere")
    with pytest.raises(WeightsError, match=r"state\.pt\.sha256 is missing"):  # and no training that begins anew
        join(path)
    (tmp_path / "elsewhere").rename(told)
    assert join(path)


@pytest.mark.parametrize(
    "more",
    [
        ["--compare", "v.toml", "--bundle", "x.tar"],
        ["--compare", "v.toml", "--out", "x", "--start", "weights.safetensors"],
        ["--out", "x", "--piece-megabytes", "0"],
    ],
)
def test_options_that_contradict_each_other_are_told(recipe_file: Path, pictures: Path, more: list[str]) -> None:
    with pytest.raises(OptionError, match=r"--compare trains from scratch|pieces of 0"):
        main([str(recipe_file), "--data", str(pictures), "--device", "cpu", *more])


def test_states_of_other_parts_are_told(recipe_file: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = [str(recipe_file), "--data", str(pictures), "--out", str(out), "--device", "cpu"]
    assert main(line) == 0
    with pytest.raises(OptionError, match=r"another train\.part"):
        main([*line, "--set", 'train.part="synthesis"'])
    (out / "state.pt").write_bytes(b"no state")
    with pytest.raises(OptionError, match="damaged"):
        main(line)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 25])
def test_pieces_are_the_file(size: int, tmp_path: Path) -> None:
    path, data = tmp_path / "state.pt", os.urandom(size)
    path.write_bytes(os.urandom(95))
    split(path, 10)
    path.write_bytes(data)
    split(path, 10)  # pieces of the longer file before are gone
    assert len(list(tmp_path.iterdir())) == 2 + -(-size // 10)
    path.unlink()
    assert join(path) and path.read_bytes() == data
