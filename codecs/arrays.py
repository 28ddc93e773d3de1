"""Pictures as arrays and tensors: layouts, channels, numbers of other kinds, all turned into uint8 [H, W, C]."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rarefy.codecs.orientation import Pixels
from rarefy.errors import MediaError

if TYPE_CHECKING:
    import torch

SIXTEEN_BITS_NOTE = "more than 8 bits per sample are rounded to 8"


def bytes_of_array(array: npt.NDArray[Any]) -> tuple[Pixels, tuple[str, ...]]:
    """Take an array [H, W] or [H, W, C] with C = 1 to 4 as pixels uint8 [H, W, C], with notes on what was changed.

    array: uint8; bool, False is black; uint16 from 0 to 65535; float from 0 to 1. Raises MediaError for other kinds.
    """
    array = array[:, :, np.newaxis] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise MediaError(
            f"arrays of pictures are [H, W] or [H, W, C] with C = 1 to 4, not {array.shape}: "
            "give one picture, channels last"
        )
    return _bytes_of(array, "arrays")


def bytes_of_tensor(tensor: "torch.Tensor") -> tuple[Pixels, tuple[str, ...]]:
    """Take a tensor [C, H, W], C = 1 to 4, as `bytes_of_array` takes arrays; its numbers may be bfloat16 as well."""
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 2, 3, 4):
        raise MediaError(
            f"tensors of pictures are [C, H, W] with C = 1 to 4, not {tuple(tensor.shape)}: pass lists for more"
        )
    try:
        tensor = tensor.detach().cpu()
        # numpy has no bfloat16, and float32 holds all values of the shorter types
        planes = (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise MediaError(f"the tensor cannot be read: {error}") from error
    return _bytes_of(np.moveaxis(planes, 0, 2), "tensors")


def _bytes_of(array: npt.NDArray[Any], what: str) -> tuple[Pixels, tuple[str, ...]]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array), ()
    if array.dtype == np.bool_:
        return np.ascontiguousarray(array).view(np.uint8) * np.uint8(255), ()
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return bytes_of_sixteen_bits(array), (SIXTEEN_BITS_NOTE,)
    if array.dtype.kind == "f":
        return bytes_of_floats(array, what), ()
    raise MediaError(f"{what} of pictures are uint8, uint16, bool, or float in 0..1, not {array.dtype}: convert first")


def bytes_of_sixteen_bits(samples: npt.NDArray[Any]) -> Pixels:
    """Round samples of 0..65535 to uint8, to the nearest: 65535 = 255 * 257 becomes 255."""
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def bytes_of_floats(samples: npt.NDArray[Any], what: str) -> Pixels:
    """Round floats [H, W, C] in 0..1 to uint8, halves up; raises MediaError outside of 0..1, and for NaN."""
    if samples.size and not (samples.min() >= 0 and samples.max() <= 1):  # so written, NaN fails too
        raise MediaError(
            f"{what} of pictures lie in 0..1, this one in {samples.min()}..{samples.max()}: scale or clip it"
        )
    pixels = np.empty(samples.shape, np.uint8)
    for channel in range(samples.shape[2]):  # one at a time: float64 takes eight times the memory of the result
        pixels[:, :, channel] = np.floor(samples[:, :, channel].astype(np.float64) * 255 + 0.5)
    return pixels


def split_alpha(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    """Split [H, W, C] with C = 1 to 4 into colours (1 or 3 channels) and alpha [H, W], which is None where opaque."""
    if pixels.shape[2] in (1, 3):
        return np.ascontiguousarray(pixels), None
    return np.ascontiguousarray(pixels[:, :, :-1]), visible(pixels[:, :, -1])


def visible(alpha: Pixels) -> Pixels | None:
    """Give alpha [H, W] in one piece, or None where it is 255 everywhere: such a picture has no transparency."""
    return None if bool((alpha == 255).all()) else np.ascontiguousarray(alpha)
