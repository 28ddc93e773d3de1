"""A second decoder of pictures, written from the documents of the format alone.

It shares no line with the package and needs NumPy, zlib and a reader of safetensors: it tells whether `docs/FORMAT.md`,
`docs/CODER.md` and `docs/HYPERPRIOR.md` say enough, and whether the package does what they say. It is meant to be read,
not to be fast. A section without a document's name is one of the document that was named last.

Left out: the pixels of files of several units (each window of the synthesis sees the latents around it); there are
symbols of those. Grids are arrays [row, column, channel] throughout.
"""

import hashlib
import json
import struct
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Array = NDArray[Any]
Tensors = dict[str, Array]
Symbols = tuple[Array, Array, Array]
Layer = Callable[..., Array]  # layer(name, x, low, high)
CODECS = {1: "image", 2: "walloc-image", 3: "walloc-audio", 127: "fixture"}
GRAY, ALPHA, LONG_WEIGHTS, TILE, TAGGED, METADATA = 1, 2, 4, 8, 16, 32  # bits of the flags
MOST_PIXELS = 2**24  # what this reader is willing to decode


class DamagedError(ValueError):
    """The file breaks a rule of the format."""


class UnsupportedError(ValueError):
    """The file uses what a later version may define, or what this decoder leaves out."""


def need(condition: bool, rule: str) -> None:
    """Report a broken rule."""
    if not condition:
        raise DamagedError(rule)


