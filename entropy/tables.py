"""Integer probability tables: what the coder's arithmetic sees, shipped in a weights file, never computed by a decoder.

A row is one distribution over int16 symbols: consecutive values from `offset` on, then an escape for all others, as
cumulative frequencies out of 2**precision. A row without entries is *certain*: its symbol is always `offset` and costs
no bits at all. `docs/CODER.md` has the rules. Floats occur only where tables are made, at export.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import OptionError, WeightsError

if TYPE_CHECKING:
    from rarefy.kernels import _rans

MIN_PRECISION, MAX_PRECISION = 12, 15
DEFAULT_PRECISION = 14  # measured: docs/CODER.md, "Choices"
ESCAPE_ORDER = 1  # of the Exp-Golomb code after an escape; kernels/rans.h has the same
SYMBOL_MIN, SYMBOL_MAX = -32768, 32767
LEAST_MASS = 2.0**-15  # half a step of the usual tables: what is below is escaped
MAX_ROWS = 65536

Floats = NDArray[np.float64]
Integers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tables:
    """Hold rows of integer probabilities, validated and read-only; safe to share between threads, and to pickle.

    precision: every coded row sums to 2**precision, 12 to 15.
    offsets: int32 [R], the symbol of each row's first entry.
    row_starts: int32 [R + 1], where each row's cumulative frequencies start; equal neighbours mark a certain row.
    cumulative: uint16 [row_starts[R]], per coded row 0 = c_0 < c_1 < … < c_L = 2**precision for L entries, of which the
    last is the escape.

    Raises WeightsError if the arrays break a rule.
    """

    precision: int
    offsets: NDArray[np.int32]
    row_starts: NDArray[np.int32]
    cumulative: NDArray[np.uint16]

    def __post_init__(self) -> None:
        for name, dtype in (("offsets", np.int32), ("row_starts", np.int32), ("cumulative", np.uint16)):
            object.__setattr__(self, name, _frozen(name, getattr(self, name), dtype))
        self.validate()

    def __len__(self) -> int:
        return len(self.offsets)

    def __reduce__(self) -> tuple[type["Tables"], tuple[Any, ...]]:
        return Tables, (self.precision, self.offsets, self.row_starts, self.cumulative)

    @classmethod
    def from_pmfs(
        cls,
        pmfs: Sequence[Floats],
        offsets: Sequence[int],
        escapes: Sequence[float],
        precision: int = DEFAULT_PRECISION,
    ) -> Self:
        """Quantise distributions so that the excess code length is least.

        pmfs: one float64 array per row, the masses of the symbols offset, offset + 1, …; an empty one makes the row
        certain. escapes: the mass of all other symbols. Masses need not sum to 1. Raises OptionError for masses that
        are negative, not finite or all zero, and WeightsError for rows that do not fit the precision.
        """
        if not len(pmfs) == len(offsets) == len(escapes):
            raise OptionError("pmfs, offsets and escapes must be of one length")
        rows = [_boundaries(pmf, escape, precision) for pmf, escape in zip(pmfs, escapes, strict=True)]
        starts = np.cumsum([0, *map(len, rows)])
        return cls._of(precision, np.asarray(offsets, np.int64), starts, np.concatenate([np.zeros(0, np.int64), *rows]))

    @classmethod
    def from_frequencies(cls, frequencies: Integers, offset: int = 0) -> Self:
        """Take distributions that are integers already, such as one for each symbol of an adaptive model.

        frequencies: integers [R, L + 1], at least 1 each; column j < L is of the symbol offset + j, the last column of
        the escape. Every row sums to one power of two, 2**12 to 2**15. Raises WeightsError if not.
        """
        rows = np.asarray(frequencies)
        if rows.ndim != 2 or rows.dtype.kind not in "iu" or rows.size == 0:
            raise WeightsError("frequencies are not rows of integers")
        cumulative = np.zeros((rows.shape[0], rows.shape[1] + 1), np.int64)
        np.cumsum(rows, 1, out=cumulative[:, 1:])
        precision = int(cumulative[0, -1]).bit_length() - 1
        starts = np.arange(len(rows) + 1) * cumulative.shape[1]
        return cls._of(precision, np.full(len(rows), offset), starts, cumulative.ravel())

    @classmethod
    def concatenate(cls, parts: Sequence["Tables"]) -> Self:
        """Join tables of one precision; the rows of the second follow those of the first, and so on."""
        if not parts or len({part.precision for part in parts}) != 1:
            raise OptionError("tables to concatenate must be at least one, and of one precision")
        ends = np.cumsum([0] + [len(part.cumulative) for part in parts])
        starts = [part.row_starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
        return cls._of(
            parts[0].precision,
            np.concatenate([part.offsets for part in parts]),
            np.concatenate([*starts, ends[-1:]]),
            np.concatenate([part.cumulative for part in parts]),
        )

    @classmethod
    def _of(cls, precision: int, offsets: Integers, row_starts: Integers, cumulative: Integers) -> Self:
        """Take arrays of any integers; the constructor narrows them if their values fit."""
        return cls(precision, offsets, row_starts, cumulative)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Take the tables that `to_arrays` gave. Raises WeightsError for missing, unknown or wrong arrays."""
        names = {"precision", "offsets", "row_starts", "cumulative"}
        if set(arrays) != names:
            raise WeightsError(f"tables consist of the arrays {sorted(names)}, not {sorted(arrays)}")
        precision = np.asarray(arrays["precision"])
        if precision.shape != (1,) or precision.dtype.kind not in "iu":
            raise WeightsError("the tables' precision is not one integer")
        return cls(int(precision[0]), arrays["offsets"], arrays["row_starts"], arrays["cumulative"])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Give the tables as arrays for a weights file: precision uint8 [1] and the three arrays of the class."""
        return {
            "precision": np.array([self.precision], np.uint8),
            "offsets": self.offsets,
            "row_starts": self.row_starts,
            "cumulative": self.cumulative,
        }

    def validate(self) -> None:
        """Check every rule of the format; raises WeightsError."""
        if not MIN_PRECISION <= self.precision <= MAX_PRECISION:
            raise WeightsError(f"tables of {self.precision} bits; {MIN_PRECISION} to {MAX_PRECISION} are allowed")
        self._validate_sizes()
        self._validate_rows()
        if np.any(self.offsets < SYMBOL_MIN) or np.any(self.offsets + np.maximum(self.lengths - 2, 0) > SYMBOL_MAX):
            raise WeightsError("a row of the tables reaches beyond int16")

    def _validate_sizes(self) -> None:
        starts = self.row_starts
        if not 1 <= len(self) <= MAX_ROWS or len(starts) != len(self) + 1:
            raise WeightsError(f"tables of {len(self)} rows with {len(starts)} starts; 1 to {MAX_ROWS} rows may be")
        if starts[0] != 0 or starts[-1] != len(self.cumulative) or np.any(np.diff(starts.astype(np.int64)) < 0):
            raise WeightsError("the rows of the tables do not follow each other")
        if np.any(np.isin(np.diff(starts), (1, 2))):
            raise WeightsError("a coded row of the tables has less than one symbol and the escape")

    def _validate_rows(self) -> None:
        begins, ends = self.row_starts[:-1][self.is_coded], self.row_starts[1:][self.is_coded]
        steps = np.diff(self.cumulative.astype(np.int32), prepend=0)
        steps[begins] = 1  # from one row to the next it goes down
        if np.any(self.cumulative[begins] != 0) or np.any(self.cumulative[ends - 1] != 1 << self.precision):
            raise WeightsError(f"a row of the tables does not run from 0 to {1 << self.precision}")
        if np.any(steps < 1):
            raise WeightsError("a row of the tables has an entry without frequency")

    @cached_property
    def is_coded(self) -> NDArray[np.bool_]:
        """Tell the rows that cost bits from the certain ones: bool [R]."""
        return np.asarray(np.diff(self.row_starts) > 0)

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """Give the entries of each row, the escape included; 0 where certain: int32 [R]."""
        return np.maximum(np.diff(self.row_starts) - 1, 0).astype(np.int32)

    @cached_property
    def fewest_bits(self) -> float:
        """Give the bits that any coded symbol takes from the stream at the very least, whatever the coder's state.

        With x = 2**p h + slot a step leads to at most x - h (2**p - f), and h >= 2**(16 - p).
        """
        frequencies = np.diff(self.cumulative.astype(np.int32))
        largest = int(frequencies.max(initial=1))
        least_quotient = 2.0 ** (16 - self.precision)
        others = 1 - largest / (1 << self.precision)
        return float(-np.log2(1 - others * least_quotient / (least_quotient + 1)))

    @cached_property
    def _entry_bits(self) -> Floats:
        """The cost of each entry, at the place of its start in `cumulative`; of no meaning at the ends of rows."""
        frequencies = np.diff(self.cumulative.astype(np.int64), append=0)
        return np.asarray(self.precision - np.log2(np.maximum(frequencies, 1)))

    @cached_property
    def expected_bits(self) -> NDArray[np.uint16]:
        """Give the length of a symbol drawn from each row, in 1/256 bit, without what follows an escape: uint16 [R].

        An encoder chooses its lanes by it. No decoder needs it.
        """
        frequencies = np.diff(self.cumulative.astype(np.int64), append=0)
        shares = np.maximum(frequencies, 0) / (1 << self.precision)  # at the ends of rows it goes down
        sums = np.concatenate([[0.0], np.cumsum(shares * self._entry_bits)])
        return np.round(256 * (sums[self.row_starts[1:]] - sums[self.row_starts[:-1]])).astype(np.uint16)

    @cached_property
    def row_lists(self) -> list[list[int]]:
        """Give each row's cumulative frequencies as a list, for the coder's Python twin."""
        flat = self.cumulative.tolist()
        return [flat[start:end] for start, end in zip(self.row_starts[:-1], self.row_starts[1:], strict=True)]

    @cached_property
    def _packed(self) -> "_rans.Tables":
        from rarefy.kernels import _rans  # only where it was built

        return _rans.Tables(
            self.precision, self.fewest_bits, self.offsets, self.row_starts, self.cumulative, self.expected_bits
        )

    def pack(self) -> "_rans.Tables":
        """Give the compiled coder's form of the tables, built at first use (twice at worst, if threads race)."""
        return self._packed

    def ideal_bits(self, symbols: Integers, rows: Integers) -> float:
        """Compute what symbols cost under these integers, escapes included, with fractions of bits.

        symbols: integers [n]; rows: integers [n] below len(self). A stream is longer by its lanes' states and by about
        0.01 %. Certain rows cost nothing.
        """
        coded = self.is_coded[rows]
        row = np.asarray(rows, np.int64)[coded]
        index = np.asarray(symbols, np.int64)[coded] - self.offsets[row]
        values = self.lengths[row] - 1
        below, above = index < 0, index >= values
        distance = np.where(below, -1 - index, index - values)
        outside = below | above
        entry = self.row_starts[row] + np.where(outside, values, index)
        return float(self._entry_bits[entry].sum() + escape_bits((2 * distance + below)[outside]).sum())


