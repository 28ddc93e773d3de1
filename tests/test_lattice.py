"""The lattice bottleneck: every position once, after its neighbours; integers that code what the floats promise."""

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from settings import using

from rarefy import kernels
from rarefy.entropy import lattice_integers, rans
from rarefy.entropy.lattice import COARSEST, KEPT_SHAPES, NEIGHBOURS, Lattice, _places_on, places, steps
from rarefy.entropy.lattice_coding import LatticeCoder, _geometry, instruction_sets
from rarefy.entropy.lattice_integers import LatticeIntegers, lattice_tables, scale_index
from rarefy.errors import ChecksumError, FormatError, OptionError, RarefyError, WeightsError

CHANNELS = 5
PATHS = ["python", *([""] if kernels.available() else [])]
shapes = st.one_of(st.tuples(st.integers(1, 40)), st.tuples(st.integers(1, 21), st.integers(1, 21)))


@pytest.fixture(scope="module")
def tables() -> object:
    return lattice_tables()


def lattice(axes: int, seed: int = 0) -> Lattice:
    """A bottleneck with random weights of a usual size, and its integers."""
    generator = torch.Generator().manual_seed(seed)
    made = Lattice(CHANNELS, axes=axes, lambdas=(1e-3, 0.1))
    made.start_from(torch.logspace(0.6, -1, CHANNELS))
    with torch.no_grad():
        for weights in (made.means, made.means_across):
            weights += 0.05 * torch.randn(weights.shape, generator=generator)
        for weights in (made.scales, made.differences, made.scales_across):
            weights += 0.02 * torch.rand(weights.shape, generator=generator)
        made.gain_encoder += 0.2 * torch.randn(made.gain_encoder.shape, generator=generator)
    made.make_exact()
    return made.eval()


def latents(made: Lattice, shape: tuple[int, ...], seed: int = 0, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = torch.logspace(0.6, -1, CHANNELS).reshape(CHANNELS, *[1] * len(shape))
    return torch.randn(batch, CHANNELS, *shape, generator=generator) * size


@settings(max_examples=60, deadline=None)
@given(shape=shapes)
def test_every_position_comes_once_and_after_its_neighbours(shape: tuple[int, ...]) -> None:
    known = np.zeros(int(np.prod(shape)), bool)
    for step in steps(len(shape)):
        own, neighbours = places(step, shape)
        assert not known[own].any() and len(set(own.tolist())) == len(own)
        assert neighbours.shape == (len(step.neighbours), len(own))
        assert known[neighbours[neighbours >= 0]].all()
        if step.stride < COARSEST:
            assert (neighbours >= 0).any(0).all()  # each has one at least
        known[own] = True
    assert known.all()


def test_neighbours_inside_are_the_ones_named() -> None:
    for step in steps(2)[1:]:
        own, neighbours = places(step, (64, 64))
        rows, columns = np.divmod(own, 64)
        inner = (rows > 8) & (rows < 48) & (columns > 8) & (columns < 48)
        assert inner.any()
        for found, (down, right) in zip(neighbours, step.neighbours, strict=True):
            np.testing.assert_array_equal(found[inner], ((rows + down) * 64 + columns + right)[inner])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(1,), (50,), (1, 1), (1, 9), (5, 7), (32, 48)])
def test_files_hold_what_the_floats_promise(path: str, shape: tuple[int, ...]) -> None:
    made = lattice(len(shape))
    y = latents(made, shape, batch=2)
    position = torch.tensor([40 / 63, 40 / 63])
    quality = 16254  # level 40
    with torch.no_grad():
        wanted, bits = made(y, position)
    with using(path):
        units = made.compress(y, quality)
        found = made.decompress(units, shape, quality)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    for (sections, _), ideal in zip(units, bits.tolist(), strict=True):
        assert 8 * len(sections["latents"]) < 1.02 * ideal + 80


