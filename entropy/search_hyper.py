"""Search at the encoder for hyper-latents: others than the analysis gives take fewer bits with the latents together.

One change is tried at every second position of the grid at once, the most promising channel first: what the gradient
of the latents' bits says of it, and its own bits exactly. A change stays where the cost around it falls.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.entropy.trial import Goal, HyperSearchable, around, blocks_of

TURN = 4  # tries from one gradient: two channels on both halves of the checkerboard


def refine_hyper(bottleneck: HyperSearchable, y: Tensor, position: Tensor, goal: Goal, tries: int) -> Tensor:
    """Hyper-latents for latents [1, C, ...] at a quality [1] in 0..1: the analysis's, or such as cost less.

    A try is one pass through contexts and synthesis, without gradients.
    """
    found = start = bottleneck.hyper_latents(y, position)
    first = cost = _cost(bottleneck, y, position, goal, start)
    halves = _checkerboard(start)
    for number in range(tries):
        if number % TURN == 0:
            change, better = _changes(bottleneck, y, position, found)
            order = change.argsort(dim=1, stable=True)
        half, rank = number % 2, number % TURN // 2
        chosen = torch.zeros_like(found).scatter_(1, order[:, rank : rank + 1], 1.0) * (halves == half) * (change < 0)
        tried = found + chosen * better
        tried_cost = _cost(bottleneck, y, position, goal, tried)
        stays = (around(tried_cost) < around(cost)) & (chosen.sum(1, keepdim=True) > 0)
        found = torch.where(stays, tried, found)
        cost = torch.where(F.max_pool2d(stays.float(), 3, 1, 1) > 0, tried_cost, cost)
    return found if float(_cost(bottleneck, y, position, goal, found).sum()) < float(first.sum()) else start


def _changes(bottleneck: HyperSearchable, y: Tensor, position: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor]:
    """What the better of one less and one more promises of each, in bits, and which that is: -1 or 1."""
    slope = bottleneck.hyper_slope(y, position, hyper)
    with torch.no_grad():
        own = bottleneck.hyper_bits(hyper, position)
        both = [bottleneck.hyper_bits(hyper + step, position) - own + step * slope for step in (-1, 1)]
        change, which = torch.stack(both).min(0)
        return change, which * 2.0 - 1


@torch.no_grad()
def _cost(bottleneck: HyperSearchable, y: Tensor, position: Tensor, goal: Goal, hyper: Tensor) -> Tensor:
    """Bits of both kinds of latents + price * squared error by positions of hyper-latents, [1, 1, ...]."""
    trial = bottleneck.trial(y, position, hyper)
    cost = blocks_of(goal.cost(trial, goal.error(trial)), bottleneck.hyper_stride)
    return cost + bottleneck.hyper_bits(hyper, position).sum(1, keepdim=True)


def _checkerboard(hyper: Tensor) -> Tensor:
    """0 and 1 in turn along each axis, [h, w]."""
    rows, columns = (torch.arange(size, device=hyper.device) for size in hyper.shape[2:])
    return (rows[:, None] + columns) % 2
