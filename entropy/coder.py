"""What the bottlenecks call: arrays of symbols with a table row each, to bytes and back.

The compiled coder works where it was built, its Python twin elsewhere; their bytes are the same (docs/CODER.md).
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefy import kernels
from rarefy.entropy import rans
from rarefy.entropy.tables import Tables
from rarefy.errors import OptionError

BITS_PER_LANE = 65536  # a lane costs 3 bytes on average: less than .04 %

Integers = NDArray[Any]
_Part = tuple[ArrayLike, ArrayLike, Tables]  # symbols, their rows, the rows' tables


def encode(symbols: ArrayLike, rows: ArrayLike, tables: Tables, lanes: int | None = None) -> bytes:
    """Encode symbols, each under its row of the tables, into one stream.

    symbols: int16 or int32 [n] (other integers too, at the price of a copy), within int16. rows: uint8 or uint16 [n],
    below len(tables); the symbol of a certain row must be its offset. Both may be arrays or torch tensors on the CPU.
    lanes: 1, 2, 4, 8, 16 or 32; by `lanes_for` if not given. Raises OptionError if not.
    """
    return encode_many([(symbols, rows)], tables, lanes)[0]


def encode_many(
    messages: Sequence[tuple[ArrayLike, ArrayLike]], tables: Tables, lanes: int | None = None, threads: int = 1
) -> list[bytes]:
    """Encode several messages, pairs of symbols and rows as `encode` takes them, into a stream each, side by side.

    threads: at most so many of this machine's; the interpreter's lock is free meanwhile. Raises as `encode`.
    """
    return _encode([[(symbols, rows, tables)] for symbols, rows in messages], lanes, threads)


def encode_parts(parts: Sequence[_Part], lanes: int | None = None) -> bytes:
    """Encode parts, symbols and rows as `encode` takes them and tables of their own each, into one stream.

    So probabilities may change as often as wanted: `Tables.from_frequencies` makes tables of one row per symbol. The
    decoder takes each part's tables in `Decoder.decode`. Raises as `encode`, and OptionError without any part.
    """
    if not parts:
        raise OptionError("a message needs at least one part, which may be empty")
    return _encode([parts], lanes, 1)[0]


class Decoder:
    """Decode one stream in as many bursts as its rows become known in. It belongs to one thread; tables may be shared.

    data: what `encode` gave. Raises TruncatedError, or FormatError for bytes that no encoder writes; so do the methods,
    and ChecksumError where the stream was altered. Altered streams may also decode to other symbols: keep a `checksum`.
    """

    def __init__(self, data: bytes | bytearray | memoryview, tables: Tables) -> None:
        kind: type[_CompiledStream] | type[_PythonStream] = _CompiledStream if kernels.available() else _PythonStream
        self._tables, self._stream = tables, kind(bytes(data), tables)

    def decode(self, rows: ArrayLike, out: Any = None, tables: Tables | None = None) -> NDArray[Any]:
        """Decode the next symbols, one per row: int16 [n] from uint8 or uint16 [n], arrays or tensors on the CPU.

        out: int16 or int32 [n], contiguous, an array or a tensor, takes the symbols in place of a new array. tables:
        for this burst only, if others than the decoder's.
        """
        return self._stream.decode(_Burst(_as_rows(rows), _as_room(out), tables or self._tables))

    def finish(self) -> None:
        """Check, after the last symbol, that the stream ends as it was begun."""
        self._stream.finish()


def decode_many(decoders: Sequence[Decoder], rows: Sequence[ArrayLike], threads: int = 1) -> list[NDArray[np.int16]]:
    """Decode the next burst of each of several streams, side by side: int16 [n] each from its rows.

    threads: at most so many of this machine's; the interpreter's lock is free meanwhile. Raises what the first stream
    that fails would have raised by itself, and OptionError for a decoder that is there twice.
    """
    if len(set(map(id, decoders))) != len(decoders) or len(decoders) != len(rows):
        raise OptionError(f"{len(decoders)} decoders with {len(rows)} rows: each must be there once")
    threads = _threads(threads)
    bursts = [_Burst(_as_rows(each), None, decoder._tables) for decoder, each in zip(decoders, rows, strict=True)]
    streams = [decoder._stream for decoder in decoders]
    compiled = [stream for stream in streams if isinstance(stream, _CompiledStream)]
    if len(compiled) < len(streams):
        return [stream.decode(burst) for stream, burst in zip(streams, bursts, strict=True)]
    return _decode_compiled(compiled, bursts, threads)


def lanes_for(bits: int) -> int:
    """Choose the lanes for the bits that a message is expected to take: each lane costs 4 bytes at the end."""
    return max(lanes for lanes in rans.LANES if lanes == 1 or bits >= lanes * BITS_PER_LANE)


@cache
def instruction_sets() -> tuple[str, ...]:
    """List the instruction sets that the compiled coder has for this processor, the best first; none if not built."""
    if find_spec("rarefy.kernels._rans") is None:
        return ()
    from rarefy.kernels import _rans

    return tuple(_rans.instruction_sets())


def instruction_set() -> str:
    """Name the one in use: the best, or the one of `RAREFY_KERNEL`, or `plain` where the coder has no such variant."""
    if not kernels.available():
        return "python"
    found, wanted = instruction_sets(), os.environ.get("RAREFY_KERNEL", "")
    return wanted if wanted in found else found[0] if not wanted else "plain"


def checksum(symbols: Iterable[NDArray[np.int16]]) -> int:
    """Compute the CRC-32 of all symbols in coding order, certain ones included, as little-endian 16-bit integers.

    symbols: int16 arrays of any shape, each in C order.
    """
    crc = 0
    for part in symbols:
        crc = zlib.crc32(_as_row(np.ravel(part), (np.int16,), "symbols").astype("<i2", copy=False).data, crc)
    return crc


@dataclass(frozen=True)
class _Burst:
    rows: Integers
    out: Integers | None
    tables: Tables

    def room(self) -> Integers:
        if self.out is None:
            return np.empty(len(self.rows), np.int16)
        if len(self.out) != len(self.rows):
            raise OptionError(f"room for {len(self.out)} symbols but {len(self.rows)} rows")
        return self.out


class _PythonStream:
    """The Python twin, with room given."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        self._stream = rans.Decoder(data, tables)

    def decode(self, burst: _Burst) -> Integers:
        symbols = self._stream.decode(burst.rows.astype(np.uint16, copy=False), burst.tables)
        if burst.out is None:
            return symbols
        room = burst.room()
        room[:] = symbols
        return room

    def finish(self) -> None:
        self._stream.finish()


