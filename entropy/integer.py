"""The scale network in eight-bit integers: the same indices on any device, in any order of summation, in any precision.

Every activation is an integer of at most 8 bits, every weight int8 with a power-of-two step, every sum below 2^24, so
float32 matrix products are exact whatever the library does (docs/ARCHITECTURE.md, "Exact probabilities"). No
convolution call is made: 3x3 layers are nine shifted copies and one matrix product. Tensors are channels-last,
[B, H, W, C]. On the CPU compiled kernels give the same integers sooner, as bytes (`rarefy.entropy.runner`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from rarefy import kernels
from rarefy.entropy.runner import Runner
from rarefy.errors import WeightsError

EXACT = 1 << 24  # integers up to here are exact in float32
START_BITS = 8  # fraction of a table index in which the start is given
PEAK = 127
HIDDEN_PEAK = 255  # behind a relu nothing is negative
MAGNITUDE_EXPONENT = 4  # asinh of a symbol's magnitude, times 2^4, fits seven bits


def magnitude_table() -> Tensor:
    """int8 [128]: round(16 asinh(n)), the form in which symbols of earlier steps enter the network."""
    return torch.round(2**MAGNITUDE_EXPONENT * torch.asinh(torch.arange(128, dtype=torch.float64))).to(torch.int8)


def power_of_half(shift: Tensor) -> Tensor:
    """2^-shift as float32, shift 0..126, spelled in bits: no library promises that its exp2 is exact."""
    return ((127 - shift.to(torch.int32)) << 23).view(torch.float32)


class IntegerLayer(nn.Module):
    """y = clamp(floor((W x + bias) 2^-shift + 1/2), low, high), all integers.

    weight: int8 [outputs, inputs] (3x3 layers: inputs = 9 * channels, taps first); bias: int32 [outputs]; shift: uint8
    [outputs], at least 1. The bias is added outside the product. The exponents say what the integers stand for,
    n 2^-exponent; coding does not need them.
    """

    weight: Tensor
    bias: Tensor
    shift: Tensor
    input_exponent: Tensor
    output_exponent: Tensor

    def __init__(
        self, outputs: int, inputs: int, low: int = -PEAK, high: int = PEAK, largest_input: int = PEAK
    ) -> None:
        super().__init__()
        self.low, self.high, self.largest_input = low, high, largest_input
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("bias", torch.zeros(outputs, dtype=torch.int32))
        self.register_buffer("shift", torch.ones(outputs, dtype=torch.uint8))
        self.register_buffer("input_exponent", torch.zeros(inputs, dtype=torch.int8))
        self.register_buffer("output_exponent", torch.zeros(outputs, dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        """x: integers as float32 [..., inputs]; gives integers as float32 [..., outputs]."""
        return self.requantise(self.product(x), self.bias)

    def product(self, x: Tensor, rows: slice = slice(None)) -> Tensor:
        """The matrix product alone, for some of the outputs."""
        return torch.matmul(x, self.weight[rows].to(torch.float32).t())

    def requantise(self, total: Tensor, bias: Tensor, rows: slice = slice(None)) -> Tensor:
        """Add the bias, shift with rounding, clamp."""
        step = power_of_half(self.shift[rows])
        offset = bias * step + 0.5  # as exact as the sums: a multiple of the step, below 2^24 steps
        return torch.addcmul(offset, total, step).floor_().clamp_(self.low, self.high)

    def largest_sum(self, bias: Tensor | None = None) -> int:
        """Bound on every partial sum, with what the rounding adds."""
        bias = self.bias if bias is None else bias
        weights = self.weight.to(torch.int64).abs().sum(1) * self.largest_input
        rounding = torch.ones_like(weights) << (self.shift.to(torch.int64) - 1)
        return int((weights + bias.to(torch.int64).abs() + rounding).max())


class IntegerBlock(nn.Module):
    """The integer form of `PartialBlock` with a plain relu."""

    def __init__(self, channels: int, part: int) -> None:
        super().__init__()
        self.spatial_channels = channels // part
        self.spatial = IntegerLayer(self.spatial_channels, 9 * self.spatial_channels)
        self.expand = IntegerLayer(2 * channels, channels, low=0, high=HIDDEN_PEAK)
        self.reduce = IntegerLayer(channels, 2 * channels, largest_input=HIDDEN_PEAK)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, H, W, channels], integers of at most 127; so is the result."""
        n = self.spatial_channels
        mixed = torch.cat([self.spatial(taps(x[..., :n])), x[..., n:]], -1)
        return (x + self.reduce(self.expand(mixed))).clamp_(-PEAK, PEAK)


