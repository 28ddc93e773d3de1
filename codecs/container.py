"""The file, as docs/FORMAT.md lays it down: `write` and `read` turn a `File` into bytes and back.

`read_units` gets what a cut file still holds, `read_info` looks at the header alone. Needs neither torch nor weights.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rarefy.codecs.fields import Source, varint
from rarefy.codecs.header import CODEC_NUMBERS, METADATA_FLAG, SECTIONS_FLAG, SIGNATURE, VERSION, Header, write_header
from rarefy.codecs.info import Info, read_info
from rarefy.codecs.layout import (
    CHECKSUM_BYTES,
    Head,
    UnitSpan,
    check_end,
    find_units,
    index_bytes,
    look_up_units,
    prove_unit,
    read_head,
    u32,
    unit_checksum,
    unit_sections,
)
from rarefy.codecs.limits import Limits
from rarefy.codecs.sections import ALPHA, LATENTS, METADATA, TAGS, UNIT, write_sections
from rarefy.errors import OptionError

__all__ = [
    "ALPHA",
    "CODEC_NUMBERS",
    "LATENTS",
    "SIGNATURE",
    "TAGS",
    "VERSION",
    "File",
    "Header",
    "Info",
    "Unit",
    "Units",
    "read",
    "read_info",
    "read_units",
    "write",
]


@dataclass(frozen=True)
class Unit:
    """A part of the medium that decodes alone.

    sections: coded bytes by name; codecs with one section call it "latents", which costs no tag. checksum: CRC-32 of
    the decoded symbols, for the codec to compare.
    """

    sections: Mapping[str, bytes]
    checksum: int


@dataclass(frozen=True)
class File:
    """A whole file. units: row by row, `header.unit_count` of them. metadata: "icc", "exif", "xmp", or "tags"."""

    header: Header
    units: Sequence[Unit]
    metadata: Mapping[str, bytes] = field(default_factory=dict)


def write(file: File) -> bytes:
    """Spell a file; equal files give equal bytes.

    Raises OptionError for what the format cannot hold, a wrong number of units included.
    """
    is_sectioned = any(set(unit.sections) != {LATENTS} for unit in file.units)
    head = _write_head(file, is_sectioned)
    if len(file.units) != file.header.unit_count:
        raise OptionError(f"a file with this header has {file.header.unit_count} units, not {len(file.units)}")
    checksum = zlib.crc32(head)
    payloads = [_write_payload(unit, is_sectioned) for unit in file.units]
    units = [_seal(checksum, number, payload) for number, payload in enumerate(payloads)]
    if len(units) == 1:
        return head + units[0]
    return b"".join((head, u32(checksum), *units, index_bytes(checksum, [len(payload) for payload in payloads])))


def _write_head(file: File, is_sectioned: bool) -> bytes:
    flags = SECTIONS_FLAG if is_sectioned else 0
    if not file.metadata:
        return write_header(file.header, flags)
    metadata = write_sections(file.metadata, METADATA)
    return write_header(file.header, flags | METADATA_FLAG) + varint(len(metadata)) + metadata


def _write_payload(unit: Unit, is_sectioned: bool) -> bytes:
    if not 0 <= unit.checksum < 1 << 32:
        raise OptionError(f"the format cannot hold the symbol checksum {unit.checksum}")
    sections = write_sections(unit.sections, UNIT) if is_sectioned else unit.sections[LATENTS]
    return u32(unit.checksum) + sections


def _seal(head_checksum: int, number: int, payload: bytes) -> bytes:
    size = varint(len(payload))
    return size + u32(unit_checksum(head_checksum, number, size, payload)) + payload


def read(data: bytes | bytearray | memoryview, limits: Limits | None = None) -> File:
    """Read a whole file and prove all its checksums but those of the symbols, which need the codec.

    Raises RarefyError and nothing else: FormatError (TruncatedError, ChecksumError) for damaged bytes, UnsupportedError
    for what this version cannot read, LimitError for sizes above `limits`. Parts of unknown meaning that may be skipped
    are left out.
    """
    view, head = _open(data, limits)
    spans = list(find_units(view, head))
    check_end(view, head, spans)
    metadata = {span.name: bytes(view[span.start : span.stop]) for span in head.metadata}
    return File(head.header, tuple(unit_of(view, head, span) for span in spans), metadata)


def read_units(data: bytes | bytearray | memoryview, limits: Limits | None = None) -> Iterator[Unit]:
    """Yield the units of a file that may be cut, in order; raises TruncatedError after the last whole one.

    The header must be whole. Raises what `read` raises.
    """
    view, head = _open(data, limits)
    for span in find_units(view, head):
        yield unit_of(view, head, span)


class Units(Mapping[int, Unit]):
    """The units of a whole file by number, found through its index; each is proved when it is asked for.

    metadata: as in `File`. Raises what `read` raises, for the header and the index at once.
    """

    def __init__(self, data: bytes | bytearray | memoryview, limits: Limits | None = None) -> None:
        self._data, self._head = _open(data, limits)
        self._spans = look_up_units(self._data, self._head)
        self.metadata = {span.name: bytes(self._data[span.start : span.stop]) for span in self._head.metadata}

    def __getitem__(self, number: int) -> Unit:
        """Give a unit; raises ChecksumError and other FormatErrors where it is damaged."""
        if not 0 <= number < len(self._spans):
            raise KeyError(number)
        prove_unit(self._data, self._head, self._spans[number])
        return unit_of(self._data, self._head, self._spans[number])

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self._spans)))

    def __len__(self) -> int:
        return len(self._spans)


def _open(data: bytes | bytearray | memoryview, limits: Limits | None) -> tuple[memoryview, Head]:
    view = memoryview(data).cast("B")
    return view, read_head(view, Limits() if limits is None else limits)


def unit_of(data: Source, head: Head, unit: UnitSpan) -> Unit:
    """Take the sections of a unit that was found and proved."""
    sections = {span.name: bytes(data[span.start : span.stop]) for span in unit_sections(data, head, unit)}
    return Unit(sections, int.from_bytes(data[unit.payload : unit.payload + CHECKSUM_BYTES], "little"))
