"""The header of a file: what it holds, declared as data (FORMAT.md, section 4), and the codecs that have a number."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rarefy.codecs.fields import (
    VARINT_LIMIT,
    Choice,
    Constant,
    Cursor,
    Field,
    Octets,
    SignedByte,
    Varint,
    Word,
    name_bytes,
    read_fields,
    write_fields,
)
from rarefy.codecs.grid import Grid
from rarefy.codecs.sound_layout import groups_of
from rarefy.errors import FormatError, OptionError, TruncatedError, UnsupportedError

SIGNATURE = b"\xf6rfy"
VERSION = 1
QUALITY_STEPS = 256
QUALITY_LIMIT = 100 * QUALITY_STEPS
SMALLEST_TILE = 16
LARGEST_SIDE = (1 << 31) - 1
SPANS_A_SECOND = 300  # the unit of `Header.span`: whole numbers of samples at 44.1, 24 and 48 kHz
# How the samples of the original were coded, by libsndfile's names; lossy and unknown ones are 16 bits to us
SAMPLE_FORMATS = ("PCM_16", "PCM_S8", "PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")

CODEC_NUMBERS: Mapping[str, int] = {"image": 1, "walloc-image": 2, "walloc-audio": 3, "fixture": 127}
_CODEC_NAMES = {number: name for name, number in CODEC_NUMBERS.items()}
_CODEC_NAME_FOLLOWS = 0

MEDIA = ("image", "sound")
_MEDIUM_SHIFT = 6
_FLAGS = 5  # where in a file they are: behind the signature and the version
SECTIONS_FLAG = 1 << 4
METADATA_FLAG = 1 << 5


def begins_like_sound_file(head: bytes) -> bool:
    """Tell whether these first bytes are those of a .rfy file that claims to hold a sound."""
    return len(head) > _FLAGS and head.startswith(SIGNATURE) and head[_FLAGS] >> _MEDIUM_SHIFT == MEDIA.index("sound")


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


_WEIGHTS = Field("weights", Octets(4, 4), bit=2, long=Octets(5, 32), show=bytes.hex)
_QUALITY = Field("quality", Word(QUALITY_LIMIT), show=lambda quality: quality / QUALITY_STEPS)
PICTURE_FIELDS = (
    Field("codec", CodecName()),
    _WEIGHTS,
    Field("width", Varint(1, LARGEST_SIDE)),
    Field("height", Varint(1, LARGEST_SIDE)),
    Field("channels", Constant(3), bit=0, long=Constant(1)),
    Field("has_alpha", Constant(False), bit=1, long=Constant(True)),
    Field("bit_depth", Constant(8)),
    _QUALITY,
    Field("tile", Constant(0), bit=3, long=Varint(SMALLEST_TILE, 65_535)),
)
SOUND_FIELDS = (
    Field("codec", CodecName()),
    _WEIGHTS,
    Field("sample_rate", Varint(1, LARGEST_SIDE)),
    Field("length", Varint(1, VARINT_LIMIT - 1)),
    Field("channels", Constant(2), bit=0, long=Varint(1, 255)),
    Field("sample_format", Constant("PCM_16"), bit=1, long=Choice(SAMPLE_FORMATS)),
    Field("level", SignedByte()),
    _QUALITY,
    Field("span", Constant(0), bit=3, long=Varint(1, 65_535)),
)
FIELDS = {"image": PICTURE_FIELDS, "sound": SOUND_FIELDS}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says before its units.

    codec: name. weights: the first 4 to 32 bytes of the SHA-256 of the weights. medium: "image" or "sound". quality:
    0..25600, in steps of 1/256. channels: of pictures 3 (RGB) or 1 (gray), alpha not counted; of sounds 1 to 255.

    Of pictures: width, height: in pixels. has_alpha: units may have a section "alpha". bit_depth: 8. tile: side of the
    square units in pixels, 16..65535, or 0 where one unit covers the picture.

    Of sounds: sample_rate: in Hz, length: samples per channel, both of the original. sample_format: one of
    SAMPLE_FORMATS. level: see `rarefy.codecs.sound_level`. span: of units, in 300ths of a second, or 0 where one covers
    the sound. A sound of several groups of channels (`rarefy.codecs.sound_layout`) has a unit for each group and span.
    """

    codec: str
    weights: bytes
    medium: str = "image"
    width: int = 0
    height: int = 0
    channels: int = 3
    has_alpha: bool = False
    bit_depth: int = 8
    quality: int
    tile: int = 0
    sample_rate: int = 0
    length: int = 0
    sample_format: str = "PCM_16"
    level: int = 0
    span: int = 0

    @property
    def grid(self) -> Grid:
        """Where the units of a picture lie, in pixels: rows, columns."""
        return Grid((self.height, self.width), self.tile)

    @property
    def span_count(self) -> int:
        """How many spans of time a sound has."""
        return -(-self.length * SPANS_A_SECOND // (self.sample_rate * self.span)) if self.span else 1

    @property
    def unit_count(self) -> int:
        """Number of units of the file."""
        if self.medium == "sound":
            return self.span_count * len(groups_of(self.channels))
        return len(self.grid)

    def show(self) -> dict[str, Any]:
        """Give the fields as people and JSON want them: the hash in hex, the quality from 0 to 100."""
        shown = {field.name: field.show(getattr(self, field.name)) for field in FIELDS[self.medium]}
        return {"codec": shown.pop("codec"), "medium": self.medium, **shown}


def write_header(header: Header, flags: int) -> bytes:
    """Spell signature, version, flags and fields; `flags` are the bits that do not belong to a field."""
    if header.medium not in MEDIA:
        raise OptionError(f"the format cannot hold medium={header.medium!r}")
    field_flags, spelled = write_fields(FIELDS[header.medium], asdict(header))
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
            f"the file has format version {version}, this rarefy reads version {VERSION}: take a release that reads it"
        )
    flags = cursor.number(1, "flags")
    medium = flags >> _MEDIUM_SHIFT
    if medium >= len(MEDIA):
        raise UnsupportedError(
            f"the file uses a feature that this rarefy does not know (flags {flags:#04x}): install a newer one"
        )
    name = MEDIA[medium]
    return Header(medium=name, **read_fields(FIELDS[name], flags, cursor)), flags


def _check_signature(cursor: Cursor) -> None:
    found = bytes(cursor.take(min(len(SIGNATURE), cursor.remaining), "signature"))
    if not SIGNATURE.startswith(found):
        raise FormatError("this is no rarefy file: it does not begin with the signature of one")
    if not found:
        raise TruncatedError("the file is empty (0 bytes)")
    if len(found) < len(SIGNATURE):
        raise TruncatedError("the file ends inside its signature: it is incomplete")
