"""Long sounds: threads that are ahead by little, rates far apart, silence where nothing is left, and their bench."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch
from conformance.sound_fixture import load
from conformance.sound_streams import path_of
from settings import two_threads
from sound_codecs import tiny
from sounds import Samples, tones

from rarefy.codecs import container, salvage
from rarefy.codecs.audio import Audio, read_audio
from rarefy.codecs.audio_resampling import resample
from rarefy.codecs.audio_writing import write_audio
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import SoundDecoder
from rarefy.codecs.sound_encoding import AHEAD, KEPT_SAMPLES, SoundEncoder, _each
from rarefy.codecs.weights import save_weights
from rarefy.errors import FormatError, MediaError

RATE = 44_100


@pytest.fixture(scope="module")
def codec() -> SoundCodec:
    """The tiny codec of the conformance streams."""
    return load()


class Counted:
    """A sound that counts how often it is gone through, and how many of its blocks were given."""

    def __init__(self, audio: Audio) -> None:
        self.sample_rate, self.channels, self.length = audio.sample_rate, audio.channels, audio.length
        self.subtype, self.tags = audio.subtype, audio.tags
        self.audio, self.rounds, self.blocks_given = audio, 0, 0

    def blocks(self) -> Iterator[Samples]:
        self.rounds += 1
        for block in self.audio.blocks():
            self.blocks_given += 1
            yield block


def test_threads_change_no_byte(codec: SoundCodec) -> None:
    audio = Audio(tones(3, 12 * RATE), RATE, "PCM_16")
    for effort in (0, 1):
        alone = codec.encode(audio, 50, effort=effort)
        with two_threads():
            assert codec.encode(audio, 50, effort=effort) == alone
        assert len(container.read(alone).units) == 8


@pytest.mark.parametrize("rate", [44_100, 24_000, 44_101, 96_000, 900])
def test_threads_change_no_sample(rate: int, codec: SoundCodec) -> None:
    data = codec.encode(Audio(tones(3, 21 * rate, rate), rate, "PCM_16"), 50)
    alone = codec.decode(data).samples
    with two_threads():
        assert np.array_equal(codec.decode(data).samples, alone)
        file = container.read(data)
        decoder = SoundDecoder(codec, file.header, dict(enumerate(file.units)))
        for start, count in ((0, 10), (5 * rate, 9 * rate), (4 * rate, 10), (20 * rate, rate)):
            assert np.array_equal(decoder.samples(start, count), alone[:, start : start + count])


def test_blocks_before_a_damaged_one_are_given(codec: SoundCodec) -> None:
    file = container.read(codec.encode(Audio(tones(2, 21 * RATE), RATE, "PCM_16"), 50))
    whole = codec.decode(file).samples
    units = {number: unit for number, unit in enumerate(file.units) if number != 3}
    found = []
    with two_threads(), pytest.raises(FormatError, match="it is missing"):
        for block in SoundDecoder(codec, file.header, units).blocks():
            found.append(block)
    assert len(found) == 2  # the third one looks at it
    assert np.abs(np.concatenate(found, 1) - whole[:, : sum(block.shape[1] for block in found)]).max() < 1e-5


def test_short_sounds_are_read_once_and_long_ones_are_not_held(
    codec: SoundCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = Audio(tones(3, 8 * RATE), RATE, "PCM_16")
    assert audio.length * 3 <= KEPT_SAMPLES
    sound = Counted(audio)
    data = SoundEncoder(codec, sound).file(12_800)
    assert sound.rounds == 1
    monkeypatch.setattr("rarefy.codecs.sound_encoding.KEPT_SAMPLES", 1000)
    assert SoundEncoder(codec, long := Counted(audio)).file(12_800) == data
    assert long.rounds == 3  # loudness, two groups of channels


def test_threads_are_ahead_by_little() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    with two_threads(), ThreadPoolExecutor(2) as pool:
        results = _each(pool, lambda number: 2 * number, items())
        for number in range(1000):
            assert next(results) == 2 * number
            assert taken <= number + 1 + 2 * AHEAD
        assert list(results) == []


def test_what_goes_wrong_in_a_thread_is_raised(codec: SoundCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MediaError("of the analysis")

    monkeypatch.setattr(codec.stereo, "analysis", fail)
    with two_threads(), pytest.raises(MediaError, match="of the analysis"):
        codec.encode(Audio(tones(2, 8 * RATE), RATE), 50)


@pytest.mark.parametrize("rate", [1, 3, 100, 172])
def test_rates_far_apart_cost_little(rate: int) -> None:
    """A filter of 44,100 to 1 takes soxr more than a second to design."""
    x = np.full((1, 3 * RATE), 0.25, np.float32)
    begin = process_time()
    low = resample(x, RATE, rate)
    assert process_time() - begin < 0.5
    assert low.shape == (1, 3 * rate)
    assert resample(x[:, : RATE + 1], RATE, rate).shape == (1, rate + 1)
    assert low[0, low.shape[1] // 2] == pytest.approx(0.25, abs=0.02)  # at 1 Hz the ends are near
    assert low.dtype == np.float32


def test_what_is_low_enough_survives_two_filters() -> None:
    time = np.arange(40 * RATE) / RATE
    x = np.sin(2 * np.pi * 20 * time)[None].astype(np.float32)  # Hz, of the 50 that a rate of 100 holds
    low = resample(x, RATE, 100)
    wanted = np.sin(2 * np.pi * 20 * np.arange(4000) / 100)
    inner = slice(1000, 3000)
    assert np.abs(low[0, inner] - wanted[inner]).max() < 1e-4


def test_nothing_is_synthesised_where_nothing_is_left(codec: SoundCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = path_of("units", "rfy").read_bytes()
    damaged = salvage.read_damaged(data[: len(data) // 2])
    assert 0 < len(damaged.units) < 3 and damaged.header.unit_count == 3
    runs = []
    synthesis = codec.stereo.synthesis
    monkeypatch.setattr(codec.stereo, "synthesis", lambda y: runs.append(y.shape) or synthesis(y))  # type: ignore[func-returns-value]
    decoder = SoundDecoder(codec, damaged.header, damaged.units, precision="float32", is_lenient=True)
    found = decoder.samples()
    assert sorted(decoder.lost) == [number for number in range(3) if number not in damaged.units]
    assert len(runs) == len(damaged.units) + 1  # the unit beside the last whole one is drawn from its latents
    whole = codec.decode(data, precision="float32").samples
    heard = decoder.begin_of(len(damaged.units)) - codec.stereo.halo * codec.stereo.stride
    assert np.array_equal(found[:, :heard], whole[:, :heard]) and heard > 0
    assert not found[:, decoder.begin_of(len(damaged.units) + 1) :].any()


def test_a_claim_of_a_day_costs_a_damaged_file_little(codec: SoundCodec) -> None:
    file = container.read(path_of("rate-8000", "rfy").read_bytes())
    header = container.Header(**{**vars(file.header), "length": 600 * 8000, "span": 1024})
    decoder = SoundDecoder(codec, header, {}, is_lenient=True)
    begin = process_time()
    assert not decoder.samples().any() and len(decoder.lost) == header.unit_count > 300
    assert process_time() - begin < 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sounds; the weights beside it are tiny."""
    (tmp_path / "weights").mkdir()
    save_weights(tiny(), tmp_path / "weights/walloc-audio-tiny.safetensors")
    monkeypatch.setenv("RAREFY_WEIGHTS", str(tmp_path / "weights"))
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    write_audio(sounds / "a.flac", Audio(tones(1, 30_000, 24_000), 24_000, "PCM_16"))
    write_audio(sounds / "b.wav", Audio(tones(3, 50_000), RATE, "PCM_16"))
    return sounds


