"""Picture files and Pillow images taken apart: samples, alpha, metadata, and notes on what is not kept.

What cannot be right is refused with a sentence that says what the file is; nothing is dropped in silence.
"""

import sys
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from rarefy.codecs.arrays import SIXTEEN_BITS_NOTE
from rarefy.codecs.colour import SPACE
from rarefy.codecs.jxl_size import jxl_depth, jxl_size
from rarefy.codecs.limits import Limits
from rarefy.codecs.modes import Key, Samples, key_factor, samples_of, samples_of_two_halves, transparent_key
from rarefy.codecs.orientation import Pixels
from rarefy.codecs.picture_ends import ENDS
from rarefy.codecs.picture_kinds import format_of
from rarefy.codecs.picture_metadata import Metadata, metadata_of
from rarefy.codecs.remarks import remarks_on_file, remarks_on_image
from rarefy.codecs.tiff_tags import Tagged, has_planes, tagged
from rarefy.errors import LimitError, MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

_CUT_BY_PILLOW = (
    "the lower 8 of its 16 bits per sample were cut off by Pillow: give the file itself to have them rounded"
)
_CUT = "the lower 8 of its 16 bits per sample are cut off"
_PLAN = "_rarefy_plan"  # attribute of an image: loading it empties what a plan is made from
_JXL_HEAD = 1 << 16  # bytes, in which the codestream of a JPEG XL file nearly always begins
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
        remarks += _checked_jxl(file, name, limits)
    if format == "JPEG":
        _check_end(file, name)
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
    """What Pillow tells only before it loads the samples.

    is_wide: 16 bits, of which its modes hold 8. key_factor: of a transparent gray (see `key_factor`). palette: the one
    that the image has, where that of its file differs.
    """

    is_wide: bool
    is_rounded: bool
    key_factor: int
    tagged: Tagged
    palette: list[int] | None = None


def _plan(picture: "pil.Image", name: str) -> _Plan:
    """Look before the samples are loaded; a file's image that was taken before is as it was then."""
    is_unloaded = bool(getattr(picture, "tile", ()))
    known, frame = getattr(picture, _PLAN, (None, 0))
    if isinstance(known, _Plan) and frame == picture.tell() and not is_unloaded:
        is_same = known.palette is None or known.palette == picture.getpalette()
        return known if is_same else known._replace(tagged=known.tagged._replace(palette=None))
    plan = _planned(picture, name)
    if is_unloaded:
        setattr(picture, _PLAN, (plan, picture.tell()))
    return plan


def _planned(picture: "pil.Image", name: str) -> _Plan:
    if picture.width == 0 or picture.height == 0:
        raise MediaError(f"{name} has no pixels ({picture.width} x {picture.height})")
    _check_bytes(picture, name)
    is_wide = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ()))
    found = tagged(picture, name)
    return _Plan(
        is_wide and not picture.mode.startswith("I"),
        _is_rounded_by_pillow(picture),
        key_factor(picture),
        found,
        None if found.palette is None else picture.getpalette(),
    )


def _taken_apart(picture: "pil.Image", name: str, limits: Limits, file: BinaryIO | None) -> Parts:
    """Load an image and take it apart. file: where it can be read once more, for the lower bytes of 16 bits."""
    _check_size(picture.size, name, limits)
    try:
        plan = _plan(picture, name)
        picture.load()  # metadata that stands after the pixels is known only now
        _check_size(picture.size, name, limits)  # an icon may have another size than the list of its file says
        samples = _samples(picture, plan, name, file)
        if plan.tagged.is_negative:
            samples = samples._replace(pixels=np.invert(samples.pixels))
        samples = _gray_again(samples, picture.info.get("icc_profile"))
        metadata, notes = metadata_of(picture, samples.pixels.shape[2], name)
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


def _check_end(file: BinaryIO, name: str) -> None:
    """Refuse a JPEG without its end: Pillow shows zeros that stand in the place of one as flat colour.

    Who told Pillow to take what was cut gets it.
    """
    from PIL import ImageFile

    file.seek(0)
    if not ImageFile.LOAD_TRUNCATED_IMAGES and not ENDS["JPEG"](file.read()):
        raise MediaError(f"{name} is incomplete: the end of the JPEG picture is missing")


def _checked_jxl(file: BinaryIO, name: str, limits: Limits) -> tuple[str, ...]:
    """Check the size before its reader decodes all pixels to tell it, and say what it does not: more than 8 bits."""
    file.seek(0)
    head = file.read(_JXL_HEAD)
    size, depth = jxl_size(head), jxl_depth(head)
    if size is not None:
        _check_size(size, name, limits)
    return (SIXTEEN_BITS_NOTE,) if depth is not None and depth > 8 else ()


def _check_bytes(picture: Any, name: str) -> None:
    """Refuse a JPEG XL picture whose samples its reader gives in another size than it says (16-bit gray and alpha)."""
    data = getattr(picture, "_data", None) if picture.format == "JXL" else None
    if data is not None:
        size = {"I;16": 2, "F": 4}.get(picture.mode, 1) * len(picture.getbands())
        if len(data) != picture.width * picture.height * size:
            raise MediaError(f"{name} has samples that its reader gives wrongly: store it as PNG first")


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    try:
        limits.check_picture(*size)
    except LimitError as error:
        raise MediaError(f"{name}: {error}") from error


def _gray_again(samples: Samples, icc: Any) -> Samples:
    """Make gray of what a format or its reader made RGB of, where a profile says that it was gray."""
    pixels = samples.pixels
    is_gray = isinstance(icc, bytes) and icc[SPACE] == b"GRAY" and pixels.shape[2] == 3
    if (
        is_gray
        and np.array_equal(pixels[:, :, 0], pixels[:, :, 1])
        and np.array_equal(pixels[:, :, 0], pixels[:, :, 2])
    ):
        return samples._replace(pixels=np.ascontiguousarray(pixels[:, :, :1]))
    return samples


def _samples(picture: "pil.Image", plan: _Plan, name: str, file: BinaryIO | None) -> Samples:
    key = transparent_key(picture, plan.key_factor)
    if not plan.is_wide:
        samples = samples_of(_repaired(picture, plan.tagged), key, name)
        return _with_note(samples, SIXTEEN_BITS_NOTE) if plan.is_rounded else samples
    if file is None or picture.mode not in ("RGB", "RGBA") or has_planes(picture):
        high = tuple(value >> 8 for value in key) if isinstance(key, tuple) else None
        return _with_note(samples_of(picture, high, name), _CUT_BY_PILLOW if file is None else _CUT)
    with _open(file, str(picture.format), name) as again:
        return _samples_of_sixteen_bits(picture, again, key, name)


def _repaired(picture: "pil.Image", tagged: Tagged) -> "pil.Image":
    """Give the picture that the tags of its file describe."""
    from PIL import Image as pil

    if tagged.palette is not None:
        picture = picture.copy()
        picture.putpalette(tagged.palette, "RGB;L")
    if tagged.is_of_twelve_bits:
        samples = (np.asarray(picture).astype(np.uint32) * 65535 + 2047) // 4095
        return pil.fromarray(samples.astype(np.uint16))
    return picture


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
    if "MAX_TEXT_CHUNK" in reason:
        return MediaError(
            f"{name} has a text or profile that is larger than Pillow reads ({reason}): "
            "raise PIL.PngImagePlugin.MAX_TEXT_CHUNK if you trust it"
        )
    if isinstance(error, DecompressionBombError):
        return MediaError(
            f"{name} is too large for Pillow ({reason}): raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
    return MediaError(f"{name} is damaged, incomplete or of a kind that Pillow does not read ({reason})")
