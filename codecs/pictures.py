"""Picture files and Pillow images taken apart: samples, alpha, metadata, and notes on what is not kept.

What cannot be right is refused with a sentence that says what the file is; nothing is dropped in silence.
"""

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from rarefy.codecs.arrays import SIXTEEN_BITS_NOTE
from rarefy.codecs.jxl_size import jxl_size
from rarefy.codecs.limits import Limits
from rarefy.codecs.modes import Key, Samples, samples_of, samples_of_two_halves, transparent_key
from rarefy.codecs.orientation import Pixels
from rarefy.codecs.picture_kinds import format_of
from rarefy.codecs.picture_metadata import Metadata, metadata_of
from rarefy.codecs.remarks import remarks_on_file, remarks_on_image
from rarefy.errors import LimitError, MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

_CUT_BY_PILLOW = (
    "the lower 8 of its 16 bits per sample were cut off by Pillow: give the file itself to have them rounded"
)
_CUT = "the lower 8 of its 16 bits per sample are cut off"
_JXL_HEAD = 1 << 16  # bytes, in which the codestream of a JPEG XL file nearly always begins
_BITS_PER_SAMPLE, _PLANAR_CONFIGURATION = 258, 284  # TIFF 6.0
_LOW_BYTES = {"B": "L", "L": "B", "N": "L" if sys.byteorder == "big" else "B"}  # Pillow's raw modes of byte orders


class Parts(NamedTuple):
    """A picture taken apart, as stored: what `Image` holds. is_upright: no turn is left to do, whatever EXIF says."""

    pixels: Pixels
    alpha: Pixels | None
    metadata: Metadata
    notes: tuple[str, ...] = ()
    is_upright: bool = False


def read_picture(file: BinaryIO, name: str, limits: Limits) -> Parts:
    """Read an encoded picture from a seekable file. name: for messages.

    Raises MediaError for other files, pictures above the limits (checked before the pixels are decoded) and damage.
    """
    format = format_of(file, name)
    remarks = remarks_on_file(file, format, name)
    if format == "JXL":
        _check_jxl(file, name, limits)
    with _open(file, format, name) as picture:
        parts = _taken_apart(picture, name, limits, file)
    return parts._replace(notes=tuple(dict.fromkeys((*parts.notes, *remarks))))


def from_pil(picture: "pil.Image", name: str, limits: Limits) -> Parts:
    """Take a Pillow image apart; raises MediaError as `read_picture` does."""
    return _taken_apart(picture, name, limits, None)


def _open(file: BinaryIO, format: str, name: str) -> "pil.Image":
    """Open by the reader of one format.

    `PIL.Image.open` would hide why it failed, and refuse photographs of 200 megapixels, which our limits take.
    """
    from PIL import Image as pil

    if format not in pil.OPEN:
        pil.preinit()
    if format not in pil.OPEN:
        pil.init()
    file.seek(0)
    try:
        return pil.OPEN[format][0](file, "")
    except Exception as error:  # Pillow's readers raise many kinds of exceptions on damaged files
        raise _damaged(name, error) from error


class _Plan(NamedTuple):
    """What Pillow tells only before it loads the samples. is_wide: 16 bits, of which its modes hold 8."""

    is_wide: bool
    is_rounded: bool
    key: Key


def _plan(picture: "pil.Image", name: str) -> _Plan:
    if picture.width == 0 or picture.height == 0:
        raise MediaError(f"{name} has no pixels ({picture.width} x {picture.height})")
    _check_planes(picture, name)
    is_wide = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))
    return _Plan(is_wide and not picture.mode.startswith("I"), _is_rounded_by_pillow(picture), transparent_key(picture))


def _taken_apart(picture: "pil.Image", name: str, limits: Limits, file: BinaryIO | None) -> Parts:
    """Load an image and take it apart. file: where it can be read once more, for the lower bytes of 16 bits."""
    _check_size(picture.size, name, limits)
    try:
        plan = _plan(picture, name)
        picture.load()  # metadata that stands after the pixels is known only now
        _check_size(picture.size, name, limits)  # an icon may have another size than the list of its file says
        samples = _samples(picture, plan, name, file)
        metadata, notes = metadata_of(picture, name)
        notes = (*samples.notes, *notes, *remarks_on_image(picture))
    except MediaError:
        raise
    except Exception as error:  # as above
        raise _damaged(name, error) from error
    if not samples.has_profile:
        metadata = metadata._replace(icc=None)
    # These readers turn their pictures; what EXIF or XMP still says is of the source
    is_upright = picture.format in ("TIFF", "HEIF") or (picture.format == "JXL" and not getattr(picture, "jpeg", False))
    return Parts(samples.pixels, samples.alpha, metadata, notes, is_upright)


