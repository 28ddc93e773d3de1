"""Packing of sounds: what becomes a sample, pieces of recordings, and that a killed run loses and doubles none."""

import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import clusters
import numpy as np
import pytest
from sound_codecs import tiny
from sounds import TAGS, encoded, tones

from rarefy.codecs import api
from rarefy.codecs.audio import Audio, read_audio
from rarefy.codecs.weights import save_weights
from rarefy.data import LatentDataset
from rarefy.data.manifest import Manifest, read_manifest
from rarefy.data.packing import Packer
from rarefy.data.pieces import piece_count
from rarefy.data.shards import read_members
from rarefy.tools.cli import main

pytest.importorskip("soundfile", reason="sound files need soundfile")
pytest.importorskip("soxr", reason="other sample rates need soxr")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FILES = {  # channels, samples, rate, format and subtype of libsndfile
    "a/0.wav": (1, 5000, 24_000, "WAV", "PCM_16"),
    "a/1.flac": (2, 9000, 44_100, "FLAC", "PCM_24"),
    "a/2.opus": (1, 9600, 48_000, "OGG", "OPUS"),
    "b/3.mp3": (2, 9000, 44_100, "MP3", "MPEG_LAYER_III"),
    "b/4.ogg": (1, 4000, 8_000, "OGG", "VORBIS"),
    "b/5.wav": (1, 11_000, 24_000, "WAV", "FLOAT"),
}
SECONDS = 0.1
PIECES = {"a/0": 2, "a/1": 2, "a/2": 2, "b/3": 2, "b/4": 5, "b/5": 4}


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A tiny codec in the place of the product's."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(tiny(), folder / "walloc-audio-tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFY_WEIGHTS", str(folder))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of sounds, mono and stereo, of several kinds and rates."""
    folder = tmp_path_factory.mktemp("whole") / "in"
    for name, (channels, length, rate, kind, subtype) in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        samples = tones(channels, length, rate)
        (folder / name).write_bytes(encoded(samples, kind, subtype, rate, TAGS if kind == "FLAC" else None))
    return folder


