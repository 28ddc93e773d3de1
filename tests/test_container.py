"""The file: what is written is what docs/FORMAT.md says, and nothing that is not a whole file passes for one.

`Parts` spells files by hand, from the document and not by the code under test: it is an oracle for the writer, and it
can give damaged parts checksums that fit.
"""

import io
import json
import random
import re
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fuzz.mutation import mutate
from fuzz.sealing import crc, varint

from rarefy.codecs.audio_tags import read_tags, tag_bytes
from rarefy.codecs.container import File, Header, Unit, read, read_info, read_units, write
from rarefy.codecs.limits import Limits
from rarefy.codecs.sound_layout import groups_of
from rarefy.errors import (
    ChecksumError,
    FormatError,
    LimitError,
    OptionError,
    RarefyError,
    TruncatedError,
    UnsupportedError,
)

FORMAT = Path(__file__).resolve().parents[1] / "docs" / "FORMAT.md"

SMALL = File(
    Header(codec="fixture", weights=bytes.fromhex("deadbeef"), width=5, height=3, channels=1, quality=12800),
    (Unit({"latents": bytes(range(5))}, checksum=123456789),),
)
TILED = File(
    Header(codec="mine", weights=bytes.fromhex("0123456789abcdef"), width=300, height=20, quality=25600, tile=256),
    (Unit({"latents": b"\1\2\3", "hint": b"\xaa\xbb"}, checksum=0x01020304), Unit({"latents": b""}, checksum=0)),
    {"xmp": b"<x/>"},
)
PHOTOGRAPH = File(
    Header(codec="image", weights=bytes(4), width=768, height=512, quality=12800),
    (Unit({"latents": bytes(30_000)}, checksum=1),),
)
GRID = File(
    Header(codec="image", weights=bytes(32), width=100, height=70, quality=77, tile=32),
    tuple(Unit({"latents": bytes([number]) * (number % 5)}, checksum=number << 20) for number in range(12)),
    {"icc": b"profile", "exif": b"II*\0", "xmp": bytes(300)},
)
SOUND = File(
    Header(
        medium="sound",
        codec="walloc-audio",
        weights=bytes.fromhex("deadbeef"),
        sample_rate=8000,
        length=1000,
        channels=1,
        sample_format="PCM_24",
        level=-8,
        quality=12800,
    ),
    (Unit({"latents": bytes(range(5))}, checksum=123456789),),
    {"tags": tag_bytes({"title": "Ü"})},
)
SPANS = File(
    Header(
        medium="sound",
        codec="walloc-audio",
        weights=bytes(4),
        sample_rate=44_101,
        length=300_000,
        channels=6,
        quality=77,
        span=1024,
    ),
    tuple(Unit({"latents": bytes([number]) * (number % 5)}, checksum=number << 20) for number in range(2 * 4)),
)
FILES = {"small": SMALL, "tiled": TILED, "photograph": PHOTOGRAPH, "grid": GRID, "sound": SOUND, "spans": SPANS}


@dataclass
class Parts:
    """A file in parts that carry no checksums yet."""

    head: bytes
    sizes: list[bytes]
    payloads: list[bytes]
    index: bytes = b""

    def seal(self) -> bytes:
        """Give the file, with checksums that fit whatever the parts hold."""
        units = [
            size + crc(self.head, number.to_bytes(4, "little"), size, payload) + payload
            for number, (size, payload) in enumerate(zip(self.sizes, self.payloads, strict=True))
        ]
        if len(units) == 1:
            return self.head + units[0]
        whole = (len(self.index) + 8).to_bytes(4, "little")
        checksum = crc(self.head, len(units).to_bytes(4, "little"), self.index, whole)
        return self.head + crc(self.head) + b"".join(units) + self.index + checksum + whole


def parts(head: bytes, *payloads: bytes) -> Parts:
    """Give parts with sizes and an index that fit the payloads."""
    sizes = [varint(len(payload)) for payload in payloads]
    return Parts(head, sizes, list(payloads), b"".join(sizes) if len(sizes) > 1 else b"")