def test_sounds_follow_each_other_until_the_time_is_full(folder: Path, tmp_path: Path) -> None:
    from rarefy.tools.bench_long_sound import write_sound

    write_sound(tmp_path / "long.flac", sorted(folder.iterdir()), 5)
    long = read_audio(tmp_path / "long.flac")
    assert long.samples.shape == (2, 5 * RATE) and long.bit_depth == 16
    first = 55_125  # of 30,000 samples at 24 kHz
    assert np.array_equal(long.samples[0, :first], long.samples[1, :first])
    second = read_audio(folder / "b.wav").samples[:2]
    assert np.array_equal(long.samples[:, first : first + 50_000], second)
    again = long.samples[:, first + 50_000 :]
    assert np.array_equal(again[:, :first], long.samples[:, :first])
    write_audio(tmp_path / "empty.wav", Audio(np.empty((2, 0), np.float32), RATE, "PCM_16"))
    with pytest.raises(MediaError, match="is empty"):
        write_sound(tmp_path / "none.flac", [tmp_path / "empty.wav"], 5)
    assert not (tmp_path / "none.flac").exists()


@pytest.mark.slow
def test_the_bench_measures_processes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rarefy.tools.cli import main

    line = ["bench", "long-sound", str(folder), "--minutes", "1", "--quality", "20", "--threads", "1"]
    assert main([*line, "--json", str(tmp_path / "long.json")]) == 0
    assert "is equal to that part of the whole" in capsys.readouterr().out
    result = json.loads((tmp_path / "long.json").read_text())
    (row,) = result["rows"]
    assert result["is_equal"] and result["sounds"] == 2 and result["quality"] == 20
    assert row["kbps"] == pytest.approx(8 * row["size_bytes"] / 60_000)
    for name, seconds in (("encode", 60), ("decode", 60), ("part", 10)):
        assert row[f"{name}_times_real"] == pytest.approx(seconds / row[f"{name}_s"])
        assert 1e8 < row[f"{name}_peak_bytes"] < 4e9  # torch alone has more than the one


def test_a_folder_without_sounds_is_refused(tmp_path: Path) -> None:
    from rarefy.tools.bench_long_sound import measure

    with pytest.raises(MediaError, match="holds no sounds"):
        measure(tmp_path, [1], 50, 1, [])


def test_a_part_that_differs_is_a_failure(folder: Path, tmp_path: Path) -> None:
    from rarefy.tools.bench_long_sound import PART_SECONDS, _is_part

    samples = tones(2, 30 * RATE)
    write_audio(tmp_path / "whole.wav", Audio(samples, RATE, "PCM_16"))
    part = samples[:, 15 * RATE : (15 + PART_SECONDS) * RATE].copy()
    write_audio(tmp_path / "part.wav", Audio(part, RATE, "PCM_16"))
    assert _is_part(tmp_path / "part.wav", tmp_path / "whole.wav", 15)
    part[1, -1] += 1 / 2**15
    write_audio(tmp_path / "other.wav", Audio(part, RATE, "PCM_16"))
    assert not _is_part(tmp_path / "other.wav", tmp_path / "whole.wav", 15)
    assert not _is_part(tmp_path / "part.wav", tmp_path / "whole.wav", 14)


def test_a_command_that_fails_is_no_result() -> None:
    from rarefy.tools.bench_long_sound import spent

    with pytest.raises(subprocess.CalledProcessError):
        spent([sys.executable, "-c", "raise SystemExit(3)"])
    assert spent([sys.executable, "-c", "x = bytes(200_000_000)"]).peak_bytes > 2e8


def test_torch_keeps_its_threads(codec: SoundCodec) -> None:
    with two_threads():
        codec.encode(Audio(tones(2, 8 * RATE), RATE), 50)
        assert torch.get_num_threads() == 2
