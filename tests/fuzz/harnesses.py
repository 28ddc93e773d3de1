"""One function per parser: takes any bytes, returns what became of them, and raises for what no caller should see.

The outcome is the name of an error of `rarefy.errors`, or what the bytes are. Each harness also asks, of bytes that are
taken, something that must hold of all of them.
"""

import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from conformance import sound_fixture
from conformance.fixture import load, registered
from numpy.typing import NDArray

from rarefy import kernels
from rarefy.codecs import container, salvage
from rarefy.codecs.audio import Audio, open_audio
from rarefy.codecs.base import Codec
from rarefy.codecs.container import File
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import as_image
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import SoundDecoder
from rarefy.codecs.weights import read_weights
from rarefy.entropy import coder, rans
from rarefy.entropy.scales import scale_tables
from rarefy.entropy.tables import Tables
from rarefy.errors import RarefyError
from rarefy.tools.cli import build_parser

PIXELS = Limits(pixels=1 << 16)  # so that the time goes into parsing
SAMPLES = Limits(samples=1 << 18, symbols=1 << 14)


def read_file(data: bytes) -> str:
    """A container: what is read is written again alike, and all readers agree."""
    file = _attempt(container.read, data)
    info = _attempt(container.read_info, data)
    units = _attempt(lambda data: list(container.read_units(data)), data)
    damaged = _attempt(salvage.read_damaged, data)
    if not isinstance(file, File):
        assert isinstance(damaged, str) or isinstance(units, str) or len(damaged.units) >= len(units)
        return str(file)
    assert container.read(container.write(file)) == file
    assert info.header == file.header
    assert units == list(file.units) == list(damaged.units.values())
    assert damaged.is_whole
    return "File"


def decode_stream(data: bytes) -> str:
    """A coded stream under tables: three bytes choose tables, number and rows of symbols; both coders agree."""
    kind, count, seed = (*data[:3], 0, 0, 0)[:3]
    tables = _tables_of(kind)
    rows = np.random.default_rng(seed).integers(0, len(tables), count).astype(np.uint16)
    plain = _attempt(lambda stream: _decode(rans.Decoder(stream, tables), rows), data[3:])
    if kernels.available():
        fast = _attempt(lambda stream: _decode(coder.Decoder(stream, tables), rows), data[3:])
        assert fast == plain or (isinstance(fast, str) and isinstance(plain, str))
    return plain if isinstance(plain, str) else "symbols"


def _decode(decoder: Any, rows: NDArray[np.uint16]) -> list[int]:
    half = len(rows) // 2
    symbols = [*decoder.decode(rows[:half]).tolist(), *decoder.decode(rows[half:]).tolist()]
    decoder.finish()
    return symbols