class _CompiledStream:
    """The compiled decoder with exceptions for its codes."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        from rarefy.kernels import _rans

        tables.pack()  # once, before the first burst
        self.stream = _rans.Decoder(np.frombuffer(data, np.uint8), instruction_set())
        _check(self.stream.status)

    def decode(self, burst: _Burst) -> Integers:
        return _decode_compiled([self], [burst], 1)[0]

    def finish(self) -> None:
        _check(self.stream.finish())


def _decode_compiled(streams: Sequence[_CompiledStream], bursts: Sequence[_Burst], threads: int) -> list[Integers]:
    from rarefy.kernels import _rans

    calls = []
    for stream, burst in zip(streams, bursts, strict=True):
        packed = burst.tables.pack()
        _check(stream.stream.admit(packed, burst.rows))  # before there is room for the symbols
        calls.append((stream.stream, packed, burst.rows, burst.room()))
    for code in _rans.decode(calls, threads):
        _check(code)
    return [call[3] for call in calls]


def _encode(messages: Sequence[Sequence[_Part]], lanes: int | None, threads: int) -> list[bytes]:
    if lanes not in (None, *rans.LANES):
        raise OptionError(f"{lanes} lanes; 1, 2, 4, 8, 16 or 32 are allowed")
    threads = _threads(threads)
    checked = [[(*_as_message(symbols, rows), tables) for symbols, rows, tables in parts] for parts in messages]
    if not kernels.available():
        return [_encode_in_python(parts, lanes) for parts in checked]
    from rarefy.kernels import _rans

    packed = [[(tables.pack(), symbols, rows) for symbols, rows, tables in parts] for parts in checked]
    if lanes is None:
        chosen = [lanes_for(bits // 256) for bits in _rans.expected_bits(packed, threads)]
    else:
        chosen = [lanes] * len(packed)
    return [_stream(stream) for stream in _rans.encode(packed, chosen, threads, instruction_set())]


def _encode_in_python(parts: Sequence[tuple[Integers, Integers, Tables]], lanes: int | None) -> bytes:
    narrow = [(symbols.astype(np.int16), rows.astype(np.uint16), tables) for symbols, rows, tables in parts]
    return rans.encode_parts(narrow, lanes or lanes_for(sum(rans.expected_bits(part) for part in narrow) // 256))


def _check(code: int) -> None:
    if code:
        raise rans.fault(code)


def _stream(result: bytes | int) -> bytes:
    if isinstance(result, int):
        raise rans.fault(result)
    return result


def _threads(threads: int) -> int:
    if threads < 1:
        raise OptionError(f"{threads} threads; at least 1 is needed")
    return threads


def _as_message(symbols: ArrayLike, rows: ArrayLike) -> tuple[Integers, Integers]:
    message = _as_row(symbols, (np.int16, np.int32), "symbols"), _as_rows(rows)
    if len(message[0]) != len(message[1]):
        raise OptionError(f"{len(message[0])} symbols but {len(message[1])} rows")
    return message


def _as_rows(rows: ArrayLike) -> Integers:
    return _as_row(rows, (np.uint16, np.uint8), "rows")


def _as_row(values: ArrayLike, dtypes: tuple[type[np.integer[Any]], ...], name: str) -> Integers:
    """Give one row of integers of one of the types, contiguous, within the first; copies only where it must."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise OptionError(f"{name} must be one row of integers, not {array.dtype} {list(array.shape)}")
    bounds = np.iinfo(dtypes[0])
    if (
        not np.can_cast(array.dtype, dtypes[0])
        and len(array)
        and not bounds.min <= array.min() <= array.max() <= bounds.max
    ):
        raise OptionError(f"{name} beyond {bounds.min} to {bounds.max}")
    return np.ascontiguousarray(array, array.dtype if array.dtype in dtypes else dtypes[0])


def _as_room(out: Any) -> Integers | None:
    """Give the memory of an array or a tensor that decoded symbols may go to."""
    if out is None:
        return None
    array = np.asarray(out)
    is_right = array.ndim == 1 and array.dtype in (np.int16, np.int32) and array.dtype.isnative
    if not is_right or not array.flags.c_contiguous or not array.flags.writeable:
        raise OptionError(
            f"decoded symbols go to one row of int16 or int32, contiguous, not {array.dtype} {list(array.shape)}"
        )
    return array
