"""Latents to sections and back, under the exact scales of an integer network and the means of a float one.

Order of the symbols of a unit: the hyper-latents row by row, channels last; then for each step and each quarter of the
channels the latents of that step's phase, row by row, channels last.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefy.entropy import coder
from rarefy.entropy.gains import along_quality, level_of, position_of
from rarefy.entropy.hyperprior import HYPER_STRIDE, PHASES, Hyperprior, quarter_of
from rarefy.entropy.integer import PEAK
from rarefy.entropy.precision import full_float32, require_float32
from rarefy.errors import ChecksumError, FormatError, TruncatedError, WeightsError

Integers = TypeVar("Integers", np.int16, np.uint16)


@dataclass(frozen=True)
class Coded:
    """One unit's latents as bytes: the stream, and the CRC-32 of its symbols."""

    stream: bytes
    checksum: int


def blocks(step: int, channels: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows, columns and channels of each quarter of a step."""
    size = quarter_of(channels)
    for first, phase in zip(range(0, channels, size), PHASES[step], strict=False):
        row, column = divmod(phase, 2)
        yield slice(row, None, 2), slice(column, None, 2), slice(first, min(first + size, channels))


def inverse_sinh(x: Tensor) -> Tensor:
    """asinh to 3e-7, in operations that are vectorised on CPUs: a fifth of the time of `torch.asinh`; no gradients."""
    magnitude = x.abs()
    return magnitude.square().add_(1).sqrt_().add_(magnitude).log_().copysign_(x)


class Walk:
    """The four steps over one batch, for compress and decompress: keeps symbols and reconstruction, [B, h, w, C]."""

    def __init__(self, bottleneck: Hyperprior, z: Tensor, shape: tuple[int, int], quality: int) -> None:
        """z: integers as float32 [B, h_z, w_z, hyper]; shape: h and w of the latents."""
        self.bottleneck, self.network, self.z = bottleneck, bottleneck.exact_network(), z
        self.level = level_of(quality, len(self.network.start))
        height, width = shape
        self.features = self.network.features(z, self.level)[:, :height, :width]
        position = position_of(quality, z.device)
        self.spread = bottleneck.spread(position).permute(0, 2, 3, 1)
        # The means get the same features in floats: eight bits cost them 3 to 5 % of rate (measured at an export).
        embedding = along_quality(bottleneck.embedding, position)
        float_features = bottleneck.scales.features(z.permute(0, 3, 1, 2), embedding)
        self.float_features = float_features[:, :, :height, :width]
        latents = self.network.start.shape[1]
        self.symbols = torch.zeros(len(z), height, width, latents, device=z.device, dtype=torch.int16)
        self.magnitudes = torch.zeros_like(self.symbols, dtype=self.features.dtype)  # of symbols, what the scales see
        self.y_hat = torch.zeros_like(self.symbols, dtype=torch.float32)
        self.known = torch.zeros_like(self.y_hat)  # asinh of y_hat / spread, what the means see
        self._runner = self.network.runner() if self.features.dtype == torch.int8 else None

    def step(self, step: int) -> Iterator[tuple[tuple[slice, slice, slice], Tensor, Tensor]]:
        """Gives, for each quarter, where it is, its table indices (uint8) and its means, [B, h', w', C / 4]."""
        hidden = self.network.hidden(step, self.features, self.magnitudes)
        means = self.bottleneck.means
        mean_hidden = means.hidden(step, self.float_features, self.known.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        weight, bias = self._head_of_means(step)
        for rows, columns, channels in blocks(step, self.symbols.shape[3]):
            index = self.network.indices(step, hidden[:, rows, columns], channels, self.level)
            mu = F.linear(mean_hidden[:, rows, columns], weight[channels], bias[channels])
            yield (rows, columns, channels), index.to(torch.uint8), mu

    def _head_of_means(self, step: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the layer that gives means in the latents' unit, which the network's own have not."""
        head = self.bottleneck.means.heads[step]
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        spread = self.spread.flatten()
        return head.weight[:, :, 0, 0] * spread[:, None], head.bias * spread

    def choose(self, target: Tensor, index: Tensor, mu: Tensor) -> Tensor:
        """The symbols of a quarter, int16, of latents scaled for rounding."""
        # A dead zone (rounding up from .54 only) cost .3 % of rate on the held-back pictures.
        if self._runner is not None:
            return self._runner.choose(target, mu, index)
        return ((target - mu).round_().clamp_(-32768, 32767) * (index > 0)).to(torch.int16)

    def put(self, where: tuple[slice, slice, slice], symbols: Tensor, mu: Tensor) -> None:
        """Take in the symbols of a quarter, int16."""
        at, spread = (slice(None), *where), self.spread[..., where[2]]
        if self._runner is not None:
            places = [every[at] for every in (self.symbols, self.magnitudes, self.y_hat, self.known)]
            self._runner.take(symbols, mu, spread.flatten(), self.network.magnitudes, places)
            return
        self.symbols[at] = symbols
        self.magnitudes[at] = self.network.magnitudes_of(symbols, self.features)
        self.y_hat[at] = y_hat = symbols + mu
        self.known[at] = inverse_sinh(y_hat / spread)


def compress(bottleneck: Hyperprior, y: Tensor, quality: int, hyper: Tensor | None = None) -> list[Coded]:
    """Code a batch of latents, float32 [B, latents, h, w], at a quality q256; gives one `Coded` per item.

    hyper: hyper-latents, integers within 127 as float32 [B, hyper, h / 4, w / 4], if not those of the analysis.
    Raises WeightsError for latents that are not finite.
    """
    return encode(bottleneck, y, quality, hyper)[1]


def encode(bottleneck: Hyperprior, y: Tensor, quality: int, hyper: Tensor | None = None) -> tuple[Walk, list[Coded]]:
    """As `compress`; gives the walk too, with the symbols and the latents as a decoder should see them."""
    require_float32(bottleneck)
    with torch.inference_mode(), full_float32(y.device):
        position = position_of(quality, y.device)
        gain, _ = bottleneck.gains(position)
        height, width = y.shape[2:]
        scaled = y.float().contiguous(memory_format=torch.channels_last) * gain
        if not math.isfinite(scaled.sum()):
            raise WeightsError(
                "the transforms gave latents that are not finite: these weights cannot code this picture"
            )
        z = bottleneck.hyper_latents_of(scaled) if hyper is None else hyper
        z = z.permute(0, 2, 3, 1).contiguous()
        walk = Walk(bottleneck, z, (height, width), quality)
        target = scaled.permute(0, 2, 3, 1)
        symbols, rows = [_numpy(z, np.int16)], [bottleneck.hyper_rows(z.shape, walk.level)]
        for step in range(len(PHASES)):
            for where, index, mu in list(walk.step(step)):
                chosen = walk.choose(target[(slice(None), *where)], index, mu)
                walk.put(where, chosen, mu)
                symbols.append(_numpy(chosen, np.int16))
                rows.append(_numpy(index, np.uint16))
        return walk, [_code(bottleneck, [s[i] for s in symbols], [r[i] for r in rows]) for i in range(len(y))]


def _numpy(values: Tensor, dtype: type[Integers]) -> NDArray[Integers]:
    """A batch's integers as [B, n] on the host."""
    kind = torch.int16 if dtype is np.int16 else values.dtype
    return values.to(kind).reshape(len(values), -1).cpu().numpy().astype(dtype, copy=False)


def _code(bottleneck: Hyperprior, symbols: list[NDArray[np.int16]], rows: list[NDArray[np.uint16]]) -> Coded:
    stream = coder.encode(np.concatenate(symbols), np.concatenate(rows), bottleneck.exact_tables())
    return Coded(stream, coder.checksum(symbols))


def decompress(bottleneck: Hyperprior, units: list[Coded], shape: tuple[int, int], quality: int) -> Tensor:
    """Decode a batch of equal shape: latents float32 [B, latents, h, w] from streams, h and w given.

    Raises ChecksumError where the symbols are not those that were coded, other FormatErrors for damaged streams.
    """
    walk = decode(bottleneck, units, shape, quality)
    with torch.inference_mode(), full_float32(walk.y_hat.device):
        _, back = bottleneck.gains(position_of(quality, walk.y_hat.device))
        return walk.y_hat.permute(0, 3, 1, 2) * back


def decode(bottleneck: Hyperprior, units: list[Coded], shape: tuple[int, int], quality: int) -> Walk:
    """As `decompress`; gives the walk, whose latents are still scaled as they were rounded."""
    require_float32(bottleneck)
    device = bottleneck.sigma.device
    with torch.inference_mode(), full_float32(device):
        height, width = shape
        tables = bottleneck.exact_tables()
        decoders = [coder.Decoder(unit.stream, tables) for unit in units]
        grid = (len(units), -(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE))
        level = level_of(quality, len(bottleneck.exact_network().start))
        for unit in units:
            _require_room(bottleneck, unit, grid[1] * grid[2], level)
        hyper_rows = bottleneck.hyper_rows((*grid, bottleneck.prior.shape[2]), level)
        parts = [_decode(decoders, hyper_rows)]
        if parts[0].max(initial=0) > PEAK or parts[0].min(initial=0) < -PEAK:
            raise FormatError("hyper-latents beyond 127: the stream is damaged")
        z = torch.from_numpy(parts[0]).to(device, torch.float32).reshape(*grid, -1)
        walk = Walk(bottleneck, z, shape, quality)
        for step in range(len(PHASES)):
            for where, index, mu in list(walk.step(step)):
                parts.append(_decode(decoders, _numpy(index, np.uint16)))
                walk.put(where, torch.from_numpy(parts[-1]).to(device).reshape(mu.shape), mu)
        for i, (unit, decoder) in enumerate(zip(units, decoders, strict=True)):
            decoder.finish()
            if coder.checksum(part[i] for part in parts) != unit.checksum:
                raise ChecksumError(
                    "the decoded symbols do not fit their checksum: the file is damaged or was decoded wrongly"
                )
        return walk


def hyper_latent_bits(bottleneck: Hyperprior, unit: Coded, shape: tuple[int, int], quality: int) -> float:
    """How many bits of a unit's stream its hyper-latents take, by their tables: they and the latents share its words.

    shape: h and w of the latents; quality: q256. Raises FormatErrors as `decompress` does.
    """
    tables, level = bottleneck.exact_tables(), level_of(quality, len(bottleneck.exact_network().start))
    grid = (1, -(-shape[0] // HYPER_STRIDE), -(-shape[1] // HYPER_STRIDE))
    _require_room(bottleneck, unit, grid[1] * grid[2], level)
    rows = bottleneck.hyper_rows((*grid, bottleneck.prior.shape[2]), level)
    return tables.ideal_bits(_decode([coder.Decoder(unit.stream, tables)], rows)[0], rows[0])


def _require_room(bottleneck: Hyperprior, unit: Coded, positions: int, level: int) -> None:
    """Refuse sizes that so short a stream cannot hold the hyper-latents of, before there is memory for them."""
    tables = bottleneck.exact_tables()
    coded = int(tables.is_coded[bottleneck.hyper_rows((1, 1, 1, bottleneck.prior.shape[2]), level)].sum())
    bits = 17 * (len(unit.stream) // 2) + 16 * 32  # the most that words and lanes hold: docs/CODER.md, section 7
    if positions * coded * tables.fewest_bits > 1.01 * bits:
        raise TruncatedError("the coded stream ends before its symbols do: it is incomplete, or the sizes are altered")


def _decode(decoders: list[coder.Decoder], rows: NDArray[np.uint16]) -> NDArray[np.int16]:
    return np.stack([decoder.decode(row) for decoder, row in zip(decoders, rows, strict=True)])
