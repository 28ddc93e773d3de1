"""The coded stream in plain Python: it defines the format (docs/CODER.md) and is the oracle of the compiled coder.

Interleaved rANS after Duda (arXiv 1311.2540) and Giesen (arXiv 1402.3392): 32-bit states, 16-bit words, one state a
lane, coded symbol i in lane i mod N. Slow, but it decodes every file where no extension was built.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy.tables import ESCAPE_ORDER, SYMBOL_MAX, SYMBOL_MIN, Tables
from rarefy.errors import ChecksumError, FormatError, OptionError, RarefyError, TruncatedError

STATE_LOW = 1 << 16  # a state lies in [STATE_LOW, 2**32) between symbols; encoding starts and decoding ends with it
WORD_BITS = 16
LANES = (1, 2, 4, 8, 16, 32)
LONGEST_PREFIX = 17 - ESCAPE_ORDER  # the farthest distance, 2 * 65535 + 1 with its side, needs no more zeros

TRUNCATED, LANES_RESERVED, STATE_RANGE, ESCAPE_RANGE, WORDS_LEFT = 1, 2, 3, 4, 5
STATE_END, ROW_RANGE, CERTAIN_SYMBOL, TOO_MANY_SYMBOLS = 6, 7, 8, 9

# Keep in step with Status in kernels/rans.h.
FAULTS: dict[int, tuple[type[RarefyError], str]] = {
    TRUNCATED: (TruncatedError, "the coded stream ends before its symbols do"),
    LANES_RESERVED: (FormatError, "the coded stream does not start with a number of lanes"),
    STATE_RANGE: (FormatError, "a lane of the coded stream starts out of range"),
    ESCAPE_RANGE: (FormatError, "the coded stream holds a symbol beyond 16 bits"),
    WORDS_LEFT: (FormatError, "the coded stream goes on after its last symbol"),
    STATE_END: (ChecksumError, "the coded stream does not end as it was begun: it was altered, or decoded wrongly"),
    ROW_RANGE: (OptionError, "a row index is beyond the tables"),
    CERTAIN_SYMBOL: (OptionError, "a symbol differs from the only one that its certain row allows"),
    TOO_MANY_SYMBOLS: (TruncatedError, "the coded stream is too short for so many symbols"),
}


def fault(code: int) -> RarefyError:
    """Give the exception of a fault, of this coder or of the compiled one."""
    kind, message = FAULTS[code]
    return kind(message)


class Piece(NamedTuple):
    """A slice of a state's range: `frequency` slots of 2**bits from `start` on."""

    start: int
    frequency: int
    bits: int


Part = tuple[NDArray[np.int16], NDArray[np.uint16], Tables]


def encode(symbols: NDArray[np.int16], rows: NDArray[np.uint16], tables: Tables, lanes: int) -> bytes:
    """Encode symbols, each under its row, into one stream; `rarefy.entropy.coder.encode` checks the types first."""
    return encode_parts([(symbols, rows, tables)], lanes)


def encode_parts(parts: Sequence[Part], lanes: int) -> bytes:
    """Encode parts, symbols and rows with tables of their own each, into one stream."""
    coded = [pieces for symbols, rows, tables in parts for pieces in _message(symbols, rows, tables)]
    states = [STATE_LOW] * lanes
    words: list[int] = []
    for number in range(len(coded) - 1, -1, -1):
        lane = number % lanes
        for piece in reversed(coded[number]):
            states[lane] = put(states[lane], piece, words)
    header = bytes([LANES.index(lanes)]) + np.array(states, "<u4").tobytes()
    return header + np.array(words[::-1], "<u2").tobytes()


def _message(symbols: NDArray[np.int16], rows: NDArray[np.uint16], tables: Tables) -> list[list[Piece]]:
    """Give the pieces of each coded symbol of a part."""
    positions = _coded_positions(symbols, rows, tables)
    return [list(_pieces(int(symbols[position]), int(rows[position]), tables)) for position in positions]


def expected_bits(part: Part) -> int:
    """Sum up what a part's symbols are expected to take, in 1/256 bit."""
    _, rows, tables = part
    _check_rows(rows, tables)
    return int(tables.expected_bits[rows].sum(dtype=np.int64))


def _check_rows(rows: NDArray[np.uint16], tables: Tables) -> None:
    if len(rows) and int(rows.max()) >= len(tables):
        raise fault(ROW_RANGE)


def _coded_positions(symbols: NDArray[np.int16], rows: NDArray[np.uint16], tables: Tables) -> list[int]:
    """Find the symbols that cost bits; the others must be what their rows are certain of."""
    _check_rows(rows, tables)
    is_coded = tables.is_coded[rows]
    if np.any(symbols[~is_coded] != tables.offsets[rows[~is_coded]]):
        raise fault(CERTAIN_SYMBOL)
    return [int(position) for position in np.flatnonzero(is_coded)]


def _pieces(symbol: int, row: int, tables: Tables) -> Iterator[Piece]:
    """Give the pieces of one symbol in decoding order: its entry, or the escape and the distance beyond the row."""
    boundaries = tables.row_lists[row]
    values = len(boundaries) - 2  # the last entry is the escape
    index = symbol - int(tables.offsets[row])
    entry = index if 0 <= index < values else values
    yield Piece(boundaries[entry], boundaries[entry + 1] - boundaries[entry], tables.precision)
    if index < 0:
        yield from _escape_pieces(2 * (-1 - index) + 1)
    elif index >= values:
        yield from _escape_pieces(2 * (index - values))


