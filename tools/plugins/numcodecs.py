"""rarefy as a codec of numcodecs, `{"id": "rarefy.image"}`: a compressor of Zarr 2 and of all that speaks numcodecs.

numcodecs finds it by its entry point. It is lossy.
"""

from typing import Any

from numcodecs.abc import Codec
from numcodecs.compat import ensure_bytes, ensure_ndarray, ndarray_copy
from numpy.typing import NDArray

from rarefy.errors import MediaError
from rarefy.tools.plugins.stacks import (
    DEFAULT_CODEC,
    DEFAULT_QUALITY,
    Pixels,
    check_options,
    decode_stack,
    encode_stack,
)


class Image(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Pictures in, `.rfy` out; `rarefy.tools.plugins.stacks` says which arrays are pictures.

    codec: name of a codec of rarefy. quality: 0 to 100. shape: of the pictures in buffers that have none, such as
    bytes; arrays say theirs. Raises OptionError (a ValueError) for options out of range.
    """

    codec_id = "rarefy.image"

    def __init__(
        self, codec: str = DEFAULT_CODEC, quality: float = DEFAULT_QUALITY, shape: list[int] | None = None
    ) -> None:
        check_options(codec, quality)
        self.codec, self.quality, self.shape = codec, quality, None if shape is None else list(shape)

    def encode(self, buf: Any) -> bytes:
        """Encode uint8 [..., H, W] or [..., H, W, C], rows in C order; raises MediaError for other buffers."""
        array: NDArray[Any] = ensure_ndarray(buf)
        if array.flags.f_contiguous and not array.flags.c_contiguous:
            # decode could give back no bytes in this order
            raise MediaError("pictures in Fortran order are not taken: make the array in order 'C'")
        if self.shape is not None:
            array = array.reshape(self.shape)
        return encode_stack(array, self.codec, self.quality)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode to uint8 [H, W] or [H, W, C], several pictures to [N, ...], or to `out`, a buffer of that many bytes.

        Raises FormatError for damaged data, ValueError for an `out` of another size.
        """
        pixels: Pixels = decode_stack(ensure_bytes(buf), self.shape)
        if out is None:
            return pixels
        target: NDArray[Any] = ensure_ndarray(out)
        if target.nbytes != pixels.nbytes:
            raise ValueError(f"out has {target.nbytes} bytes, the pictures {pixels.nbytes}")
        if target.shape == pixels.shape and target.dtype == pixels.dtype:
            target[...] = pixels  # whatever order it lies in
            return out
        if not target.flags.c_contiguous:
            raise ValueError("an out of another shape must lie in C order")
        return ndarray_copy(pixels, out)
