"""The lattice bottleneck: latents that are integers, coded from coarse to fine, under contexts of a few sums.

Rounded latents are themselves what is coded, so that they are the same integers on every machine, for the synthesis
and for whoever learns from them. Every eighth position along each axis comes first, then the midpoints of what is
known, three times over. Each symbol has a mean and a scale: sums over its known neighbours, in all channels, and over
the channels before its own at its position. This is the differentiable form in floats;
`rarefy.entropy.lattice_integers` codes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefy.entropy.gains import QUALITY_LEVELS, Gains, along_quality, level_of, position_of
from rarefy.entropy.integers_file import named_integers, read_integers
from rarefy.entropy.likelihood import LN2, ROUNDINGS, at_least, log_probability, round_through
from rarefy.entropy.precision import require_float32
from rarefy.entropy.trial import Trial
from rarefy.errors import WeightsError

if TYPE_CHECKING:
    from rarefy.entropy.lattice_coding import LatticeCoder

KEPT_SHAPES = 32  # of latents, whose places are kept
COARSEST = 8  # stride of the positions that come first
NEIGHBOURS = 4
BLOCK = 256  # positions of a step that are coded at once, all channels of them before the next: they stay in the caches
SCALE_LOW, SCALE_HIGH = 0.04, 100.0  # of logistic distributions, in steps
LARGEST = 32767  # of a latent's magnitude

Offset = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """Positions `first` + k `stride` along each axis, and where their known neighbours are: opposite ones in pairs."""

    stride: int
    first: Offset
    neighbours: tuple[Offset, ...]


@cache
def steps(axes: int) -> tuple[Step, ...]:
    """The order of coding along 1 or 2 axes."""
    order = [Step(COARSEST, (0,) * axes, ())]
    half = COARSEST // 2
    while half:
        for parity in sorted(set(product((0, 1), repeat=axes)) - {(0,) * axes}, key=lambda p: (-sum(p), p)):
            order.append(Step(2 * half, tuple(half * odd for odd in parity), _neighbours(parity, half)))
        half //= 2
    return tuple(order)


def _neighbours(parity: tuple[int, ...], half: int) -> tuple[Offset, ...]:
    """The nearest known ones: left and right twice along one axis; on two the corners, or the nearest along each."""
    if len(parity) == 1:
        return (-half,), (half,), (-3 * half,), (3 * half,)
    if all(parity):
        return (-half, -half), (half, half), (-half, half), (half, -half)
    return (0, -half), (0, half), (-half, 0), (half, 0)


@lru_cache(KEPT_SHAPES)
def places(step: Step, shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of a step in latents of a shape, and of their neighbours, as flat indices: [n] and [NEIGHBOURS, n].

    A neighbour outside is replaced by its mirror image on the other side of the position, or by nothing (-1) where that
    is outside too.
    """
    axes = [np.arange(first, extent, step.stride) for first, extent in zip(step.first, shape, strict=True)]
    own = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(len(shape), -1)
    neighbours = np.full((len(step.neighbours), own.shape[1]), -1, np.int64)
    for row, offset in zip(neighbours, step.neighbours, strict=True):
        at, is_inside = own.copy(), np.ones(own.shape[1], bool)
        for axis, distance in enumerate(offset):
            for candidate in (own[axis] + distance, own[axis] - distance):
                is_outside = (at[axis] < 0) | (at[axis] >= shape[axis]) | (at[axis] == own[axis])
                at[axis] = np.where(is_outside, candidate, at[axis]) if distance else at[axis]
            is_inside &= (at[axis] >= 0) & (at[axis] < shape[axis])
        row[is_inside] = np.ravel_multi_index(tuple(at[:, is_inside]), shape)
    return np.ravel_multi_index(tuple(own), shape), neighbours