def _escape_pieces(folded: int) -> Iterator[Piece]:
    """Give an Exp-Golomb code as uniform bits: a zero for each further bit, a one, those bits, the lowest bits."""
    shifted = (folded >> ESCAPE_ORDER) + 1
    extra = shifted.bit_length() - 1
    yield from [Piece(0, 1, 1)] * extra
    yield Piece(1, 1, 1)
    yield Piece(shifted - (1 << extra), 1, extra)
    yield Piece(folded & ((1 << ESCAPE_ORDER) - 1), 1, ESCAPE_ORDER)


def put(state: int, piece: Piece, words: list[int]) -> int:
    """Push a piece onto a state, which first hands its low word out if it would grow beyond 32 bits."""
    start, frequency, bits = piece
    if state >= frequency << (32 - bits):
        words.append(state & 0xFFFF)
        state >>= WORD_BITS
    return (state // frequency << bits) + state % frequency + start


class Decoder:
    """Decode one stream in one or more bursts; see `rarefy.entropy.coder.Decoder`. After a failure it stays failed."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        if len(data) < 1:
            raise fault(TRUNCATED)
        if data[0] >= len(LANES):
            raise fault(LANES_RESERVED)
        lanes = LANES[data[0]]
        header = 1 + 4 * lanes
        if len(data) < header or (len(data) - header) % 2:
            raise fault(TRUNCATED)
        self._states = [int(state) for state in np.frombuffer(data, "<u4", lanes, 1)]
        if min(self._states) < STATE_LOW:
            raise fault(STATE_RANGE)
        self._words = np.frombuffer(data, "<u2", offset=header)
        self._next_word = 0
        self._symbols = 0
        self._tables = tables
        self._failure: RarefyError | None = None

    def decode(self, rows: NDArray[np.uint16], tables: Tables | None = None) -> NDArray[np.int16]:
        """Decode one symbol per row of the tables, the decoder's if none are given: int16 [n] from uint16 [n]."""
        tables = tables or self._tables
        if self._failure:
            raise self._failure
        _check_rows(rows, tables)
        coded = np.flatnonzero(tables.is_coded[rows])
        if len(coded) > self._most_symbols(tables):
            raise fault(TOO_MANY_SYMBOLS)
        try:
            return self._decode(rows, coded, tables)
        except RarefyError as failure:
            self._failure = failure
            raise

    def finish(self) -> None:
        """Check that the stream ends here, as it was begun."""
        if self._failure:
            raise self._failure
        if self._next_word < len(self._words):
            raise fault(WORDS_LEFT)
        if any(state != STATE_LOW for state in self._states):
            raise fault(STATE_END)

    def _decode(self, rows: NDArray[np.uint16], coded: NDArray[np.intp], tables: Tables) -> NDArray[np.int16]:
        symbols = tables.offsets[rows].astype(np.int16)
        for position in coded:
            symbols[position] = self._symbol(int(rows[position]), tables)
        return symbols

    def _most_symbols(self, tables: Tables) -> float:
        """Bound the coded symbols to come: a word adds at most 17 bits, a lane holds 16 more now than at its end."""
        bits = 17 * (len(self._words) - self._next_word) + 16 * len(self._states)
        return 1.01 * bits / tables.fewest_bits  # a hundredth for the rounding in fewest_bits

    def _symbol(self, row: int, tables: Tables) -> int:
        lane = self._symbols % len(self._states)
        self._symbols += 1
        boundaries, offset = tables.row_lists[row], int(tables.offsets[row])
        state, precision = self._states[lane], tables.precision
        slot = state & ((1 << precision) - 1)
        entry = bisect_right(boundaries, slot) - 1
        start, end = boundaries[entry], boundaries[entry + 1]
        self._states[lane] = (end - start) * (state >> precision) + slot - start
        self._refill(lane)
        values = len(boundaries) - 2
        return offset + entry if entry < values else self._escaped(lane, offset, values)

    def _escaped(self, lane: int, offset: int, values: int) -> int:
        extra = 0
        while not self._bits(lane, 1):
            extra += 1
            if extra > LONGEST_PREFIX:
                raise fault(ESCAPE_RANGE)
        shifted = (1 << extra) + self._bits(lane, extra)
        folded = ((shifted - 1) << ESCAPE_ORDER) + self._bits(lane, ESCAPE_ORDER)
        symbol = offset - 1 - (folded >> 1) if folded & 1 else offset + values + (folded >> 1)
        if not SYMBOL_MIN <= symbol <= SYMBOL_MAX:
            raise fault(ESCAPE_RANGE)
        return symbol

    def _bits(self, lane: int, count: int) -> int:
        value = self._states[lane] & ((1 << count) - 1)
        self._states[lane] >>= count
        self._refill(lane)
        return value

    def _refill(self, lane: int) -> None:
        if self._states[lane] >= STATE_LOW:
            return
        if self._next_word == len(self._words):
            raise fault(TRUNCATED)
        self._states[lane] = self._states[lane] << WORD_BITS | int(self._words[self._next_word])
        self._next_word += 1
