"""The hyperprior bottleneck with context steps: differentiable forward for training.

Symbols are round(y * gain - mu). The means mu come from a float network and only shift the reconstruction; the table
index of each symbol comes from the scale network, of which an integer copy (`rarefy.entropy.integer`) codes files.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefy.entropy.gains import GAIN_LAMBDA, QUALITY_LEVELS, Gains, along_quality
from rarefy.entropy.integer import EXACT, PEAK, IntegerScaleNetwork
from rarefy.entropy.integers_file import named_integers, read_integers
from rarefy.entropy.likelihood import (
    LN2,
    ROUNDINGS,
    at_least,
    log_probability,
    logistic_bits,
    round_through,
    rounded_bits,
)
from rarefy.entropy.scales import scale_tables
from rarefy.entropy.tables import Tables, likely_part
from rarefy.entropy.trial import Seen, Trial
from rarefy.errors import WeightsError

PRECISION = 15  # bits of the tables: real latents at low rates gain more by it than the coder's arithmetic loses
SCALE_COUNT = 64
SCALE_LOW = 0.04  # logistic scale of table 0, where zero has probability 1 - 7e-6
SCALE_HIGH = 100.0
SCALE_STEP = math.log(SCALE_HIGH / SCALE_LOW) / (SCALE_COUNT - 1)

STEPS = 4
# Phase (2 * row parity + column parity) that a step codes in each quarter of the channels (quadtree order of DCVC-DC).
PHASES = ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2))
MIXTURE = 3
HYPER_STRIDE = 4


class ScaleSteps(Protocol):
    """A module that gives scales: `rarefy.models.hyper.ScaleNetwork` says what goes in and out.

    stream_exponent: what passes from features to heads is bounded as integers in steps of 2^-stream_exponent are.
    """

    stream_exponent: int
    heads: nn.ModuleList
    position: nn.Parameter

    def features(self, z_hat: Tensor, embedding: Tensor) -> Tensor:
        """What all steps see."""

    def step(self, step: int, features: Tensor, magnitudes: Tensor) -> Tensor:
        """Table indices above the start."""

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Its layers, as of every module: an export reads them."""


class MeanSteps(Protocol):
    """A module that gives means: `rarefy.models.hyper.MeanNetwork` says what goes in and out."""

    heads: nn.ModuleList

    def hidden(self, step: int, features: Tensor, reconstructed: Tensor) -> Tensor:
        """What the step's head sees."""

    def step(self, step: int, features: Tensor, reconstructed: Tensor) -> Tensor:
        """Means of all latents."""