SMALL_HEAD = bytes.fromhex("f6726679 01 01 7f deadbeef 05 03 0032")
SMALL_PARTS = parts(SMALL_HEAD, bytes.fromhex("15cd5b07 0001020304"))
TILED_PARTS = parts(
    bytes.fromhex("f6726679 01 3c 00046d696e65 08 0123456789abcdef ac02 14 0064 8002 06 0604 3c782f3e"),
    bytes.fromhex("04030201 010468696e74 02aabb 0303010203"),
    bytes.fromhex("00000000 0300"),
)


def examples() -> list[bytes]:
    """Give the files of the format's last section: the hex digits at the beginning of each line."""
    blocks = re.findall(r"```hex\n(.*?)```", FORMAT.read_text("utf-8"), re.DOTALL)
    lines = [[re.match(r"(?:[0-9A-F]{2} ?)+(?= |$)", line) for line in block.splitlines()] for block in blocks]
    return [bytes.fromhex("".join(match[0] for match in block if match)) for block in lines]


def test_examples_of_the_format_are_what_the_writer_writes() -> None:
    assert examples() == [write(SMALL), write(TILED), write(SOUND)]
    assert [read(example) for example in examples()] == [SMALL, TILED, SOUND]


def test_writer_agrees_with_files_spelled_by_hand() -> None:
    assert SMALL_PARTS.seal() == write(SMALL)
    assert TILED_PARTS.seal() == write(TILED)


@pytest.mark.parametrize("name", FILES)
def test_round_trip(name: str) -> None:
    file = FILES[name]
    data = write(file)
    assert read(data) == file
    assert read(memoryview(bytearray(data))) == file
    assert list(read_units(data)) == list(file.units)


def test_order_of_sections_does_not_matter() -> None:
    unit = Unit({"zeta": b"1", "latents": b"2", "abc": b"3", "b": b"4"}, 9)
    turned = replace(unit, sections=dict(reversed(unit.sections.items())))
    file = replace(SMALL, units=(unit,), metadata={"xmp": b"a", "icc": b"b"})
    other = replace(SMALL, units=(turned,), metadata={"icc": b"b", "xmp": b"a"})
    assert write(file) == write(other)
    assert list(read(write(file)).units[0].sections) == ["abc", "b", "zeta", "latents"]


@pytest.mark.parametrize(
    ("latents", "overhead"), [(0, 26), (123, 26), (124, 27), (16_379, 27), (16_380, 28), (2**21 - 5, 28)]
)
def test_overhead_of_a_photograph(latents: int, overhead: int) -> None:
    file = replace(PHOTOGRAPH, units=(Unit({"latents": bytes(latents)}, checksum=2**32 - 1),))
    assert len(write(file)) == latents + overhead


@pytest.mark.parametrize("width", [1, 127, 128, 16_383, 16_384, 65_535])
def test_sizes_around_the_steps_of_a_varint(width: int) -> None:
    file = replace(SMALL, header=replace(SMALL.header, width=width))
    assert read(write(file)) == file


@pytest.mark.parametrize("data", [write(SMALL), write(TILED), write(GRID)], ids=["small", "tiled", "grid"])
def test_every_truncation_is_told(data: bytes) -> None:
    for stop in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:stop])
        with pytest.raises(TruncatedError):
            read_info(data[:stop])


@pytest.mark.parametrize("data", [write(SMALL), write(TILED), write(GRID)], ids=["small", "tiled", "grid"])
def test_every_changed_byte_is_told(data: bytes) -> None:
    source = random.Random(1)
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= source.randrange(1, 256)
        with pytest.raises(RarefyError):
            read(altered)


@pytest.mark.parametrize(
    ("data", "head"),
    [(write(SMALL), len(SMALL_HEAD)), (write(TILED), len(TILED_PARTS.head) + 4)],
    ids=["small", "tiled"],
)
def test_every_value_of_every_byte_of_the_header_is_told(data: bytes, head: int) -> None:
    for position in range(head):
        for value in set(range(256)) - {data[position]}:
            with pytest.raises(RarefyError):
                read(data[:position] + bytes([value]) + data[position + 1 :])


