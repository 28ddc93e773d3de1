"""The header of a file: what it holds, declared as data (FORMAT.md, section 4), and the codecs that have a number."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rarefy.codecs.fields import Constant, Cursor, Field, Octets, Varint, Word, name_bytes, read_fields, write_fields
from rarefy.codecs.grid import Grid
from rarefy.errors import FormatError, OptionError, TruncatedError, UnsupportedError

SIGNATURE = b"\xf6rfy"
VERSION = 1
QUALITY_STEPS = 256
QUALITY_LIMIT = 100 * QUALITY_STEPS
SMALLEST_TILE = 16
LARGEST_SIDE = (1 << 31) - 1

CODEC_NUMBERS: Mapping[str, int] = {"image": 1, "walloc-image": 2, "walloc-audio": 3, "fixture": 127}
_CODEC_NAMES = {number: name for name, number in CODEC_NUMBERS.items()}
_CODEC_NAME_FOLLOWS = 0

MEDIA = ("image",)
_MEDIUM_SHIFT = 6
SECTIONS_FLAG = 1 << 4
METADATA_FLAG = 1 << 5


class CodecName:
    """A codec: one byte if it has a number, else a zero and its name."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str)

    def write(self, value: str) -> bytes:
        number = CODEC_NUMBERS.get(value, _CODEC_NAME_FOLLOWS)
        return bytes([number]) if number != _CODEC_NAME_FOLLOWS else bytes([number]) + name_bytes(value)

    def read(self, cursor: Cursor, what: str) -> str:
        number = cursor.number(1, what)
        if number != _CODEC_NAME_FOLLOWS:
            if number not in _CODEC_NAMES:
                raise UnsupportedError(f"the file was made with codec number {number}: install a newer rarefy")
            return _CODEC_NAMES[number]
        name = cursor.name(what)
        if name in CODEC_NUMBERS:
            raise FormatError(f'the header spells the codec "{name}" out, which has a number: the file is altered')
        return name


FIELDS = (
    Field("codec", CodecName()),
    Field("weights", Octets(4, 4), bit=2, long=Octets(5, 32), show=bytes.hex),
    Field("width", Varint(1, LARGEST_SIDE)),
    Field("height", Varint(1, LARGEST_SIDE)),
    Field("channels", Constant(3), bit=0, long=Constant(1)),
    Field("has_alpha", Constant(False), bit=1, long=Constant(True)),
    Field("bit_depth", Constant(8)),
    Field("quality", Word(QUALITY_LIMIT), show=lambda quality: quality / QUALITY_STEPS),
    Field("tile", Constant(0), bit=3, long=Varint(SMALLEST_TILE, 65_535)),
)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says before its units.

    codec: name. weights: the first 4 to 32 bytes of the SHA-256 of the weights. width, height: in pixels. channels: 3
    (RGB) or 1 (gray), alpha not counted. has_alpha: units may have a section "alpha". bit_depth: 8. quality: 0..25600,
    in steps of 1/256. tile: side of the square units in pixels, 16..65535, or 0 where one unit covers the picture.
    """

    codec: str
    weights: bytes
    medium: str = "image"
    width: int
    height: int
    channels: int = 3
    has_alpha: bool = False
    bit_depth: int = 8
    quality: int
    tile: int = 0

    @property
    def grid(self) -> Grid:
        """Where the units lie, in pixels: rows, columns."""
        return Grid((self.height, self.width), self.tile)

    @property
    def unit_count(self) -> int:
        """Number of units of the file."""
        return len(self.grid)

    def show(self) -> dict[str, Any]:
        """Give the fields as people and JSON want them: the hash in hex, the quality from 0 to 100."""
        shown = {field.name: field.show(getattr(self, field.name)) for field in FIELDS}
        return {"codec": shown.pop("codec"), "medium": self.medium, **shown}


def write_header(header: Header, flags: int) -> bytes:
    """Spell signature, version, flags and fields; `flags` are the bits that do not belong to a field."""
    if header.medium not in MEDIA:
        raise OptionError(f"the format cannot hold medium={header.medium!r}")
    field_flags, spelled = write_fields(FIELDS, asdict(header))
    flags |= field_flags | MEDIA.index(header.medium) << _MEDIUM_SHIFT
    return SIGNATURE + bytes([VERSION, flags]) + spelled


def read_header(cursor: Cursor) -> tuple[Header, int]:
    """Read signature, version, flags and fields; returns the header and the flags.

    Raises FormatError for what is no rarefy file, UnsupportedError for versions, codecs and bits of the future.
    """
    _check_signature(cursor)
    version = cursor.number(1, "version")
    if version != VERSION:
        raise UnsupportedError(
            f"the file has format version {version}, this rarefy reads version {VERSION}: install another"
        )
    flags = cursor.number(1, "flags")
    medium = flags >> _MEDIUM_SHIFT
    if medium >= len(MEDIA):
        raise UnsupportedError(
            f"the file uses a feature that this rarefy does not know (flags {flags:#04x}): install a newer one"
        )
    return Header(medium=MEDIA[medium], **read_fields(FIELDS, flags, cursor)), flags


def _check_signature(cursor: Cursor) -> None:
    found = bytes(cursor.take(min(len(SIGNATURE), cursor.remaining), "signature"))
    if not SIGNATURE.startswith(found):
        raise FormatError("this is no rarefy file: it does not begin with the signature of one")
    if not found:
        raise TruncatedError("the file is empty (0 bytes)")
    if len(found) < len(SIGNATURE):
        raise TruncatedError("the file ends inside its signature: it is incomplete")
