"""What a search at the encoder asks of a bottleneck, and what it searches for: latents that cost less."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """What contexts see of symbols other than by their latents: a leaf for gradients, and what a change makes of it.

    values: as they are; lower, higher: how much more or less is seen of a symbol that is one less, one more.
    """

    values: Tensor
    lower: Tensor
    higher: Tensor


@dataclass(frozen=True)
class Trial:
    """What coding latents [1, C, ...] would give, at the symbols that they round to.

    latents: reconstructed, with a graph back to what was tried. bits: of all symbols at a position, [1, 1, ...], with a
    graph through contexts alone, in which a symbol's own length is constant: to `seen`, where that is given, else to
    what was tried. lower, higher: how many bits more each symbol takes by itself when it is one less, one more.
    remainder: what rounding left of each, in steps. gain: steps per unit of what was tried. seen: where magnitudes are
    contexts, whose slope at zero says nothing.
    """

    latents: Tensor
    bits: Tensor
    lower: Tensor
    higher: Tensor
    remainder: Tensor
    gain: Tensor
    seen: Seen | None = None


@runtime_checkable
class Searchable(Protocol):
    """A bottleneck that can tell what changes of its symbols would cost."""

    def trial(self, y: Tensor, position: Tensor, hyper: Tensor | None = None) -> Trial:
        """Latents float32 [1, C, ...] at a quality [1] in 0..1; hyper: hyper-latents, where it has them."""


@runtime_checkable
class HyperSearchable(Searchable, Protocol):
    """One whose hyper-latents can be others than its analysis gives."""

    hyper_stride: int

    def hyper_latents(self, y: Tensor, position: Tensor) -> Tensor:
        """Those of the analysis: integers as float32 [1, c, ...]."""

    def hyper_bits(self, hyper: Tensor, position: Tensor) -> Tensor:
        """What each of them takes by itself, [1, c, ...]."""

    def hyper_slope(self, y: Tensor, position: Tensor, hyper: Tensor) -> Tensor:
        """How many bits the latents take more where one of them is higher, by the gradient: [1, c, ...]."""

    def compress(self, y: Tensor, quality: int, hyper: Tensor | None = None) -> list[tuple[dict[str, bytes], int]]:
        """See `rarefy.codecs.any_codec.AnyBottleneck`; hyper: those that a search has found."""


@dataclass(frozen=True)
class Goal:
    """What the latents of a unit are for.

    target: the signal, float32 [1, c, ...]. restore: the synthesis, reconstructed latents to such a signal, which may
    reach beyond what they cover. price: bits for a squared error of 1, summed over the signal. stride: samples that a
    latent covers along each axis. within: which of the latents that cover the signal are the unit's.
    """

    target: Tensor
    restore: Callable[[Tensor], Tensor]
    price: float
    stride: int
    within: tuple[slice, ...] = ()

    def error(self, trial: Trial) -> Tensor:
        """Of the restored signal, with the trial's graph."""
        return self.restore(trial.latents) - self.target

    def cost(self, trial: Trial, error: Tensor) -> Tensor:
        """Bits + price * squared error at each of the unit's positions, [1, 1, ...], without a graph.

        Error beyond them counts where the unit ends.
        """
        squared = blocks_of(error.detach().square().sum(1, keepdim=True), self.stride)
        return trial.bits.detach() + self.price * _folded(squared, self.within)

    def cost_of(self, trial: Callable[..., Trial], *arguments: Tensor | None) -> Tensor:
        """As `cost`, of latents that are tried for it alone."""
        with torch.no_grad():
            tried = trial(*arguments)
            return self.cost(tried, self.error(tried))


def blocks_of(values: Tensor, side: int) -> Tensor:
    """Sums over blocks of `side` values along each axis of [1, 1, ...]; the last ones may hold fewer."""
    missing = [n for size in reversed(values.shape[2:]) for n in (0, -size % side)]
    return _pooling(values)(F.pad(values, missing), side) * float(side ** (values.dim() - 2))


def _folded(values: Tensor, within: tuple[slice, ...]) -> Tensor:
    """What is within slices, with the sums of what is before and behind added to the first and the last there."""
    for axis, part in enumerate(within):
        start, stop, _ = part.indices(values.shape[axis])
        before, inner, behind = values.split([start, stop - start, values.shape[axis] - stop], axis)
        values = inner.clone()
        values.narrow(axis, 0, 1).add_(before.sum(axis, keepdim=True))
        values.narrow(axis, -1, 1).add_(behind.sum(axis, keepdim=True))
    return values


def around(values: Tensor) -> Tensor:
    """The mean of each of [1, 1, ...] and its neighbours: a change at one place is felt at those beside it."""
    return _pooling(values)(values, 3, 1, 1, count_include_pad=False)


def _pooling(values: Tensor) -> Callable[..., Tensor]:
    pooling: Callable[..., Tensor] = (F.avg_pool1d, F.avg_pool2d)[values.dim() - 3]
    return pooling