def _check_jxl(file: BinaryIO, name: str, limits: Limits) -> None:
    """Check the size before its reader decodes all pixels to tell it."""
    file.seek(0)
    size = jxl_size(file.read(_JXL_HEAD))
    if size is not None:
        _check_size(size, name, limits)


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    try:
        limits.check_picture(*size)
    except LimitError as error:
        raise MediaError(f"{name}: {error}") from error


def _samples(picture: "pil.Image", plan: _Plan, name: str, file: BinaryIO | None) -> Samples:
    if not plan.is_wide:
        samples = samples_of(picture, plan.key, name)
        return _with_note(samples, SIXTEEN_BITS_NOTE) if plan.is_rounded else samples
    if file is None or picture.mode not in ("RGB", "RGBA") or _has_planes(picture):
        key = tuple(value >> 8 for value in plan.key) if isinstance(plan.key, tuple) else None
        return _with_note(samples_of(picture, key, name), _CUT_BY_PILLOW if file is None else _CUT)
    with _open(file, str(picture.format), name) as again:
        return _samples_of_sixteen_bits(picture, again, plan.key, name)


def _with_note(samples: Samples, note: str) -> Samples:
    return samples._replace(notes=(*samples.notes, note))


def _samples_of_sixteen_bits(picture: "pil.Image", again: "pil.Image", key: Key, name: str) -> Samples:
    """Read 16-bit RGB once more for its lower bytes: Pillow gives 8 bits per sample, and the raw mode says which 8.

    again: the same picture, not loaded yet.
    """
    rawmode = _rawmode(again.tile[0])  # type: ignore[attr-defined]
    if rawmode == "LA;16B":  # no raw mode gives the lower bytes, but four bytes per pixel are read as they are
        _read_as(again, "RGBA")
        bytes_of_pixel = np.asarray(again)
        return samples_of_two_halves(bytes_of_pixel[:, :, 0::2], bytes_of_pixel[:, :, 1::2], key)
    if rawmode.startswith("RGBa"):  # colours are divided by alpha while they are read, each byte on its own
        return _with_note(samples_of(picture, key, name), _CUT)
    _read_as(again, rawmode[:-1] + _LOW_BYTES[rawmode[-1]])
    return samples_of_two_halves(np.asarray(picture), np.asarray(again), key)


def _is_rounded_by_pillow(picture: Any) -> bool:
    """Tell of a PPM in colour of more than 8 bits, which its reader rounds well; its tile holds the largest sample."""
    arguments = [tile[3] for tile in getattr(picture, "tile", ()) if picture.format == "PPM" and picture.mode == "RGB"]
    return any(isinstance(found, tuple) and isinstance(found[-1], int) and found[-1] > 255 for found in arguments)


def _has_planes(picture: Any) -> bool:
    """Tell whether a TIFF stores each channel apart, where Pillow's raw modes do not choose the byte."""
    return picture.format == "TIFF" and picture.tag_v2.get(_PLANAR_CONFIGURATION) == 2


def _check_planes(picture: Any, name: str) -> None:
    """Refuse a TIFF of 16-bit planes without compression, which Pillow reads as 8-bit ones, with no error."""
    is_wide = picture.format == "TIFF" and max(picture.tag_v2.get(_BITS_PER_SAMPLE, (8,))) > 8
    if is_wide and _has_planes(picture) and any(tile[0] == "raw" for tile in picture.tile):
        raise MediaError(
            f"{name} stores channels of more than 8 bits apart and without compression, which is not taken: "
            "store them pixel by pixel"
        )


def _rawmode(tile: Any) -> str:
    return tile[3] if isinstance(tile[3], str) else str(tile[3][0])


def _read_as(picture: Any, rawmode: str) -> None:
    """Load the tiles of an image under another raw mode."""
    picture.tile = [
        tile._replace(args=rawmode if isinstance(tile.args, str) else (rawmode, *tile.args[1:]))
        for tile in picture.tile
    ]
    picture.load()


def _damaged(name: str, error: Exception) -> MediaError:
    from PIL.Image import DecompressionBombError

    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, DecompressionBombError):
        return MediaError(
            f"{name} is too large for Pillow ({reason}): raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
    return MediaError(f"{name} is damaged, incomplete or of a kind that Pillow does not read ({reason})")