@settings(max_examples=25, deadline=None)
@given(shape=shapes, seed=st.integers(0, 10**6), size=st.sampled_from([1.0, 50.0, 3000.0]), level=st.integers(0, 63))
def test_compiled_code_gives_the_bytes_of_numpy(shape: tuple[int, ...], seed: int, size: float, level: int) -> None:
    if not kernels.available():
        pytest.skip("the compiled coder was not built")
    made = LATTICES[len(shape)]
    coder = made.coder
    assert coder is not None
    q = np.clip(np.random.default_rng(seed).laplace(0, size, (CHANNELS, *shape)), -24000, 24000).astype(np.int16)
    stream, checksum = coder.encode(q, level)
    assert (stream, checksum) == lattice_integers.encode(coder.network, coder.tables, q, level)
    for path in PATHS:
        with using(path):
            np.testing.assert_array_equal(coder.decode([(stream, checksum)] * 3, shape, level), np.stack([q] * 3))


LATTICES = {1: lattice(1), 2: lattice(2)}
SETS = instruction_sets()
every_set = pytest.mark.parametrize("name", SETS)


def decode_by(coder: LatticeCoder, name: str, streams: list[bytes], shape: tuple[int, ...], level: int) -> Any:
    """Statuses and latents of units, by the loops of one instruction set."""
    found = np.full((len(streams), CHANNELS, int(np.prod(shape))), -7, np.int16)
    model, start = coder._compiled(), coder._start(level)
    data = [np.frombuffer(stream, np.uint8) for stream in streams]
    statuses = model.decode(data, *_geometry(len(shape), shape), start, found, 1, name)
    return statuses, found.reshape(len(streams), CHANNELS, *shape)


def streams_of(coder: LatticeCoder, q: np.ndarray, level: int, lanes: int) -> bytes:
    """A unit's stream with a number of lanes that an encoder would not choose."""
    symbols, rows = np.empty(q.size, np.int16), np.empty(q.size, np.uint16)
    flat = np.ascontiguousarray(q).reshape(1, CHANNELS, -1)
    geometry = _geometry(q.ndim - 1, q.shape[1:])
    assert coder._compiled().prepare(flat, *geometry, coder._start(level), symbols, rows)
    return rans.encode(symbols, rows, coder.tables, lanes)


@every_set
@settings(max_examples=15, deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 10**6),
    lanes=st.lists(st.sampled_from([1, 1, 1, 2, 4, 32]), min_size=1, max_size=37),
    level=st.integers(0, 63),
)
def test_units_in_lockstep_are_those_alone(
    name: str, shape: tuple[int, ...], seed: int, lanes: list[int], level: int
) -> None:
    coder = LATTICES[len(shape)].coder
    assert coder is not None
    source = np.random.default_rng(seed)
    sizes = source.choice([0.0, 1.0, 50.0, 300.0], (len(lanes), 1, *[1] * len(shape)))
    q = np.clip(source.laplace(0, 1, (len(lanes), CHANNELS, *shape)) * sizes, -32000, 32000).astype(np.int16)
    streams = [streams_of(coder, one, level, count) for one, count in zip(q, lanes, strict=True)]
    statuses, found = decode_by(coder, name, streams, shape, level)
    assert not any(statuses)
    np.testing.assert_array_equal(found, q)


@every_set
def test_units_of_many_positions_are_decoded_in_lockstep_too(name: str) -> None:
    coder = LATTICES[2].coder
    assert coder is not None
    q = np.random.default_rng(1).laplace(0, 3, (7, CHANNELS, 71, 50)).astype(np.int16)  # blocks of 256 positions
    streams = [coder.encode(one, 20)[0] for one in q]
    statuses, found = decode_by(coder, name, streams, (71, 50), 20)
    assert not any(statuses)
    np.testing.assert_array_equal(found, q)


