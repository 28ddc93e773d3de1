"""Alphabets of more than 256 values: a value is coded as its class and then as a member of it.

One row of 4,096 entries would spend a quarter of 14 bits on frequencies of one; a row of classes and a row of members
for each keep entries likely and look-ups in the cache. A value costs two symbols.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefy.entropy.coder import Decoder, encode
from rarefy.entropy.tables import DEFAULT_PRECISION, Tables
from rarefy.errors import FormatError, OptionError

MEMBERS = 256  # of a class: its values are 256 c to 256 c + 255
MOST_VALUES = 65536


@dataclass(frozen=True, eq=False)
class Classes:
    """A distribution over the values 0 to value_count - 1.

    tables: a row of the classes, then for each class a row of its members. Values of a message are coded as all
    classes, then all members, in one stream.
    """

    value_count: int
    tables: Tables

    def __post_init__(self) -> None:
        if not 2 <= self.value_count <= MOST_VALUES or len(self.tables) != 1 + -(-self.value_count // MEMBERS):
            raise OptionError(f"{len(self.tables)} tables do not fit an alphabet of {self.value_count} values")

    @classmethod
    def from_masses(cls, masses: ArrayLike, precision: int = DEFAULT_PRECISION) -> Self:
        """Quantise a distribution: masses or counts, [2 to 65536], not negative; none becomes impossible.

        Raises OptionError for masses that are negative, not finite or all zero.
        """
        values = np.asarray(masses, np.float64)
        is_row = values.ndim == 1 and 2 <= len(values) <= MOST_VALUES
        if not is_row or not np.all(np.isfinite(values)) or values.min() < 0 or not values.any():
            raise OptionError("masses must be one row of 2 to 65536 finite numbers, none negative, not all zero")
        parts = np.split(values, range(MEMBERS, len(values), MEMBERS))
        rows = [np.array([part.sum() for part in parts]), *(part if part.any() else part + 1 for part in parts)]
        pmfs = [row if len(row) > 1 else row[:0] for row in rows]  # a row of one value is certain
        return cls(len(values), Tables.from_pmfs(pmfs, [0] * len(pmfs), [0.0] * len(pmfs), precision))

    def encode(self, values: ArrayLike) -> bytes:
        """Encode values, integers of any shape in C order, into one stream. Raises OptionError beyond the alphabet."""
        flat = np.asarray(values).ravel()
        if flat.dtype.kind not in "iu" or (len(flat) and not 0 <= flat.min() <= flat.max() < self.value_count):
            raise OptionError(f"values must be integers of 0 to {self.value_count - 1}")
        classes, members = np.divmod(flat.astype(np.int32), MEMBERS)
        rows = np.concatenate([np.zeros(len(flat), np.uint16), 1 + classes.astype(np.uint16)])
        return encode(np.concatenate([classes, members]).astype(np.int16), rows, self.tables)

    def decode(self, data: bytes, count: int) -> NDArray[np.uint16]:
        """Decode so many values: uint16 [count]. Raises as `rarefy.entropy.coder.Decoder` does."""
        decoder = Decoder(data, self.tables)
        classes = decoder.decode(np.broadcast_to(np.uint16(0), count))
        self._require(classes, len(self.tables) - 1)
        members = decoder.decode(1 + classes.astype(np.uint16))
        decoder.finish()
        values = MEMBERS * classes.astype(np.int64) + members
        self._require(values, self.value_count)
        self._require(members, MEMBERS)
        return values.astype(np.uint16)

    @staticmethod
    def _require(found: NDArray[Any], limit: int) -> None:
        """Rows have escapes, which no encoder takes here."""
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) < limit:
            raise FormatError("a value beyond its alphabet: the stream is damaged")
