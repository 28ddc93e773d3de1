"""In which order a stream gives samples: a pure function of seed, epoch and reader, so that it can go on anywhere.

A reader is one worker of one process. Runs of samples that lie side by side in a shard come in an order drawn anew for
each epoch; the samples, in that order, are cut into one span for each reader, whose lengths differ by one at most; each
reader mixes its span in a buffer. Runs are short, since classes lie side by side as well: whole shards of one class,
one after the other, would be no order to train in.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

DRAWN = 1024  # random numbers that are drawn at once
LONGEST_RUN = 64  # samples that are read side by side: some 200 kB
RUNS = 8  # in a buffer, at least

Shape = Hashable


@dataclass(frozen=True)
class Reader:
    """One of `count` readers, by its number."""

    number: int
    count: int


@dataclass(frozen=True)
class Order:
    """How samples are ordered. starts: int64 [files + 1], the first sample of each file, and the end.

    buffer: samples among which one is drawn; 0 gives them in their own order. is_even: leave out what would make spans,
    or numbers of batches, unequal. batch_size: samples in a batch; drop_last: leave out smaller ones.
    """

    starts: NDArray[np.int64]
    buffer: int
    seed: int
    is_even: bool
    batch_size: int
    drop_last: bool
    _fewest: dict[tuple[int, int], int] = field(default_factory=dict)  # batches that every reader has, by epoch

    def samples(self, epoch: int, reader: Reader) -> Iterator[int]:
        """The samples of a reader."""
        span = self._span(epoch, reader)
        return _mixed(span, self.buffer, self._source(epoch, 1, reader.number)) if self.buffer else span

    def batches(self, epoch: int, reader: Reader, shape: Callable[[int], Shape]) -> Iterator[list[int]]:
        """The batches of a reader, each of samples of one shape; as many as of every other where they are even."""
        batches = self._batches(epoch, reader, shape)
        if not self.is_even:
            return batches
        if (epoch, reader.count) not in self._fewest:
            readers = (Reader(number, reader.count) for number in range(reader.count))
            self._fewest[epoch, reader.count] = min(self._batch_count(epoch, each, shape) for each in readers)
        return islice(batches, self._fewest[epoch, reader.count])

    def _batch_count(self, epoch: int, reader: Reader, shape: Callable[[int], Shape]) -> int:
        """How many batches a reader has: no buffer changes which samples are its own."""
        missing = 0 if self.drop_last else self.batch_size - 1
        return sum(
            (count + missing) // self.batch_size for count in Counter(map(shape, self._span(epoch, reader))).values()
        )

    def _batches(self, epoch: int, reader: Reader, shape: Callable[[int], Shape]) -> Iterator[list[int]]:
        waiting: dict[Shape, list[int]] = {}
        for number in self.samples(epoch, reader):
            kind = shape(number)
            batch = waiting.setdefault(kind, [])
            batch.append(number)
            if len(batch) == self.batch_size:
                yield waiting.pop(kind)
        if not self.drop_last:
            yield from waiting.values()

    def _span(self, epoch: int, reader: Reader) -> Iterator[int]:
        start, stop = _cut(int(self.starts[-1]), reader, self.is_even)
        if not self.buffer:
            yield from range(start, stop)
            return
        firsts, sizes = self._runs()
        drawn = self._source(epoch, 0, 0).permutation(len(firsts))
        ends = sizes[drawn].cumsum()
        for run in range(int(ends.searchsorted(start, "right")), len(drawn)):
            first, end = int(firsts[drawn[run]]), int(ends[run])
            position = end - int(sizes[drawn[run]])
            if position >= stop:
                return
            yield from range(first + max(start - position, 0), first + min(stop, end) - position)

    def _runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The first sample and the length of each run, none across the border of a file."""
        longest = max(1, min(LONGEST_RUN, self.buffer // RUNS))
        in_file = -(-np.diff(self.starts) // longest)
        number = np.arange(in_file.sum()) - np.repeat(in_file.cumsum() - in_file, in_file)
        firsts = np.repeat(self.starts[:-1], in_file) + number * longest
        return firsts, np.minimum(longest, np.repeat(self.starts[1:], in_file) - firsts)

    def _source(self, epoch: int, purpose: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, purpose, number])


def _cut(total: int, reader: Reader, is_even: bool) -> tuple[int, int]:
    """The span of a reader; the first ones have one more where they cannot be equal."""
    each, more = divmod(total, reader.count)
    more = 0 if is_even else more
    start = reader.number * each + min(reader.number, more)
    return start, start + each + (reader.number < more)


def _mixed(items: Iterable[int], size: int, source: np.random.Generator) -> Iterator[int]:
    """Draw each next item from a buffer of the next `size` ones."""
    places = _places(size, source)
    buffer: list[int] = []
    for item in items:
        if len(buffer) < size:
            buffer.append(item)
            continue
        place = next(places)
        yield buffer[place]
        buffer[place] = item
    source.shuffle(buffer)
    yield from buffer


def _places(size: int, source: np.random.Generator) -> Iterator[int]:
    while True:
        yield from source.integers(size, size=DRAWN).tolist()