def test_a_cut_file_gives_its_whole_units() -> None:
    data = write(GRID)
    last = data.index(GRID.units[9].checksum.to_bytes(4, "little") + b"\x09" * 4)
    units = read_units(data[: last + 7])  # a byte of unit 9 is missing
    found = [next(units) for _ in range(9)]
    assert found == list(GRID.units[:9])
    with pytest.raises(TruncatedError, match="unit 9"):
        next(units)


def test_units_cannot_change_places() -> None:
    file = replace(TILED, units=tuple(Unit({"latents": bytes([number])}, number) for number in range(2)))
    data = write(file)
    first, second = (data.index(bytes([5, *checksum])) for checksum in _unit_checksums(data))
    swapped = data[:first] + data[second : second + 10] + data[first : first + 10] + data[second + 10 :]
    with pytest.raises(ChecksumError, match='section "latents" of unit 0 is damaged'):
        read(swapped)


def _unit_checksums(data: bytes) -> list[bytes]:
    """Compute the checksums of two units with payloads of five bytes: symbol checksum n and the byte n."""
    head = data[: len(TILED_PARTS.head)]
    payloads = [number.to_bytes(4, "little") + bytes([number]) for number in range(2)]
    return [crc(head, number.to_bytes(4, "little"), b"\5", payload) for number, payload in enumerate(payloads)]


def test_messages_name_the_place() -> None:
    grid = bytearray(write(GRID))
    grid[grid.index(b"\x04" * 4)] ^= 1
    with pytest.raises(
        ChecksumError, match=r'^section "latents" of unit 4 is damaged \(checksum\): the file is incomplete or'
    ):
        read(grid)
    small = bytearray(write(SMALL))
    small[-1] ^= 1
    with pytest.raises(ChecksumError, match=r'^the header or section "latents" of unit 0 is damaged'):
        read(small)
    with pytest.raises(FormatError, match="2 bytes follow the end"):
        read(write(SMALL) + b"\0\0")
    with pytest.raises(FormatError, match="no rarefy file"):
        read(b"\x89PNG\r\n\x1a\n")


def head_with(position: int, *values: int) -> Parts:
    """Give the small file with other bytes in its header, checksums fitting."""
    head = SMALL_HEAD[:position] + bytes(values) + SMALL_HEAD[position + len(values) :]
    return replace(SMALL_PARTS, head=head)


def test_reserved_values_are_unsupported() -> None:
    for parts_ in (
        head_with(4, 2),  # version
        head_with(5, 0x81),  # medium
        head_with(5, 0xC1),
        head_with(6, 4),  # codec
        head_with(6, 126),
    ):
        with pytest.raises(UnsupportedError):
            read(parts_.seal())


HEADER_ERRORS = {
    "width 0": SMALL_HEAD[:11] + b"\0" + SMALL_HEAD[12:],
    "width in two bytes": SMALL_HEAD[:11] + b"\x85\0" + SMALL_HEAD[12:],
    "width in six bytes": SMALL_HEAD[:11] + b"\x80\x80\x80\x80\x80\1" + SMALL_HEAD[12:],
    "width above 2^32": SMALL_HEAD[:11] + b"\x80\x80\x80\x80\x10" + SMALL_HEAD[12:],
    "quality 25601": SMALL_HEAD[:13] + b"\1\x64",
    "tile 15": SMALL_HEAD[:5] + b"\x09" + SMALL_HEAD[6:] + b"\x0f",
    "2^32 units": SMALL_HEAD[:5] + b"\x09" + SMALL_HEAD[6:11] + varint(2**20) * 2 + b"\0\0\x10",
    "tile 65536": SMALL_HEAD[:5] + b"\x09" + SMALL_HEAD[6:] + b"\x80\x80\4",
    "long weights of 4 bytes": SMALL_HEAD[:5] + b"\5\x7f\4" + SMALL_HEAD[7:],
    "long weights of 33 bytes": SMALL_HEAD[:5] + b"\5\x7f\x21" + bytes(33) + SMALL_HEAD[11:],
    "name of a numbered codec": SMALL_HEAD[:6] + b"\0\5image" + SMALL_HEAD[7:],
    "name in capitals": SMALL_HEAD[:6] + b"\0\4MINE" + SMALL_HEAD[7:],
    "name of no letters": SMALL_HEAD[:6] + b"\0\0" + SMALL_HEAD[7:],
    "metadata of no bytes": SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:] + b"\0",
    "metadata beyond its place": SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:] + b"\3\2\2a",
    "metadata twice": SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:] + b"\4\2\0\2\0",
    "metadata out of order": SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:] + b"\4\4\0\2\0",
    "critical profile": SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:] + b"\2\3\0",
}


