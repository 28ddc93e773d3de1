"""Media that codecs take and give: pictures, as small frozen dataclasses that keep what people would miss.

`as_image` turns what people have (paths, bytes, Pillow images, arrays, tensors) into an `Image`, without torch.
"""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rarefy.codecs.limits import Limits
from rarefy.codecs.orientation import Pixels, apply_orientation
from rarefy.codecs.pictures import from_pil, read_picture, to_pil, write_picture
from rarefy.errors import LimitError, MediaError

if TYPE_CHECKING:
    import torch
    from PIL import Image as pil


@dataclass(frozen=True, eq=False)
class Image:
    """A picture. pixels: uint8 [H, W, C], C = 3 (RGB) or 1 (gray); not copied, so do not change them.

    icc: colour profile; None means sRGB. exif: a TIFF structure (without the prefix of JPEG files). xmp: an XMP packet.
    Raises MediaError for pixels of another kind.
    """

    pixels: Pixels = field(repr=False)
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise MediaError(f"a picture has pixels uint8 [H, W, C], not {_describe(pixels)}")
        if pixels.shape[2] not in (1, 3) or pixels.size == 0:
            raise MediaError(
                f"a picture has pixels [H, W, C] with C = 1 or 3 and at least one pixel, not {pixels.shape}"
            )

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def channels(self) -> int:
        """3 (RGB) or 1 (gray)."""
        return int(self.pixels.shape[2])

    def __repr__(self) -> str:
        kept = [name for name in ("icc", "exif", "xmp") if getattr(self, name) is not None]
        return f"Image({self.width} x {self.height}, {'gray' if self.channels == 1 else 'RGB'}{', '.join(['', *kept])})"

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Give the pixels [H, W, C]: `np.asarray(image)`."""
        array = self.pixels if dtype is None else self.pixels.astype(dtype, copy=False)
        if array is not self.pixels and copy is False:
            raise ValueError(f"pixels of uint8 become {array.dtype} only by a copy")
        return array.copy() if copy and array is self.pixels else array

    def to_pil(self) -> "pil.Image":
        """Give a Pillow image of the mode RGB or L, with the metadata in its `info`."""
        return to_pil(self.pixels, self.icc, self.exif, self.xmp)

    def to_tensor(self) -> "torch.Tensor":
        """Give a tensor float32 [C, H, W] in 0..1."""
        import torch

        planes = np.ascontiguousarray(np.moveaxis(self.pixels, 2, 0))
        return torch.from_numpy(np.divide(planes, 255, dtype=np.float32))

    def save(self, target: str | os.PathLike[str] | BinaryIO, format: str | None = None) -> None:
        """Write a PNG, JPEG (quality 95, 4:4:4) or lossless WebP with its metadata.

        format: "PNG", "JPEG" or "WEBP"; without it the suffix of a path decides, and PNG is taken where there is none.
        A path is written under another name, changed at the end: an unfinished file is never seen.

        Raises MediaError for other formats and what a format cannot hold, OSError where a path cannot be written.
        """
        write_picture(self.to_pil(), target, format)


def as_image(source: Any, limits: Limits | None = None) -> Image:
    """Take a picture from what people have.

    source: path (str or PathLike) or bytes or binary file of a PNG, JPEG or WebP; Pillow image (RGB, L); array uint8
    [H, W], [H, W, 1] or [H, W, 3]; tensor uint8 [C, H, W], or float [C, H, W] in 0..1, which is rounded half up to 8
    bits; an `Image`, which comes back as it is. Rotation that EXIF asks for is done. Contiguous arrays are not copied.

    Raises MediaError, one sentence, for anything else: alpha, palettes, CMYK, 16 bits, animations, other formats,
    damaged and missing files, pictures above `limits`.
    """
    limits = limits or Limits()
    if isinstance(source, Image):
        return source
    if isinstance(source, str | os.PathLike):
        return _from_path(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), "the picture", limits)
    if hasattr(source, "read"):
        return _from_stream(source, limits)
    if all(hasattr(source, name) for name in ("getbands", "getexif", "load")):  # a Pillow image, Pillow not imported
        return _upright(*from_pil(source, "the image", limits))
    if all(hasattr(source, name) for name in ("detach", "cpu", "numpy")):  # a tensor, torch not imported
        return _checked(_from_tensor(source), limits)
    if hasattr(source, "__array__"):
        return _checked(_from_array(np.asarray(source)), limits)
    raise MediaError(
        f"a picture cannot be made of {_describe(source)}: give a path, bytes, an image, an array or a tensor"
    )


def _upright(pixels: Pixels, icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> Image:
    pixels, exif, xmp = apply_orientation(pixels, exif, xmp)
    return Image(np.ascontiguousarray(pixels), icc, exif, xmp)


def _from_path(path: str | os.PathLike[str], limits: Limits) -> Image:
    try:
        file = open(path, "rb")  # noqa: SIM115 (errors of opening are told apart from errors of reading)
    except FileNotFoundError as error:
        raise MediaError(f"{path} does not exist") from error
    except IsADirectoryError as error:
        raise MediaError(f"{path} is a folder, not a picture: give the files in it") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}") from error
    with file:
        return _from_stream(file, limits, str(Path(path)))


def _from_stream(file: BinaryIO, limits: Limits, name: str = "the picture") -> Image:
    """Read from a file; one that cannot go back, or that stands in the middle, is read whole first."""
    if isinstance(file, io.TextIOBase):
        raise MediaError(f"{name} is open as text: open it in binary mode")
    try:
        is_ready = file.seekable() and file.tell() == 0
        whole = file if is_ready else io.BytesIO(file.read())
    except OSError as error:
        raise MediaError(f"{name} cannot be read: {error}") from error
    return _from_file(whole, name, limits)


def _from_file(file: BinaryIO, name: str, limits: Limits) -> Image:
    return _upright(*read_picture(file, name, limits))


def _from_array(array: npt.NDArray[Any]) -> Image:
    if array.dtype != np.uint8:
        raise MediaError(
            f"arrays of pictures are uint8 [H, W, C], not {_describe(array)}: scale to 0..255 and round first"
        )
    if array.ndim == 2:
        array = array[:, :, np.newaxis]
    if array.ndim != 3 or array.shape[2] not in (1, 3):
        raise MediaError(
            f"arrays of pictures are uint8 [H, W], [H, W, 1] or [H, W, 3], not {array.shape}: "
            "give one picture, channels last, without alpha"
        )
    return Image(np.ascontiguousarray(array))


def _from_tensor(tensor: "torch.Tensor") -> Image:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise MediaError(
            f"tensors of pictures are [C, H, W] with C = 1 or 3, not {tuple(tensor.shape)}: pass lists for more"
        )
    try:
        tensor = tensor.detach().cpu()
        # numpy has no bfloat16, and float32 holds all values of the shorter types
        planes = (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise MediaError(f"the tensor cannot be read: {error}") from error
    if planes.dtype == np.uint8:
        return Image(np.ascontiguousarray(np.moveaxis(planes, 0, 2)))
    return Image(_to_bytes(planes))


def _to_bytes(planes: npt.NDArray[Any]) -> Pixels:
    """Round float [C, H, W] in 0..1 to uint8 [H, W, C], halves up."""
    if planes.dtype.kind != "f":
        raise MediaError(f"tensors of pictures are float in 0..1 or uint8, not {planes.dtype}")
    if planes.size and not (planes.min() >= 0 and planes.max() <= 1):  # so written, NaN fails too
        raise MediaError(
            f"tensors of pictures lie in 0..1, this one in {planes.min()}..{planes.max()}: scale or clip it"
        )
    pixels = np.empty((*planes.shape[1:], planes.shape[0]), np.uint8)
    for channel, plane in enumerate(planes):  # one at a time: float64 takes eight times the memory of the result
        pixels[:, :, channel] = np.floor(plane.astype(np.float64) * 255 + 0.5)
    return pixels


def _checked(image: Image, limits: Limits) -> Image:
    try:
        limits.check_picture(image.width, image.height)
    except LimitError as error:
        raise MediaError(str(error)) from error
    return image


def _describe(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {list(value.shape)}"
    return f"an object of type {type(value).__name__}"
