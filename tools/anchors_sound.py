"""Codecs of sound that everybody has, by FFmpeg (package av): Opus and MP3, in files of a wanted size."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rarefy.codecs.audio import Audio, read_audio
from rarefy.codecs.audio_source import Samples
from rarefy.tools.sound_metrics import aligned

TRIES = 5  # of bit rates for a size
MP3_RATES = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@dataclass(frozen=True)
class SoundAnchor:
    """An encoder: its name for FFmpeg, the container, the sample rates that it takes (none: any), its bit rates."""

    encoder: str
    container: str
    rates: tuple[int, ...]
    lowest: int
    highest: int
    options: Mapping[str, str] = field(default_factory=dict)

    def file_of(self, audio: Audio, size: int) -> bytes:
        """The file whose length is nearest to `size` among a few bit rates."""
        rate = min(max(8 * size / audio.seconds, self.lowest), self.highest)
        files: list[bytes] = []
        for _ in range(TRIES):
            files.append(self.encode(audio, round(rate)))
            if abs(len(files[-1]) - size) < size / 100:
                break
            rate = min(max(rate * size / len(files[-1]), self.lowest), self.highest)
        return min(files, key=lambda file: abs(len(file) - size))

    def encode(self, audio: Audio, bits_per_second: int) -> bytes:
        """The file at a bit rate."""
        import av

        rate = next((r for r in self.rates if r >= audio.sample_rate), max(self.rates))
        samples = audio.resampled(rate).samples
        layout = "mono" if audio.channels == 1 else "stereo"
        file = io.BytesIO()
        with av.open(file, "w", format=self.container) as container:
            track: Any = container.add_stream(self.encoder, rate=rate, options=dict(self.options))
            track.bit_rate, track.layout = bits_per_second, layout
            for packet in _packets(track, samples, layout, rate):
                container.mux(packet)
        return file.getvalue()

    def decode(self, data: bytes, original: Audio) -> Samples:
        """The samples of a file at the original's rate, without delay, as long as the original."""
        decoded = read_audio(data, warns=False)
        return aligned(original.samples, decoded.resampled(original.sample_rate).samples)


SOUND_ANCHORS = {
    "opus": SoundAnchor("libopus", "ogg", (48_000,), 6_000, 510_000, {"vbr": "on"}),
    "mp3": SoundAnchor("libmp3lame", "mp3", MP3_RATES, 8_000, 320_000, {"abr": "1"}),
}


def _packets(track: Any, samples: Samples, layout: str, rate: int) -> Any:
    """Code planes of floats in frames of the encoder's size."""
    import av

    frame: Any = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    converted = av.AudioResampler(format=track.codec_context.codec.audio_formats[0], layout=layout, rate=rate)
    fifo: Any = av.AudioFifo()
    for piece in converted.resample(frame):
        fifo.write(piece)
    while piece := fifo.read(track.codec_context.frame_size or 1024, partial=True):
        yield from track.encode(piece)
    yield from track.encode(None)