def escape_bits(folded: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the length of the code after an escape for distances with the side folded in (2 d, or 2 d + 1 below)."""
    shifted = np.maximum(folded >> ESCAPE_ORDER, 0) + 1
    extra = np.frexp(shifted.astype(np.float64))[1].astype(np.int64) - 1
    return np.asarray(2 * extra + 1 + ESCAPE_ORDER, np.int64)


def likely_part(masses: Floats) -> tuple[Floats, int, float]:
    """The symbols that deserve an entry of their own: their masses, the first one's position, the mass of the rest."""
    kept = np.flatnonzero(masses > LEAST_MASS)
    first, last = int(kept[0]), int(kept[-1])
    part = masses[first : last + 1]
    return part, first, max(float(masses.sum() - part.sum()), LEAST_MASS)


def quantise(masses: Floats, precision: int) -> NDArray[np.int64]:
    """Round masses to integers >= 1 that sum to 2**precision at the least code length; ties go to the first entry.

    The code length is convex and separable, so steps of one from a rounded start, each the best there is, end at the
    optimum.
    """
    total = 1 << precision
    if len(masses) > total:
        raise WeightsError(f"a row of {len(masses)} entries does not fit {precision} bits")
    frequencies: NDArray[np.int64] = np.maximum(1, np.floor(masses * (total / masses.sum()))).astype(np.int64)
    while (missing := total - int(frequencies.sum())) != 0:
        if missing > 0:
            frequencies[np.argmax(_gain(masses, frequencies))] += 1
        else:
            frequencies[np.argmin(_loss(masses, frequencies))] -= 1
    while True:
        gain, loss = _gain(masses, frequencies), _loss(masses, frequencies)
        to, source = int(np.argmax(gain)), int(np.argmin(loss))
        if gain[to] <= loss[source] * (1 + 1e-9):  # beyond what the logarithms' rounding can feign
            return frequencies
        frequencies[to] += 1
        frequencies[source] -= 1


def _gain(masses: Floats, frequencies: NDArray[np.int64]) -> Floats:
    """Bits saved by one more for each entry."""
    return np.asarray(masses * np.log2((frequencies + 1) / frequencies), np.float64)


def _loss(masses: Floats, frequencies: NDArray[np.int64]) -> Floats:
    """Bits lost by one less for each entry; the last one cannot be taken."""
    fewer = np.maximum(frequencies - 1, 1)
    return np.where(frequencies > 1, masses * np.log2(frequencies / fewer), np.inf)


def _boundaries(pmf: Floats, escape: float, precision: int) -> NDArray[np.int64]:
    """Cumulative frequencies of one row; none if it is certain."""
    if len(pmf) == 0:
        return np.zeros(0, np.int64)
    masses = np.append(np.asarray(pmf, np.float64), escape)
    if not np.all(np.isfinite(masses)) or np.any(masses < 0) or masses.sum() <= 0:
        raise OptionError("masses of a row must be finite, not negative and not all zero")
    return np.concatenate([[0], np.cumsum(quantise(masses, precision))])


def _frozen(name: str, values: Any, dtype: type[np.generic]) -> NDArray[Any]:
    """Copy an array as read-only integers of one type, if they fit it."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise WeightsError(f"the tables' {name} are not a row of integers")
    copy = array.astype(dtype)
    if not np.array_equal(copy, array):
        raise WeightsError(f"the tables' {name} do not fit {np.dtype(dtype).name}")
    copy.setflags(write=False)
    return copy
