"""The compiled layers of the integer network, on each instruction set of this machine, against int64 and torch."""

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from settings import using
from torch import Tensor

from rarefy import kernels
from rarefy.codecs.weights import candidates, load_codec
from rarefy.entropy import coding
from rarefy.entropy.coding import blocks
from rarefy.entropy.integer import EXACT, IntegerLayer, IntegerScaleNetwork, magnitude_table
from rarefy.entropy.runner import Runner
from rarefy.errors import OptionError
from rarefy.tools import bench

Integers = NDArray[np.int64]
SETS = kernels.instruction_sets()
THREADS = (1, 2, 3, 4)

pytestmark = pytest.mark.skipif(not SETS, reason="the compiled layers were not built")
every_set = pytest.mark.parametrize("name", SETS)


@dataclass
class Numbers:
    """A layer's integers, and the layer itself as its definition has it."""

    weight: Integers
    bias: Integers
    shift: Integers
    low: int = -127
    high: int = 127

    def __call__(self, x: Integers) -> Integers:
        total = x @ self.weight.T + self.bias
        return np.clip(total + (1 << (self.shift - 1)) >> self.shift, self.low, self.high)

    def pack(self, name: str, is_unsigned: bool = False) -> Any:
        from rarefy.kernels import _int8

        return _int8.layer(
            name,
            self.weight.astype(np.int8),
            self.bias.astype(np.int32),
            self.shift.astype(np.uint8),
            self.low,
            self.high,
            is_unsigned,
        )


def draw(source: np.random.Generator, outputs: int, inputs: int, **bounds: int) -> Numbers:
    """Rows at the extremes (all 127, all -127, one side each) among random ones; every shift; biases at the bound."""
    weight = source.integers(-127, 128, (outputs, inputs))
    weight[source.random(outputs) < 0.2] = 127
    weight[source.random(outputs) < 0.2] = -127
    shift = source.permutation(np.arange(outputs) % 23 + 1)
    room = EXACT - 1 - np.abs(weight).sum(1) * 255 - (1 << (shift - 1))
    bias = source.integers(-40_000, 40_001, outputs)
    at_bound = source.random(outputs) < 0.3
    bias[at_bound] = (room * source.choice([-1, 1], outputs))[at_bound]
    return Numbers(weight, bias, shift, **bounds)


