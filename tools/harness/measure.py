"""Measure candidates on media: every candidate at every setting on every item, files and all, cached as it goes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Generic, TypeVar

from rarefy.errors import MediaError, OptionError
from rarefy.tools.harness.cache import Cache
from rarefy.tools.harness.memory import peak_bytes
from rarefy.tools.harness.parts import Candidate, Item, Medium, Metric

Result = TypeVar("Result")
Row = dict[str, Any]  # one item at one setting, as results hold it
ROW_SCHEMA = 1  # raised when rows change their meaning, so that cached ones are measured again


@dataclass(frozen=True)
class Measured:
    """rows: of everything that worked. first_run: milliseconds of the first, cold calls of each candidate.

    failures: sentences, one for each candidate and item that did not work; their rows are left out.
    """

    rows: list[Row]
    first_run: dict[str, dict[str, float]]
    failures: list[str]


class Bench(Generic[Medium]):
    """A run over items. circumstances: what cached times depend on, such as machine and threads.

    fail: is told of every candidate and item that does not work. progress: is told how many of all steps are done.
    """

    def __init__(
        self,
        items: Sequence[Item[Medium]],
        metrics: Sequence[Metric[Medium]],
        cache: Cache,
        circumstances: Mapping[str, object],
        fail: Callable[[str, Exception], object],
        progress: Callable[[int, int], None],
    ) -> None:
        self._items, self._metrics, self._cache = items, metrics, cache
        self._circumstances, self._fail, self._progress = circumstances, fail, progress
        self._failed: set[tuple[str, str]] = set()

    def run(self, candidates: Sequence[Candidate[Medium]]) -> Measured:
        """Measure all candidates; a failure costs the item of that candidate, not the run."""
        measured = Measured([], {}, [])
        total = len(candidates) * len(self._items)
        for number, candidate in enumerate(candidates):
            for position, item in enumerate(self._items):
                try:
                    if candidate.name not in measured.first_run:
                        measured.first_run[candidate.name] = self._first_run(candidate, item)
                    measured.rows.extend([self.row(candidate, setting, item) for setting in candidate.settings])
                except Exception as error:  # whatever a library raised: it is named and the rest is measured
                    self._fail(f"{candidate.name}: {item.name}", error)
                    self._failed.add((candidate.name, item.name))
                    measured.failures.append(f"{candidate.name}: {item.name}: {error}")
                self._progress(number * len(self._items) + position + 1, total)
        return measured

    def _first_run(self, candidate: Candidate[Medium], item: Item[Medium]) -> dict[str, float]:
        """Time the calls that load weights and libraries, so that the rows are warm; once for a whole cache."""
        key = self._key(candidate, candidate.settings[0], item) | {"is_first": True}
        if found := self._cache.find(key):
            return {name: found[0][name] for name in ("encode_ms", "decode_ms")}
        data, encode_ms = _timed(lambda: candidate.encode(item.medium, candidate.settings[0]))
        _, decode_ms = _timed(lambda: candidate.decode(data))
        times = {"encode_ms": encode_ms, "decode_ms": decode_ms}
        self._cache.keep(key, times | {"size_bytes": len(data)}, data)
        return times

    def row(self, candidate: Candidate[Medium], setting: float, item: Item[Medium]) -> Row:
        """Return one item at one setting: from the cache, with metrics that it lacks, or measured now."""
        key = self._key(candidate, setting, item)
        if found := self._cache.find(key):
            row, data = found
            lacking = [metric for metric in self._metrics if metric.key not in row["metrics"]]
            if not lacking:
                return self._shown(row, item)
            decoded = candidate.decode(data)
        else:
            row, data, decoded = self._measure(candidate, setting, item)
            lacking = list(self._metrics)
        row["metrics"] |= {metric.key: _fidelity(metric, item.medium, decoded) for metric in lacking}
        self._cache.keep(key, row, data)
        return self._shown(row, item)

    def _measure(self, candidate: Candidate[Medium], setting: float, item: Item[Medium]) -> tuple[Row, bytes, Medium]:
        with candidate.times() as encode_parts:
            data, encode_ms = _timed(lambda: candidate.encode(item.medium, setting))
        with candidate.times() as decode_parts:
            decoded, decode_ms = _timed(lambda: candidate.decode(data))
        is_weighed = item is self._items[0]  # calls of their own: one medium is enough
        row: Row = {
            "codec": candidate.name,
            "setting": setting,
            "size_bytes": len(data),
            "encode_ms": encode_ms,
            "decode_ms": decode_ms,
            "encode_peak_bytes": peak_bytes(lambda: candidate.encode(item.medium, setting)) if is_weighed else None,
            "decode_peak_bytes": peak_bytes(lambda: candidate.decode(data)) if is_weighed else None,
            "size_parts": candidate.size_parts(data),
            "encode_parts_ms": dict(encode_parts),
            "decode_parts_ms": dict(decode_parts),
            "metrics": {},
        }
        return row, data, decoded

    def _shown(self, row: Row, item: Item[Medium]) -> Row:
        """Return a row as results hold it: named by the item of this run, with the metrics of this run."""
        rest = {name: value for name, value in row.items() if name not in ("codec", "setting", "metrics")}
        return {
            "codec": row["codec"],
            "setting": row["setting"],
            "picture": item.name,
            **item.facts,
            "digest": item.digest[:16],
            "bits_per_pixel": 8 * row["size_bytes"] / item.amount,
            **{metric.key: row["metrics"][metric.key] for metric in self._metrics},
            **rest,
        }

    def _key(self, candidate: Candidate[Medium], setting: float, item: Item[Medium]) -> dict[str, object]:
        return {
            "schema": ROW_SCHEMA,
            "codec": candidate.name,
            "describe": candidate.describe,
            "version": candidate.version,
            "setting": setting,
            "digest": item.digest,
            **self._circumstances,
        }

    def file(self, candidate: Candidate[Medium], setting: float, item: Item[Medium]) -> bytes | None:
        """Return the file of an item at a setting, from the cache or made again; None where it could not be made."""
        if (candidate.name, item.name) in self._failed:
            return None
        found = self._cache.find(self._key(candidate, setting, item))
        return found[1] if found else candidate.encode(item.medium, setting)


def _fidelity(metric: Metric[Medium], reference: Medium, decoded: Medium) -> float | None:
    try:
        return metric.measure(reference, decoded)
    except OptionError as error:  # here it is the codec that gave something else than it took
        raise MediaError(f"what was decoded cannot be compared: {error}") from error


def _timed(call: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a call gives and its milliseconds."""
    begin = perf_counter()
    result = call()
    return result, 1000 * (perf_counter() - begin)