def taps(x: Tensor) -> Tensor:
    """The nine neighbours of each position, border repeated: [B, H, W, C] to [B, H, W, 9 C], row by row."""
    height, width = x.shape[1:3]
    x = torch.cat([x[:, :1], x, x[:, -1:]], 1)
    x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
    return torch.cat([x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], -1)


def shuffle(x: Tensor) -> Tensor:
    """Pixel-shuffle by 2, channels-last: [B, H, W, 4 C] to [B, 2 H, 2 W, C], channel order as in torch."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // 4, 2, 2).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


class IntegerScaleNetwork(nn.Module):
    """Hyper-latents, symbols and a quality level in, table indices out: nothing but integers.

    start: int16 [levels, latents], the index before the network speaks, in steps of 2^-8; embedding: int8
    [levels, width]; position: int8 [steps, 2, 2, width]; feature_exponent: int8 [width], features are integers times
    2^-exponent.

    `features`, `magnitudes_of` and `hidden` give int8 where compiled kernels run the network, float32 elsewhere; the
    integers are the same, and each method takes either.
    """

    start: Tensor
    embedding: Tensor
    position: Tensor
    magnitudes: Tensor
    feature_exponent: Tensor

    def __init__(self, latents: int, width: int, hyper: int, steps: int, levels: int, tables: int) -> None:
        super().__init__()
        self.up_coarse = IntegerLayer(4 * width, hyper)
        self.block_coarse = IntegerBlock(width, 4)
        self.up_fine = IntegerLayer(4 * width, width)
        self.blocks_fine = nn.ModuleList(IntegerBlock(width, 4) for _ in range(2))
        self.symbols_in = nn.ModuleList(IntegerLayer(width, latents) for _ in range(steps - 1))
        self.contexts = nn.ModuleList(IntegerBlock(width, 2) for _ in range(steps - 1))
        self.heads = nn.ModuleList(IntegerLayer(latents, width, low=0, high=tables - 1) for _ in range(steps))
        self.register_buffer("start", torch.zeros(levels, latents, dtype=torch.int16))
        self.register_buffer("embedding", torch.zeros(levels, width, dtype=torch.int8))
        self.register_buffer("position", torch.zeros(steps, 2, 2, width, dtype=torch.int8))
        self.register_buffer("magnitudes", magnitude_table())
        self.register_buffer("feature_exponent", torch.zeros(width, dtype=torch.int8))
        self._made: tuple[tuple[object, ...], Runner] | None = None

    def features(self, z: Tensor, level: int) -> Tensor:
        """z: integers [B, h_z, w_z, hyper] as float32; gives integers [B, 4 h_z, 4 w_z, width]."""
        runner = self.runner()
        if runner is not None:
            return runner.features(z, level)
        with _exactly(z):
            h = self.block_coarse(shuffle(self.up_coarse(z.clamp(-PEAK, PEAK))))
            h = shuffle(self.up_fine(h)) + self.embedding[level].to(torch.float32)
            h.clamp_(-PEAK, PEAK)
            for block in self.blocks_fine:
                h = block(h)
            return h

    def magnitudes_of(self, symbols: Tensor, like: Tensor) -> Tensor:
        """Symbols, integers of any type, in the form in which `hidden` takes them; like: the features."""
        places = symbols.abs().clamp_(max=PEAK).to(torch.int32)
        return self.magnitudes.index_select(0, places.flatten()).reshape(symbols.shape).to(like.dtype)

    def hidden(self, step: int, features: Tensor, known: Tensor) -> Tensor:
        """What the heads of a step see; known: magnitudes [B, h, w, latents], zero where no symbol is coded yet."""
        runner = self._runner_for(features)
        if runner is not None:
            return runner.hidden(step, features, known)
        height, width = features.shape[1:3]
        with _exactly(features):
            tile = self.position[step].to(torch.float32).repeat((height + 1) // 2, (width + 1) // 2, 1)
            h = features + tile[:height, :width]
            if step:
                h = self.contexts[step - 1](
                    (h + self.symbols_in[step - 1](known.to(torch.float32))).clamp_(-PEAK, PEAK)
                )
            else:
                h = h.clamp_(-PEAK, PEAK)
            return h

    def indices(self, step: int, hidden: Tensor, channels: slice, level: int) -> Tensor:
        """Table indices of some channels at the positions of `hidden` [..., width]: uint8, or integers as float32."""
        runner = self._runner_for(hidden)
        if runner is not None:
            return runner.indices(step, hidden, channels, level)
        head = self.heads[step]
        assert isinstance(head, IntegerLayer)
        with _exactly(hidden):
            total = head.product(hidden.to(torch.float32), channels)
            return head.requantise(total, self.head_bias(head, level)[channels], channels)

    def head_bias(self, head: IntegerLayer, level: int | slice) -> Tensor:
        """The head's own bias and the start, brought to the units of its sums: int32 [latents] or [levels, latents]."""
        return head.bias + (self.start[level].to(torch.int32) << (head.shift.to(torch.int32) - START_BITS))

    def runner(self) -> Runner | None:
        """The compiled kernels with these integers; None where torch is to compute: see `rarefy.kernels`."""
        if torch.compiler.is_compiling() or self.start.device.type != "cpu":
            return None
        instruction_set = kernels.instruction_set()
        if instruction_set is None:
            return None
        state = (instruction_set, *(_state_of(buffer) for buffer in self.buffers()))
        made = self._made
        if made is None or made[0] != state:
            self._made = made = state, Runner(self, instruction_set)
        return made[1]

    def _runner_for(self, x: Tensor) -> Runner | None:
        """The one that `features` took, for its bytes: that the integers have not changed is not checked again."""
        if x.dtype != torch.int8 or torch.compiler.is_compiling():
            return None
        return self._made[1] if self._made is not None else self.runner()

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles pack their own."""
        return {**self.__dict__, "_made": None}

    def prove_bounds(self) -> int:
        """The largest sum that can occur anywhere; raises WeightsError where float32 might not hold it exactly."""
        sums = [layer.largest_sum() for layer in self._layers()]
        for head in self.heads:
            assert isinstance(head, IntegerLayer)
            sums.append(head.largest_sum(self.head_bias(head, slice(None)).abs().amax(0)))
            if int(head.shift.min()) < START_BITS:
                raise WeightsError(f"integer network: a head shifts by less than the {START_BITS} bits of its start")
        shifts = [int(layer.shift.min()) for layer in self._layers()]
        if max(sums) >= EXACT or min(shifts) < 1 or max(int(layer.shift.max()) for layer in self._layers()) > 23:
            raise WeightsError(
                f"integer network: sums up to {max(sums)} or shifts of {min(shifts)} are not exact in float32"
            )
        return max(sums)

    def _layers(self) -> Iterator[IntegerLayer]:
        return (m for m in self.modules() if isinstance(m, IntegerLayer))


def _state_of(buffer: Tensor) -> tuple[int, int]:
    """What changes when a buffer does, by replacement or in place."""
    return buffer.data_ptr(), 0 if buffer.is_inference() else buffer._version


def _exactly(like: Tensor) -> torch.autocast:
    """A region in which autocast is off: it would round the products' outputs."""
    return torch.autocast(like.device.type, enabled=False)
