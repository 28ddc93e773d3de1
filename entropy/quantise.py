"""Post-training quantisation of the scale network: floats in, `IntegerScaleNetwork` out, at export only.

Activations get one power-of-two step per channel, from a percentile over calibration pictures; what passes from the
features to the heads has one step for all, which the float network is trained to keep within
(`rarefy.models.hyper`). Weights get one power-of-two step per output channel. What it all costs in rate is measured
at every export.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from rarefy.entropy.gains import QUALITY_LEVELS, along_quality
from rarefy.entropy.hyperprior import SCALE_COUNT, Hyperprior, ScaleSteps
from rarefy.entropy.integer import (
    HIDDEN_PEAK,
    MAGNITUDE_EXPONENT,
    PEAK,
    START_BITS,
    IntegerLayer,
    IntegerScaleNetwork,
)

SHIFTS = (1, 20)  # the least and the most by which sums are shifted to a layer's outputs
HEAD_SHIFTS = (START_BITS, 16)  # to a head's sums its start is added, 2^15 at most before it is shifted: 2^23 with 16
POINTS = ("up_coarse", "block_coarse", "spatial", "expand")  # whose outputs need a step


class Ranges:
    """What each channel gives at named points while a function runs: its usual peak."""

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
        return peak.reshape(-1, 4).amax(1) if name == "up_coarse" else peak

    def close(self) -> None:
        """Stop looking."""
        for handle in self._handles:
            handle.remove()


def quantise_layer(
    target: nn.Module, conv: nn.Module, inputs: Tensor, outputs: Tensor, shifts: tuple[int, int] = SHIFTS
) -> None:
    """Fill an `IntegerLayer` from a convolution; inputs and outputs: exponent of each channel, int64.

    The step of each row of weights is the finest that fits int8, coarser only where the shift would exceed the most of
    `shifts`.
    """
    assert isinstance(target, IntegerLayer) and isinstance(conv, nn.Conv2d) and conv.bias is not None
    weight = conv.weight.detach().permute(0, 2, 3, 1).flatten(1).double()
    inputs = inputs.repeat(conv.kernel_size[0] ** 2)
    unscaled = weight * torch.exp2(-inputs.double())  # weights for integers as inputs
    finest = torch.floor(torch.log2(PEAK / unscaled.abs().amax(1).clamp_min(1e-9))).to(torch.int64)
    shift = (finest - outputs).clamp(*shifts)
    unit = torch.exp2((shift + outputs).double())  # what one is worth in the sums
    target.weight.copy_((unscaled * unit[:, None]).round().clamp(-PEAK, PEAK))
    target.shift.copy_(shift)
    target.bias.copy_((conv.bias.detach().double() * unit).round())
    target.input_exponent.copy_(inputs)
    target.output_exponent.copy_(outputs)


def quantise_scale_network(
    network: ScaleSteps,
    start: Tensor,
    embedding: Tensor,
    hyper: int,
    tables: int,
    calibrations: Iterable[Callable[[], None]],
) -> IntegerScaleNetwork:
    """Quantise a `ScaleNetwork`.

    start: table index before the network speaks, float [levels, latents]; embedding: float [levels, width];
    calibrations run the float network over pictures. Raises WeightsError if the result cannot be proved exact.
    """
    ranges = Ranges({name: m for name, m in network.named_modules() if name.rpartition(".")[2] in POINTS})
    for run in calibrations:
        run()
    ranges.close()
    levels, latents = start.shape
    result = IntegerScaleNetwork(latents, embedding.shape[1], hyper, len(network.heads), levels, tables)
    fine = _quantise_layers(result, network, ranges, hyper)
    result.start.copy_((start.double() * 2**START_BITS).round().clamp(-32768, 32767))
    step_of = torch.exp2(fine.double())
    result.embedding.copy_((embedding.double() * step_of).round().clamp(-PEAK, PEAK))
    position = network.position.detach().double().permute(0, 2, 3, 1)
    result.position.copy_((position * step_of).round().clamp(-PEAK, PEAK))
    result.feature_exponent.copy_(fine)
    result.prove_bounds()
    return result


def quantise_scales(
    bottleneck: Hyperprior, run: Callable[[float], None], positions: Sequence[float]
) -> IntegerScaleNetwork:
    """Quantise the scale network of a bottleneck.

    run: brings calibration pictures through the float networks at a quality position in 0..1; positions: those that are
    wanted.
    """
    levels = torch.linspace(0, 1, QUALITY_LEVELS, device=bottleneck.sigma.device)
    with torch.no_grad():
        embedding = along_quality(bottleneck.embedding, levels)
        return quantise_scale_network(
            bottleneck.scales,
            bottleneck.start_levels(),
            embedding,
            bottleneck.prior.shape[2],
            SCALE_COUNT,
            [partial(run, position) for position in positions],
        )


def _quantise_layers(result: IntegerScaleNetwork, network: ScaleSteps, ranges: Ranges, hyper: int) -> Tensor:
    """Fill all layers; gives the exponents of the features."""
    targets, sources = dict(result.named_modules()), dict(network.named_modules())

    def layer(name: str, inputs: Tensor, outputs: Tensor, shifts: tuple[int, int] = SHIFTS) -> None:
        quantise_layer(targets[name], sources[name], inputs, outputs, shifts)

    def block(name: str, stream: Tensor) -> None:
        middle = ranges.exponents(f"{name}.spatial")
        hidden = ranges.exponents(f"{name}.expand", largest=HIDDEN_PEAK)
        layer(f"{name}.spatial", stream[: len(middle)], middle)
        layer(f"{name}.expand", torch.cat([middle, stream[len(middle) :]]), hidden)
        layer(f"{name}.reduce", hidden, stream)

    coarse = ranges.exponents("up_coarse", "block_coarse")
    contexts = [f"contexts.{i}" for i in range(len(result.contexts))]
    fine = torch.full_like(coarse, network.stream_exponent)
    layer("up_coarse", torch.zeros(hyper, dtype=torch.int64), coarse.repeat_interleave(4))
    block("block_coarse", coarse)
    layer("up_fine", coarse, fine.repeat_interleave(4))
    for name in ("blocks_fine.0", "blocks_fine.1", *contexts):
        block(name, fine)
    latents = result.start.shape[1]
    for i in range(len(contexts)):
        layer(f"symbols_in.{i}", torch.full((latents,), MAGNITUDE_EXPONENT), fine)
    for i in range(len(result.heads)):
        layer(f"heads.{i}", fine, torch.zeros(latents, dtype=torch.int64), HEAD_SHIFTS)
    return fine


@torch.no_grad()
def restore_scale_network(integer: IntegerScaleNetwork, network: ScaleSteps) -> None:
    """Write the integers back into a float scale network: shipped weights can be trained on, a rounding step away."""
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
