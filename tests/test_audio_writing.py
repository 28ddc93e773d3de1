"""Sound out: files that hold what they were given, whole or not there."""

import io
import os
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from sounds import TAGS, FailingFile, cuts, steps, tones

from rarefy.codecs import audio_writing, unfinished
from rarefy.codecs.audio import Audio, open_audio, read_audio
from rarefy.codecs.audio_writing import AudioWriter, write_audio
from rarefy.errors import MediaError, RarefyWarning

soundfile = pytest.importorskip("soundfile", reason="sound files need soundfile")


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_blocks_write_the_file_that_the_whole_writes(suffix: str, tmp_path: Path) -> None:
    samples = tones(2, 150_000)
    write_audio(tmp_path / f"whole{suffix}", Audio(samples, 44_100, "PCM_24", TAGS))
    with AudioWriter(tmp_path / f"blocks{suffix}", 44_100, 2, subtype="PCM_24", tags=TAGS) as writer:
        for cut in cuts(150_000, 4):
            writer.write(samples[:, cut])
    assert (tmp_path / f"blocks{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert np.abs(read_audio(tmp_path / f"whole{suffix}").samples - samples).max() <= 0.5 / (1 << 23)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_nothing_half_made_is_left(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"earlier")
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, 8000, 1) as writer:
        writer.write(tones(1, 100_000))
        assert path.read_bytes() == b"earlier"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(MediaError, match=r"float32 \[1, n\]"), AudioWriter(path, 8000, 1) as writer:
        writer.write(tones(2, 100))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("good", [0, 10, 3000, 60_000])
def test_a_full_disk_is_an_error_and_no_file(
    suffix: str, good: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "open", lambda *_: FailingFile(b"", good), raising=False)
    with pytest.raises(OSError, match="No space left"):
        write_audio(tmp_path / f"a{suffix}", Audio(tones(2, 40_000), 44_100))
    assert not list(tmp_path.iterdir())


def test_permissions_are_kept(tmp_path: Path) -> None:
    audio, path = Audio(tones(1, 1000), 8000), tmp_path / "a.wav"
    with AudioWriter(path, 8000, 1, mode=0o600) as writer:
        writer.write(audio.samples)
    assert path.stat().st_mode & 0o777 == 0o600 and writer.size_bytes == path.stat().st_size
    path.chmod(0o640)
    write_audio(path, audio)
    assert path.stat().st_mode & 0o777 == 0o640


def test_errors_name_the_file_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"none/a\.wav"):
        write_audio(tmp_path / "none/a.wav", Audio(tones(1, 1000), 8000))
    (tmp_path / "circle.wav").symlink_to(tmp_path / "circle.wav")
    with pytest.raises(OSError, match=r"symbolic links.*circle\.wav"):
        write_audio(tmp_path / "circle.wav", Audio(tones(1, 1000), 8000))
    (tmp_path / "kept.wav").write_bytes(b"earlier")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "not permitted", "another name")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(PermissionError, match=r"kept\.wav"):
        write_audio(tmp_path / "kept.wav", Audio(tones(1, 1000), 8000))
    assert {path.name for path in tmp_path.iterdir()} == {"circle.wav", "kept.wav"}


@pytest.mark.parametrize(("letter", "kept"), [("a", 2000), ("\N{EURO SIGN}", 666)])
def test_a_tag_too_long_for_wav_is_said_and_costs_no_others(letter: str, kept: int, tmp_path: Path) -> None:
    for count in (kept, kept + 1):
        audio = Audio(tones(1, 1000), 8000, "PCM_16", {"title": "t", "comment": letter * count})
        write_audio(tmp_path / "a.flac", audio)
        assert read_audio(tmp_path / "a.flac").tags == audio.tags
        if count > kept:
            with pytest.warns(RarefyWarning, match="WAV does not take it: comment"):
                write_audio(tmp_path / "a.wav", audio)
            assert read_audio(tmp_path / "a.wav").tags == {"title": "t"}
        else:
            write_audio(tmp_path / "a.wav", audio)
            assert read_audio(tmp_path / "a.wav").tags == audio.tags


def test_links_pipes_and_files_are_written_to(tmp_path: Path) -> None:
    audio = Audio(steps(16, 2, 70_000), 44_100)
    (tmp_path / "real.wav").write_bytes(b"earlier")
    (tmp_path / "link.wav").symlink_to("real.wav")
    audio.save(tmp_path / "link.wav")
    assert (tmp_path / "link.wav").is_symlink()
    data = (tmp_path / "real.wav").read_bytes()
    assert np.array_equal(read_audio(data).samples, audio.samples)
    file = io.BytesIO()
    audio.save(file)
    assert file.getvalue() == data
    os.mkfifo(tmp_path / "pipe")
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    audio.save(tmp_path / "pipe")
    reader.join()
    assert found == [data]


