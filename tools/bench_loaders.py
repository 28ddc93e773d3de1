"""What times the loading of samples: the same tar layout through the same mapped files, in as many workers.

Ways take turns, into batches of one size; what is told are medians over rounds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rarefy.data import LatentStream
from rarefy.data.decoding import decode_files, read_files
from rarefy.data.reading import Mapped, Samples
from rarefy.data.shards import read_members

BATCH = 64
ROUNDS = 5

THREADED = "latents, threads, no workers"

Ways = Mapping[str, Any]  # datasets that give batches, by name; the first one is that of the latents


def latents_of(shards: Path) -> LatentStream:
    """The stream that is timed."""
    return LatentStream(shards, batch_size=BATCH, shuffle=4 * BATCH)


def timings(ways: Ways, shards: Path, count: int, workers: int) -> dict[str, Any]:
    """Rates of all ways with workers, of latents with threads too; times of one process; and parts of the latents'."""
    rates = _rates(ways, count, workers)
    decoding = _decoding_us(Samples(shards, "auto", None, 0, None))
    alone = {name: 1e6 / rate for name, rate in _rates(ways, count, 0).items()}
    return {
        "batch": BATCH,
        "workers": workers,
        "rounds": ROUNDS,
        "samples_per_second": rates | _threaded(ways, count, workers),
        "microseconds_in_one_process": alone,
        "decoding_us": decoding,
    }


class Stored(Dataset[Tensor]):
    """Other files in a shard, by their suffix, decoded one by one."""

    def __init__(self, shard: Path, suffix: str, decoder: Callable[[bytes], Tensor]) -> None:
        self._places = [fields[suffix] for _, fields in read_members(shard)]
        self._mapped = Mapped(shard.parent, [shard.name])
        self._decoder = decoder

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Tensor:
        return self._decoder(self._mapped.read(0, self._places[number]))


def _loader(way: Any, workers: int) -> "DataLoader[Any]":
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    if isinstance(way, LatentStream):
        return DataLoader(way, batch_size=None, **options)
    return DataLoader(way, batch_size=BATCH, shuffle=True, **options)


def _rates(ways: Ways, count: int, workers: int) -> dict[str, float]:
    loaders = {name: _loader(way, workers) for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, loader in loaders.items():
            begin = perf_counter()
            given = sum(len(batch) if isinstance(batch, Tensor) else len(batch.latents) for batch in loader)
            times[name].append(perf_counter() - begin)
            assert given == count
    return {name: count / median(seconds[1:]) for name, seconds in times.items()}  # the first starts the workers


def _threaded(ways: Ways, count: int, threads: int) -> dict[str, float]:
    """The rate without workers: batches are decoded by threads, and no tensor goes from one process to another."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {THREADED: _rates({"latents": ways["latents"]}, count, 0)["latents"]}
    finally:
        torch.set_num_threads(before)


def _decoding_us(samples: Samples) -> dict[str, float]:
    """Microseconds a sample of the entropy coder's call alone, and of all that it is called for."""
    numbers = range(min(BATCH, len(samples.index)))
    datas = [samples.coded(number) for number in numbers]
    files = read_files(datas, samples.limits)
    parts: dict[str, Callable[[], object]] = {
        "reading and checksums": lambda: read_files(datas, samples.limits),
        "entropy decoding": lambda: decode_files(files, samples.codec, samples.output, samples.limits),
    }
    return {name: median(_times(part)) / len(datas) * 1e6 for name, part in parts.items()}


def _times(call: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(2 * ROUNDS + 1):
        begin = perf_counter()
        call()
        times.append(perf_counter() - begin)
    return times[1:]
