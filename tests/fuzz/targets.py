"""The fuzz targets: a harness each, what its inputs grow from, and how they are altered."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from fuzz import harnesses, seeds
from fuzz.mutation import mutate, mutated
from fuzz.sealing import sealed

# Sizes of networks are believed up to what torch can allocate, so numbers stay where that costs nothing.
ODD_NUMBERS = ("0", "-1", "1", "255", "1e2", "null", '"x"')


@dataclass(frozen=True)
class Target:
    """A harness with its seeds.

    run: takes bytes, gives the outcome, raises what is a finding. alter: makes an input from seeds. repair: makes
    checksums fit again.
    """

    run: Callable[[bytes], str]
    seeds: Callable[[], list[bytes]]
    alter: Callable[[random.Random, Sequence[bytes]], bytes] = mutated
    repair: Callable[[bytes], bytes] | None = None


def altered_weights(source: random.Random, weights: Sequence[bytes]) -> bytes:
    """Weights with their header altered, its length mostly right, or a few bytes of tensors."""
    data = source.choice(weights)
    stop = 8 + int.from_bytes(data[:8], "little")
    header, tensors = data[8:stop], data[stop:]
    match source.randrange(4):
        case 0:
            return mutate(source, data[:8]) + header + tensors
        case 1:
            header = mutate(source, header)
        case 2:
            numbers = list(re.finditer(rb"\d+", header))
            number = source.choice(numbers)
            header = header[: number.start()] + source.choice(ODD_NUMBERS).encode() + header[number.end() :]
        case _:
            return data[:stop] + mutate(source, tensors)
    return len(header).to_bytes(8, "little") + header + tensors


TARGETS = {
    "container": Target(harnesses.read_file, seeds.files, repair=sealed),
    "coder": Target(harnesses.decode_stream, seeds.streams),
    "tables": Target(harnesses.take_tables, seeds.tables),
    "weights": Target(harnesses.load_weights, seeds.weights, altered_weights),
    "pictures": Target(harnesses.open_picture, seeds.pictures),
    "metadata": Target(harnesses.carry_metadata, seeds.metadata),
    "codec": Target(harnesses.decode_file, seeds.coded_files, repair=sealed),
    "sounds": Target(harnesses.decode_sound, seeds.coded_sounds, repair=sealed),
    "recordings": Target(harnesses.open_sound, seeds.recordings),
    "arguments": Target(harnesses.parse_arguments, seeds.arguments),
}


@cache
def seeds_of(name: str) -> tuple[bytes, ...]:
    """What inputs of a target grow from."""
    return (*TARGETS[name].seeds(), *seeds.corpus(name))


def inputs(name: str, seed: int, count: int) -> Iterator[bytes]:
    """Altered seeds of a target, the same for the same seed; of those with checksums seven in eight fit."""
    source, target = random.Random(seed), TARGETS[name]
    for _ in range(count):
        data = target.alter(source, seeds_of(name))
        yield target.repair(data) if target.repair is not None and source.randrange(8) else data