@every_set
@pytest.mark.parametrize("lanes", [1, 4])
def test_damage_in_lockstep_ends_one_unit_as_it_does_alone(name: str, lanes: int) -> None:
    coder = LATTICES[2].coder
    assert coder is not None
    shape, source = (9, 8), np.random.default_rng(lanes)
    q = source.laplace(0, 30, (CHANNELS, *shape)).astype(np.int16)
    q[0, 0, :3] = 32000  # escapes
    stream = streams_of(coder, q, 30, lanes)
    damaged = [stream[:i] for i in range(0, len(stream), 3)] + [stream + b"\0\0", stream + b"\0", b"", b"\7" * 99]
    for i in range(len(stream)):
        altered = bytearray(stream)
        altered[i] ^= 1 << i % 8
        damaged.append(bytes(altered))
    damaged += [stream[:1] + source.bytes(4 * lanes + 2 * int(source.integers(200))) for _ in range(200)]
    source.shuffle(damaged)
    units = [unit for one in damaged for unit in (one, stream)]
    statuses, found = decode_by(coder, name, units, shape, 30)
    for number, unit in enumerate(units):
        (alone,), wanted = decode_by(coder, "plain", [unit], shape, 30)
        assert bool(statuses[number]) == bool(alone), number
        if alone:
            assert isinstance(rans.fault(statuses[number]), type(rans.fault(alone)))
        else:
            np.testing.assert_array_equal(found[number], wanted[0])
    assert sum(map(bool, statuses[0::2])) > 0.8 * len(damaged)
    assert not any(statuses[1::2])


def test_a_set_that_is_not_here_is_refused() -> None:
    coder = LATTICES[1].coder
    assert coder is not None
    if SETS:
        with pytest.raises(ValueError, match="no such instruction set"):
            decode_by(coder, "mmx", [b"0"], (4,), 0)


@pytest.mark.parametrize("path", PATHS)
def test_every_change_of_a_stream_is_found(path: str) -> None:
    made = LATTICES[2]
    ((sections, checksum),) = made.compress(latents(made, (4, 6)), 12800)
    stream = sections["latents"]
    with using(path):
        for i in range(len(stream)):
            altered = bytearray(stream)
            altered[i] ^= 1 << i % 8
            with pytest.raises(FormatError):
                made.decompress([({"latents": bytes(altered)}, checksum)], (4, 6), 12800)
            with pytest.raises(FormatError):
                made.decompress([({"latents": stream[:i]}, checksum)], (4, 6), 12800)
        with pytest.raises(ChecksumError):
            made.decompress([(sections, checksum ^ 1)], (4, 6), 12800)
        with pytest.raises(RarefyError):  # no memory is spent on sizes that the stream cannot hold
            made.decompress([(sections, checksum)], (30000, 30000), 12800)


@pytest.mark.parametrize("path", PATHS)
def test_latents_beyond_their_means_by_too_much_are_refused(path: str, tables: object) -> None:
    network = LatticeIntegers(1, 1)
    network.means[:, 0, 0] = -1024  # the mean is the neighbour's negative
    coder = LatticeCoder(network, tables)  # type: ignore[arg-type]
    q = np.full((1, 9), 2047, np.int16)
    q[0, 4] = 32767
    with using(path), pytest.raises(WeightsError, match="16 bits"):
        coder.encode(q, 0)


def test_latents_that_are_no_numbers_are_refused() -> None:
    for value in (float("nan"), float("inf"), 1e9):
        with pytest.raises(WeightsError, match="not finite"):
            LATTICES[2].compress(torch.full((1, CHANNELS, 2, 2), value), 12800)


def test_weights_that_16_bits_do_not_hold_are_refused() -> None:
    for name, value in (("means", 40.0), ("scales", 1e4), ("differences", math.inf)):
        lattice = Lattice(CHANNELS, axes=2, lambdas=(1e-3, 0.1))
        with torch.no_grad():
            getattr(lattice, name).fill_(value)
        with pytest.raises(WeightsError, match="16 bits"):
            lattice.make_exact()


def test_shapes_are_not_kept_for_ever() -> None:
    for extent in range(8, 8 + 3 * KEPT_SHAPES):
        places(steps(2)[0], (extent, 8))
    assert places.cache_info().currsize <= KEPT_SHAPES


def test_half_precision_is_refused() -> None:
    half = copy.deepcopy(LATTICES[2]).half()
    with pytest.raises(OptionError, match="float32"):
        half.compress(torch.zeros(1, CHANNELS, 2, 2), 12800)


