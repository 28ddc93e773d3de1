"""What real symbols tell an export: what indices are off by on average, and how symbols are spread under each index.

Rounding and clamping in eight bits leave each channel a little too low or too high, differently at every quality. The
averages over calibration pictures cost nothing to undo: one part goes into the heads' biases, the rest into the start.
"""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.entropy.coding import Walk, encode
from rarefy.entropy.gains import QUALITY_LEVELS, level_of
from rarefy.entropy.hyperprior import PHASES, SCALE_COUNT, Hyperprior, step_masks
from rarefy.entropy.integer import START_BITS, IntegerLayer
from rarefy.errors import WeightsError

MAGNITUDES = 1024  # that are counted; larger ones are escapes in any row
ROUNDS = 2  # a correction moves the symbols' tables, and what is left can be measured again


def rows_of(bottleneck: Hyperprior, coded: Walk, quality: int) -> Tensor:
    """The table row of each symbol of an encoded batch: int16 [B, h, w, C], as `coded.symbols`."""
    walk = Walk(bottleneck, coded.z, (coded.symbols.shape[1], coded.symbols.shape[2]), quality)
    rows = torch.zeros_like(coded.symbols)
    for step in range(len(PHASES)):
        for where, index, mu in list(walk.step(step)):
            at = (slice(None), *where)
            rows[at] = index.to(rows.dtype)
            walk.put(where, coded.symbols[at], mu)
    return rows


@torch.no_grad()
def magnitudes_seen(bottleneck: Hyperprior, latents: Iterable[tuple[Tensor, int]]) -> NDArray[np.int64]:
    """How often each magnitude below `MAGNITUDES` occurs under each row: [SCALE_COUNT, MAGNITUDES].

    latents: pairs of y [1, C, h, w] and a quality q256.
    """
    counts = np.zeros(SCALE_COUNT * MAGNITUDES, np.int64)
    for y, quality in latents:
        coded, _ = encode(bottleneck, y, quality)
        rows, magnitudes = rows_of(bottleneck, coded, quality).long(), coded.symbols.long().abs()
        places = (rows * MAGNITUDES + magnitudes)[magnitudes < MAGNITUDES]
        counts += np.bincount(places.numpy(), minlength=len(counts))
    return counts.reshape(SCALE_COUNT, MAGNITUDES)


class Errors:
    """Sums of index errors (integer minus float) of each step, quality level and channel, and their numbers."""

    def __init__(self, latents: int) -> None:
        self.total = torch.zeros(len(PHASES), QUALITY_LEVELS, latents, dtype=torch.float64)
        self.count = torch.zeros_like(self.total)

    @torch.no_grad()
    def add(self, bottleneck: Hyperprior, y: Tensor, quality: int) -> None:
        """Code latents [1, C, h, w] at a quality q256 and compare the indices; the bottleneck's scales are floats."""
        coded, _ = encode(bottleneck, y, quality)
        found = rows_of(bottleneck, coded, quality).permute(0, 3, 1, 2).float()
        level = level_of(quality, QUALITY_LEVELS)
        position = torch.tensor([quality / 25600])
        start = bottleneck.start_index(position)
        symbols = coded.symbols.permute(0, 3, 1, 2).float()
        known = torch.zeros_like(symbols)
        for step, mask in enumerate(step_masks(bottleneck.phases, *y.shape[1:])):
            wanted = bottleneck.scales.step(step, coded.float_features, known) + start
            # At the ends of the range both are clamped, and nothing can be told.
            counts = mask & (wanted > 0.5) & (wanted < SCALE_COUNT - 1.5)
            error = torch.where(counts, found - wanted, 0.0)
            self.total[step, level] += error.sum((0, 2, 3))
            self.count[step, level] += counts.sum((0, 2, 3))
            known = torch.where(mask, torch.asinh(symbols.abs()), known)

    def mean(self, least: int = 64) -> Tensor:
        """Means [steps, levels, latents], of nothing 0, shrunk where few values are behind them."""
        return self.total / (self.count + least)


def correct(bottleneck: Hyperprior, latents: Iterable[tuple[Tensor, int]]) -> None:
    """Correct the integer network of a bottleneck whose `scales` are still the floats that it was quantised from.

    latents: pairs of y [1, C, h, w] and a quality q256, several times over the same. Raises WeightsError if the sums
    are not exact any more.
    """
    pairs = list(latents)
    network = bottleneck.exact_network()
    for _ in range(ROUNDS):
        errors = Errors(len(bottleneck.sigma))
        for y, quality in pairs:
            errors.add(bottleneck, y, quality)
        of_head = errors.total.sum(1) / (errors.count.sum(1) + 64)
        for step, head in enumerate(network.heads):
            assert isinstance(head, IntegerLayer)
            head.bias -= torch.round(of_head[step] * torch.exp2(head.shift.double())).to(head.bias.dtype)
        rest = errors.total - of_head[:, None] * errors.count
        of_level = rest.sum(0) / (errors.count.sum(0) + 64)
        seen = torch.nonzero(errors.count.sum((0, 2)))[:, 0]
        every = _between(seen, of_level[seen])
        corrected = network.start.double() - every * 2**START_BITS
        network.start.copy_(corrected.round().clamp(-32768, 32767))
    network.prove_bounds()


def _between(levels: Tensor, values: Tensor) -> Tensor:
    """Values [n, C] known at some levels (rising), linear between them and constant beyond: [QUALITY_LEVELS, C]."""
    if len(levels) < 2:
        raise WeightsError("corrections need pictures at two qualities or more")
    place = torch.arange(QUALITY_LEVELS, dtype=torch.float64)
    upper = torch.searchsorted(levels.double(), place).clamp(1, len(levels) - 1)
    low, high = levels[upper - 1].double(), levels[upper].double()
    t = ((place - low) / (high - low)).clamp(0, 1)[:, None]
    return values[upper - 1] * (1 - t) + values[upper] * t
