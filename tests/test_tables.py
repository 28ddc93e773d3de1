"""Integer tables: quantisation is optimal, bad arrays are refused, costs are exact, shipping loses nothing."""

import pickle
from functools import cache
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from rarefy.entropy.scales import scale_tables, scale_thresholds
from rarefy.entropy.tables import Tables, escape_bits, quantise
from rarefy.errors import OptionError, WeightsError


def small_tables() -> Tables:
    """Row 0: -1, 0, 1 and the escape at 1024, 2048, 512, 512 of 4096; row 1: certain of 7."""
    return Tables(12, np.array([-1, 7]), np.array([0, 5, 5]), np.array([0, 1024, 3072, 3584, 4096]))


@cache
def usual_tables() -> Tables:
    return scale_tables(64, 0.06, 30)


def same(left: Tables, right: Tables) -> bool:
    pairs = zip(left.to_arrays().items(), right.to_arrays().items(), strict=True)
    return all(a == b and x.dtype == y.dtype and np.array_equal(x, y) for (a, x), (b, y) in pairs)


def frequencies(tables: Tables, row: int) -> NDArray[np.int64]:
    return np.diff(tables.cumulative[tables.row_starts[row] : tables.row_starts[row + 1]].astype(np.int64))


def test_quantising_is_optimal_among_all_ways() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        masses = rng.dirichlet([0.2] * 3)
        found = quantise(masses, 6)
        ways = [np.array([a, b, 64 - a - b]) for a, b in product(range(1, 63), repeat=2) if a + b < 64]
        best = min(float(-np.sum(masses * np.log2(way / 64))) for way in ways)
        assert found.sum() == 64 and found.min() >= 1
        assert float(-np.sum(masses * np.log2(found / 64))) == pytest.approx(best, rel=1e-12)


def test_quantising_pays_for_forced_entries_where_it_hurts_least() -> None:
    masses = np.concatenate([[0.9, 0.1], np.zeros(200)])
    found = quantise(masses, 12)
    assert found.sum() == 4096 and np.all(found[2:] == 1)
    assert found[0] / found[1] == pytest.approx(9, rel=0.01)


def test_quantising_refuses_more_entries_than_slots() -> None:
    with pytest.raises(WeightsError):
        quantise(np.ones(4097), 12)


def test_rows_from_masses() -> None:
    tables = Tables.from_pmfs([np.array([0.25, 0.5, 0.125]), np.zeros(0)], [-1, 7], [0.125, 0.0], precision=12)
    assert same(tables, small_tables())
    assert tables.is_coded.tolist() == [True, False] and tables.lengths.tolist() == [4, 0]


@pytest.mark.parametrize("mass", [-0.1, np.nan, np.inf])
def test_masses_that_are_none(mass: float) -> None:
    with pytest.raises(OptionError):
        Tables.from_pmfs([np.array([0.5, mass])], [0], [0.1])
    with pytest.raises(OptionError):
        Tables.from_pmfs([np.array([0.0])], [0], [0.0])
    with pytest.raises(OptionError):
        Tables.from_pmfs([np.array([0.5])], [0, 1], [0.1])


def test_cost_is_that_of_the_integers_and_the_escape_code() -> None:
    tables = small_tables()
    expected = {-1: 2, 0: 1, 1: 3}  # 1024, 2048 and 512 of 4096
    for symbol, bits in expected.items():
        assert tables.ideal_bits(np.array([symbol]), np.array([0])) == bits
    # beyond the row: 3 bits of escape, then 0 and 1 (side) in 2 bits, 2 to 5 in 4, 6 to 13 in 6, …
    for symbol, bits in {2: 5, -2: 5, 3: 7, -3: 7, 4: 7, -4: 7, 5: 9, -8: 9, 32767: 33, -32768: 33}.items():
        assert tables.ideal_bits(np.array([symbol]), np.array([0])) == bits, symbol
    assert tables.ideal_bits(np.array([7, 0]), np.array([1, 0])) == 1


def test_escape_lengths_follow_exp_golomb() -> None:
    assert escape_bits(np.array([0, 1, 2, 5, 6, 13, 14])).tolist() == [2, 2, 4, 4, 6, 6, 8]


