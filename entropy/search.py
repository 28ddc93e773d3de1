"""Search at the encoder: which symbols cost less, in bits and in distortion together, than the nearest ones.

Rounding each latent to the nearest integer is not the best that an encoder can do: errors of neighbours add up or
cancel, and a symbol is context to those after it. The search changes symbols by one where that lowers bits + price *
squared error, a few at a time, and looks again. Files stay ordinary files: all that changes is what is rounded.

Yang et al. 2020 ("Improving Inference for Neural Image Compression") anneal latents over thousands of gradient steps.
This needs a dozen, since it uses what is known of each single change: its own bits exactly, what it does to the rest by
the gradient, and how distortion bends by the squared norm of what a latent draws.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rarefy.entropy.gains import position_of
from rarefy.entropy.precision import full_float32
from rarefy.errors import OptionError

BEND = 1.3  # times the curvature of a single change, for those made beside it
MARGIN = 0.25  # of a step: how far beyond the border a latent is moved, so that shifted means do not take it back
START, LEAST, MOST = 2.0, 0.15, 8.0  # changes per position and round; below 1, of a random part of the positions
GROW, SHRINK, FACTOR = 0.5, 0.3, 1.5  # more changes above this part of the promised gain, fewer below that one
SEED = 1
EFFORTS = range(7)  # of encoders: 0 for none, else rounds are two to that power


@dataclass(frozen=True)
class Trial:
    """What coding latents [1, C, ...] would give, at the symbols that they round to.

    latents: reconstructed, with a graph back to what was tried. bits: of all symbols, with a graph through contexts
    alone, in which a symbol's own length is constant. lower, higher: how many bits more each symbol takes by itself
    when it is one less, one more. remainder: what rounding left of each, in steps. gain: steps per unit of what was
    tried.
    """

    latents: Tensor
    bits: Tensor
    lower: Tensor
    higher: Tensor
    remainder: Tensor
    gain: Tensor


@runtime_checkable
class Searchable(Protocol):
    """A bottleneck that can tell what changes of its symbols would cost."""

    def trial(self, y: Tensor, position: Tensor) -> Trial:
        """Latents float32 [1, C, ...] at a quality [1] in 0..1."""


def rounds_of(effort: int, name: str, *bottlenecks: object) -> int:
    """Rounds of an effort for the codec `name`: 0 for none, else a power of two.

    Raises OptionError for an effort that there is not, and for bottlenecks without a search.
    """
    try:
        number = operator.index(effort)
    except TypeError as error:
        raise OptionError(f"effort {effort!r}: it is a whole number") from error
    if number not in EFFORTS:
        raise OptionError(f"effort {number}: it is a whole number from {EFFORTS[0]} to {EFFORTS[-1]}")
    if not number:
        return 0
    if not all(isinstance(bottleneck, Searchable) for bottleneck in bottlenecks):
        raise OptionError(f'codec "{name}" has no search: leave out the effort')
    return 1 << number


def price_of(rate_multiplier: Tensor) -> float:
    """Bits for a squared error of 1, summed over three channels of values in 0..1: what training pays, per position."""
    return 255**2 / 3 * float(rate_multiplier)


def refine(
    bottleneck: Searchable,
    y: Tensor,
    quality: int,
    restore: Callable[[Tensor], Tensor],
    target: Tensor,
    price: float,
    rounds: int,
) -> Tensor:
    """Latents [1, C, ...] near y whose symbols cost less: what `compress` should be given.

    quality: q256. restore: the synthesis, reconstructed latents to a signal shaped as target; price: bits for a squared
    error of 1, summed over the signal. Each round is one pass through both, forward and backward; it ends where no
    change promises anything. On a CPU the same arguments give the same latents.
    """
    position = position_of(quality, y.device)
    generator = torch.Generator(y.device).manual_seed(SEED)
    with torch.inference_mode(False), torch.enable_grad():
        y, target = y.clone(), target.clone()  # what was made for inference alone has no gradients
        best, least = y, float("inf")
        strength, promised, before = START, 0.0, 0.0
        bend: Tensor | None = None
        for number in range(rounds + 1):
            y = y.detach().requires_grad_(True)
            with full_float32(y.device):  # as the file is made, whatever the caller's settings are
                trial = bottleneck.trial(y, position)
            error = restore(trial.latents) - target
            loss = trial.bits + price * error.square().sum()
            cost = float(loss.detach())
            if promised:
                kept = (cost - before) / promised
                strength *= FACTOR if kept > GROW else 1 / FACTOR if kept < SHRINK else 1
                strength = min(MOST, max(LEAST, strength))
            if cost < least:
                best, least = y.detach(), cost
            if number == rounds:
                break
            if bend is None:
                bend = _curvature(error, y, price, generator)
            (slope,) = torch.autograd.grad(loss, y)
            with torch.no_grad():
                y, promised, is_done = _changed(
                    y.detach(), trial, slope / trial.gain, bend / trial.gain.square(), strength, generator
                )
            before = cost
            if is_done:
                break
        return best


def _curvature(error: Tensor, y: Tensor, price: float, generator: torch.Generator) -> Tensor:
    """Half the second derivative of price * squared error along each channel, a mean over positions: [1, C, 1, ...].

    By Gauss-Newton it is price times the squared norm of what the latent draws, whose mean a random vector of signs
    gives in one backward pass (Hutchinson 1989).
    """
    signs = torch.randint(0, 2, error.shape, device=error.device, generator=generator).to(error.dtype) * 2 - 1
    (drawn,) = torch.autograd.grad((error * signs).sum(), y, retain_graph=True)
    return price * drawn.square().mean(tuple(range(2, y.dim())), keepdim=True)


def _changed(
    y: Tensor, trial: Trial, slope: Tensor, bend: Tensor, strength: float, generator: torch.Generator
) -> tuple[Tensor, float, bool]:
    """Latents after the most promising changes of each position, what those promise, and whether no change does.

    slope, bend: by the step.
    """
    change = torch.stack([trial.lower - slope, trial.higher + slope]) + BEND * bend
    change, which = change.min(0)
    direction = which * 2.0 - 1
    count = min(int(strength + 1 - 1e-9), change.shape[1])
    last = change.kthvalue(count, 1, keepdim=True).values
    draw = torch.rand(change.shape, device=y.device, generator=generator)
    chosen = (change < 0) & (change <= last) & (draw < strength / count)
    distance = 0.5 - direction * trial.remainder + MARGIN
    moved = y + torch.where(chosen, direction * distance / trial.gain, 0.0)
    return moved, float(change[chosen].sum()), not bool((change < 0).any())
