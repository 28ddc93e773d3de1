"""Fidelity and its price: PSNR of 8-bit pictures and the Bjontegaard rate difference of two codecs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import OptionError


def psnr(reference: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio in dB over all samples of two 8-bit pictures; infinite if they are equal.

    Raises:
        OptionError: the pictures differ in shape.
    """
    if reference.shape != decoded.shape:
        raise OptionError(f"pictures of {reference.shape} and {decoded.shape} cannot be compared")
    difference = reference.astype(np.int32) - decoded.astype(np.int32)
    error = float(np.mean(np.square(difference, dtype=np.int64)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def bd_rate(
    rates: Sequence[float],
    fidelities: Sequence[float],
    anchor_rates: Sequence[float],
    anchor_fidelities: Sequence[float],
) -> float | None:
    """Return the mean rate difference to an anchor at equal fidelity, as a fraction: -0.2 means 20 % fewer bits.

    Monotone cubic (PCHIP) interpolation of the logarithm of the rate over the fidelity, averaged over the common
    interval: G. Bjontegaard, VCEG-M33 (2001), with PCHIP instead of one cubic. None where a curve has fewer than two
    points of different fidelity or where the curves share no interval.
    """
    ours, theirs = _curve(rates, fidelities), _curve(anchor_rates, anchor_fidelities)
    if min(len(ours[0]), len(theirs[0])) < 2:
        return None
    low, high = max(ours[0][0], theirs[0][0]), min(ours[0][-1], theirs[0][-1])
    if low >= high:
        return None
    from scipy.interpolate import PchipInterpolator

    areas = [float(PchipInterpolator(*curve).integrate(low, high)) for curve in (ours, theirs)]
    return float(np.expm1((areas[0] - areas[1]) / (high - low)))


def _curve(rates: Sequence[float], fidelities: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return fidelities, ascending and distinct (the cheapest point of each), and logarithms of their rates."""
    cheapest: dict[float, float] = {}
    for rate, fidelity in zip(rates, fidelities, strict=True):
        if np.isfinite(fidelity):  # a lossless point has no place on the curve
            cheapest[fidelity] = min(rate, cheapest.get(fidelity, rate))
    ordered = sorted(cheapest.items())
    return np.array([key for key, _ in ordered]), np.log([rate for _, rate in ordered])
