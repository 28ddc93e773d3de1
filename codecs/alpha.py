"""Alpha planes, uint8 [H, W], without loss: a predictor and zlib, as one section of each unit (FORMAT.md, section 5).

A residual is what a plane differs by, modulo 256, from its left neighbours, from those above, from both (left + above -
corner), or from nothing; outside the plane is 0.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import FormatError

Plane = NDArray[np.uint8]
_AXES: tuple[tuple[int, ...], ...] = ((), (1,), (0,), (0, 1))  # along which each predictor takes differences


def compress(plane: Plane) -> bytes:
    """Code a plane; the predictor with the smallest residuals is taken."""
    residuals = [_residual(plane, axes) for axes in _AXES]
    costs = [int(np.minimum(r, -r).sum(dtype=np.int64)) for r in residuals]
    best = costs.index(min(costs))
    return bytes([best]) + zlib.compress(residuals[best].tobytes(), 9)


def decompress(data: bytes, height: int, width: int) -> Plane:
    """Decode a plane [height, width]; raises FormatError for bytes that hold none, in no more memory than it takes."""
    if not data or data[0] >= len(_AXES):
        raise FormatError(f'section "alpha" begins with {data[:1]!r}, which is no predictor: the file is altered')
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data[1:], height * width + 1)
    except zlib.error as error:
        raise FormatError(f'section "alpha" is damaged: {error}') from error
    if len(raw) != height * width or not stream.eof or stream.unused_data:
        raise FormatError(f'section "alpha" does not hold {height} x {width} samples: the file is damaged or altered')
    plane = np.frombuffer(raw, np.uint8).reshape(height, width)
    for axis in _AXES[data[0]]:
        plane = np.add.accumulate(plane, axis, dtype=np.uint8)
    return plane


def _residual(plane: Plane, axes: tuple[int, ...]) -> Plane:
    for axis in axes:
        plane = np.diff(plane, axis=axis, prepend=np.uint8(0))
    return np.ascontiguousarray(plane)
