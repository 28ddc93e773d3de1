"""Wavelet packets: the filters of PyWavelets' bior4.4, the order of bands, exact inversion, locality."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings import two_threads, using

from rarefy import kernels
from rarefy.models.wavelets import BOUNDARIES, packets, signal

# Made with PyWavelets 1.8.0, mode "periodization".
RAMP = (torch.arange(16, dtype=torch.float64) / 16 - 0.5)[None, None]
RAMP_BANDS = [
    [-0.426349, -0.516351, -0.353553, -0.176777, 0.000000, 0.176777, 0.315725, 0.626975],
    [-0.023849, 0, 0, 0, 0, 0, 0.064539, -0.394243],
]
RAMP_PACKETS = [
    [-0.317613, -0.511181, -0.030710, 0.609503],
    [0.079006, -0.015110, 0.061269, -0.531612],
    [-0.176264, 0.016924, 0.000459, -0.091118],
    [-0.030178, -0.002626, 0.012481, 0.327867],
]
IMPULSE_PEAKS = [(0.321811, (1, 2)), (0.157789, (0, 2)), (-0.672341, (1, 2)), (-0.329660, (0, 2))]


def test_one_level_is_that_of_pywavelets() -> None:
    bands = packets(RAMP, 1, "periodic")[0]
    torch.testing.assert_close(bands, torch.tensor(RAMP_BANDS, dtype=torch.float64), atol=1e-6, rtol=0)


def test_packets_come_in_natural_order() -> None:
    bands = packets(RAMP, 2, "periodic")[0]
    torch.testing.assert_close(bands, torch.tensor(RAMP_PACKETS, dtype=torch.float64), atol=1e-6, rtol=0)


def test_width_is_split_before_height() -> None:
    impulse = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    impulse[0, 0, 2, 5] = 1
    for band, (peak, place) in zip(packets(impulse, 1, "periodic")[0], IMPULSE_PEAKS, strict=True):
        assert band[place] == pytest.approx(peak, abs=1e-6)
        assert band.abs().max() == band[place].abs()


@settings(max_examples=40, deadline=None)
@given(
    axes=st.integers(1, 3),
    levels=st.integers(1, 3),
    size=st.integers(1, 3),
    channels=st.integers(1, 3),
    boundary=st.sampled_from(BOUNDARIES),
)
def test_synthesis_inverts_analysis(axes: int, levels: int, size: int, channels: int, boundary: str) -> None:
    generator = torch.Generator().manual_seed(size)
    sides = [(size + axis) << levels for axis in range(axes)]
    x = torch.rand(2, channels, *sides, generator=generator, dtype=torch.float64) - 0.5
    bands = packets(x, levels, boundary)
    assert bands.shape == (2, channels << axes * levels, *(side >> levels for side in sides))
    torch.testing.assert_close(signal(bands, levels, boundary), x, atol=1e-12, rtol=0)


def test_a_constant_has_one_band_and_the_gain_is_known() -> None:
    bands = packets(torch.full((1, 1, 16, 24), 0.5, dtype=torch.float64), 3)[0]
    torch.testing.assert_close(bands[0], torch.full_like(bands[0], 4.0), atol=1e-6, rtol=0)
    assert bands[1:].abs().max() < 1e-6


def test_what_is_far_away_changes_nothing() -> None:
    x = torch.rand(1, 1, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    changed = x.clone()
    changed[..., :64] = 0
    difference = (packets(x, 3) - packets(changed, 3)).abs().amax((0, 1))
    assert difference[:8].min() > 0 and difference[12:].max() == 0  # 28 samples on either side


needs_kernels = pytest.mark.skipif(not kernels.available(), reason="the compiled kernels were not built")


@needs_kernels
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (3, 4)])
def test_compiled_code_equals_torch(levels: int, size: tuple[int, int]) -> None:
    sides = [side << levels for side in size]
    x = torch.rand(2, 3, *sides, generator=torch.Generator().manual_seed(levels)) - 0.5
    with using("python"):
        bands = packets(x, levels)
        back = signal(bands, levels)
    found = packets(x, levels)
    torch.testing.assert_close(found, bands, atol=2e-6, rtol=0)
    torch.testing.assert_close(signal(found, levels), back, atol=2e-6, rtol=0)
    assert packets(x.clone().requires_grad_(), levels).requires_grad
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(packets(last, levels), found, atol=0, rtol=0)


@needs_kernels
@pytest.mark.parametrize("levels", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 20, 37])
def test_compiled_code_along_one_axis_gives_the_floats_of_torch(levels: int, size: int) -> None:
    """Not a last digit differs, so that files and samples are those of an installation without it."""
    x = torch.rand(2, 3, size << levels, generator=torch.Generator().manual_seed(size)) - 0.5
    with using("python"):
        bands = packets(x, levels)
        back = signal(bands, levels)
    assert torch.equal(packets(x, levels), bands)
    assert torch.equal(signal(bands, levels), back)
    strided = x.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    assert torch.equal(packets(strided, levels), bands)
    assert signal(bands.clone().requires_grad_(), levels).requires_grad


@needs_kernels
def test_threads_share_the_lines() -> None:
    x = torch.rand(2, 5, 4096, generator=torch.Generator().manual_seed(2)) - 0.5
    alone = packets(x, 6)
    with two_threads():
        assert torch.equal(packets(x, 6), alone)
        assert torch.equal(signal(alone, 6)[1, 4], signal(alone[1:, 4 * 64 :], 6)[0, 0])


@needs_kernels
@pytest.mark.parametrize(
    ("signals", "bands", "levels"),
    [
        ((1, 8), (2, 3), 1),
        ((1, 8), (3, 4), 1),
        ((1, 6), (4, 1), 2),
        ((1, 0), (2, 0), 1),
        ((1, 8), (1, 8), -1),
        ((1, 8), (1, 8), 16),
    ],
)
def test_arrays_that_do_not_fit_are_refused(signals: tuple[int, int], bands: tuple[int, int], levels: int) -> None:
    from rarefy.kernels import _packets

    lines, split = np.zeros(signals, np.float32), np.zeros(bands, np.float32)
    with pytest.raises(ValueError, match=r"levels|bands"):
        _packets.split_lines(lines, split, levels, 1)
    with pytest.raises(ValueError, match=r"levels|bands"):
        _packets.merge_lines(split, lines, levels, 1)
