"""Media that codecs take and give: pictures, as small frozen dataclasses that keep what people would miss.

`as_image` turns what people have (paths, bytes, Pillow images, arrays, tensors) into an `Image`, without torch.
"""

import io
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from rarefy.codecs.arrays import bytes_of_array, bytes_of_tensor, split_alpha
from rarefy.codecs.colour import is_srgb
from rarefy.codecs.limits import Limits
from rarefy.codecs.orientation import Pixels, apply_orientation
from rarefy.codecs.picture_metadata import Metadata
from rarefy.codecs.picture_writing import to_pil, write_picture
from rarefy.codecs.pictures import Parts, from_pil, read_picture
from rarefy.errors import LimitError, MediaError, RarefyWarning

if TYPE_CHECKING:
    import torch
    from PIL import Image as pil


@dataclass(frozen=True, eq=False)
class Image:
    """A picture. pixels: uint8 [H, W, C], C = 3 (RGB) or 1 (gray); not copied, so do not change them.

    icc: colour profile; None means sRGB. exif: a TIFF structure (without the prefix of JPEG files). xmp: an XMP packet.
    alpha: uint8 [H, W], 0 is invisible and 255 opaque; None is opaque everywhere. notes: sentences on what the source
    had and this picture has not, or otherwise; they are stored in no file.

    Raises MediaError for pixels or an alpha of another kind.
    """

    pixels: Pixels = field(repr=False)
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)
    alpha: Pixels | None = field(default=None, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        pixels, alpha = self.pixels, self.alpha
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
            raise MediaError(f"a picture has pixels uint8 [H, W, C], not {_describe(pixels)}")
        if pixels.shape[2] not in (1, 3) or pixels.size == 0:
            raise MediaError(
                f"a picture has pixels [H, W, C] with C = 1 or 3 and at least one pixel, not {pixels.shape}"
            )
        if alpha is None:
            return
        if not isinstance(alpha, np.ndarray) or alpha.dtype != np.uint8 or alpha.shape != pixels.shape[:2]:
            raise MediaError(f"a picture of {pixels.shape} has an alpha uint8 [H, W], not {_describe(alpha)}")

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
        """Channels of colour: 3 (RGB) or 1 (gray); alpha is not counted."""
        return int(self.pixels.shape[2])

    def __repr__(self) -> str:
        kept = [name for name in ("alpha", "icc", "exif", "xmp") if getattr(self, name) is not None]
        return f"Image({self.width} x {self.height}, {'gray' if self.channels == 1 else 'RGB'}{', '.join(['', *kept])})"

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Give the pixels, with alpha as the last channel where there is one: [H, W, 1 to 4], `np.asarray(image)`."""
        array = self._joined()
        given = array if dtype is None else array.astype(dtype, copy=False)
        if given is not self.pixels and copy is False:
            raise ValueError("pixels become an array of another type, or one with alpha, only by a copy")
        return given.copy() if copy and given is self.pixels else given

    def _joined(self) -> Pixels:
        """Give [H, W, C], or [H, W, C + 1] with alpha; the pixels themselves where there is none."""
        return self.pixels if self.alpha is None else np.dstack((self.pixels, self.alpha))

    def to_pil(self) -> "pil.Image":
        """Give a Pillow image of the mode RGB or L, RGBA or LA with alpha, with the metadata in its `info`."""
        return to_pil(self._joined(), Metadata(self.icc, self.exif, self.xmp))

    def to_tensor(self) -> "torch.Tensor":
        """Give a tensor float32 [C, H, W] in 0..1, alpha last where there is one: C = 1 to 4."""
        import torch

        planes = np.ascontiguousarray(np.moveaxis(self._joined(), 2, 0))
        return torch.from_numpy(np.divide(planes, 255, dtype=np.float32))

    def save(self, target: str | os.PathLike[str] | BinaryIO, format: str | None = None) -> None:
        """Write a picture file with its metadata.

        format: "PNG", "JPEG" (quality 95, 4:4:4), "WEBP" (lossless), "AVIF" (quality 95, 4:4:4), "TIFF", "BMP" or
        "PPM" (both without metadata, which a RarefyWarning says); with plugins of Pillow "JXL" (lossless) and "HEIF".
        Without it the suffix of a path decides, and PNG is taken where there is none. A path is written under another
        name, changed at the end: an unfinished file is never seen.

        Raises MediaError for other formats and what a format cannot hold (transparency in a JPEG), OSError where a path
        cannot be written.
        """
        write_picture(self.to_pil(), target, format)

    def stripped(self) -> "Image":
        """Give the picture without EXIF and XMP; a colour profile stays unless it says what sRGB says.

        Without such a profile the colours would change; `notes` tell of one that stays.
        """
        icc = None if self.icc is None or is_srgb(self.icc) else self.icc
        note = () if icc is None else ("the colour profile is kept: without it the colours would change",)
        return Image(self.pixels, icc, alpha=self.alpha, notes=(*self.notes, *note))


def as_image(source: Any, limits: Limits | None = None, *, warns: bool = True) -> Image:
    """Take a picture from what people have.

    source: path (str or PathLike), bytes or binary file of a picture; Pillow image; array [H, W] or [H, W, C] with
    C = 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGB, alpha), uint8, bool, uint16, or float in 0..1; tensor [C, H, W] of
    the same; an `Image`, which comes back as it is. Rotation that EXIF asks for is done. An alpha of 255 everywhere
    becomes None. Contiguous uint8 arrays are not copied. docs/PICTURES.md says what becomes of every kind.

    What is left out or changed stands in `Image.notes`. warns: raise each note as a RarefyWarning too.

    Raises MediaError, one sentence, for what cannot be right: damaged, missing and other files, and pictures above
    `limits`.
    """
    if isinstance(source, Image):
        return source
    image = _taken(source, limits or Limits())
    if warns:
        for note in image.notes:
            name = f"{source}: " if isinstance(source, str | os.PathLike) else ""
            warnings.warn(name + note, RarefyWarning, stacklevel=2)
    return image


def _taken(source: Any, limits: Limits) -> Image:
    if isinstance(source, str | os.PathLike):
        return _from_path(source, limits)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source), "the picture", limits)
    if hasattr(source, "read"):
        return _from_stream(source, limits)
    if all(hasattr(source, name) for name in ("getbands", "getexif", "load")):  # a Pillow image, Pillow not imported
        return _upright(from_pil(source, "the image", limits))
    if all(hasattr(source, name) for name in ("detach", "cpu", "numpy")):  # a tensor, torch not imported
        return _checked(_from_samples(*bytes_of_tensor(source)), limits)
    if hasattr(source, "__array__"):
        return _checked(_from_samples(*bytes_of_array(np.asarray(source))), limits)
    raise MediaError(
        f"a picture cannot be made of {_describe(source)}: give a path, bytes, an image, an array or a tensor"
    )


def _from_samples(samples: Pixels, notes: tuple[str, ...]) -> Image:
    pixels, alpha = split_alpha(samples)
    return Image(pixels, alpha=alpha, notes=notes)


def _upright(parts: Parts) -> Image:
    """Turn a picture as its metadata asks, pixels and alpha alike."""
    icc, exif, xmp = parts.metadata
    planes = [parts.pixels] if parts.alpha is None else [parts.pixels, parts.alpha]
    turned, exif, xmp = apply_orientation([] if parts.is_upright else planes, exif, xmp)
    pixels, *alpha = turned or planes
    return Image(pixels, icc, exif, xmp, alpha[0] if alpha else None, parts.notes)


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
    return _upright(read_picture(file, name, limits))


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