@pytest.mark.parametrize("name", HEADER_ERRORS)
def test_broken_rules_of_the_header_are_format_errors(name: str) -> None:
    data = replace(SMALL_PARTS, head=HEADER_ERRORS[name]).seal()
    with pytest.raises(FormatError) as caught:
        read(data, Limits.none())
    assert not isinstance(caught.value, ChecksumError | TruncatedError)


def tiled_with(payload: bytes) -> bytes:
    """Give the tiled file with another last unit."""
    return parts(TILED_PARTS.head, TILED_PARTS.payloads[0], payload).seal()


SOUND_HEAD = bytes.fromhex("f6726679 01 43 03 deadbeef c03e e807 01 03 f8 0032")
SOUND_HEADER_ERRORS = {
    "two channels in the long form": SOUND_HEAD[:15] + b"\2" + SOUND_HEAD[16:],
    "no channel": SOUND_HEAD[:15] + b"\0" + SOUND_HEAD[16:],
    "256 channels": SOUND_HEAD[:15] + b"\x80\2" + SOUND_HEAD[16:],
    "16 bits in the long form": SOUND_HEAD[:16] + b"\0" + SOUND_HEAD[17:],
    "no samples": SOUND_HEAD[:13] + b"\0" + SOUND_HEAD[15:],
    "no rate": SOUND_HEAD[:11] + b"\0" + SOUND_HEAD[13:],
    "span 0": SOUND_HEAD[:5] + b"\x4b" + SOUND_HEAD[6:] + b"\0",
    "span 65536": SOUND_HEAD[:5] + b"\x4b" + SOUND_HEAD[6:] + b"\x80\x80\4",
}


@pytest.mark.parametrize("name", SOUND_HEADER_ERRORS)
def test_broken_rules_of_the_header_of_a_sound_are_format_errors(name: str) -> None:
    payload = SMALL_PARTS.payloads[0]
    assert read(parts(SOUND_HEAD, payload).seal()).header == SOUND.header
    with pytest.raises(FormatError) as caught:
        read(parts(SOUND_HEADER_ERRORS[name], payload).seal(), Limits.none())
    assert not isinstance(caught.value, ChecksumError | TruncatedError)


def test_a_sample_format_of_the_future_is_unsupported() -> None:
    head = SOUND_HEAD[:16] + b"\7" + SOUND_HEAD[17:]
    with pytest.raises(UnsupportedError, match="sample_format number 7"):
        read(parts(head, SMALL_PARTS.payloads[0]).seal())


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        *((1, [1]), (2, [2]), (3, [2, 1]), (4, [2, 2]), (5, [2, 1, 2]), (6, [2, 1, 1, 2]), (7, [2, 1, 1, 1, 2])),
        *((8, [2, 1, 1, 2, 2]), (9, [2, 2, 2, 2, 1]), (64, [2] * 32)),
    ],
)
def test_channels_are_grouped_as_the_format_says(channels: int, groups: list[int]) -> None:
    found = groups_of(channels)
    assert [group.stop - group.start for group in found] == groups
    assert [channel for group in found for channel in range(channels)[group]] == list(range(channels))


