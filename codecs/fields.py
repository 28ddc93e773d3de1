"""Fields of a header, declared as data: one declaration serves the writer, the reader and `rarefy info`.

A `Form` is a way to spell a value in bytes. A `Field` gives a name to a value, its form, and, where a bit of the flags
says so, a second form. The idea of declared fields is from Cool-Chic's bitstream headers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rarefy.errors import FormatError, OptionError, TruncatedError, UnsupportedError

VARINT_LIMIT = 1 << 32
NAME_BYTES = 64
_NAME_ALPHABET = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789-_.")


class Source(Protocol):
    """Bytes that are read in slices: a memoryview, or a file that is read on demand."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> "bytes | memoryview": ...


class Cursor:
    """Reads a stretch of bytes in order, never beyond its end.

    place: what the stretch is, for messages. error: raised at its end; TruncatedError where the file ends there.
    """

    def __init__(
        self,
        data: Source,
        start: int = 0,
        stop: int | None = None,
        place: str = "the header",
        error: type[FormatError] = TruncatedError,
    ) -> None:
        self.data = data
        self.position = start
        self.stop = len(data) if stop is None else stop
        self.place = place
        self.error = error

    @property
    def remaining(self) -> int:
        """Bytes that are left."""
        return self.stop - self.position

    def skip(self, count: int, what: str) -> int:
        """Pass over `count` bytes and return where they start; raises when they are not there."""
        if count > self.remaining:
            end = "the file ends" if issubclass(self.error, TruncatedError) else "the bytes end"
            raise self.error(
                f"{end} inside the {what} of {self.place} ({count} bytes wanted, {self.remaining} left): "
                "the file is incomplete or altered"
            )
        start = self.position
        self.position += count
        return start

    def take(self, count: int, what: str) -> "bytes | memoryview":
        """Read `count` bytes."""
        start = self.skip(count, what)
        return self.data[start : start + count]

    def number(self, size: int, what: str) -> int:
        """Read a little-endian number of `size` bytes."""
        return int.from_bytes(self.take(size, what), "little")

    def varint(self, what: str) -> int:
        """Read a varint: below 2^32, in as few bytes as it can be spelled in."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.number(1, what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >= VARINT_LIMIT or (byte == 0 and shift > 0):
                    break
                return value
        raise FormatError(f"the {what} of {self.place} is not a canonical varint below 2^32: the file is altered")

    def name(self, what: str) -> str:
        """Read a name: its length, then small letters, digits, `-`, `_`, `.`."""
        raw = bytes(self.take(self.number(1, what), what))
        if not is_name(raw):
            raise FormatError(f"the {what} of {self.place} is no valid name: {raw[:NAME_BYTES]!r}")
        return raw.decode("ascii")


def varint(value: int) -> bytes:
    """Spell a number from 0 to 2^32 - 1 as a varint of 1 to 5 bytes."""
    if not 0 <= value < VARINT_LIMIT:
        raise OptionError(f"{value} is outside the range of the format, 0 to 2^32 - 1")
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def name_bytes(name: str) -> bytes:
    """Spell a name: one byte of length, then its characters."""
    raw = name.encode("utf-8")
    if not is_name(raw):
        raise OptionError(f"{name!r} is no valid name: 1 to {NAME_BYTES} of a-z, 0-9, '-', '_' and '.'")
    return bytes([len(raw)]) + raw


def is_name(raw: bytes) -> bool:
    """Tell whether the bytes are a name of the format."""
    return 1 <= len(raw) <= NAME_BYTES and _NAME_ALPHABET.issuperset(raw)


class Form(Protocol):
    """One way to spell a value in bytes."""

    def accepts(self, value: Any) -> bool:
        """Tell whether this form can spell the value."""
        ...

    def write(self, value: Any) -> bytes:
        """Spell a value that the form accepts."""
        ...

    def read(self, cursor: Cursor, what: str) -> Any:
        """Read a value; whether the form accepts it is checked by the caller."""
        ...


@dataclass(frozen=True)
class Constant:
    """One value, in no bytes: a bit of the flags says all."""

    value: Any

    def accepts(self, value: Any) -> bool:
        return bool(value == self.value)

    def write(self, value: Any) -> bytes:
        return b""

    def read(self, cursor: Cursor, what: str) -> Any:
        return self.value


@dataclass(frozen=True)
class Varint:
    """A number from `low` to `high` as a varint."""

    low: int
    high: int

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high

    def write(self, value: Any) -> bytes:
        return varint(value)

    def read(self, cursor: Cursor, what: str) -> int:
        return cursor.varint(what)


@dataclass(frozen=True)
class Word:
    """A number from 0 to `high` in two bytes."""

    high: int

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and 0 <= value <= self.high

    def write(self, value: Any) -> bytes:
        return int(value).to_bytes(2, "little")

    def read(self, cursor: Cursor, what: str) -> int:
        return cursor.number(2, what)


@dataclass(frozen=True)
class SignedByte:
    """A number from -128 to 127 in one byte, in two's complement."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, int) and -128 <= value <= 127

    def write(self, value: Any) -> bytes:
        return int(value).to_bytes(1, "little", signed=True)

    def read(self, cursor: Cursor, what: str) -> int:
        return int.from_bytes(cursor.take(1, what), "little", signed=True)


