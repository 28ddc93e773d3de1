"""Arrays of pictures to bytes and back, for stores that keep arrays in chunks.

An array is one picture [H, W] or [H, W, C] with C = 1, 3 or 4, or a stack of them along leading axes: [..., H, W, C],
or [..., H, W] where the last axis has another length. A stack of one is a plain `.rfy` file; one of more is their
number, their sizes, and the files one behind the other, all numbers in four bytes, the lowest first.
"""

from collections.abc import Iterator, Sequence
from math import prod
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefy.codecs.container import SIGNATURE, read_info
from rarefy.errors import FormatError, MediaError, OptionError, TruncatedError

Pixels = NDArray[np.uint8]

CHANNELS = (1, 3, 4)
DEFAULT_CODEC, DEFAULT_QUALITY = "image", 50.0
_NUMBER_BYTES = 4


def stack_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """How an array is a stack of pictures: their number, height, width and channels.

    Raises MediaError for what is none.
    """
    has_channels = len(shape) > 2 and shape[-1] in CHANNELS
    height, width, channels = shape[-3:] if has_channels else (*shape[-2:], 1) if len(shape) > 1 else (0, 0, 0)
    if min(height, width, *shape) < 1:
        raise MediaError(f"an array of {tuple(shape)} is no stack of pictures [..., H, W] or [..., H, W, 1, 3 or 4]")
    return prod(shape[: -3 if has_channels else -2]), height, width, channels


def check_options(codec: str, quality: float) -> None:
    """Raise OptionError for a codec that is not there or not for pictures, and a quality outside 0..100."""
    from rarefy.codecs.registry import find

    if find(codec).media != "image":
        raise OptionError(f'codec "{codec}" is not for pictures')
    if not isinstance(quality, Real) or not 0 <= quality <= 100:
        raise OptionError(f"quality {quality}: it runs from 0 to 100")


def encode_stack(array: NDArray[Any], codec: str, quality: float) -> bytes:
    """Turn a stack of pictures, uint8, into bytes; raises MediaError for other arrays."""
    import rarefy

    if array.dtype != np.uint8:
        raise MediaError(f"chunks of pictures are uint8, not {array.dtype}: scale to 0..255 and round first")
    stack = array.reshape(stack_shape(array.shape))
    return _join(rarefy.encode([_picture(pixels) for pixels in stack], codec=codec, quality=quality))


def decode_stack(data: bytes, shape: Sequence[int] | None = None) -> Pixels:
    """Turn bytes back into pictures: [H, W] or [H, W, C], with the number of pictures in front if there are several.

    shape: of the array that was encoded, if it is known; it is what comes back then, and nothing else is decoded.
    Raises FormatError for damaged data and for pictures of another shape, and what `rarefy.decode` raises.
    """
    import rarefy

    files = _split(data)
    expected = None if shape is None else stack_shape(shape)
    if expected is not None:
        _check(files, expected)
    if any(read_info(file).medium != "image" for file in files):
        raise FormatError("the chunk holds a sound: it belongs to no array of pictures")
    pictures = [np.asarray(image) for image in rarefy.decode([*files])]
    channels = max(picture.shape[2] for picture in pictures) if expected is None else expected[3]
    stack = _stack([_with_channels(picture, channels) for picture in pictures])
    if shape is not None:
        return stack.reshape(shape)
    stack = stack[0] if len(stack) == 1 else stack
    return stack[..., 0] if channels == 1 else stack


def _picture(pixels: Pixels) -> Any:
    """A picture whose file says that it has alpha where the array has, even if all of it is opaque."""
    import rarefy

    return rarefy.Image(pixels[..., :3], alpha=pixels[..., 3]) if pixels.shape[2] == 4 else pixels


def _check(files: list[bytes], expected: tuple[int, int, int, int]) -> None:
    """Compare headers with the shape, before memory is taken for pixels."""
    count, height, width, _ = expected
    if len(files) != count:
        raise FormatError(f"the chunk holds {len(files)} pictures, not {count}: it belongs to another array")
    for size in (read_info(file).size for file in files):
        if size != (width, height):
            raise FormatError(f"the chunk holds a picture of {size}, not of {(width, height)} pixels: it is altered")


def _with_channels(picture: Pixels, channels: int) -> Pixels:
    """Add the alpha that a file of another writer may leave out where all is opaque."""
    if picture.shape[2] == channels:
        return picture
    if (picture.shape[2], channels) != (3, 4):
        raise FormatError(f"the chunk holds a picture of {picture.shape[2]} channels, not {channels}: it is altered")
    return np.concatenate([picture, np.full((*picture.shape[:2], 1), 255, np.uint8)], axis=2)


def _stack(pictures: list[Pixels]) -> Pixels:
    if len({picture.shape for picture in pictures}) > 1:
        raise FormatError("the chunk holds pictures of different sizes: it is altered")
    return np.stack(pictures)


def _join(files: list[bytes]) -> bytes:
    if len(files) == 1:
        return files[0]
    numbers = np.array([len(files), *map(len, files)], "<u4")
    return b"".join((numbers.tobytes(), *files))


def _split(data: bytes) -> list[bytes]:
    if data.startswith(SIGNATURE):
        return [data]
    return list(_files(data))


def _files(data: bytes) -> Iterator[bytes]:
    count = int.from_bytes(data[:_NUMBER_BYTES], "little")
    start = _NUMBER_BYTES * (count + 1)
    if len(data) < start:
        raise TruncatedError(f"the chunk ends before the sizes of its {count} pictures: it is incomplete or altered")
    sizes = np.frombuffer(data, "<u4", count, _NUMBER_BYTES).tolist()
    if start + sum(sizes) != len(data) or count < 2:
        raise FormatError(f"the chunk has {len(data)} bytes, its sizes say {start + sum(sizes)}: it is altered")
    for size in sizes:
        yield data[start : start + size]
        start += size
