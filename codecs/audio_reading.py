"""Sound files opened: facts at once, samples in any range or block by block, in bounded memory."""

import io
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from rarefy.codecs.audio_kinds import check_size, kind_of
from rarefy.codecs.audio_source import Samples, Source, UnreadableError, bit_depth_of
from rarefy.codecs.limits import Limits
from rarefy.errors import LimitError, MediaError, OptionError

BLOCK = 1 << 16  # samples per channel that are decoded at a time


class AudioReader:
    """An opened sound; `open_audio` makes it. A context manager; not for several threads at once.

    sample_rate: in Hz. channels: their number, in the order of WAV (front left, front right, centre, low frequencies,
    back left, back right, ...). length: samples per channel. format: kind of file ("WAV"). subtype: coding of the
    samples by the names of libsndfile ("PCM_16", "FLOAT", "VORBIS"). tags: title, artist and so on. notes: sentences
    on what is left out.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits, *, closes: bool) -> None:
        self._file, self._name, self._limits, self._closes = file, name, limits, closes
        self._source = _source(file, name, limits)
        facts = self._source.facts
        if facts.sample_rate < 1 or facts.channels < 1:
            raise MediaError(f"{name} states a sample rate of {facts.sample_rate} Hz and {facts.channels} channels")
        self.sample_rate = facts.sample_rate
        self.channels = facts.channels
        self.length = facts.length
        self.format = facts.format
        self.subtype = facts.subtype
        self.tags: Mapping[str, str] = facts.tags
        self.notes = facts.notes

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.length / self.sample_rate

    @property
    def bit_depth(self) -> int | None:
        """Bits per sample of a coding without loss (32 and 64 for floats), None for others."""
        return bit_depth_of(self.subtype)

    def read(self, start: int = 0, count: int | None = None) -> Samples:
        """Give samples float32 [channels, count] from sample `start` on, all that follow without `count`.

        Full scale is -1..1; floats beyond it are kept. What lies beyond the end is not there: fewer samples come back.
        The same range gives the same samples, however it is reached; WAV, FLAC and their like go there at once, lossy
        codings are decoded up to there.

        Raises OptionError for negative numbers, MediaError for damage and for more than `Limits.samples`.
        """
        start, count = self._range(start, count)
        try:
            self._limits.check_samples(self.channels * count)
        except LimitError as error:
            raise MediaError(f"{self._name}: {error}") from error
        samples = np.empty((self.channels, count), np.float32)
        try:
            for position in range(0, count, BLOCK):
                block = self._source.read(start + position, min(BLOCK, count - position))
                samples[:, position : position + len(block)] = block.T
        except OSError as error:
            raise MediaError(f"{self._name} cannot be read: {error}") from error
        if bit_depth_of(self.subtype) in (32, 64) and not np.isfinite(samples).all():
            raise MediaError(f"{self._name} holds samples that are infinite or no numbers (from sample {start} on)")
        return samples

    def blocks(self, size: int = BLOCK, start: int = 0, count: int | None = None) -> Iterator[Samples]:
        """Give the range that `read` gives in blocks float32 [channels, size], the last one shorter.

        Raises OptionError for a size below 1, and what `read` raises.
        """
        if size < 1:
            raise OptionError(f"a block has at least one sample, not {size}")
        start, count = self._range(start, count)
        return (
            self.read(position, min(size, start + count - position)) for position in range(start, start + count, size)
        )

    def close(self) -> None:
        """Close the file, if it was opened here."""
        self._source.close()
        if self._closes:
            self._file.close()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return (
            f"AudioReader({self._name}: {self.format} {self.subtype}, {self.channels} channels, {self.length} samples "
            f"at {self.sample_rate} Hz)"
        )

    def _range(self, start: int, count: int | None) -> tuple[int, int]:
        if start < 0 or (count is not None and count < 0):
            raise OptionError(f"a range of samples starts at 0 or later and is not negative, not {start}, {count}")
        there = max(self.length - start, 0)
        return start, there if count is None else min(count, there)


def open_source(source: Any, limits: Limits) -> AudioReader:
    """Open a path, bytes or a binary file; see `rarefy.codecs.audio.open_audio`."""
    if isinstance(source, str | os.PathLike):
        return _from_path(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return AudioReader(io.BytesIO(source), "the sound", limits, closes=True)
    if hasattr(source, "read"):
        return AudioReader(_seekable(source), "the sound", limits, closes=False)
    raise MediaError(
        f"sound cannot be read from an object of type {type(source).__name__}: give a path, bytes or a file"
    )


def _from_path(path: str | os.PathLike[str], limits: Limits) -> AudioReader:
    try:
        file = open(path, "rb")  # noqa: SIM115 (the reader closes it)
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path} is a folder, not a sound: give the files in it") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    try:
        return AudioReader(_seekable(file), str(Path(path)), limits, closes=True)
    except OSError as error:
        file.close()
        raise MediaError(f"{path} cannot be read: {error}") from error
    except BaseException:
        file.close()
        raise


def _seekable(file: BinaryIO) -> BinaryIO:
    """Give the file; one that cannot go back, or that stands in the middle, is read whole."""
    if isinstance(file, io.TextIOBase):
        raise MediaError("the sound is open as text: open it in binary mode")
    try:
        return file if file.seekable() and file.tell() == 0 else io.BytesIO(file.read())
    except OSError as error:
        raise MediaError(f"the sound cannot be read: {error}") from error


def _source(file: BinaryIO, name: str, limits: Limits) -> Source:
    """Open by the first library that reads the file: soundfile, then av."""
    kind = kind_of(file, name)
    check_size(file, kind, name)
    reasons, what = [], "is damaged, incomplete or of a kind that is not read"
    for package in ("soundfile", "av"):
        try:
            return _opened(package, file, kind, name, limits)
        except UnreadableError as error:
            reasons.append(f"{package}: {error}")
            if isinstance(error, _NotInstalledError):
                what = "cannot be read here"
        except LimitError as error:
            raise MediaError(f"{name}: {error}") from error
    raise MediaError(f"{name} {what} ({'; '.join(reasons)})")


class _NotInstalledError(UnreadableError):
    """The package that might read a file is not here: nothing is known of the file."""


def _opened(package: str, file: BinaryIO, kind: str, name: str, limits: Limits) -> Source:
    try:
        import_module(package)
    except (ImportError, OSError) as error:  # OSError where the package has no libsndfile
        raise _NotInstalledError("not installed, pip install 'rarefy[audio]'") from error
    if package == "av":
        from rarefy.codecs.audio_av import AvSource

        return AvSource(file, kind, name, limits)
    from rarefy.codecs.audio_soundfile import KINDS, SoundfileSource

    if kind not in KINDS:
        raise UnreadableError(f"{kind} is not read")
    return SoundfileSource(file, kind, name, limits)
