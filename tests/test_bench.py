"""The benchmark and the demonstration: figures against known values, results against the files they speak of."""

import io
import json
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs import api
from rarefy.errors import OptionError
from rarefy.tools import demo
from rarefy.tools.anchors import ANCHORS
from rarefy.tools.bench_images import rarefy_candidate
from rarefy.tools.cli import main
from rarefy.tools.metrics import psnr

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff",
    "webp": b"RIFF",
    "avif": b"\0\0\0",
    "avif-fast": b"\0\0\0",
    "jxl": b"\xff\x0a",
    "hevc": b"\0\0\0\1\x40\1",  # a start code and a video parameter set
    "av1": b"\x12\0\x0a",  # temporal delimiter, then a sequence header
}


@pytest.mark.parametrize("name", ANCHORS)
def test_anchors_write_their_format_and_span_a_range(name: str, photograph: NDArray[np.uint8]) -> None:
    anchor = ANCHORS[name]
    if anchor.lack:
        pytest.skip(anchor.lack)
    files = [anchor.encode(photograph, setting, 1) for setting in anchor.settings]
    assert all(file.startswith(SIGNATURES[name]) for file in files)
    fidelities = [psnr(photograph, anchor.decode(file)) for file in files]
    assert len(files) == 5
    assert all(len(first) < len(second) for first, second in pairwise(files))
    assert all(first + 1 < second for first, second in pairwise(fidelities))


