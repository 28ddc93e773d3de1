"""Metrics and rate differences against other implementations of the same papers."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rarefy.errors import OptionError
from rarefy.tools.harness.parts import decibels
from rarefy.tools.metrics import bd_rate, fidelity_at, psnr, rate_at
from rarefy.tools.picture_metrics import METRICS
from rarefy.tools.similarity import dss, haarpsi, ms_ssim

Pixels = NDArray[np.uint8]

# Two curves (bits per pixel, dB) and the rate difference that the package bjontegaard 1.3.0 gives for them with PCHIP.
FIRST = ([0.1259, 0.2491, 0.4370, 0.6620, 0.9190], [27.9, 29.8, 31.9, 33.7, 35.2])
SECOND = ([0.1800, 0.3100, 0.5500, 0.8400, 1.2100], [28.1, 30.2, 32.6, 34.4, 36.0])
SECOND_AGAINST_FIRST = 0.11010430006709093


@pytest.fixture(scope="module", params=[(300, 451), (163, 170)], ids=["odd", "small"])
def pair(request: pytest.FixtureRequest) -> tuple[Pixels, Pixels]:
    """A picture and what JPEG at quality 20 makes of it."""
    data = pytest.importorskip("skimage.data")
    height, width = request.param
    original = Image.fromarray(data.chelsea()).resize((width, height))
    file = io.BytesIO()
    original.save(file, "JPEG", quality=20)
    return np.asarray(original), np.asarray(Image.open(file))


def tensors(pair: tuple[Pixels, Pixels]) -> tuple[Any, Any]:
    torch = pytest.importorskip("torch")
    x, y = (torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None] for pixels in pair)
    return x, y


def test_psnr_of_known_errors() -> None:
    black = np.zeros((4, 5, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black, black + 255) == pytest.approx(0)
    assert psnr(black + 1, black) == pytest.approx(20 * np.log10(255))


def test_ms_ssim_is_that_of_pytorch_msssim(pair: tuple[Pixels, Pixels]) -> None:
    peer = pytest.importorskip("pytorch_msssim")
    assert ms_ssim(*pair) == pytest.approx(float(peer.ms_ssim(*tensors(pair), data_range=255)), abs=1e-6)


@pytest.mark.parametrize(("name", "ours"), [("haarpsi", haarpsi), ("dss", dss)])
def test_perceptual_metrics_are_those_of_piq(
    name: str, ours: Callable[[Pixels, Pixels], float | None], pair: tuple[Pixels, Pixels]
) -> None:
    peer = pytest.importorskip("piq")
    theirs = float(getattr(peer, name)(*tensors(pair), data_range=255))
    assert 0.5 < theirs < 0.99
    assert ours(*pair) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("name", ["psnr", "ms-ssim", "haarpsi", "dss", "ssimulacra2"])
def test_metrics_fall_with_distortion_and_refuse_other_sizes(name: str, pair: tuple[Pixels, Pixels]) -> None:
    metric, reason = METRICS[name]()
    if metric is None:
        pytest.skip(reason)
    original, decoded = pair
    best, middle = metric.measure(original, original), metric.measure(original, decoded)
    worse = metric.measure(original, np.roll(decoded, 1, 1))
    assert best is not None and middle is not None and worse is not None
    assert best > middle > worse
    if name not in ("psnr", "ssimulacra2"):
        assert best == pytest.approx(1, abs=1e-6)
    with pytest.raises(OptionError):
        metric.measure(original, decoded[:-1])


@pytest.mark.parametrize(("name", "side"), [("ms-ssim", 160), ("dss", 16), ("ssimulacra2", 7)])
def test_metrics_say_nothing_of_pictures_that_are_too_small(name: str, side: int) -> None:
    metric, reason = METRICS[name]()
    if metric is None:
        pytest.skip(reason)
    assert metric.measure(*(np.zeros((side, 200 if side > 20 else side, 3), np.uint8),) * 2) is None


def test_lpips_is_left_out_with_a_reason_where_its_weights_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("torch.hub")
    monkeypatch.setattr(hub, "get_dir", lambda: "nowhere")
    metric, reason = METRICS["lpips"]()
    assert metric is None and ("not both installed" in reason or "nowhere/checkpoints" in reason)


def test_decibels_of_similarities() -> None:
    assert decibels(0.9) == pytest.approx(10)
    assert decibels(0.99) == pytest.approx(20)
    assert decibels(1.0) == 100.0


def test_bd_rate_agrees_with_another_implementation() -> None:
    pytest.importorskip("scipy")
    assert bd_rate(*SECOND, *FIRST) == pytest.approx(SECOND_AGAINST_FIRST, rel=1e-9)


@pytest.mark.parametrize("interpolation", ["pchip", "akima"])
def test_bd_rate_is_that_of_the_package_bjontegaard(interpolation: str) -> None:
    peer = pytest.importorskip("bjontegaard")
    for ours, theirs in ((SECOND, FIRST), (FIRST, SECOND)):
        expected = peer.bd_rate(*theirs, *ours, method=interpolation, min_overlap=0) / 100
        assert bd_rate(*ours, *theirs, interpolation) == pytest.approx(expected, abs=1e-6)


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


def test_curves_are_read_at_a_rate_and_at_a_fidelity() -> None:
    pytest.importorskip("scipy")
    assert rate_at(31.9, *FIRST) == pytest.approx(0.4370)
    assert fidelity_at(0.4370, *FIRST) == pytest.approx(31.9)
    assert 0.2491 < (rate_at(30.5, *FIRST) or 0) < 0.4370
    assert rate_at(36, *FIRST) is None and fidelity_at(0.1, *FIRST) is None
