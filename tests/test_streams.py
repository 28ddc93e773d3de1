"""The conformance streams: every later version finds the same symbols in them, and the same pictures within a bound."""

import json
from typing import Any

import numpy as np
import pytest
from conformance.fixture import WEIGHTS, load
from conformance.streams import FOLDER, LARGEST, STREAMS, as_shown, facts, path_of
from PIL import Image as pil

from rarefy import kernels
from rarefy.codecs import container
from rarefy.codecs.base import Codec
from rarefy.codecs.header import CODEC_NUMBERS, QUALITY_LIMIT

LEVELS = 1  # that a sample may differ by, where a sum lands on the other side of one half
SHARE = 0.02  # of the samples that may


@pytest.fixture(scope="module")
def codec() -> Codec:
    """The tiny codec that wrote them."""
    return load()


def known_of(name: str) -> dict[str, Any]:
    """What a decoder must find."""
    known: dict[str, Any] = json.loads(path_of(name, "json").read_text())
    return known


def test_streams_are_all_there_and_small() -> None:
    assert len(STREAMS) >= 24
    assert {path.stem for path in FOLDER.glob("*.rfy")} == set(STREAMS)
    assert max(path.stat().st_size for path in FOLDER.glob("*.rfy")) <= LARGEST
    assert WEIGHTS.stat().st_size < 300_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1_000_000


def test_streams_cover_what_files_can_be() -> None:
    """Of each field of the header, and of the sizes and kinds of units, what is special."""
    headers = [known_of(name)["header"] for name in STREAMS]
    assert {header["codec"] for header in headers} == {"fixture"} <= set(CODEC_NUMBERS)
    assert {(header["channels"], header["has_alpha"]) for header in headers} == {
        (1, False),
        (1, True),
        (3, False),
        (3, True),
    }
    assert {0.0, QUALITY_LIMIT / 256} < {header["quality"] for header in headers}
    assert {len(header["weights"]) // 2 for header in headers} == {4, 32}
    assert {known_of(name)["units"] for name in STREAMS} >= {1, 6}
    assert {name for name in STREAMS for name in known_of(name)["metadata_sha256"]} == {"icc", "exif", "xmp"}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("kernel", ["plain", "python"])
def test_streams_decode_to_the_same_symbols(
    name: str, kernel: str, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "plain" and not kernels.available():
        pytest.skip("the compiled coder was not built")
    monkeypatch.setenv("RAREFY_KERNEL", kernel)
    known = known_of(name)
    assert known.pop("shows") == STREAMS[name].shows
    assert facts(path_of(name, "rfy").read_bytes(), codec) == known


@pytest.mark.parametrize("name", STREAMS)
def test_streams_decode_to_the_same_pictures(name: str, codec: Codec) -> None:
    image = codec.decode(path_of(name, "rfy").read_bytes(), precision="float32")
    expected = np.asarray(pil.open(path_of(name, "png")))
    differences = np.abs(as_shown(image).astype(int) - expected)
    assert differences.max() <= LEVELS
    assert (differences > 0).mean() <= SHARE


@pytest.mark.parametrize("name", [name for name in STREAMS if "unknown" not in name])
def test_streams_are_written_again_as_they_were(name: str) -> None:
    """The writer has not drifted either: the same file, byte by byte."""
    data = path_of(name, "rfy").read_bytes()
    assert container.write(container.read(data)) == data


def test_what_may_be_skipped_is_skipped(codec: Codec) -> None:
    """The two streams with parts of the future hold what the same files without them hold."""
    for name in ("metadata-unknown", "section-unknown"):
        data = path_of(name, "rfy").read_bytes()
        plain = container.write(container.read(data))
        assert plain != data
        assert facts(plain, codec)["symbols_sha256"] == known_of(name)["symbols_sha256"]


def test_the_weights_are_the_frozen_ones(codec: Codec) -> None:
    assert {known_of(name)["header"]["weights"][:8] for name in STREAMS} == {codec.weights_hash[:4].hex()}
