"""The documents of the format, tested: decoders that were written from them agree with the package.

These are `independent_decoder.py` for pictures with a hyperprior, `independent_lattice.py` for those with a lattice,
and `independent_sound_decoder.py`.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conformance.sound_streams import kept
from independent_decoder import (
    Array,
    DamagedError,
    Picture,
    Reader,
    Stream,
    UnsupportedError,
    Weights,
    decode,
    read_alpha,
    read_file,
    read_units,
)
from independent_lattice import decode_picture
from independent_sound_decoder import RATES, Sound
from independent_sound_decoder import decode as decode_sound
from independent_sound_decoder import read_header as read_sound_header
from PIL import Image

import rarefy
from rarefy.codecs.encoding import Encoder

ROOT = Path(__file__).parent.parent
CONFORMANCE = ROOT / "tests" / "conformance"
FILES = sorted(CONFORMANCE.glob("*.rfy"))
SOUNDS = CONFORMANCE / "sounds"
SAMPLE_FORMATS = ("PCM_16", "PCM_S8", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


def shipped(codec: str) -> Weights:
    """The weights that the package takes for a codec."""
    named = [Path(name) for name in os.environ.get("RAREFY_WEIGHTS", "").split(os.pathsep) if name]
    folders = [*named, ROOT / "weights"]
    found = [path for folder in folders for path in sorted(folder.glob(f"{codec}*.safetensors"))]
    if not found:
        pytest.skip(f"no weights of {codec}")
    return Weights(found[0])


@pytest.fixture(scope="module")
def weights() -> Weights:
    """The conformance files' weights."""
    return Weights(CONFORMANCE / "fixture.safetensors")


@pytest.fixture
def drawing() -> Array:
    """A picture of 96 x 64 with waves, ramps, an edge and some noise."""
    y, x = np.mgrid[:64, :96]
    colours = np.stack([128 + 100 * np.sin(x / 9 + y / 17), 3.5 * y, np.where(x > 40, 200 - x, 2 * x)], axis=2)
    return np.clip(colours + np.random.default_rng(7).normal(0, 4, colours.shape), 0, 255).astype(np.uint8)


def digest(arrays: list[Array], kind: str) -> str:
    return hashlib.sha256(b"".join(array.astype(kind).tobytes() for array in arrays)).hexdigest()


def varint(number: int) -> bytes:
    head = b""
    while number > 127:
        head, number = head + bytes([number & 127 | 128]), number >> 7
    return head + bytes([number])


def resealed(data: bytes, latents: bytes) -> bytes:
    """A file of one untagged unit with other latents under checksums that fit its bytes."""
    header, [(checksum, _)] = read_file(data)
    payload = struct.pack("<I", checksum) + latents
    spelled = varint(len(payload))
    covered = zlib.crc32(header.content + bytes(4) + spelled + payload)
    return header.content + spelled + struct.pack("<I", covered) + payload


