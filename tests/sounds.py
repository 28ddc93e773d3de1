"""Sounds that tests share: samples that files hold exactly, tones, and files of them by libraries alone."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Samples = NDArray[np.float32]
TAGS = {"title": "Übung", "artist": "A & B", "album": "c", "date": "2026", "genre": "d", "tracknumber": "3"}


def steps(bits: int, channels: int, length: int) -> Samples:
    """Make samples that a file of so many bits holds exactly, its lowest and highest step among them."""
    full = 1 << (bits - 1)
    drawn = np.random.default_rng(bits).integers(-full, full, (channels, length))
    drawn.flat[:2] = -full, full - 1
    return (drawn / full).astype(np.float32)


def tones(channels: int, length: int, rate: int = 44_100) -> Samples:
    """Make a tone of another pitch and loudness in each channel, with a little noise."""
    time = np.arange(length) / rate
    noise = np.random.default_rng(3).standard_normal((channels, length)) * 0.003
    pitches = 220.0 * (1 + np.arange(channels))
    loudness = (0.1 + 0.1 * np.arange(channels))[:, None]
    return (loudness * np.sin(2 * np.pi * pitches[:, None] * time) + noise).astype(np.float32)


def encoded(
    samples: Samples, format: str, subtype: str, rate: int = 44_100, tags: dict[str, str] | None = None
) -> bytes:
    """Encode by libsndfile alone."""
    soundfile = pytest.importorskip("soundfile", reason="sound files need soundfile")
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, len(samples), subtype, format=format) as sound:
        for name, text in (tags or {}).items():
            setattr(sound, name, text)
        sound.write(np.ascontiguousarray(samples.T))
    return file.getvalue()


def encoded_by_av(
    samples: Samples, codec: str, format: str, layout: str, rate: int = 48_000, tags: dict[str, str] | None = None
) -> bytes:
    """Encode by FFmpeg, whose channels are in the order of WAV."""
    av = pytest.importorskip("av", reason="M4A, WebM and the like need av")
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        container.metadata.update(tags or {})
        track = container.add_stream(codec, rate=rate)
        track.layout = layout
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        converted = av.AudioResampler(format=track.codec_context.codec.audio_formats[0], layout=layout, rate=rate)
        fifo = av.AudioFifo()
        for piece in converted.resample(frame):
            fifo.write(piece)
        while piece := fifo.read(track.codec_context.frame_size or 1024, partial=True):
            container.mux(track.encode(piece))
        container.mux(track.encode(None))
    return file.getvalue()


def signal_to_noise(there: Samples, wanted: Samples) -> float:
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((wanted**2).sum() / ((there - wanted) ** 2).sum()))


def cuts(length: int, seed: int) -> Iterator[slice]:
    """Cut a length into pieces of up to 3000, some of them empty."""
    random, start = np.random.default_rng(seed), 0
    while start < length:
        stop = start + int(random.integers(0, 3000))
        yield slice(start, stop)
        start = stop


class FailingFile(io.BytesIO):
    """A file on a disk that fails after some bytes."""

    def __init__(self, data: bytes, good: int) -> None:
        super().__init__(data)
        self.good = good

    def _count(self, size: int) -> None:
        self.good -= size
        if self.good < 0:
            raise OSError(28, "No space left on device")

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._count(len(data))
        return data

    def write(self, data: Any) -> int:
        self._count(len(data))
        return super().write(data)
