"""Sounds in the verbs: which inputs are sounds, and the way from a file to a .rfy file and back, in bounded memory."""

import sys
from argparse import Namespace
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rarefy.codecs.audio_kinds import HEAD_BYTES, begins_like_sound
from rarefy.codecs.header import Header, begins_like_sound_file
from rarefy.codecs.limits import FileLimits
from rarefy.codecs.registry import find as find_codec
from rarefy.errors import MediaError, RarefyError
from rarefy.tools.commands.rate import target_of
from rarefy.tools.files import Job, is_stream, mode_of
from rarefy.tools.terminal import STANDARD_STREAM, Refusal, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rarefy.codecs.audio_source import Samples


@dataclass(frozen=True)
class SoundOriginal:
    """A sound that is not opened yet: the path of its file, or its bytes."""

    source: str | bytes
    source_bytes: int
    shape: None = None  # each is coded alone
    pixels: int = 0
    size_bytes: int = 0


@dataclass(frozen=True)
class EncodedSound:
    """The bytes of a file of sound, and what is told of it."""

    original: SoundOriginal
    data: bytes
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StoredSound:
    """The bytes of a file of sound and its header; decoded while it is written."""

    data: bytes
    header: Header
    options: Namespace
    shape: None = None

    @property
    def pixels(self) -> int:
        """Of what waits to be written: nothing, but its bytes."""
        return len(self.data) >> 4

    @property
    def size_bytes(self) -> int:
        """Of the file in memory."""
        return len(self.data)


@dataclass(frozen=True)
class SavedSound:
    """A sound that is written."""

    source_bytes: int
    size_bytes: int
    seconds: float
    sample_rate: int
    channels: int
    milliseconds: float
    notes: tuple[str, ...]


def takes_sound(source: str, data: bytes | None, codec: str | None) -> bool:
    """Tell whether an input is a sound: by the codec that was named, else by its first bytes."""
    if codec is not None:
        return find_codec(codec).media == "sound"
    if data is not None:
        return begins_like_sound(data[:HEAD_BYTES])
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return begins_like_sound(file.read(HEAD_BYTES))


def holds_sound(source: str) -> bool:
    """Tell whether a .rfy file that can be looked at holds a sound."""
    path = Path(source)
    if source == STANDARD_STREAM or not path.is_file():
        return False
    with path.open("rb") as file:
        return begins_like_sound_file(file.read(HEAD_BYTES))


def encode_file(original: SoundOriginal, options: Namespace) -> EncodedSound:
    """Encode a sound, block by block."""
    from rarefy.codecs import api  # torch: not before it is needed
    from rarefy.codecs.audio import open_audio

    rate: dict[str, Any] = target_of(options) or {"quality": options.quality}
    rate["effort"] = options.effort
    with open_audio(original.source, FileLimits()) as reader:
        if options.strip:
            reader.tags = {}
        data = api.encode(reader, codec=options.codec, threads=options.threads, device=options.device, **rate)
        if options.verify:
            compare_sound(reader.blocks(), data, options)
        return EncodedSound(original, data, reader.seconds, reader.notes)


def compare_sound(original: "Iterator[Samples]", data: bytes, options: Namespace) -> None:
    """Decode what was encoded: symbols must fit their checksums, and samples must be nearer than silence.

    original: the samples in blocks of any size.
    """
    from rarefy.codecs import api

    try:
        with api.open(data, device=options.device, threads=options.threads) as file:
            length = file.info.header.length * file.info.channels
            error, power = _squares(original, file.sound_blocks())
    except RarefyError as problem:
        raise RarefyError(f"what was encoded does not decode ({problem}), nothing is written") from problem
    if error > power + length / 2.0**30:  # silence may come back as a step of 16 bits
        raise RarefyError(
            "what was encoded decodes to another sound, farther off than silence: these weights cannot code it, "
            "nothing is written"
        )


def _squares(first: "Iterator[Samples]", second: "Iterator[Samples]") -> tuple[float, float]:
    """Sums of the squares of a difference and of the first; both come in blocks of any sizes."""
    import numpy as np

    error = power = 0.0
    rest = None
    for block in second:
        while rest is None or rest.shape[1] < block.shape[1]:
            more = next(first)
            rest = more if rest is None else np.concatenate((rest, more), axis=1)
        error += float(np.square(rest[:, : block.shape[1]] - block, dtype=np.float64).sum())
        power += float(np.square(rest[:, : block.shape[1]], dtype=np.float64).sum())
        rest = rest[:, block.shape[1] :]
    return error, power


def save_sound(job: Job, stored: StoredSound, stopped: Event) -> SavedSound:
    """Decode a sound into a WAV or FLAC file, block by block, or what can be saved of a damaged one.

    stopped: leaves nothing of the file when it is set meanwhile. Raises OSError that names the output.
    """
    from rarefy.codecs import api

    options, header, begin = stored.options, stored.header, perf_counter()
    notes: tuple[str, ...] = ()
    if options.allow_damaged:
        audio = api.decode(stored.data, threads=options.threads, device=options.device, allow_damaged=True)
        length, size = _write_blocks(job, header, _until(stopped, iter([audio.samples])), audio.tags, audio.length)
        notes = audio.notes
    else:
        with api.open(stored.data, threads=options.threads, device=options.device) as file:
            blocks = _until(stopped, file.sound_blocks(options.start or 0.0, options.duration))
            count = header.length if options.duration is None else round(options.duration * header.sample_rate)
            length, size = _write_blocks(job, header, blocks, file.tags, min(count, header.length))
    milliseconds = 1000 * (perf_counter() - begin)
    seconds = length / header.sample_rate
    return SavedSound(len(stored.data), size, seconds, header.sample_rate, header.channels, milliseconds, notes)


def _until(stopped: Event, blocks: "Iterator[Samples]") -> "Iterator[Samples]":
    """The blocks, as long as somebody wants them."""
    for block in blocks:
        if stopped.is_set():
            raise RarefyError("it was stopped")
        yield block


def _write_blocks(
    job: Job, header: Header, blocks: "Iterator[Samples]", tags: "Mapping[str, str]", count: int
) -> tuple[int, int]:
    """Write a sound of `count` samples; gives how many came, and the bytes of the file."""
    from rarefy.codecs.audio_writing import AudioWriter

    target = sys.stdout.buffer if job.target == STANDARD_STREAM else job.target
    first = list(islice(blocks, 1))  # before there is a folder for it: it may be damaged
    if not is_stream(job.target):
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
    writer = AudioWriter(
        target,
        header.sample_rate,
        header.channels,
        subtype=header.sample_format,
        tags=tags,
        length=count,
        clips=True,
        mode=mode_of(job.source),
    )
    length = 0
    try:
        with writer:
            for block in chain(first, blocks):
                writer.write(block)
                length += block.shape[1]
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = name_of(job.target)
        raise
    if job.target == STANDARD_STREAM:
        sys.stdout.flush()
    return length, writer.size_bytes


def check_target_of_sound(target: str) -> None:
    """Raise Refusal for a suffix that no format of sound has."""
    from rarefy.codecs.audio_writing import SUFFIXES
    from rarefy.tools.terminal import USAGE

    suffix = Path(target).suffix.lower()
    if suffix not in SUFFIXES and not is_stream(target):
        raise Refusal(f"{target}: sounds are written as {', '.join(SUFFIXES)}", "name another output with -o", USAGE)


def require_no_part(options: Namespace) -> None:
    """Refuse parts of pictures in a sound."""
    if options.region is not None or options.preview is not None:
        raise MediaError("a sound has no region and no preview: take --start and --duration")