def check_header(picture: Picture, expected: dict[str, Any]) -> None:
    header, said = picture.header, expected["header"]
    assert (header.codec, header.width, header.height) == (said["codec"], said["width"], said["height"])
    assert header.weights.hex() == said["weights"]
    assert (header.quality / 256, header.tile) == (said["quality"], said["tile"])
    assert (1 if header.flags & 1 else 3, bool(header.flags & 2)) == (said["channels"], said["has_alpha"])
    names = {1: "icc", 2: "exif", 3: "xmp"}
    found = {names[number]: hashlib.sha256(content).hexdigest() for number, content in header.metadata.items()}
    assert found == expected["metadata_sha256"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_conformance_files_agree(path: Path, weights: Weights) -> None:
    """Header, symbols and alpha to the bit; pixels within a level.

    `symbols_sha256` is that of each unit's hyper-latents and then its latents, both row by row, channels last, as
    little-endian numbers of 16 bits.
    """
    picture = decode(path.read_bytes(), weights)
    expected = json.loads(path.with_suffix(".json").read_text())
    check_header(picture, expected)
    assert len(picture.symbols) == expected["units"]
    assert digest([grid for unit in picture.symbols for grid in unit], "<i2") == expected["symbols_sha256"]
    assert (None if picture.alpha is None else digest([picture.alpha], "u1")) == expected["alpha_sha256"]
    if picture.pixels is None:
        assert expected["units"] > 1
    else:
        reference = np.asarray(Image.open(path.with_suffix(".png"))).reshape(picture.pixels.shape)
        assert np.abs(picture.pixels.astype(int) - reference).max() <= 1


@pytest.mark.parametrize("name", ["1x1", "metadata", "tiles-gray", "alpha-gray", "tiles-metadata"])
def test_every_altered_byte_and_every_cut_is_found(name: str) -> None:
    data = (CONFORMANCE / f"{name}.rfy").read_bytes()
    for at in range(len(data)):
        for mask in (1, 128):
            with pytest.raises((DamagedError, UnsupportedError)):
                read_file(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        with pytest.raises((DamagedError, UnsupportedError)):
            read_file(data[:at])
    with pytest.raises(DamagedError):
        read_file(data + b"\0")


def test_altered_latents_are_found_under_right_checksums_of_bytes(weights: Weights) -> None:
    data = (CONFORMANCE / "17x33.rfy").read_bytes()
    [(_, sections)] = read_file(data)[1]
    latents = sections[1]
    assert resealed(data, latents) == data
    for at in range(len(latents)):
        with pytest.raises(DamagedError):
            decode(resealed(data, latents[:at] + bytes([latents[at] ^ 16]) + latents[at + 1 :]), weights)
    for other in (latents[:-1], latents[:-2], latents + b"\0\0", b""):
        with pytest.raises(DamagedError):
            decode(resealed(data, other), weights)


@pytest.mark.parametrize("predictor", range(4))
def test_alpha_of_every_predictor(predictor: int) -> None:
    """The table of section 5 of FORMAT.md, pixel by pixel: the conformance files have no predictor 0."""
    alpha = np.random.default_rng(predictor).integers(0, 256, (5, 7))
    framed = np.pad(alpha, ((1, 0), (1, 0)))
    left, above, corner = framed[1:, :-1], framed[:-1, 1:], framed[:-1, :-1]
    rest = alpha - (0, left, above, left + above - corner)[predictor]
    section = bytes([predictor]) + zlib.compress((rest % 256).astype(np.uint8).tobytes())
    assert np.array_equal(read_alpha(section, 5, 7), alpha)
    for other in (b"", b"\4" + section[1:], section[:-1], section + b"\0"):
        with pytest.raises(DamagedError):
            read_alpha(other, 5, 7)
    with pytest.raises(DamagedError):
        read_alpha(section, 7, 7)


def examples() -> list[bytes]:
    """The files of section 9 of FORMAT.md."""
    blocks = re.findall(r"```hex\n(.*?)```", (ROOT / "docs" / "FORMAT.md").read_text(), re.DOTALL)
    return [
        bytes.fromhex("".join(re.match(r"(?:[0-9A-F]{2} ?\b)*", line)[0] for line in block.splitlines()))  # type: ignore[index]
        for block in blocks
    ]


def test_examples_of_the_format() -> None:
    """Section 9 of FORMAT.md, the two that hold pictures."""
    first, second, _ = examples()
    header, units = read_file(first)
    assert (header.codec, header.width, header.height, header.quality, header.flags) == ("fixture", 5, 3, 12800, 1)
    assert units == [(0x075BCD15, {1: bytes(range(5))})]
    with pytest.raises(UnsupportedError, match="hint"):  # the section of a codec that is not known here
        read_file(second)


@pytest.mark.parametrize(
    ("symbols", "rows", "stream"),
    [
        ([], [], "00 00000100"),
        ([0], [0], "00 00040200"),
        ([7, 0, 7], [1, 0, 1], "00 00040200"),
        ([0, 0], [0, 0], "01 00040200 00040200"),
        ([-1, 0, 1, 0], [0, 0, 0, 0], "00 00608100"),
        ([5], [0], "00 040e0002"),
        ([-1, 7, 3, 0, 1, 0, -300, 0], [0, 1, 0, 0, 0, 0, 0, 0], "01 00502000 020e3e80 e04a"),
    ],
)
def test_examples_of_the_coder(symbols: list[int], rows: list[int], stream: str) -> None:
    """Section 8 of CODER.md."""
    tables = {"precision": [12], "offsets": [-1, 7], "row_starts": [0, 5, 5], "cumulative": [0, 1024, 3072, 3584, 4096]}
    decoder = Stream(bytes.fromhex(stream), {f"tables.{name}": np.array(numbers) for name, numbers in tables.items()})
    assert decoder.burst(np.array(rows, int)).tolist() == symbols
    decoder.end()


def test_pictures_of_the_package_agree(drawing: Array) -> None:
    data = rarefy.encode(drawing, codec="image", quality=50)
    picture = decode(data, shipped("image"))
    assert picture.pixels is not None
    assert np.abs(picture.pixels.astype(int) - np.asarray(rarefy.decode(data))).max() <= 1


@pytest.mark.parametrize(("quality", "shape"), [(10, (320, 384, 3)), (90, (61, 83, 3)), (50, (7, 90, 1))])
def test_pictures_with_a_lattice_agree(drawing: Array, quality: int, shape: tuple[int, ...]) -> None:
    height, width, channels = shape
    pixels = np.tile(drawing, (5, 4, 1))[:height, :width, :channels]
    data = rarefy.encode(pixels, codec="walloc-image", quality=quality)
    header, latents, decoded = decode_picture(data, shipped("walloc-image"))
    assert (header.height, header.width) == (height, width)
    assert len(np.unique(latents[0])) > 10
    assert decoded is not None
    found = np.asarray(rarefy.decode(data, precision="float32")).reshape(decoded.shape)
    assert np.abs(decoded.astype(int) - found).max() <= 1


def test_pictures_with_a_lattice_agree_in_several_units(drawing: Array) -> None:
    pixels = np.tile(drawing, (9, 1, 1))
    (data,) = Encoder(rarefy.load("walloc-image"), [rarefy.Image(pixels)], "float32", tile=64).files(60 * 256)
    _, latents, _ = decode_picture(data, shipped("walloc-image"))
    with rarefy.open(data) as file:
        assert file.info.header.unit_count == len(latents) == 18
    whole = np.concatenate([np.concatenate(latents[at : at + 2], axis=1) for at in range(0, 18, 2)])
    assert whole.shape == (72, 12, 12)
    assert len(np.unique(whole)) > 10


def smooth(channels: int, length: int) -> Array:
    """Filtered noise, float32 [channels, length]."""
    noise = np.random.default_rng(length).standard_normal((channels, length + 31))
    rows = [np.convolve(row, np.hanning(32) / 16, "valid") for row in noise]
    return (0.5 * np.stack(rows)).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "length", "rate", "quality"),
    [(2, 200_001, 44_100, 20), (2, 3, 44_100, 100), (1, 100_000, 24_000, 70), (6, 30_000, 44_100, 45)],
)
def test_sounds_of_the_package_agree(channels: int, length: int, rate: int, quality: float) -> None:
    """Symbols by their checksums, samples within 1e-4 (float64 beside float32) where no filter comes in between."""
    if channels == 6:
        pytest.importorskip("soxr", reason="other sample rates need soxr")
    data = rarefy.encode(smooth(channels, length), sample_rate=rate, codec="walloc-audio", quality=quality)
    sound = decode_sound(data, shipped("walloc-audio"))
    assert (sound.header.channels, sound.header.length, sound.header.sample_rate) == (channels, length, rate)
    assert sound.header.spans() == (2 if length >= 100_000 else 1)
    check_samples(sound, rarefy.decode(data, precision="float32").samples, 1e-4)
    with rarefy.open(data) as file:
        assert file.info.header.unit_count == len(sound.latents)


