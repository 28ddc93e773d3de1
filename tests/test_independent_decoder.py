"""The documents of the format, tested: a decoder that was written from them alone agrees with the package.

`independent_decoder.py` is that decoder. Here are also the symbols of `walloc-image`, by `docs/LATTICE.md`; they need
weights that the repository does not hold, and are skipped without them.
"""

import hashlib
import json
import os
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from independent_decoder import (
    Array,
    DamagedError,
    Picture,
    Stream,
    UnsupportedError,
    Weights,
    decode,
    need,
    read_alpha,
    read_file,
)
from PIL import Image

import rarefy

ROOT = Path(__file__).parent.parent
CONFORMANCE = ROOT / "tests" / "conformance"
FILES = sorted(CONFORMANCE.glob("*.rfy"))
IMAGE = ROOT / "weights" / "image.safetensors"


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


def test_examples_of_the_format() -> None:
    """Section 9 of FORMAT.md."""
    blocks = re.findall(r"```hex\n(.*?)```", (ROOT / "docs" / "FORMAT.md").read_text(), re.DOTALL)
    first, second, _ = (  # the third one holds a sound
        bytes.fromhex("".join(re.match(r"(?:[0-9A-F]{2} ?\b)*", line)[0] for line in block.splitlines()))  # type: ignore[index]
        for block in blocks
    )
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


@pytest.mark.skipif(not IMAGE.exists(), reason="weights/image.safetensors is not there")
def test_pictures_of_the_package_agree(drawing: Array) -> None:
    data = rarefy.encode(drawing, codec="image", quality=50)
    picture = decode(data, Weights(IMAGE))
    assert picture.pixels is not None
    assert np.abs(picture.pixels.astype(int) - np.asarray(rarefy.decode(data))).max() <= 1


def lattice_steps(h: int, w: int) -> Iterator[tuple[Array, Array]]:
    """For each step its positions [n, 2], and the offsets of their neighbours [4, 2] (LATTICE.md, sections 2 and 3)."""
    y, x = np.mgrid[:h, :w]
    yield np.argwhere((y % 8 == 0) & (x % 8 == 0)), np.zeros((4, 2), int)
    diagonal, straight = [(-1, -1), (1, 1), (-1, 1), (1, -1)], [(0, -1), (0, 1), (-1, 0), (1, 0)]
    for stride in (4, 2, 1):
        for row, column, offsets in ((stride, stride, diagonal), (0, stride, straight), (stride, 0, straight)):
            there = (y % (2 * stride) == row) & (x % (2 * stride) == column)
            yield np.argwhere(there), stride * np.array(offsets)


def lattice_latents(stream: Stream, weights: Weights, height: int, width: int, quality: int) -> Array:
    """The latents of a unit, channel by channel (LATTICE.md). One position stands for 8 x 8 pixels."""
    names = ("start", "means", "scales", "differences", "means_across", "scales_across")
    starts, *tables = (weights.tensors[f"exact.{name}"].astype(np.int64) for name in names)
    h, w, channels = -(-height // 8), -(-width // 8), starts.shape[2]
    size, q = np.array((h, w)), np.zeros((h, w, channels), np.int64)
    for step, (positions, offsets) in enumerate(lattice_steps(h, w)):
        start = starts[(63 * quality + 12800) // 25600, step]
        means, scales, differences, means_across, scales_across = (table[step] for table in tables)
        for places in (positions[first : first + 256] for first in range(0, len(positions), 256)):
            near = places[:, None] + offsets
            near = np.where((near < 0) | (near >= size), places[:, None] - offsets, near)
            present = np.all((near >= 0) & (near < size), axis=2, keepdims=True) & (step > 0)
            n = np.clip(q[tuple(np.moveaxis(np.where(present, near, 0), 2, 0))], -2047, 2047) * present
            a, n = np.abs(n[:, 0::2] - n[:, 1::2]).reshape(len(n), -1), n.reshape(len(n), -1)
            mean, scale = n @ means.T, start + np.abs(n) @ scales.T + a @ differences.T
            e, r = np.zeros((2, len(n), channels), np.int64)
            for c in range(channels):
                m = (mean[:, c] + e @ means_across[c] + 64) >> 7
                s = np.clip(scale[:, c] + r @ scales_across[c], 164, 409600)
                log2 = np.frexp(s)[1] - 1
                known = stream.burst(8 * (4 * log2 + (s >> (log2 - 2)) % 4 - 29) + m % 8) + (m >> 3)
                need(bool(np.all(known == known.astype(np.int16))), "latents have 16 bits")
                q[places[:, 0], places[:, 1], c] = known
                e[:, c], r[:, c] = np.clip(known, -2047, 2047), np.minimum(np.abs(8 * known - m), 16383)
    return q.transpose(2, 0, 1)


@pytest.mark.parametrize("quality", [10, 90])
def test_symbols_of_lattices_agree(drawing: Array, quality: int) -> None:
    folders = [Path(os.environ.get("RAREFY_WEIGHTS", ROOT / "weights")), ROOT / "weights"]
    found = [path for path in (folder / "walloc-image.safetensors" for folder in folders) if path.exists()]
    if not found:
        pytest.skip("no weights of walloc-image")
    weights = Weights(found[0])
    header, units = read_file(rarefy.encode(np.tile(drawing, (5, 4, 1)), codec="walloc-image", quality=quality))
    for (checksum, sections), (_, _, height, width) in zip(units, header.places(), strict=True):
        stream = Stream(sections[1], weights.tensors)
        latents = lattice_latents(stream, weights, height, width, header.quality)
        stream.end()
        assert zlib.crc32(latents.astype("<i2").tobytes()) == checksum
        assert len(np.unique(latents)) > 10
