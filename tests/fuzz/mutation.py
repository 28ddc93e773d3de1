"""Bytes altered at random, from a seed."""

import random
from collections.abc import Sequence

TELLING = (0, 1, 0x7F, 0x80, 0xFF)  # values at which numbers change their length or their sign


def changed(data: bytes, position: int, value: int) -> bytes:
    """The same bytes but one."""
    return data[:position] + bytes([value]) + data[position + 1 :]


def mutate(source: random.Random, data: bytes) -> bytes:
    """Change, drop, insert or repeat a few bytes."""
    altered = bytearray(data)
    for _ in range(source.randrange(1, 4)):
        position = source.randrange(len(altered) + 1)
        match source.randrange(5):
            case 0 | 1 if position < len(altered):
                altered[position] = source.choice((*TELLING, source.randrange(256)))
            case 2:
                del altered[position : position + source.randrange(1, 5)]
            case 3:
                altered[position:position] = source.randbytes(source.randrange(1, 5))
            case _:
                altered[position:position] = altered[position : position + 8]
    return bytes(altered)


def spliced(source: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The beginning of one seed and the end of another."""
    first, second = source.choice(seeds), source.choice(seeds)
    return first[: source.randrange(len(first) + 1)] + second[source.randrange(len(second) + 1) :]


def mutated(source: random.Random, seeds: Sequence[bytes]) -> bytes:
    """A seed with a few bytes altered, or, one time in eight, parts of two."""
    if source.randrange(8) == 0:
        return spliced(source, seeds)
    return mutate(source, source.choice(seeds))
