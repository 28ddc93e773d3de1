"""The conformance streams: what each one shows, how it is made, and what is known of it.

Every stream is a file NAME.rfy of the codec "fixture" of at most 4 kB; NAME.json tells what a decoder must find, and
NAME.png holds the decoded picture.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from fuzz.sealing import sealed

from conformance.fixture import WEIGHTS
from conformance.pictures import board, flat, noise, round_hole, scene
from rarefy.codecs import container
from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.base import Codec, quality_q256
from rarefy.codecs.container import LATENTS, File
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.fields import varint
from rarefy.codecs.grid import divided, extents
from rarefy.codecs.header import SECTIONS_FLAG
from rarefy.codecs.media import Image
from rarefy.entropy import coder
from rarefy.entropy.coding import Coded, decode

FOLDER = WEIGHTS.parent
LARGEST = 4096  # bytes of a stream
EXIF = b"II*\0\x08\0\0\0\1\0\x0f\1\2\0\4\0\0\0abc\0\0\0\0\0"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


def keep(data: bytes, codec: AnyCodec) -> bytes:
    """A file as the encoder wrote it."""
    return data


@dataclass(frozen=True)
class Stream:
    """A stream to be made. lanes: of the coder, 0 leaves them to it. edit: what becomes of the file that it wrote."""

    shows: str
    image: Image
    quality: float = 50
    tile: int = 0
    lanes: int = 0
    edit: Callable[[bytes, Codec], bytes] = keep


def with_whole_hash(data: bytes, codec: AnyCodec) -> bytes:
    """All 32 bytes of the weights' SHA-256 in the header."""
    file = container.read(data)
    return container.write(replace(file, header=replace(file.header, weights=codec.weights_hash)))


def with_far_symbols(data: bytes, codec: Codec) -> bytes:
    """Latents that no picture has: symbols far outside the rows of their tables."""
    file = container.read(data)
    shape = extents(divided(file.header.grid.box(0), codec.stride))
    values = np.random.default_rng(3).standard_cauchy((1, codec.bottleneck.channels, *shape))
    y = torch.from_numpy(np.clip(20 * values, -3000, 3000).astype(np.float32))
    ((sections, checksum),) = codec.bottleneck.compress(y, file.header.quality)
    return container.write(replace(file, units=(container.Unit(sections, checksum),)))


def with_unknown_section(data: bytes, codec: AnyCodec) -> bytes:
    """The unit's section "latents" with a tag, and behind it a section of number 9, which may be skipped."""
    head, unit = split(data)
    payload = unit[:4] + b"\x03" + varint(len(unit) - 4) + unit[4:] + bytes([9 << 1, 3]) + b"new"
    head = head[:5] + bytes([head[5] | SECTIONS_FLAG]) + head[6:]
    return sealed(head + varint(len(payload)) + bytes(4) + payload)