def quarter_of(channels: int) -> int:
    """Channels of a quarter; the last one has fewer where 4 does not divide them."""
    return -(-channels // len(PHASES))


def dealt(channels: int) -> Tensor:
    """An order of channels that deals them out to the quarters in turn: where the strongest come first, each gets some.

    int64 [channels]; x[dealt(len(x))] is in that order.
    """
    return torch.cat([torch.arange(first, channels, len(PHASES)) for first in range(len(PHASES))])


def step_masks(phases: Tensor, channels: int, height: int, width: int) -> Tensor:
    """Which latents each step codes: bool [STEPS, channels, height, width]; phases: `PHASES` on the device."""
    device = phases.device
    phase = 2 * (torch.arange(height, device=device) % 2)[:, None] + torch.arange(width, device=device) % 2
    wanted = phases.repeat_interleave(quarter_of(channels), 1)[:, :channels]
    return wanted[:, :, None, None] == phase


class Hyperprior(Gains):
    """Latents to bits and back, for any quality; see the module's docstring.

    h_a, scales and means are the networks (`rarefy.models.hyper`); lambdas the ends of the range of quality, in
    CompressAI's unit; points the knots on log lambda of everything that depends on the quality. rounding: how gradients
    pass the rounding of latents in training, of `ROUNDINGS`.
    """

    restored: tuple[str, ...] = ("scales.",)
    hyper_stride = HYPER_STRIDE
    rounding = "straight"
    h_a: nn.Module
    scales: ScaleSteps
    means: MeanSteps
    sigma: Tensor
    phases: Tensor

    def __init__(
        self,
        h_a: nn.Module,
        scales: ScaleSteps,
        means: MeanSteps,
        *,
        latents: int,
        width: int,
        hyper: int,
        lambdas: tuple[float, float],
        points: int = 13,
    ) -> None:
        super().__init__(latents, lambdas, points)
        self.h_a, self.scales, self.means = h_a, scales, means
        self.register_buffer("sigma", torch.ones(latents))
        self.register_buffer("phases", torch.tensor(PHASES), persistent=False)
        self.scale_start = nn.Parameter(torch.zeros(points, latents))
        self.embedding = nn.Parameter(torch.zeros(points, width))
        prior = torch.zeros(points, 3 * MIXTURE, hyper)
        prior[:, MIXTURE : 2 * MIXTURE] = torch.linspace(-1, 1, MIXTURE)[:, None]
        self.prior = nn.Parameter(prior)
        self.exact: tuple[IntegerScaleNetwork, Tables] | None = None

    @property
    def channels(self) -> int:
        """Channels of the latents."""
        return len(self.sigma)

    def exact_network(self) -> IntegerScaleNetwork:
        """The integer scale network; raises WeightsError before an export has made one."""
        network = self._exact()[0]
        return network if network.start.device == self.sigma.device else network.to(self.sigma.device)

    def exact_tables(self) -> Tables:
        """The tables of scales and, after them, of the hyper-latents by level and channel."""
        return self._exact()[1]

    def _exact(self) -> tuple[IntegerScaleNetwork, Tables]:
        if self.exact is None:
            raise WeightsError(
                "this codec has no integer network yet: `rarefy weights export` makes it from a training run"
            )
        return self.exact

    def exact_tensors(self) -> dict[str, Tensor]:
        """See `rarefy.codecs.base.Bottleneck`."""
        return named_integers(*self._exact())

    def set_exact(self, tensors: dict[str, Tensor]) -> None:
        """See `rarefy.codecs.base.Bottleneck`."""
        from rarefy.entropy.quantise import restore_scale_network

        width, hyper = self.embedding.shape[1], self.prior.shape[2]
        network = IntegerScaleNetwork(self.channels, width, hyper, STEPS, QUALITY_LEVELS, SCALE_COUNT)
        tables = read_integers(network, tensors)
        network.prove_bounds()
        if len(tables) != SCALE_COUNT + QUALITY_LEVELS * hyper:
            raise WeightsError(f"{len(tables)} tables do not fit the codec")
        self.exact = (network, tables)
        restore_scale_network(network, self.scales)

    def prove_bounds(self) -> tuple[int, int]:
        """See `rarefy.codecs.base.Bottleneck`."""
        return self.exact_network().prove_bounds(), EXACT

    def hyper_rows(self, shape: Sequence[int], level: int) -> NDArray[np.uint16]:
        """Table rows of hyper-latents [B, h_z, w_z, hyper] at a level: uint16 [B, h_z * w_z * hyper]."""
        batch, height, width, hyper = shape
        first = SCALE_COUNT + level * hyper
        return np.tile(np.arange(first, first + hyper, dtype=np.uint16), (batch, height * width))

    def spread(self, position: Tensor) -> Tensor:
        """Deviation of the scaled latents before anything is known, [B, latents, 1, 1]: the unit of the means."""
        base = torch.sqrt(self.rate_multiplier(position) / GAIN_LAMBDA)
        return (base[:, None] * self.sigma)[:, :, None, None]

    def start_index(self, position: Tensor) -> Tensor:
        """Table index, as a real number, that a latent has before the scale network speaks, [B, latents, 1, 1].

        A logistic of scale .4 sigma is close to the latents' distribution when nothing else is known.
        """
        start = torch.log(0.4 * self.spread(position) / SCALE_LOW) / SCALE_STEP
        return start + along_quality(self.scale_start, position)[:, :, None, None]

    def start_levels(self) -> Tensor:
        """`start_index` at every quality level, [QUALITY_LEVELS, latents]."""
        return self.start_index(torch.linspace(0, 1, QUALITY_LEVELS, device=self.sigma.device))[:, :, 0, 0]

    def symbol_count(self, shape: tuple[int, int]) -> int:
        """Symbols of a unit with latents of h by w, hyper-latents included."""
        height, width = shape
        hyper = -(-height // HYPER_STRIDE) * -(-width // HYPER_STRIDE) * self.prior.shape[2]
        return height * width * len(self.sigma) + hyper

    def compress(self, y: Tensor, quality: int, hyper: Tensor | None = None) -> list[tuple[dict[str, bytes], int]]:
        """See `rarefy.entropy.coding.compress`."""
        from rarefy.entropy.coding import compress

        return [({"latents": unit.stream}, unit.checksum) for unit in compress(self, y, quality, hyper)]

    def decompress(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int, int], quality: int) -> Tensor:
        """See `rarefy.entropy.coding.decompress`."""
        from rarefy.entropy.coding import Coded, decompress

        coded = [Coded(sections["latents"], checksum) for sections, checksum in units]
        return decompress(self, coded, shape, quality)

    def forward(self, y: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """y: float32 [B, latents, h, w], h and w multiples of 4; gives the reconstructed y and the bits [B]."""
        gain, back = self.gains(position)
        scaled = y * gain
        z = self.h_a(scaled).float()
        z_hat = round_through(z)
        features = self.scales.features(z_hat, along_quality(self.embedding, position))
        rounding = ROUNDINGS[self.rounding]
        y_hat, v = self._residuals(scaled, features, position, rounding.symbols)
        inverse_scale = self._inverse_scales(features, rounding.magnitudes(v), position)
        bits = rounding.bits(v, inverse_scale).sum((1, 2, 3))
        return y_hat * back, bits + self.hyper_bits(z, position).sum((1, 2, 3))

    def hyper_latents(self, y: Tensor, position: Tensor) -> Tensor:
        """What the hyper-analysis gives for latents of any size, as files hold it: float32 [B, hyper, h / 4, w / 4]."""
        return self.hyper_latents_of(y * self.gains(position)[0])

    @torch.no_grad()
    def hyper_latents_of(self, scaled: Tensor) -> Tensor:
        """As `hyper_latents`, of latents scaled for rounding."""
        missing = [n for size in reversed(scaled.shape[2:]) for n in (0, -size % HYPER_STRIDE)]
        padded = F.pad(scaled, missing, mode="replicate") if any(missing) else scaled
        z: Tensor = self.h_a(padded).float().round().clamp(-PEAK, PEAK)
        return z

    def hyper_slope(self, y: Tensor, position: Tensor, hyper: Tensor) -> Tensor:
        """See `rarefy.entropy.trial.HyperSearchable`: by scales and means, as training sees it."""
        hyper = hyper.detach().requires_grad_(True)
        features = self._features(hyper, position, y)
        _, v = self._residuals(y * self.gains(position)[0], features, position)
        inverse_scale = self.inverse_scales(features, round_through(v), position)
        (slope,) = torch.autograd.grad(logistic_bits(v, inverse_scale).sum(), hyper)
        return slope

    def _features(self, z: Tensor, position: Tensor, y: Tensor) -> Tensor:
        """What hyper-latents say, as large as the latents."""
        height, width = y.shape[2:]
        return self.scales.features(z, along_quality(self.embedding, position))[:, :, :height, :width]

    def trial(self, y: Tensor, position: Tensor, hyper: Tensor | None = None) -> Trial:
        """See `rarefy.entropy.trial.Searchable`; its bits are those of the latents."""
        gain, back = self.gains(position)
        scaled = y * gain
        z = self.hyper_latents_of(scaled) if hyper is None else hyper
        with torch.no_grad():
            features = self._features(z, position, y)
        y_hat, v = self._residuals(scaled, features, position)
        symbols = v.detach().round()
        magnitudes, fewer, more = (torch.asinh((symbols + step).abs()) for step in (0, -1, 1))
        seen = Seen(magnitudes.requires_grad_(y.requires_grad), fewer - magnitudes.detach(), more - magnitudes.detach())
        inverse_scale = self._inverse_scales(features, seen.values, position)
        bits = log_probability(symbols, inverse_scale) / -LN2
        lower, higher = (
            (log_probability(symbols + step, inverse_scale.detach()) / -LN2 - bits).detach() for step in (-1, 1)
        )
        at_positions = bits.sum(1, keepdim=True)
        return Trial(y_hat * back, at_positions, lower, higher, v.detach() - symbols, gain, seen)

    @torch.no_grad()
    def settled(self, y: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """What stays as it is while scales are fitted: features [B, width, h, w] and symbols [B, latents, h, w]."""
        scaled = y * self.gains(position)[0]
        features = self.scales.features(self.hyper_latents_of(scaled), along_quality(self.embedding, position))
        return features, self._residuals(scaled, features, position)[1].round()

    def _residuals(
        self, scaled: Tensor, features: Tensor, position: Tensor, rounded: Callable[[Tensor], Tensor] = round_through
    ) -> tuple[Tensor, Tensor]:
        """The four steps of the means: reconstructed latents, and what was rounded for them."""
        spread = self.spread(position)
        y_hat, v = torch.zeros_like(scaled), torch.zeros_like(scaled)
        for step, mask in enumerate(step_masks(self.phases, *scaled.shape[1:])):
            mu = self.means.step(step, features, torch.asinh(y_hat / spread)).float() * spread
            residual = scaled - mu
            v = torch.where(mask, residual, v)
            y_hat = torch.where(mask, rounded(residual) + mu, y_hat)
        return y_hat, v

    def inverse_scales(self, features: Tensor, symbols: Tensor, position: Tensor) -> Tensor:
        """The four steps of the scales: one over each symbol's logistic scale, in the shape of the symbols."""
        return self._inverse_scales(features, torch.asinh(symbols.abs()), position)

    def _inverse_scales(self, features: Tensor, magnitudes: Tensor, position: Tensor) -> Tensor:
        index, known = torch.zeros_like(magnitudes), torch.zeros_like(magnitudes)
        for step, mask in enumerate(step_masks(self.phases, *magnitudes.shape[1:])):
            index = torch.where(mask, self.scales.step(step, features, known).float(), index)
            known = torch.where(mask, magnitudes, known)
        index = at_least(self.start_index(position) + index, 0.0).clamp(max=SCALE_COUNT - 1)
        return torch.exp(-SCALE_STEP * index) / SCALE_LOW

    @torch.no_grad()
    def build_tables(self, seen: NDArray[np.int64] | None = None) -> Tables:
        """Integer tables: scales first, then the hyper-latents of each level and channel. Float64, at export only.

        seen: see `scale_tables`.
        """
        ratio = math.exp(SCALE_STEP)
        low, high = SCALE_LOW * ratio**0.5, SCALE_LOW * ratio ** (SCALE_COUNT - 0.5)
        scales = scale_tables(SCALE_COUNT, low, high, PRECISION, seen)
        values = torch.arange(-PEAK, PEAK + 1, dtype=torch.float64)
        levels = torch.linspace(0, 1, QUALITY_LEVELS, dtype=torch.float64)
        prior = along_quality(self.prior.double().cpu(), levels)[..., None]
        logits, mean, log_scale = prior.split(MIXTURE, 1)
        weights, inverse_scale = torch.log_softmax(logits, 1), torch.exp(-log_scale.clamp(-4, 6))
        masses = torch.logsumexp(weights + log_probability(values - mean, inverse_scale), 1).exp()
        cut = [likely_part(row.numpy()) for level in masses for row in level]
        hyper = Tables.from_pmfs([c[0] for c in cut], [c[1] - PEAK for c in cut], [c[2] for c in cut], PRECISION)
        return Tables.concatenate([scales, hyper])

    def hyper_bits(self, z: Tensor, position: Tensor) -> Tensor:
        """What each hyper-latent takes by itself when it is rounded, differentiable: [B, hyper, h, w], as z."""
        prior = along_quality(self.prior, position)[..., None, None]
        logits, mean, log_scale = prior.split(MIXTURE, 1)
        weights, inverse_scale = torch.log_softmax(logits, 1), torch.exp(-log_scale.clamp(-4, 6))
        return rounded_bits(
            z, lambda u: torch.logsumexp(weights + log_probability(u[:, None] - mean, inverse_scale), 1) / -LN2
        )
