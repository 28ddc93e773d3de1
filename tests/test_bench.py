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
from rarefy.tools.bench_images import Row, Subject, curve
from rarefy.tools.cli import main
from rarefy.tools.metrics import bd_rate, psnr

# Two curves (bits per pixel, dB) and the rate difference that the package bjontegaard 1.3.0 gives for them with PCHIP.
FIRST = ([0.1259, 0.2491, 0.4370, 0.6620, 0.9190], [27.9, 29.8, 31.9, 33.7, 35.2])
SECOND = ([0.1800, 0.3100, 0.5500, 0.8400, 1.2100], [28.1, 30.2, 32.6, 34.4, 36.0])
SECOND_AGAINST_FIRST = 0.11010430006709093


def test_psnr_of_known_errors() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 255) == pytest.approx(0)
    assert psnr(black + 1, black) == pytest.approx(20 * np.log10(255))
    with pytest.raises(OptionError):
        psnr(black, black[:1])


def test_bd_rate_agrees_with_another_implementation() -> None:
    pytest.importorskip("scipy")
    assert bd_rate(*SECOND, *FIRST) == pytest.approx(SECOND_AGAINST_FIRST, rel=1e-9)


def test_bd_rate_of_a_scaled_curve_is_the_scale() -> None:
    pytest.importorskip("scipy")
    rates, fidelities = FIRST
    assert bd_rate([0.8 * rate for rate in rates], fidelities, *FIRST) == pytest.approx(-0.2)
    order = [3, 0, 4, 2, 1]
    shuffled = [rates[index] for index in order], [fidelities[index] for index in order]
    assert bd_rate(*shuffled, *FIRST) == pytest.approx(0)


def test_bd_rate_needs_a_common_interval() -> None:
    rates, fidelities = FIRST
    assert bd_rate(rates, [value + 20 for value in fidelities], *FIRST) is None
    assert bd_rate([0.1, 3.0], [30.0, float("inf")], *FIRST) is None


@pytest.mark.parametrize(("name", "signature"), [("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF"), ("avif", b"\0\0\0")])
def test_anchors_write_their_format_and_span_a_range(
    name: str, signature: bytes, photograph: NDArray[np.uint8]
) -> None:
    anchor = ANCHORS[name]
    files = [anchor.encode(photograph, setting, 1) for setting in anchor.settings]
    assert all(file.startswith(signature) for file in files)
    assert all(Image.open(io.BytesIO(file)).format == anchor.format for file in files)
    fidelities = [psnr(photograph, anchor.decode(file)) for file in files]
    assert len(files) == 7
    assert all(len(first) < len(second) for first, second in pairwise(files))
    assert all(first < second for first, second in pairwise(fidelities))


def test_a_curve_is_made_of_means_over_pictures_and_medians_of_times() -> None:
    subject = Subject("x", (1.0, 2.0), lambda pixels, setting: b"", lambda data: np.zeros(0, np.uint8), False, "")
    rows = [
        Row("x", setting, name, 8, 8, 0, bits, fidelity, milliseconds, 2 * milliseconds)
        for setting, name, bits, fidelity, milliseconds in [
            (1.0, "a", 0.1, 30.0, 1.0),
            (1.0, "b", 0.3, 34.0, 2.0),
            (1.0, "c", 0.2, 35.0, 90.0),
            (2.0, "a", 1.0, 40.0, 4.0),
        ]
    ]
    first, second = curve(subject, rows)
    assert first == pytest.approx(
        {"setting": 1.0, "bits_per_pixel": 0.2, "psnr_db": 33.0, "encode_ms": 2.0, "decode_ms": 4.0}
    )
    assert second["psnr_db"] == 40


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
    assert len(result["rows"]) == 2 * (2 + 7)
    assert set(result["bd_rate"]) == {"image", "webp"}
    assert "BD-rate of image against webp: " in capsys.readouterr().out
    assert result["command"].startswith("rarefy bench images ")
    assert result["machine"]["threads"] == 1
    assert {"rarefy", "torch", "pillow"} <= set(result["versions"])
    assert (tmp_path / "out.svg").read_text().count("<path") > 10


def test_bench_speed_times_calls_and_a_process(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    target = tmp_path / "speed.json"
    assert main(["bench", "speed", "--size", "96x64", "--runs", "2", "--threads", "1", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
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
