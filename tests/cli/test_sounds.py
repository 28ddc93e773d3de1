"""Sounds on the command line: encode, info, decode of parts, transcode, folders, pipes, and what is refused."""

import json
import os
import resource
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from rarefy.codecs.audio import Audio, read_audio
from rarefy.codecs.audio_writing import write_audio
from rarefy.codecs.container import read_info
from rarefy.codecs.sound_decoding import SoundDecoder
from rarefy.codecs.weights import save_weights
from rarefy.errors import RarefyError
from rarefy.tools.cli import main
from rarefy.tools.commands.parser import build_parser
from rarefy.tools.commands.sound_files import StoredSound, save_sound
from rarefy.tools.files import Job

sys.path.insert(0, str(Path(__file__).parents[1]))
from sound_codecs import tiny
from sounds import TAGS, tones

pytest.importorskip("soundfile", reason="sound files need soundfile")
pytest.importorskip("soxr", reason="other sample rates need soxr")
RATE = 22_050


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A tiny codec in the place of the product's."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(tiny(), folder / "walloc-audio-tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFY_WEIGHTS", str(folder))
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a song of eight seconds."""
    monkeypatch.chdir(tmp_path)
    write_audio("song.flac", Audio(tones(2, 8 * RATE, RATE), RATE, "PCM_16", TAGS))
    return tmp_path


def test_there_and_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "song.flac", "--quality", "95", "--verify"]) == 0
    assert "kbit/s" in capsys.readouterr().err
    assert main(["info", "song.rfy"]) == 0
    told = capsys.readouterr().out
    assert "8.00 s, 22050 Hz, stereo, PCM_16" in told and "3 of at most 3.41 s" in told and "metadata tags" in told
    assert main(["info", "song.rfy", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["medium"], facts["seconds"], facts["sample_rate"]) == ("sound", 8.0, RATE)
    assert facts["kilobits_per_second"] == pytest.approx(facts["size_bytes"] / 1000)
    assert main(["verify", "song.rfy"]) == 0
    assert main(["decode", "song.rfy"]) == 0
    original, decoded = read_audio("song.flac"), read_audio("song.wav")
    assert decoded.samples.shape == original.samples.shape and decoded.sample_rate == RATE
    assert decoded.subtype == "PCM_16" and decoded.tags == TAGS
    error = decoded.samples - original.samples
    assert np.square(error).mean() < 0.2 * np.square(original.samples).mean()
    assert main(["decode", "song.rfy", "--start", "3.5", "--duration", "2", "-o", "part.flac"]) == 0
    first = round(3.5 * RATE)
    assert np.array_equal(read_audio("part.flac").samples, decoded.samples[:, first : first + 2 * RATE])


def test_a_sound_that_is_being_written_is_left_when_the_batch_ends(folder: Path) -> None:
    """An hour would be decoded to its end before an interrupt was heard."""
    assert main(["encode", "song.flac"]) == 0
    before, stopped, finish = set(folder.iterdir()), threading.Event(), SoundDecoder.blocks

    def stopping(decoder: SoundDecoder, *rest: object) -> Iterator[object]:
        for number, block in enumerate(finish(decoder, *rest)):  # type: ignore[arg-type]
            if number == 1:
                stopped.set()
            yield block

    stored = StoredSound(
        Path("song.rfy").read_bytes(), read_info("song.rfy").header, build_parser().parse_args(["decode", "song.rfy"])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SoundDecoder, "blocks", stopping)
        with pytest.raises(RarefyError, match="stopped"):
            save_sound(Job("song.rfy", "song.wav"), stored, stopped)
    assert set(folder.iterdir()) == before


def test_a_full_disk_leaves_nothing_of_a_sound(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "song.flac"]) == 0
    capsys.readouterr()
    before = set(folder.iterdir())
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    for size in (500, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            assert main(["decode", "song.rfy"]) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert capsys.readouterr().err == "rarefy: error: song.wav: file too large\n"
        assert set(folder.iterdir()) == before


def test_a_private_sound_stays_private(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("song.flac").chmod(0o600)
    assert main(["encode", "song.flac"]) == 0
    assert main(["decode", "song.rfy"]) == 0
    assert {Path(f"song{suffix}").stat().st_mode & 0o777 for suffix in (".rfy", ".wav")} == {0o600}
    Path("song.wav").chmod(0o640)
    assert main(["decode", "song.rfy", "-f"]) == 0
    assert Path("song.wav").stat().st_mode & 0o777 == 0o640
    capsys.readouterr()
    assert main(["decode", "song.rfy", "-o", "/dev/null", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size_bytes"] == Path("song.wav").stat().st_size


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipes(folder: Path) -> None:
    def through_pipe(name: str, data: bytes) -> str:
        os.mkfifo(name)
        threading.Thread(target=Path(name).write_bytes, args=(data,), daemon=True).start()
        return name

    assert main(["encode", "song.flac"]) == 0
    assert main(["encode", through_pipe("in", Path("song.flac").read_bytes()), "-o", "again.rfy"]) == 0
    assert Path("again.rfy").read_bytes() == Path("song.rfy").read_bytes()
    assert main(["decode", through_pipe("out", Path("song.rfy").read_bytes()), "-o", "again.wav"]) == 0
    assert main(["decode", "song.rfy"]) == 0
    assert Path("again.wav").read_bytes() == Path("song.wav").read_bytes()


def test_links_in_a_circle_are_told(folder: Path) -> None:
    assert main(["encode", "song.flac"]) == 0
    Path("circle.wav").symlink_to("circle.wav")
    assert main(["decode", "song.rfy", "-o", "circle.wav"]) == 1
    assert Path("circle.wav").is_symlink()


def test_no_folder_is_made_for_a_sound_that_does_not_decode(folder: Path) -> None:
    assert main(["encode", "song.flac"]) == 0
    Path("song.rfy").write_bytes(Path("song.rfy").read_bytes()[:600])
    assert main(["decode", "song.rfy", "-o", "new/song.wav"]) == 3
    assert not Path("new").exists()


def test_targets_and_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "song.flac", "--target-kbps", "20", "--json", "--strip"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert 19.6 < facts["kilobits_per_second"] <= 20 and facts["codec"] == "walloc-audio"
    assert main(["info", "song.rfy"]) == 0
    assert "metadata" not in capsys.readouterr().out
    assert main(["decode", "song.rfy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == 8.0


def test_transcoding_keeps_tags(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "song.flac"]) == 0
    assert main(["transcode", "song.rfy", "--quality", "10", "-o", "small.rfy", "--verify"]) == 0
    assert Path("small.rfy").stat().st_size < Path("song.rfy").stat().st_size
    assert main(["transcode", "small.rfy", "-f"]) == 0
    assert "kbit/s" in capsys.readouterr().err
    assert main(["decode", "small.rfy"]) == 0
    assert read_audio("small.wav").tags == TAGS


def test_folders_take_both_media(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    (folder / "media").mkdir()
    Image.new("RGB", (20, 30)).save(folder / "media/photo.png")
    (folder / "song.flac").rename(folder / "media/song.flac")
    assert main(["encode", "-r", "media", "-o", "coded"]) == 0
    assert "2 files" in capsys.readouterr().err
    assert main(["decode", "-r", "coded", "-o", "back"]) == 0
    assert sorted(path.name for path in (folder / "back").iterdir()) == ["photo.png", "song.wav"]
    before = (folder / "back/song.wav").stat().st_mtime_ns
    assert main(["decode", "-r", "coded", "-o", "back", "--skip-existing"]) == 0
    assert (folder / "back/song.wav").stat().st_mtime_ns == before
    assert main(["encode", "-r", "media", "-o", "sounds", "--codec", "walloc-audio"]) == 0
    assert [path.name for path in (folder / "sounds").iterdir()] == ["song.rfy"]


class Pipe:
    """Standard input and output in memory."""

    def __init__(self, data: bytes = b"") -> None:
        self.buffer = BytesIO(data)

    def isatty(self) -> bool:
        return False

    def flush(self) -> None:
        """As a stream of text does."""


def test_pipes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coded, sound = Pipe(), Pipe()
    monkeypatch.setattr(sys, "stdin", Pipe(Path("song.flac").read_bytes()))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", coded)
        assert main(["encode", "-", "-o", "-", "-q"]) == 0
    monkeypatch.setattr(sys, "stdin", Pipe(coded.buffer.getvalue()))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", sound)
        assert main(["decode", "-", "-o", "-", "-q"]) == 0
    assert read_audio(sound.buffer.getvalue()).length == 8 * RATE


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["encode", "song.flac", "--codec", "image", "-o", "x.rfy"], 3, "a sound, not a picture"),
        (["encode", "photo.png", "--codec", "walloc-audio", "-o", "x.rfy"], 3, "a picture, not a sound"),
        (["encode", "empty.wav"], 3, "empty"),
        (["encode", "cut.flac"], 3, "cut.flac is damaged"),
        (["encode", "song.flac", "--target-bpp", "1", "-o", "x.rfy"], 2, "kilobits per second"),
        (["decode", "song.rfy", "-o", "x.png"], 2, "sounds are written as"),
        (["decode", "song.rfy", "--region", "1,2,3,4", "-o", "x.wav"], 3, "no region"),
        (["decode", "song.rfy", "--start", "9", "-o", "x.wav"], 2, "begins at 9"),
        (["decode", "song.rfy", "--start", "-1", "-o", "x.wav"], 2, "seconds"),
        (["decode", "photo.rfy", "--start", "1", "-o", "x.png"], 3, "no --start"),
        (["decode", "photo.rfy", "-o", "x.wav"], 2, "pictures are written as"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str
) -> None:
    from PIL import Image

    Image.new("RGB", (20, 30)).save("photo.png")
    write_audio("empty.wav", Audio(np.zeros((2, 0), np.float32), RATE))
    Path("cut.flac").write_bytes(Path("song.flac").read_bytes()[:9000])
    assert main(["encode", "song.flac", "photo.png", "-q"]) == 0
    capsys.readouterr()
    try:
        found = main(arguments)
    except SystemExit as ending:
        found = int(str(ending.code))
    told = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert found == code and len(told) == 1 and words in told[0], told
    assert not Path("x.wav").exists() and not Path("x.rfy").exists()


def test_damaged_sounds_are_saved_in_part(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "song.flac"]) == 0
    data = bytearray(Path("song.rfy").read_bytes())
    data[len(data) // 2] ^= 255
    Path("song.rfy").write_bytes(data)
    assert main(["decode", "song.rfy"]) == 3
    assert not Path("song.wav").exists()
    capsys.readouterr()
    assert main(["decode", "song.rfy", "--allow-damaged"]) == 0
    assert "1 of 3 units are lost" in capsys.readouterr().err
    assert read_audio("song.wav").length == 8 * RATE
