"""What readers of sound files give, whatever library reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import RarefyError

Samples = NDArray[np.float32]

_BITS = {
    **{f"PCM_{name}": bits for name, bits in (("S8", 8), ("U8", 8), ("16", 16), ("24", 24), ("32", 32))},
    **{f"ALAC_{bits}": bits for bits in (16, 20, 24, 32)},
    "FLOAT": 32,
    "DOUBLE": 64,
}
_OTHER_EXACT = ("ULAW", "ALAW")  # eight bits per sample, each on its own


@dataclass(frozen=True)
class SoundFacts:
    """What a file says before its samples are decoded.

    format: the kind of file, "WAV". subtype: how its samples are coded, by the names of libsndfile ("PCM_16", "FLOAT",
    "VORBIS"). length: samples per channel.
    """

    format: str
    subtype: str
    sample_rate: int
    channels: int
    length: int
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """An opened file of sound."""

    facts: SoundFacts

    def read(self, position: int, count: int) -> Samples:
        """Give samples [count, channels] from a position on; raises MediaError where they are not there."""

    def close(self) -> None:
        """Give back what the reader holds."""


class UnreadableError(RarefyError):
    """A library does not read a file; another one may."""


def bit_depth_of(subtype: str | None) -> int | None:
    """Give the bits per sample of a coding without loss ("PCM_24": 24, "FLOAT": 32), None for others."""
    return None if subtype is None else _BITS.get(subtype)


def without_loss(subtype: str) -> bool:
    """Tell whether every sample stands for itself in a coding, so that any position can be read exactly."""
    return bit_depth_of(subtype) is not None or subtype in _OTHER_EXACT
