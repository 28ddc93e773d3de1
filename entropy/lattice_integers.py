"""The lattice bottleneck in integers: which table each latent has, in exact sums of 32 bits, and the coding of units.

The NumPy code here defines the format; compiled code gives the same bytes sooner. docs/LATTICE.md tells it in words.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefy.entropy import coder
from rarefy.entropy.gains import QUALITY_LEVELS
from rarefy.entropy.lattice import BLOCK, NEIGHBOURS, SCALE_HIGH, SCALE_LOW, Lattice, places, steps
from rarefy.entropy.tables import Floats, Tables, likely_part
from rarefy.errors import FormatError, WeightsError

Integers = NDArray[np.int64]
FRACTION_BITS = 3  # means have eighths of a step
MEAN_BITS = 7  # below these, in the sums of means
SCALE_BITS = 12  # fraction of scales in their sums
LARGEST_SEEN = 2047  # of a neighbour's magnitude
LARGEST_RESIDUAL = 16383  # of the channels before, in fractions of a step
SUB_OCTAVE_BITS = 2  # tables for each doubling of the scale: 4
SCALE_LEAST, SCALE_MOST = (round(scale * 2**SCALE_BITS) for scale in (SCALE_LOW, SCALE_HIGH))
SYMBOL_MIN, SYMBOL_MAX = -32768, 32767
TOO_FAR = "latents differ from their means by more than 16 bits hold: these weights cannot code this picture"


def scale_index(scale: Integers) -> Integers:
    """The table of a scale in units of 2^-12: four to an octave, by its leading bits."""
    exponent = np.frexp(scale.astype(np.float64))[1].astype(np.int64) - 1  # exact: scales have few bits
    return (exponent << SUB_OCTAVE_BITS) + ((scale >> (exponent - SUB_OCTAVE_BITS)) & 3)


FIRST_INDEX = int(scale_index(np.array([SCALE_LEAST]))[0])
SCALE_COUNT = int(scale_index(np.array([SCALE_MOST]))[0]) - FIRST_INDEX + 1


def lattice_tables() -> Tables:
    """One row for each scale and eighth of a mean: logistic distributions. Float64, at export only."""
    rows = [
        _row(FIRST_INDEX + index, fraction) for index in range(SCALE_COUNT) for fraction in range(1 << FRACTION_BITS)
    ]
    return Tables.from_pmfs([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows])


def _row(index: int, fraction: int) -> tuple[Floats, int, float]:
    """Masses, first symbol and escape of a row, at the geometric centre of its scales."""
    exponent, leading = divmod(index, 1 << SUB_OCTAVE_BITS)
    low, high = (2.0 ** (exponent - SCALE_BITS) * (1 + (leading + step) / 4) for step in (0, 1))
    scale = (low * high) ** 0.5
    reach = int(scale * 24) + 4
    edges = np.arange(-reach, reach + 2) - 0.5 - fraction / (1 << FRACTION_BITS)
    left = np.exp(-np.logaddexp(0.0, -edges / scale))
    right = np.exp(-np.logaddexp(0.0, edges / scale))
    masses = np.where(edges[1:] < 0, np.diff(left), -np.diff(right))
    part, first, escape = likely_part(masses)
    return part, first - reach, escape


class LatticeIntegers(nn.Module):
    """Weights of a `Lattice` as integers: sums of means in 2^-10, of scales in 2^-12 of a step."""

    means: Tensor
    means_across: Tensor
    scales: Tensor
    differences: Tensor
    scales_across: Tensor
    start: Tensor

    def __init__(self, latents: int, axes: int) -> None:
        super().__init__()
        self.axes = axes
        count, around = len(steps(axes)), NEIGHBOURS * latents
        shapes = {
            "means": (count, latents, around),
            "means_across": (count, latents, latents),
            "scales": (count, latents, around),
            "differences": (count, latents, around // 2),
            "scales_across": (count, latents, latents),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int16))
        self.register_buffer("start", torch.ones(QUALITY_LEVELS, count, latents, dtype=torch.int32))

    @torch.no_grad()
    def take(self, lattice: Lattice) -> None:
        """Round the weights of a trained bottleneck."""
        mean, scale = 2 ** (FRACTION_BITS + MEAN_BITS), 2**SCALE_BITS
        before = torch.tril(torch.ones(lattice.channels, lattice.channels), -1)
        across = lattice.scales_across.clamp(min=0) * before
        for integers, floats in (
            (self.means, lattice.means * mean),
            (self.means_across, lattice.means_across * before * mean),
            (self.scales, lattice.scales.clamp(min=0) * scale),
            (self.differences, lattice.differences.clamp(min=0) * scale),
            (self.scales_across, across * 2 ** (SCALE_BITS - FRACTION_BITS)),
        ):
            if not bool((floats.round().abs() < 2**15).all()):
                raise WeightsError("contexts of the lattice have weights that 16 bits do not hold")
            integers.copy_(floats.round())
        starts = torch.exp(lattice.start_levels())
        self.start.copy_((starts.clamp(max=SCALE_HIGH) * scale).round())
        self.prove_bounds()

    @torch.no_grad()
    def give(self, lattice: Lattice) -> None:
        """Write the integers back into floats, a rounding step away: shipped weights can be trained on."""
        mean, scale = 2 ** (FRACTION_BITS + MEAN_BITS), 2**SCALE_BITS
        lattice.means.copy_(self.means / mean)
        lattice.means_across.copy_(self.means_across / mean)
        lattice.scales.copy_(self.scales / scale)
        lattice.differences.copy_(self.differences / scale)
        lattice.scales_across.copy_(self.scales_across / 2 ** (SCALE_BITS - FRACTION_BITS))
        points = torch.linspace(0, QUALITY_LEVELS - 1, len(lattice.start)).round().long()
        lattice.start.copy_(torch.log(self.start[points] / scale))

    def prove_bounds(self) -> int:
        """The largest sum that can occur; raises WeightsError where 32 bits might not hold one."""
        seen = 2 * LARGEST_SEEN  # differences reach twice as far
        means = self.means.long().abs().sum(2) * LARGEST_SEEN + self.means_across.long().abs().sum(2) * LARGEST_SEEN
        scales = self.scales.long().abs().sum(2) * LARGEST_SEEN + self.differences.long().abs().sum(2) * seen
        scales += self.scales_across.long().abs().sum(2) * LARGEST_RESIDUAL + self.start.long().amax(0)
        largest = int(torch.maximum(means + (1 << MEAN_BITS), scales).max())
        positive = (self.scales, self.differences, self.scales_across, self.start)
        if largest >= 1 << 31 or any(int(weights.min()) < 0 for weights in positive):
            raise WeightsError(f"lattice: sums up to {largest}, or negative weights of scales")
        is_before = torch.ones(self.means_across.shape[1:], dtype=torch.bool).tril(-1)
        if bool((self.means_across[:, ~is_before] != 0).any() or (self.scales_across[:, ~is_before] != 0).any()):
            raise WeightsError("lattice: a channel would see what follows it")
        return largest


@dataclass
class Context:
    """What the channels of a block see: neighbours clipped, [NEIGHBOURS C, n], then the channels before, one by one."""

    network: LatticeIntegers
    number: int
    level: int
    around: Integers
    apart: Integers
    seen: Integers
    residuals: Integers

    def rows(self, channel: int) -> tuple[Integers, Integers]:
        """Means in fractions of a step and table rows of the step's symbols in a channel: [n] each."""
        n, c = self.network, channel
        at = (self.number, c)
        mean = _of(n.means, at) @ self.around + _of(n.means_across, at)[:c] @ self.seen[:c]
        mean = (mean + (1 << (MEAN_BITS - 1))) >> MEAN_BITS
        scale = int(n.start[self.level, self.number, c]) + _of(n.scales, at) @ np.abs(self.around)
        scale = scale + _of(n.differences, at) @ self.apart + _of(n.scales_across, at)[:c] @ self.residuals[:c]
        index = scale_index(np.clip(scale, SCALE_LEAST, SCALE_MOST)) - FIRST_INDEX
        return mean, (index << FRACTION_BITS) + (mean & ((1 << FRACTION_BITS) - 1))

    def put(self, channel: int, symbols: Integers, mean: Integers) -> None:
        """Take in a channel's latents."""
        self.seen[channel] = np.clip(symbols, -LARGEST_SEEN, LARGEST_SEEN)
        self.residuals[channel] = np.minimum(np.abs((symbols << FRACTION_BITS) - mean), LARGEST_RESIDUAL)


