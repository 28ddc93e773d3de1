"""The integer scale network against the same network in int64 NumPy, written from its description alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from settings import SETTINGS, using
from torch import nn

import rarefy
from rarefy import kernels
from rarefy.codecs.base import Unit
from rarefy.codecs.weights import candidates, load_codec
from rarefy.entropy.coding import blocks, encode, level_of
from rarefy.entropy.correct import Errors, correct, magnitudes_seen, rows_of
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.integer import EXACT, IntegerLayer, IntegerScaleNetwork, power_of_half
from rarefy.entropy.quantise import quantise_scale_network, restore_scale_network
from rarefy.errors import WeightsError
from rarefy.models.hyper import ScaleNetwork

Integers = NDArray[np.int64]
LATENTS, WIDTH, HYPER, STEPS, LEVELS, TABLES = 12, 16, 8, 4, 5, 64
ALL = slice(None)

# torch, and the best compiled kernel; test_kernels.py has the others.
each_path = pytest.mark.parametrize("kernel", ["python", *kernels.instruction_sets()[:1]])


def buffer(value: Any) -> Integers:
    """A buffer as int64."""
    return value.detach().cpu().numpy().astype(np.int64)


class Reference:
    """int64 from end to end; channels last. Layers: clamp((W x + b + 2^(k-1)) >> k)."""

    def __init__(self, network: IntegerScaleNetwork) -> None:
        self.state = {name: buffer(value) for name, value in network.state_dict().items()}

    def layer(
        self, name: str, x: Integers, low: int = -127, high: int = 127, start: Integers | None = None
    ) -> Integers:
        weight, bias, shift = (self.state[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
        total = x @ weight.T + bias
        if start is not None:  # in steps of 2^-8 of a table index
            total = total + start * 2 ** (shift - 8)
        return np.clip(total + 2 ** (shift - 1) >> shift, low, high)

    def block(self, name: str, x: Integers, part: int) -> Integers:
        own = x.shape[-1] // part
        height, width = x.shape[1:3]
        padded = np.pad(x[..., :own], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        neighbours = [padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
        spatial = self.layer(f"{name}.spatial", np.concatenate(neighbours, -1))
        hidden = self.layer(f"{name}.expand", np.concatenate([spatial, x[..., own:]], -1), 0, 255)
        return np.clip(x + self.layer(f"{name}.reduce", hidden), -127, 127)

    def features(self, z: Integers, level: int) -> Integers:
        h = double(self.layer("up_coarse", np.clip(z, -127, 127)))
        h = double(self.layer("up_fine", self.block("block_coarse", h, 4)))
        h = np.clip(h + self.state["embedding"][level], -127, 127)
        return self.block("blocks_fine.1", self.block("blocks_fine.0", h, 4), 4)

    def hidden(self, step: int, features: Integers, symbols: Integers) -> Integers:
        rows, columns = np.indices(features.shape[1:3])
        h = features + self.state["position"][step][rows % 2, columns % 2]
        if not step:
            return np.clip(h, -127, 127)
        known = np.rint(16 * np.arcsinh(np.minimum(np.abs(symbols), 127))).astype(np.int64)
        return self.block(
            f"contexts.{step - 1}", np.clip(h + self.layer(f"symbols_in.{step - 1}", known), -127, 127), 2
        )

    def indices(self, step: int, hidden: Integers, level: int) -> Integers:
        return self.layer(f"heads.{step}", hidden, 0, TABLES - 1, self.state["start"][level])


def double(x: Integers) -> Integers:
    """Four channels to four pixels: channel 4 c + 2 a + b goes to row a, column b of channel c."""
    batch, height, width, channels = x.shape
    result = np.empty((batch, 2 * height, 2 * width, channels // 4), np.int64)
    for a in (0, 1):
        for b in (0, 1):
            result[:, a::2, b::2] = x[..., 2 * a + b :: 4]
    return result


def random_network(seed: int, largest_weight: int = 127) -> IntegerScaleNetwork:
    """Weights over the whole of int8 and shifts from small ones, which saturate everything, to large ones."""
    source = np.random.default_rng(seed)
    network = IntegerScaleNetwork(LATENTS, WIDTH, HYPER, STEPS, LEVELS, TABLES)
    is_head = {id(head) for head in network.heads}
    with torch.no_grad():
        for layer in (m for m in network.modules() if isinstance(m, IntegerLayer)):
            fill(source, layer.weight, -largest_weight, largest_weight + 1)
            fill(source, layer.bias, -3000, 3000)
            fill(source, layer.shift, *((8, 13) if id(layer) in is_head else (3, 14)))
        fill(source, network.start, -2000, TABLES * 256 + 2000)
        fill(source, network.embedding, -127, 128)
        fill(source, network.position, -127, 128)
    network.prove_bounds()
    return network


def fill(source: np.random.Generator, target: torch.Tensor, low: int, high: int) -> None:
    """Draw integers low..high - 1."""
    target.copy_(torch.from_numpy(source.integers(low, high, tuple(target.shape))))


def assert_equal(network: IntegerScaleNetwork, seed: int, batch: int, height: int, width: int) -> Integers:
    """Run both over the same random numbers; the network as its user has set torch. Gives all indices."""
    source = np.random.default_rng(seed)
    reference = Reference(network)
    z = source.integers(-140, 141, (batch, height, width, HYPER))
    symbols = source.geometric(0.05, (batch, 4 * height, 4 * width, LATENTS)) * source.integers(-1, 2, LATENTS)
    symbols.flat[0] = -32768
    level = int(source.integers(LEVELS))
    features = network.features(torch.from_numpy(z).to(torch.float32), level)
    expected = reference.features(z, level)
    np.testing.assert_array_equal(buffer(features), expected)
    odd = (ALL, slice(0, 4 * height - seed % 4), slice(0, 4 * width - seed // 4 % 4))  # any size of latents
    found = []
    for step in range(STEPS):
        known = network.magnitudes_of(torch.from_numpy(symbols[odd]), features)
        hidden = network.hidden(step, features[odd], known)
        whole = reference.indices(step, reference.hidden(step, expected[odd], symbols[odd]), level)
        for _, _, channels in blocks(step, LATENTS):
            indices = network.indices(step, hidden, channels, level)
            np.testing.assert_array_equal(buffer(indices), whole[..., channels])
        found.append(whole.ravel())
    return np.concatenate(found)


@each_path
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 4))
def test_either_path_equals_int64(kernel: str, seed: int, batch: int, height: int, width: int) -> None:
    with using(kernel):
        assert_equal(random_network(seed), seed, batch, height, width)


def test_the_networks_tried_use_the_whole_range() -> None:
    indices = assert_equal(random_network(1), 1, 2, 4, 4)
    assert {0, TABLES - 1} < set(indices.tolist()) and len(set(indices.tolist())) > 40


@each_path
@pytest.mark.parametrize("setting", sorted(set(SETTINGS) - {"default-device"}))  # the networks tried are made inside
def test_settings_of_the_caller_change_nothing(setting: str, kernel: str) -> None:
    network = random_network(3)
    with using(kernel), SETTINGS[setting]():
        assert_equal(network, 5, 2, 3, 5)
    with using(kernel), SETTINGS[setting]():
        assert_equal(random_network(4), 7, 1, 1, 1)


@pytest.mark.slow
def test_compiled_equals_int64() -> None:
    network = random_network(6)
    for method in ("features", "hidden", "indices"):
        setattr(network, method, torch.compile(getattr(network, method), dynamic=False))
    with torch.inference_mode():
        assert_equal(network, 8, 2, 3, 2)
        with torch.autocast("cpu", torch.bfloat16):
            assert_equal(network, 9, 1, 2, 3)


@each_path
def test_shipped_network_equals_int64(kernel: str) -> None:
    if not candidates("image"):
        pytest.skip('no weights of codec "image" are here')
    network = load_codec("image").bottleneck.exact_network()
    reference = Reference(network)
    source = np.random.default_rng(9)
    z = np.rint(source.laplace(0, 4, (1, 3, 2, network.up_coarse.weight.shape[1]))).astype(np.int64)
    symbols = np.rint(source.laplace(0, 2, (1, 12, 8, network.start.shape[1]))).astype(np.int64)
    with using(kernel):
        for level in (0, 31, 63):
            features = network.features(torch.from_numpy(z).to(torch.float32), level)
            np.testing.assert_array_equal(buffer(features), reference.features(z, level))
            for step in range(STEPS):
                hidden = network.hidden(step, features, network.magnitudes_of(torch.from_numpy(symbols), features))
                whole = reference.indices(step, reference.hidden(step, buffer(features), symbols), level)
                np.testing.assert_array_equal(buffer(network.indices(step, hidden, ALL, level)), whole)


def test_powers_of_half_are_exact() -> None:
    shifts = torch.arange(127, dtype=torch.uint8)
    assert power_of_half(shifts).tolist() == [2.0**-n for n in range(127)]


def largest_layer(bias: int) -> IntegerLayer:
    """A layer that takes its inputs' whole range, whose bound is 2^24 - 1 where the bias is `bias_at_the_bound`."""
    layer = IntegerLayer(2, 518, low=-(1 << 23), high=1 << 23, largest_input=255)
    layer.weight.fill_(127)
    layer.weight[1].fill_(-127)
    layer.bias.copy_(torch.tensor([bias, -bias]))
    return layer


