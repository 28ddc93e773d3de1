"""Where the parts of a file are: header, units, index (FORMAT.md, sections 3, 6 and 7), with their checksums.

Nothing here copies what it finds: parts are given as positions, so that a file on disk is looked through in few reads.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from rarefy.codecs.fields import VARINT_LIMIT, Cursor, Source, varint
from rarefy.codecs.header import METADATA_FLAG, SECTIONS_FLAG, Header, read_header
from rarefy.codecs.limits import Limits
from rarefy.codecs.sections import LATENTS, METADATA, UNIT, Span, find_sections
from rarefy.errors import ChecksumError, FormatError, OptionError, TruncatedError

CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class Head:
    """A header that was read: `checksum` is its CRC-32, the first unit begins at `stop`."""

    header: Header
    is_sectioned: bool
    metadata: tuple[Span, ...]
    checksum: int
    stop: int


@dataclass(frozen=True, slots=True)
class UnitSpan:
    """A unit that was found: from `start` on its size and checksum, from `payload` to `stop` what they protect."""

    number: int
    start: int
    payload: int
    stop: int


def u32(value: int) -> bytes:
    """Spell a number in four bytes."""
    return value.to_bytes(4, "little")


def unit_checksum(head_checksum: int, number: int, size: bytes, payload: "bytes | memoryview") -> int:
    """Compute the CRC-32 over header, number, spelled size and payload of a unit."""
    return zlib.crc32(payload, zlib.crc32(size, zlib.crc32(u32(number), head_checksum)))


def index_bytes(head_checksum: int, sizes: list[int]) -> bytes:
    """Spell the index of a file whose units have payloads of these sizes."""
    entries = b"".join(map(varint, sizes))
    whole = u32(len(entries) + CHECKSUM_BYTES + 4)
    checksum = zlib.crc32(entries + whole, zlib.crc32(u32(len(sizes)), head_checksum))
    return entries + u32(checksum) + whole


def read_head(data: Source, limits: Limits) -> Head:
    """Read all that stands before the units; check it against the limits, and its checksum if it has its own."""
    if not isinstance(limits, Limits):
        raise OptionError(f"limits are of the type Limits, not {type(limits).__name__}")
    cursor = Cursor(data)
    header, flags = read_header(cursor)
    if header.medium == "sound":
        limits.check_sound(header.sample_rate, header.channels, header.length)
    else:
        limits.check_picture(header.width, header.height)
        limits.check_units(header.unit_count)
    if header.unit_count >= VARINT_LIMIT:
        raise FormatError(f"the header announces {header.unit_count} units, which the format does not allow")
    metadata = tuple(_find_metadata(cursor, limits)) if flags & METADATA_FLAG else ()
    checksum = zlib.crc32(data[0 : cursor.position])
    if header.unit_count > 1 and cursor.number(CHECKSUM_BYTES, "checksum") != checksum:
        raise ChecksumError("the header is damaged (checksum): the file is incomplete or altered")
    return Head(header, bool(flags & SECTIONS_FLAG), metadata, checksum, cursor.position)


def _find_metadata(cursor: Cursor, limits: Limits) -> Iterator[Span]:
    size = cursor.varint("metadata size")
    if size == 0:
        raise FormatError("the header announces metadata of no bytes: the file is altered")
    start = cursor.skip(size, "metadata")
    for span in find_sections(Cursor(cursor.data, start, start + size, "the metadata", FormatError), METADATA):
        limits.check_metadata(span.stop - span.start, span.name)
        yield span


def find_units(data: Source, head: Head) -> Iterator[UnitSpan]:
    """Yield the units in order, each whole and its checksum proved; raises TruncatedError where the file is cut."""
    cursor = Cursor(data, head.stop)
    for number in range(head.header.unit_count):
        span, _ = _next_unit(cursor, number)
        prove_unit(data, head, span)
        yield span


def is_unit_whole(data: Source, head: Head, span: UnitSpan) -> bool:
    """Tell whether the bytes of a unit are those that were written."""
    size = bytes(data[span.start : span.payload - CHECKSUM_BYTES])
    checksum = int.from_bytes(data[span.payload - CHECKSUM_BYTES : span.payload], "little")
    return unit_checksum(head.checksum, span.number, size, data[span.payload : span.stop]) == checksum


def prove_unit(data: Source, head: Head, span: UnitSpan) -> None:
    """Raise ChecksumError if the bytes of a unit are not those that were written."""
    if not is_unit_whole(data, head, span):
        raise ChecksumError(f"{_covered(head, span.number)} is damaged (checksum): the file is incomplete or altered")


def _next_unit(cursor: Cursor, number: int) -> tuple[UnitSpan, int]:
    """Pass over a unit; gives its checksum too, unproved."""
    cursor.place = f"unit {number}"
    start = cursor.position
    size = cursor.varint("size")
    if size < CHECKSUM_BYTES:
        raise FormatError(f"unit {number} has {size} bytes, too few for its symbol checksum: the file is altered")
    checksum = cursor.number(CHECKSUM_BYTES, "checksum")
    payload = cursor.skip(size, "payload")
    return UnitSpan(number, start, payload, cursor.position), checksum


def _covered(head: Head, number: int) -> str:
    """Say what the checksum of a unit covers."""
    unit = f"unit {number}" if head.is_sectioned else f'section "{LATENTS}" of unit {number}'
    return unit if head.header.unit_count > 1 else f"the header or {unit}"


def check_end(data: Source, head: Head, units: list[UnitSpan]) -> None:
    """Check what stands after the units: an index that agrees with them, or nothing if there is one unit."""
    stop = units[-1].stop
    if len(units) == 1:
        _refuse_rest(data, stop)
    elif _read_index(data, head, stop) != units:
        raise FormatError("the index of the file does not agree with its units: the file is altered")


def look_up_units(data: Source, head: Head) -> list[UnitSpan]:
    """Find all units without a look at them: from the index, or from the size of the only one."""
    if head.header.unit_count == 1:
        span, _ = _next_unit(Cursor(data, head.stop), 0)
        _refuse_rest(data, span.stop)
        return [span]
    if len(data) - head.stop < 4:
        raise TruncatedError("the file ends before its index: it is incomplete")
    start = len(data) - int.from_bytes(data[len(data) - 4 : len(data)], "little")
    if start < head.stop:
        raise TruncatedError("the file does not end with its index: it is incomplete or altered")
    units = _read_index(data, head, start)
    if units[-1].stop != start:
        raise FormatError("the index of the file does not agree with its units: the file is altered")
    return units


def _read_index(data: Source, head: Head, start: int) -> list[UnitSpan]:
    """Read the index that begins at `start`."""
    cursor = Cursor(data, start, place="the index")
    sizes = [cursor.varint("entry") for _ in range(head.header.unit_count)]
    spelled = bytes(cursor.take(CHECKSUM_BYTES + 4, "checksum"))
    if bytes(data[start : cursor.position]) != index_bytes(head.checksum, sizes):
        raise ChecksumError(f"the index is damaged (checksum {spelled.hex()}): the file is incomplete or altered")
    _refuse_rest(data, cursor.position)
    return _spans(head.stop, sizes)


def _spans(start: int, sizes: list[int]) -> list[UnitSpan]:
    spans = []
    for number, size in enumerate(sizes):
        payload = start + len(varint(size)) + CHECKSUM_BYTES
        spans.append(UnitSpan(number, start, payload, payload + size))
        start = payload + size
    return spans


def _refuse_rest(data: Source, stop: int) -> None:
    if stop != len(data):
        raise FormatError(f"{len(data) - stop} bytes follow the end of the file: it is altered")


def unit_sections(data: Source, head: Head, unit: UnitSpan) -> Iterator[Span]:
    """Yield the sections of a unit."""
    start = unit.payload + CHECKSUM_BYTES
    if head.is_sectioned:
        return find_sections(Cursor(data, start, unit.stop, f"unit {unit.number}", FormatError), UNIT)
    return iter((Span(LATENTS, start, unit.stop),))
