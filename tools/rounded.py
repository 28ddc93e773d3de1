"""The scale network in floats that round where its integers do: trained so, eight bits cost less.

Steps and ranges are those of an integer network that was quantised beforehand; they stay while the weights learn.
Rounding lets gradients pass; a value that is clamped gets none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.entropy.integer import MAGNITUDE_EXPONENT, PEAK, IntegerLayer, IntegerScaleNetwork
from rarefy.entropy.likelihood import round_through
from rarefy.models.hyper import ScaleNetwork, by_parity
from rarefy.models.layers import PartialBlock, replicate_border


class RoundedScales:
    """What `Hyperprior` takes for its scales in training: a `ScaleNetwork` under the rounding of `integers`.

    Weights are rounded for the means too, as files have them; activations for the scales alone.
    """

    def __init__(self, network: ScaleNetwork, integers: IntegerScaleNetwork) -> None:
        self.network, self.integers = network, integers
        self._kept = torch.zeros(0)

    def features(self, z_hat: Tensor, embedding: Tensor) -> Tensor:
        """What the means see, see `ScaleNetwork.features`. What the scales see is rounded, and kept for `step`."""
        with torch.autocast(z_hat.device.type, enabled=False):
            embedding = embedding.float()
            self._kept = self._features(z_hat.float().clamp(-PEAK, PEAK), self._on_grid(embedding), True)
            return self._features(z_hat.float(), embedding, False)

    def step(self, step: int, features: Tensor, magnitudes: Tensor) -> Tensor:
        """See `ScaleNetwork.step`; in the place of `features` stand those that were kept."""
        with torch.autocast(magnitudes.device.type, enabled=False):
            height, width = features.shape[2:]
            position = self._on_grid(self.network.position[step].permute(1, 2, 0)).permute(2, 0, 1)
            h = self._stream(self._kept[:, :, :height, :width] + by_parity(position, height, width))
            if step:
                unit = 2**MAGNITUDE_EXPONENT
                seen = round_through(magnitudes.float().clamp(max=math.asinh(PEAK)) * unit) / unit
                h = self._stream(h + self._layer(f"symbols_in.{step - 1}", seen, True))
                h = self._block(f"contexts.{step - 1}", h, True)
            return self._linear(f"heads.{step}", h)

    def _features(self, h: Tensor, embedding: Tensor, rounded: bool) -> Tensor:
        h = F.pixel_shuffle(self._layer("up_coarse", h, rounded), 2)
        h = self._block("block_coarse", h, rounded)
        h = F.pixel_shuffle(self._layer("up_fine", h, rounded), 2) + embedding[:, :, None, None]
        h = self._stream(h) if rounded else h
        for number in range(len(self.network.blocks_fine)):
            h = self._block(f"blocks_fine.{number}", h, rounded)
        return h

    def _block(self, name: str, x: Tensor, rounded: bool) -> Tensor:
        """A `PartialBlock`; the sum at its end has the steps of its last layer."""
        block = self.network.get_submodule(name)
        assert isinstance(block, PartialBlock)
        n = block.spatial_channels
        mixed = torch.cat([self._layer(f"{name}.spatial", replicate_border(x[:, :n]), rounded), x[:, n:]], 1)
        hidden = F.relu(self._layer(f"{name}.expand", mixed, rounded))
        x = x + self._layer(f"{name}.reduce", hidden, rounded)
        return _clamped(x, self._integers(f"{name}.reduce").output_exponent) if rounded else x

    def _layer(self, name: str, x: Tensor, rounded: bool) -> Tensor:
        y = self._linear(name, x)
        if not rounded:
            return y
        layer = self._integers(name)
        return _on_grid(y, layer.output_exponent, layer.low, layer.high)

    def _linear(self, name: str, x: Tensor) -> Tensor:
        """The layer with its weights rounded to what their int8 stand for."""
        layer, conv = self._integers(name), self.network.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        unit = torch.exp2(layer.shift.float() + layer.output_exponent.float())[:, None]
        unit = (unit * torch.exp2(-layer.input_exponent[: conv.in_channels].float()))[:, :, None, None]
        weight = round_through(conv.weight * unit).clamp(-PEAK, PEAK) / unit
        return F.conv2d(x, weight, conv.bias)

    def _on_grid(self, values: Tensor) -> Tensor:
        """Something that is added to the features, [..., width]."""
        unit = torch.exp2(self.integers.feature_exponent.float())
        return round_through(values * unit).clamp(-PEAK, PEAK) / unit

    def _stream(self, h: Tensor) -> Tensor:
        return _clamped(h, self.integers.feature_exponent)

    def _integers(self, name: str) -> IntegerLayer:
        layer = self.integers.get_submodule(name)
        assert isinstance(layer, IntegerLayer)
        return layer


def _on_grid(x: Tensor, exponent: Tensor, low: int, high: int) -> Tensor:
    """Integers low..high times 2^-exponent; x: [B, C, H, W], exponent: [C]."""
    unit = torch.exp2(exponent.float())[:, None, None]
    return _nearest(x * unit).clamp(low, high) / unit


def _nearest(v: Tensor) -> Tensor:
    """Round as shifts do, halves upwards: sums of few bits end in a half often."""
    return v + ((v + 0.5).floor() - v).detach()


def _clamped(x: Tensor, exponent: Tensor) -> Tensor:
    """A sum of numbers of one step, within seven bits of it."""
    largest = PEAK * torch.exp2(-exponent.float())[:, None, None]
    return torch.maximum(torch.minimum(x, largest), -largest)