@dataclass(frozen=True)
class Choice:
    """One of a few words, as its number in one byte; numbers beyond are of the future."""

    words: Sequence[str]

    def accepts(self, value: Any) -> bool:
        return value in self.words

    def write(self, value: Any) -> bytes:
        return bytes([self.words.index(value)])

    def read(self, cursor: Cursor, what: str) -> str:
        number = cursor.number(1, what)
        if number >= len(self.words):
            raise UnsupportedError(f"the header has the {what} number {number}: install a newer rarefy")
        return self.words[number]


@dataclass(frozen=True)
class Octets:
    """Bytes, `low` to `high` of them; their number stands before them where it is not fixed."""

    low: int
    high: int

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bytes) and self.low <= len(value) <= self.high

    def write(self, value: Any) -> bytes:
        return value if self.low == self.high else bytes([len(value)]) + bytes(value)

    def read(self, cursor: Cursor, what: str) -> bytes:
        count = self.low if self.low == self.high else cursor.number(1, what)
        return bytes(cursor.take(count, what))


@dataclass(frozen=True)
class Field:
    """A named value of the header.

    form: its spelling. bit, long: the bit of the flags that is set where the value is spelled in the form `long`.
    show: makes it fit for people and JSON.
    """

    name: str
    form: Form
    bit: int | None = None
    long: Form | None = None
    show: Callable[[Any], Any] = lambda value: value


def write_fields(fields: Sequence[Field], values: Mapping[str, Any]) -> tuple[int, bytes]:
    """Spell all fields; returns the bits of the flags that they set, and the bytes."""
    flags = 0
    parts = []
    for field in fields:
        value = values[field.name]
        form = field.form
        if field.long is not None and field.bit is not None and not form.accepts(value):
            form = field.long
            flags |= 1 << field.bit
        if not form.accepts(value):
            raise OptionError(f"the format cannot hold {field.name}={value!r}")
        parts.append(form.write(value))
    return flags, b"".join(parts)


def read_fields(fields: Sequence[Field], flags: int, cursor: Cursor) -> dict[str, Any]:
    """Read all fields, in the forms that the flags say; raises FormatError for a value out of its range."""
    values: dict[str, Any] = {}
    for field in fields:
        is_long = field.long is not None and field.bit is not None and bool(flags >> field.bit & 1)
        form = field.long if is_long and field.long is not None else field.form
        value = form.read(cursor, field.name)
        if not form.accepts(value) or (is_long and field.form.accepts(value)):  # one spelling for each value
            raise FormatError(f"the header says {field.name}={value!r}, which the format does not allow")
        values[field.name] = value
    return values
