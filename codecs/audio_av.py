"""Sound that libsndfile does not read (M4A, WebM, ADTS, streamed FLAC, rare codings), by FFmpeg (package av).

Containers seldom state their length in samples, so it is counted by decoding once.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

import numpy as np

from rarefy.codecs.audio_source import Samples, SoundFacts, UnreadableError
from rarefy.codecs.audio_tags import tags_of
from rarefy.codecs.limits import Limits
from rarefy.errors import MediaError

# Kind -> FFmpeg's name. It is never left to guess: playlists and lists of files would make it open other files
_FORMATS = {
    "WAV": "wav",
    "AIFF": "aiff",
    "FLAC": "flac",
    "OGG": "ogg",
    "MP3": "mp3",
    "AU": "au",
    "CAF": "caf",
    "W64": "w64",
    "MP4": "mov",
    "MATROSKA": "matroska",
    "AAC": "aac",
}
_FULL_SCALE = {"u1": 1 << 7, "i2": 1 << 15, "i4": 1 << 31}
_SUBTYPES = {"u8": "PCM_U8", "s16": "PCM_16", "s32": "PCM_24", "flt": "FLOAT", "dbl": "DOUBLE"}
_EXACT = ("pcm_s", "pcm_u", "pcm_f", "flac", "alac")  # codings whose sample format says what the source has
_PICTURES = "the pictures of the film are left out"
_MORE_TRACKS = "the first of several tracks of sound is taken, the others are left out"


def _opened(file: BinaryIO, format: str) -> Any:
    import av

    try:
        return av.open(file, format=format, metadata_errors="replace")
    except TypeError:  # PyAV 19 has no such option any more
        return av.open(file, format=format)


class AvSource:
    """Samples of the first track of sound of a file, read forward; going back decodes from the begin.

    Raises UnreadableError where FFmpeg does not read the file, MediaError for damage, LimitError above the limits.
    """

    def __init__(self, file: BinaryIO, kind: str, name: str, limits: Limits) -> None:
        self._file, self._kind, self._name = file, kind, name
        self._position = 0
        self._rest: Samples
        self._open()
        try:
            self.facts = self._facts(limits)
            self._restart()
        except BaseException:
            self.close()
            raise

    def read(self, position: int, count: int) -> Samples:
        """Give the samples [count, channels] from a position on; raises MediaError where they are not there."""
        if position < self._position:
            self._restart()
        pieces = []
        while count > 0:
            if not len(self._rest):
                self._rest = next(self._blocks, self._rest)
                if not len(self._rest):
                    raise MediaError(f"{self._name} gave fewer samples than when it was opened: was it changed?")
            if self._position < position:
                self._taken(position - self._position)
            else:
                pieces.append(self._taken(count))
                count -= len(pieces[-1])
        return np.concatenate(pieces) if pieces else np.empty((0, self.facts.channels), np.float32)

    def close(self) -> None:
        """Give back what the reader holds; the file stays open."""
        self._container.close()

    def _open(self) -> None:
        import av

        self._file.seek(0)
        try:
            self._container: Any = _opened(self._file, _FORMATS[self._kind])
        except av.FFmpegError as error:
            raise UnreadableError(_reason(error)) from error
        if not self._container.streams.audio:
            self._container.close()
            raise MediaError(f"{self._name} holds no sound")

    def _restart(self) -> None:
        self._container.close()
        self._open()
        self._blocks = self._decoded()
        self._rest = np.empty((0, self.facts.channels), np.float32)
        self._position = 0

    def _taken(self, count: int) -> Samples:
        """Take up to `count` samples of what is decoded."""
        block, self._rest = self._rest[:count], self._rest[count:]
        self._position += len(block)
        return block

    def _facts(self, limits: Limits) -> SoundFacts:
        track, tracks = self._container.streams.audio[0], self._container.streams
        coding = track.codec_context
        if coding is None:
            raise UnreadableError("its sound has an unknown coding")
        if not coding.rate or not coding.channels:
            raise MediaError(f"{self._name} states no sample rate or no channels")
        tags, notes = tags_of({**track.metadata, **self._container.metadata})
        if any(not stream.disposition & stream.disposition.attached_pic for stream in tracks.video):
            notes = (*notes, _PICTURES)
        if len(tracks.audio) > 1:
            notes = (*notes, _MORE_TRACKS)
        length = 0
        for block in chain([np.empty((0, coding.channels), np.float32)], self._decoded()):
            length += len(block)
            limits.check_sound(coding.rate, coding.channels, length)
        return SoundFacts(self._kind, _subtype(coding), coding.rate, coding.channels, length, tags, notes)

    def _decoded(self) -> Iterator[Samples]:
        """Decode, frame by frame, to [n, channels]."""
        import av

        track = self._container.streams.audio[0]
        rate, channels = track.codec_context.rate, track.codec_context.channels
        try:
            for frame in self._container.decode(track):
                if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
                    raise MediaError(f"{self._name} changes its sample rate or channels on the way, which is not taken")
                yield _samples_of(frame, channels)
        except av.FFmpegError as error:
            raise MediaError(f"{self._name} is damaged or incomplete ({_reason(error)})") from error


def _subtype(coding: Any) -> str:
    """Name the coding as libsndfile does where the sample format tells the bits, and as FFmpeg does elsewhere."""
    if coding.name.startswith(_EXACT):
        return _SUBTYPES.get(coding.format.name.removesuffix("p"), coding.name.upper())
    return str(coding.name).upper()


def _samples_of(frame: Any, channels: int) -> Samples:
    array = frame.to_ndarray()  # planar [channels, n], packed [1, n * channels]
    block = array.T if frame.format.is_planar else array.reshape(-1, channels)
    if block.dtype.kind == "f":
        return np.ascontiguousarray(block, dtype=np.float32)
    scale = _FULL_SCALE[block.dtype.str[1:]]
    middle = scale if block.dtype.kind == "u" else 0
    return ((block.astype(np.float64) - middle) / scale).astype(np.float32)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
