"""What careful tools get right: permissions, full disks, warnings, and options that are refused in time."""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import rarefy
from rarefy.codecs import media, weights
from rarefy.codecs.container import read_info
from rarefy.codecs.unfinished import whole_file
from rarefy.codecs.weights import candidates
from rarefy.tools.arguments import positive_number, region, size_bytes
from rarefy.tools.files import write_bytes

Run = Callable[..., tuple[int, str, str]]


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("source_mode", "mask", "expected"), [(0o644, 0o022, 0o644), (0o600, 0o022, 0o600), (0o666, 0o027, 0o640)]
)
def test_new_outputs_get_the_permissions_that_cp_gives(
    tmp_path: Path, source_mode: int, mask: int, expected: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.touch()
    source.chmod(source_mode)
    with umask(mask):
        write_bytes(str(target), b"whole", str(source))
    assert target.stat().st_mode & 0o777 == expected


def test_outputs_that_exist_keep_their_permissions(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.touch()
    target.touch()
    target.chmod(0o604)
    write_bytes(str(target), b"whole", str(source))
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"whole", 0o604)


def test_a_private_picture_stays_private(run: Run, picture: Path) -> None:
    picture.chmod(0o600)
    assert run("encode", picture)[0] == 0
    assert picture.with_suffix(".rfy").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(run: Run, small_file: Path) -> None:
    before = set(small_file.parent.iterdir())
    with largest_file(500):
        code, _, err = run("decode", small_file)
    assert (code, err) == (1, f"rarefy: error: {small_file.with_suffix('.png')}: file too large\n")
    assert set(small_file.parent.iterdir()) == before


def test_what_is_overwritten_survives_a_failure(run: Run, small_file: Path) -> None:
    target = small_file.with_suffix(".png")
    target.write_bytes(b"precious")
    with largest_file(500):
        assert run("decode", small_file, "-f")[0] == 1
    assert target.read_bytes() == b"precious"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device_ends_with_one_sentence(run: Run, small_file: Path) -> None:
    code, _, err = run("decode", small_file, "-o", "/dev/full")
    assert (code, err) == (1, "rarefy: error: /dev/full: no space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["codecs"], ["info", "kept.rfy"]], ids=" ".join)
def test_a_full_disk_behind_standard_output(small_file: Path, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "rarefy", *arguments]
    with open("/dev/full", "wb") as full:
        finished = subprocess.run(command, cwd=small_file.parent, stdout=full, stderr=subprocess.PIPE, timeout=120)
    assert finished.returncode == 1
    assert finished.stderr == b"rarefy: error: standard output: no space left on device\n"


def test_a_name_of_a_folder_is_no_output(run: Run, picture: Path) -> None:
    picture.with_suffix(".rfy").mkdir()
    code, _, err = run("encode", picture, "-f")
    assert code == 2
    assert err.startswith(f"rarefy: error: {picture.with_suffix('.rfy')}: is a folder\n")


def test_an_unfinished_file_has_a_hidden_name_of_its_own(tmp_path: Path) -> None:
    with whole_file(tmp_path / "cat.rfy") as file:
        file.write(b"half")
        (unfinished,) = tmp_path.iterdir()
        assert unfinished.name.startswith(".")
        assert unfinished.suffix == ".part"
    assert [path.name for path in tmp_path.iterdir()] == ["cat.rfy"]


def test_what_is_not_kept_is_said_and_named(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = media.as_image
    note = "the second of 2 frames is left out"
    monkeypatch.setattr(media, "as_image", lambda *given, **options: replace(whole(*given, **options), notes=(note,)))
    code, _, err = run("encode", picture)
    assert code == 0
    assert err.startswith(f"rarefy: warning: {picture}: {note}\n")
    assert run("encode", picture, "-f", "-q") == (0, "", "")


def test_what_a_format_cannot_hold_is_said_and_named(run: Run, picture: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    with Image.open(picture) as original:
        original.load()
        original.save(picture, exif=exif)
    files = [picture.with_name(name) for name in ("a.rfy", "b.rfy")]
    for file in files:
        assert run("encode", picture, "-o", file)[0] == 0
    for number in range(2):  # the second time too: Python shows warnings once, unless told otherwise
        code, _, err = run("decode", files[number], "-o", picture.with_suffix(".bmp"), "-f")
        assert code == 0
        assert err.startswith(f"rarefy: warning: {files[number]}: left out, as BMP does not take it: EXIF\n")


def test_strip_leaves_out_what_tells_of_people_and_keeps_the_colours(run: Run, picture: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    with Image.open(picture) as original:
        original.load()
        original.save(picture, exif=exif, icc_profile=profile())
    assert run("encode", picture)[0] == 0
    target = picture.with_suffix(".rfy")
    assert set(read_info(target).metadata) == {"exif", "icc"}
    assert run("encode", picture, "--strip", "-f")[0] == 0
    assert set(read_info(target).metadata) == {"icc"}


def profile() -> bytes:
    """Return a colour profile that is not sRGB."""
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()


def test_transcoding_replaces_a_file_only_when_told_to(run: Run, small_file: Path, encoded: bytes) -> None:
    code, _, err = run("transcode", small_file, "--quality", "20")
    assert code == 2
    assert err.splitlines()[0] == "rarefy: error: the inputs would be replaced"
    assert small_file.read_bytes() == encoded
    assert run("transcode", small_file, "--quality", "20", "-f")[0] == 0
    assert read_info(small_file).quality == 20
    difference = np.asarray(rarefy.decode(small_file)).astype(int) - np.asarray(rarefy.decode(encoded))
    assert np.abs(difference).mean() < 12


def test_transcoding_leaves_alone_what_is_as_it_should_be(run: Run, small_file: Path, encoded: bytes) -> None:
    written = small_file.stat().st_mtime_ns
    code, _, err = run("transcode", small_file, "-f", "-v")
    assert code == 0
    assert "has this codec, these weights and this quality already" in err
    assert small_file.stat().st_mtime_ns == written
    code, _, err = run("transcode", "-r", small_file.parent, "-o", small_file.parent / "out")
    assert err.endswith("ms, kept as it is\n")
    assert (small_file.parent / "out" / "kept.rfy").read_bytes() == encoded
    assert run("transcode", small_file, "-f", "--always")[0] == 0
    assert small_file.stat().st_mtime_ns != written


def test_transcoding_keeps_the_codec_unless_told_otherwise(run: Run, picture: Path) -> None:
    target = picture.with_suffix(".rfy")
    assert run("encode", picture, "--codec", "walloc-image")[0] == 0
    assert run("transcode", target, "-f", "--quality", "30")[0] == 0
    assert (read_info(target).codec, read_info(target).quality) == ("walloc-image", 30)
    assert "these weights and this quality already" in run("transcode", target, "-f", "-v")[2]
    assert run("transcode", target, "-f", "--codec", "image")[0] == 0
    assert (read_info(target).codec, read_info(target).quality) == ("image", 30)


def test_transcoding_tells_files_that_are_damaged(run: Run, tmp_path: Path, encoded: bytes) -> None:
    flipped = bytearray(encoded)
    flipped[len(encoded) // 2] ^= 1
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name, data in {"a": encoded[:-30], "b": bytes(flipped), "c": encoded}.items():
        (folder / f"{name}.rfy").write_bytes(data)
    for options in ([], ["--verify"]):
        code, _, err = run("transcode", "-r", folder, "-o", tmp_path / "out", "-f", *options)
        assert code == 3
        assert "a.rfy: " in err and "b.rfy: " in err and "kept as it is" in err
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.rfy"]


def test_transcoding_keeps_metadata_and_alpha(run: Run, picture: Path) -> None:
    with Image.open(picture) as original:
        exif = Image.Exif()
        exif[0x010F] = "Camera"
        original.load()
        original.putalpha(Image.linear_gradient("L").resize(original.size))
        original.save(picture, exif=exif)
    assert run("encode", picture)[0] == 0
    target = picture.with_suffix(".rfy")
    before = rarefy.decode(target)
    assert run("transcode", target, "-f", "--quality", "30")[0] == 0
    after = rarefy.decode(target)
    assert read_info(target).quality == 30
    assert after.exif == before.exif is not None
    assert before.alpha is not None
    assert np.array_equal(np.asarray(after.alpha), before.alpha)


@pytest.fixture
def former_weights(tmp_path: Path) -> Path:
    """A folder with another generation of the codec's weights."""
    present = candidates("image")[0]
    with safe_open(present, "pt") as file:
        facts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in tensors if name.startswith("g_s.") and name.endswith(".bias"))
    tensors[name] = tensors[name] + 1e-3
    (tmp_path / "former").mkdir()
    save_file(tensors, tmp_path / "former" / present.name, facts)
    return tmp_path / "former"


def test_transcoding_brings_files_to_the_present_weights(
    run: Run, picture: Path, former_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, target = candidates("image")[0].parent, picture.with_suffix(".rfy")
    current = read_info(rarefy.encode(picture)).weights
    monkeypatch.setenv("RAREFY_WEIGHTS", str(former_weights))
    assert run("encode", picture, "--quality", "40")[0] == 0
    assert read_info(target).weights != current
    former = np.asarray(rarefy.decode(target)).astype(int)
    monkeypatch.setenv("RAREFY_WEIGHTS", f"{present}{os.pathsep}{former_weights}")
    assert run("transcode", target, "-f")[0] == 0
    assert (read_info(target).weights, read_info(target).quality) == (current, 40)
    assert np.abs(np.asarray(rarefy.decode(target)) - former).mean() < 5


@pytest.mark.parametrize(
    ("text", "value"), [("50k", 50_000), ("50kB", 50_000), ("1.5M", 1_500_000), ("20000", 20_000), ("1.0005k", 1000)]
)
def test_sizes_are_read(text: str, value: int) -> None:
    assert size_bytes(text) == value


@pytest.mark.parametrize("text", ["", "0", "0.0004k", "-5k", "50x", "k", "5e3", "nan", "1,5M"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size such as"):
        size_bytes(text)


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "x"])
def test_what_is_no_positive_number_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number above 0"):
        positive_number(text)


def test_regions_are_read() -> None:
    assert region("1024,512,256,255") == (1024, 512, 256, 255)
    for text in ("1,2,3", "1,2,3,4,5", "-1,0,5,5", "1,2,0,4", "1.5,2,3,4", "a,b,c,d"):
        with pytest.raises(argparse.ArgumentTypeError):
            region(text)


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode", "cat.png", "--quality", "50", "--target-size", "5k"],
        ["encode", "cat.png", "--target-bpp", "1", "--target-psnr", "30"],
        ["encode", "cat.png", "-f", "--skip-existing"],
        ["decode", "cat.rfy", "--region", "0,0,1,1", "--preview", "2"],
        ["decode", "cat.rfy", "--preview", "3"],
        ["transcode", "cat.rfy", "--skip-existing"],
    ],
    ids=" ".join,
)
def test_options_that_contradict_each_other_are_wrong_usage(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("rarefy: error: ")


def test_names_that_stdout_cannot_spell_are_escaped(small_file: Path, tmp_path: Path) -> None:
    named = tmp_path / "日本.rfy"
    named.write_bytes(small_file.read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "rarefy", "info", str(named)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        check=False,
    )
    assert done.returncode == 0 and rb"\u65e5\u672c.rfy" in done.stdout


@pytest.mark.skipif(not candidates("image"), reason='no weights of codec "image" are here')
def test_processors_without_avx2_code_the_same(small_file: Path, tmp_path: Path) -> None:
    """Torch is told so; its pixel shuffle has no way for channels-last tensors then."""
    env = os.environ | {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}
    machines = ("x86_64", "AMD64")
    program = f"from rarefy.models import layers as l; assert l._SHUFFLES_ROWS == (l.platform.machine() in {machines})"
    subprocess.run([sys.executable, "-c", program], env=env, check=True)
    line = [sys.executable, "-m", "rarefy", "decode", str(small_file), "-o", str(tmp_path / "a.png"), "-q"]
    subprocess.run(line, env=env, check=True)
    with Image.open(tmp_path / "a.png") as picture:
        there = np.asarray(picture).astype(int)
    assert np.abs(there - np.asarray(rarefy.decode(small_file)).astype(int)).max() <= 2


def test_a_pixel_shuffle_by_rows_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    from rarefy.models import layers

    x = torch.randn(2, 16, 3, 5).contiguous(memory_format=torch.channels_last)
    wanted = torch.nn.functional.pixel_shuffle(x, 4)
    for by_rows in (False, True):
        monkeypatch.setattr(layers, "_SHUFFLES_ROWS", by_rows)
        found = layers.pixel_shuffle(x, 4)
        assert torch.equal(found, wanted)
        assert found.is_contiguous(memory_format=torch.channels_last) or not by_rows


def test_a_benchmark_asks_for_its_packages_first(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rarefy.tools.bench.find_spec", lambda name: None)
    for line, needed in (
        (["speed"], "skimage"),
        (["images", tmp_path], "scipy"),
        (["images", tmp_path, "--plot", tmp_path / "a.svg"], "scipy and matplotlib"),
    ):
        code, _, err = run("bench", *line)
        assert code == 1 and f"bench {line[0]} needs {needed}" in err and "rarefy[bench]" in err


@pytest.mark.parametrize("dtype", [torch.float16, torch.int32, torch.int8])
def test_weights_have_one_name_on_every_machine(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.arange(6).to(dtype).reshape(2, 3)
    swapped = torch.from_numpy(tensor.numpy().byteswap())
    here = weights._little_endian(tensor).tobytes()
    assert here == tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes()
    other = "big" if sys.byteorder == "little" else "little"
    monkeypatch.setattr(weights.sys, "byteorder", other)  # type: ignore[attr-defined]
    assert weights._little_endian(swapped).tobytes() == here
