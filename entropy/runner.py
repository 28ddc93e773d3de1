"""The integer scale network on the CPU, by compiled kernels: the integers of `rarefy.entropy.integer`, sooner.

Activations stay bytes all the way. docs/KERNELS.md tells how the kernels work and why the integers are the same.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

if TYPE_CHECKING:
    from rarefy.entropy.integer import IntegerBlock, IntegerLayer, IntegerScaleNetwork
    from rarefy.kernels._int8 import Layer

Bytes = NDArray[np.int8]
CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of each 2x2 square, in the order of a pixel-shuffle's channels


class Runner:
    """The layers of one `IntegerScaleNetwork`, packed for an instruction set.

    It keeps what the network held when it was made. Calls may come from several threads at once.
    """

    def __init__(self, network: "IntegerScaleNetwork", instruction_set: str) -> None:
        """instruction_set: one of `rarefy.kernels.instruction_sets()`."""
        self.instruction_set = instruction_set
        self._up_coarse, self._up_fine = (self._corners(layer) for layer in (network.up_coarse, network.up_fine))
        self._block_coarse = self._block(network.block_coarse)
        self._blocks_fine = [self._block(block) for block in _blocks(network.blocks_fine)]
        width = network.up_fine.weight.shape[1]
        still = self.pack(np.zeros((width, 0), np.int8), np.zeros(width, np.int32), np.ones(width, np.uint8))
        self._symbols_in = [still, *(self._layer(layer) for layer in _layers(network.symbols_in))]
        self._contexts = [self._block(block) for block in _blocks(network.contexts)]
        self._embedding = network.embedding.numpy().copy()
        self._position = network.position.numpy().copy()
        self._heads = [_Head(self, head, network.head_bias(head, slice(None))) for head in _layers(network.heads)]

    def features(self, z: Tensor, level: int) -> Tensor:
        """As `IntegerScaleNetwork.features`, but int8."""
        coarse = self._double(self._up_coarse, _bytes(z.clamp(-127, 127)), None)
        h = self._double(self._up_fine, self._run(self._block_coarse, coarse), self._embedding[level])
        for block in self._blocks_fine:
            h = self._run(block, h)
        return torch.from_numpy(h)

    def hidden(self, step: int, features: Tensor, known: Tensor) -> Tensor:
        """As `IntegerScaleNetwork.hidden`, but int8; known: int8."""
        added, symbols = _bytes(features), _bytes(known)
        if not step:  # nothing is known yet: a layer without inputs
            symbols = symbols[..., :0]
        h = np.empty(added.shape, np.int8)
        layer = self._symbols_in[step]
        corners = [(slice(None), slice(row, None, 2), slice(column, None, 2)) for row, column in CORNERS]
        constants = self._position[step].reshape(4, -1)
        self._dense([(layer, symbols[at], added[at], own, h[at]) for at, own in zip(corners, constants, strict=True)])
        return torch.from_numpy(self._run(self._contexts[step - 1], h) if step else h)

    def indices(self, step: int, hidden: Tensor, channels: slice, level: int) -> Tensor:
        """As `IntegerScaleNetwork.indices`, but uint8."""
        layer = self._heads[step].layer(channels, level)
        x = _bytes(hidden)
        out = np.empty((*x.shape[:-1], layer.outputs), np.int8)
        self._dense([(layer, x, None, None, out)])
        return torch.from_numpy(out.view(np.uint8))

    @staticmethod
    def choose(target: Tensor, means: Tensor, indices: Tensor) -> Tensor:
        """The symbols of a quarter, int16 [B, h, w, c], as the torch path of `rarefy.entropy.coding.Walk` has them."""
        from rarefy.kernels import _latents

        symbols = np.empty(means.shape, np.int16)
        target = target if target.stride(-1) == 1 else target.contiguous()
        _latents.choose(target.numpy(), means.contiguous().numpy(), indices.contiguous().numpy(), symbols)
        return torch.from_numpy(symbols)

    @staticmethod
    def take(symbols: Tensor, means: Tensor, spread: Tensor, table: Tensor, places: Sequence[Tensor]) -> None:
        """Write a quarter to its places among all symbols, magnitudes, latents and what the means see of them."""
        from rarefy.kernels import _latents

        arrays = [place.numpy() for place in places]
        own = (part.contiguous().numpy() for part in (symbols, means, spread, table))
        _latents.take(*own, *arrays)

    def _layer(self, layer: "IntegerLayer", is_unsigned: bool = False) -> "Layer":
        weight, bias, shift = layer.weight.numpy(), layer.bias.numpy(), layer.shift.numpy()
        return self.pack(weight, bias, shift, layer.low, layer.high, is_unsigned)

    def pack(
        self,
        weight: Bytes,
        bias: NDArray[np.int32],
        shift: NDArray[np.uint8],
        low: int = -127,
        high: int = 127,
        is_unsigned: bool = False,
    ) -> "Layer":
        from rarefy.kernels import _int8

        weight, bias, shift = np.ascontiguousarray(weight), np.ascontiguousarray(bias), np.ascontiguousarray(shift)
        return _int8.layer(self.instruction_set, weight, bias, shift, low, high, is_unsigned)

    def _corners(self, layer: "IntegerLayer") -> list["Layer"]:
        """A layer before a pixel-shuffle as four layers, one for each corner that its outputs go to."""
        weight, bias, shift = layer.weight.numpy(), layer.bias.numpy(), layer.shift.numpy()
        return [self.pack(weight[i::4], bias[i::4], shift[i::4], layer.low, layer.high) for i in range(4)]

    def _block(self, block: "IntegerBlock") -> tuple["Layer", "Layer", "Layer"]:
        return self._layer(block.spatial), self._layer(block.expand), self._layer(block.reduce, is_unsigned=True)

    def _double(self, corners: list["Layer"], x: Bytes, constant: Bytes | None) -> Bytes:
        """Layer, pixel-shuffle, and what is added behind it."""
        batch, height, width, _ = x.shape
        out = np.empty((batch, 2 * height, 2 * width, corners[0].outputs), np.int8)
        places = [out[:, row::2, column::2] for row, column in CORNERS]
        self._dense([(layer, x, None, constant, place) for layer, place in zip(corners, places, strict=True)])
        return out

    def _run(self, block: tuple["Layer", "Layer", "Layer"], x: Bytes) -> Bytes:
        from rarefy.kernels import _int8

        out = np.empty_like(x)
        _int8.block(*block, x, out, torch.get_num_threads())
        return out

    def _dense(self, layers: list[tuple["Layer", Bytes, Bytes | None, Bytes | None, Bytes]]) -> None:
        from rarefy.kernels import _int8

        _int8.dense(layers, torch.get_num_threads())


class _Head:
    """A head by parts of its channels, packed at first use, with the start of a level in its bias."""

    def __init__(self, runner: Runner, layer: "IntegerLayer", biases: Tensor) -> None:
        """biases: int32 [levels, latents]."""
        self._runner, self._low, self._high = runner, layer.low, layer.high
        self._weight, self._shift = layer.weight.numpy().copy(), layer.shift.numpy().copy()
        self._biases = biases.numpy()
        self._packed: dict[tuple[int | None, int | None, int | None], Layer] = {}

    def layer(self, channels: slice, level: int) -> "Layer":
        bias = np.ascontiguousarray(self._biases[level, channels])
        key = (channels.start, channels.stop, channels.step)
        if key not in self._packed:
            shift = self._shift[channels]
            self._packed[key] = self._runner.pack(self._weight[channels], bias, shift, self._low, self._high)
        return self._packed[key].with_bias(bias)


def _bytes(x: Tensor) -> Bytes:
    """A tensor's integers as bytes, channels side by side; copies only where it must."""
    x = x.to(torch.int8)
    return (x if x.stride(-1) == 1 else x.contiguous()).numpy()


def _layers(modules: Iterable[nn.Module]) -> Iterator["IntegerLayer"]:
    return (cast("IntegerLayer", module) for module in modules)


def _blocks(modules: Iterable[nn.Module]) -> Iterator["IntegerBlock"]:
    return (cast("IntegerBlock", module) for module in modules)