def extreme(source: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Activations: random ones, and channels and places that are all 127 or all -127."""
    x = source.integers(-127, 128, shape)
    x[source.random(shape[:3]) < 0.1] = 127
    x[source.random(shape[:3]) < 0.1] = -127
    return x.astype(np.int8)


@every_set
@pytest.mark.parametrize("outputs, inputs", [(1, 1), (3, 2), (16, 4), (17, 5), (48, 63), (65, 64), (80, 192), (130, 7)])
def test_dense_layers_equal_int64(name: str, outputs: int, inputs: int) -> None:
    from rarefy.kernels import _int8

    source = np.random.default_rng(outputs)
    numbers = draw(source, outputs, inputs)
    layer = numbers.pack(name)
    for shape in ((1, 1, 1), (1, 1, 7), (2, 5, 3), (1, 13, 11)):
        x = extreme(source, (*shape, inputs))
        out = np.empty((*shape, outputs), np.int8)
        _int8.dense([(layer, x, None, None, out)], 1)
        np.testing.assert_array_equal(out, numbers(x.astype(np.int64)))


@every_set
def test_indices_beyond_127_are_bytes(name: str) -> None:
    from rarefy.kernels import _int8

    source = np.random.default_rng(1)
    numbers = draw(source, 20, 30, low=0, high=255)
    x = extreme(source, (1, 9, 9, 30))
    out = np.empty((1, 9, 9, 20), np.int8)
    _int8.dense([(numbers.pack(name), x, None, None, out)], 1)
    expected = numbers(x.astype(np.int64))
    assert expected.max() == 255
    np.testing.assert_array_equal(out.view(np.uint8), expected)


@every_set
def test_biases_are_exchanged_and_weights_kept(name: str) -> None:
    from rarefy.kernels import _int8

    source = np.random.default_rng(2)
    numbers = draw(source, 33, 21)
    x = extreme(source, (1, 4, 5, 21))
    first = numbers.pack(name)
    bias = source.integers(-90_000, 90_000, 33)
    for layer, own in ((first.with_bias(bias.astype(np.int32)), bias), (first, numbers.bias)):
        out = np.empty((1, 4, 5, 33), np.int8)
        _int8.dense([(layer, x, None, None, out)], 1)
        expected = Numbers(numbers.weight, own, numbers.shift)(x.astype(np.int64))
        np.testing.assert_array_equal(out, expected)


@every_set
@pytest.mark.parametrize("threads", THREADS)
def test_several_layers_at_once_in_strided_arrays(name: str, threads: int) -> None:
    """Four layers for four corners, each with what is added to it: how features double and how contexts begin."""
    from rarefy.kernels import _int8

    source = np.random.default_rng(threads)
    x = extreme(source, (2, 75, 53, 70))[:, 1:, :, :66]
    added = extreme(source, (2, 74, 53, 96))
    out = np.full((2, 75, 60, 100), 99, np.int8)
    jobs, expected = [], out.astype(np.int64)
    for row in (0, 1):
        for column in (0, 1):
            numbers, constant = draw(source, 96, 66), extreme(source, (1, 1, 1, 96))[0, 0, 0]
            at = (slice(None), slice(row, 74, 2), slice(column, 53, 2))
            jobs.append((numbers.pack(name), x[at], added[at], constant, out[at][..., :96]))
            total = numbers(x[at].astype(np.int64)) + added[at] + constant
            expected[at][..., :96] = np.clip(total, -127, 127)
    _int8.dense(jobs, threads)
    np.testing.assert_array_equal(out, expected)


def block(x: Integers, spatial: Numbers, expand: Numbers, reduce: Numbers) -> Integers:
    own = len(spatial.weight)
    height, width = x.shape[1:3]
    edge = np.pad(x[..., :own], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    neighbours = [edge[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]
    mixed = np.concatenate([spatial(np.concatenate(neighbours, -1)), x[..., own:]], -1)
    return np.clip(x + reduce(expand(mixed)), -127, 127)


@every_set
@pytest.mark.parametrize("threads", THREADS)
def test_blocks_equal_int64(name: str, threads: int) -> None:
    from rarefy.kernels import _int8

    source = np.random.default_rng(10 + threads)
    for channels, own, shape in ((64, 16, (2, 31, 30)), (12, 3, (1, 1, 1)), (10, 5, (3, 1, 9)), (9, 9, (1, 8, 1))):
        spatial = draw(source, own, 9 * own)
        expand = draw(source, 2 * channels, channels, low=0, high=255)
        expand.shift[::2] = 1  # half of them saturate: 255 beside 0
        reduce = draw(source, channels, 2 * channels)
        packed = spatial.pack(name), expand.pack(name), reduce.pack(name, is_unsigned=True)
        x = extreme(source, (*shape[:2], shape[2] + 2, channels + 3))[:, :, 1:-1, 2:-1]
        out = np.empty((*shape, channels), np.int8)
        _int8.block(*packed, x, out, threads)
        np.testing.assert_array_equal(out, block(x.astype(np.int64), spatial, expand, reduce))


FORKING = """
import os, signal, sys
import numpy as np
from rarefy.kernels import _int8

source = np.random.default_rng(4)
weight = source.integers(-127, 128, (128, 256)).astype(np.int8)
layer = _int8.layer(sys.argv[1], weight, np.zeros(128, np.int32), np.full(128, 9, np.uint8), -127, 127, False)
x = source.integers(-127, 128, (1, 40, 50, 256)).astype(np.int8)  # work enough for four threads

def run():
    out = np.empty((1, 40, 50, 128), np.int8)
    _int8.dense([(layer, x, None, None, out)], 4)
    return out

expected = run()
child = os.fork()
if not child:
    signal.alarm(30)  # to wait for its parent's threads would be for ever
assert np.array_equal(run(), expected)
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_children_neither_use_nor_await_their_parents_helpers() -> None:
    """The child ends as every process does, where the helpers of its thread are put away."""
    subprocess.run([sys.executable, "-c", FORKING, SETS[0]], check=True, timeout=90)


def nothing_at_all() -> tuple[Any, NDArray[np.int8], NDArray[np.int8]]:
    numbers = draw(np.random.default_rng(0), 8, 4)
    return numbers.pack(SETS[0]), np.zeros((1, 2, 3, 4), np.int8), np.zeros((1, 2, 3, 8), np.int8)


WRONG: dict[str, Callable[[Any, Any, Any], list[Any]]] = {
    "another height": lambda layer, x, out: [(layer, x[:, :1], None, None, out)],
    "other inputs": lambda layer, x, out: [(layer, x[..., :3], None, None, out)],
    "other outputs": lambda layer, x, out: [(layer, x, None, None, out[..., :7])],
    "channels apart": lambda layer, x, out: [(layer, np.asfortranarray(x), None, None, out)],
    "a long constant": lambda layer, x, out: [(layer, x, None, np.zeros(9, np.int8), out)],
    "another layer than one": lambda layer, x, out: [(None, x, None, None, out)],
    "other addends": lambda layer, x, out: [(layer, x, x, None, out)],
}


@pytest.mark.parametrize("wrong", WRONG)
def test_arrays_that_do_not_fit_are_refused(wrong: str) -> None:
    from rarefy.kernels import _int8

    with pytest.raises(ValueError, match=r"other|side by side|is none"):
        _int8.dense(WRONG[wrong](*nothing_at_all()), 1)


@pytest.mark.parametrize("values", [np.zeros((1, 2, 3, 4), np.int16), np.zeros((2, 3, 4), np.int8)])
def test_arrays_of_other_kinds_are_not_converted(values: NDArray[Any]) -> None:
    from rarefy.kernels import _int8

    layer, x, out = nothing_at_all()
    with pytest.raises(TypeError):
        _int8.dense([(layer, values, None, None, out)], 1)
    read_only = out.copy()
    read_only.setflags(write=False)
    with pytest.raises(TypeError):
        _int8.dense([(layer, x, None, None, read_only)], 1)


def test_nothing_is_no_work() -> None:
    from rarefy.kernels import _int8

    layer, x, out = nothing_at_all()
    _int8.dense([], 2)
    _int8.dense([(layer, x[:, :0], None, None, out[:, :0])], 2)


def random_network(seed: int) -> IntegerScaleNetwork:
    """Odd numbers of channels and whole ranges of weights."""
    source = np.random.default_rng(seed)
    network = IntegerScaleNetwork(latents=22, width=20, hyper=7, steps=4, levels=3, tables=64)
    heads = {id(head) for head in network.heads}
    for layer in (m for m in network.modules() if isinstance(m, IntegerLayer)):
        low, high = (8, 13) if id(layer) in heads else (4, 13)
        for values, bounds in ((layer.weight, (-127, 128)), (layer.bias, (-3000, 3000)), (layer.shift, (low, high))):
            values.copy_(torch.from_numpy(source.integers(*bounds, tuple(values.shape))))
    for buffer, bound in ((network.start, 9000), (network.embedding, 127), (network.position, 127)):
        buffer.copy_(torch.from_numpy(source.integers(-bound, bound + 1, tuple(buffer.shape))))
    network.prove_bounds()
    return network


def walk(network: IntegerScaleNetwork, z: Tensor, symbols: Tensor, level: int) -> list[Tensor]:
    """Everything that the network gives, as int64."""
    height, width = symbols.shape[1:3]
    features = network.features(z, level)[:, :height, :width]
    known = network.magnitudes_of(symbols, features)
    found = [features, known]
    for step in range(4):
        hidden = network.hidden(step, features, known)
        found.append(hidden)
        for rows, columns, channels in blocks(step, symbols.shape[3]):
            found.append(network.indices(step, hidden[:, rows, columns], channels, level))
    return [x.to(torch.int64) for x in found]


def inputs_for(network: IntegerScaleNetwork, seed: int, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    source = np.random.default_rng(seed)
    batch, height, width = shape
    hyper, latents = network.up_coarse.weight.shape[1], network.start.shape[1]
    z = source.integers(-140, 141, (batch, -(-height // 4), -(-width // 4), hyper))
    symbols = source.geometric(0.1, (batch, height, width, latents)) * source.integers(-1, 2, latents)
    symbols.flat[0] = -32768
    return torch.from_numpy(z).to(torch.float32), torch.from_numpy(symbols).to(torch.float32)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@every_set
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 6), (2, 3, 5), (3, 8, 7), (1, 40, 41)])
def test_networks_equal_torch(name: str, shape: tuple[int, int, int]) -> None:
    for seed in range(3):
        network = random_network(seed)
        z, symbols = inputs_for(network, seed, shape)
        with using("python"), torch.inference_mode():
            expected = walk(network, z, symbols, seed)
            assert network.features(z, seed).dtype == torch.float32
        with using(name), torch_threads(1 + seed):
            assert network.features(z, seed).dtype == torch.int8
            assert_equal(walk(network, z, symbols, seed), expected)


def test_either_kind_of_tensor_may_follow_the_other() -> None:
    network = random_network(5)
    z, symbols = inputs_for(network, 5, (1, 5, 6))
    with using("python"):
        expected = walk(network, z, symbols, 1)
    with using(SETS[0]):
        assert_equal(walk(network, z.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1), symbols, 1), expected)
        features = network.features(z, 1)[:, :5, :6]
    known = network.magnitudes_of(symbols, features)
    other = copy.deepcopy(network)  # has packed nothing yet
    with using("python"):
        hidden = other.hidden(2, features, known)
        assert hidden.dtype == torch.float32
        assert torch.equal(hidden, network.hidden(2, features, known).float())


def test_weights_that_change_are_packed_anew() -> None:
    network = random_network(6)
    z, symbols = inputs_for(network, 6, (1, 6, 6))
    before = walk(network, z, symbols, 0)
    changes: list[Callable[[], Any]] = [
        lambda: network.blocks_fine[1].reduce.weight.neg_(),
        lambda: network.heads[2].bias.add_(3000),
        lambda: network.load_state_dict(random_network(7).state_dict()),
        lambda: setattr(network, "position", network.position.roll(1, 0)),
    ]
    for change in changes:
        change()
        after = walk(network, z, symbols, 0)
        assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
        with using("python"):
            assert_equal(after, walk(network, z, symbols, 0))
        before = after


def test_networks_that_ran_are_copied_and_pickled() -> None:
    network = random_network(8)
    z, symbols = inputs_for(network, 8, (1, 4, 4))
    expected = walk(network, z, symbols, 0)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert_equal(walk(other, z, symbols, 0), expected)


def test_many_callers_at_once() -> None:
    network = random_network(9)
    given = [inputs_for(network, seed, (1, 9 + seed, 12)) for seed in range(8)]
    with using("python"):
        expected = [walk(network, *one, 0) for one in given]
    with using(SETS[0]), ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, wanted in zip(pool.map(lambda one: walk(network, *one, 0), given), expected, strict=True):
                assert_equal(found, wanted)


@pytest.mark.skipif(not candidates("image"), reason='no weights of codec "image" are here')
def test_files_are_the_same_bytes() -> None:
    bottleneck = load_codec("image").bottleneck
    y = (
        torch.from_numpy(np.random.default_rng(3).laplace(0, 1, (2, 320, 11, 7))).float()
        * bottleneck.sigma[:, None, None]
    )
    streams = []
    for kernel in ("python", *SETS):
        with using(kernel):
            units = coding.compress(bottleneck, y, 9000)
            streams.append([unit.stream for unit in units])
            decoded = coding.decompress(bottleneck, units, (11, 7), 9000)
            assert torch.isfinite(decoded).all()
    assert len({tuple(stream) for stream in streams}) == 1


@pytest.mark.skipif(not candidates("image"), reason='no weights of codec "image" are here')
def test_bench_integer_finds_the_same_integers(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("skimage.data", reason="needs scikit-image for a photograph")
    with torch_threads(torch.get_num_threads()):
        assert bench.main(["integer", "--size", "100x60", "--runs", "1", "--threads", "1", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["is_equal"] and result["picture"].endswith("112x64")
    assert set(result["network_ms"]) == set(result["decode_ms"]) == {"torch", *SETS}


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAREFY_KERNEL", raising=False)
    for machine, chosen in (("x86_64", SETS[0]), ("aarch64", None if SETS[0] == "plain" else SETS[0])):
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert kernels.instruction_set() == chosen
    monkeypatch.setattr(kernels, "instruction_sets", lambda: ("plain",))
    assert kernels.instruction_set() is None
    monkeypatch.undo()
    for name in SETS:
        monkeypatch.setenv("RAREFY_KERNEL", name)
        assert kernels.instruction_set() == name and kernels.available()
    monkeypatch.setenv("RAREFY_KERNEL", "python")
    assert kernels.instruction_set() is None
    monkeypatch.setattr(kernels, "instruction_sets", lambda: ("plain",))
    monkeypatch.setenv("RAREFY_KERNEL", "avx2")
    with pytest.raises(OptionError, match="plain, python"):
        kernels.instruction_set()
    monkeypatch.setenv("RAREFY_KERNEL", "abacus")
    with pytest.raises(OptionError, match="abacus"):
        kernels.instruction_set()


def test_sets_are_known_by_name_and_plain_is_always_there() -> None:
    assert set(SETS) <= set(kernels.INSTRUCTION_SETS) and SETS[-1] == "plain"
    assert sorted(SETS, key=kernels.INSTRUCTION_SETS.index) == list(SETS)  # the best first


def test_torch_computes_where_nothing_was_built() -> None:
    program = (
        "import sys; sys.modules['rarefy.kernels._int8'] = None\n"
        "import torch; from rarefy.entropy.integer import IntegerScaleNetwork; from rarefy import kernels\n"
        "network = IntegerScaleNetwork(4, 4, 2, 2, 1, 64)\n"
        "assert kernels.instruction_sets() == () and kernels.instruction_set() is None\n"
        "assert network.features(torch.zeros(1, 1, 1, 2), 0).dtype == torch.float32"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAREFY_KERNEL"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    extents=st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 70)),
    size=st.sampled_from([0.1, 3.0, 200.0, 1e5]),
)
def test_symbols_and_latents_are_those_of_torch(seed: int, extents: tuple[int, ...], size: float) -> None:
    """Every quarter of odd and even sizes: the same symbols and magnitudes, floats to a few units in the last place."""
    source = np.random.default_rng(seed)
    batch, height, width, channels = extents
    target = torch.from_numpy(source.normal(0, size, (batch, height, width, channels)).astype(np.float32))
    target.view(-1)[:2] = torch.tensor([0.5, -2.5])[: target.numel()]
    spread = torch.from_numpy(np.exp(source.normal(0, 2, channels)).astype(np.float32))
    table = magnitude_table()
    arrays = [torch.zeros(target.shape, dtype=kind) for kind in (torch.int16, torch.int8, torch.float32, torch.float32)]
    expected = [array.clone() for array in arrays]
    for rows, columns, part in blocks(int(source.integers(4)), channels):
        at = (slice(None), rows, columns, part)
        mu = torch.from_numpy(source.normal(0, 1, tuple(target[at].shape)).astype(np.float32)).mul_(spread[part])
        mu[source.random(tuple(mu.shape)) < 0.2] = 0.0  # halves are rounded to even integers
        index = torch.from_numpy(source.integers(0, 3, tuple(mu.shape)).astype(np.uint8))
        symbols = Runner.choose(target[at], mu.transpose(1, 2).contiguous().transpose(1, 2), index)  # any strides
        wanted = ((target[at] - mu).round().clamp(-32768, 32767) * (index > 0)).to(torch.int16)
        assert torch.equal(symbols, wanted)
        Runner.take(symbols, mu, spread[part], table, [array[at] for array in arrays])
        expected[0][at] = wanted
        expected[1][at] = table[wanted.int().abs().clamp(max=127)]
        expected[2][at] = wanted + mu
        expected[3][at] = torch.asinh(((wanted + mu) / spread[part]).double()).float()
    for found, sought in zip(arrays[:3], expected[:3], strict=True):
        assert torch.equal(found, sought)
    torch.testing.assert_close(arrays[3], expected[3], rtol=4e-7, atol=2e-7)


def test_what_is_no_number_becomes_a_symbol_all_the_same() -> None:
    from rarefy.kernels import _latents

    target = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 32767.6, -32768.9, 0.5], np.float32).reshape(1, 1, 1, 8)
    symbols = np.zeros(target.shape, np.int16)
    _latents.choose(target, np.zeros_like(target), np.ones(target.shape, np.uint8), symbols)
    assert symbols.ravel().tolist() == [-32768, 32767, -32768, 32767, -32768, 32767, -32768, 0]


def test_latents_that_do_not_fit_are_refused() -> None:
    from rarefy.kernels import _latents

    fits = np.zeros((1, 2, 2, 4), np.float32)
    symbols, index = np.zeros(fits.shape, np.int16), np.ones(fits.shape, np.uint8)
    with pytest.raises(ValueError):
        _latents.choose(np.zeros((1, 2, 2, 5), np.float32), fits, index, symbols)
    with pytest.raises(ValueError):
        _latents.choose(fits.transpose(0, 3, 1, 2).copy().transpose(0, 2, 3, 1), fits, index, symbols)
    whole = [fits.astype(kind) for kind in (np.int16, np.int8, np.float32, np.float32)]
    for spread, table in ((3, 128), (4, 127)):
        with pytest.raises(ValueError):
            _latents.take(symbols, fits, np.ones(spread, np.float32), np.zeros(table, np.int8), *whole)