@pytest.mark.parametrize(("length", "spans"), [(1, 1), (150_528, 1), (150_529, 2), (301_056, 2), (301_057, 3)])
def test_number_of_spans_follows_from_length_and_rate(length: int, spans: int) -> None:
    header = replace(SPANS.header, sample_rate=44_100, channels=2, length=length)
    assert header.unit_count == spans
    assert replace(header, channels=6).unit_count == 4 * spans


def test_limits_of_sounds_hold_before_memory_is_taken() -> None:
    data = bytearray(parts(SOUND_HEAD[:15] + b"\x41" + SOUND_HEAD[16:], SMALL_PARTS.payloads[0]).seal())
    with pytest.raises(LimitError, match="65 channels"):
        read(data)
    day = SOUND_HEAD[:13] + varint(8000 * 86_400 + 1) + SOUND_HEAD[15:]
    with pytest.raises(LimitError, match="longer"):
        read(parts(day, SMALL_PARTS.payloads[0]).seal())


WRONG_TAGS = {
    "cut": b"\5title\3ab",
    "capitals": b"\5TITLE\1a",
    "twice": b"\5title\1a\5title\1b",
    "out of order": b"\5title\1a\5album\1b",
    "no UTF-8": b"\5title\1\xff",
}


@pytest.mark.parametrize("name", WRONG_TAGS)
def test_broken_tags_are_format_errors(name: str) -> None:
    with pytest.raises(FormatError):
        read_tags(WRONG_TAGS[name])


def test_tags_come_back_and_unknown_ones_are_passed_over() -> None:
    tags = {"title": "Ü", "artist": "", "comment": "x" * 300}
    assert read_tags(tag_bytes(tags)) == tags
    assert read_tags(b"\4mood\1a" + tag_bytes({"title": "b"})) == {"title": "b"}


UNIT_ERRORS = {
    "no symbol checksum": b"\0\0\0",
    "section beyond its unit": bytes(4) + b"\3\2a",
    "section twice": bytes(4) + b"\3\0\3\0",
    "sections out of order": bytes(4) + b"\3\0" + b"\1\4hint\0",
    "names out of order": bytes(4) + b"\1\1b\0" + b"\1\1a\0",
    "optional latents": bytes(4) + b"\2\0",
    "optional name": bytes(4) + b"\0\4hint\0",
    "latents by name": bytes(4) + b"\1\7latents\0",
    "tag in two bytes": bytes(4) + b"\x83\0\0",
}


@pytest.mark.parametrize("name", UNIT_ERRORS)
def test_broken_rules_of_a_unit_are_format_errors(name: str) -> None:
    with pytest.raises(FormatError, match="unit 1") as caught:
        read(tiled_with(UNIT_ERRORS[name]))
    assert not isinstance(caught.value, ChecksumError | TruncatedError)


def test_a_unit_has_room_for_its_symbol_checksum() -> None:
    with pytest.raises(FormatError, match="unit 0 has 3 bytes"):
        read(parts(SMALL_HEAD, b"abc").seal())
    assert read(parts(SMALL_HEAD, b"abcd").seal()).units[0].sections == {"latents": b""}


def test_a_size_is_below_2_to_the_32() -> None:
    data = replace(SMALL_PARTS, sizes=[b"\x80\x80\x80\x80\x10"]).seal()
    with pytest.raises(FormatError, match="the size of unit 0 is not a canonical varint"):
        read(data)


def test_unknown_sections_are_skipped_unless_critical() -> None:
    assert read(tiled_with(bytes(4) + b"\3\0" + b"\6\2ab")) == TILED
    with pytest.raises(UnsupportedError, match="unit 1"):
        read(tiled_with(bytes(4) + b"\3\0" + b"\7\2ab"))
    head = SMALL_HEAD[:5] + b"\x21" + SMALL_HEAD[6:]
    assert read(replace(SMALL_PARTS, head=head + b"\7\6\1a\x64\2bc").seal()) == replace(SMALL, metadata={"xmp": b"a"})
    with pytest.raises(UnsupportedError, match="metadata"):
        read(replace(SMALL_PARTS, head=head + b"\7\6\1a\x65\2bc").seal())


