"""The sounds among the conformance streams: what each one shows, how it is made, and what is known of it.

Every stream is a file NAME.rfy of the codec "walloc-audio" with the tiny weights beside it, of at most 2 kB; NAME.json
tells what a decoder must find, and NAME.npy holds some of the decoded samples.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from conformance.sound_fixture import FOLDER
from conformance.sounds import Samples, noise, silence, tones
from conformance.streams import keep, sha256, with_unknown_metadata, with_unknown_section, with_whole_hash
from rarefy.codecs import container
from rarefy.codecs.any_codec import quality_q256
from rarefy.codecs.audio import Audio
from rarefy.codecs.container import LATENTS, TAGS, File
from rarefy.codecs.fields import name_bytes
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import tags_in
from rarefy.codecs.sound_encoding import SoundEncoder
from rarefy.codecs.sound_layout import groups_of
from rarefy.entropy import coder

LARGEST = 2048  # bytes of a stream
KEPT = 40  # as many samples of a channel are kept, or a few more
SPAN = 256  # the shortest units that the codec has: 0.85 seconds
STEREO_UNIT, MONO_UNIT = SPAN * 44_100 // 300, SPAN * 24_000 // 300  # samples
TEXTS = {"title": "Übung", "artist": "A & B", "license": "CC0", "comment": "two\nlines", "tracknumber": "3"}


@dataclass(frozen=True)
class SoundStream:
    """A stream to be made. span: of its units. lanes: of the coder, 0 leaves them to it. edit: of what was written."""

    shows: str
    samples: Samples
    sample_rate: int = 44_100
    subtype: str = "PCM_16"
    tags: Mapping[str, str] | None = None
    quality: float = 50
    span: int = 0
    lanes: int = 0
    edit: Callable[[bytes, Any], bytes] = keep

    @property
    def is_resampled(self) -> bool:
        """Whether its samples come out of a filter that the format leaves to the reader."""
        return any(self.sample_rate != RATES[group.stop - group.start] for group in groups_of(len(self.samples)))


RATES = {2: 44_100, 1: 24_000}  # of groups of channels


def with_far_symbols(data: bytes, codec: SoundCodec) -> bytes:
    """Latents that no sound has: symbols far outside the rows of their tables."""
    file = container.read(data)
    positions = -(-file.header.length // codec.stereo.stride)
    values = np.random.default_rng(3).standard_cauchy((1, codec.stereo.bottleneck.channels, positions))
    y = torch.from_numpy(np.clip(values, -1500, 1500).astype(np.float32))
    ((sections, checksum),) = codec.stereo.bottleneck.compress(y, file.header.quality)
    return container.write(replace(file, units=(container.Unit(sections, checksum),)))


def with_unknown_tag(data: bytes, codec: SoundCodec) -> bytes:
    """A tag of another name, which a reader passes over."""
    file = container.read(data)
    tags = file.metadata[TAGS] + name_bytes("zither") + b"\x02no"
    return container.write(replace(file, metadata={TAGS: tags}))


STREAMS: Mapping[str, SoundStream] = {
    "stereo": SoundStream("an odd length", tones(2, 3001)),
    "mono": SoundStream("one channel", tones(1, 3001), 24_000),
    "one-sample": SoundStream("one sample", tones(2, 1)),
    "one-latent": SoundStream("as many samples as a latent stands for", tones(1, 128), 24_000),
    "silence": SoundStream("silence, at the lowest level", silence(2, 2000)),
    "noise-100": SoundStream("noise at the highest rate", noise(2, 2500), quality=100),
    "quality-0": SoundStream("the lowest rate", tones(2, 5000), quality=0),
    "quality-fraction": SoundStream("a quality between whole numbers", tones(1, 5000), 24_000, quality=37 + 77 / 256),
    "far-symbols": SoundStream("symbols outside their rows", tones(2, 9000), edit=with_far_symbols),
    "lanes-32": SoundStream("as many lanes as there may be", tones(2, 6000), quality=80, lanes=32),
    "units": SoundStream("three units, the last one shorter", tones(2, 2 * STEREO_UNIT + 1001), span=SPAN),
    "units-thin": SoundStream("a unit of one sample at the end", tones(1, MONO_UNIT + 1), 24_000, span=SPAN),
    "span-longer": SoundStream("a span longer than the sound", tones(1, 2000), 24_000, span=4 * SPAN),
    "surround": SoundStream("5.1, in units of two spans", tones(6, STEREO_UNIT + 3001), span=SPAN),
    "channels-7": SoundStream("a layout with three single channels", tones(7, 900)),
    "channels-9": SoundStream("more channels than a layout has a rule for", tones(9, 900)),
    "rate-8000": SoundStream("another rate, units, 24 bits", tones(3, 9001), 8_000, "PCM_24", span=SPAN),
    "rate-96000": SoundStream("a higher rate, 8 bits", tones(1, 7001), 96_000, "PCM_U8"),
    "floats": SoundStream("floats beyond full scale", tones(2, 3001, loudness=6), subtype="FLOAT"),
    "clipped": SoundStream("the same in 16 bits, clipped", tones(2, 3001, loudness=6)),
    "tags": SoundStream("tags", tones(1, 700), 24_000, tags=TEXTS),
    "tags-unknown": SoundStream("a tag to pass over", tones(1, 700), 24_000, tags=TEXTS, edit=with_unknown_tag),
    "metadata-unknown": SoundStream(
        "metadata that may be skipped", tones(1, 700), 24_000, tags=TEXTS, edit=with_unknown_metadata
    ),
    "section-unknown": SoundStream("a section that may be skipped", tones(2, 700), edit=with_unknown_section),
    "whole-hash": SoundStream("the whole hash of the weights", tones(2, 700), edit=with_whole_hash),
}


def make(stream: SoundStream, codec: SoundCodec) -> bytes:
    """The bytes of a stream."""
    audio = Audio(stream.samples, stream.sample_rate, stream.subtype, stream.tags or {})
    with ExitStack() as stack:
        if stream.lanes:
            stack.enter_context(patch.object(coder, "lanes_for", lambda count: stream.lanes))
        encoder = SoundEncoder(codec, audio, "float32")
        if stream.span:
            stack.enter_context(patch.object(encoder, "span", stream.span))
        return stream.edit(encoder.file(quality_q256(stream.quality)), codec)


def facts(data: bytes, codec: SoundCodec) -> dict[str, Any]:
    """What a decoder must find in a file, but for the samples."""
    file = container.read(data)
    return {
        "header": container.read_info(data).header.show(),
        "units": file.header.unit_count,
        "size_bytes": len(data),
        "sha256": sha256(data),
        "symbols_sha256": sha256(symbols_of(file, codec)),
        "tags": tags_in(file.metadata),
    }


def symbols_of(file: File, codec: SoundCodec) -> bytes:
    """All latents, unit by unit: [C, n] as little-endian 16-bit integers, which is the order of their checksums."""
    header, parts = file.header, []
    groups = groups_of(header.channels)
    for number, unit in enumerate(file.units):
        span, group = divmod(number, len(groups))
        part = codec.part(groups[group].stop - groups[group].start)
        length = -(-header.length * part.sample_rate // header.sample_rate)
        step = part.samples_of(header.span) or length
        positions = -(-min(step, length - span * step) // part.stride)
        coded = [({LATENTS: unit.sections[LATENTS]}, unit.checksum)]
        parts.append(part.bottleneck.symbols(coded, (positions,), header.quality).numpy().astype("<i2").tobytes())
    return b"".join(parts)


def loudness(samples: Samples) -> list[float]:
    """The root of the mean square of each channel."""
    return [round(float(value), 7) for value in np.sqrt(np.square(samples, dtype=np.float64).mean(1))]


def kept(samples: Samples) -> Samples:
    """Every so many samples: an odd number, so that all places inside a latent's come up."""
    return np.ascontiguousarray(samples[:, :: samples.shape[1] // KEPT | 1])


def path_of(name: str, suffix: str) -> Path:
    """The stream ("rfy"), what is known of it ("json"), some of its samples ("npy")."""
    return FOLDER / f"{name}.{suffix}"