@cache
def _tables_of(kind: int) -> Tables:
    """Tables of each precision, of scales from almost certain to wide."""
    low, high = ((0.04, 0.3), (0.3, 2.0), (2.0, 9.0))[kind % 3]
    return scale_tables(6, low, high, 12 + kind // 3 % 4)


def take_tables(data: bytes) -> str:
    """Tables of a weights file: rows and precision in a byte each, then the arrays; what is taken also codes."""
    tables = _attempt(lambda data: Tables.from_arrays(arrays_of(data)), data)
    if isinstance(tables, str):
        return tables
    rows = np.arange(len(tables), dtype=np.uint16)
    symbols = tables.offsets.astype(np.int16)
    decoder = coder.Decoder(coder.encode(symbols, rows, tables), tables)
    assert np.array_equal(decoder.decode(rows), symbols)
    decoder.finish()
    return "Tables"


def arrays_of(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays that bytes stand for; `bytes_of` is the other direction."""
    rows, precision = (*data[:2], 0, 0)[:2]
    offsets, starts, cumulative = data[2 : 2 + 4 * rows], data[2 + 4 * rows : 6 + 8 * rows], data[6 + 8 * rows :]
    return {
        "precision": np.array([precision], np.uint8),
        "offsets": np.frombuffer(offsets[: len(offsets) // 4 * 4], "<i4"),
        "row_starts": np.frombuffer(starts[: len(starts) // 4 * 4], "<i4"),
        "cumulative": np.frombuffer(cumulative[: len(cumulative) // 2 * 2], "<u2"),
    }


def bytes_of(tables: Tables) -> bytes:
    """Tables of at most 255 rows as `take_tables` wants them."""
    head = bytes([len(tables), tables.precision])
    arrays = (tables.offsets.astype("<i4"), tables.row_starts.astype("<i4"), tables.cumulative.astype("<u2"))
    return head + b"".join(array.tobytes() for array in arrays)


def load_weights(data: bytes) -> str:
    """A weights file."""
    with registered(), tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        codec = _attempt(read_weights, Path(file.name))
    return codec if isinstance(codec, str) else "Codec"


def open_picture(data: bytes) -> str:
    """A picture file of any kind: what is taken can be given back, metadata and all."""
    image = _attempt(lambda data: as_image(data, PIXELS), data)
    if isinstance(image, str):
        return image
    return _given_back(image)


def carry_metadata(data: bytes) -> str:
    """EXIF and XMP of a JPEG file, where no checksum protects them: the number of bytes of EXIF, EXIF, XMP."""
    size = int.from_bytes(data[:2], "little")
    exif, xmp = data[2 : 2 + size][:60_000], data[2 + size :][:60_000]
    image = _attempt(lambda data: as_image(data, PIXELS), described(exif, xmp))
    return image if isinstance(image, str) else _given_back(image)


def _given_back(image: Any) -> str:
    saved = _attempt(lambda image: image.save(io.BytesIO(), "PNG"), image)
    return saved if isinstance(saved, str) else "Image"


def described(exif: bytes, xmp: bytes) -> bytes:
    """A tiny JPEG file with this metadata."""
    jpeg = _jpeg()
    parts = (b"Exif\0\0" + exif, b"http://ns.adobe.com/xap/1.0/\0" + xmp)
    return jpeg[:2] + b"".join(b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part for part in parts) + jpeg[2:]


@cache
def _jpeg() -> bytes:
    from PIL import Image as pil

    file = io.BytesIO()
    pil.new("RGB", (4, 2), (200, 90, 10)).save(file, "JPEG")
    return file.getvalue()


def decode_file(data: bytes) -> str:
    """A file of the codec "fixture", decoded to pixels."""
    image = _attempt(lambda data: fixture_codec().decode(data, PIXELS), data)
    return image if isinstance(image, str) else "Image"


def decode_sound(data: bytes) -> str:
    """A file of "walloc-audio" with tiny weights: a part equals the whole, and of damaged ones the rest decodes."""
    file = _attempt(container.read, data)
    if not isinstance(file, File):
        return _save_sound(data, file)
    sound = _attempt(lambda file: sound_codec().decode(file, SAMPLES, "float32"), file)
    if not isinstance(sound, Audio):
        return str(sound)
    assert sound.samples.shape == (file.header.channels, file.header.length)
    start, count = sound.length // 3, sound.length // 2
    part = SoundDecoder(sound_codec(), file.header, dict(enumerate(file.units)), SAMPLES, "float32")
    assert np.array_equal(part.samples(start, count), sound.samples[:, start : start + count])
    return "Audio"


def _save_sound(data: bytes, reason: str) -> str:
    """What is whole of a damaged file, the rest silent; gives why it is damaged."""
    damaged = _attempt(salvage.read_damaged, data)
    if not isinstance(damaged, str):
        _attempt(lambda damaged: _lenient(damaged).samples(), damaged)
    return reason


def _lenient(damaged: salvage.DamagedFile) -> SoundDecoder:
    return SoundDecoder(sound_codec(), damaged.header, damaged.units, SAMPLES, "float32", is_lenient=True)


def open_sound(data: bytes) -> str:
    """A sound file of any kind: blocks are the whole, a range is its part, and what is taken can be given back."""
    reader = _attempt(lambda data: open_audio(data, SAMPLES), data)
    if isinstance(reader, str):
        return reader
    with reader:
        whole = _attempt(lambda reader: reader.read(), reader)
        if isinstance(whole, str):
            return whole
        assert whole.shape == (reader.channels, reader.length)
        start, count = reader.length // 3, reader.length // 2
        assert np.array_equal(reader.read(start, count), whole[:, start : start + count])
        sound = Audio(whole, reader.sample_rate, reader.subtype, reader.tags, reader.notes)
    saved = _attempt(lambda sound: sound.save(io.BytesIO()), sound)
    return saved if isinstance(saved, str) else "Audio"


@cache
def fixture_codec() -> Codec:
    """The codec of the tests."""
    return load()


@cache
def sound_codec() -> SoundCodec:
    """The codec of sounds of the tests."""
    return sound_fixture.load()


@cache
def _parser() -> Any:
    return build_parser()


def parse_arguments(data: bytes) -> str:
    """A command line: arguments separated by zero bytes."""
    arguments = [part.decode("utf-8", "surrogateescape") for part in data.split(b"\0")]
    words = io.StringIO()
    try:
        with redirect_stderr(words), redirect_stdout(words):
            _parser().parse_args(arguments)
    except SystemExit as stop:
        assert stop.code in (0, 2)
        return f"exit {stop.code}"
    return "arguments"


def _attempt(function: Callable[[Any], Any], data: Any) -> Any:
    """What the function gives, or the name of the error of ours that it raises."""
    try:
        return function(data)
    except RarefyError as error:
        return type(error).__name__
