"""The experiment with voices of examples/learning: that it runs, and that what it compares is what it says."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sounds import encoded
from torch import Tensor

from rarefy.codecs.weights import candidates

FOLDER = Path(__file__).resolve().parents[1] / "examples/learning"
SPEAKERS, RECORDINGS = 3, 2

pytestmark = pytest.mark.skipif(not candidates("walloc-audio"), reason="no weights of walloc-audio are here")
pytest.importorskip("soundfile", reason="sound files need soundfile")
pytest.importorskip("soxr", reason="other sample rates need soxr")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program with settings that take a second."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("photographs", "speakers", "classify_speakers")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    modules = [__import__(name) for name in names]
    settings = {"BATCH": 3, "LENGTH": 8192, "WINDOWS": 1, "SEEDS": 2, "EPOCHS": 1, "USED": 40, "LOADED": 1}
    for module in modules:
        for key, value in settings.items():
            if hasattr(module, key):
                monkeypatch.setattr(module, key, value)
    return modules[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of a few speakers, each of noise of a colour of its own, and one of nobody."""
    for speaker in range(SPEAKERS):
        for number in range(RECORDINGS + (speaker == 1)):
            noise = np.random.default_rng(10 * speaker + number).standard_normal((1, 12_000))
            smooth = np.convolve(noise[0], np.hanning(4 + 8 * speaker), "same")[None].astype(np.float32)
            data = encoded(0.1 * smooth, "WAV", "PCM_16", 24_000)
            (tmp_path / f"en_ravdess_a0{speaker}-e{number}.wav").write_bytes(data)
    (tmp_path / "en_vctk_p225.wav").write_bytes(b"")
    return tmp_path


def test_every_way_is_measured(made: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av", reason="Opus needs av")
    made.main(folder, folder / "found.json")
    found = json.loads((folder / "found.json").read_text())
    assert (found["speakers"], found["recordings"]) == (SPEAKERS, RECORDINGS)
    assert list(found["ways"]) == list(made.WAYS) and len(capsys.readouterr().out.splitlines()) == len(made.WAYS)
    for way in found["ways"].values():
        assert len(way["accuracies"]) == 2 and all(0 <= share <= 1 for share in way["accuracies"])
        assert way["numbers"] == 54 * 40 and way["bytes_per_sample"] > 100
    assert len({way["million_products"] for way in found["ways"].values()}) == 1


def test_ways_give_as_many_numbers_of_the_same_time(made: ModuleType, folder: Path) -> None:
    pytest.importorskip("av", reason="Opus needs av")
    voices = made.windows(made.recordings_of(folder), 2)
    samples = voices.samples
    levels = samples.square().mean(1).sqrt()
    torch.testing.assert_close(levels, torch.full_like(levels, 0.05), rtol=1e-5, atol=0)
    files = made.stored(samples[:2])
    assert {way.load(files[way.files]).shape for way in made.WAYS.values()} == {(2, 54, 64)}
    there = made.waveforms_of(files["flac, low rate"])[0]
    (wanted,) = made.Audio(samples[:1].numpy(), made.RATE).resampled(10_125).samples
    assert np.abs(there.T.flatten().numpy() - wanted).max() <= 1 / 2**15


def test_no_recording_is_learned_from_and_tested_on(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = torch.arange(3).repeat_interleave(2).repeat(2)
    voices = made.Voices(torch.zeros(12, 1), torch.arange(2).repeat_interleave(6), recordings)
    inputs = recordings[:, None, None].float().expand(12, 54, 50)
    calls = []

    def accuracy(_: object, learned: Any, labels: Tensor, tests: Tensor, test_labels: Tensor, *__: int) -> float:
        x = learned(0)
        assert x.shape == (8, 54, 40) and tests.shape == (4, 54, 40)
        assert labels.tolist() == [0] * 4 + [1] * 4 and test_labels.tolist() == [0, 0, 1, 1]
        calls.append((set(x.unique().tolist()), set(tests.unique().tolist())))
        return 0.5

    monkeypatch.setattr(made, "accuracy", accuracy)
    for fold in range(3):
        made._tested(inputs, voices, fold, 0, 2)
    assert calls == [({1.0, 2.0}, {0.0}), ({0.0, 2.0}, {1.0}), ({0.0, 1.0}, {2.0})]


def test_bands_of_spectra_follow_the_pitch(made: ModuleType) -> None:
    time = torch.arange(8192) / made.RATE
    loudest = []
    for pitch in (300.0, 1000.0, 4000.0):
        files = made.flac_files(0.3 * torch.sin(2 * np.pi * pitch * time)[None], made.RATE)
        loudest.append(int(made.spectra_of(files)[0, :, 20:40].mean(1).argmax()))
        top, own = (2595 * np.log10(1 + f / 700) for f in (made.RATE / 2, pitch))
        assert abs(loudest[-1] - (own / top * 55 - 1)) <= 1
    assert loudest == sorted(loudest)


def test_folders_without_speakers_are_one_sentence(made: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no two speakers"):
        made.recordings_of(tmp_path)
