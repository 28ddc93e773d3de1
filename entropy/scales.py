"""Tables of scales: a row for each interval of scales of a logistic distribution, and what real symbols add to it.

Residuals of trained networks follow logistics closely, but not quite: an index is a rounded one, and tails are longer.
Where it is known how often each magnitude was seen under each row, rows are made of both. Float64, at export only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy.tables import DEFAULT_PRECISION, SYMBOL_MAX, Floats, Tables, escape_bits, quantise
from rarefy.errors import OptionError

LOGISTIC_WEIGHT = 1000.0  # of the logistic, in symbols seen


def scale_thresholds(count: int, low: float, high: float) -> Floats:
    """Give the upper end of each scale row: float64 [count], log-spaced from low to high.

    Row 0 is for scales up to low, row i for scales in (t[i-1], t[i]], the last one for all above too.
    """
    if count < 2 or not 0 < low < high:
        raise OptionError("scales need at least two rows and 0 < low < high")
    return np.asarray(np.exp(np.linspace(np.log(low), np.log(high), count)), np.float64)


def scale_tables(
    count: int,
    low: float,
    high: float,
    precision: int = DEFAULT_PRECISION,
    seen: NDArray[np.int64] | None = None,
) -> Tables:
    """Build one row per scale of a zero-mean logistic distribution integrated over [k - 1/2, k + 1/2].

    The scale s is that of 1 / (1 + exp(-x / s)) (its standard deviation is 1.81 s). Row 0 is certain of 0; the others
    stand for the intervals of `scale_thresholds`, built at their geometric centres: a quarter of the loss of rounding
    up. Each row is cut where its code length is least.

    seen: how often the magnitudes 0, 1, … occurred under each row, [count, magnitudes]; they count beside
    `LOGISTIC_WEIGHT` symbols of the logistic, signs alike.
    """
    thresholds = scale_thresholds(count, low, high)
    counts = np.zeros((count, 1), np.int64) if seen is None else np.asarray(seen, np.int64)
    if counts.ndim != 2 or len(counts) != count or np.any(counts < 0):
        raise OptionError(f"what was seen must be counts of {count} rows, not {counts.shape}")
    scales = np.sqrt(thresholds[:-1] * thresholds[1:])
    rows = [_best_cut(_Row.of(scale, own), precision) for scale, own in zip(scales, counts[1:], strict=True)]
    pmfs = [np.zeros(0), *(pmf for pmf, _ in rows)]
    return Tables.from_pmfs(pmfs, [-(len(pmf) // 2) for pmf in pmfs], [0.0, *(tail for _, tail in rows)], precision)


@dataclass(frozen=True)
class _Row:
    """A distribution: `weight` times a logistic, and `seen`, the rest, of the magnitudes 0, 1, … of one sign."""

    scale: float
    weight: float
    seen: Floats

    @classmethod
    def of(cls, scale: float, counts: NDArray[np.int64]) -> "_Row":
        """Take counts of magnitudes, of both signs together."""
        total = LOGISTIC_WEIGHT + float(counts.sum())
        of_one_sign = counts / np.where(np.arange(len(counts)) == 0, 1, 2)
        return cls(scale, LOGISTIC_WEIGHT / total, of_one_sign / total)

    def masses(self, values: NDArray[np.int64]) -> Floats:
        """Of each value."""
        magnitudes = np.abs(values)
        seen = np.where(magnitudes < len(self.seen), self.seen[np.minimum(magnitudes, len(self.seen) - 1)], 0.0)
        return np.asarray(self.weight * _logistic(values, self.scale) + seen, np.float64)

    def tail(self, cut: int) -> float:
        """Of all values beyond -cut..cut."""
        return self.weight * _logistic_tail(cut, self.scale) + 2 * float(self.seen[cut + 1 :].sum())

    def escape_length(self, cut: int) -> float:
        """Give the expected bits after the escape, per symbol of the row."""
        farthest = max(int(60 * self.scale) + 8, len(self.seen) - 1 - cut)
        distance = np.arange(min(farthest, SYMBOL_MAX - cut))
        bits = escape_bits(2 * distance) + escape_bits(2 * distance + 1)
        return float(np.sum(self.masses(cut + 1 + distance) * bits))


def _best_cut(row: _Row, precision: int) -> tuple[Floats, float]:
    """Choose the cut of a row among those whose tails are near the smallest frequency; its masses and its tail."""
    best, best_length = (np.zeros(0), 1.0), np.inf
    for cut in _candidate_cuts(row.scale, precision):
        pmf, tail = row.masses(np.arange(-cut, cut + 1)), row.tail(cut)
        masses = np.append(pmf, tail)
        length = float(np.sum(masses * (precision - np.log2(quantise(masses, precision))))) + row.escape_length(cut)
        if length < best_length:
            best, best_length = (pmf, tail), length
    return best


def _candidate_cuts(scale: float, precision: int) -> list[int]:
    """Give the smallest cuts, and those with tails of 2**-(p + 2) to 2**-(p - 8), in steps of a quarter of a bit.

    Small scales pay for an entry of each sign although their tails are short: an escape spells a sign in two bits.
    """
    tails = np.exp2(-np.arange(precision - 8, precision + 2, 0.25))
    cuts = np.round(scale * np.log(2 / tails) - 0.5).astype(int)
    return sorted({0, 1, 2, *(int(cut) for cut in np.clip(cuts, 0, SYMBOL_MAX))})


def _logistic(values: NDArray[np.int64], scale: float) -> Floats:
    """Integrate the logistic density over unit bins, in the left tail where differences keep their digits."""
    distance = np.abs(values).astype(np.float64)
    return _sigmoid((0.5 - distance) / scale) - _sigmoid((-0.5 - distance) / scale)


def _logistic_tail(cut: int, scale: float) -> float:
    return float(2 * _sigmoid(np.array(-(cut + 0.5) / scale)))


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)), np.float64)  # overflows nowhere
