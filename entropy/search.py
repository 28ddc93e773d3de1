"""Search at the encoder: which symbols cost less, in bits and in distortion together, than the nearest ones.

Rounding each latent to the nearest integer is not the best that an encoder can do: errors of neighbours add up or
cancel, and a symbol is context to those after it. The search changes symbols by one where that lowers bits + price *
squared error, a few at a time, and looks again: what has not paid at a place is undone there. Files stay ordinary
files: all that changes is what is rounded, and which hyper-latents go with it.

Yang et al. 2020 ("Improving Inference for Neural Image Compression") anneal latents over thousands of gradient steps.
This needs a dozen, since it uses what is known of each single change: its own bits exactly, what it does to the rest by
the gradient, and how distortion bends by the squared norm of what a latent draws.
"""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from rarefy.entropy.gains import position_of
from rarefy.entropy.precision import full_float32
from rarefy.entropy.search_hyper import refine_hyper
from rarefy.entropy.trial import Goal, HyperSearchable, Searchable, around
from rarefy.errors import OptionError

BEND = 1.3  # times the curvature of a single change, for those made beside it
MARGIN = 0.25  # of a step: how far beyond the border a latent is moved, so that shifted means do not take it back
START, LEAST, MOST = 3.0, 0.15, 8.0  # changes at a position in a round; below 1, at a random part of the positions
GROW, SHRINK, FACTOR = 0.5, 0.3, 1.5  # more changes where above this part of the promise was kept, fewer below that one
SEED = 1
EFFORTS = range(7)  # of encoders: 0 for none, else rounds are two to that power


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


class Compressing(Protocol):
    """A bottleneck, as far as it writes."""

    def compress(self, y: Tensor, quality: int) -> list[tuple[dict[str, bytes], int]]:
        """See `rarefy.codecs.any_codec.AnyBottleneck`."""


@dataclass(frozen=True)
class Found:
    """Latents [1, C, ...] whose symbols cost less, and the hyper-latents that go with them where there are such."""

    latents: Tensor
    hyper: Tensor | None


def refine(bottleneck: Searchable, y: Tensor, quality: int, goal: Goal, rounds: int) -> Found:
    """Latents near y [1, C, ...] that cost less at a quality q256: what `compress_found` should be given.

    A round is a pass through bottleneck and synthesis, forward and backward, and one or, with hyper-latents, two
    forward. It ends where no change promises anything. On a CPU the same arguments give the same latents, whatever the
    caller's settings are.
    """
    position = position_of(quality, y.device)
    with torch.inference_mode(False), torch.enable_grad(), full_float32(y.device):
        y, goal = y.clone(), replace(goal, target=goal.target.clone())  # made for inference alone, they have no graph
        hyper = None
        if isinstance(bottleneck, HyperSearchable):
            hyper = refine_hyper(bottleneck, y, position, goal, rounds)
        return Found(_Search(bottleneck, position, goal, hyper).run(y, rounds), hyper)


def compress_found(bottleneck: Compressing, found: Sequence[Found], quality: int) -> list[tuple[dict[str, bytes], int]]:
    """Code a batch of what was found."""
    y = torch.cat([each.latents for each in found])
    hyper = [each.hyper for each in found if each.hyper is not None]
    if not hyper:
        return bottleneck.compress(y, quality)
    assert isinstance(bottleneck, HyperSearchable)
    return bottleneck.compress(y, quality, torch.cat(hyper))


@dataclass(frozen=True)
class _Look:
    """Latents that were tried, what they cost at each position [1, 1, ...], and what changes of them promise.

    change: bits + price * squared error of the better change of each symbol; moved: the latents after it.
    """

    y: Tensor
    cost: Tensor
    change: Tensor
    moved: Tensor

    def where(self, kept: Tensor, other: "_Look") -> "_Look":
        """This where it is kept, the other elsewhere."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return _Look(*(torch.where(kept, mine, theirs) for mine, theirs in pairs))


class _Search:
    """Rounds of changes of the symbols of one unit."""

    def __init__(self, bottleneck: Searchable, position: Tensor, goal: Goal, hyper: Tensor | None) -> None:
        self.bottleneck, self.position, self.goal, self.hyper = bottleneck, position, goal, hyper
        self.generator = torch.Generator(position.device).manual_seed(SEED)
        self.bend: Tensor | None = None

    def run(self, y: Tensor, rounds: int) -> Tensor:
        """The latents that cost least of those that were tried."""
        last = self._look(y)
        best, least = y, float(last.cost.sum())
        strength = torch.full_like(last.cost, START)
        for _ in range(rounds):
            if not (last.change < 0).any():
                break
            chosen = self._chosen(last.change, strength)
            promised = last.change.where(chosen, 0.0).sum(1, keepdim=True)
            now = self._look(torch.where(chosen, last.moved, last.y))
            gained, hoped = around(now.cost - last.cost), around(promised)
            share = torch.where(hoped < 0, gained / hoped, GROW)
            strength = torch.where(
                share > GROW, strength * FACTOR, torch.where(share < SHRINK, strength / FACTOR, strength)
            )
            strength = strength.clamp(LEAST, MOST)
            last = now.where(gained <= 0, last)
            last = replace(last, cost=self.goal.cost_of(self.bottleneck.trial, last.y, self.position, self.hyper))
            if float(last.cost.sum()) < least:
                best, least = last.y, float(last.cost.sum())
        return best

    def _look(self, y: Tensor) -> _Look:
        y = y.detach().requires_grad_(True)
        goal = self.goal
        trial = self.bottleneck.trial(y, self.position, self.hyper)
        error = goal.error(trial)
        if self.bend is None:
            self.bend = self._curvature(error, y) / trial.gain.square()
        loss = trial.bits.sum() + goal.price * error.square().sum()
        slope, *by_magnitude = torch.autograd.grad(loss, [y, *([trial.seen.values] if trial.seen else [])])
        with torch.no_grad():
            slope /= trial.gain
            both = torch.stack([trial.lower - slope, trial.higher + slope])
            if trial.seen:
                both += by_magnitude[0] * torch.stack([trial.seen.lower, trial.seen.higher])
            change, which = (both + BEND * self.bend).min(0)
            direction = which * 2.0 - 1
            distance = 0.5 - direction * trial.remainder + MARGIN
            return _Look(y.detach(), goal.cost(trial, error), change, y.detach() + direction * distance / trial.gain)

    def _curvature(self, error: Tensor, y: Tensor) -> Tensor:
        """Half the second derivative of price * squared error along each channel, a mean over positions.

        Gives [1, C, 1, ...]. By Gauss-Newton it is price times the squared norm of what the latent draws, whose mean a
        random vector of signs gives in one backward pass (Hutchinson 1989).
        """
        draw = torch.randint(0, 2, error.shape, device=error.device, generator=self.generator)
        (drawn,) = torch.autograd.grad((error * (draw.to(error.dtype) * 2 - 1)).sum(), y, retain_graph=True)
        return self.goal.price * drawn.square().mean(tuple(range(2, y.dim())), keepdim=True)

    def _chosen(self, change: Tensor, strength: Tensor) -> Tensor:
        """The most promising changes of each position."""
        count = (strength + 1 - 1e-6).long().clamp(max=change.shape[1])
        most_promising = change.topk(min(math.ceil(MOST), change.shape[1]), 1, largest=False).values
        last = most_promising.gather(1, count - 1)
        draw = torch.rand(change.shape, device=change.device, generator=self.generator)
        return (change < 0) & (change <= last) & (draw < strength / count)
