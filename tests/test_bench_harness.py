"""The harness of the benchmark, on media that are no pictures: rows, cache, failures, curves, results, comparison."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rarefy.errors import FormatError, MediaError, OptionError
from rarefy.tools.cli import main
from rarefy.tools.harness import compare
from rarefy.tools.harness.cache import Cache
from rarefy.tools.harness.measure import Bench, Measured
from rarefy.tools.harness.memory import MARK, peak_bytes
from rarefy.tools.harness.parts import Candidate, Item, Metric
from rarefy.tools.harness.published import read_published
from rarefy.tools.harness.results import joined, of_codec, read_result, summarised
from rarefy.tools.harness.summary import at_equal, complete_items, curves

ITEMS = [Item(name, name * 8, {"letters": 8}, 8, name * 64) for name in "abcdefgh"]


def closeness(reference: str, decoded: str) -> float:
    return float(len(decoded))


CLOSENESS = Metric("closeness", "closeness", "letters that are left", closeness)


class Cutter:
    """A codec of text that keeps as many letters as its setting says, and counts its calls."""

    def __init__(self, breaks_on: str = "-") -> None:
        self.calls = 0
        self._breaks_on = breaks_on

    def candidate(self, name: str = "cut", is_anchor: bool = False, extra: int = 0) -> Candidate[str]:
        return Candidate(
            name,
            (2.0, 4.0, 6.0),
            lambda medium, setting: self._encode(medium, int(setting)) + b"." * extra,
            lambda data: data.decode().rstrip("."),
            is_anchor,
            "first letters",
            size_parts=lambda data: {"letters": len(data)},
        )

    def _encode(self, medium: str, setting: int) -> bytes:
        if medium.startswith(self._breaks_on):
            raise MediaError("not this one")
        self.calls += 1
        return medium[:setting].encode()


def run(
    cutter: Cutter,
    folder: Path | None = None,
    fail: Callable[[str, Exception], object] = lambda name, error: None,
    metrics: tuple[Metric[str], ...] = (CLOSENESS,),
    threads: int = 1,
) -> Measured:
    bench = Bench(ITEMS, metrics, Cache(folder), {"threads": threads}, fail, lambda done, total: None)
    return bench.run([cutter.candidate()])


def test_rows_tell_of_files() -> None:
    measured = run(Cutter())
    assert [(row["picture"], row["setting"]) for row in measured.rows[:3]] == [("a", 2.0), ("a", 4.0), ("a", 6.0)]
    for row in measured.rows:
        assert row["size_bytes"] == row["setting"] == row["bits_per_pixel"] == row["closeness"]
        assert row["size_parts"] == {"letters": row["setting"]}
        assert row["letters"] == 8 and row["encode_ms"] >= 0
    assert not measured.failures and set(measured.first_run) == {"cut"}


def test_a_run_goes_on_from_its_cache(tmp_path: Path) -> None:
    cutter = Cutter()
    first = run(cutter, tmp_path)
    made = cutter.calls
    assert made == 1 + 3 * len(ITEMS) + 3  # cold once, and the first item again for its memory
    assert run(cutter, tmp_path) == first
    assert cutter.calls == made
    run(cutter, tmp_path, threads=2)  # times of other circumstances are others
    assert cutter.calls == 2 * made


def test_a_metric_that_a_cache_lacks_is_measured_on_its_files(tmp_path: Path) -> None:
    cutter = Cutter()
    run(cutter, tmp_path)
    made = cutter.calls
    other = Metric[str]("other", "other", "", lambda reference, decoded: -float(len(decoded)))
    rows = run(cutter, tmp_path, metrics=(CLOSENESS, other)).rows
    assert cutter.calls == made
    assert all(row["other"] == -row["closeness"] == -row["setting"] for row in rows)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}"])
def test_a_damaged_entry_of_a_cache_is_measured_again(damage: bytes, tmp_path: Path) -> None:
    cutter = Cutter()
    first = run(cutter, tmp_path).rows
    for path in tmp_path.glob("*.json"):
        path.write_bytes(damage)
    made = cutter.calls
    again = run(cutter, tmp_path).rows
    assert cutter.calls == 2 * made
    assert [row["size_bytes"] for row in again] == [row["size_bytes"] for row in first]


def test_a_failure_is_named_and_the_rest_is_measured() -> None:
    told: list[str] = []
    measured = run(Cutter(breaks_on="c"), fail=lambda name, error: told.append(f"{name}: {error}"))
    assert told == measured.failures == ["cut: c: not this one"]
    assert {row["picture"] for row in measured.rows} == set("abdefgh")


def test_what_cannot_be_compared_is_named_as_the_codecs_fault() -> None:
    def measure(reference: str, decoded: str) -> float:
        raise OptionError("lengths differ")

    told: list[Exception] = []
    run(Cutter(), fail=lambda name, error: told.append(error), metrics=(Metric("m", "m", "", measure),))
    assert len(told) == len(ITEMS) and all(isinstance(error, MediaError) for error in told)


@pytest.mark.skipif(not MARK.exists(), reason="needs Linux")
def test_peak_memory_is_that_of_the_call() -> None:
    def call() -> None:
        assert np.ones(30_000_000, np.uint8).sum() == 30_000_000

    for _ in range(2):  # again, when the allocator may have kept the memory
        peak = peak_bytes(call)
        assert peak is not None and 29_000_000 < peak < 60_000_000
    small = peak_bytes(lambda: None)
    assert small is not None and small < 5_000_000


def row(codec: str, setting: float, picture: str, **values: Any) -> dict[str, Any]:
    return {"codec": codec, "setting": setting, "picture": picture, "encode_ms": 1.0, "decode_ms": 2.0, **values}


def test_a_curve_is_made_of_means_over_items_and_medians_of_times() -> None:
    rows = [
        row("x", 1.0, name, bits_per_pixel=bits, psnr_db=fidelity, encode_ms=time)
        for name, bits, fidelity, time in [("a", 0.1, 30.0, 1.0), ("b", 0.3, 34.0, 2.0), ("c", 0.2, 35.0, 90.0)]
    ]
    (point,) = curves(rows, ["psnr_db"])["x"]
    expected = {"setting": 1.0, "bits_per_pixel": 0.2, "psnr_db": 33.0, "encode_ms": 2.0, "decode_ms": 2.0}
    assert point == pytest.approx(expected)


def test_items_that_one_codec_could_not_do_count_for_none() -> None:
    rows = [row("x", 1.0, name, bits_per_pixel=1.0, psnr_db=value) for name, value in (("a", 30.0), ("b", 50.0))]
    rows.append(row("y", 1.0, "a", bits_per_pixel=1.0, psnr_db=31.0))
    assert complete_items(rows) == {"a"}
    assert curves(rows, ["psnr_db"])["x"][0]["psnr_db"] == 30.0


def test_items_too_small_for_a_metric_are_left_out_of_its_mean_and_lossless_ones_leave_none() -> None:
    small = [row("x", 1.0, name, bits_per_pixel=1.0, m=value) for name, value in (("a", None), ("b", 0.5))]
    assert curves(small, ["m"])["x"][0]["m"] == 0.5
    lossless = [*small, row("x", 2.0, "a", bits_per_pixel=2.0, m=None), row("x", 2.0, "b", bits_per_pixel=2.0, m=None)]
    assert curves(lossless, ["m"])["x"][1]["m"] is None


def test_codecs_at_equal_quality_and_size() -> None:
    pytest.importorskip("scipy")

    def points(scale: float) -> list[dict[str, float]]:
        return [{"bits_per_pixel": scale * rate, "m": 10 * rate} for rate in (1.0, 2.0, 3.0, 4.0)]

    second = at_equal({"x": points(1), "y": points(2)}, "x", "m", {"m": float})[1]
    assert second["rates"]["y"] == pytest.approx(1.0)  # twice the bits at the same quality
    assert second["fidelities"]["y"] == pytest.approx(-10.0)
    first = at_equal({"x": points(1), "y": points(2)}, "x", "m", {"m": float})[0]
    assert first["fidelities"]["y"] is None  # y has no file that small


def result(scale: float = 1.0, uneven: float = 0.0, codec: str = "cut", anchors: tuple[str, ...] = ()) -> Any:
    """A result whose rates are scaled, for every second picture by `uneven` more."""
    rows = [
        row(
            codec,
            float(step),
            f"{number}.png",
            width=10,
            digest=str(number),
            bits_per_pixel=(1 + number / 10) * step * (scale + (uneven if number % 2 else 0)),
            psnr_db=30.0 + 2 * step + number / 10,
        )
        for number in range(10)
        for step in range(1, 5)
    ]
    metrics = {"psnr_db": {"label": "PSNR", "describe": "", "scale": "linear", "digits": 2}}
    whole = {"metrics": metrics, "anchors": list(anchors), "rows": rows, "failures": [], "machine": "here"}
    return summarised({**whole, "codecs": {codec: ""}, "weights": {}, "first_run": {}})


def test_compare_finds_a_change_and_its_confidence() -> None:
    pytest.importorskip("scipy")
    (change,) = compare.compare(result(), result(0.9))
    assert (change.mean, change.low, change.high) == pytest.approx((-0.1, -0.1, -0.1))
    assert change.of_means == pytest.approx(-0.1) and change.pictures == 10 and change.verdict == "better"
    (change,) = compare.compare(result(), result(1.05))
    assert change.verdict == "worse"


def test_compare_sees_no_difference_where_pictures_disagree() -> None:
    pytest.importorskip("scipy")
    (change,) = compare.compare(result(), result(0.9, uneven=0.21))
    assert change.low is not None and change.high is not None and change.low < 0 < change.high
    assert change.low == pytest.approx(0.9 - 1 + 0.03, abs=0.04)  # half of the pictures lose a tenth, half gain one
    assert change.verdict == "no difference shown"
    assert all(value == pytest.approx(0.11) for value in change.worst.values())


def test_compare_says_nothing_of_few_pictures() -> None:
    pytest.importorskip("scipy")
    few = result(0.9)
    few["rows"] = [row for row in few["rows"] if row["picture"] in ("1.png", "2.png")]
    (change,) = compare.compare(result(), few)
    assert change.low is None and change.mean == pytest.approx(-0.1) and "too few" in change.verdict


def test_compare_refuses_other_pictures_and_nothing_in_common() -> None:
    pytest.importorskip("scipy")
    other = result()
    for line in other["rows"]:
        line["digest"] = "other"
    with pytest.raises(OptionError, match="not the same picture"):
        compare.compare(result(), other)
    with pytest.raises(OptionError, match="share no picture"):
        compare.compare(result(), {**result(), "rows": []} | {"curves": {}})


def test_compare_takes_two_codecs_of_different_names_and_tells_people(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("scipy")
    for name, what in (("before", result()), ("after", result(0.8, codec="new"))):
        (tmp_path / f"{name}.json").write_text(json.dumps(what))
    paths = [str(tmp_path / f"{name}.json") for name in ("before", "after")]
    assert main(["bench", "compare", *paths, "--json", str(tmp_path / "changes.json")]) == 0
    out = capsys.readouterr().out
    assert "cut -> new" in out and "-20.00 %" in out and "better" in out
    assert "encoding takes 1.00 times as long" in out
    (change,) = json.loads((tmp_path / "changes.json").read_text())["changes"]
    assert change["verdict"] == "better" and change["mean"] == pytest.approx(-0.2)


def test_results_of_single_codecs_join_to_the_whole(tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    whole = joined([result(), result(0.7, codec="peer", anchors=("peer",))])
    assert whole["bd_rate"]["cut"]["peer"] == pytest.approx(1 / 0.7 - 1)
    parts = []
    for codec in ("cut", "peer"):
        (tmp_path / f"{codec}.json").write_text(json.dumps(of_codec(whole, codec)))
        parts.append(read_result(tmp_path / f"{codec}.json"))
    assert joined(parts) == whole
    with pytest.raises(OptionError, match="in two"):
        joined([parts[0], parts[0]])


@pytest.mark.parametrize("text", ["", "[1]", '{"rows": []}', '{"rows": [{"codec": "x"}]}', "\xff"])
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"result\.json"):
        read_result(path)


def test_published_curves_have_sources(tmp_path: Path) -> None:
    table = Path(__file__).resolve().parents[1] / "results/published/kodak.csv"
    found = read_published(table, ["vtm-444", "mbt2018-mean"])
    assert {(curve.codec, curve.metric) for curve in found} == {
        (codec, metric) for codec in ("vtm-444", "mbt2018-mean") for metric in ("psnr_db", "ms_ssim")
    }
    for curve in read_published(table):
        assert curve.source and len(curve.points) >= 4
        assert curve.points == sorted(curve.points)
        assert all(0 < rate < 10 for rate, _ in curve.points)
    with pytest.raises(OptionError, match="nobody"):
        read_published(table, ["nobody"])
    (tmp_path / "bad.csv").write_text("codec,metric,bpp,value,source\nx,psnr_rgb_db,much,1,y\n")
    with pytest.raises(FormatError, match="line 2"):
        read_published(tmp_path / "bad.csv")