def test_shipping_loses_nothing() -> None:
    tables = scale_tables(16, 0.1, 8)
    assert same(Tables.from_arrays(tables.to_arrays()), tables)
    assert same(pickle.loads(pickle.dumps(tables)), tables)
    wide = {name: array.astype(np.int64) for name, array in tables.to_arrays().items()}
    assert same(Tables.from_arrays(wide), tables)


def test_arrays_are_copied_and_read_only() -> None:
    starts = np.array([0, 5, 5])
    tables = Tables(12, np.array([-1, 7]), starts, np.array([0, 1024, 3072, 3584, 4096]))
    starts[1] = 3
    assert tables.row_starts[1] == 5
    with pytest.raises(ValueError, match="read-only"):
        tables.cumulative[1] = 3


def test_rows_follow_what_was_seen() -> None:
    """Heavier tails and another centre than the logistic's: fitted rows cost less, by what one would expect."""
    source = np.random.default_rng(4)
    count, low, high = 16, 0.1, 8
    thresholds = scale_thresholds(count, low, high)
    scales = np.sqrt(thresholds[:-1] * thresholds[1:])
    seen = np.zeros((count, 400), np.int64)
    drawn = []
    for row, scale in enumerate(scales, 1):
        values = np.rint(source.logistic(0, scale, 40_000) * np.where(source.random(40_000) < 0.05, 4, 0.9))
        seen[row] = np.bincount(np.abs(values[::2]).astype(int), minlength=400)[:400]
        drawn.append(values[1::2].astype(np.int16))
    plain, fitted = scale_tables(count, low, high, 15), scale_tables(count, low, high, 15, seen)
    for row, values in enumerate(drawn, 1):
        rows = np.full(len(values), row)
        frequencies = np.bincount(np.abs(values).astype(int))
        shares = frequencies[frequencies > 0] / len(values)
        signs = 1 - frequencies[0] / len(values)
        entropy = len(values) * (signs - (shares * np.log2(shares)).sum())
        bits = fitted.ideal_bits(values, rows)
        assert bits < plain.ideal_bits(values, rows), row
        assert bits < 1.02 * entropy + 100, row


@pytest.mark.parametrize("scale", [0.06, 0.075, 0.1, 0.15, 0.3])
def test_signs_of_small_scales_cost_one_bit(scale: float) -> None:
    """Symbols other than zero are rare there, but all that costs: escapes in their place spent a bit more on each."""
    tables = scale_tables(3, scale / 1.1**0.5, scale * 1.1**1.5, 15)
    beyond = 1 / (1 + np.exp((np.arange(5) - 0.5) / scale))  # -1/2, 1/2, 3/2, ...
    masses = -np.diff(beyond)
    masses[0] = 1 - 2 * beyond[1]
    symbols, rows = np.arange(4, dtype=np.int16), np.ones(1, np.int64)
    bits = np.array([tables.ideal_bits(symbol, rows) for symbol in symbols[:, None]])
    length = float((masses * np.array([1, 2, 2, 2])) @ bits)
    entropy = -masses[0] * np.log2(masses[0]) - 2 * (masses[1:] * np.log2(masses[1:])).sum()
    assert entropy < length < 1.012 * entropy + 2**-14


def test_nothing_seen_changes_nothing() -> None:
    assert same(scale_tables(12, 0.1, 8, 14, np.zeros((12, 3), np.int64)), scale_tables(12, 0.1, 8))


@pytest.mark.parametrize("seen", [np.zeros((3, 4), np.int64), np.zeros(4, np.int64), -np.ones((4, 4), np.int64)])
def test_counts_of_other_rows_are_refused(seen: NDArray[np.int64]) -> None:
    with pytest.raises(OptionError, match="4 rows"):
        scale_tables(4, 0.2, 4, 12, seen)