def check_samples(sound: Sound, found: Array, tolerance: float) -> None:
    """Compare the groups that are at the sound's own rate."""
    first = 0
    for samples in sound.samples:
        there = found[first : first + len(samples)]
        first += len(samples)
        if RATES[len(samples)] == sound.header.sample_rate:
            clipped = samples if sound.header.sample_format in (5, 6) else samples.clip(-1, 1)
            assert clipped.shape == there.shape
            assert np.abs(clipped - there).max() <= tolerance
    assert first == len(found)


@pytest.fixture(scope="module")
def tiny_weights() -> Weights:
    """Those of the conformance sounds."""
    return Weights(next(SOUNDS.glob("*.safetensors")))


@pytest.mark.parametrize("path", sorted(SOUNDS.glob("*.rfy")), ids=lambda path: path.stem)
def test_conformance_sounds_agree(path: Path, tiny_weights: Weights) -> None:
    """Header and symbols to the bit; the samples that are kept of groups at the sound's own rate."""
    sound = decode_sound(path.read_bytes(), tiny_weights)
    expected = json.loads(path.with_suffix(".json").read_text())
    header, said = sound.header, expected["header"]
    assert (header.codec, header.weights.hex(), header.span) == (said["codec"], said["weights"], said["span"])
    assert (header.sample_rate, header.length, header.channels) == (
        said["sample_rate"],
        said["length"],
        said["channels"],
    )
    assert (header.level, header.quality / 256) == (said["level"], said["quality"])
    assert SAMPLE_FORMATS[header.sample_format] == said["sample_format"]
    assert header.tags() == expected["tags"]
    assert len(sound.latents) == expected["units"]
    assert digest(sound.latents, "<i2") == expected["symbols_sha256"]
    some = replace(sound, samples=[kept(samples) for samples in sound.samples])
    check_samples(some, np.load(path.with_suffix(".npy")), 1e-5)


@pytest.mark.parametrize("name", ["mono", "tags-unknown", "section-unknown", "units-thin"])
def test_every_altered_byte_and_every_cut_of_a_sound_is_found(name: str, tiny_weights: Weights) -> None:
    data = (SOUNDS / f"{name}.rfy").read_bytes()
    for at in range(len(data)):
        for other in (data[:at], data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]):
            with pytest.raises((DamagedError, UnsupportedError)):
                decode_sound(other, tiny_weights)
    with pytest.raises(DamagedError):
        decode_sound(data + b"\0", tiny_weights)


def test_the_sound_among_the_examples_of_the_format() -> None:
    """Section 9 of FORMAT.md, the third one."""
    example = examples()[2]
    reader = Reader(example)
    header = read_sound_header(reader)
    assert (header.sample_rate, header.length, header.channels, header.sample_format) == (8000, 1000, 1, 3)
    assert (header.level, header.quality, header.tags()) == (-8, 12800, {"title": "Ü"})
    assert read_units(reader, 1, is_tagged=False, has_alpha=False) == [(0x075BCD15, {1: bytes(range(5))})]
