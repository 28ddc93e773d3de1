"""Sound that codecs take and give: a small frozen dataclass that keeps what people would miss, and reading it.

Needs the extra `audio` (soundfile, soxr, av) for files; an `Audio` of an array needs nothing.
"""

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from rarefy.codecs.audio_reading import BLOCK, AudioReader, open_source
from rarefy.codecs.audio_source import Samples, bit_depth_of
from rarefy.codecs.limits import Limits
from rarefy.errors import MediaError, RarefyWarning

__all__ = ["Audio", "AudioReader", "open_audio", "read_audio"]


@dataclass(frozen=True, eq=False)
class Audio:
    """A sound. samples: float32 [channels, n], full scale -1..1, floats beyond kept; not copied, so do not change them.

    sample_rate: in Hz. Channels are in the order of WAV: front left, front right, centre, low frequencies, back left,
    back right. subtype: how the source coded its samples, by the names of libsndfile ("PCM_24", "FLOAT", "VORBIS"),
    None where unknown; writing uses it. tags: texts by name: title, artist, album, date, genre, tracknumber, comment,
    copyright, license. notes: sentences on what the source had and this sound has not; they are stored in no file.

    Raises MediaError for samples of another kind and a sample rate below 1.
    """

    samples: Samples = field(repr=False)
    sample_rate: int
    subtype: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        samples = self.samples
        if not isinstance(samples, np.ndarray) or samples.dtype != np.float32 or samples.ndim != 2 or not len(samples):
            kind = (
                f"{samples.dtype} {list(samples.shape)}" if isinstance(samples, np.ndarray) else type(samples).__name__
            )
            raise MediaError(f"a sound has samples float32 [channels, n] with at least one channel, not {kind}")
        if self.sample_rate < 1:
            raise MediaError(f"a sound has a sample rate of at least 1 Hz, not {self.sample_rate}")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def length(self) -> int:
        """Samples per channel; an empty sound has 0."""
        return int(self.samples.shape[1])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.length / self.sample_rate

    @property
    def bit_depth(self) -> int | None:
        """Bits per sample that the source had (32 and 64 for floats), None for lossy and unknown sources."""
        return bit_depth_of(self.subtype)

    def blocks(self, size: int = BLOCK) -> Iterator[Samples]:
        """Give the samples in blocks float32 [channels, size], the last one shorter: views, not copies."""
        return (self.samples[:, start : start + size] for start in range(0, self.length, size))

    def __repr__(self) -> str:
        return f"Audio({self.channels} x {self.length} samples at {self.sample_rate} Hz, {self.subtype or 'float32'})"

    def resampled(self, sample_rate: int, length: int | None = None) -> "Audio":
        """Give the sound at another sample rate; see `rarefy.codecs.audio_resampling.resample`."""
        from rarefy.codecs.audio_resampling import resample

        samples = resample(self.samples, self.sample_rate, sample_rate, length)
        return Audio(samples, sample_rate, self.subtype, self.tags, self.notes)

    def save(self, target: str | os.PathLike[str] | BinaryIO) -> None:
        """Write a WAV or FLAC file; see `rarefy.codecs.audio_writing.write_audio`."""
        from rarefy.codecs.audio_writing import write_audio

        write_audio(target, self)


def open_audio(source: str | os.PathLike[str] | bytes | BinaryIO, limits: Limits | None = None) -> AudioReader:
    """Open a sound without decoding it: facts at once, then any range or block by block; close it after use.

    source: path, bytes or binary file of WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, CAF, AU, W64, M4A or WebM, of any
    sample rate and number of channels. (Kinds that soundfile does not read, M4A and WebM among them, are decoded once
    to count their samples, since they do not say it.) docs/SOUND.md says what becomes of every kind.

    Raises MediaError, one sentence, for what cannot be right: damaged, missing and other files, and sounds above
    `limits`.
    """
    return open_source(source, limits or Limits())


def read_audio(source: Any, limits: Limits | None = None, *, warns: bool = True) -> Audio:
    """Read a whole sound into memory; loudness is untouched.

    source: what `open_audio` takes, or an `Audio`, which comes back as it is. What is left out stands in `Audio.notes`;
    warns: raise each note as a RarefyWarning too.

    Raises MediaError as `open_audio` does, and for sounds of more than `Limits.samples`.
    """
    if isinstance(source, Audio):
        return source
    with open_audio(source, limits) as reader:
        audio = Audio(reader.read(), reader.sample_rate, reader.subtype, reader.tags, reader.notes)
    if warns:
        for note in audio.notes:
            name = f"{source}: " if isinstance(source, str | os.PathLike) else ""
            warnings.warn(name + note, RarefyWarning, stacklevel=2)
    return audio