def with_unknown_metadata(data: bytes, codec: AnyCodec) -> bytes:
    """Metadata of number 9, which may be skipped, behind the known ones."""
    head, unit = split(data)
    known = sum(2 + len(part) for part in container.read(data).metadata.values())
    metadata = head[len(head) - known :] + bytes([9 << 1, 3]) + b"new"
    head = head[: len(head) - known - 1] + varint(len(metadata)) + metadata
    return sealed(head + varint(len(unit)) + bytes(4) + unit)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header and payload of a file of one unit, "latents" alone in it."""
    unit = container.read(data).units[0]
    payload = unit.checksum.to_bytes(4, "little") + unit.sections[LATENTS]
    return data[: len(data) - len(payload) - 4 - len(varint(len(payload)))], payload


def _image(*size: int, alpha: bool = False, **metadata: bytes) -> Image:
    return Image(scene(*size), alpha=round_hole(*size[:2]) if alpha else None, **metadata)


STREAMS: Mapping[str, Stream] = {
    "1x1": Stream("one pixel", _image(1, 1)),
    "1x1-gray": Stream("one gray pixel", _image(1, 1, 1)),
    "1x7": Stream("one row", _image(1, 7)),
    "9x1": Stream("one column", _image(9, 1)),
    "17x33": Stream("an odd size", _image(17, 33)),
    "16x16": Stream("one latent", _image(16, 16)),
    "64x64": Stream("one hyper-latent, no padding", _image(64, 64)),
    "65x63": Stream("just more and just less than one hyper-latent", _image(65, 63)),
    "100x75": Stream("a usual picture", _image(100, 75)),
    "gray": Stream("one channel", _image(50, 41, 1)),
    "quality-0": Stream("the lowest rate", _image(90, 70), quality=0),
    "quality-100": Stream("the highest rate", _image(48, 40), quality=100),
    "quality-fraction": Stream("a quality between whole numbers", _image(33, 47), quality=37 + 77 / 256),
    "noise-100": Stream("noise at the highest rate", Image(noise(48, 48)), quality=100),
    "board-100": Stream("extreme contrast at the highest rate", Image(board(48, 32)), quality=100),
    "far-symbols": Stream("symbols outside their rows", _image(48, 32), quality=90, edit=with_far_symbols),
    "black": Stream("black", Image(flat(40, 56, 0))),
    "white-0": Stream("white at the lowest rate", Image(flat(40, 56, 255)), quality=0),
    "lanes-8": Stream("eight lanes", _image(60, 60), quality=80, lanes=8),
    "lanes-32": Stream("as many lanes as there may be", _image(60, 60), quality=80, lanes=32),
    "metadata": Stream("profile, EXIF and XMP", _image(20, 30, icc=b"a profile", exif=EXIF, xmp=XMP)),
    "metadata-unknown": Stream("metadata that may be skipped", _image(20, 30, xmp=XMP), edit=with_unknown_metadata),
    "whole-hash": Stream("the whole hash of the weights", _image(20, 30), edit=with_whole_hash),
    "section-unknown": Stream("a section that may be skipped", _image(20, 30), edit=with_unknown_section),
    "tile-larger": Stream("a tile larger than the picture", _image(40, 30), tile=512),
    "tiles": Stream("six units, those at the end smaller", _image(70, 100), tile=48),
    "tiles-thin": Stream("units of one pixel at the end", _image(33, 65), tile=32),
    "tiles-gray": Stream("gray units", _image(64, 64, 1), tile=32, quality=20),
    "tiles-metadata": Stream("units and metadata", _image(40, 90, icc=b"a profile", xmp=XMP), tile=64),
    "alpha": Stream("alpha", _image(37, 45, alpha=True)),
    "alpha-1x1": Stream("one invisible pixel", _image(1, 1, alpha=True)),
    "alpha-gray": Stream("gray with alpha", _image(30, 30, 1, alpha=True)),
    "alpha-tiles": Stream("alpha in some of the units", _image(70, 100, alpha=True, exif=EXIF), tile=32),
}


def make(stream: Stream, codec: Codec) -> bytes:
    """The bytes of a stream."""
    lanes = patch.object(coder, "lanes_for", lambda count: stream.lanes) if stream.lanes else patch.dict({})
    with lanes:
        encoder = Encoder(codec, [stream.image], "float32", tile=stream.tile)
        return stream.edit(encoder.files(quality_q256(stream.quality))[0], codec)


def facts(data: bytes, codec: Codec) -> dict[str, Any]:
    """What a decoder must find in a file, but for the colours."""
    file = container.read(data)
    image = codec.decode(data, precision="float32")
    return {
        "header": container.read_info(data).header.show(),
        "units": file.header.unit_count,
        "size_bytes": len(data),
        "sha256": sha256(data),
        "symbols_sha256": sha256(symbols_of(file, codec)),
        "alpha_sha256": None if image.alpha is None else sha256(image.alpha.tobytes()),
        "metadata_sha256": {name: sha256(value) for name, value in sorted(file.metadata.items())},
    }


def symbols_of(file: File, codec: Codec) -> bytes:
    """All symbols, unit by unit: hyper-latents [h, w, C], then latents [h, w, C], as little-endian 16-bit integers."""
    parts = []
    for number, unit in enumerate(file.units):
        shape = extents(divided(file.header.grid.box(number), codec.stride))
        walk = decode(codec.bottleneck, [Coded(unit.sections[LATENTS], unit.checksum)], shape, file.header.quality)
        parts += [walk.z[0].numpy().astype("<i2").tobytes(), walk.symbols[0].numpy().astype("<i2").tobytes()]
    return b"".join(parts)


def sha256(data: bytes) -> str:
    """In hex."""
    return hashlib.sha256(data).hexdigest()


def path_of(name: str, suffix: str) -> Path:
    """The stream ("rfy"), what is known of it ("json"), its picture ("png")."""
    return FOLDER / f"{name}.{suffix}"


def as_shown(image: Image) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The colours as PNG holds them: [H, W] where gray."""
    return image.pixels[:, :, 0] if image.channels == 1 else image.pixels
