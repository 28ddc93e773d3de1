"""Tables as the GPU's kernels read them: arrays of 32-bit words, small enough for the memory beside the processors.

For decoding (`DecodeTable` in kernels/cuda/decode.cuh), first one word a row: where its block begins, times 32, plus
twice the bits of its buckets, plus 1 if it is coded. A block has a word of offset and number of values, a word for each
of its 2**bits buckets of slots with the first and the last entry that reach into it, and one for each entry: start and
frequency. Rows have twice as many buckets as entries, up to 256; between the entries of a bucket a kernel halves.
64 usual rows take 48 kB.

For encoding (`EncodeTable` in kernels/cuda/encode.cuh), two words a row (its first entry, with the highest bit if it is
coded; offset and number of values), then four words an entry: EncodeEntry of kernels/rans.h.
"""

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy.tables import Tables
from rarefy.errors import OptionError

FEWEST_BUCKET_BITS, MOST_BUCKET_BITS = 2, 8
MOST_WORDS = 1 << 27  # of a decoder's tables: what an index word can point at

Words = NDArray[np.uint32]
Integers = NDArray[np.int64]


def decode_words(tables: Tables) -> Words:
    """Lay tables out for decoding: uint32 [n], n a multiple of 4. Raises OptionError for more than 2**27 words."""
    bits = _bucket_bits(tables)
    sizes = np.where(tables.is_coded, 1 + (1 << bits) + tables.lengths, 1).astype(np.int64)
    blocks = len(tables) + np.concatenate([[0], np.cumsum(sizes)])
    if blocks[-1] > MOST_WORDS:
        raise OptionError("tables too large for a GPU's kernels")
    words = np.zeros(_round_up(int(blocks[-1])), np.uint32)
    words[: len(tables)] = blocks[:-1] << 5 | bits << 1 | tables.is_coded
    words[blocks[:-1]] = _values(tables)
    row, number = _spread(np.where(tables.is_coded, 1 << bits, 0))
    words[blocks[row] + 1 + number] = _buckets(tables, row, number, bits[row])
    row, number = _spread(tables.lengths.astype(np.int64))
    starts, frequencies = _entries(tables)
    words[blocks[row] + 1 + (1 << bits[row]) + number] = starts | frequencies << 16
    return words


def encode_words(tables: Tables) -> Words:
    """Lay tables out for encoding: uint32 [n], n a multiple of 4. Raises OptionError for more than 2**27 words."""
    starts, frequencies = _entries(tables)
    first = _round_up(2 * len(tables))
    if first + 4 * len(starts) > MOST_WORDS:
        raise OptionError("tables too large for a GPU's kernels")
    words = np.zeros(first + 4 * len(starts), np.uint32)
    lengths = tables.lengths.astype(np.int64)
    words[0 : 2 * len(tables) : 2] = np.cumsum(lengths) - lengths | tables.is_coded.astype(np.int64) << 31
    words[1 : 2 * len(tables) : 2] = _values(tables)
    entries = words[first:].reshape(-1, 4)
    reciprocals = ((np.uint64(1) << np.uint64(32 + tables.precision)) - np.uint64(1)) // frequencies.astype(np.uint64)
    reciprocals += np.uint64(1)  # rounded up: kernels/rans.h says why that is exact
    entries[:, 0] = reciprocals & np.uint64(0xFFFFFFFF)
    entries[:, 1] = reciprocals >> np.uint64(32)
    entries[:, 2] = frequencies | starts << 16
    return words


def _bucket_bits(tables: Tables) -> Integers:
    """Twice as many buckets as entries, in powers of two."""
    needed = np.ceil(np.log2(np.maximum(tables.lengths, 1))).astype(np.int64) + 1
    return np.clip(needed, FEWEST_BUCKET_BITS, MOST_BUCKET_BITS)


def _values(tables: Tables) -> Integers:
    """A row's offset, as 16 bits, and above them its number of values."""
    return (tables.offsets & 0xFFFF) | np.maximum(tables.lengths.astype(np.int64) - 1, 0) << 16


def _entries(tables: Tables) -> tuple[Integers, Integers]:
    """Starts and frequencies of all entries of all rows."""
    is_end = np.zeros(len(tables.cumulative), bool)
    is_end[tables.row_starts[1:][tables.is_coded] - 1] = True
    cumulative = tables.cumulative.astype(np.int64)
    frequencies = np.diff(cumulative, append=0)
    return cumulative[~is_end], frequencies[~is_end]


def _buckets(tables: Tables, row: Integers, number: Integers, bits: Integers) -> Integers:
    """The first and, in the upper half, the last entry that reaches into each bucket: of row, number and bits [n]."""
    low = number << (tables.precision - bits)
    high = (number + 1 << (tables.precision - bits)) - 1
    return _entry_of(tables, row, low) | _entry_of(tables, row, high) << 16


def _entry_of(tables: Tables, row: Integers, slot: Integers) -> Integers:
    """Find the entries that slots lie in, all rows at once: they follow each other in one rising sequence."""
    rows, _ = _spread(np.diff(tables.row_starts).astype(np.int64))
    rising = rows << 16 | tables.cumulative
    return np.searchsorted(rising, row << 16 | slot, side="right") - 1 - tables.row_starts[row]


def _spread(counts: Integers) -> tuple[Integers, Integers]:
    """For counts [R], give the row and the number in its row of each of all things counted."""
    row = np.repeat(np.arange(len(counts)), counts)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)


def _round_up(count: int) -> int:
    return -(-count // 4) * 4
