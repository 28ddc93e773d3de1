"""Search at the encoder for hyper-latents: others than the analysis gives take fewer bits with the latents together.

One change is tried at every second position of the grid at once, the most promising channel first: what the gradient
of the latents' bits says of it, and its own bits exactly. A change stays where the cost around it falls.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.entropy.integer import PEAK
from rarefy.entropy.trial import Goal, HyperSearchable, around, blocks_of

TURN = 4  # tries from one gradient: two channels on both halves of the checkerboard


def refine_hyper(bottleneck: HyperSearchable, y: Tensor, position: Tensor, goal: Goal, tries: int) -> Tensor:
    """Hyper-latents for latents [1, C, ...] at a quality [1] in 0..1: the analysis's, or such as cost less.

    A try is one pass through contexts and synthesis, without gradients. What was refused at a place is not tried again
    before something near it has changed.
    """
    found = best = bottleneck.hyper_latents(y, position)
    cost = _cost(bottleneck, y, position, goal, found)
    least = float(cost.sum())
    halves = _checkerboard(found)
    refused = torch.zeros(2, *found.shape, dtype=torch.bool, device=found.device)
    for first in range(0, tries, TURN):
        change, better = _changes(bottleneck, y, position, found, refused)
        order = change.argsort(dim=1, stable=True)
        for number in range(min(TURN, tries - first)):
            half, rank = number % 2, number // 2
            places = torch.zeros_like(found).scatter_(1, order[:, rank : rank + 1], 1.0)
            chosen = places.bool() & (halves == half) & (change < 0)
            tried = torch.where(chosen, found + better, found)
            tried_cost = _cost(bottleneck, y, position, goal, tried)
            stays = (around(tried_cost) < around(cost)) & chosen.any(1, keepdim=True)
            near = F.max_pool2d(stays.float(), 3, 1, 1) > 0
            refused = (refused & ~near) | torch.stack([chosen & (better < 0), chosen & (better > 0)]) & ~near
            found, cost = torch.where(stays, tried, found), torch.where(near, tried_cost, cost)
        cost = _cost(bottleneck, y, position, goal, found)
        if float(cost.sum()) < least:
            best, least = found, float(cost.sum())
    return best


def _changes(
    bottleneck: HyperSearchable, y: Tensor, position: Tensor, hyper: Tensor, refused: Tensor
) -> tuple[Tensor, Tensor]:
    """What the better of one less and one more promises of each, in bits, and which that is: -1 or 1.

    refused: those that promise nothing, bool [2, 1, c, h, w].
    """
    slope = bottleneck.hyper_slope(y, position, hyper)
    with torch.no_grad():
        own = bottleneck.hyper_bits(hyper, position)
        both = [bottleneck.hyper_bits(hyper + step, position) - own + step * slope for step in (-1, 1)]
        beyond = torch.stack([hyper - 1 < -PEAK, hyper + 1 > PEAK])
        change, which = torch.stack(both).masked_fill(refused | beyond, math.inf).min(0)
        return change, which * 2.0 - 1


def _cost(bottleneck: HyperSearchable, y: Tensor, position: Tensor, goal: Goal, hyper: Tensor) -> Tensor:
    """Bits of both kinds of latents + price * squared error by positions of hyper-latents, [1, 1, ...]."""
    cost = blocks_of(goal.cost_of(bottleneck.trial, y, position, hyper), bottleneck.hyper_stride)
    with torch.no_grad():
        return cost + bottleneck.hyper_bits(hyper, position).sum(1, keepdim=True)


def _checkerboard(hyper: Tensor) -> Tensor:
    """0 and 1 in turn along each axis, [h, w]."""
    rows, columns = (torch.arange(size, device=hyper.device) for size in hyper.shape[2:])
    return (rows[:, None] + columns) % 2
