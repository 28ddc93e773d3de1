"""`rarefy bench images --report`: bad input beside good, the page, and what a browser shows of it."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs import api
from rarefy.tools import anchors
from rarefy.tools.cli import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = "</script><img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, Path]:
    """Exit code, words on stderr and folder of a report on two pictures, with a text file and an empty one beside."""
    pytest.importorskip("matplotlib")
    data = pytest.importorskip("skimage.data")
    folder = tmp_path_factory.mktemp("bench")
    pixels = np.ascontiguousarray(data.chelsea()[100:197, 150:291])
    Image.fromarray(pixels).save(folder / "cat.png")
    Image.fromarray(pixels[::-1, :64]).save(folder / HOSTILE.replace("/", "_"))
    (folder / "notes.txt").write_text("not a picture")
    (folder / "empty.png").touch()
    out = folder / "out"
    arguments = ["--codecs", "image@20,80", "--anchors", "jpeg@20,60,90", "--metrics", "psnr,haarpsi,ms-ssim"]
    capture = pytest.MonkeyPatch()
    words: list[str] = []
    capture.setattr("rarefy.tools.terminal.Terminal._print", lambda self, line: words.append(line))
    code = main(["bench", "images", str(folder), *arguments, "--threads", "1", "--report", str(out)])
    capture.undo()
    return code, "\n".join(words), out


def test_bad_input_is_named_and_skipped_and_the_exit_code_says_so(run: tuple[int, str, Path]) -> None:
    code, words, out = run
    assert code == 3
    assert "notes.txt is a text file" in words and "empty.png is empty" in words
    result = json.loads((out / "results.json").read_text())
    assert result["unusable_files"] == ["empty.png", "notes.txt"]
    assert result["pictures"] == 2 and len(result["rows"]) == 2 * (2 + 3)
    assert {row["ms_ssim"] for row in result["rows"]} == {None}  # the pictures are too small for it


def test_rows_split_sizes_and_times(run: tuple[int, str, Path]) -> None:
    result = json.loads((run[2] / "results.json").read_text())
    for row in (row for row in result["rows"] if row["codec"] == "image"):
        assert sum(row["size_parts"].values()) == row["size_bytes"]
        assert {"header", "hyper-latents", "latents"} <= set(row["size_parts"])
        assert 0 < row["size_parts"]["hyper-latents"] < row["size_parts"]["latents"]
        assert set(row["encode_parts_ms"]) == {"analysis", "entropy_networks", "coder"}
        assert set(row["decode_parts_ms"]) == {"synthesis", "entropy_networks", "coder"}
        assert 0 < sum(row["decode_parts_ms"].values()) < row["decode_ms"]


def test_settings_are_printed(run: tuple[int, str, Path]) -> None:
    assert "jpeg: quality, 4:2:0, optimised Huffman tables; settings 20, 60, 90" in run[1]


def test_a_second_run_measures_nothing(run: tuple[int, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(*arguments: object, **options: object) -> bytes:
        raise AssertionError("measured again")

    out = run[2]
    before = json.loads((out / "results.json").read_text())
    monkeypatch.setattr(api, "encode", encode)
    arguments = ["--codecs", "image@20,80", "--anchors", "jpeg@20,60,90", "--threads", "1"]
    arguments += ["--cache", str(out / "cache")]
    target = out / "again.json"
    assert main(["bench", "images", str(out.parent), *arguments, "--json", str(target)]) == 3
    after = json.loads(target.read_text())
    assert [row["encode_ms"] for row in after["rows"]] == [row["encode_ms"] for row in before["rows"]]


def test_an_absent_library_is_said_and_its_anchor_left_out(
    tmp_path: Path, photograph: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(photograph).save(tmp_path / "cat.png")
    monkeypatch.setattr(anchors, "find_spec", lambda name: None if name == "av" else object())
    arguments = ["--codecs", "image@50", "--anchors", "hevc", "jpeg@50", "--threads", "1", "--json", "-"]
    assert main(["bench", "images", str(tmp_path), *arguments]) == 0
    captured = capsys.readouterr()
    assert "warning: hevc is left out: av is not installed" in captured.err
    assert json.loads(captured.out)["left_out"] == {"hevc": "av is not installed"}


def test_a_picture_that_an_anchor_refuses_counts_for_none(
    tmp_path: Path, photograph: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    Image.fromarray(photograph).save(tmp_path / "cat.png")
    Image.fromarray(photograph[:2, :2]).save(tmp_path / "dot.png")
    arguments = ["--codecs", "image@50", "--anchors", "av1@40", "--threads", "1", "--json", "-"]
    assert main(["bench", "images", str(tmp_path), *arguments]) == 3
    captured = capsys.readouterr()
    assert "av1: dot.png: its encoder refuses the picture" in captured.err
    assert json.loads(captured.out)["pictures"] == 1


def test_the_page_fetches_nothing_and_escapes_names(run: tuple[int, str, Path]) -> None:
    page = (run[2] / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "<img src=x" not in page
    assert "{{" not in page
    embedded = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    data = json.loads(embedded[1])
    assert len(data["shown"]) == 2
    for item in data["shown"]:
        assert [version["codec"] for version in item["versions"]] == ["original", *["image"] * 2, *["jpeg"] * 3]
        assert all((run[2] / version["source"]).is_file() for version in item["versions"])
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(set(identifiers)) > 50


def test_shown_pictures_are_what_was_decoded(run: tuple[int, str, Path], photograph: NDArray[np.uint8]) -> None:
    places = [run[2] / "pictures" / f"{number:03d}" for number in (0, 1)]
    shown = [np.asarray(Image.open(place / "image-80.webp")) for place in places]
    originals = [np.asarray(Image.open(place / "original.webp")) for place in places]
    for decoded, original in zip(shown, originals, strict=True):
        assert np.array_equal(decoded, np.asarray(api.decode(api.encode(original, quality=80, threads=1), threads=1)))
    assert any(np.array_equal(original, photograph) for original in originals)


def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("needs Chromium")
    return found


def headless(page: Path, state: str, *options: str) -> str:
    profile = page.parent / "profile"
    fixed = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    command = [browser(), *fixed, "--window-size=1000,2600", *options, f"{page.as_uri()}#{state}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_a_browser_shows_the_numbers_and_moves_the_slider(run: tuple[int, str, Path]) -> None:
    out = run[2]
    result: dict[str, Any] = json.loads((out / "results.json").read_text())
    number = next(number for number in (0, 1) if result["rows"][2 * number]["picture"] == "cat.png")
    row = next(row for row in result["rows"] if (row["codec"], row["picture"]) == ("jpeg", "cat.png"))
    document = headless(out / "report.html", f"picture={number}&left=1&right=3&split=30&zoom=2", "--dump-dom")
    label = re.search(r'id="label-right">([^<]*)<', document)
    assert label is not None
    expected = f"{row['size_bytes']} bytes, {row['bits_per_pixel']:.3f} bpp, PSNR {row['psnr_db']:.2f}"
    assert label[1].startswith(f"jpeg @20: {expected}")
    assert re.search(r'id="image-right"[^>]*clip-path: inset\(0px 0px 0px 30%\)', document)
    difference = 100 * result["bd_rates"]["psnr_db"]["pchip"]["image"]["jpeg"]
    assert f"{abs(difference):.1f} %" in document


MOVED = """<script>
const slider = find("split");
slider.value = 70;
slider.dispatchEvent(new Event("input"));
for (const key of ["f", "+", "ArrowRight"]) document.dispatchEvent(new KeyboardEvent("keydown", { key }));
find("metric").value = "haarpsi";
find("metric").dispatchEvent(new Event("change"));
</script></body>"""


def test_slider_keys_and_choices_change_what_is_shown(run: tuple[int, str, Path]) -> None:
    out = run[2]
    page = out / "moved.html"
    page.write_text((out / "report.html").read_text().replace("</body>", MOVED))
    document = headless(page, "picture=0&left=1&right=3&split=30&zoom=1", "--dump-dom")
    assert "clip-path: inset(0px 0px 0px 71%)" in document  # moved to 70, then one on by the key
    sides = dict(re.findall(r'id="label-(left|right)">([^:]*):', document))
    assert sides == {"left": "jpeg @20", "right": "image @20"}  # flipped
    width = json.loads((out / "results.json").read_text())["rows"][0]["width"]
    assert f"width: {2 * width}px" in document  # zoomed
    result = json.loads((out / "results.json").read_text())
    difference = 100 * result["bd_rates"]["haarpsi"]["pchip"]["image"]["jpeg"]
    assert f"{abs(difference):.1f} %" in document


STAGE_ALONE = """
body { margin: 0; padding: 0; max-width: none }
body > :not(#player), #player > :not(#stage) { display: none }
#sheet { margin: 0 }
</style>"""


def test_a_screenshot_shows_both_sides_of_the_divider(run: tuple[int, str, Path], tmp_path: Path) -> None:
    out = run[2]
    shot, page = tmp_path / "shot.png", out / "stage.html"
    text = (out / "report.html").read_text()
    page.write_text(text.replace("</style>", STAGE_ALONE))  # so that its place in the window is known
    data = json.loads(text.split('type="application/json">')[1].split("</script>")[0])
    number = next(number for number in (0, 1) if data["shown"][number]["name"] == "cat.png")
    folder = out / "pictures" / f"{number:03d}"
    original, jpeg = (np.asarray(Image.open(folder / name), np.int16) for name in ("original.webp", "jpeg-20.jpeg"))
    height, width = jpeg.shape[:2]
    headless(page, f"picture={number}&left=3&right=0&split=40&zoom=1", f"--screenshot={shot}")
    seen = np.asarray(Image.open(shot).convert("RGB"), np.int16)[:height, :width]
    divider = round(0.4 * width)
    left, right = slice(None, divider - 3), slice(divider + 3, None)
    assert np.abs(original - jpeg)[:, right].mean() > 3  # the two can be told apart
    assert np.abs(seen - jpeg)[:, left].mean() < 1.5  # decoders of JPEG differ by a little
    assert np.array_equal(seen[:, right], original[:, right])


def test_the_document_has_the_numbers_of_the_results() -> None:
    pytest.importorskip("scipy")
    from rarefy.tools import bench_document

    text = bench_document.DOCUMENT.read_text()
    assert len(bench_document.PLACE.findall(text)) >= 2
    assert text == bench_document.current(text), "python -m rarefy.tools.bench_document writes them anew"


def test_a_joined_result_has_a_page_without_pictures(run: tuple[int, str, Path], tmp_path: Path) -> None:
    parts = [str(run[2] / "codecs" / f"{name}.json") for name in ("jpeg", "image")]
    table = Path(__file__).resolve().parents[1] / "results/published/kodak.csv"
    arguments = ["--report", str(tmp_path), "--published", f"{table}@vtm-444"]
    assert main(["bench", "join", *parts, *arguments]) == 0
    document = headless(tmp_path / "report.html", "", "--dump-dom")
    assert re.search(r'<section id="player" hidden', document)
    assert "vtm-444 (published)" in (tmp_path / "psnr_db.svg").read_text()
    original = json.loads((run[2] / "results.json").read_text())
    assert json.loads((tmp_path / "results.json").read_text())["bd_rates"] == original["bd_rates"]