def _of(weights: Tensor, at: tuple[int, int]) -> Integers:
    return weights[at].numpy().astype(np.int64)


def contexts(
    network: LatticeIntegers, latents: Integers, shape: tuple[int, ...], level: int
) -> Iterator[tuple[Integers, Context]]:
    """Positions and context of each block; latents [C, positions] are filled in by the caller in between."""
    for number, step in enumerate(steps(network.axes)):
        own, neighbours = places(step, shape)
        for first in range(0, len(own), BLOCK):
            block = slice(first, first + BLOCK)
            around = np.zeros((NEIGHBOURS, len(latents), len(own[block])), np.int64)
            if step.neighbours:
                near = neighbours[:, None, block]
                seen = np.clip(latents[np.arange(len(latents))[:, None], near.clip(0)], -LARGEST_SEEN, LARGEST_SEEN)
                around = seen * (near >= 0)
            apart = np.abs(around[0::2] - around[1::2])
            empty = np.zeros(around.shape[1:], np.int64)
            around, apart = (part.reshape(-1, part.shape[2]) for part in (around, apart))
            yield own[block], Context(network, number, level, around, apart, empty, empty.copy())


def encode(network: LatticeIntegers, tables: Tables, latents: NDArray[np.int16], level: int) -> tuple[bytes, int]:
    """Code a unit's latents int16 [C, ...]; gives the stream and the latents' checksum."""
    flat = latents.reshape(len(latents), -1).astype(np.int64)
    symbols, rows = [], []
    for own, context in contexts(network, flat, latents.shape[1:], level):
        for channel in range(len(flat)):
            here = flat[channel, own]
            mean, row = context.rows(channel)
            symbols.append(here - (mean >> FRACTION_BITS))
            rows.append(row)
            context.put(channel, here, mean)
    joined = np.concatenate(symbols) if symbols else np.zeros(0, np.int64)
    if joined.min(initial=0) < SYMBOL_MIN or joined.max(initial=0) > SYMBOL_MAX:
        raise WeightsError(TOO_FAR)
    stream = coder.encode(joined.astype(np.int16), np.concatenate(rows).astype(np.uint16), tables)
    return stream, coder.checksum([latents])


def decode(
    network: LatticeIntegers, tables: Tables, stream: bytes, shape: tuple[int, ...], level: int
) -> NDArray[np.int16]:
    """The latents int16 [C, *shape] of a stream; raises FormatErrors for damaged ones."""
    channels = network.means.shape[1]
    flat = np.zeros((channels, int(np.prod(shape))), np.int64)
    decoder = coder.Decoder(stream, tables)
    for own, context in contexts(network, flat, shape, level):
        for channel in range(channels):
            mean, row = context.rows(channel)
            here = decoder.decode(row.astype(np.uint16)).astype(np.int64) + (mean >> FRACTION_BITS)
            if here.min() < SYMBOL_MIN or here.max() > SYMBOL_MAX:
                raise FormatError("a latent beyond 16 bits: the stream is damaged")
            flat[channel, own] = here
            context.put(channel, here, mean)
    decoder.finish()
    return flat.reshape(channels, *shape).astype(np.int16)
