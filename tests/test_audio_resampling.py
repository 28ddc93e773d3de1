"""Other sample rates: blocks equal the whole, lengths are exact, nothing moves; and memory that stays bounded."""

import resource
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sounds import TAGS, cuts, signal_to_noise, tones

from rarefy.codecs.audio import Audio, open_audio
from rarefy.codecs.audio_resampling import resample, resample_blocks, resampled_length
from rarefy.codecs.audio_writing import AudioWriter
from rarefy.errors import MediaError, OptionError


@pytest.fixture
def soxr() -> None:
    pytest.importorskip("soxr", reason="other sample rates need soxr")


RATES = [(44_100, 24_000), (24_000, 44_100), (8000, 96_000), (96_000, 8000), (48_000, 48_000), (44_101, 44_100)]


@pytest.mark.usefixtures("soxr")
@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
@pytest.mark.parametrize("length", [0, 1, 2, 13, 4999, 20_001])
def test_blocks_resample_to_the_whole_and_back_to_the_length(length: int, from_rate: int, to_rate: int) -> None:
    samples = np.random.default_rng(length).standard_normal((2, length)).astype(np.float32) * 0.2
    whole = resample(samples, from_rate, to_rate)
    assert whole.shape == (2, resampled_length(length, from_rate, to_rate))
    assert (whole.shape[1] - 1) * from_rate < length * to_rate <= whole.shape[1] * from_rate or length == 0
    for seed in range(3):
        blocks = list(resample_blocks((samples[:, cut] for cut in cuts(length, seed)), from_rate, to_rate))
        assert all(block.shape[1] for block in blocks)
        joined = np.concatenate(blocks, 1) if blocks else np.empty((2, 0), np.float32)
        assert np.array_equal(joined, whole)
    back = resample(whole, to_rate, from_rate, length)
    assert back.shape == samples.shape
    parts = list(resample_blocks((whole[:, cut] for cut in cuts(whole.shape[1], 9)), to_rate, from_rate, length))
    assert np.array_equal(np.concatenate(parts, 1) if parts else np.empty((2, 0), np.float32), back)


@pytest.mark.usefixtures("soxr")
@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_resampling_moves_nothing_and_keeps_loudness(from_rate: int, to_rate: int) -> None:
    pitch = 0.3 * min(from_rate, to_rate)
    wave = [np.sin(2 * np.pi * pitch * np.arange(rate) / rate) for rate in (from_rate, to_rate)]
    there = resample(np.float32(wave[0])[None], from_rate, to_rate)[0]
    middle = slice(to_rate // 4, -to_rate // 4)
    assert signal_to_noise(there[middle], np.float32(wave[1])[middle]) > 100
    back = resample(there[None], to_rate, from_rate, from_rate)[0]
    middle = slice(from_rate // 4, -from_rate // 4)
    assert signal_to_noise(back[middle], np.float32(wave[0])[middle]) > 100


@pytest.mark.usefixtures("soxr")
def test_wanted_lengths_and_wrong_rates() -> None:
    samples = tones(1, 1000)
    for length in (0, 1, 499, 500, 501, 2000):
        given = resample(samples, 44_100, 22_050, length)
        assert given.shape == (1, length)
        assert np.array_equal(given[:, :480], resample(samples, 44_100, 22_050)[:, : min(length, 480)])
    for rates in ((0, 1, None), (1, 0, None), (1, 1, -1)):
        with pytest.raises(OptionError):
            resample_blocks([samples], *rates)
    audio = Audio(samples, 44_100, "PCM_24", TAGS, ("note",)).resampled(22_050)
    assert (audio.sample_rate, audio.length, audio.subtype) == (22_050, 500, "PCM_24")
    assert (audio.tags, audio.notes) == (TAGS, ("note",))


def test_without_soxr_another_rate_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)
    assert resample(tones(1, 10), 8000, 8000).shape == (1, 10)
    with pytest.raises(MediaError, match="pip install"):
        resample(tones(1, 10), 8000, 9000)


@pytest.mark.usefixtures("soxr")
def test_reading_resampling_and_writing_in_blocks_take_bounded_memory(tmp_path: Path) -> None:
    length = 60 * 44_100
    data = tmp_path / "long.wav"
    _write_silence(data, length)
    tracemalloc.start()
    try:
        _convert(data, tmp_path / "out.wav")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # all at once, one copy would be 21 MB
    finally:
        tracemalloc.stop()
    with open_audio(tmp_path / "out.wav") as reader:
        assert (reader.sample_rate, reader.length) == (24_000, resampled_length(length, 44_100, 24_000))


@pytest.mark.slow
@pytest.mark.usefixtures("soxr")
def test_an_hour_of_stereo_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    peaks = []
    for seconds in (60, 3600):
        _write_silence(tmp_path / "long.wav", seconds * 44_100)
        _convert(tmp_path / "long.wav", tmp_path / "out.flac")
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert peaks[1] - peaks[0] < 16 << 10  # KiB; the hour has 1.3 GB


def _write_silence(path: Path, length: int) -> None:
    """Write a header and a hole."""
    size = 4 * length
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 2, 44_100, 176_400, 4, 16, b"data", size
    )
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(size + len(header))


def _convert(source: Path, target: Path) -> None:
    pytest.importorskip("soundfile", reason="sound files need soundfile")
    with open_audio(source) as reader, AudioWriter(target, 24_000, reader.channels) as writer:
        for block in resample_blocks(reader.blocks(), reader.sample_rate, 24_000):
            writer.write(block)
