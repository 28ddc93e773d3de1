"""Files that are damaged anywhere: every unit that the damage did not touch comes back, and nothing else does."""

import random
import tracemalloc
from dataclasses import replace
from time import perf_counter

import pytest
from fuzz.mutation import changed, mutate
from fuzz.sealing import crc, sealed

from rarefy.codecs import salvage
from rarefy.codecs.container import File, Header, Unit, read, write
from rarefy.codecs.limits import Limits
from rarefy.codecs.salvage import read_damaged
from rarefy.errors import ChecksumError, FormatError, LimitError, RarefyError, TruncatedError

COUNT = 12
UNITS = tuple(
    Unit({"latents": random.Random(number).randbytes(20 + 30 * (number % 5))}, number << 20) for number in range(COUNT)
)
HEADER = Header(codec="fixture", weights=bytes(4), width=100, height=70, quality=77, tile=32)
GRID = write(File(HEADER, UNITS, {"xmp": b"<x/>"}))
ONE = write(File(replace(HEADER, tile=0), UNITS[:1]))
STARTS = [GRID.index(unit.checksum.to_bytes(4, "little") + unit.sections["latents"]) - 5 for unit in UNITS]
STARTS = [start - (len(unit.sections["latents"]) + 4 >= 128) for start, unit in zip(STARTS, UNITS, strict=True)]
INDEX = len(GRID) - int.from_bytes(GRID[-4:], "little")
BOUNDS = [*STARTS, INDEX]


def untouched(first: int, stop: int) -> set[int]:
    """The units of which no byte lies in a stretch of the file."""
    return {number for number in range(COUNT) if BOUNDS[number + 1] <= first or stop <= BOUNDS[number]}


def check(data: bytes, kept: set[int]) -> None:
    """All units that must be there are, those that are there are right, and each other one has a reason."""
    damaged = read_damaged(data)
    assert damaged.header == HEADER and damaged.metadata == {"xmp": b"<x/>"}
    assert kept <= set(damaged.units)
    assert all(unit == UNITS[number] for number, unit in damaged.units.items())
    assert list(damaged.units) == sorted(damaged.units)
    lost = [number for number in range(COUNT) if number not in damaged.units]
    assert set(damaged.reasons) == {number for number in lost if number - 1 not in lost}
    assert damaged.is_whole == (not lost)


def test_the_positions_that_these_tests_rely_on() -> None:
    assert [GRID[start] & 0x7F for start in STARTS[:2]] == [24, 54]
    assert read(GRID).units == UNITS


def test_a_whole_file_has_all() -> None:
    check(GRID, set(range(COUNT)))
    one = read_damaged(ONE)
    assert one.is_whole and one.units == {0: UNITS[0]}


@pytest.mark.parametrize("size", [1, 7, 64])
def test_altered_bytes_cost_the_units_that_they_are_in(size: int) -> None:
    source = random.Random(size)
    for first in range(STARTS[0], len(GRID) - size, 2):
        altered = bytes(byte ^ source.randrange(1, 256) for byte in GRID[first : first + size])
        check(GRID[:first] + altered + GRID[first + size :], untouched(first, first + size))


def test_cut_files_keep_what_stands_before_the_cut() -> None:
    for stop in range(STARTS[0], len(GRID)):
        check(GRID[:stop], untouched(stop, len(GRID)))


@pytest.mark.parametrize("size", [1, 40, 200])
def test_lost_bytes_cost_the_units_that_they_were_in(size: int) -> None:
    for first in range(STARTS[0], INDEX - size, 3):
        check(GRID[:first] + GRID[first + size :], untouched(first, first + size))


def test_bytes_too_many_cost_the_unit_that_they_are_in() -> None:
    for first in range(STARTS[0], INDEX, 3):
        check(GRID[:first] + bytes(50) + GRID[first:], untouched(first, first + 1))


def test_units_are_found_without_an_index() -> None:
    """Damage in one place and the tail gone: the next units are known by nothing but their checksums."""
    source = random.Random(2)
    stop = BOUNDS[10] + 5
    for first in range(STARTS[0], BOUNDS[9], 5):
        altered = bytes(byte ^ source.randrange(1, 256) for byte in GRID[first : first + 9])
        check(GRID[:first] + altered + GRID[first + 9 : stop], untouched(first, first + 9) - {10, 11})
        check(GRID[:first] + GRID[first + 9 : stop], untouched(first, first + 9) - {10, 11})


def test_a_search_ends_when_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = changed(GRID, STARTS[3], 0)[: BOUNDS[10] + 5]  # the size of unit 3 is gone, and the index with it
    distance = STARTS[4] - STARTS[3]
    for positions, found in ((distance - 2, [0, 1, 2]), (2 * distance + 2, [0, 1, 2, 4, 5, 6, 7, 8, 9])):
        monkeypatch.setattr(salvage, "SEARCH_BYTES", positions * salvage._CANDIDATE_BYTES)
        assert list(read_damaged(cut).units) == found