@pytest.fixture(scope="module")
def mixed(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and files that become no sample."""
    folder = tmp_path_factory.mktemp("mixed") / "in"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(whole / name)
    (folder / "a/cut.wav").write_bytes((whole / "a/0.wav").read_bytes()[:4000])
    (folder / "a/short.mp3").write_bytes((whole / "b/3.mp3").read_bytes()[:1500])
    (folder / "a/nothing.flac").write_bytes(b"")
    (folder / "a/silent.wav").write_bytes(encoded(np.zeros((1, 0), np.float32), "WAV", "PCM_16"))
    (folder / "b/six.wav").write_bytes(encoded(tones(6, 3000), "WAV", "PCM_16"))
    (folder / "b/page.wav").write_text("this is a page")
    (folder / "b/picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def pack(folder: Path, target: Path, *options: str) -> int:
    return main(["pack", str(folder), "-o", str(target), "--codec", "walloc-audio", "-q", *options])


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all shards and of the manifest."""
    names = [path.name for path in folder.iterdir() if path.suffix in (".tar", ".json")]
    return {name: (folder / name).read_bytes() for name in sorted(names)}


def manifest_of(folder: Path) -> Manifest:
    manifest = read_manifest(folder)
    assert manifest is not None
    return manifest


def coded_in(folder: Path) -> dict[str, bytes]:
    """The `.rfy` file of each sample, by key; no key comes twice."""
    found: dict[str, bytes] = {}
    for shard in manifest_of(folder).shards:
        data = (folder / shard.name).read_bytes()
        for key, fields in read_members(folder / shard.name):
            assert key not in found
            place = fields["rfy"]
            found[key] = data[place.offset : place.offset + place.size]
    return found


def untagged(path: Path) -> Audio:
    audio = read_audio(path)
    return Audio(audio.samples, audio.sample_rate, audio.subtype)


def test_every_whole_sound_is_a_sample_and_others_are_named(mixed: Path, tmp_path: Path) -> None:
    assert pack(mixed, tmp_path) == 3  # the damaged ones
    found = coded_in(tmp_path)
    assert list(found) == [name.rpartition(".")[0] for name in FILES]
    for name, data in zip(FILES, found.values(), strict=True):
        assert data == api.encode(untagged(mixed / name), codec="walloc-audio")
    manifest = manifest_of(tmp_path)
    assert (manifest.samples, manifest.classes, manifest.is_complete) == (len(FILES), ("a", "b"), True)
    assert (manifest.settings.codec, manifest.settings.seconds) == ("walloc-audio", None)
    reasons = {skipped.source: skipped.reason for skipped in manifest.skipped}
    for name, words in {
        "a/cut.wav": "is incomplete: its header promises 10000 bytes",
        "a/short.mp3": "is incomplete",
        "a/nothing.flac": "is empty (0 bytes)",
        "a/silent.wav": "the sound is empty",
        "b/six.wav": "has 6 channels",
        "b/page.wav": "is a text file, not a sound",
        "b/picture.png": ".png is no suffix that is taken",
    }.items():
        assert reasons.pop(name).startswith(words)
    assert not reasons
    assert str(mixed) not in (tmp_path / "manifest.json").read_text()


def test_the_same_sounds_give_the_same_bytes_and_nothing_is_done_twice(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(mixed, tmp_path / "a", "--threads", "2")
    pack(mixed, tmp_path / "b", "--threads", "1")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    capsys.readouterr()
    command = ["pack", str(mixed), "-o", str(tmp_path / "a"), "--codec", "walloc-audio"]
    assert main(command) == 3
    assert f"{len(FILES)} skipped" in capsys.readouterr().err
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_pictures_of_the_same_folder_are_not_looked_for(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", str(whole), "-o", str(tmp_path), "--codec", "walloc-image"]) != 0
    assert "holds no file that ends in" in capsys.readouterr().err


# Pieces


def test_recordings_are_cut_into_pieces_of_one_length(whole: Path, tmp_path: Path) -> None:
    assert pack(whole, tmp_path, "--seconds", str(SECONDS)) == 0
    found = coded_in(tmp_path)
    assert list(found) == [f"{key}-{number:06}" for key, count in PIECES.items() for number in range(count)]
    for name in FILES:
        audio = untagged(whole / name)
        count = round(SECONDS * audio.sample_rate)
        for number in range(PIECES[name.rpartition(".")[0]]):
            piece = Audio(audio.samples[:, number * count :][:, :count], audio.sample_rate, audio.subtype)
            wanted = api.encode(piece, codec="walloc-audio")
            assert found[f"{name.rpartition('.')[0]}-{number:06}"] == wanted
    dataset = LatentDataset(tmp_path)
    assert len({sample.latents.shape for sample in dataset.__getitems__(range(len(dataset)))}) == 2  # mono and stereo
    assert dataset.labels.tolist() == [0] * 6 + [1] * 11


def test_pieces_are_counted_by_whole_ones() -> None:
    assert [piece_count(length, 1000, 0.5) for length in (499, 500, 999, 1000)] == [0, 1, 1, 2]
    assert piece_count(3, 1000, 1e-9) == 3  # a piece has a sample at least


def test_sounds_shorter_than_a_piece_are_left_out_and_are_no_errors(whole: Path, tmp_path: Path) -> None:
    assert pack(whole, tmp_path, "--seconds", "0.3") == 0
    manifest = manifest_of(tmp_path)
    assert [skipped.source for skipped in manifest.skipped] == ["a/0.wav", "a/1.flac", "a/2.opus", "b/3.mp3"]
    assert {skipped.reason for skipped in manifest.skipped} == {"is shorter than a piece of 0.3 seconds"}
    assert list(coded_in(tmp_path)) == ["b/4-000000", "b/5-000000"]
    before = contents(tmp_path)
    assert pack(whole, tmp_path, "--seconds", "0.3") == 0
    assert contents(tmp_path) == before


@pytest.mark.parametrize("options", [[], ["--seconds", "0.2"]])
def test_pieces_of_other_lengths_are_refused(
    whole: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    pack(whole, tmp_path, "--seconds", str(SECONDS))
    before = contents(tmp_path)
    assert pack(whole, tmp_path, *options) == 2
    assert "seconds 0.1, not" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_pictures_have_no_seconds(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pack", str(whole), "-o", str(tmp_path), "--codec", "walloc-image", "--seconds", "1"]
    assert main(command) == 2
    assert "--seconds cuts sounds" in capsys.readouterr().err


def killed_at(step: int, run: Callable[[], object]) -> bool:
    """Run in a process that is killed before its step-th sample; tells whether it came to that."""
    child = os.fork()
    if child == 0:
        left, add = step, Packer.add

        def counted(self: Packer, *arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return add(self, *arguments)

        Packer.add = counted  # type: ignore[method-assign]
        run()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@needs_fork
@pytest.mark.parametrize("options", [[], ["--seconds", str(SECONDS)]], ids=["files", "pieces"])
def test_a_killed_run_goes_on_to_the_same_shards(
    whole: Path, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rarefy.tools.commands.pack.MEGABYTE", 120)  # two samples in a shard, or three
    assert pack(whole, tmp_path / "whole", *options) == 0
    wanted = contents(tmp_path / "whole")
    samples = sum(PIECES.values()) if options else len(FILES)
    assert len(wanted) > samples / 4
    for step in range(1, samples, 3 if options else 2):
        target = tmp_path / f"{step}"
        assert killed_at(step, lambda target=target: pack(whole, target, *options))  # type: ignore[misc]
        assert not manifest_of(target).is_complete
        assert pack(whole, target, *options) == 0
        assert contents(target) == wanted, f"killed before sample {step}"
    assert not killed_at(samples, lambda: pack(whole, tmp_path / "last", *options))


class StoppedError(BaseException):
    """Nothing handles it."""


def test_a_recording_that_is_half_packed_is_completed_once(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole recordings are not coded again, the half one is, and its first pieces stay what they are."""
    monkeypatch.setattr("rarefy.tools.commands.pack.MEGABYTE", 40)  # a sample in a shard
    add, coded = Packer.add, list[str]()

    def stopped(self: Packer, key: str, *rest: Any) -> Any:
        if key == "b/4-000003":
            raise StoppedError
        return add(self, key, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Packer, "add", stopped)
        with pytest.raises(StoppedError):
            pack(whole, tmp_path / "out", "--seconds", str(SECONDS))
    assert len(manifest_of(tmp_path / "out").shards) == 10
    with monkeypatch.context() as patch:
        patch.setattr(Packer, "add", lambda self, key, *rest: coded.append(key) or add(self, key, *rest))
        assert pack(whole, tmp_path / "out", "--seconds", str(SECONDS)) == 0
    assert coded == [f"b/4-{number:06}" for number in (2, 3, 4)] + [f"b/5-{number:06}" for number in range(4)]
    assert len(coded_in(tmp_path / "out")) == sum(PIECES.values())


# Beyond one machine


@pytest.mark.parametrize("options", [[], ["--seconds", str(SECONDS)]], ids=["files", "pieces"])
def test_what_goes_to_a_cluster_gives_the_same(
    mixed: Path, tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ray does it: the work and its items travel as pickles, and so do results and errors."""

    def on_ray(items: Sequence[Any], work: Callable[[Any], Any], _: str) -> Iterator[tuple[Any, Any]]:
        work, sent = pickle.loads(pickle.dumps((work, list(items))))
        return zip(items, pickle.loads(pickle.dumps(work(sent))), strict=True)

    monkeypatch.setattr("rarefy.tools.pack_ray.on_ray", on_ray)
    assert pack(mixed, tmp_path / "here", *options) == 3
    assert pack(mixed, tmp_path / "there", "--ray", "auto", *options) == 3
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


@pytest.mark.slow
def test_a_cluster_packs_the_same_though_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    (tmp_path / "in").mkdir()
    for number in range(150):
        samples = tones(1 + number % 2, 60_000 + 1000 * (number % 4), 24_000)  # work for a while
        (tmp_path / "in" / f"{number:03}.wav").write_bytes(encoded(samples, "WAV", "PCM_16", 24_000))
    (tmp_path / "in/050.wav").write_bytes(b"no sound")
    monkeypatch.setattr("rarefy.tools.commands.pack.MEGABYTE", 900)
    assert pack(tmp_path / "in", tmp_path / "here", "--seconds", "1") == 3
    with clusters.killed_before("020-000000", monkeypatch, ray):
        assert pack(tmp_path / "in", tmp_path / "there", "--seconds", "1", "--ray", "auto") == 3
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) > 3
