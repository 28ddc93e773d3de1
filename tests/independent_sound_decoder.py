"""A second decoder of sounds, written from the documents of the format.

It goes on from `independent_decoder.py`, which reads containers and streams, and `independent_lattice.py`, with what
`docs/FORMAT.md` says of sounds in sections 4a to 6. A section without a document's name is one of FORMAT.md.

Left out: the way from a group's sample rate to the sound's, which the documents leave to the reader. Samples are those
of the groups, at the groups' rates, in float64, and not clipped.
"""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from independent_decoder import (
    TAGGED,
    TILE,
    Array,
    Reader,
    UnsupportedError,
    Weights,
    need,
    read_metadata,
    read_start,
    read_units,
)
from independent_lattice import read_bands, read_unit, signal, synthesis_input

CHANNELS, FORMAT, SPAN = 1, 2, TILE  # bits of the flags
LAYOUTS = {3: (2, 1), 5: (2, 1, 2), 6: (2, 1, 1, 2), 7: (2, 1, 1, 1, 2), 8: (2, 1, 1, 2, 2)}  # channels to groups
TAGS = {"title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "license"}
PARTS = {2: "stereo", 1: "mono"}
RATES = {2: 44100, 1: 24000}  # of groups of two and one, in Hz
MOST_SAMPLES = 2**24  # what this reader is willing to decode


@dataclass(frozen=True)
class SoundHeader:
    """Section 4a. `sample_format` is 0 for 16 bits; `span` is 0 for one span."""

    flags: int
    codec: str
    weights: bytes
    sample_rate: int
    length: int
    channels: int
    sample_format: int
    level: int
    quality: int
    span: int
    metadata: dict[int, bytes]

    def groups(self) -> tuple[int, ...]:
        """How many channels each group has."""
        pairs = (2,) * (self.channels // 2) + (1,) * (self.channels % 2)
        return LAYOUTS.get(self.channels, pairs)

    def spans(self) -> int:
        """How many spans of time there are (section 6)."""
        return -(-300 * self.length // (self.sample_rate * self.span)) if self.span else 1

    def samples(self, group: int) -> list[int]:
        """How many samples a group of so many channels has in each span."""
        whole = -(-self.length * RATES[group] // self.sample_rate)
        each = self.span * RATES[group] // 300 or whole
        return [min(each, whole - each * number) for number in range(self.spans())]

    def tags(self) -> dict[str, str]:
        """The tags among the metadata (section 5)."""
        reader, found = Reader(self.metadata.get(4, b"")), {"": ""}
        while reader.left():
            name = reader.name()
            need(name > max(found), "tags ascend")
            try:
                found[name] = reader.take(reader.varint()).decode()
            except UnicodeDecodeError:
                need(False, "tags are UTF-8")
        return {name: text for name, text in found.items() if name in TAGS}


def read_header(reader: Reader) -> SoundHeader:
    """The header of a sound (section 4a)."""
    flags, codec, weights = read_start(reader, medium=1)
    rate, length = reader.varint(), reader.varint()
    need(1 <= rate < 2**31 and length >= 1, "a rate and a length")
    channels = reader.varint() if flags & CHANNELS else 2
    need(not flags & CHANNELS or channels == 1 or 3 <= channels <= 255, "channels that are given are 1, or 3 to 255")
    sample_format = reader.fixed(1) if flags & FORMAT else 0
    need(not flags & FORMAT or sample_format > 0, "a format that is given is not 0")
    if sample_format > 6:
        raise UnsupportedError("another format of samples")
    level, quality = (reader.fixed(1) ^ 128) - 128, reader.fixed(2)
    span = reader.varint() if flags & SPAN else 0
    need(quality <= 25600 and (not flags & SPAN or 1 <= span <= 65535), "quality and span")
    metadata = read_metadata(reader, flags)
    if codec != "walloc-audio" or length * channels * max(1, RATES[2] / rate) > MOST_SAMPLES:
        raise UnsupportedError("another codec, or a longer sound than this decoder takes")
    return SoundHeader(flags, codec, weights, rate, length, channels, sample_format, level, quality, span, metadata)


def group_samples(latents: list[Array], group: int, header: SoundHeader, weights: Weights) -> Array:
    """Samples [channels, n] of a group, from its latents [C, positions] of each span (LATTICE.md, sections 5 and 6)."""
    levels, blocks = (weights.config[f"{PARTS[group]}_{name}"] for name in ("levels", "blocks"))
    whole, prefix = np.concatenate(latents, axis=1).T[None], f"{PARTS[group]}."
    y = synthesis_input(whole, weights, prefix, header.quality)
    ends, pieces, margin = list(accumulate(unit.shape[1] for unit in latents)), [], 3 * blocks + 4
    for begin, end, count in zip([0, *ends], ends, header.samples(group), strict=False):
        first = max(begin - margin, 0)
        bands = read_bands(y[:, first : end + margin], weights.tensors, f"{prefix}g_s.", blocks)
        skipped = (begin - first) << levels
        pieces.append(signal(bands, levels, axes=1)[0, skipped : skipped + count].T)
    return np.concatenate(pieces, axis=1) * 2 ** (header.level / 8)


@dataclass(frozen=True)
class Sound:
    """A decoded file: the latents of each unit [C, positions], the samples of each group [channels, n]."""

    header: SoundHeader
    latents: list[Array]
    samples: list[Array]


def decode(data: bytes, weights: Weights) -> Sound:
    """Decode a file with the weights of its codec."""
    reader = Reader(data)
    header = read_header(reader)
    groups = header.groups()
    units = read_units(reader, header.spans() * len(groups), header.flags & TAGGED > 0, has_alpha=False)
    weights.check(header.codec, header.weights)
    levels = {group: weights.config[f"{part}_levels"] for group, part in PARTS.items()}
    whole = all(header.span * RATES[group] % (300 << levels[group]) == 0 for group in PARTS)
    need(whole, "spans are whole latents of both parts")
    latents = []
    for number, unit in enumerate(units):
        span, group = number // len(groups), groups[number % len(groups)]
        size = (-(-header.samples(group)[span] >> levels[group]),)
        prefix = f"exact.{PARTS[group]}.bottleneck."
        latents.append(read_unit(unit, weights.tensors, prefix, size, header.quality)[0].T)
    each = [latents[number :: len(groups)] for number in range(len(groups))]
    return Sound(header, latents, [group_samples(*pair, header, weights) for pair in zip(each, groups, strict=True)])
