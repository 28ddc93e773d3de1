"""Give altered files checksums that fit again, so that what lies behind the checksums is reached.

Written after docs/FORMAT.md, sections 3, 6 and 7; the header is read by the reader under test, which stands anything.
"""

import zlib

from rarefy.codecs.fields import Cursor
from rarefy.codecs.header import METADATA_FLAG, read_header
from rarefy.errors import FormatError, RarefyError

MOST_UNITS = 4096


def crc(*parts: bytes) -> bytes:
    """The CRC-32 of the parts together, as the file has it."""
    return zlib.crc32(b"".join(parts)).to_bytes(4, "little")


def varint(value: int) -> bytes:
    """Spell a varint as section 2 of the format says."""
    spelled = b""
    while value > 127:
        spelled += bytes([value % 128 + 128])
        value //= 128
    return spelled + bytes([value])


def sealed(data: bytes) -> bytes:
    """The same bytes with all checksums set that can be found; as they are where the header cannot be read."""
    try:
        head, count = _head(data)
    except RarefyError:
        return data
    if count == 1:
        return head + b"".join(_units(head, 1, Cursor(data, len(head))))
    cursor = Cursor(data, min(len(head) + 4, len(data)))
    return b"".join((head, crc(head), *_units(head, count, cursor)))


def _head(data: bytes) -> tuple[bytes, int]:
    """Header with metadata, and the number of units that it announces."""
    cursor = Cursor(data)
    header, flags = read_header(cursor)
    if flags & METADATA_FLAG:
        cursor.skip(cursor.varint("metadata size"), "metadata")
    return data[: cursor.position], header.unit_count


def _units(head: bytes, count: int, cursor: Cursor) -> list[bytes]:
    """Sealed units, then what stands behind them: sealed too if it is the index."""
    data, parts = bytes(cursor.data[:]), []
    for number in range(min(count, MOST_UNITS)):
        start = cursor.position
        try:
            length = cursor.varint("size")
            size = data[start : cursor.position]
            cursor.skip(4, "checksum")
            payload = bytes(cursor.take(length, "payload"))
        except FormatError:
            return [*parts, data[start:]]
        parts += [size, crc(head, number.to_bytes(4, "little"), size, payload), payload]
    rest = data[cursor.position :]
    if count == 1 or len(rest) < 8:
        return [*parts, rest]
    entries, whole = rest[:-8], rest[-4:]
    return [*parts, entries, crc(head, count.to_bytes(4, "little"), entries, whole), whole]
