"""A second decoder of pictures with a lattice, and of what sounds share with them, written from the documents.

Latents come from a stream, bands from latents, and a signal from bands, as `docs/LATTICE.md` says, whose sections are
named here. Grids are arrays [row, column, channel]; the grid of a sound is one row. Left out are pixels of files of
several units, as in `independent_decoder.py`.
"""

import math
import zlib
from collections.abc import Iterator

import numpy as np
from independent_decoder import (
    Array,
    Header,
    Stream,
    Tensors,
    UnsupportedError,
    Weights,
    as_shown,
    need,
    read_file,
)

BLOCK = 256  # positions (section 2)
LIFTING = ((-0.443506852043971, -0.882911075530934), (0.052980118572961, 1.586134342059924))  # section 5
LOW, HIGH = 1.149604398860241, -0.869864451624781
PICTURE_LEVELS = 3


def steps(h: int, w: int, axes: int) -> Iterator[tuple[Array, Array]]:
    """For each step its positions [n, 2], and the offsets of their neighbours [4, 2] (sections 2 and 3)."""
    y, x = np.mgrid[:h, :w]
    yield np.argwhere((y % 8 == 0) & (x % 8 == 0)), np.zeros((4, 2), int)
    straight, diagonal = [(0, -1), (0, 1), (-1, 0), (1, 0)], [(-1, -1), (1, 1), (-1, 1), (1, -1)]
    line = [(0, -1), (0, 1), (0, -3), (0, 3)]
    for stride in (4, 2, 1):
        planes = [(stride, stride, diagonal), (0, stride, straight), (stride, 0, straight)]
        for row, column, offsets in planes if axes == 2 else [(0, stride, line)]:
            there = (y % (2 * stride) == row) & (x % (2 * stride) == column)
            yield np.argwhere(there), stride * np.array(offsets)


def neighbours(q: Array, places: Array, offsets: Array) -> Array:
    """Latents around each of `places`, clipped: [n, 4, C]. Absent ones are 0 (sections 3 and 4)."""
    near, size = places[:, None] + offsets, q.shape[:2]
    near = np.where((near < 0) | (near >= size), places[:, None] - offsets, near)
    present = np.all((near >= 0) & (near < size), axis=2, keepdims=True)
    return np.clip(q[tuple(np.moveaxis(np.where(present, near, 0), 2, 0))], -2047, 2047) * present


def read_unit(
    unit: tuple[int, dict[int, bytes]], tensors: Tensors, prefix: str, size: tuple[int, ...], quality: int
) -> Array:
    """The latents of a unit, int64 [h, w, C], for `size` positions along one axis or two (section 1)."""
    checksum, sections = unit
    stream = Stream(sections[1], tensors)
    q = read_latents(stream, tensors, prefix, size, quality)
    stream.end()
    need(zlib.crc32(q.transpose(2, 0, 1).astype("<i2").tobytes()) == checksum, "the checksum of the symbols")
    return q