def test_joining() -> None:
    first, second = small_tables(), scale_tables(4, 0.2, 4, 12)
    joined = Tables.concatenate([first, second])
    assert len(joined) == 6
    symbols = np.array([1, 9, 7], np.int16)
    rows = np.array([0, 3, 1])
    apart = first.ideal_bits(symbols[[0, 2]], rows[[0, 2]]) + second.ideal_bits(symbols[1:2], rows[1:2] - 2)
    assert joined.ideal_bits(symbols, rows) == pytest.approx(apart)
    for parts in ([], [first, scale_tables(4, 0.2, 4, 13)]):
        with pytest.raises(OptionError):
            Tables.concatenate(parts)


BROKEN: list[tuple[str, object]] = [
    ("precision", 11),
    ("precision", 16),
    ("offsets", np.array([-1])),
    ("offsets", np.array([-1, 40000])),
    ("offsets", np.array([32766, 7])),
    ("offsets", np.array([-1.0, 7.0])),
    ("offsets", np.array([-1, 2**40])),
    ("row_starts", np.array([0, 5, 4])),
    ("row_starts", np.array([1, 5, 5])),
    ("row_starts", np.array([0, 2, 5])),
    ("row_starts", np.array([0, 4, 5])),
    ("row_starts", np.array([0, 5, 6])),
    ("cumulative", np.array([0, 1024, 1024, 3584, 4096])),
    ("cumulative", np.array([0, 3072, 1024, 3584, 4096])),
    ("cumulative", np.array([1, 1024, 3072, 3584, 4096])),
    ("cumulative", np.array([0, 1024, 3072, 3584, 4095])),
    ("cumulative", np.array([0, 1024, 3072, 3584, 4096 + 65536])),
    ("cumulative", np.array([[0, 1024, 3072, 3584, 4096]])),
]


@pytest.mark.parametrize(("name", "value"), BROKEN)
def test_broken_tables_are_refused(name: str, value: object) -> None:
    arrays = small_tables().to_arrays()
    arrays[name] = np.array([value], np.uint8) if name == "precision" else np.asarray(value)
    with pytest.raises(WeightsError):
        Tables.from_arrays(arrays)


def test_arrays_of_other_names_are_refused() -> None:
    arrays = small_tables().to_arrays()
    with pytest.raises(WeightsError):
        Tables.from_arrays({**arrays, "surplus": arrays["offsets"]})
    del arrays["offsets"]
    with pytest.raises(WeightsError):
        Tables.from_arrays(arrays)


def test_scale_rows() -> None:
    tables, thresholds = usual_tables(), scale_thresholds(64, 0.06, 30)
    assert len(tables) == 64 and not tables.is_coded[0] and tables.is_coded[1:].all() and tables.offsets[0] == 0
    assert thresholds[0] == pytest.approx(0.06) and thresholds[-1] == pytest.approx(30)
    values = tables.lengths[1:] - 1
    assert np.all(values % 2 == 1) and np.all(tables.offsets[1:] == -(values // 2))  # symmetrical about zero
    assert np.all(np.diff(values) >= 0) and values[-1] < 500
    scale = np.sqrt(thresholds[40] * thresholds[41])
    probability = np.tanh(1 / (4 * scale))  # of zero: 2 F(1/2) - 1
    assert frequencies(tables, 41)[values[40] // 2] / 16384 == pytest.approx(probability, rel=2e-3)


@pytest.mark.parametrize("scale", [0.09, 0.4, 3.0, 20.0])
def test_scale_rows_cost_little_more_than_the_distribution(scale: float) -> None:
    rng = np.random.default_rng(3)
    row = int(np.searchsorted(scale_thresholds(64, 0.06, 30), scale))
    samples = np.round(rng.logistic(size=200_000) * scale).astype(np.int64)
    distance = np.abs(samples)
    masses = 1 / (1 + np.exp((distance - 0.5) / scale)) - 1 / (1 + np.exp((distance + 0.5) / scale))
    cost = usual_tables().ideal_bits(samples, np.full(len(samples), row))
    assert cost < -np.sum(np.log2(masses)) * 1.005


def test_scales_that_are_none() -> None:
    for count, low, high in ((1, 0.1, 1.0), (4, 0.0, 1.0), (4, 1.0, 0.1)):
        with pytest.raises(OptionError):
            scale_thresholds(count, low, high)
