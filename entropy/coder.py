"""What the bottlenecks call: arrays of symbols with a table row each, to bytes and back.

The compiled coder works where it was built, its Python twin elsewhere; their bytes are the same (docs/CODER.md).
"""

import zlib
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rarefy import kernels
from rarefy.entropy import rans
from rarefy.entropy.tables import Tables
from rarefy.errors import OptionError

SYMBOLS_PER_LANE = 32768  # a lane costs 3 bytes on average; beyond 8 lanes the coder gains nothing


def encode(symbols: NDArray[np.int16], rows: NDArray[np.uint16], tables: Tables, lanes: int | None = None) -> bytes:
    """Encode symbols, each under its row of the tables, into one stream.

    symbols: int16 [n] (other integers if their values fit). rows: uint16 [n], below len(tables); the symbol of a
    certain row must be its offset. lanes: 1, 2, 4, 8, 16 or 32; by `lanes_for` if not given. Raises OptionError if not.
    """
    symbols, rows = _as_row(symbols, np.int16, "symbols"), _as_row(rows, np.uint16, "rows")
    if len(symbols) != len(rows):
        raise OptionError(f"{len(symbols)} symbols but {len(rows)} rows")
    if lanes not in (None, *rans.LANES):
        raise OptionError(f"{lanes} lanes; 1, 2, 4, 8, 16 or 32 are allowed")
    if not kernels.available():
        return rans.encode(symbols, rows, tables, lanes or lanes_for(rans.count_coded(rows, tables)))
    return _encode_compiled(symbols, rows, tables, lanes)


class _Stream(Protocol):
    def decode(self, rows: NDArray[np.uint16]) -> NDArray[np.int16]: ...
    def finish(self) -> None: ...


class Decoder:
    """Decode one stream in as many bursts as its rows become known in. It belongs to one thread; tables may be shared.

    data: what `encode` gave. Raises TruncatedError, or FormatError for bytes that no encoder writes; so do the methods,
    and ChecksumError where the stream was altered. Altered streams may also decode to other symbols: keep a `checksum`.
    """

    def __init__(self, data: bytes | bytearray | memoryview, tables: Tables) -> None:
        kind: type[_CompiledStream] | type[rans.Decoder] = _CompiledStream if kernels.available() else rans.Decoder
        self._stream: _Stream = kind(bytes(data), tables)

    def decode(self, rows: NDArray[np.uint16]) -> NDArray[np.int16]:
        """Decode the next symbols, one per row: int16 [n] from uint16 [n]."""
        return self._stream.decode(_as_row(rows, np.uint16, "rows"))

    def finish(self) -> None:
        """Check, after the last symbol, that the stream ends as it was begun."""
        self._stream.finish()


def lanes_for(coded_count: int) -> int:
    """Choose the lanes for a number of coded symbols: few symbols, few lanes, since each costs 4 bytes at the end."""
    return max(lanes for lanes in (1, 2, 4, 8) if lanes == 1 or coded_count >= lanes * SYMBOLS_PER_LANE)


def checksum(symbols: Iterable[NDArray[np.int16]]) -> int:
    """Compute the CRC-32 of all symbols in coding order, certain ones included, as little-endian 16-bit integers.

    symbols: int16 arrays of any shape, each in C order.
    """
    crc = 0
    for part in symbols:
        crc = zlib.crc32(_as_row(np.ravel(part), np.int16, "symbols").astype("<i2", copy=False).data, crc)
    return crc


class _CompiledStream:
    """The compiled decoder with exceptions for its codes."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        from rarefy.kernels import _rans

        self._packed = tables.pack()
        self._stream = _rans.Decoder(np.frombuffer(data, np.uint8))
        _check(self._stream.status)

    def decode(self, rows: NDArray[np.uint16]) -> NDArray[np.int16]:
        _check(self._stream.admit(self._packed, rows))
        symbols = np.empty(len(rows), np.int16)
        _check(self._stream.decode(self._packed, rows, symbols))
        return symbols

    def finish(self) -> None:
        _check(self._stream.finish())


def _check(code: int) -> None:
    if code:
        raise rans.fault(code)


def _encode_compiled(symbols: NDArray[np.int16], rows: NDArray[np.uint16], tables: Tables, lanes: int | None) -> bytes:
    from rarefy.kernels import _rans

    packed = tables.pack()
    stream = _rans.encode(packed, symbols, rows, lanes or lanes_for(_rans.count_coded(packed, rows)))
    if isinstance(stream, int):
        raise rans.fault(stream)
    return stream


def _as_row(values: NDArray[Any], dtype: type[np.int16] | type[np.uint16], name: str) -> NDArray[Any]:
    """Give one row of integers of a type, contiguous; copies only where it must."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise OptionError(f"{name} must be one row of integers, not {array.dtype} {list(array.shape)}")
    bounds = np.iinfo(dtype)
    if array.dtype != dtype and len(array) and not bounds.min <= array.min() <= array.max() <= bounds.max:
        raise OptionError(f"{name} beyond {bounds.min} to {bounds.max}")
    return np.ascontiguousarray(array, dtype)