def _places_on(axes: int, number: int, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """`places` of a step as tensors that stay on a device: constants for code that is compiled or recorded."""
    return _kept_places(axes, number, shape, device)


# What torch.compiler.assume_constant_result does, without importing the compiler: .9 s of every start, and 140 MB.
_places_on._dynamo_marked_constant = True  # type: ignore[attr-defined]


@lru_cache(256)
def _kept_places(axes: int, number: int, shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    own, neighbours = places(steps(axes)[number], shape)
    with torch.inference_mode(False):  # the next to use them may want gradients
        return torch.from_numpy(own).to(device), torch.from_numpy(neighbours).to(device)


class Lattice(Gains):
    """Bottleneck of integer latents with `axes` axes; see the module's docstring.

    means, scales: weights of the neighbours, [steps, latents, NEIGHBOURS * latents]; differences: of those of opposite
    neighbours; means_across, scales_across: of the channels before at the same position; start: what a scale has
    without neighbours, along the quality. Weights of scales count where they are positive. rounding: how gradients
    pass the rounding of latents in training, of `ROUNDINGS`.
    """

    rounding = "straight"
    restored: tuple[str, ...] = ("means", "means_across", "scales", "differences", "scales_across", "start")

    def __init__(self, latents: int, *, axes: int, lambdas: tuple[float, float], points: int = 13) -> None:
        super().__init__(latents, lambdas, points)
        self.axes = axes
        count = len(steps(axes))
        neighbours = NEIGHBOURS * latents
        self.means = nn.Parameter(torch.zeros(count, latents, neighbours))
        self.means_across = nn.Parameter(torch.zeros(count, latents, latents))
        self.scales = nn.Parameter(torch.zeros(count, latents, neighbours))
        self.differences = nn.Parameter(torch.zeros(count, latents, neighbours // 2))
        self.scales_across = nn.Parameter(torch.zeros(count, latents, latents))
        self.start = nn.Parameter(torch.zeros(points, count, latents))
        self.coder: LatticeCoder | None = None

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return self.gain_encoder.shape[1]

    @torch.no_grad()
    def start_from(self, sigma: Tensor) -> None:
        """Begin with what deviations [latents] of the unscaled latents say; each channel looks at itself."""
        points = torch.linspace(0, 1, len(self.start))
        gain, _ = self.gains(points)
        spread = 0.3 * sigma * gain.flatten(1)
        self.start.copy_(torch.log(0.3 * spread + 0.05)[:, None].expand_as(self.start))
        self.start[:, 0] = torch.log(2 * spread + 0.05)
        own = torch.eye(self.channels).repeat(1, NEIGHBOURS)
        self.scales.copy_(0.1 * own.expand_as(self.scales))
        self.scales[0] = 0
        self.means[1:, :1] = own[:1] / NEIGHBOURS

    def start_levels(self) -> Tensor:
        """`start` at every quality level, [QUALITY_LEVELS, steps, latents]."""
        return along_quality(self.start, torch.linspace(0, 1, QUALITY_LEVELS, device=self.start.device))

    def symbol_count(self, shape: tuple[int, ...]) -> int:
        """Symbols of a unit with latents of this shape."""
        return int(np.prod(shape)) * self.channels

    def compress(self, y: Tensor, quality: int) -> list[tuple[dict[str, bytes], int]]:
        """Latents float32 [B, latents, ...] at a quality q256 to sections and checksums.

        Raises WeightsError for latents that are not finite or too large.
        """
        require_float32(self)
        with torch.no_grad():
            gain, _ = self._shaped_gains(position_of(quality, y.device))
            scaled = y.float() * gain
            if not scaled.abs().max() <= LARGEST:
                raise WeightsError(
                    "the transforms gave latents that are not finite or beyond 16 bits: these weights cannot code this"
                )
            symbols = scaled.round().to(torch.int16).cpu().numpy()
        coder, level = self._coder(), level_of(quality, QUALITY_LEVELS)
        return [({"latents": stream}, checksum) for stream, checksum in (coder.encode(q, level) for q in symbols)]

    def decompress(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int, ...], quality: int) -> Tensor:
        """The reconstructed latents float32 [B, latents, *shape] of units; raises FormatErrors for damaged ones."""
        require_float32(self)
        symbols = self.symbols(units, shape, quality).to(self.gain_decoder.device)
        with torch.no_grad():
            _, back = self._shaped_gains(position_of(quality, symbols.device))
            return symbols * back

    def symbols(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int, ...], quality: int) -> Tensor:
        """The integers that were coded: int16 [B, latents, *shape] on the CPU."""
        level = level_of(quality, QUALITY_LEVELS)
        streams = [(sections["latents"], checksum) for sections, checksum in units]
        return torch.from_numpy(self._coder().decode(streams, shape, level))

    def make_exact(self) -> None:
        """Round the contexts to integers, with tables of logistic distributions: an export, in float64."""
        from rarefy.entropy.lattice_coding import LatticeCoder
        from rarefy.entropy.lattice_integers import LatticeIntegers, lattice_tables

        network = LatticeIntegers(self.channels, self.axes)
        network.take(self)
        self.coder = LatticeCoder(network, lattice_tables())

    def exact_tensors(self) -> dict[str, Tensor]:
        """See `rarefy.codecs.base.Bottleneck`."""
        coder = self._coder()
        return named_integers(coder.network, coder.tables)

    def set_exact(self, tensors: dict[str, Tensor]) -> None:
        """See `rarefy.codecs.base.Bottleneck`."""
        from rarefy.entropy.lattice_coding import LatticeCoder
        from rarefy.entropy.lattice_integers import FRACTION_BITS, SCALE_COUNT, LatticeIntegers

        network = LatticeIntegers(self.channels, self.axes)
        tables = read_integers(network, tensors)
        if len(tables) != SCALE_COUNT << FRACTION_BITS:
            raise WeightsError(f"{len(tables)} tables do not fit the codec")
        network.prove_bounds()
        network.give(self)
        self.coder = LatticeCoder(network, tables)

    def prove_bounds(self) -> tuple[int, int]:
        """See `rarefy.codecs.base.Bottleneck`."""
        return self._coder().network.prove_bounds(), 1 << 31

    def _coder(self) -> "LatticeCoder":
        if self.coder is None:
            raise WeightsError(
                "this codec has no integer contexts yet: `rarefy weights export` makes them from a training run"
            )
        return self.coder

    def _shaped_gains(self, position: Tensor) -> tuple[Tensor, Tensor]:
        encoder, decoder = self.gains(position)
        shape = (*encoder.shape[:2], *[1] * self.axes)
        return encoder.reshape(shape), decoder.reshape(shape)

    def forward(self, y: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """y: float32 [B, latents, ...]; gives the reconstructed y and the bits [B]."""
        gain, back = self._shaped_gains(position)
        scaled = y * gain
        rounding = ROUNDINGS[self.rounding]
        symbols, flat = rounding.symbols(scaled), scaled.flatten(2)
        bits = scaled.new_zeros(len(scaled))
        sizes = None if self.rounding == "straight" else rounding.sizes(scaled)
        for own, mean, scale in self._walk(symbols, position, sizes):
            bits = bits + rounding.bits_around(flat.index_select(2, own), mean, 1 / scale).sum((1, 2))
        return symbols * back, bits

    def trial(self, y: Tensor, position: Tensor, hyper: Tensor | None = None) -> Trial:
        """See `rarefy.entropy.trial.Searchable`; there are no hyper-latents."""
        gain, back = self._shaped_gains(position)
        scaled = y * gain
        symbols = round_through(scaled)
        coded = symbols.detach().flatten(2)
        lower, higher = torch.zeros_like(coded), torch.zeros_like(coded)
        total = torch.zeros_like(coded[:, :1])
        for own, mean, scale in self._walk(symbols, position):
            distance, inverse = coded.index_select(2, own) - mean, 1 / scale
            bits = log_probability(distance, inverse) / -LN2
            total = total.index_copy(2, own, bits.sum(1, keepdim=True))
            with torch.no_grad():
                for other, step in ((lower, -1), (higher, 1)):
                    other.index_copy_(2, own, log_probability(distance + step, inverse) / -LN2 - bits)
        remainder = (scaled - symbols).detach()
        at_positions = total.unflatten(2, scaled.shape[2:])
        lower, higher = (each.reshape(scaled.shape) for each in (lower, higher))
        return Trial(symbols * back, at_positions, lower, higher, remainder, gain)

    def _walk(
        self, symbols: Tensor, position: Tensor, sizes: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each step the flat positions [n], and means and scales [B, latents, n] of the symbols there.

        sizes: the symbols without sign, where their gradients are not those of `abs`.
        """
        # Numbers, for torch.compile too: it takes places for constants.
        shape = tuple([len(range(size)) for size in symbols.shape[2:]])
        symbols = symbols.flatten(2)
        sizes = None if sizes is None else sizes.flatten(2)
        starts = torch.exp(along_quality(self.start, position))
        mask = torch.tril(torch.ones(self.channels, self.channels, device=symbols.device), -1)
        for number, step in enumerate(steps(self.axes)):
            own, neighbours = _places_on(self.axes, number, shape, symbols.device)
            if not len(own):
                continue
            here = symbols.index_select(2, own)
            mean = (self.means_across[number] * mask) @ here
            scale = starts[:, number, :, None].expand_as(here)
            if step.neighbours:
                around = _around(symbols, neighbours)
                size = around.abs() if sizes is None else _around(sizes, neighbours)
                apart = (around[:, :, 0::2] - around[:, :, 1::2]).abs()
                mean = mean + self.means[number] @ around.transpose(1, 2).flatten(1, 2)
                scale = scale + at_least(self.scales[number], 0.0) @ size.transpose(1, 2).flatten(1, 2)
                scale = scale + at_least(self.differences[number], 0.0) @ apart.transpose(1, 2).flatten(1, 2)
            scale = scale + (at_least(self.scales_across[number], 0.0) * mask) @ (here - mean).abs()
            yield own, mean, at_least(scale, SCALE_LOW).clamp(max=SCALE_HIGH)


def _around(values: Tensor, neighbours: Tensor) -> Tensor:
    """What neighbours have, 0 where there are none: [B, C, NEIGHBOURS, n]."""
    taken = values.index_select(2, neighbours.clamp(min=0).flatten())
    return taken.unflatten(2, neighbours.shape) * (neighbours >= 0)