def read_latents(stream: Stream, tensors: Tensors, prefix: str, size: tuple[int, ...], quality: int) -> Array:
    """What `read_unit` gives, unproved (section 4)."""
    names = ("start", "means", "scales", "differences", "means_across", "scales_across")
    starts, *tables = (tensors[prefix + name].astype(np.int64) for name in names)
    h, w = (1, *size)[-2:]
    q = np.zeros((h, w, starts.shape[2]), np.int64)
    for step, (positions, offsets) in enumerate(steps(h, w, len(size))):
        start = starts[(63 * quality + 12800) // 25600, step]
        for first in range(0, len(positions), BLOCK):
            places = positions[first : first + BLOCK]
            near = neighbours(q, places, offsets) * (step > 0)
            q[places[:, 0], places[:, 1]] = read_block(stream, near, start, [table[step] for table in tables])
    return q


def read_block(stream: Stream, near: Array, start: Array, tables: list[Array]) -> Array:
    """The latents [n, C] of a block of positions, channel after channel (section 4)."""
    means, scales, differences, means_across, scales_across = tables
    a, n = np.abs(near[:, 0::2] - near[:, 1::2]).reshape(len(near), -1), near.reshape(len(near), -1)
    mean, scale = n @ means.T, start + np.abs(n) @ scales.T + a @ differences.T
    q, e, r = np.zeros((3, len(n), len(start)), np.int64)
    for c in range(len(start)):
        m = (mean[:, c] + e @ means_across[c] + 64) >> 7
        s = np.clip(scale[:, c] + r @ scales_across[c], 164, 409600)
        log2 = np.frexp(s)[1] - 1
        q[:, c] = stream.burst(8 * (4 * log2 + (s >> (log2 - 2)) % 4 - 29) + m % 8) + (m >> 3)
        e[:, c], r[:, c] = np.clip(q[:, c], -2047, 2047), np.minimum(np.abs(8 * q[:, c] - m), 16383)
    need(bool(np.all(q == q.astype(np.int16))), "latents have 16 bits")
    return q


def at_quality(points: Array, quality: int) -> Array:
    """Thirteen points along the quality, interpolated (HYPERPRIOR.md, section 6)."""
    place = 12 * quality / 25600
    below = min(int(place), 11)
    low, high = points[below : below + 2].astype(np.float64)
    return low + (place - below) * (high - low)


def synthesis_input(q: Array, weights: Weights, prefix: str, quality: int) -> Array:
    """What the synthesis gets for latents [h, w, C] (section 5)."""
    low, high = weights.config["lambda_low"], weights.config["lambda_high"]
    base = math.sqrt(low * (high / low) ** (quality / 25600) / 4e-4)
    return q * np.exp(at_quality(weights.tensors[f"{prefix}bottleneck.gain_decoder"], quality)) / base


def layer(tensors: Tensors, name: str, x: Array) -> Array:
    """A matrix, or a correlation over the positions around each, border positions repeated: [h, w, outputs]."""
    weight, bias = (tensors[f"{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
    weight = weight.reshape(*weight.shape[:2], *(weight.shape[2:] or (1, 1)))
    (kh, kw), (h, w) = weight.shape[2:], x.shape[:2]
    padded = np.pad(x, ((kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)), mode="edge")
    taps = [padded[dy : dy + h, dx : dx + w] @ weight[:, :, dy, dx].T for dy in range(kh) for dx in range(kw)]
    return sum(taps) + bias


def read_bands(y: Array, tensors: Tensors, prefix: str, blocks: int) -> Array:
    """The bands [h, w, bands] of what the synthesis gets (section 5; blocks as in HYPERPRIOR.md, section 7)."""
    x = layer(tensors, f"{prefix}first", y)
    for number in range(blocks):
        name, quarter = f"{prefix}blocks.{number}", x.shape[2] // 4
        mixed = np.concatenate([layer(tensors, f"{name}.spatial", x[..., :quarter]), x[..., quarter:]], axis=2)
        x = x + layer(tensors, f"{name}.reduce", np.clip(layer(tensors, f"{name}.expand", mixed), 0, 1.5) ** 2)
    return layer(tensors, f"{prefix}expand", y) + layer(tensors, f"{prefix}last", x)


def merge(low: Array, high: Array, axis: int) -> Array:
    """A signal twice as long from its two bands: lifting undone (section 5)."""
    last = low.shape[axis] - 1
    after, before = np.minimum(np.arange(last + 1) + 1, last), np.maximum(np.arange(last + 1) - 1, 0)
    even, odd = low / LOW, high / HIGH
    for to_even, to_odd in LIFTING:
        even = even + to_even * (odd + odd.take(before, axis))
        odd = odd + to_odd * (even + even.take(after, axis))
    merged = np.stack([even, odd], axis + 1)
    return merged.reshape(*low.shape[:axis], 2 * low.shape[axis], *low.shape[axis + 1 :])


def signal(bands: Array, levels: int, axes: int) -> Array:
    """What has these wavelet packets: [h, w, bands] to [h', w', channels], along one axis or two (section 5)."""
    for _ in range(levels):
        for axis in range(2 - axes, 2):
            bands = merge(bands[..., 0::2], bands[..., 1::2], axis)
    return bands


def decode_picture(data: bytes, weights: Weights) -> tuple[Header, list[Array], Array | None]:
    """The header, the latents [h, w, C] of each unit, and the pixels of a picture in one unit."""
    header, units = read_file(data)
    weights.check(header.codec, header.weights)
    if header.codec != "walloc-image":
        raise UnsupportedError(f"codec {header.codec} is none of pictures with a lattice")
    latents, pixels = [], None
    for unit, (_, _, height, width) in zip(units, header.places(), strict=True):
        size = -(-height >> PICTURE_LEVELS), -(-width >> PICTURE_LEVELS)
        latents.append(read_unit(unit, weights.tensors, "exact.", size, header.quality))
    if len(units) == 1:
        y = synthesis_input(latents[0], weights, "", header.quality)
        bands = read_bands(y, weights.tensors, "g_s.", weights.config["blocks"])
        pixels = as_shown(255 * (signal(bands, PICTURE_LEVELS, axes=2) + 0.5), header)
    return header, latents, pixels
