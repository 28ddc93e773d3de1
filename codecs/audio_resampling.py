"""Another sample rate, by soxr, block by block: the blocks together equal the whole exactly.

Lengths are exact: n samples become ceil(n * to / from), so that on the way back none is missing.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from rarefy.codecs.audio_source import Samples
from rarefy.errors import MediaError, OptionError

_QUALITY = "VHQ"  # 28 bits: what is lost stays below the steps of 24-bit files
_STEEPEST = 256  # ratio of rates for one filter: soxr designs one of 44,100 to 1 in over a second, two of this in 20 ms


def resampled_length(length: int, from_rate: int, to_rate: int) -> int:
    """Give the number of samples that `length` samples become: the smallest that covers their time."""
    return -(-length * to_rate // from_rate)


def resample(samples: Samples, from_rate: int, to_rate: int, length: int | None = None) -> Samples:
    """Resample float32 [channels, n] to [channels, length].

    length: samples wanted, `resampled_length` without it; on the way back, the original length. The sound is taken as
    silent beyond its ends. The first sample stays in its place (no delay).

    Raises OptionError for rates below 1 and a negative length, MediaError where soxr is missing.
    """
    blocks = list(resample_blocks([samples], from_rate, to_rate, length))
    return np.concatenate(blocks, axis=1) if blocks else np.empty((len(samples), 0), np.float32)


def resample_blocks(
    blocks: Iterable[Samples], from_rate: int, to_rate: int, length: int | None = None
) -> Iterator[Samples]:
    """Resample blocks float32 [channels, n] of a sound, in bounded memory; see `resample`.

    Blocks that come out have other sizes than those that go in, none is empty; how the sound is cut into blocks changes
    no sample.
    """
    if from_rate < 1 or to_rate < 1 or (length is not None and length < 0):
        raise OptionError(f"rates are 1 Hz or more and lengths 0 or more, not {from_rate} to {to_rate} Hz, {length}")
    if from_rate > _STEEPEST * to_rate:
        blocks = resample_blocks(blocks, from_rate, between := _STEEPEST * to_rate)
        from_rate = between
    return _resampled(iter(blocks), from_rate, to_rate, length)


def _resampled(blocks: Iterator[Samples], from_rate: int, to_rate: int, length: int | None) -> Iterator[Samples]:
    first = next(blocks, None)
    if first is None:
        return
    stream = None if from_rate == to_rate else _stream(from_rate, to_rate, len(first))
    taken = given = 0
    for block in chain([first], blocks):
        taken += block.shape[1]
        out = _cut(_passed(stream, block), given, length)
        given += out.shape[1]
        if out.shape[1]:
            yield out
    wanted = resampled_length(taken, from_rate, to_rate) if length is None else length
    if given < wanted:
        # Silence until soxr, which rounds the length of the whole to the nearest, has given enough
        silence = max(-(-(wanted + 1) * from_rate // to_rate) - taken, 0)
        out = _passed(stream, np.zeros((len(first), silence), np.float32), is_last=True)
        yield _cut(out, given, wanted)


def _cut(block: Samples, given: int, length: int | None) -> Samples:
    return block if length is None else block[:, : max(length - given, 0)]


def _passed(stream: Any, block: Samples, is_last: bool = False) -> Samples:
    """Pass a block through soxr, whose arrays are [n, channels]; without a stream it stays what it is."""
    if stream is None:
        return block
    out = stream.resample_chunk(np.ascontiguousarray(block.T), last=is_last)
    return np.ascontiguousarray(out.T)


def _stream(from_rate: int, to_rate: int, channels: int) -> Any:
    try:
        import soxr
    except ImportError as error:
        raise MediaError("another sample rate needs a package: pip install 'rarefy[audio]'") from error
    return soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32", quality=_QUALITY)
