"""Sound into WAV and FLAC files, block by block; a file is whole or not there."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from rarefy.codecs.audio_file import RecordedFile
from rarefy.codecs.audio_reading import BLOCK
from rarefy.codecs.audio_source import Samples, bit_depth_of
from rarefy.codecs.unfinished import USUAL_MODE, open_beside, place_of
from rarefy.errors import MediaError, RarefyWarning

if TYPE_CHECKING:
    from rarefy.codecs.audio import Audio

SUFFIXES = {".wav": "WAV", ".wave": "WAV", ".flac": "FLAC"}
# Bits of the source -> how samples are written; another number takes the next above
_SUBTYPES = {
    "WAV": {8: "PCM_U8", 16: "PCM_16", 24: "PCM_24", 32: "PCM_32"},
    "FLAC": {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"},
}
_USUAL_BITS = 16  # of sources that have none, since they are lossy, or unknown
_NO_ROOM = {"WAV": {"license"}, "FLAC": set[str]()}  # tags that libsndfile cannot put there
_WAV_TAG_BYTES = 2000  # it cuts longer ones, and reads none of the tags of such a file
_FLAC_CHANNELS, _FLAC_RATE = 8, 655_350  # RFC 9639, sections 8.2 and 9.1.2
_WAV_BYTES = 0xFFFF_FFFF - (1 << 16)  # what the 32 bits of a WAV header count, and room for its other chunks


class AudioWriter:
    """A WAV or FLAC file that is written block by block.

    target: a path, whose suffix decides (.wav, .flac), or a binary file, which gets WAV. subtype: how the source coded
    its samples (`Audio.subtype`), which is kept: 8, 16, 24 or 32 bits or floats in WAV, 8, 16 or 24 bits in FLAC; lossy
    and unknown sources give 16 bits. length: samples per channel, where known: a WAV above 4 GiB is written as RF64.

    Samples that leave -1..1 make a WAV one of 32-bit floats, and are clipped in FLAC with a RarefyWarning. clips: clip
    them in both, as decoders of lossy codecs do. Samples are rounded to the nearest step, without dither. mode:
    permissions of a new file, less the umask; one that exists keeps its own.

    Use it as a context manager: the file is there, whole, after the block, and not at all after an exception in it.
    `size_bytes` is that of the file then.

    Raises MediaError for other suffixes and what a format cannot hold, OSError where the file cannot be written.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        sample_rate: int,
        channels: int,
        *,
        subtype: str | None = None,
        tags: Mapping[str, str] | None = None,
        length: int | None = None,
        clips: bool = False,
        mode: int = USUAL_MODE,
    ) -> None:
        self.format = _format_of(target)
        _check_room(self.format, sample_rate, channels)
        self.sample_rate, self.channels = sample_rate, channels
        self.subtype = _subtype(self.format, subtype)
        self._tags = _tags(tags or {}, self.format)
        self._length, self._clips = length, clips
        self._clipped = self._written = self.size_bytes = 0
        self._target = _Target(target, mode)
        self._begin()

    def write(self, samples: Samples) -> None:
        """Write float32 [channels, n] behind what is there; raises MediaError for samples of another kind."""
        if samples.dtype != np.float32 or samples.ndim != 2 or len(samples) != self.channels:
            kind = f"{samples.dtype} {list(samples.shape)}"
            raise MediaError(f"the file takes samples float32 [{self.channels}, n], not {kind}")
        for start in range(0, samples.shape[1], BLOCK):
            self._write(np.ascontiguousarray(samples[:, start : start + BLOCK].T))

    def close(self) -> None:
        """Finish the file and give it its name."""
        try:
            self._finish()
            self.size_bytes = self._target.take(self._unfinished)
        except BaseException:
            self.give_up()
            raise
        self._unfinished.remove()
        if self._clipped and not self._clips:
            sentence = f"{self._clipped} samples beyond full scale are clipped, as FLAC has no floats: save as WAV"
            warnings.warn(sentence, RarefyWarning, stacklevel=3)

    def give_up(self) -> None:
        """Leave nothing of the file."""
        with suppress(Exception):  # what could not be written is not wanted any more
            self._sound.close()
        self._unfinished.remove()

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.give_up()

    def _begin(self) -> None:
        """Open an unfinished file with the tags in it."""
        soundfile = _soundfile()
        self._unfinished = self._target.begin()
        self._file = RecordedFile(self._unfinished.file)
        sizes = self.sample_rate, self.channels
        try:
            self._sound = soundfile.SoundFile(self._file, "w", *sizes, self.subtype, format=self._container())
            for name, text in self._tags.items():
                setattr(self._sound, name, text)
        except BaseException as error:
            self._unfinished.remove()
            self._file.check()
            if isinstance(error, soundfile.LibsndfileError):
                raise MediaError(f"the sound cannot be written as {self.format}: {error}") from error
            raise

    def _container(self) -> str:
        """Name what libsndfile writes: WAVEX says where the loudspeakers of more than two channels stand."""
        if self.format == "FLAC":
            return "FLAC"
        if self._length is not None and self._length * self._frame_bytes() > _WAV_BYTES:
            return "RF64"
        return "WAVEX" if self.channels > 2 else "WAV"

    def _frame_bytes(self) -> int:
        return self.channels * ((bit_depth_of(self.subtype) or 32) // 8)

    def _write(self, block: Samples) -> None:
        """Write [n, channels]."""
        if not np.isfinite(block).all():
            raise MediaError("samples that are infinite or no numbers cannot be written")
        if self.subtype != "FLOAT" and (beyond := int(np.count_nonzero(np.abs(block) > 1))):
            if self.format == "WAV" and not self._clips:
                self._become_float()
            else:
                self._clipped += beyond
        self._written += len(block)
        bytes_now = self._written * self._frame_bytes()
        if self.format == "WAV" and bytes_now > _WAV_BYTES and self._sound.format != "RF64":
            raise MediaError("a WAV file ends at 4 GiB: write FLAC, or say the length at the begin")
        self._pass(block if self.subtype == "FLOAT" else _steps(block, bit_depth_of(self.subtype) or _USUAL_BITS))

    def _pass(self, data: NDArray[np.float32] | NDArray[np.int32]) -> None:
        """Give samples to libsndfile; errors of the file come before those that it makes of them."""
        soundfile = _soundfile()
        try:
            self._sound.write(data)
        except (soundfile.LibsndfileError, AssertionError) as error:  # it asserts that all was written
            self._file.check()
            raise MediaError(f"the sound cannot be written as {self.format}: {error}") from error
        self._file.check()

    def _become_float(self) -> None:
        """Write what is there once more, as floats, which hold the steps of 24 bits exactly."""
        self._finish()
        earlier = self._unfinished
        try:
            self.subtype, self._written = "FLOAT", 0
            self._begin()
            earlier.file.seek(0)
            with _soundfile().SoundFile(earlier.file) as source:
                while len(block := source.read(BLOCK, dtype="float32", always_2d=True)):
                    self._write(block)
        finally:
            earlier.remove()

    def _finish(self) -> None:
        if self.format == "FLAC" and self._written == 0:
            raise MediaError("a FLAC file holds at least one sample: save an empty sound as WAV")
        self._sound.close()
        self._file.check()


def write_audio(
    target: str | os.PathLike[str] | BinaryIO, audio: "Audio", subtype: str | None = None, *, clips: bool = False
) -> None:
    """Write a sound to a WAV or FLAC file with its sample rate, channels, bit depth and tags.

    subtype: other than that of the source, such as "PCM_24". For target, clips and errors see `AudioWriter`.
    """
    writer = AudioWriter(
        target,
        audio.sample_rate,
        audio.channels,
        subtype=subtype or audio.subtype,
        tags=audio.tags,
        length=audio.length,
        clips=clips,
    )
    with writer:
        writer.write(audio.samples)


class _Unfinished(NamedTuple):
    """A file that is not whole yet. path: None where it has no name."""

    file: BinaryIO
    path: Path | None

    def remove(self) -> None:
        """Close it and leave nothing."""
        with suppress(OSError):  # of a full disk, which fails once more
            self.file.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


class _Target:
    """Where the file goes: under another name beside its place first, in a temporary file for devices and pipes."""

    def __init__(self, target: str | os.PathLike[str] | BinaryIO, mode: int) -> None:
        self._target, self._mode = target, mode
        self._place: Path | None = None
        if isinstance(target, str | os.PathLike) and (not Path(target).exists() or Path(target).is_file()):
            self._place = place_of(target)

    def begin(self) -> _Unfinished:
        """Open an unfinished file."""
        if self._place is None:
            return _Unfinished(cast(BinaryIO, tempfile.TemporaryFile()), None)
        return _Unfinished(*open_beside(self._place, self._mode))

    def take(self, whole: _Unfinished) -> int:
        """Give the file its name, or its bytes to where they go; how many they are."""
        size = whole.file.seek(0, os.SEEK_END)
        if whole.path is not None and self._place is not None:
            whole.file.close()
            whole.path.replace(self._place)
            return size
        whole.file.seek(0)
        if isinstance(self._target, str | os.PathLike):
            with open(self._target, "wb") as device:
                shutil.copyfileobj(whole.file, device)
        else:
            shutil.copyfileobj(whole.file, self._target)
        return size


def _steps(samples: Samples, bits: int) -> NDArray[np.int32]:
    """Round float32 to the nearest step, in the upper bits of int32.

    libsndfile would multiply by 2^15 - 1 where it divided by 2^15, so that no file came back as it was.
    """
    full = 1 << (bits - 1)
    steps = np.rint(np.multiply(samples, full, dtype=np.float64)).clip(-full, full - 1)
    return (steps.astype(np.int64) << (32 - bits)).astype(np.int32)


def _format_of(target: str | os.PathLike[str] | BinaryIO) -> str:
    if not isinstance(target, str | os.PathLike):
        return "WAV"
    path = Path(target)
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    if path.exists() and not path.is_file() and not path.is_dir():  # a device or a pipe
        return "WAV"
    raise MediaError(f"{target} ends in no suffix of a sound that can be written: {', '.join(SUFFIXES)}")


def _check_room(format: str, sample_rate: int, channels: int) -> None:
    if sample_rate < 1 or channels < 1:
        raise MediaError(f"a sound has at least 1 channel and 1 Hz, not {channels} channels at {sample_rate} Hz")
    if format == "FLAC" and (channels > _FLAC_CHANNELS or sample_rate > _FLAC_RATE):
        raise MediaError(
            f"FLAC holds {_FLAC_CHANNELS} channels and {_FLAC_RATE} Hz at most, not {channels} channels at "
            f"{sample_rate} Hz: save as WAV"
        )


def _subtype(format: str, source: str | None) -> str:
    """Choose how samples are written after how the source coded them."""
    bits = bit_depth_of(source) or _USUAL_BITS
    is_float = source in ("FLOAT", "DOUBLE")
    if is_float and format == "WAV":
        return "FLOAT"
    known = _SUBTYPES[format]
    return known[min((size for size in known if size >= bits), default=max(known))]


def _tags(tags: Mapping[str, str], format: str) -> dict[str, str]:
    lost = {name for name in tags if name in _NO_ROOM[format]}
    if format == "WAV":
        lost |= {name for name, text in tags.items() if len(text.encode()) > _WAV_TAG_BYTES}
    if lost:
        sentence = f"left out, as {format} does not take it: {', '.join(sorted(lost))}"
        warnings.warn(sentence, RarefyWarning, stacklevel=4)
    return {name: text for name, text in tags.items() if name not in lost and text}


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError where the package has no libsndfile
        raise MediaError("sound is written with a package: pip install 'rarefy[audio]'") from error
    return soundfile
