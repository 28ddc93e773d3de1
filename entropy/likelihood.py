"""Differentiable code lengths of rounded values under logistic distributions.

The rate that training sees is the rate that the coder pays: code lengths are those of the *rounded* value. Their
gradient with respect to the value is the exact mean gradient under uniform noise,
d bits / d v = f(v + 1/2) - f(v - 1/2) with f(v) = -log2 P([v - 1/2, v + 1/2]), which needs no sampling
(Agustsson & Theis 2020 discuss the expectation).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LN2 = math.log(2)
SHARPNESS = 3.0  # of soft rounding


def round_through(v: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient passes as if nothing happened."""
    return v + (v.round() - v).detach()


def log_probability(v: Tensor, inverse_scale: Tensor) -> Tensor:
    """Natural logarithm of the mass of [v - 1/2, v + 1/2] under a zero-mean logistic with scale 1 / inverse_scale.

    Exact for any v without a floor: sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)).
    """
    distance = v.abs()
    return (
        F.logsigmoid((0.5 - distance) * inverse_scale)
        + F.logsigmoid((0.5 + distance) * inverse_scale)
        + torch.log(-torch.expm1(-inverse_scale))
    )


def rounded_bits(v: Tensor, bits: Callable[[Tensor], Tensor]) -> Tensor:
    """Code length of round(v) under `bits`, differentiable in v and in whatever `bits` closes over."""
    with torch.no_grad():
        slope = bits(v + 0.5) - bits(v - 0.5)
    return bits(v.detach().round()) + (v - v.detach()) * slope


def logistic_bits(v: Tensor, inverse_scale: Tensor) -> Tensor:
    """Bits of round(v) under a zero-mean logistic; all tensors of one shape."""
    return rounded_bits(v, lambda u: log_probability(u, inverse_scale) / -LN2)


def symbol_bits(v: Tensor, mean: Tensor, inverse_scale: Tensor) -> Tensor:
    """Bits of round(v) under a logistic around a mean, which need not be an integer; all tensors of one shape.

    The gradient with respect to v and to the mean is the mean one of `rounded_bits`: where scales are small, the slope
    at one place says nothing of what a step costs, and networks that learned from it grew worse.
    """
    u, distance = v - mean, (v.round() - mean).detach()
    slope = _mean_slope(u, inverse_scale)
    return _bits(distance, inverse_scale) + (u - u.detach()) * slope


def _bits(u: Tensor, inverse_scale: Tensor) -> Tensor:
    return log_probability(u, inverse_scale) / -LN2


@torch.no_grad()
def _mean_slope(u: Tensor, inverse_scale: Tensor) -> Tensor:
    return _bits(u + 0.5, inverse_scale) - _bits(u - 0.5, inverse_scale)


def soft_slope(v: Tensor) -> Tensor:
    """The slope of soft rounding (Agustsson & Theis 2020) at v: 1.66 where two integers are as near, 0.30 on one."""
    beside = v - v.floor() - 0.5
    return SHARPNESS / (2 * math.tanh(SHARPNESS / 2)) / torch.cosh(SHARPNESS * beside).square()


def _softly(v: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """value(round(v)); the gradient is what the integers above and below differ by, times `soft_slope`."""
    with torch.no_grad():
        slope = (value(v.floor() + 1) - value(v.floor())) * soft_slope(v)
    return value(v.detach().round()) + (v - v.detach()) * slope


def _soft_bits_around(v: Tensor, mean: Tensor, inverse_scale: Tensor) -> Tensor:
    """As `symbol_bits`; v has the gradient of `_softly`."""
    slope = _mean_slope(v - mean, inverse_scale)
    at_rest = mean.detach()
    soft = _softly(v, lambda u: _bits(u - at_rest, inverse_scale))
    return soft - (mean - at_rest) * slope


class Rounding(NamedTuple):
    """How gradients pass a rounding, of which the values are always exact.

    symbols: v rounded. sizes: what v rounds to, without sign; magnitudes: asinh of that. bits: of what v rounds to,
    under a zero-mean logistic; v and inverse scales have one shape. bits_around: those under a logistic around a mean.
    """

    symbols: Callable[[Tensor], Tensor]
    sizes: Callable[[Tensor], Tensor]
    magnitudes: Callable[[Tensor], Tensor]
    bits: Callable[[Tensor, Tensor], Tensor]
    bits_around: Callable[[Tensor, Tensor, Tensor], Tensor]


ROUNDINGS = {
    "straight": Rounding(
        round_through,
        lambda v: round_through(v).abs(),
        lambda v: torch.asinh(round_through(v).abs()),
        logistic_bits,
        symbol_bits,
    ),
    "soft": Rounding(
        lambda v: _softly(v, lambda u: u),
        lambda v: _softly(v, torch.abs),
        lambda v: _softly(v, lambda u: torch.asinh(u.abs())),
        lambda v, inverse_scale: _softly(v, lambda u: _bits(u, inverse_scale)),
        _soft_bits_around,
    ),
}


class AtLeast(torch.autograd.Function):
    """max(x, bound); the gradient passes below the bound where a descent step would raise x (Ballé's lower bound)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        """x: any shape; the same shape comes out."""
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Block the gradient only where it would push x further below the bound."""
        (x,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None


def at_least(x: Tensor, bound: float) -> Tensor:
    """Apply `AtLeast`."""
    result: Tensor = AtLeast.apply(x, bound)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return result
