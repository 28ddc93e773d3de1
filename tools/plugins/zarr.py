"""rarefy as a codec of Zarr 3, `{"name": "rarefy.image"}`: the serializer of an array whose chunks are pictures.

Zarr finds it by its entry point. It is lossy: what a chunk holds changes a little each time it is written anew.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from rarefy.errors import MediaError, OptionError
from rarefy.tools.plugins.stacks import (
    DEFAULT_CODEC,
    DEFAULT_QUALITY,
    check_options,
    decode_stack,
    encode_stack,
    stack_shape,
)

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "rarefy.image"


@dataclass(frozen=True)
class Image(ArrayBytesCodec):
    """Chunks of pictures as `.rfy`; `rarefy.tools.plugins.stacks` says which shapes are pictures.

    codec: name of a codec of rarefy. quality: 0 to 100. Raises OptionError (a ValueError) for options out of range.
    """

    codec: str = DEFAULT_CODEC
    quality: float = DEFAULT_QUALITY

    is_fixed_size = False

    def __post_init__(self) -> None:
        check_options(self.codec, self.quality)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make the codec that the metadata of an array names; raises OptionError for settings that there are not."""
        settings = data.get("configuration", {})
        try:
            return cls(**settings)
        except TypeError as error:
            raise OptionError(f'codec "{NAME}": wrong settings {settings}: {error}') from error

    def to_dict(self) -> dict[str, Any]:
        """Give the metadata that names this codec."""
        return {"name": NAME, "configuration": {"codec": self.codec, "quality": self.quality}}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Refuse arrays whose chunks are no pictures, when they are created; raises MediaError."""
        found = dtype.to_native_dtype()
        if found != np.uint8:
            raise MediaError(f'codec "{NAME}" takes arrays of uint8, not {found}')
        stack_shape(getattr(chunk_grid, "chunk_shape", shape))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: "ArraySpec") -> int:
        """Raise NotImplementedError: nothing is known of a size before the pictures are."""
        raise NotImplementedError("the size of a coded picture depends on the picture")

    async def _encode_single(self, chunk_data: "NDBuffer", chunk_spec: "ArraySpec") -> "Buffer":
        array = chunk_data.as_numpy_array()
        data = await asyncio.to_thread(encode_stack, array, self.codec, self.quality)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: "Buffer", chunk_spec: "ArraySpec") -> "NDBuffer":
        array = await asyncio.to_thread(decode_stack, chunk_data.to_bytes(), chunk_spec.shape)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array)