BIAS_AT_THE_BOUND = EXACT - 1 - 518 * 127 * 255 - 1  # the last 1 is what rounding adds at a shift of 1


def test_sums_up_to_the_bound_are_exact_in_any_order() -> None:
    layer = largest_layer(BIAS_AT_THE_BOUND)
    assert layer.largest_sum() == EXACT - 1
    source = np.random.default_rng(10)
    x = np.vstack([np.full(518, 255), source.integers(0, 256, (50, 518)), np.arange(518) % 2 * 255])
    total = x @ buffer(layer.weight).T + buffer(layer.bias)
    assert np.abs(total[0]).max() == EXACT - 2
    found = layer(torch.from_numpy(x).to(torch.float32))
    np.testing.assert_array_equal(buffer(found), np.clip(total + 1 >> 1, layer.low, layer.high))


def network_with(change: Callable[[IntegerScaleNetwork], None]) -> IntegerScaleNetwork:
    """A network of small weights, and one change of it."""
    network = random_network(11, largest_weight=3)
    change(network)
    return network


def wide_reduce(network: IntegerScaleNetwork) -> None:
    """One row of a wide layer just beyond the bound."""
    network.contexts[1].reduce = largest_layer(BIAS_AT_THE_BOUND + 1)


CHANGES: dict[str, Callable[[IntegerScaleNetwork], None]] = {
    "a sum of 2^24": wide_reduce,
    "a bias": lambda network: network.up_fine.bias.__setitem__(3, 1 << 24),
    "a negative bias": lambda network: network.symbols_in[2].bias.__setitem__(0, -(1 << 24)),
    "a shift of 0": lambda network: network.blocks_fine[1].spatial.shift.__setitem__(0, 0),
    "a shift of 24": lambda network: network.up_coarse.shift.__setitem__(0, 24),
    "a shift of a head below that of its start": lambda network: network.heads[2].shift.__setitem__(0, 7),
    "a start": lambda network: (
        network.heads[0].shift.fill_(20),
        network.start.__setitem__((4, 1), 4097),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_exact_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match="integer network"):
        network_with(CHANGES[name]).prove_bounds()


def test_what_is_exact_is_not_refused() -> None:
    def at_the_bound(network: IntegerScaleNetwork) -> None:
        network.contexts[1].reduce = largest_layer(BIAS_AT_THE_BOUND)

    assert network_with(at_the_bound).prove_bounds() == EXACT - 1


def float_network(seed: int) -> ScaleNetwork:
    """A float network whose every layer speaks."""
    torch.manual_seed(seed)
    network = ScaleNetwork(LATENTS, WIDTH, HYPER, STEPS)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.6 / max(1, parameter[0].numel()) ** 0.5)
    return network


