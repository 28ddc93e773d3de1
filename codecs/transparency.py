"""Colours that nobody sees: under an alpha of 0 they are replaced by what costs few bits.

The fill is smooth and continues the visible colours: averages go up a pyramid, and come down into the gaps, where they
are smoothed at every level (Burt 1988; "push and pull" of Gortler et al. 1996). The time is linear in the pixels.
"""

import numpy as np
import numpy.typing as npt

from rarefy.codecs.orientation import Pixels

_Plane = npt.NDArray[np.float32]
_SMOOTHINGS = 2  # rounds at every level; a third changes sizes of files by less than a thousandth
_NOTHING_VISIBLE = 128


def fill_invisible(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Replace colours where alpha is 0 by a smooth continuation of the others, which come back as they are.

    pixels: uint8 [H, W, C]. alpha: uint8 [H, W]. Gives a new array; the same one where nothing is invisible.
    """
    is_visible = alpha != 0
    if is_visible.all():
        return pixels
    if not is_visible.any():
        return np.full_like(pixels, _NOTHING_VISIBLE)
    filled = pixels.copy()
    for channel in range(pixels.shape[2]):  # one at a time, for the memory
        plane = _filled(np.where(is_visible, pixels[:, :, channel], 0).astype(np.float32), is_visible)
        np.copyto(filled[:, :, channel], np.rint(plane).astype(np.uint8), where=~is_visible)
    return filled


def _filled(plane: _Plane, is_known: npt.NDArray[np.bool_]) -> _Plane:
    """Fill a plane whose unknown values are 0."""
    if is_known.all():
        return plane
    coarse = _filled(*_halved(plane, is_known))
    filled = coarse.repeat(2, axis=0).repeat(2, axis=1)[: plane.shape[0], : plane.shape[1]]
    np.copyto(filled, plane, where=is_known)
    for _ in range(_SMOOTHINGS):
        smooth = _mean_of_neighbours(filled)
        np.copyto(smooth, plane, where=is_known)
        filled = smooth
    return filled


def _halved(plane: _Plane, is_known: npt.NDArray[np.bool_]) -> tuple[_Plane, npt.NDArray[np.bool_]]:
    """Average the known values of each 2 x 2 pixels."""
    sums, counts = _summed(plane), _summed(is_known.astype(np.float32))
    return sums / np.maximum(counts, 1), counts > 0


def _summed(plane: _Plane) -> _Plane:
    padded = np.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)))
    return padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2]


def _mean_of_neighbours(plane: _Plane) -> _Plane:
    padded = np.pad(plane, 1, mode="edge")
    mean = padded[:-2, 1:-1] + padded[2:, 1:-1]
    mean += padded[1:-1, :-2]
    mean += padded[1:-1, 2:]
    mean *= np.float32(0.25)
    return mean