def test_bytes_that_look_like_units_are_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every position names a unit as large as the rest of the file: each costs its bytes, until they are spent."""
    monkeypatch.setattr(salvage, "SEARCH_BYTES", 1 << 22)
    read = 0
    is_whole = salvage.is_unit_whole

    def counted(view: memoryview, head: salvage.Head, span: salvage.UnitSpan) -> bool:
        nonlocal read
        read += span.stop - span.payload
        return is_whole(view, head, span)

    monkeypatch.setattr(salvage, "is_unit_whole", counted)
    hostile = GRID[: STARTS[0]] + bytes([0x90, 0x90, 0x05]) * 50_000
    damaged = read_damaged(hostile)
    assert not damaged.units and 1 << 20 < read < (1 << 22) + 5 * len(hostile)


def test_an_index_that_lies_hides_nothing() -> None:
    data = write(File(replace(HEADER, width=64, height=32), UNITS[:2]))
    entries = len(data) - 10
    lying = sealed(changed(data, entries, data[entries] + 1))
    with pytest.raises(FormatError, match="index"):
        read(lying)
    assert list(read_damaged(lying).units.values()) == list(UNITS[:2])


def test_reasons_name_the_units() -> None:
    altered = changed(changed(GRID, STARTS[3] + 20, 0), STARTS[4] + 20, 0)
    reasons = dict(read_damaged(changed(altered, STARTS[8] + 20, 0)).reasons)
    assert list(reasons) == [3, 8]
    assert reasons[3].startswith("units 3 to 4 are damaged") and reasons[8].startswith("unit 8 is damaged")
    cut = dict(read_damaged(GRID[: STARTS[9] + 3]).reasons)
    assert list(cut) == [9] and cut[9].startswith("units 9 to 11 are missing or damaged")
    assert "header or unit 0" in read_damaged(ONE[:-1]).reasons[0]


def test_units_of_the_future_are_told_and_cost_themselves() -> None:
    header = replace(HEADER, width=64, height=32)
    data = write(File(header, [Unit({"latents": b"a", "more": b"b"}, 1), Unit({"latents": b"c"}, 2)]))
    future = sealed(data.replace(b"\1\4more\1b", b"\x7f\6b more"))
    damaged = read_damaged(future)
    assert list(damaged.units) == [1] and "newer rarefy" in damaged.reasons[0]


def test_a_header_that_is_not_whole_is_an_error() -> None:
    with pytest.raises(ChecksumError, match="header"):
        read_damaged(changed(GRID, 20, GRID[20] ^ 1))
    for stop in range(STARTS[0]):
        with pytest.raises(TruncatedError):
            read_damaged(GRID[:stop])
    with pytest.raises(LimitError):
        read_damaged(GRID, Limits(pixels=100))
    with pytest.raises(FormatError, match="no rarefy file"):
        read_damaged(b"\x89PNG\r\n\x1a\n")


def test_mutations_give_no_unit_that_was_not_written() -> None:
    source = random.Random(3)
    kept = 0
    for _ in range(1000):
        try:
            damaged = read_damaged(mutate(source, GRID))
        except RarefyError:
            continue
        assert all(unit == UNITS[number] for number, unit in damaged.units.items())
        kept += len(damaged.units)
    assert kept > 1000 * COUNT * 0.7  # three places are altered at most, and the header is small


def claims(rest: bytes) -> bytes:
    """A header that announces 2^40 pixels in 2^24 units, with its checksum, and what follows."""
    head = bytes.fromhex("f6726679 01 08 7f 00000000") + b"\x80\x80\x40" * 2 + b"\x4d\0" + b"\x80\2"
    return head + crc(head) + rest


CHAINS = {
    "nothing": b"",
    "no sizes": b"\xff" * 40,
    "short sizes": b"\4" * 200_000,
    "long sizes": b"\x80\x80\4" * 60_000,
}


@pytest.mark.parametrize("rest", CHAINS)
def test_claims_and_chains_cost_little(rest: str) -> None:
    """Announced units take no memory, and sizes that overlap do not multiply the work."""
    begin = perf_counter()
    damaged = read_damaged(claims(CHAINS[rest]), Limits.none())
    assert perf_counter() - begin < 15  # two seconds where nothing else runs
    assert damaged.units == {} and len(damaged.reasons) == 1


def test_announced_units_take_no_memory() -> None:
    tracemalloc.start()
    assert len(read_damaged(claims(bytes(40)), Limits.none()).reasons) == 1
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