def test_number_of_units_follows_from_the_sizes() -> None:
    fewer = replace(TILED, units=TILED.units[:1])
    more = replace(TILED, units=(*TILED.units, TILED.units[0]))
    for file in (fewer, more):
        with pytest.raises(OptionError, match="2 units"):
            write(file)
    payloads = TILED_PARTS.payloads
    for wrong in (payloads[:1], [*payloads, payloads[0]]):
        with pytest.raises(FormatError):
            read(parts(TILED_PARTS.head, *wrong).seal())


def test_a_tile_larger_than_the_picture_is_one_unit() -> None:
    file = replace(SMALL, header=replace(SMALL.header, tile=512))
    data = write(file)
    assert read(data) == file
    assert len(data) == len(write(SMALL)) + 2


@pytest.mark.parametrize("entries", [b"\x13\x06", b"\x11\x07", b"\x06\x12", b"\x12\x86\x00"])
def test_an_index_that_does_not_agree_is_told(entries: bytes) -> None:
    plain = TILED_PARTS.head[:5] + b"\x2c" + TILED_PARTS.head[6:]  # without sections, which could be told by themselves
    data = replace(TILED_PARTS, head=plain, index=entries).seal()
    with pytest.raises(FormatError):
        read(data)
    if entries in (b"\x13\x06", b"\x12\x86\x00"):  # the others add up, and units are not looked at for an `Info`
        with pytest.raises(FormatError):
            read_info(data)


@pytest.mark.parametrize(
    "change",
    [
        {"codec": ""},
        {"codec": "Image"},
        {"codec": "x" * 65},
        {"weights": b"abc"},
        {"weights": bytes(33)},
        {"medium": "smell"},
        {"width": 0},
        {"height": -1},
        {"width": 1 << 31},
        {"channels": 4},
        {"bit_depth": 16},
        {"quality": 25601},
        {"quality": -1},
        {"quality": 50.0},
        {"tile": 8},
    ],
    ids=str,
)
def test_writer_refuses_what_the_format_cannot_hold(change: dict[str, object]) -> None:
    header = replace(SMALL.header, **change)  # type: ignore[arg-type]
    with pytest.raises(OptionError):
        write(replace(SMALL, header=header))


def test_writer_refuses_bad_units_and_metadata() -> None:
    for unit in (Unit({"latents": b""}, -1), Unit({"latents": b""}, 1 << 32), Unit({"Bad Name": b""}, 0)):
        with pytest.raises(OptionError):
            write(replace(SMALL, units=(unit,)))
    with pytest.raises(OptionError, match="thumbnail"):
        write(replace(SMALL, metadata={"thumbnail": b""}))


def test_limits_hold_before_memory_is_taken() -> None:
    claims = {
        "side": SMALL_HEAD[:11] + varint(65_536) + b"\1\0\0",
        "pixels": SMALL_HEAD[:11] + varint(65_535) * 2 + b"\0\0",
        "both": SMALL_HEAD[:5] + b"\x09" + SMALL_HEAD[6:11] + varint(2**31 - 1) + varint(128) + b"\0\0\x10",
    }
    tracemalloc.start()
    for head in claims.values():
        with pytest.raises(LimitError, match="Limits"):
            read(replace(SMALL_PARTS, head=head).seal())
        with pytest.raises(LimitError, match="Limits"):
            read_info(replace(SMALL_PARTS, head=head).seal())
    cut = parts(claims["both"], *[bytes(4)] * 3).seal()[: -3 - 8]
    with pytest.raises(TruncatedError, match="unit 3"):  # 2^30 units are announced, and three are there
        read(cut, Limits.none())
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    file = replace(SMALL, header=replace(SMALL.header, width=65_536))
    assert read(write(file), Limits.none()) == file


def test_limit_of_metadata() -> None:
    file = replace(SMALL, metadata={"exif": bytes(100)})
    assert read(write(file), Limits(metadata_bytes=100)) == file
    with pytest.raises(LimitError, match='metadata "exif" has 100 bytes'):
        read(write(file), Limits(metadata_bytes=99))
    with pytest.raises(LimitError, match="unit 0 holds 5 symbols, which is more than the limit of 4: raise it"):
        Limits(symbols=4).check_symbols(5, "unit 0")