def test_samples_beyond_full_scale_make_a_wav_of_floats(tmp_path: Path) -> None:
    samples = steps(24, 2, 200_000)
    samples[1, 150_000] = -1.25
    with AudioWriter(tmp_path / "a.wav", 44_100, 2, subtype="PCM_24", tags=TAGS) as writer:
        for start in range(0, 200_000, 1000):
            writer.write(samples[:, start : start + 1000])
    audio = read_audio(tmp_path / "a.wav")
    assert (audio.subtype, audio.tags) == ("FLOAT", TAGS)
    assert np.array_equal(audio.samples, samples)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_samples_beyond_full_scale_are_clipped_where_there_is_no_room(tmp_path: Path) -> None:
    samples = tones(1, 1000)
    samples[0, 10:13] = 1.0, 1.5, -7.0
    clipped = np.clip(samples, -1, 32_767 / 32_768)
    with pytest.warns(RarefyWarning, match="2 samples beyond full scale are clipped"):
        write_audio(tmp_path / "a.flac", Audio(samples, 44_100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_audio(tmp_path / "a.wav", Audio(samples, 44_100), clips=True)
    for name in ("a.flac", "a.wav"):
        audio = read_audio(tmp_path / name)
        assert audio.subtype == "PCM_16"
        assert np.abs(audio.samples - clipped).max() <= 0.5 / (1 << 15)


@pytest.mark.parametrize(
    ("source", "wav", "flac"),
    [
        (None, "PCM_16", "PCM_16"),
        ("VORBIS", "PCM_16", "PCM_16"),
        ("ULAW", "PCM_16", "PCM_16"),
        ("PCM_S8", "PCM_U8", "PCM_S8"),
        ("PCM_32", "PCM_32", "PCM_24"),
        ("ALAC_20", "PCM_24", "PCM_24"),
        ("DOUBLE", "FLOAT", "PCM_24"),
    ],
)
def test_bit_depths_follow_the_source(source: str | None, wav: str, flac: str, tmp_path: Path) -> None:
    for suffix, subtype in ((".wav", wav), (".flac", flac)):
        write_audio(tmp_path / f"a{suffix}", Audio(tones(1, 100), 8000, source))
        assert read_audio(tmp_path / f"a{suffix}").subtype == subtype


def test_an_empty_sound(tmp_path: Path) -> None:
    for channels in (1, 6):
        write_audio(tmp_path / "a.wav", Audio(np.empty((channels, 0), np.float32), 16_000, tags={"title": "t"}))
        audio = read_audio(tmp_path / "a.wav")
        assert (audio.samples.shape, audio.sample_rate, audio.tags) == ((channels, 0), 16_000, {"title": "t"})
    with open_audio(tmp_path / "a.wav") as reader:
        assert list(reader.blocks()) == []
    with pytest.raises(MediaError, match="as WAV"):
        write_audio(tmp_path / "a.flac", audio)
    assert not (tmp_path / "a.flac").exists()


def test_what_a_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, rate, channels, said in (
        ("a.mp3", 8000, 1, "suffix"),
        ("a", 8000, 1, "suffix"),
        ("a.flac", 8000, 9, "8 channels"),
        ("a.flac", 700_000, 1, "655350 Hz"),
        ("a.wav", 0, 1, "1 Hz"),
        ("a.wav", 1, 0, "1 channel"),
    ):
        with pytest.raises(MediaError, match=said):
            AudioWriter(tmp_path / name, rate, channels)
    with pytest.raises(FileNotFoundError):
        AudioWriter(tmp_path / "no" / "a.wav", 8000, 1)
    with pytest.warns(RarefyWarning, match="left out, as WAV does not take it: license"):
        write_audio(tmp_path / "a.wav", Audio(tones(1, 10), 8000, tags={"license": "l", "title": "t"}))
    assert read_audio(tmp_path / "a.wav").tags == {"title": "t"}


def test_wav_above_four_gibibytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a limit of 40,000 bytes, since four gibibytes take their time."""
    monkeypatch.setattr(audio_writing, "_WAV_BYTES", 40_000)
    samples = steps(16, 2, 10_001)
    with pytest.raises(MediaError, match="4 GiB"), AudioWriter(tmp_path / "a.wav", 8000, 2) as writer:
        writer.write(samples)
    assert not list(tmp_path.iterdir())
    write_audio(tmp_path / "a.wav", Audio(samples, 8000))
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RF64"
    assert np.array_equal(read_audio(tmp_path / "a.wav").samples, samples)