@torch.no_grad()
def test_quantised_network_follows_the_float_one() -> None:
    network = float_network(12)
    start = torch.linspace(0, 40, LEVELS)[:, None] + torch.rand(LEVELS, LATENTS)
    embedding = torch.randn(LEVELS, WIDTH) * 0.3
    z = (torch.randn(2, HYPER, 3, 3) * 2).round()
    symbols = (torch.randn(2, LATENTS, 12, 12) * 2).round()

    def outputs(network: ScaleNetwork) -> list[torch.Tensor]:
        features = network.features(z, embedding[2:3])
        return [network.step(step, features, torch.asinh(symbols.abs())) for step in range(STEPS)]

    exact = quantise_scale_network(network, start, embedding, HYPER, TABLES, [lambda: (outputs(network), None)[1]])
    features = exact.features(z.permute(0, 2, 3, 1).contiguous(), 2)
    for step, wanted in enumerate(outputs(network)):
        hidden = exact.hidden(step, features, exact.magnitudes_of(symbols.permute(0, 2, 3, 1), features))
        found = exact.indices(step, hidden, ALL, 2).permute(0, 3, 1, 2)
        distance = (found - (wanted + start[2, :, None, None]).clamp(0, TABLES - 1)).abs()
        assert distance.mean() < 0.35  # rounding to a whole index alone gives 0.25
        assert distance.max() < 2


