"""Packing: what stands in shards and manifests, and that a killed run loses and doubles nothing."""

import errno
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import clusters
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs import api
from rarefy.codecs.folders import visible_files
from rarefy.codecs.weights import candidates, load_codec
from rarefy.data import LatentDataset, index, packing, shards
from rarefy.data import manifest as manifests
from rarefy.data.manifest import Settings, read_manifest
from rarefy.data.packing import Packer
from rarefy.data.shards import read_members
from rarefy.data.sources import find_sources
from rarefy.errors import FormatError, OptionError, RarefyError, RarefyWarning
from rarefy.tools.cli import main

SETTINGS = Settings("image", "ab" * 32, 50.0, "none", "in", 8192)
needs_weights = pytest.mark.skipif(not candidates("image"), reason='no weights for codec "image"')
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photograph: NDArray[np.uint8]) -> Path:
    """Two classes of pictures in two sizes, a text, and half of a picture."""
    folder = tmp_path_factory.mktemp("pack") / "in"
    for number in range(10):
        path = folder / ("dog" if number % 2 else "cat") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 32 if number < 7 else 40
        Image.fromarray(photograph[number : number + side, number : number + 32]).save(path)
    (folder / "dog/notes.txt").write_text("no picture")
    whole = (folder / "cat/0.png").read_bytes()
    (folder / "cat/cut.png").write_bytes(whole[: len(whole) // 2])
    return folder


def pack(folder: Path, target: Path, *options: str) -> int:
    return main(["pack", str(folder), "-o", str(target), "--codec", "image", "-q", *options])


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all shards and of the manifest."""
    names = [path.name for path in folder.iterdir() if path.suffix in (".tar", ".json")]
    return {name: (folder / name).read_bytes() for name in sorted(names)}


@needs_weights
def test_shards_hold_files_labels_and_a_manifest(pictures: Path, tmp_path: Path) -> None:
    assert pack(pictures, tmp_path / "out") == 3  # the half picture
    with tarfile.open(tmp_path / "out/latents-000000.tar") as tar:
        members = {member.name: member for member in tar}
        names = [f"cat/{n}" for n in (0, 2, 4, 6, 8)] + [f"dog/{n}" for n in (1, 3, 5, 7, 9)]
        assert list(members) == [f"{name}.{field}" for name in names for field in ("cls", "rfy")]
        assert {member.mtime for member in members.values()} == {0}
        coded = {name: tar.extractfile(f"{name}.rfy").read() for name in names}  # type: ignore[union-attr]
        labels = [tar.extractfile(f"{name}.cls").read() for name in names]  # type: ignore[union-attr]
    assert labels == [b"0"] * 5 + [b"1"] * 5
    for name, data in coded.items():
        with Image.open(pictures / f"{name}.png") as picture:
            assert api.open(data).info.size == picture.size
        assert data == api.encode(pictures / f"{name}.png")
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert (manifest.samples, manifest.classes, manifest.is_complete) == (10, ("cat", "dog"), True)
    assert manifest.settings.weights == load_codec("image").weights_hash.hex()
    assert [skipped.source for skipped in manifest.skipped] == ["cat/cut.png", "dog/notes.txt"]
    assert "truncated" in manifest.skipped[0].reason
    assert str(pictures) not in (tmp_path / "out/manifest.json").read_text()


@needs_weights
def test_the_same_pictures_give_the_same_bytes_and_nothing_is_done_twice(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(pictures, tmp_path / "a")
    os.utime(pictures / "cat/0.png", (1, 1))
    pack(pictures, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.tar")}
    capsys.readouterr()
    assert main(["pack", str(pictures), "-o", str(tmp_path / "a"), "--codec", "image"]) == 3
    assert "10 skipped" in capsys.readouterr().err
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.tar")} == before


@needs_weights
def test_new_pictures_and_classes_follow_in_shards_of_their_own(
    pictures: Path, tmp_path: Path, photograph: NDArray[np.uint8]
) -> None:
    source = tmp_path / "in"
    source.symlink_to(pictures)
    pack(source, tmp_path / "out")
    first = (tmp_path / "out/latents-000000.tar").read_bytes()
    source.unlink()
    for name in ("ant/1.png", "cat/cut.png"):  # a class before the others, and the half picture made whole
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph[:32, :32]).save(source / name)
    assert pack(source, tmp_path / "out") == 0
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None and manifest.classes == ("cat", "dog", "ant")
    assert [shard.samples for shard in manifest.shards] == [10, 2]
    assert [skipped.source for skipped in manifest.skipped] == ["dog/notes.txt"]
    assert (tmp_path / "out/latents-000000.tar").read_bytes() == first
    with tarfile.open(tmp_path / "out/latents-000001.tar") as tar:
        assert tar.extractfile("ant/1.cls").read() == b"2"  # type: ignore[union-attr]


@needs_weights
def test_labels_in_json_stand_beside_pictures(tmp_path: Path, photograph: NDArray[np.uint8]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(photograph[:32, :32]).save(source / f"{name}.png")
    (source / "a.json").write_text('{"caption": "a cat"}')
    (source / "b.json").write_text('{"caption"')
    assert pack(source, tmp_path / "out", "--label", "json") == 3
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    reasons = {skipped.source: skipped.reason for skipped in manifest.skipped}
    assert reasons == {"b.png": "has no label: b.json is no JSON", "c.png": "has no label: c.json is not there"}
    ((key, fields),) = read_members(tmp_path / "out/latents-000000.tar")
    assert key == "a" and set(fields) == {"json", "rfy"}


@needs_weights
@pytest.mark.parametrize(
    ("options", "word"), [(["--quality", "51"], "quality"), (["--label", "none"], "label"), (["--codec", "x"], "codec")]
)
def test_other_settings_are_refused(
    pictures: Path, tmp_path: Path, options: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(pictures, tmp_path)
    before = contents(tmp_path)
    assert pack(pictures, tmp_path, *options) == 2
    assert word in capsys.readouterr().err.splitlines()[-1]
    assert contents(tmp_path) == before


@needs_weights
def test_other_weights_are_refused(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(pictures, tmp_path)
    record = json.loads((tmp_path / "manifest.json").read_text())
    record["settings"]["weights"] = "00" * 32
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    assert pack(pictures, tmp_path) == 2
    assert "the shards there were made with weights '0000" in capsys.readouterr().err


def test_folders_that_are_none_or_inside_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pack(tmp_path / "none", tmp_path / "out") == 2
    assert pack(tmp_path, tmp_path / "out") == 2
    assert "lies in the folder that is packed" in capsys.readouterr().err


# Packing itself, without pictures


def samples(count: int) -> list[tuple[str, dict[str, bytes]]]:
    """Samples of sizes that fill shards unevenly."""
    return [(f"{number:03}", {"rfy": bytes([number]) * (300 + 137 * (number % 9))}) for number in range(count)]


def fill(folder: Path, count: int = 14) -> None:
    """Pack the samples that are not packed, one of which is skipped."""
    with Packer(folder, SETTINGS) as packer:
        for key, fields in samples(count):
            if key == "007":
                packer.skip("007.png", "no picture")
            elif key not in packer.done:
                packer.add(key, f"{key}.png", fields)
        packer.finish()


def test_shards_keep_to_their_size(tmp_path: Path) -> None:
    fill(tmp_path, 30)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    sizes = [shard.size_bytes for shard in manifest.shards]
    assert len(sizes) > 3 and sizes == [(tmp_path / shard.name).stat().st_size for shard in manifest.shards]
    assert all(size <= SETTINGS.shard_bytes + tarfile.RECORDSIZE for size in sizes)  # tar fills up the last record
    found = [key for shard in manifest.shards for key, _ in read_members(tmp_path / shard.name)]
    assert found == [key for key, _ in samples(30) if key != "007"]


def killed_at(step: int, fold: Callable[[], None]) -> bool:
    """Run in a process that is killed before its step-th change of the disk; tells whether it came to that."""
    child = os.fork()
    if child == 0:
        left = step

        def counted(function: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return function(*arguments, **options)

            return call

        for module in (shards.os, manifests.os):  # type: ignore[attr-defined]
            for name in ("replace", "fsync"):
                setattr(module, name, counted(getattr(module, name)))
        Path.unlink = counted(Path.unlink)  # type: ignore[method-assign, assignment]
        tarfile.TarFile.addfile = counted(tarfile.TarFile.addfile)  # type: ignore[method-assign, assignment]
        fold()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@needs_fork
def test_a_run_killed_at_any_moment_goes_on_to_the_same_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # against power cuts alone, and slow
    fill(tmp_path / "whole")
    wanted = contents(tmp_path / "whole")
    step = 0
    while killed_at(step, partial(fill, tmp_path / f"{step}")):
        fill(tmp_path / f"{step}")
        assert contents(tmp_path / f"{step}") == wanted, f"killed at step {step}"
        assert {path.name for path in (tmp_path / f"{step}").iterdir()} == set(wanted)
        step += 1
    assert step > 25


@needs_fork
def test_a_run_killed_again_and_again_ends(tmp_path: Path) -> None:
    fill(tmp_path / "whole", 30)
    runs = 0
    while killed_at(25, partial(fill, tmp_path / "out", 30)):
        runs += 1
        assert runs < 20
    assert runs > 1 and contents(tmp_path / "out") == contents(tmp_path / "whole")


@needs_fork
def test_two_processes_do_not_pack_into_one_folder(tmp_path: Path) -> None:
    with Packer(tmp_path, SETTINGS), pytest.raises(OptionError, match="another process"):
        Packer(tmp_path, SETTINGS)
    Packer(tmp_path, SETTINGS).close()


def test_shards_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "latents-000000.tar").write_bytes(b"precious")
    with pytest.raises(OptionError, match="without a manifest"):
        Packer(tmp_path, SETTINGS)
    assert (tmp_path / "latents-000000.tar").read_bytes() == b"precious"


@pytest.mark.parametrize("harm", ["cut", "lost", "manifest"])
def test_altered_shards_are_an_error(tmp_path: Path, harm: str) -> None:
    fill(tmp_path)
    shard = tmp_path / "latents-000001.tar"
    if harm == "cut":
        shard.write_bytes(shard.read_bytes()[:3000])
    elif harm == "lost":
        shard.unlink()
    else:
        (tmp_path / "manifest.json").write_text('{"format": "rarefy-shards", "version": 0}')
    with pytest.raises(FormatError):
        fill(tmp_path)


def test_a_failing_disk_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with Packer(tmp_path, SETTINGS) as packer:
        monkeypatch.setattr(packing.os, "fsync", full)  # type: ignore[attr-defined]
        packer.add("a", "a.png", {"rfy": b"1"})
        with pytest.raises(OSError, match="No space"):
            packer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


# Sources


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_names_that_are_no_text_are_samples_too(tmp_path: Path) -> None:
    key = os.fsdecode(b"dog/caf\xe9")
    with Packer(tmp_path, replace(SETTINGS, label="folder"), (os.fsdecode(b"d\xff"),)) as packer:
        packer.add(key, f"{key}.png", {"rfy": b"1"})
        packer.skip(os.fsdecode(b"stray\xff.txt"), "no picture")
        packer.finish()
    manifest = read_manifest(tmp_path)
    assert manifest is not None and manifest.classes == (os.fsdecode(b"d\xff"),)
    assert [name for name, _ in read_members(tmp_path / "latents-000000.tar")] == [key]
    with Packer(tmp_path, replace(SETTINGS, label="folder"), manifest.classes) as packer:
        assert packer.done == {key}


@needs_weights
def test_a_data_set_with_such_names_opens(tmp_path: Path, photograph: NDArray[np.uint8]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in (b"a.png", b"\xff\xfe.png"):
        Image.fromarray(photograph[:32, :32]).save(
            os.path.join(os.fsencode(source), name).decode(errors="surrogateescape")
        )
    assert pack(source, tmp_path / "out", "--statistics") == 0
    assert sorted(item.key for item in LatentDataset(tmp_path / "out")) == ["a", os.fsdecode(b"\xff\xfe")]


@pytest.mark.parametrize("blocks", [1, 2, 5, 6])
def test_a_shard_that_was_cut_is_told(tmp_path: Path, blocks: int) -> None:
    with Packer(tmp_path, SETTINGS) as packer:
        for number in range(3):
            packer.add(str(number), f"{number}.png", {"rfy": bytes(100)})
        packer.finish()
    shard = tmp_path / "latents-000000.tar"
    whole = shard.read_bytes()
    assert len(list(read_members(shard))) == 3
    shard.write_bytes(whole[: 512 * blocks])
    with pytest.raises(FormatError, match="whole tar file"):
        list(read_members(shard))
    shard.write_bytes(whole[: 512 * 2] + b"x" * 512 + whole[512 * 3 :])  # a header that is none
    with pytest.raises(FormatError, match="whole tar file"):
        list(read_members(shard))


def test_a_full_disk_leaves_nothing_and_lets_go_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small tar stays in Python's buffer, and its bytes fail once more when the file is closed."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    with monkeypatch.context() as patch:
        patch.setattr(shards, "temporary_of", lambda path: path.with_name("unfinished"))
        (tmp_path / "unfinished").symlink_to(full)
        packer = Packer(tmp_path, SETTINGS)
        packer.add("a", "a.png", {"rfy": bytes(100)})
        with pytest.raises(OSError, match="No space left") as caught:
            packer.finish()
        packer.close()
    assert caught.value.filename == str(tmp_path / "latents-000000.tar")
    assert not (tmp_path / "unfinished").is_symlink()
    with Packer(tmp_path, SETTINGS) as packer:  # not held any more
        assert not packer.done


def test_settings_count_from_the_first_shard_on(tmp_path: Path) -> None:
    Packer(tmp_path, SETTINGS).close()
    with Packer(tmp_path, replace(SETTINGS, quality=20.0)) as packer:
        assert packer.manifest.settings.quality == 20


@needs_weights
def test_an_index_that_cannot_be_kept_is_built_each_time(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    pack(pictures, tmp_path / "out")
    monkeypatch.setattr(index, "write_whole", fails)
    assert len(LatentDataset(tmp_path / "out")) == 10


def test_files_of_one_name_are_written_at_once(tmp_path: Path) -> None:
    """As containers do, each of which is process 1."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: manifests.write_whole(tmp_path / "one", bytes([number]) * 1000), range(200)))
    assert len(set((tmp_path / "one").read_bytes())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_folders_that_cannot_be_read_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scan = os.scandir

    def refused(path: object) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(PermissionError, match="closed"):
        find_sources(tmp_path, {".png"})
    met: list[OSError] = []
    assert list(visible_files(tmp_path, met.append)) == ["a.png"]
    assert [error.filename for error in met] == [str(tmp_path / "closed")]


def test_keys_end_at_no_dot_of_a_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.b/c.d%.png", "z.PNG", ".hidden.png", ".cache/x.png")
    sources, left_out, label = find_sources(tmp_path, {".png"})
    assert [source.key for source in sources] == ["a.b/c%2Ed%25", "z"]
    assert (left_out, label) == ([], "none")


def test_two_files_of_one_key_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/1.jpg")
    with pytest.raises(OptionError, match=r"a/1.jpg and a/1.png would both be the sample a/1"):
        find_sources(tmp_path, {".png", ".jpg"})


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png")
    (tmp_path / "a/again").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert [source.name for source in find_sources(tmp_path, {".png"})[0]] == ["a/1.png"]


def test_nothing_to_pack_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RarefyError, match="holds no file"):
        find_sources(touch(tmp_path, "a.txt"), {".png"})


# On a cluster


@needs_weights
@pytest.mark.slow
def test_a_cluster_packs_the_same_though_a_worker_is_killed(
    tmp_path: Path, photograph: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray")
    for number in range(200):
        path = tmp_path / "in" / f"{number:03}.png"
        path.parent.mkdir(exist_ok=True)
        crop = photograph[number % 60 :, number % 50 :][:32, :48]
        Image.fromarray(crop).save(path)
    (tmp_path / "in/050.png").write_bytes(b"no picture")
    monkeypatch.setattr("rarefy.tools.commands.pack.MEGABYTE", 600)
    assert pack(tmp_path / "in", tmp_path / "here") == 3
    with clusters.killed_before("020", monkeypatch, ray):
        assert pack(tmp_path / "in", tmp_path / "there", "--ray", "auto") == 3
    assert contents(tmp_path / "there") == contents(tmp_path / "here")
    assert len(contents(tmp_path / "here")) > 3


def test_packing_goes_on_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")  # what NFS says of folders

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.warns(RarefyWarning, match="no locks here: see that nothing else is packing there"):
        packer = Packer(tmp_path / "out", SETTINGS)
    with packer:
        packer.add("a", "a.png", {"rfy": b"1"})
        packer.finish()
    assert read_manifest(tmp_path / "out").is_complete


@needs_weights
def test_samples_of_files_that_are_gone_are_said(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    shutil.copytree(pictures, source)
    line = ["pack", str(source), "-o", str(tmp_path / "out"), "--codec", "image"]
    main(line)
    assert "not there any more" not in capsys.readouterr().err
    first = sorted(path for path in source.rglob("*.png"))[0]
    first.rename(first.with_name("moved.png"))
    main(line)
    gone = first.relative_to(source).with_suffix("").as_posix()
    assert f"has samples of files that are not there any more ({gone})" in capsys.readouterr().err
