"""Learned peers in the benchmark: real files, weights from disk alone, and those checked."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.errors import FormatError, OptionError, WeightsError
from rarefy.tools import peers
from rarefy.tools.cli import main

NAME = "compressai:bmshj2018-factorized"


def test_files_of_peers_come_apart_as_they_were_put_together() -> None:
    parts = (97, 141), (2, 3), [b"first", b"", b"third"]
    data = peers.pack(*parts)
    assert peers.unpack(data) == parts
    assert len(data) == peers.HEAD.size + 3 * peers.LENGTH.size + 10
    for cut in (*range(len(data)), len(data) + 1):
        with pytest.raises(FormatError):
            peers.unpack((data + b"x")[:cut])


def test_an_absent_peer_is_left_out(
    tmp_path: Path, photograph: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photograph).save(tmp_path / "cat.png")
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    arguments = ["--codecs", "image@50", "--anchors", NAME, "jpeg@50", "--threads", "1"]
    assert main(["bench", "images", str(tmp_path), *arguments]) == 0
    assert f"warning: {NAME} is left out: compressai is not installed" in capsys.readouterr().err


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights that stand for published ones at quality 1, where torch looks for them."""
    zoo = pytest.importorskip("compressai.zoo.image")
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    model = zoo.bmshj2018_factorized(1)
    model.update()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    name = f"bmshj2018-factorized-prior-1-{hashlib.sha256(file.getvalue()).hexdigest()[:8]}.pth.tar"
    path = tmp_path / "checkpoints" / name
    path.parent.mkdir()
    path.write_bytes(file.getvalue())
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setitem(zoo.model_urls["bmshj2018-factorized"]["mse"], 1, f"https://example.org/{name}")
    return path


def test_a_peer_makes_files_and_reads_them(weights: Path, photograph: NDArray[np.uint8]) -> None:
    assert peers.find_peer(NAME, ()) == ((1.0,), "")
    assert peers.find_peer(NAME, (2.0,))[0] == ()
    candidate: Any = peers.peer_candidate(NAME, (1.0,), 1, "cpu")
    data = candidate.encode(photograph, 1.0)
    decoded = candidate.decode(data)
    assert decoded.shape == photograph.shape and decoded.dtype == np.uint8
    assert np.array_equal(decoded, peers.peer_candidate(NAME, (1.0,), 1, "cpu").decode(data))


def test_weights_that_are_not_the_published_ones_are_refused(weights: Path, photograph: NDArray[np.uint8]) -> None:
    weights.write_bytes(weights.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="not the published"):
        peers.peer_candidate(NAME, (1.0,), 1, "cpu").encode(photograph, 1.0)


def test_unknown_peers_are_refused() -> None:
    pytest.importorskip("compressai")
    with pytest.raises(OptionError, match="mbt2018-mean"):
        peers.find_peer("compressai:nobody", ())