@pytest.mark.parametrize(("name", "suffix"), [("hevc", "hevc"), ("av1", "obu")])
def test_streams_of_video_are_what_ffmpeg_reads(
    name: str, suffix: str, tmp_path: Path, photograph: NDArray[np.uint8]
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / f"picture.{suffix}"  # FFmpeg finds the format by itself
    path.write_bytes(ANCHORS[name].encode(photograph, ANCHORS[name].settings[2], 1))
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 1
    assert np.array_equal(frames[0], ANCHORS[name].decode(path.read_bytes()))


def test_figures_of_jpeg_are_those_of_pillow_by_hand(tmp_path: Path, photograph: NDArray[np.uint8]) -> None:
    pytest.importorskip("scipy")
    for number in range(3):
        Image.fromarray(np.roll(photograph, 20 * number, 1)).save(tmp_path / f"{number}.png")
    target = tmp_path / ".out.json"
    codecs = ["--codecs", "image@50", "--anchors", "jpeg@30"]
    assert main(["bench", "images", str(tmp_path), *codecs, "--threads", "1", "--json", str(target)]) == 0
    rows = [row for row in json.loads(target.read_text())["rows"] if row["codec"] == "jpeg"]
    assert len(rows) == 3
    for row in rows:
        picture, file = Image.open(tmp_path / row["picture"]), io.BytesIO()
        picture.save(file, "JPEG", quality=30, optimize=True)
        assert row["size_bytes"] == len(file.getvalue())
        error = np.asarray(picture, np.float64) - np.asarray(Image.open(file), np.float64)
        assert row["psnr_db"] == pytest.approx(10 * np.log10(255**2 / np.mean(error**2)))


def test_bench_images_tells_of_real_files(
    tmp_path: Path, photograph: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    pictures = {"a.png": photograph, "b.png": photograph[::-1, :64]}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / name)
    arguments = ["bench", "images", str(tmp_path), "--codecs", "image@20,80", "--anchors", "webp", "--threads", "1"]
    assert main([*arguments, "--json", str(tmp_path / "out.json"), "--plot", str(tmp_path / "out.svg")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    ours = {(row["setting"], row["picture"]): row for row in result["rows"] if row["codec"] == "image"}
    assert set(ours) == {(setting, name) for setting in (20, 80) for name in pictures}
    for (setting, name), row in ours.items():
        data = api.encode(pictures[name], quality=setting, threads=1)
        assert row["size_bytes"] == len(data)
        assert row["bits_per_pixel"] == 8 * len(data) / (row["width"] * row["height"])
        assert row["psnr_db"] == pytest.approx(psnr(pictures[name], np.asarray(api.decode(data))), abs=0.01)
    assert len(result["rows"]) == 2 * (2 + 5)
    assert set(result["bd_rate"]) == {"image", "webp"}
    assert "BD-rate of image against webp: " in capsys.readouterr().out
    assert result["command"].startswith("rarefy bench images ")
    assert result["machine"]["threads"] == 1
    assert {"rarefy", "torch", "pillow"} <= set(result["versions"])
    assert (tmp_path / "out.svg").read_text().count("<path") > 10


def test_bench_folder_compares_files_and_times(tmp_path: Path) -> None:
    pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    target = tmp_path / "folder.json"
    assert main(["bench", "folder", "--count", "3", "--calls", "1", "--threads", "1", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    assert result["written"] == 3 and result["is_equal"]
    assert result["speedup"] == pytest.approx(3 * result["call_s"] / result["folder_s"])


@pytest.mark.parametrize("codec", ["image", "walloc-image"])
def test_bench_speed_times_calls_and_a_process(codec: str, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    target = tmp_path / "speed.json"
    line = ["--codec", f"{codec}@50", "--size", "96x64", "--runs", "2", "--threads", "1", "--json", str(target)]
    assert main(["bench", "speed", *line]) == 0
    result = json.loads(target.read_text())
    assert 0 < result["encode_outside_networks_ms"] < result["encode_ms"] * 3
    assert result["webp_encode_ms"] > 0 and 0.3 < result["webp_bytes"] / result["size_bytes"] < 3
    assert 0 < result["decode_ms"] < result["process_decode_ms"]
    assert result["size_bytes"] > 0


@pytest.mark.slow
def test_bench_large_measures_wholes_regions_and_units(tmp_path: Path, photograph: NDArray[np.uint8]) -> None:
    from rarefy.tools import bench_large

    path = tmp_path / "large.png"
    Image.fromarray(bench_large.enlarged(photograph, 1100, 1000)).save(path)
    result = bench_large.measure([path], [(300, 200)], 1, ["rarefy"], region_size=(1600, 800))
    assert result["whole"][0]["size_bytes"] > 500 and 0 < result["regions"]["mean_share"] < 1
    assert [row["pictures"] for row in result["units"]] == [1, 1, 1]
    assert "of rate" in bench_large.table(result)


def test_enlarged_pictures_are_mirrored() -> None:
    from rarefy.tools.bench_large import enlarged

    row = np.arange(3, dtype=np.uint8)[None, :, None].repeat(3, 2)
    assert enlarged(row, 8, 2)[:, :, 0].tolist() == [[0, 1, 2, 2, 1, 0, 0, 1]] * 2


@pytest.mark.parametrize(
    "arguments",
    [["images", "x", "--anchors", "gif"], ["images", "x", "--codecs", "image"], ["speed", "--size", "64"], ["volume"]],
)
def test_bench_refuses_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["bench", *arguments])
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith("rarefy: error: ")


def test_the_closest_setting_is_found() -> None:
    random = Random(5)
    for _ in range(50):
        sizes = sorted(random.sample(range(100, 10_000), 101))
        wanted = random.randrange(50, 11_000)
        found = demo.closest_setting(sizes.__getitem__, wanted)
        assert abs(sizes[found] - wanted) == min(abs(size - wanted) for size in sizes)


def test_the_demonstration_leaves_files_and_a_comparison(
    tmp_path: Path, photograph: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photograph).save(tmp_path / "cat.png")
    assert demo.main([str(tmp_path / "cat.png"), "--out", str(tmp_path / "demo"), "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["rarefy", "jpeg", "webp", "avif"]
    size = (tmp_path / "demo" / "cat.rfy").stat().st_size
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "demo" / "cat.rfy.png")),
        np.asarray(api.decode((tmp_path / "demo" / "cat.rfy").read_bytes())),
    )
    assert f"{8 * size / (97 * 141):.3f}" in lines[2]
    assert Image.open(tmp_path / "demo" / "cat-compared.png").size == (5 * demo.NARROWEST + 4 * 4, 97 + demo.LABEL)


@pytest.mark.parametrize("name", ["image+x", "image+7", "image+-1", "image+1.5"])
def test_efforts_that_do_not_exist_are_told_at_once(name: str) -> None:
    with pytest.raises(OptionError, match="effort, 0 to 6"):
        rarefy_candidate((name, (50.0,)), 1, "cpu")