class Reader:
    """Takes numbers and names from the front of some bytes (FORMAT.md, section 2)."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, size: int) -> bytes:
        need(size <= self.left(), "what is announced is there")
        self.at += size
        return self.data[self.at - size : self.at]

    def fixed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        value, shift, byte = 0, 0, 128
        while byte >= 128:
            byte = self.fixed(1)
            value |= (byte & 127) << shift
            shift += 7
            need(value < 2**32 and shift <= 35, "a varint is below 2^32")
        need(byte > 0 or shift == 7, "a varint is as short as it can be")
        return value

    def name(self) -> str:
        text = self.take(self.fixed(1))
        need(1 <= len(text) <= 64, "a name has 1 to 64 letters")
        need(set(text) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789-_."), "a name has letters of names only")
        return text.decode()


@dataclass(frozen=True)
class Header:
    """Section 4. `content` is the header as it stands in the file; metadata are sections by their number."""

    content: bytes
    flags: int
    codec: str
    weights: bytes
    width: int
    height: int
    quality: int
    tile: int
    metadata: dict[int, bytes]

    def places(self) -> list[tuple[int, int, int, int]]:
        """Top, left, height and width of each unit (section 6)."""
        tile = self.tile or max(self.width, self.height)
        corners = [(top, left) for top in range(0, self.height, tile) for left in range(0, self.width, tile)]
        return [(top, left, min(tile, self.height - top), min(tile, self.width - left)) for top, left in corners]


def read_sections(content: bytes, registered: dict[int, bool]) -> dict[int, bytes]:
    """Sections that fill `content` (section 5). `registered` has a critical flag for each known number."""
    reader, found, last = Reader(content), {}, (-1, "")
    while reader.left():
        tag = reader.varint()
        number, critical = tag >> 1, bool(tag & 1)
        key = number, reader.name() if number == 0 else ""
        need(key > last, "sections ascend")
        need(number not in registered or critical == registered[number], "a critical flag is that of the table")
        need(key[1] != "latents", "latents have no other number")
        if critical and (number == 0 or number not in registered):
            raise UnsupportedError(f"an unknown section {key} is critical")
        found[number], last = reader.take(reader.varint()), key
    return {number: section for number, section in found.items() if number in registered}


def read_start(reader: Reader, medium: int) -> tuple[int, str, bytes]:
    """What headers of all media begin with: the flags, the codec and the hash of its weights (section 4)."""
    need(reader.take(4) == b"\xf6rfy", "the signature")
    if reader.fixed(1) != 1:
        raise UnsupportedError("another version")
    flags, number = reader.fixed(1), reader.fixed(1)
    if flags >> 6 != medium or (number and number not in CODECS):
        raise UnsupportedError("another medium or codec")
    codec = CODECS[number] if number else reader.name()
    need(number > 0 or codec not in CODECS.values(), "a codec of the table goes by its number")
    size = reader.fixed(1) if flags & LONG_WEIGHTS else 4
    need(not flags & LONG_WEIGHTS or 5 <= size <= 32, "a long hash has 5 to 32 bytes")
    return flags, codec, reader.take(size)


def read_metadata(reader: Reader, flags: int) -> dict[int, bytes]:
    """What headers of all media end with (sections 4 and 5)."""
    metadata = reader.take(reader.varint()) if flags & METADATA else b""
    need(not flags & METADATA or len(metadata) > 0, "metadata that are announced are there")
    return read_sections(metadata, {1: False, 2: False, 3: False, 4: False})


def read_header(reader: Reader) -> Header:
    """The header of a picture (section 4)."""
    flags, codec, weights = read_start(reader, medium=0)
    width, height, quality = reader.varint(), reader.varint(), reader.fixed(2)
    need(1 <= width < 2**31 and 1 <= height < 2**31 and quality <= 25600, "size and quality")
    tile = reader.varint() if flags & TILE else 0
    need(not flags & TILE or 16 <= tile <= 65535, "units have sides of 16 to 65535")
    sections = read_metadata(reader, flags)
    if width * height > MOST_PIXELS:  # far below 2^32 units, too
        raise UnsupportedError("a larger picture than this decoder takes")
    return Header(reader.data[: reader.at], flags, codec, weights, width, height, quality, tile, sections)


def read_units(reader: Reader, count: int, is_tagged: bool, has_alpha: bool) -> list[tuple[int, dict[int, bytes]]]:
    """After the header: for each unit the checksum of its symbols and its sections (sections 3, 6 and 7)."""
    data, header = reader.data, reader.data[: reader.at]
    need(count == 1 or reader.fixed(4) == zlib.crc32(header), "the header's checksum")
    need(reader.left() >= 9 * count, "a unit has 9 bytes or more")
    units, sizes = [], []
    for number in range(count):
        begin = reader.at
        sizes.append(reader.varint())
        spelled, checksum, payload = data[begin : reader.at], reader.fixed(4), reader.take(sizes[-1])
        covered = header + struct.pack("<I", number) + spelled + payload
        need(sizes[-1] >= 4 and checksum == zlib.crc32(covered), "the unit's checksum")
        sections = {1: payload[4:]}
        if is_tagged:
            sections = read_sections(payload[4:], {0: True, 1: True, 2: True})
            need(1 in sections and (2 not in sections or has_alpha), "latents; alpha if announced")
        units.append((int.from_bytes(payload[:4], "little"), sections))
    if count > 1:
        begin = reader.at
        need([reader.varint() for _ in sizes] == sizes, "the index agrees with the units")
        entries, checksum, size = data[begin : reader.at], reader.fixed(4), reader.fixed(4)
        covered = header + struct.pack("<I", count) + entries + struct.pack("<I", size)
        need(size == reader.at - begin and checksum == zlib.crc32(covered), "the index's size and checksum")
    need(reader.left() == 0, "nothing follows the last part")
    return units


def read_file(data: bytes) -> tuple[Header, list[tuple[int, dict[int, bytes]]]]:
    """The header of a picture, and for each unit the checksum of its symbols and its sections."""
    reader = Reader(data)
    header = read_header(reader)
    return header, read_units(reader, len(header.places()), header.flags & TAGGED > 0, header.flags & ALPHA > 0)


def read_alpha(section: bytes, height: int, width: int) -> Array:
    """The alpha of a unit (section 5)."""
    need(len(section) > 0 and section[0] <= 3, "predictors are 0 to 3")
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(section[1:], height * width + 1)
    except zlib.error as error:
        raise DamagedError(f"alpha: {error}") from error
    need(len(content) == height * width and inflate.eof and not inflate.unused_data, "alpha has a byte a pixel")
    alpha = np.frombuffer(content, np.uint8).reshape(height, width)
    # Predictor 1 stands for sums along rows, 2 for sums along columns, 3 for both, all of them modulo 256.
    alpha = np.cumsum(alpha, axis=1, dtype=np.uint8) if section[0] in (1, 3) else alpha
    return np.cumsum(alpha, axis=0, dtype=np.uint8) if section[0] in (2, 3) else alpha


class Stream:
    """The decoder of a coded stream (CODER.md, sections 2 to 5)."""

    def __init__(self, content: bytes, tensors: Tensors) -> None:
        self.precision = int(tensors["tables.precision"][0])
        names = ("offsets", "row_starts", "cumulative")
        self.offsets, self.row_starts, self.cumulative = (tensors[f"tables.{name}"].tolist() for name in names)
        reader = Reader(content)
        log2 = reader.fixed(1)
        need(log2 <= 5, "at most 32 lanes")
        self.states = [reader.fixed(4) for _ in range(1 << log2)]
        need(min(self.states) >= 1 << 16 and reader.left() % 2 == 0, "states of 2^16 or more, whole words")
        self.words = iter([reader.fixed(2) for _ in range(reader.left() // 2)])
        self.count = 0

    def enter(self, lane: int, x: int) -> None:
        """Make x the state of a lane, and refill it."""
        if x < 1 << 16:
            word = next(self.words, None)
            need(word is not None, "the stream has words to the last symbol")
            x = x << 16 | (word or 0)
        self.states[lane] = x

    def bits(self, lane: int, n: int) -> int:
        x = self.states[lane]
        self.enter(lane, x >> n)
        return x & ((1 << n) - 1)

    def symbol(self, row: int) -> int:
        """The next symbol, coded under `row`."""
        begin, end, offset = self.row_starts[row], self.row_starts[row + 1], self.offsets[row]
        if begin == end:
            return int(offset)
        lane = self.count % len(self.states)
        self.count += 1
        x = self.states[lane]
        slot = x & ((1 << self.precision) - 1)
        at = bisect_right(self.cumulative, slot, begin, end) - 1
        start, frequency = self.cumulative[at], self.cumulative[at + 1] - self.cumulative[at]
        self.enter(lane, frequency * (x >> self.precision) + slot - start)
        symbol = int(offset + at - begin)
        if at == end - 2:  # the row's last entry: the escape
            zeros = 0
            while not self.bits(lane, 1):
                zeros += 1
                need(zeros <= 16, "an escape has at most 16 zeros")
            distance = (1 << zeros) + self.bits(lane, zeros) - 1
            symbol = int(offset) - 1 - distance if self.bits(lane, 1) else symbol + distance
            need(-32768 <= symbol <= 32767, "a symbol has 16 bits")
        return symbol

    def burst(self, rows: Array) -> Array:
        """A symbol for each of `rows`, in their order."""
        return np.array([self.symbol(row) for row in rows.ravel().tolist()], np.int64).reshape(rows.shape)

    def end(self) -> None:
        need(set(self.states) == {1 << 16} and next(self.words, None) is None, "states end as 2^16, no word is left")


class Weights:
    """A weights file: the codec's name, its sizes, all tensors, and their hash (FORMAT.md, section 10)."""

    def __init__(self, path: Path) -> None:
        with safe_open(str(path), "numpy") as file:
            self.codec, self.config = file.metadata()["codec"], json.loads(file.metadata()["config"])
            self.tensors: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sha = hashlib.sha256(f"{self.codec} {json.dumps(self.config, sort_keys=True)}\n".encode())
        for name, tensor in sorted(self.tensors.items()):
            sha.update(f"{name} torch.{tensor.dtype} {list(tensor.shape)}\n".encode() + tensor.tobytes())
        self.hash = sha.digest()

    def check(self, codec: str, begin: bytes) -> None:
        """Report a file that names other weights."""
        if codec != self.codec or not self.hash.startswith(begin):
            raise UnsupportedError(f"{codec} {begin.hex()} with weights of {self.codec}, {self.hash.hex()}")


