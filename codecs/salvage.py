"""What a damaged file still holds: every unit whose checksum fits, wherever the damage is.

A file that lost its tail keeps the units before the cut. Damage in the middle costs the units that it touches: the
index, where it is whole, says where all others are, counted from the front and, in case bytes are missing or too many,
from the back. Without an index the units' own sizes lead on, and behind a damaged size the next unit is searched for.
Only a fitting checksum makes bytes a unit: it covers header, place and content (FORMAT.md, section 6).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rarefy.codecs.container import Unit, unit_of
from rarefy.codecs.fields import Cursor
from rarefy.codecs.header import Header
from rarefy.codecs.layout import CHECKSUM_BYTES, Head, UnitSpan, index_bytes, is_unit_whole, read_head
from rarefy.codecs.limits import Limits
from rarefy.errors import FormatError, RarefyError

SEARCH_BYTES = 1 << 29  # that checksums may run over in vain while units are searched for: two seconds
_CANDIDATE_BYTES = 1 << 13  # what looking at one position costs beyond its bytes, in bytes of checksum
_NUMBERS = 4  # of units that are searched for behind a damaged one
_INDEX_END = 8  # bytes of checksum and size behind the entries of an index
_LEAST_UNIT = 9  # bytes of the smallest unit there can be


@dataclass(frozen=True)
class DamagedFile:
    """A file of which parts may be missing.

    header, metadata: whole, or `read_damaged` raises. units: the whole ones by number, in order; of all
    `header.unit_count`, those that are not here are lost. reasons: what is wrong, one sentence by the number of
    the first unit that it concerns; empty if no unit is lost.
    """

    header: Header
    units: Mapping[int, Unit]
    reasons: Mapping[int, str]
    metadata: Mapping[str, bytes]

    @property
    def is_whole(self) -> bool:
        """Whether no unit is lost."""
        return not self.reasons


def read_damaged(data: bytes | bytearray | memoryview, limits: Limits | None = None) -> DamagedFile:
    """Read what is whole of a file that may be cut or altered, in memory and time bounded by its bytes.

    Raises RarefyError where the header (with the metadata in it) is not whole, is not of a rarefy file, or exceeds
    `limits`. In a file of one unit nothing proves the header by itself: if its unit is lost, the header may be altered.
    """
    view = memoryview(data).cast("B")
    head = read_head(view, Limits() if limits is None else limits)
    units: dict[int, Unit] = {}
    reasons: dict[int, str] = {}
    for span in _whole_units(view, head):
        try:
            units[span.number] = unit_of(view, head, span)
        except RarefyError as error:  # a feature of the future, or an encoder's mistake, under a checksum that fits
            reasons[span.number] = str(error)
    reasons |= _losses(view, head, sorted({*units, *reasons}))
    metadata = {span.name: bytes(view[span.start : span.stop]) for span in head.metadata}
    return DamagedFile(head.header, units, dict(sorted(reasons.items())), metadata)


def _losses(view: memoryview, head: Head, found: list[int]) -> dict[int, str]:
    """One sentence for each run of units that were not found."""
    count = head.header.unit_count
    ends = [*found, count]
    begins = [0, *(number + 1 for number in found)]
    return {begin: _loss(begin, end, count) for begin, end in zip(begins, ends, strict=True) if begin < end}


def _loss(begin: int, end: int, count: int) -> str:
    if count == 1:
        return "the header or unit 0 is damaged or cut: the file is incomplete or altered"
    units = f"unit {begin} is" if end == begin + 1 else f"units {begin} to {end - 1} are"
    how = "missing or damaged" if end == count else "damaged"
    return f"{units} {how}: the file is incomplete or altered"


def _whole_units(view: memoryview, head: Head) -> list[UnitSpan]:
    """All units whose checksums fit, in order."""
    whole: dict[int, UnitSpan] = {}
    if index := _find_index(view, head):
        start, sizes = index
        whole = {span.number: span for span in _counted_back(view, head, start, sizes)}
        whole |= {span.number: span for span in _counted_on(view, head, sizes)}
    if len(whole) < head.header.unit_count:  # no index, or one that does not know all
        search = _Search(view, head, budget=1 if whole else SEARCH_BYTES)
        whole = {span.number: span for span in search.units()} | whole
    return [whole[number] for number in sorted(whole)]


def _find_index(view: memoryview, head: Head) -> tuple[int, list[int]] | None:
    """Where the index at the end of the file begins, and the sizes that it names; None without a whole one."""
    count = head.header.unit_count
    start = len(view) - int.from_bytes(view[-4:], "little")
    if count == 1 or not head.stop <= start <= len(view) - _INDEX_END:
        return None
    cursor = Cursor(view, start, len(view) - _INDEX_END, "the index", FormatError)
    try:
        sizes = [cursor.varint("entry") for _ in range(count)]
    except FormatError:
        return None
    return (start, sizes) if view[start:] == index_bytes(head.checksum, sizes) else None


def _counted_on(view: memoryview, head: Head, sizes: list[int]) -> Iterator[UnitSpan]:
    """Whole units where the index says they are, from the first one on."""
    position = head.stop
    for number, size in enumerate(sizes):
        yield from _if_whole(view, head, number, position, size)
        position += _length(size)


def _counted_back(view: memoryview, head: Head, stop: int, sizes: list[int]) -> Iterator[UnitSpan]:
    """Whole units where the index says they are, from the last one back."""
    position = stop
    for number in range(len(sizes) - 1, -1, -1):
        position -= _length(sizes[number])
        if position < head.stop:
            return
        yield from _if_whole(view, head, number, position, sizes[number])


def _if_whole(view: memoryview, head: Head, number: int, position: int, size: int) -> Iterator[UnitSpan]:
    span = _span_at(view, number, position)
    if span is not None and span.stop - span.payload == size and is_unit_whole(view, head, span):
        yield span


def _length(size: int) -> int:
    """Bytes of a unit whose payload has `size` of them."""
    return max(1, -(-size.bit_length() // 7)) + CHECKSUM_BYTES + size


class _Search:
    """Looks for whole units, within a budget of bytes to run checksums over in vain."""

    def __init__(self, view: memoryview, head: Head, budget: int) -> None:
        self.view, self.head, self.budget = view, head, budget

    def units(self) -> Iterator[UnitSpan]:
        """Whole units without an index: each one's size leads to the next, and a search where it does not."""
        number, position = 0, self.head.stop
        while span := self.whole_at(number, position) or self.behind(number, position):
            yield span
            number, position = span.number + 1, span.stop

    def whole_at(self, number: int, position: int) -> UnitSpan | None:
        """The unit of this number at this position, if it is whole."""
        return self._whole_of(range(number, number + 1), position)

    def behind(self, number: int, position: int) -> UnitSpan | None:
        """The first whole unit behind a damaged one, where it should be or anywhere, of one of the next numbers."""
        damaged = _span_at(self.view, number, position)
        if damaged is not None and (span := self.whole_at(number + 1, damaged.stop)):
            return span  # its size was not damaged
        numbers = range(number + 1, number + 1 + _NUMBERS)
        for start in range(position + 1, len(self.view) - _LEAST_UNIT + 1):
            if self.budget <= 0:
                break
            if span := self._whole_of(numbers, start):
                return span
        return None

    def _whole_of(self, numbers: range, position: int) -> UnitSpan | None:
        if self.budget <= 0:
            return None
        for number in range(numbers.start, min(numbers.stop, self.head.header.unit_count)):
            span = _span_at(self.view, number, position)
            if span is None:
                break
            if is_unit_whole(self.view, self.head, span):
                return span
            self.budget -= span.stop - span.payload
        self.budget -= _CANDIDATE_BYTES
        return None


def _span_at(view: memoryview, number: int, start: int) -> UnitSpan | None:
    """A unit that begins at `start`, if a size stands there that its bytes allow; its checksum is not looked at."""
    cursor = Cursor(view, start)
    try:
        size = cursor.varint("size")
    except FormatError:
        return None
    payload = cursor.position + CHECKSUM_BYTES
    if size < CHECKSUM_BYTES or payload + size > len(view):
        return None
    return UnitSpan(number, start, payload, payload + size)
