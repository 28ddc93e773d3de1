"""An iterable dataset of latents: batches without duplicates over workers and processes; it goes on anywhere."""

import os
import zlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from torch.utils.data import IterableDataset, get_worker_info

from rarefy.codecs.limits import Limits
from rarefy.data.crops import NO_FLIP, Crop, SoundCrop
from rarefy.data.order import Order, Reader
from rarefy.data.reading import Samples, shared_number, shared_numbers
from rarefy.data.samples import Batch, make_batch
from rarefy.data.statistics import Statistics, known_statistics
from rarefy.errors import OptionError

STATE_VERSION = 2
_NOBODY, _HERE = -2, -1


class LatentStream(IterableDataset[Batch]):
    """Batches of latents of equal shape, each decoded in one call: `DataLoader(stream, batch_size=None)`.

    path, output, crop, limits: as for `LatentDataset`. batch_size: samples in a batch; drop_last: no smaller ones at
    the end. shuffle: samples among which the next one is drawn (bytes stay on disk), after runs of up to 64
    samples were put into another order; 0 gives all in their own order. seed: of that, with `set_epoch`.

    Every sample comes once an epoch, whatever the number of workers and ranks: each of them reads a span of its own.
    rank, ranks: of this process; by default those of torch.distributed. is_even: leave out the few samples (fewer than
    there are readers) that would give ranks unequal numbers of them, and batches, where shapes differ, that not every
    reader has: for those distributed training would wait for ever.

    device: where the latents and classes of a batch go. Bytes are decoded on the CPU, as one batch, by as many threads
    as torch has; the copy begins at once and nothing waits for it. Without workers only: they cannot use a GPU.

    `state_dict` and `load_state_dict` go on inside an epoch, exactly; so does `torchdata`'s StatefulDataLoader.
    Whatever else begins to iterate gets the whole epoch.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        batch_size: int = 64,
        drop_last: bool = False,
        shuffle: int = 4096,
        seed: int = 0,
        output: str = "auto",
        crop: Crop | SoundCrop | None = None,
        flip: bool = False,
        rank: int | None = None,
        ranks: int | None = None,
        is_even: bool = False,
        limits: Limits | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if flip:
            raise OptionError(NO_FLIP)
        self._device = torch.device(device)
        if batch_size < 1 or shuffle < 0 or seed < 0:
            raise OptionError(f"batch_size {batch_size}, shuffle {shuffle}, seed {seed}: from 1, 0 and 0 on")
        self._place = None if rank is None and ranks is None else _place_of(rank, ranks)
        self._samples = Samples(Path(path), output, crop, seed, limits)
        files = self._samples.index.places[:, 0]
        starts = np.searchsorted(files, np.arange(len(self._samples.index.files) + 1))
        self._order = Order(starts.astype(np.int64), shuffle, seed, is_even, batch_size, drop_last)
        self._epoch = shared_number(0)
        # Where the iteration that began last stands here, or the state that was loaded:
        self._by_workers = shared_number(0)  # whether workers iterate, whose places are not known here
        self._given: dict[int, int] = {}  # batches that readers of this rank gave already, by worker
        self._workers: int | None = None
        self._first = 0  # the worker whose turn it is in that state: a new `DataLoader` begins with its worker 0
        self._goes_on = False  # whether this copy of the stream begins there, if nobody else has
        self._taken = shared_number(_NOBODY)  # who has: one `DataLoader` with its workers, or a process by itself
        self._begun = shared_numbers(1)  # which of its workers have: another `DataLoader` can draw the same number

    def __iter__(self) -> Iterator[Batch]:
        worker, workers = _worker()
        self._by_workers[0] = get_worker_info() is not None
        if self._device.type != "cpu" and get_worker_info() is not None:
            raise OptionError(
                f"a worker cannot give tensors on {self._device}: take num_workers=0, or move batches without device="
            )
        if self._is_mine(worker):
            if self._workers != workers:
                raise OptionError(
                    f"the state is of {self._workers} workers, here are {workers}: it fits the same number alone"
                )
            self._goes_on = False
            self._taken[0], self._begun[worker] = _iterating(), 1
        else:
            self._given, self._first = {}, 0
        self._workers = workers
        worker, given = (worker + self._first) % workers, self._given
        for numbers in islice(self._batches(worker, workers), given.get(worker, 0), None):
            batch = self._batch(numbers)
            given[worker] = given.get(worker, 0) + 1
            yield batch

    def _here(self) -> tuple[int, int]:
        """Rank and number of ranks, as they were given, or as torch.distributed says now."""
        return self._place or _place_of(None, None)

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is started anew knows nothing of torch.distributed."""
        return {**self.__dict__, "_place": self._here()}

    def _is_mine(self, worker: int) -> bool:
        """Whether an iteration that begins here goes on from the state that was loaded.

        That is done once, by all workers of a `DataLoader`; those who come later begin anew.
        """
        if not self._goes_on or int(self._taken) not in (_NOBODY, _iterating()):
            return False
        return worker >= len(self._begun) or not self._begun[worker]

    def _batch(self, numbers: list[int]) -> Batch:
        samples = self._samples
        latents = samples.latents(numbers, int(self._epoch))
        labels = [samples.label(number) for number in numbers]
        batch = make_batch(latents, labels, [samples.index.key(number) for number in numbers])
        return batch if self._device.type == "cpu" else _moved(batch, self._device)

    def _batches(self, worker: int, workers: int) -> Iterator[list[int]]:
        rank, ranks = self._here()
        reader = Reader(rank * workers + worker, ranks * workers)
        return self._order.batches(int(self._epoch), reader, self._samples.shape)

    def set_epoch(self, epoch: int) -> None:
        """Begin another epoch, in another order; call it before each, with workers that stay too.

        That epoch of a state that was loaded, and that nobody has gone on from, goes on there.
        """
        if epoch != int(self._epoch) or not (self._goes_on and int(self._taken) == _NOBODY):
            self._given, self._workers, self._first, self._goes_on = {}, None, 0, False
        self._epoch[0] = epoch

    @property
    def samples(self) -> int:
        """Samples of all ranks in an epoch, before any are left out."""
        return len(self._samples.index)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1 …, where they are known."""
        return self._samples.index.classes

    @property
    def output(self) -> str:
        """What latents are: "integers" or "floats"."""
        return self._samples.output

    @property
    def statistics(self) -> Statistics | None:
        """What `rarefy pack --statistics` found, where that is of this output."""
        return known_statistics(self._samples.index.root, self.output)

    def state_dict(self, batches: int | None = None, workers: int = 0) -> dict[str, Any]:
        """Where this rank is in its epoch: a dict of numbers.

        Without arguments for a stream that was iterated here. Of a `DataLoader` with workers, the stream here knows
        nothing: say how many of its batches were used in this epoch, before an earlier state too, and its
        `num_workers`. Raises OptionError where workers iterated and nothing is said.
        """
        if batches is None and get_worker_info() is None and int(self._by_workers):
            raise OptionError("workers iterate, and only they know where they are: say batches= and workers=")
        return self._state(batches, workers)

    def _state(self, batches: int | None, workers: int) -> dict[str, Any]:
        given, first, count = dict(self._given), self._first, self._workers or _worker()[1]
        if batches is not None:
            count = max(workers, 1)
            given, first = self._after(batches, count)
        return {
            "version": STATE_VERSION,
            "seed": self._order.seed,
            "epoch": int(self._epoch),
            "samples": self.samples,
            "shards": zlib.crc32(self._order.starts.tobytes()),
            "batch_size": self._order.batch_size,
            "shuffle": self._order.buffer,
            "is_even": self._order.is_even,
            "drop_last": self._order.drop_last,
            "rank": self._here()[0],
            "ranks": self._here()[1],
            "workers": count,
            "given": given,
            "first": first,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was taken: the next iteration gives the batches that would have come next.

        Workers that stay (`persistent_workers`) have to start after this. Raises OptionError for a state of another
        number of samples, of another order, or of another rank.
        """
        mine = self._state(None, 0)
        if state.keys() != mine.keys():
            raise OptionError(f"a state of a stream has {', '.join(mine)}, this has {', '.join(state) or 'nothing'}")
        for name in mine.keys() - {"epoch", "workers", "given", "first"}:
            if state[name] != mine[name]:
                raise OptionError(f"the state has {name} {state[name]}, this stream {mine[name]}")
        self.set_epoch(state["epoch"])
        self._given = {int(worker): count for worker, count in state["given"].items()}
        self._workers, self._first = state["workers"], state["first"]
        self._goes_on, self._taken = True, shared_number(_NOBODY)
        self._by_workers[0] = False
        self._begun = shared_numbers(state["workers"])

    def _after(self, batches: int, workers: int) -> tuple[dict[int, int], int]:
        """How many batches each worker has given after so many of all, and whose turn it is.

        A `DataLoader` takes one of each in turn, and leaves out those that have no more.
        """
        totals = [sum(1 for _ in self._batches(worker, workers)) for worker in range(workers)]
        if batches > sum(totals):
            raise OptionError(f"an epoch has {sum(totals)} batches, {batches} are said to be used")
        given, turn = dict.fromkeys(range(workers), 0), 0
        while batches:
            if given[turn] < totals[turn]:
                given[turn] += 1
                batches -= 1
            turn = (turn + 1) % workers
        return given, turn


def _place_of(rank: int | None, ranks: int | None) -> tuple[int, int]:
    """Rank and number of ranks, as given or as torch.distributed has them."""
    if (rank is None) != (ranks is None):
        raise OptionError("rank and ranks are given together")
    if rank is None or ranks is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
    if not 0 <= rank < ranks:
        raise OptionError(f"rank {rank} of {ranks}: from 0 on, below their number")
    return rank, ranks


def _moved(batch: Batch, device: torch.device) -> Batch:
    """A batch on another device, out of pinned memory, from which a GPU copies while the CPU goes on."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(one) for one in value]
        if not isinstance(value, torch.Tensor):
            return value
        return (value.pin_memory() if device.type == "cuda" else value).to(device, non_blocking=True)

    return Batch(moved(batch.latents), moved(batch.labels), batch.keys)


def _worker() -> tuple[int, int]:
    """Number of this worker, and how many there are; a process without workers is the only one."""
    info = get_worker_info()
    return (info.id, info.num_workers) if info is not None else (0, 1)


def _iterating() -> int:
    """A number that all workers of one iteration of a `DataLoader` share."""
    info = get_worker_info()
    return info.seed - info.id if info is not None else _HERE
