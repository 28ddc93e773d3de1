"""The experiments of examples/learning: that they run, and that what they compare is what they say."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs.weights import candidates
from rarefy.data import decode

FOLDER = Path(__file__).resolve().parents[1] / "examples/learning"
PHOTOGRAPHS, SIDE = 3, 64

pytestmark = pytest.mark.skipif(not candidates("walloc-image"), reason="no weights of walloc-image are here")


@pytest.fixture
def folder(tmp_path: Path, photograph: NDArray[np.uint8]) -> Path:
    """A few photographs, wide enough for windows in both parts."""
    for number in range(PHOTOGRAPHS + 1):
        pixels = np.tile(np.rot90(photograph, number % 2), (3, 3, 1))[8 * number : 96 + 8 * number, :192]
        Image.fromarray(pixels if number else pixels[:40, :40]).save(tmp_path / f"{number}.png")  # one is too small
    return tmp_path


def program(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program with settings that take a second."""
    monkeypatch.syspath_prepend(str(FOLDER))
    for module in ("photographs", name):
        monkeypatch.delitem(sys.modules, module, raising=False)
    shared, made = __import__("photographs"), __import__(name)
    settings = {
        "EPOCHS": 2,
        "BATCH": 8,
        "PHOTOGRAPHS": PHOTOGRAPHS,
        "TRAINED": 4,
        "TESTED": 2,
        "SEEDS": 2,
        "SIDE": SIDE,
    }
    for module in (shared, made):
        for key, value in settings.items():
            if hasattr(module, key):
                monkeypatch.setattr(module, key, value)
    return made


def test_ways_of_classification_store_the_same_windows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("classify_photographs", monkeypatch)
    monkeypatch.setattr(made, "USED", 48)
    made.main(folder, folder / "found.json")
    ways = json.loads((folder / "found.json").read_text())["ways"]
    assert ways["latents"]["numbers"] == ways["pixels, small"]["numbers"]
    for way in ways.values():
        assert len(way["accuracies"]) == 2 and all(0 <= share <= 1 for share in way["accuracies"])
    costs = [way["million_products"] for way in ways.values()]
    assert max(costs) < 1.3 * min(costs)


def test_small_pixels_are_means(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("classify_photographs", monkeypatch)
    pixels = torch.randint(256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    small = made.pixels_of(made.small_files(pixels)).float()
    wanted = torch.nn.functional.avg_pool2d(pixels.permute(0, 3, 1, 2).float(), made.SMALL)
    assert (small - wanted).abs().max() <= 1  # rows and columns are rounded one after the other


def test_windows_to_test_on_are_no_part_of_those_to_learn_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("classify_photographs", monkeypatch)
    import photographs  # type: ignore[import-not-found]

    columns = np.tile(np.arange(192, dtype=np.uint8)[:, None], (96, 1, 3))
    Image.fromarray(columns).save(folder / "columns.png")
    learn = photographs.windows([folder / "columns.png"], 20, SIDE, is_test=False)
    test = photographs.windows([folder / "columns.png"], 20, SIDE, is_test=True)
    assert learn.pixels.max() < test.pixels.min() and len(learn.labels) == 20
    assert photographs.large_enough(folder, PHOTOGRAPHS, SIDE)[0].name == "1.png"
    with pytest.raises(SystemExit, match="are wanted"):
        photographs.large_enough(folder, 99, SIDE)


def test_unrounded_latents_round_to_the_stored_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("stored_or_fresh", monkeypatch)
    from rarefy.codecs import api

    with Image.open(folder / "1.png") as picture:
        pixels = torch.from_numpy(np.array(picture)[:SIDE, :SIDE])[None]
    floats = made.Encode()(pixels)
    stored = decode([api.encode(pixels[0].numpy(), codec=made.CODEC, quality=made.QUALITY)], output="integers")
    assert isinstance(stored, torch.Tensor)
    assert (floats.round() == stored).float().mean() > 0.999  # the encoder may sum in another order


def test_the_map_of_mirrors_is_found_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program("stored_or_fresh", monkeypatch)
    latents, mixing = torch.randn(20, 4, 9, 9), torch.randn(4, 4)
    mirrored = torch.einsum("dc,nchw->ndhw", mixing, latents.flip(3))
    found = made.Mirror(latents, mirrored, (1, 3))(latents)
    assert made.errors(found, mirrored)["of all"] < 1e-3
    assert made.errors(latents.flip(3), mirrored)["mean of channels"] > 0.1


def test_ways_of_augmentation_are_compared(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = program("stored_or_fresh", monkeypatch)
    monkeypatch.setattr(made, "USED", 6)
    made.main(folder, folder / "found.json")
    found = json.loads((folder / "found.json").read_text())
    assert len(found["accuracies"]) == 9 and all(len(shares) == 2 for shares in found["accuracies"].values())
    assert found["mirrors"]["map of 1 x 3"]["of all"] < found["mirrors"]["mirrored latents"]["of all"]
    assert io.StringIO(capsys.readouterr().out).readline().startswith("mirrored latents")
