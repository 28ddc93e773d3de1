"""Fidelity and its price: PSNR of 8-bit pictures and the Bjontegaard rate difference of two codecs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import OptionError

Pixels = NDArray[np.uint8]
Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
INTERPOLATIONS = ("pchip", "akima")


def psnr(reference: Pixels, decoded: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB over all samples of two 8-bit pictures; infinite if they are equal.

    Raises:
        OptionError: the pictures differ in shape.
    """
    check_shapes(reference, decoded)
    difference = reference.astype(np.int32) - decoded.astype(np.int32)
    error = float(np.mean(np.square(difference, dtype=np.int64)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def check_shapes(reference: Pixels, decoded: Pixels) -> None:
    """Raise OptionError for two pictures of different shape."""
    if reference.shape != decoded.shape:
        raise OptionError(f"pictures of {reference.shape} and {decoded.shape} cannot be compared")


def bd_rate(
    rates: Sequence[float],
    fidelities: Sequence[float],
    anchor_rates: Sequence[float],
    anchor_fidelities: Sequence[float],
    interpolation: str = "pchip",
) -> float | None:
    """Return the mean rate difference to an anchor at equal fidelity, as a fraction: -0.2 means 20 % fewer bits.

    The logarithm of the rate is interpolated over the fidelity and averaged over the common interval: G. Bjontegaard,
    VCEG-M33 (2001), with monotone cubic (`pchip`) or Akima (`akima`) pieces instead of one cubic. None where a curve
    has fewer than two points of different fidelity or where the curves share no interval.
    """
    ours, theirs = _curve(rates, fidelities), _curve(anchor_rates, anchor_fidelities)
    if min(len(ours[0]), len(theirs[0])) < 2:
        return None
    low, high = max(ours[0][0], theirs[0][0]), min(ours[0][-1], theirs[0][-1])
    if low >= high:
        return None
    interpolate = _interpolators()[interpolation]
    areas = [float(interpolate(*curve).integrate(low, high)) for curve in (ours, theirs)]
    return float(np.expm1((areas[0] - areas[1]) / (high - low)))


def rate_at(fidelity: float, rates: Sequence[float], fidelities: Sequence[float]) -> float | None:
    """Return the rate that a curve needs for a fidelity (PCHIP over its logarithm); None outside of the curve."""
    curve = _curve(rates, fidelities)
    if len(curve[0]) < 2 or not curve[0][0] <= fidelity <= curve[0][-1]:
        return None
    return float(np.exp(_interpolators()["pchip"](*curve)(fidelity)))


def fidelity_at(rate: float, rates: Sequence[float], fidelities: Sequence[float]) -> float | None:
    """Return the fidelity that a curve has at a rate (PCHIP over its logarithm); None outside of the curve."""
    best: dict[float, float] = {}
    for point, fidelity in zip(rates, fidelities, strict=True):
        if np.isfinite(fidelity):
            best[point] = max(fidelity, best.get(point, fidelity))
    ordered = sorted(best.items())
    if len(ordered) < 2 or not ordered[0][0] <= rate <= ordered[-1][0]:
        return None
    logarithms = np.log([point for point, _ in ordered])
    return float(_interpolators()["pchip"](logarithms, [value for _, value in ordered])(np.log(rate)))


def _interpolators() -> Mapping[str, Callable[..., Any]]:
    from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

    return {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}


def _curve(rates: Sequence[float], fidelities: Sequence[float]) -> Curve:
    """Return fidelities, ascending and distinct (the cheapest point of each), and logarithms of their rates."""
    cheapest: dict[float, float] = {}
    for rate, fidelity in zip(rates, fidelities, strict=True):
        if np.isfinite(fidelity):  # a lossless point has no place on the curve
            cheapest[fidelity] = min(rate, cheapest.get(fidelity, rate))
    ordered = sorted(cheapest.items())
    return np.array([key for key, _ in ordered]), np.log([rate for _, rate in ordered])
