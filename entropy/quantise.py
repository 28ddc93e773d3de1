"""Post-training quantisation of the scale network: floats in, `IntegerScaleNetwork` out, at export only.

Activations get one power-of-two step per point of the network, from a percentile over calibration pictures; weights get one
power-of-two step per output channel. What it costs in rate is measured at every export.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rarefy.entropy.integer import MAGNITUDE_EXPONENT, PEAK, START_BITS, IntegerBlock, IntegerLayer, IntegerScaleNetwork

Runs = Callable[[], None]


class Ranges:
    """Largest usual magnitude of each channel, seen at named points while a function runs."""

    def __init__(self, modules: dict[str, nn.Module], quantile: float = 0.995) -> None:
        self.peaks: dict[str, Tensor] = {}
        self._handles = [m.register_forward_hook(self._hook(name, quantile)) for name, m in modules.items()]

    def _hook(self, name: str, quantile: float) -> Callable[..., None]:
        def see(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            relu = name.endswith(".expand")
            values = (output.detach().clamp_min(0) if relu else output.detach().abs()).transpose(0, 1).flatten(1)
            rank = max(1, math.ceil(quantile * values.shape[1]))
            peak = values.kthvalue(rank, 1).values
            self.peaks[name] = torch.maximum(self.peaks.get(name, torch.zeros_like(peak)), peak)

        return see

    def exponents(self, *names: str, largest: int = PEAK) -> Tensor:
        """The finest power-of-two step of each channel at which all these points stay within `largest`."""
        peak = torch.stack([self._of(name) for name in names]).amax(0)
        floor = float(peak.max()) / 64 + 1e-6  # a channel that hardly speaks needs no step finer than this
        return torch.floor(torch.log2(largest / peak.clamp_min(floor))).to(torch.int64)

    def _of(self, name: str) -> Tensor:
        """A point before a pixel-shuffle has four channels for each one after it."""
        peak = self.peaks[name]
        return peak.reshape(-1, 4).amax(1) if name in ("up_coarse", "up_fine") else peak

    def close(self) -> None:
        """Stop looking."""
        for handle in self._handles:
            handle.remove()


def quantise_layer(
    target: IntegerLayer, conv: nn.Module, inputs: Tensor, outputs: Tensor, least_shift: int = 1
) -> None:
    """Fill an integer layer from a convolution; inputs and outputs: exponent of each channel, int64.

    The step of each row of weights is the finest that fits int8, and coarser only where the shift would exceed its byte.
    """
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    weight = conv.weight.detach().permute(0, 2, 3, 1).flatten(1).double()
    inputs = inputs.repeat(conv.kernel_size[0] ** 2)
    unscaled = weight * torch.exp2(-inputs.double())  # weights for integers as inputs
    finest = torch.floor(torch.log2(PEAK / unscaled.abs().amax(1).clamp_min(1e-9))).to(torch.int64)
    shift = (finest - outputs).clamp(min=least_shift, max=20)
    unit = torch.exp2((shift + outputs).double())  # what one is worth in the sums
    target.weight.copy_((unscaled * unit[:, None]).round().clamp(-PEAK, PEAK))
    target.shift.copy_(shift)
    target.bias.copy_((conv.bias.detach().double() * unit).round())
    target.input_exponent.copy_(inputs)
    target.output_exponent.copy_(outputs)


def _quantise_block(target: IntegerBlock, block: nn.Module, ranges: Ranges, name: str, stream: Tensor) -> None:
    n = target.spatial_channels
    middle = ranges.exponents(f"{name}.spatial")
    hidden = ranges.exponents(f"{name}.expand", largest=target.expand.high)
    quantise_layer(target.spatial, block.spatial, stream[:n], middle)
    quantise_layer(target.expand, block.expand, torch.cat([middle, stream[n:]]), hidden)
    quantise_layer(target.reduce, block.reduce, hidden, stream)


def quantise_scale_network(
    network: nn.Module, start: Tensor, embedding: Tensor, hyper: int, tables: int, calibrate: Runs
) -> IntegerScaleNetwork:
    """Quantise a `ScaleNetwork`.

    start: table index before the network speaks, float [levels, latents]; embedding: float [levels, width];
    calibrate runs the float network over pictures. Raises WeightsError if the result cannot be proved exact.
    """
    points = ("up_coarse", "up_fine", "spatial", "expand", "block_coarse", "0", "1", "2")
    ranges = Ranges({name: m for name, m in network.named_modules() if name.rpartition(".")[2] in points})
    calibrate()
    ranges.close()
    steps = len(network.heads)
    latents, width = network.heads[0].weight.shape[:2]
    result = IntegerScaleNetwork(latents, width, hyper, steps, len(start), tables)

    coarse = ranges.exponents("up_coarse", "block_coarse")
    contexts = [f"contexts.{i}" for i in range(steps - 1)]
    fine = ranges.exponents("up_fine", "blocks_fine.0", "blocks_fine.1", *contexts)
    magnitudes = torch.full((latents,), MAGNITUDE_EXPONENT)
    quantise_layer(
        result.up_coarse, network.up_coarse, torch.zeros(hyper, dtype=torch.int64), coarse.repeat_interleave(4)
    )
    _quantise_block(result.block_coarse, network.block_coarse, ranges, "block_coarse", coarse)
    quantise_layer(result.up_fine, network.up_fine, coarse, fine.repeat_interleave(4))
    for i, block in enumerate(network.blocks_fine):
        _quantise_block(result.blocks_fine[i], block, ranges, f"blocks_fine.{i}", fine)
    for i, name in enumerate(contexts):
        quantise_layer(result.symbols_in[i], network.symbols_in[i], magnitudes, fine)
        _quantise_block(result.contexts[i], network.contexts[i], ranges, name, fine)
    for layer, head in zip(result.heads, network.heads, strict=True):
        quantise_layer(layer, head, fine, torch.zeros(latents, dtype=torch.int64), START_BITS)
    result.start.copy_((start.double() * 2**START_BITS).round().clamp(-32768, 32767))
    step_of = torch.exp2(fine.double())
    result.embedding.copy_((embedding.double() * step_of).round().clamp(-PEAK, PEAK))
    position = network.position.detach().double().permute(0, 2, 3, 1)
    result.position.copy_((position * step_of).round().clamp(-PEAK, PEAK))
    result.feature_exponent.copy_(fine)
    result.prove_bounds()
    return result


@torch.no_grad()
def restore_scale_network(integer: IntegerScaleNetwork, network: nn.Module) -> None:
    """Write the integers back into a float `ScaleNetwork`: shipped weights can be trained on, a rounding step away."""
    layers = dict(integer.named_modules())
    for name, conv in network.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        layer = layers[name]
        assert isinstance(layer, IntegerLayer) and conv.bias is not None
        exponent = layer.shift.double() + layer.output_exponent.double()
        weight = layer.weight.double() * torch.exp2(layer.input_exponent.double() - exponent[:, None])
        taps = conv.kernel_size[0]
        conv.weight.copy_(weight.reshape(len(weight), taps, taps, -1).permute(0, 3, 1, 2))
        conv.bias.copy_(layer.bias.double() * torch.exp2(-exponent))
    position = integer.position.double() * torch.exp2(-integer.feature_exponent.double())
    network.position.copy_(position.permute(0, 3, 1, 2))
