"""Crops of sound for training."""

from pathlib import Path

import numpy as np
import pytest
from sounds import tones

from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_writing import write_audio
from rarefy.errors import MediaError, OptionError

soundfile = pytest.importorskip("soundfile", reason="sound files need soundfile")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make ramps, by which every sample tells its file and place: mono rising, stereo with a falling right channel."""
    place = np.arange(3000)
    for number in range(12):
        ramp = (1000 * number + place) / 32_768
        samples = ramp[None] if number % 2 else np.stack((ramp, -ramp / 2))
        write_audio(tmp_path / f"{number}.wav", Audio(samples.astype(np.float32), 8000))
    write_audio(tmp_path / "short.flac", Audio(tones(1, 400), 8000))
    (tmp_path / "notes.txt").write_text("no sound")
    return tmp_path


def test_the_split_is_by_name(folder: Path) -> None:
    from rarefy.tools.sound_patches import sound_files

    sides = [sound_files([folder], 3, held_back) for held_back in (False, True)]
    assert not set(sides[0]) & set(sides[1])
    assert sorted(sides[0] + sides[1]) == [*sorted(folder.glob("*.wav")), folder / "short.flac"]
    assert min(map(len, sides)) > 0
    moved = folder / "other"
    moved.mkdir()
    (folder / sides[1][0].name).rename(moved / sides[1][0].name)
    assert moved / sides[1][0].name in sound_files([folder], 3, True)
    assert len(sound_files([folder], 0, False)) == 13


@pytest.mark.parametrize("channels", [1, 2])
def test_crops_are_pieces_of_the_files_and_follow_the_seed(folder: Path, channels: int) -> None:
    torch = pytest.importorskip("torch")
    from rarefy.tools.sound_patches import SoundPatches, sound_files

    files = sound_files([folder], 0, False)
    pool = SoundPatches(files, 500, 8000, channels, torch.device("cpu"))
    assert pool.seconds == 12 * 3000 / 8000  # the short one is not used
    crops = pool.draw(400, torch.Generator().manual_seed(7))
    assert torch.equal(crops, pool.draw(400, torch.Generator().manual_seed(7)))
    assert not torch.equal(crops, pool.draw(400, torch.Generator().manual_seed(8)))
    assert crops.shape == (400, channels, 500)
    assert crops.dtype == torch.float32
    slopes = (crops[:, :, 1:] - crops[:, :, :-1]) * 32_768
    assert (slopes - slopes[:, :, :1]).abs().max() < 2  # ramps, rounded to 16 bits
    slopes = slopes.mean(2)
    seen = {tuple(row) for row in slopes.mul(4).round().div(4).tolist()}
    if channels == 1:
        assert seen == {(1.0,), (-1.0,), (0.25,), (-0.25,)}  # mono, and the mean of 1 and -1/2, with both signs
    else:
        assert {(1.0, 1.0), (-1.0, -1.0), (1.0, -0.5), (-0.5, 1.0), (-1.0, 0.5), (0.5, -1.0)} <= seen
        panned = [row for row in slopes.tolist() if row[0] * row[1] >= 0 and abs(row[0] - row[1]) > 0.05]
        assert 60 < len(panned) < 140  # half of the mono half
        assert all(max(map(abs, row)) == pytest.approx(1, abs=0.01) for row in panned)


def test_the_pool_has_one_rate_and_full_scale(tmp_path: Path) -> None:
    pytest.importorskip("soxr", reason="other sample rates need soxr")
    from rarefy.tools.sound_patches import read_steps

    write_audio(tmp_path / "loud.wav", Audio(tones(6, 44_100) * 9, 44_100, "FLOAT"))
    steps_of_sound = read_steps(tmp_path / "loud.wav", 24_000)
    assert steps_of_sound.shape == (1, 24_000)
    assert 32_000 < np.abs(steps_of_sound.astype(int)).max() <= 32_768
    quiet = tones(2, 8000, 8000)
    write_audio(tmp_path / "quiet.wav", Audio(quiet, 8000))
    assert np.array_equal(read_steps(tmp_path / "quiet.wav", 8000), np.rint(quiet * 32_768).astype(np.int16))


def test_crops_say_what_is_missing(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from rarefy.tools.sound_patches import SoundPatches, sound_files

    files = sound_files([folder], 0, False)
    with pytest.raises(MediaError, match="3001 samples at 8000 Hz"):
        SoundPatches(files, 3001, 8000, 1, torch.device("cpu"))
    with pytest.raises(OptionError, match="1 or 2 channels"):
        SoundPatches(files, 100, 8000, 3, torch.device("cpu"))
    whole = SoundPatches(files, 3000, 8000, 2, torch.device("cpu")).draw(50, torch.Generator().manual_seed(1))
    assert whole.shape == (50, 2, 3000)
