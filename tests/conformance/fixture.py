"""The codec "fixture": the image codec with tiny networks and frozen weights, so that files of the tests stay readable.

Better weights of the codecs that ship do not touch it. Its number in the header is that of FORMAT.md, section 4.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from rarefy.codecs import registry
from rarefy.codecs.base import Codec
from rarefy.codecs.image import ImageCodec
from rarefy.codecs.registry import CodecEntry
from rarefy.codecs.weights import read_weights

NAME = "fixture"
WEIGHTS = Path(__file__).parent / "fixture.safetensors"
ENTRY = CodecEntry(NAME, "image", "a tiny codec for tests", f"{__name__}:FixtureCodec", weights=WEIGHTS.parent)


class FixtureCodec(ImageCodec):
    """An `ImageCodec` under a name of its own."""

    name = NAME


@contextmanager
def registered() -> Iterator[None]:
    """Let `rarefy.encode(..., codec="fixture")` and the rest know the codec while this lasts."""
    with patch.dict(registry._CODECS, {NAME: ENTRY}):
        yield


def load() -> Codec:
    """The codec with its weights."""
    with registered():
        return read_weights(WEIGHTS)


def pixels_of(data: bytes) -> bytes:
    """The pixels of a file of the codec, by whatever process this is called in."""
    import rarefy

    with registered():
        return rarefy.decode(data, precision="float32").pixels.tobytes()