def mutated(source: random.Random) -> Parts:
    """Give a file with one or two parts mutated; sizes mostly follow, so that the parsers behind them are reached."""
    original = source.choice((SMALL_PARTS, TILED_PARTS, TILED_PARTS, TILED_PARTS))
    changed = Parts(original.head, list(original.sizes), list(original.payloads), original.index)
    for _ in range(source.randrange(1, 3)):
        number = source.randrange(len(changed.payloads))
        match source.randrange(5):
            case 0:
                changed.head = changed.head[:5] + mutate(source, changed.head[5:])
            case 1 | 2:
                changed.payloads[number] = mutate(source, changed.payloads[number])
                changed.sizes[number] = varint(len(changed.payloads[number]))
                changed.index = b"".join(changed.sizes)
            case 3:
                changed.sizes[number] = mutate(source, changed.sizes[number])
            case 4:
                changed.index = mutate(source, changed.index)
    return changed


def test_mutations_with_fitting_checksums_cost_an_error_or_give_a_file() -> None:
    source = random.Random(20)
    outcomes: dict[type, int] = {}
    tracemalloc.start()
    for _ in range(2000):
        data = mutated(source).seal()
        try:
            file = read(data)
            assert read(write(file)) == file
            assert read_info(data).header == file.header
            outcomes[File] = outcomes.get(File, 0) + 1
        except RarefyError as error:
            outcomes[type(error)] = outcomes.get(type(error), 0) + 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    # Mutations that all fail at the same check would test little.
    assert min(outcomes[kind] for kind in (File, FormatError, TruncatedError, UnsupportedError, LimitError)) >= 20, (
        outcomes
    )


def test_mutations_without_fitting_checksums_never_pass() -> None:
    source = random.Random(21)
    for _ in range(1000):
        data = source.choice((write(SMALL), write(TILED)))
        altered = mutate(source, data)
        if altered != data:
            with pytest.raises(RarefyError):
                read(altered)


def test_info_of_a_path_of_bytes_and_of_a_pipe(tmp_path: Path) -> None:
    data = write(GRID)
    path = tmp_path / "grid.rfy"
    path.write_bytes(data)

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    embedded = io.BytesIO(b"before" + data)
    embedded.seek(6)
    infos = [read_info(source) for source in (path, str(path), data, io.BytesIO(data), embedded, Pipe(data))]
    assert all(info == infos[0] for info in infos)
    assert infos[0].size_bytes == path.stat().st_size
    with pytest.raises(FileNotFoundError):
        read_info(tmp_path / "absent.rfy")


def test_info_says_what_the_file_holds() -> None:
    info = read_info(write(TILED))
    assert (info.codec, info.weights, info.size, info.channels, info.quality) == (
        "mine",
        "0123456789abcdef",
        (300, 20),
        3,
        100.0,
    )
    assert info.bits_per_pixel == len(write(TILED)) * 8 / 6000
    assert json.loads(json.dumps(info.to_dict())) == {
        "format_version": 1,
        "codec": "mine",
        "medium": "image",
        "weights": "0123456789abcdef",
        "width": 300,
        "height": 20,
        "channels": 3,
        "has_alpha": False,
        "bit_depth": 8,
        "quality": 100.0,
        "tile": 256,
        "units": 2,
        "size_bytes": 83,
        "bits_per_pixel": 83 * 8 / 6000,
        "sections": {"hint": 2, "latents": 3},
        "metadata": {"xmp": 4},
    }
    assert read_info(write(GRID)).sections == {"latents": sum(len(unit.sections["latents"]) for unit in GRID.units)}


def test_info_reads_little_of_a_large_file(tmp_path: Path) -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    file = Counting(write(PHOTOGRAPH))
    assert read_info(file).sections == {"latents": 30_000}
    assert file.count < 100
