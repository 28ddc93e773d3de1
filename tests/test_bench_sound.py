"""The bench of sounds: metrics with known answers, anchors of a wanted size, a run over a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from sound_codecs import tiny
from sounds import tones

from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_writing import write_audio
from rarefy.codecs.weights import save_weights
from rarefy.tools.sound_metrics import BANDS, aligned, mel_bands, mel_distance, si_sdr

pytest.importorskip("soundfile", reason="sound files need soundfile")
RATE = 44_100


def test_si_sdr_is_the_ratio_whatever_the_scale() -> None:
    source = np.random.default_rng(0)
    x = source.standard_normal((2, 100_000)).astype(np.float32)
    noise = source.standard_normal(x.shape).astype(np.float32) * 0.1
    for scale in (0.1, 1.0, 7.0):
        assert si_sdr(x, scale * (x + noise)) == pytest.approx(20, abs=0.1)
    assert si_sdr(x, x) == float("inf")
    assert si_sdr(x, np.zeros_like(x)) == float("-inf")
    assert si_sdr(np.zeros_like(x), np.zeros_like(x)) == float("inf")
    assert si_sdr(x, noise) < -20


def test_the_mel_distance_counts_decades() -> None:
    x = np.random.default_rng(1).standard_normal((1, 20_000)).astype(np.float32)
    assert mel_distance(x, x, RATE) == 0
    near, far = (mel_distance(x, x * np.float32(scale), RATE) for scale in (0.5, 0.1))
    assert far == pytest.approx(near / np.log10(2), rel=1e-3) and far < 1
    bands = mel_bands(2048, RATE)
    assert bands.shape == (1025, BANDS) and bands.min() == 0
    centres = bands.argmax(0)
    assert (np.diff(centres) > 0).all() and centres[0] < 6 and centres[-1] > 950


@pytest.mark.parametrize("delay", [-1105, -3, 0, 529, 1105])
def test_delays_are_undone(delay: int) -> None:
    x = np.random.default_rng(2).standard_normal((2, 30_000)).astype(np.float32)
    late = np.pad(x, ((0, 0), (delay, 0))) if delay >= 0 else x[:, -delay:]
    found = aligned(x, late)
    assert found.shape == x.shape
    inner = slice(1200, -1200)
    assert np.array_equal(found[:, inner], x[:, inner])


@pytest.mark.parametrize("name", ["opus", "mp3"])
@pytest.mark.parametrize(("channels", "rate"), [(2, 44_100), (1, 16_000), (1, 22_050)])
def test_anchors_make_files_of_a_size(name: str, channels: int, rate: int) -> None:
    pytest.importorskip("av", reason="Opus and MP3 need av")
    from rarefy.tools.anchors_sound import SOUND_ANCHORS

    audio = Audio(tones(channels, 3 * rate, rate), rate)
    anchor = SOUND_ANCHORS[name]
    small, large = (anchor.file_of(audio, kbps * 375) for kbps in (24, 64))
    assert len(small) < len(large) and 0.6 < len(large) / (64 * 375) < 1.5
    decoded = anchor.decode(large, audio)
    assert decoded.shape == audio.samples.shape
    assert si_sdr(audio.samples, decoded) > 10


def test_a_run_measures_every_sound_at_every_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="Opus and MP3 need av")
    from rarefy.tools.cli import main

    (tmp_path / "weights").mkdir()
    save_weights(tiny(), tmp_path / "weights/walloc-audio-tiny.safetensors")
    monkeypatch.setenv("RAREFY_WEIGHTS", str(tmp_path / "weights"))
    for name, channels in (("a", 2), ("b", 1), ("c", 3)):
        write_audio(tmp_path / f"{name}.flac", Audio(tones(channels, RATE), RATE, "PCM_16"))
    result = tmp_path / "result.json"
    line = [
        "bench",
        "sound",
        str(tmp_path),
        "--codec",
        "walloc-audio@20,80",
        "--anchors",
        "opus",
        "--json",
        str(result),
    ]
    assert main(line) == 0
    assert capsys.readouterr().out.count("opus") == 4
    measured = json.loads(result.read_text())
    rows = measured["rows"]
    assert {(row["sound"], row["codec"], row["quality"]) for row in rows} == {
        (f"{name}.flac", codec, quality) for name in "ab" for codec in ("walloc-audio", "opus") for quality in (20, 80)
    }
    assert all(row["kbps"] == pytest.approx(row["size_bytes"] * 8 / 1000) for row in rows)
    assert len(measured["means"]) == 8 and measured["weights"]
    with pytest.raises(SystemExit):
        main(["bench", "sound", str(tmp_path), "--anchors", "vorbis"])