@torch.no_grad()
def test_integers_survive_being_restored() -> None:
    network = float_network(13)
    start, embedding = torch.rand(LEVELS, LATENTS) * 40, torch.randn(LEVELS, WIDTH) * 0.3
    z, symbols = (torch.randn(2, HYPER, 3, 3) * 2).round(), torch.randn(2, LATENTS, 12, 12).abs()

    def calibrate() -> None:
        features = network.features(z, embedding[:1])
        for step in range(STEPS):
            network.step(step, features, symbols)

    first = quantise_scale_network(network, start, embedding, HYPER, TABLES, [calibrate])
    restored = ScaleNetwork(LATENTS, WIDTH, HYPER, STEPS)
    restore_scale_network(first, restored)
    originals = dict(network.named_modules())
    layers = dict(first.named_modules())
    step_of = torch.exp2(first.feature_exponent.float())[:, None, None]
    assert ((restored.position - network.position) * step_of).abs().max() <= 0.5 + 1e-6
    for name, conv in restored.named_modules():
        if isinstance(conv, nn.Conv2d):
            layer = layers[name]
            unit = layer.shift.double() + layer.output_exponent.double()
            rows = conv.weight.double().permute(0, 2, 3, 1).flatten(1)
            integers = rows * torch.exp2(unit[:, None] - layer.input_exponent.double())
            assert torch.equal(integers, layer.weight.double()), name
            original = originals[name].weight.double().permute(0, 2, 3, 1).flatten(1)
            exact = original * torch.exp2(unit[:, None] - layer.input_exponent.double())
            fits = layer.shift > (8 if name.startswith("heads") else 1)  # rows at the least shift may be clipped
            assert (exact - integers)[fits].abs().max() <= 0.5 and integers[fits].abs().amax(1).min() > 63, name
            assert torch.equal(conv.bias.double() * torch.exp2(unit), layer.bias.double()), name


def test_levels_of_quality() -> None:
    assert [level_of(quality, 64) for quality in (0, 203, 204, 12800, 25396, 25397, 25600)] == [0, 0, 1, 32, 62, 63, 63]
    for levels in (2, 13, 64):
        found = [level_of(quality, levels) for quality in range(25601)]
        nearest = [(2 * quality * (levels - 1) + 25600) // 51200 for quality in range(25601)]  # halves go up
        assert found == nearest and set(found) == set(range(levels))


def test_what_indices_are_off_by_on_average_is_taken_out(photograph: NDArray[np.uint8]) -> None:
    if not candidates("image"):
        pytest.skip("the weights of the image codec are not here")
    codec = rarefy.load("image")
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Hyperprior)
    x = torch.from_numpy(photograph[:64, :128].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = codec.analysis(x, Unit(-1, 64, 128))
    pairs = [(y, quality) for quality in (6400, 19200)]

    def error() -> float:
        errors = Errors(y.shape[1])
        for pair in pairs:
            errors.add(bottleneck, *pair)
        return float(errors.total.sum() / errors.count.sum())

    for head in bottleneck.exact_network().heads:
        assert isinstance(head, IntegerLayer)
        head.bias += 1 << head.shift.to(torch.int32)  # one index too high
    before = error()
    correct(bottleneck, pairs)
    assert before > 0.7 and abs(error()) < 0.4 * before


def test_rows_are_those_that_files_are_coded_with(photograph: NDArray[np.uint8]) -> None:
    if not candidates("image"):
        pytest.skip("the weights of the image codec are not here")
    codec = rarefy.load("image")
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Hyperprior)
    x = torch.from_numpy(photograph[:64, :128].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = codec.analysis(x, Unit(-1, 64, 128))
        walk, coded = encode(bottleneck, y, 12_800)
        rows = rows_of(bottleneck, walk, 12_800)
    tables = bottleneck.exact_tables()
    bits = tables.ideal_bits(walk.symbols.numpy().ravel(), rows.numpy().ravel().astype(np.uint16))
    z_rows = bottleneck.hyper_rows(walk.z.shape, walk.level).ravel()
    bits += tables.ideal_bits(walk.z.numpy().ravel().astype(np.int16), z_rows)
    assert 0 < 8 * len(coded[0].stream) - bits < 64 + 0.001 * bits
    seen = magnitudes_seen(bottleneck, [(y, 12_800), (y, 12_800)])
    assert seen.sum() == 2 * walk.symbols.numel()
    for row in (0, 5, 20):
        values, counts = np.unique(np.abs(walk.symbols.numpy()[rows.numpy() == row]), return_counts=True)
        assert np.array_equal(seen[row, values], 2 * counts) and seen[row].sum() == 2 * counts.sum()
