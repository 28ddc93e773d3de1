"""`rarefy bench coder`: what it measures is what it says, on small messages."""

import json
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from rarefy.entropy import coder
from rarefy.tools import bench, bench_coder
from rarefy.tools.bench_coder import gaussian_message, gaussian_tables


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fiftieth of the symbols."""
    monkeypatch.setattr(bench_coder, "SYMBOLS", 20_000)
    monkeypatch.setattr(bench_coder, "SHORT", 4_000)


def test_tables_are_those_of_the_gaussians_that_symbols_are_drawn_from() -> None:
    message, tables = gaussian_message(20_000), gaussian_tables()
    deviations = message.deviations[message.rows]
    entropy = np.log2(np.sqrt(2 * np.pi * np.e) * deviations[deviations > 1]).sum()
    wide = deviations > 1
    assert tables.ideal_bits(message.symbols[wide], message.rows[wide]) == pytest.approx(entropy, rel=0.01)
    assert len(tables) == 64 and tables.is_coded.all()


@pytest.mark.parametrize("hidden", ["compressai", pytest.param("", marks=pytest.mark.slow)])  # it imports a lot
@pytest.mark.skipif(not coder.instruction_sets(), reason="the compiled coder was not built")
def test_the_result_has_every_coder_that_is_here(
    hidden: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_coder, "find_spec", lambda name: None if name == hidden else find_spec(name))
    target = tmp_path / "coder.json"
    assert bench.main(["coder", "--rounds", "1", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    printed = capsys.readouterr().out
    speeds = result["million_symbols_per_second"]
    assert set(speeds) | set(result["missing"]) >= {"rarefy", "compressai", "constriction"}
    assert set(result["missing"]) == {peer for peer in bench_coder.PEERS if peer not in speeds}
    assert all(speed[what] > 0 for speed in speeds.values() for what in ("encode", "decode"))
    for peer, ratio in result["ratios"].items():
        assert ratio["decode"] == pytest.approx(speeds["rarefy"]["decode"] / speeds[peer]["decode"], abs=0.01)
        assert f"rarefy over {peer}" in printed
    by_lanes = result["bytes_over_tables"]["by_lanes"]
    assert [0 < by_lanes[str(lanes)] <= 4 * lanes + 4 for lanes in (1, 2, 4, 8, 16, 32)] == [True] * 6


def test_peers_that_are_missing_are_named() -> None:
    with patch.object(bench_coder, "find_spec", lambda name: None):
        result = bench_coder.measure(1, None, ["test"])
    assert result["missing"] == ["compressai", "constriction"] and result["ratios"] == {}
    assert "constriction is not installed" in bench_coder.table(result)


def test_a_coder_that_decodes_wrongly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    message = gaussian_message(20_000)
    wrong = message.symbols.copy()
    wrong[7] += 1
    monkeypatch.setattr(bench_coder, "_peers", lambda message: {"constriction": (lambda: b"", lambda: wrong)})
    with pytest.raises(AssertionError, match="constriction"):
        bench_coder.measure(1, None, ["test"])


def test_shares_of_a_picture_sum_up_to_its_file(tmp_path: Path) -> None:
    """Ideal and shares together are the length of the file, and every share is of the size that it can be."""
    from PIL import Image

    from rarefy.codecs import api
    from rarefy.tools import bench_coder_rate

    skimage = pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    pixels = np.ascontiguousarray(skimage.chelsea()[:128, 64:192])
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    with patch.object(bench_coder_rate, "QUALITIES", (50,)):
        (row,) = bench_coder_rate.excess(tmp_path)
    size = len(api.encode(pixels, codec="image", quality=50))
    assert row["ideal_bytes"] * (1 + row["percent_of_files"] / 100) == pytest.approx(size, abs=1)
    assert sum(row["percent"].values()) == pytest.approx(row["percent_of_files"], abs=0.01)
    percent = row["percent"]
    assert 0 < percent["arithmetic"] < 0.2 and 0 < percent["lanes"] < 0.5 and 0 < percent["file"] < 4
    assert -0.2 < percent["one of 64 scales"] < 0.5 and -0.5 < percent["integer network"] < 2
    assert "quality 50" in bench_coder_rate.lines([row])[1]
