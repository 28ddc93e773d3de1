"""Alphabets beyond 256 values: round trips, rate, damage."""

import numpy as np
import pytest

from rarefy.entropy import coder
from rarefy.entropy.classes import Classes
from rarefy.errors import FormatError, OptionError, RarefyError


@pytest.mark.parametrize("size", [2, 3, 256, 257, 258, 512, 4096, 65536])
def test_values_of_alphabets_of_any_size(size: int) -> None:
    rng = np.random.default_rng(size)
    classes = Classes.from_masses(rng.random(size) ** 8)
    values = np.concatenate([rng.integers(0, size, 500), [0, size - 1]])
    stream = classes.encode(values)
    assert np.array_equal(classes.decode(stream, len(values)), values)
    assert classes.decode(classes.encode(values[:0]), 0).shape == (0,)


def test_rate_is_that_of_the_distribution() -> None:
    """Within .1 % of the entropy of 4,096 values as skewed as tokens are."""
    rng = np.random.default_rng(1)
    masses = rng.permutation(1 / np.arange(1, 4097) ** 1.1)
    masses /= masses.sum()
    values = rng.choice(4096, 100_000, p=masses)
    ideal = -float(np.log2(masses[values]).sum()) / 8
    assert ideal <= len(Classes.from_masses(masses).encode(values)) <= 1.001 * ideal + 32


def test_values_without_mass_can_still_be_coded() -> None:
    counts = np.zeros(1000)
    counts[3] = 5
    values = np.arange(1000)
    classes = Classes.from_masses(counts)
    assert np.array_equal(classes.decode(classes.encode(values), 1000), values)


def test_what_cannot_be() -> None:
    classes = Classes.from_masses(np.ones(300))
    for masses in ([1.0], [1.0, -1.0], [0.0, 0.0], [np.nan, 1.0], np.ones((2, 2)), np.ones(65537)):
        with pytest.raises(OptionError):
            Classes.from_masses(masses)
    for values in ([300], [-1], [0.5]):
        with pytest.raises(OptionError):
            classes.encode(values)
    with pytest.raises(OptionError):
        Classes(600, classes.tables)


def test_escapes_of_a_damaged_stream_are_no_values() -> None:
    classes = Classes.from_masses(np.ones(300))
    beyond_class = coder.encode(np.array([2, 0]), np.array([0, 1]), classes.tables)
    beyond_member = coder.encode(np.array([1, 44]), np.array([0, 2]), classes.tables)
    below = coder.encode(np.array([1, -1]), np.array([0, 2]), classes.tables)
    for stream in (beyond_class, beyond_member, below):
        with pytest.raises(FormatError):
            classes.decode(stream, 1)


def test_every_changed_byte_costs_an_error_or_gives_values() -> None:
    classes = Classes.from_masses(np.arange(1, 301))
    stream = classes.encode(np.arange(0, 300, 7))
    for at in range(len(stream)):
        altered = stream[:at] + bytes([stream[at] ^ 0x41]) + stream[at + 1 :]
        try:
            assert int(classes.decode(altered, 43).max()) < 300
        except RarefyError:
            continue