def test_scales_fall_into_tables_of_their_size() -> None:
    scales = np.arange(160, 409_601)
    index = scale_index(scales)
    assert (np.diff(index) >= 0).all() and index[-1] - index[0] + 1 == lattice_integers.SCALE_COUNT
    edges = scales[np.flatnonzero(np.diff(index)) + 1]
    assert (edges[1:] / edges[:-1]).max() <= 1.25 and (edges[1:] / edges[:-1]).min() >= 8 / 7 - 0.01


def test_tables_are_centred_on_their_means(tables: object) -> None:
    arrays = tables.to_arrays()  # type: ignore[attr-defined]
    for row in range(8 * 16, len(arrays["offsets"]), 37):  # scales of half a step and more
        start, end = arrays["row_starts"][row], arrays["row_starts"][row + 1]
        masses = np.diff(arrays["cumulative"][start:end].astype(np.float64))[:-1]
        symbols = arrays["offsets"][row] + np.arange(len(masses))
        assert (masses @ symbols) / masses.sum() == pytest.approx(row % 8 / 8, abs=0.09)


def test_integers_survive_a_weights_file_and_give_floats_back() -> None:
    made = LATTICES[2]
    other = Lattice(CHANNELS, axes=2, lambdas=(1e-3, 0.1))
    other.load_state_dict({k: v for k, v in made.state_dict().items() if k.startswith("gain")}, strict=False)
    other.set_exact({k: v.clone() for k, v in made.exact_tensors().items()})
    y = latents(made, (9, 9))
    assert other.compress(y, 12800) == made.compress(y, 12800)
    torch.testing.assert_close(other.means, made.means, atol=1e-3, rtol=0)
    torch.testing.assert_close(other.start, made.start, atol=0.03, rtol=0)


def test_weights_that_could_overflow_or_look_ahead_are_refused() -> None:
    def changed(name: str, place: tuple[int, ...], value: int) -> dict[str, torch.Tensor]:
        tensors = {k: v.clone() for k, v in LATTICES[2].exact_tensors().items()}
        tensors[f"exact.{name}"][place] = value
        return tensors

    other = Lattice(CHANNELS, axes=2, lambdas=(1e-3, 0.1))
    wrong = [("scales", (0, 0, 0), -1), ("means_across", (1, 0, 0), 5), ("scales_across", (1, 0, 3), 5)]
    for name, place, value in wrong:
        with pytest.raises(WeightsError):
            other.set_exact(changed(name, place, value))
    tensors = {k: v.clone() for k, v in LATTICES[2].exact_tensors().items()}
    for name in ("means", "scales", "differences"):
        tensors[f"exact.{name}"].fill_(32767)
    assert NEIGHBOURS * CHANNELS * 32767 * 2047 < 2**31 * 2
    tensors["exact.scales_across"].copy_(tensors["exact.scales_across"].fill_(32767).tril(-1))
    with pytest.raises(WeightsError, match="sums up to"):
        other.set_exact(tensors)


def test_copies_and_pickles_code_alike() -> None:
    made = LATTICES[2]
    y = latents(made, (3, 5))
    expected = made.compress(y, 6400)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.compress(y, 6400) == expected


def test_learning_lowers_the_rate() -> None:
    made = lattice(2, seed=3)
    smooth = torch.nn.functional.interpolate(latents(made, (4, 4), batch=4), scale_factor=4, mode="bilinear")
    position = torch.full((4,), 0.5)
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    before = made(smooth, position)[1].sum().item()
    for _ in range(60):
        optimizer.zero_grad()
        made(smooth, position)[1].sum().backward()
        optimizer.step()
    assert made(smooth, position)[1].sum().item() < 0.7 * before


def test_places_are_constants_to_the_compiler() -> None:
    """The mark is set by hand; the compiler must go on to set the same one."""

    @torch.compiler.assume_constant_result
    def marked() -> None: ...

    assert vars(_places_on) == vars(marked) != {}