def around(x: Array) -> Array:
    """Nine positions around each, row by row, border positions repeated: [h, w, 9 n] (HYPERPRIOR.md, section 3)."""
    (h, w), padded = x.shape[:2], np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.concatenate([padded[dy : dy + h, dx : dx + w] for dy in range(3) for dx in range(3)], axis=2)


def shuffled(x: Array, side: int = 2) -> Array:
    """For side 2, channel 4 c + 2 i + j at (y, x) goes to channel c at (2 y + i, 2 x + j) (section 3)."""
    h, w, n = x.shape
    squares = x.reshape(h, w, n // side**2, side, side).transpose(0, 3, 1, 4, 2)
    return squares.reshape(side * h, side * w, n // side**2)


def integer_layer(tensors: Tensors, name: str, x: Array, low: int = -127, high: int = 127, start: Any = 0) -> Array:
    """Section 3. No sum reaches 2^24 in magnitude, so that float64 holds every number here exactly."""
    weight, bias, shift = (tensors[f"exact.{name}.{part}"].astype(np.float64) for part in ("weight", "bias", "shift"))
    total = x.astype(np.float64) @ weight.T + bias + start * 2 ** (shift - 8)
    return np.clip(np.floor(total / 2**shift + 0.5), low, high)


def read_layer(tensors: Tensors, name: str, x: Array, low: int = -127, high: int = 127) -> Array:
    """A layer of integers, read as floats (section 6)."""
    parts = ("weight", "bias", "shift", "input_exponent", "output_exponent")
    weight, bias, shift, given, made = (tensors[f"exact.{name}.{part}"].astype(np.float32) for part in parts)
    y = x @ (weight * np.exp2(given - (shift + made)[:, None])).T + bias * np.exp2(-shift - made)
    return np.maximum(y, 0) if low == 0 else y


def float_layer(tensors: Tensors, prefix: str, name: str, x: Array, low: int = -127, high: int = 127) -> Array:
    """A layer of floats. `expand` is rectified in the mean network, and clipped and squared in the synthesis."""
    weight, bias = (tensors[f"{prefix}.{name}.{part}"].astype(np.float32) for part in ("weight", "bias"))
    y = x @ weight.transpose(0, 2, 3, 1).reshape(len(bias), -1).T + bias
    y = np.maximum(y, 0) if low == 0 else y
    return np.minimum(y, 1.5) ** 2 if low == 0 and prefix == "g_s" else y


def block(layer: Layer, name: str, x: Array, p: int, limit: float = np.inf) -> Array:
    """A block of part p (sections 3 and 6.1)."""
    n = x.shape[2] // p
    mixed = np.concatenate([layer(f"{name}.spatial", around(x[..., :n])), x[..., n:]], axis=2)
    return np.clip(x + layer(f"{name}.reduce", layer(f"{name}.expand", mixed, 0, 255)), -limit, limit)


def features(layer: Layer, z: Array, embedding: Array, h: int, w: int, limit: float = np.inf) -> Array:
    """What the hyper-latents say about each of h by w positions (section 4)."""
    f = block(layer, "block_coarse", shuffled(layer("up_coarse", z)), 4, limit)
    f = np.clip(shuffled(layer("up_fine", f)) + embedding, -limit, limit)
    return block(layer, "blocks_fine.1", block(layer, "blocks_fine.0", f, 4, limit), 4, limit)[:h, :w]


def hyperprior_steps(h: int, w: int, channels: int) -> Iterator[list[tuple[Array, slice]]]:
    """For each step its quarters in order: at which positions, which channels (section 2)."""
    phase, size = 2 * (np.arange(h)[:, None] % 2) + np.arange(w) % 2, -(-channels // 4)
    for phases in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2)):
        yield [(phase == wanted, slice(j * size, min(j * size + size, channels))) for j, wanted in enumerate(phases)]


def hyperprior_symbols(stream: Stream, weights: Weights, height: int, width: int, quality: int) -> Symbols:
    """The hyper-latents, the latents' symbols, and both in the order of the stream (sections 1 to 5)."""
    tensors, level = weights.tensors, (63 * quality + 12800) // 25600
    layer = partial(integer_layer, tensors)
    channels, hyper = len(tensors["bottleneck.sigma"]), tensors["exact.up_coarse.weight"].shape[1]
    h, w = -(-height // 16), -(-width // 16)
    z = stream.burst(np.broadcast_to(64 + hyper * level + np.arange(hyper), (-(-h // 4), -(-w // 4), hyper)))
    need(bool(np.all(np.abs(z) <= 127)), "hyper-latents are -127 to 127")
    f = features(layer, z, tensors["exact.embedding"][level], h, w, 127)
    s, u, order = np.zeros((h, w, channels), np.int64), np.zeros((h, w, channels)), [z.ravel()]
    for t, quarters in enumerate(hyperprior_steps(h, w, channels)):
        g = f + tensors["exact.position"][t][np.ix_(np.arange(h) % 2, np.arange(w) % 2)]
        if t == 0:
            g = np.clip(g, -127, 127)
        else:
            g = block(layer, f"contexts.{t - 1}", np.clip(g + layer(f"symbols_in.{t - 1}", u), -127, 127), 2, 127)
        index = layer(f"heads.{t}", g, 0, 63, tensors["exact.start"][level]).astype(int)
        for where, quarter in quarters:
            s[where, quarter] = stream.burst(index[where, quarter])
            u[where, quarter] = tensors["exact.magnitudes"][np.minimum(np.abs(s[where, quarter]), 127)]
            order.append(s[where, quarter].ravel())
    return z, s, np.concatenate(order)


def hyperprior_pixels(z: Array, s: Array, weights: Weights, quality: int) -> Array:
    """The colours of a unit before they are rounded and cropped, 0 to 255 (section 6)."""
    tensors, config, r = weights.tensors, weights.config, quality / 25600
    h, w, channels = s.shape

    def at_quality(name: str) -> Array:
        points = tensors[name].astype(np.float32)
        below = min(int(12 * r), 11)
        return points[below] + np.float32(12 * r - below) * (points[below + 1] - points[below])

    base = np.float32((config["lambda_low"] * (config["lambda_high"] / config["lambda_low"]) ** r / 4e-4) ** 0.5)
    spread = base * tensors["bottleneck.sigma"].astype(np.float32)
    read, means = partial(read_layer, tensors), partial(float_layer, tensors, "bottleneck.means")
    f = features(read, z.astype(np.float32), at_quality("bottleneck.embedding"), h, w)
    positions, y = tensors["bottleneck.means.position"].transpose(0, 2, 3, 1), np.zeros(s.shape, np.float32)
    for t, quarters in enumerate(hyperprior_steps(h, w, channels)):
        g = f + positions[t][np.ix_(np.arange(h) % 2, np.arange(w) % 2)]
        if t > 0:
            g = block(means, f"contexts.{t - 1}", g + means(f"latents_in.{t - 1}", np.arcsinh(y / spread)), 2)
        mu = means(f"heads.{t}", g) * spread
        for where, quarter in quarters:
            y[where, quarter] = s[where, quarter] + mu[where, quarter]
    synthesis = partial(float_layer, tensors, "g_s")
    x = synthesis("first", y * np.exp(at_quality("bottleneck.gain_decoder")) / base)
    for n in range(config["coarse_blocks"]):
        x = block(synthesis, f"coarse.{n}", x, 4)
    x = shuffled(synthesis("up", x))
    for n in range(config["fine_blocks"]):
        x = block(synthesis, f"fine.{n}", x, 4)
    return 255 * (shuffled(synthesis("last", x), 8) + 0.5)


def as_shown(colours: Array, header: Header) -> Array:
    """Gray where the file is, rounded, cropped to the picture (section 7)."""
    colours = colours.mean(axis=2, keepdims=True) if header.flags & GRAY else colours
    return np.clip(np.rint(colours[: header.height, : header.width]), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Picture:
    """A decoded file: the symbols of each unit (hyper-latents and latents), the alpha, the pixels [h, w, 1 or 3]."""

    header: Header
    symbols: list[tuple[Array, Array]]
    alpha: Array | None
    pixels: Array | None


def decode(data: bytes, weights: Weights) -> Picture:
    """Decode a file with the weights of its codec. `pixels` are None where this decoder leaves them out."""
    header, units = read_file(data)
    weights.check(header.codec, header.weights)
    if header.codec not in ("image", "fixture"):
        raise UnsupportedError(f"codec {header.codec} has no hyperprior")
    symbols, pixels = [], None
    alpha = np.full((header.height, header.width), 255, np.uint8)
    for (checksum, sections), (top, left, height, width) in zip(units, header.places(), strict=True):
        stream = Stream(sections[1], weights.tensors)
        z, s, order = hyperprior_symbols(stream, weights, height, width, header.quality)
        stream.end()
        need(zlib.crc32(order.astype("<i2").tobytes()) == checksum, "the checksum of the symbols")
        symbols.append((z, s))
        if 2 in sections:
            alpha[top : top + height, left : left + width] = read_alpha(sections[2], height, width)
    if len(units) == 1:
        pixels = as_shown(hyperprior_pixels(*symbols[0], weights, header.quality), header)
    return Picture(header, symbols, alpha if header.flags & ALPHA else None, pixels)
