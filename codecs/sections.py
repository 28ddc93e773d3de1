"""Sections: named pieces of bytes, tagged and bounded, in metadata and units (FORMAT.md, section 5)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rarefy.codecs.fields import Cursor, name_bytes, varint
from rarefy.errors import FormatError, OptionError, UnsupportedError


@dataclass(frozen=True)
class SectionKind:
    """A registered section. Readers that do not know a critical one must refuse the file."""

    number: int
    name: str
    is_critical: bool


@dataclass(frozen=True)
class Place:
    """Where sections stand: what is registered there, and whether codecs may add sections under names of their own."""

    kinds: Sequence[SectionKind]
    takes_names: bool

    def tag(self, name: str) -> tuple[int, bytes]:
        """Give the number of a section and the bytes of its tag and name."""
        for kind in self.kinds:
            if kind.name == name:
                return kind.number, varint(kind.number << 1 | kind.is_critical)
        if not self.takes_names:
            raise OptionError(
                f"the format has no metadata {name!r}: only {', '.join(kind.name for kind in self.kinds)}"
            )
        return 0, varint(1) + name_bytes(name)


LATENTS = "latents"
ALPHA = "alpha"
TAGS = "tags"
METADATA = Place(
    (
        SectionKind(1, "icc", False),
        SectionKind(2, "exif", False),
        SectionKind(3, "xmp", False),
        SectionKind(4, TAGS, False),
    ),
    takes_names=False,
)
UNIT = Place((SectionKind(1, LATENTS, True), SectionKind(2, ALPHA, True)), takes_names=True)


@dataclass(frozen=True)
class Span:
    """A section that was found: its bytes are `data[start:stop]` of the file."""

    name: str
    start: int
    stop: int


def write_sections(sections: Mapping[str, bytes], place: Place) -> bytes:
    """Spell sections in the order of the format."""
    tags = {name: place.tag(name) for name in sections}
    ordered = sorted(sections, key=lambda name: (tags[name][0], name))
    return b"".join(tags[name][1] + varint(len(sections[name])) + sections[name] for name in ordered)


def find_sections(cursor: Cursor, place: Place) -> Iterator[Span]:
    """Yield the sections that fill the cursor's stretch; unknown ones that are not critical are passed over.

    Raises UnsupportedError for unknown critical sections, FormatError for sections out of order, double or too long.
    """
    previous = (-1, "")
    while cursor.remaining:
        number, name, is_known = _read_tag(cursor, place)
        size = cursor.varint(f'size of section "{name}"')
        start = cursor.skip(size, f'section "{name}"')
        order = (number, name if number == 0 else "")
        if order <= previous:
            raise FormatError(f'section "{name}" of {cursor.place} is out of order or there twice: the file is altered')
        previous = order
        if is_known:
            yield Span(name, start, start + size)


def _read_tag(cursor: Cursor, place: Place) -> tuple[int, str, bool]:
    """Read number and name of a section, and whether this version knows it."""
    tag = cursor.varint("section tag")
    number, is_critical = tag >> 1, bool(tag & 1)
    if number == 0 and place.takes_names:
        return 0, _read_name(cursor, place, is_critical), True
    for kind in place.kinds:
        if kind.number == number:
            if kind.is_critical != is_critical:
                raise FormatError(f'section "{kind.name}" of {cursor.place} has a wrong critical flag: it is altered')
            return number, kind.name, True
    if is_critical:
        raise UnsupportedError(
            f"{cursor.place} has a section of kind {number} that cannot be skipped: install a newer rarefy"
        )
    return number, f"kind {number}", False


def _read_name(cursor: Cursor, place: Place, is_critical: bool) -> str:
    name = cursor.name("section name")
    if not is_critical or any(kind.name == name for kind in place.kinds):
        raise FormatError(f'section "{name}" of {cursor.place} has a wrong tag: the file is altered')
    return name
