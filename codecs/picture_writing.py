"""Pictures into files, by Pillow, with their metadata; what a format cannot hold is refused or said."""

import io
import os
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rarefy.codecs.colour import SPACE, is_srgb, to_srgb
from rarefy.codecs.orientation import Pixels
from rarefy.codecs.picture_kinds import SUFFIXES, Writer, writer_of
from rarefy.codecs.picture_metadata import EXIF_ANEW, EXIF_PREFIX, Metadata, metadata_options
from rarefy.codecs.unfinished import open_beside, place_of
from rarefy.errors import MediaError, RarefyWarning

if TYPE_CHECKING:
    from PIL import Image as pil

_NAMES = {"icc_profile": "icc", "exif": "exif", "xmp": "xmp"}  # Pillow's -> ours
_JPEG_ROOM = {"exif": 65_533, "xmp": 65_504}  # in the one segment that each has
# Its writers differ in what they raise; the last ones are for EXIF that is damaged
_PILLOW_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    SyntaxError,
    TypeError,
    AttributeError,
    struct.error,
    OverflowError,
)
_AVIF_SIDE = 32_768  # of what libavif reads by default
_SAID = {"icc": "colour profile", "exif": "EXIF", "xmp": "XMP"}


def to_pil(samples: Pixels, metadata: Metadata) -> "pil.Image":
    """Make a Pillow image of samples uint8 [H, W, 1 to 4], with the metadata where Pillow keeps it."""
    from PIL import Image as pil

    picture = pil.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    exif = EXIF_PREFIX + metadata.exif if metadata.exif else None
    kept = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp}
    picture.info.update({key: value for key, value in kept.items() if value})
    return picture


def write_picture(picture: "pil.Image", target: str | os.PathLike[str] | BinaryIO, format: str | None) -> None:
    """Write a Pillow image with its metadata; see `Image.save`."""
    format = _format_of(target) if format is None else format.upper()
    writer = writer_of(format)
    if picture.mode not in writer.modes and picture.getextrema()[-1] == (255, 255):  # a part where nothing is clear
        opaque = picture.convert(picture.mode[:-1])
        opaque.info, picture = picture.info, opaque
    if picture.mode not in writer.modes:
        raise MediaError(f"{format} has no transparency: save as PNG or WebP, or put the picture on a background first")
    if format == "AVIF" and max(picture.size) > _AVIF_SIDE:
        raise MediaError(f"AVIF pictures with a side of more than {_AVIF_SIDE} pixels are read by few: save as PNG")
    picture = _in_colours_of(format, picture)
    _warn_of_losses(picture, writer, format)
    try:
        whole, lost = _written(picture, writer, format)
    except MediaError:
        if format not in EXIF_ANEW or picture.info.pop("exif", None) is None:
            raise
        whole, lost = _written(picture, writer, format)[0], ["EXIF that is damaged"]
    if lost:
        warnings.warn(f"left out, as {format} does not take it: {', '.join(lost)}", RarefyWarning, stacklevel=3)
    if isinstance(target, str | os.PathLike):
        _write_file(Path(target), whole)
    else:
        target.write(whole)


def _in_colours_of(format: str, picture: "pil.Image") -> "pil.Image":
    """Turn a picture into sRGB where its profile would say something else in this format, with a warning."""
    icc = picture.info.get("icc_profile")
    has_no_gray = format == "WEBP" or (format in ("AVIF", "HEIF") and picture.mode == "LA")
    if icc is None or not (format == "JXL" or (has_no_gray and icc[SPACE] == b"GRAY")):
        return picture
    if is_srgb(icc):
        del picture.info["icc_profile"]  # without one it is sRGB
        return picture
    turned = to_srgb(picture)
    if turned is None:
        return picture
    warnings.warn(f"colours are turned into sRGB, as {format} does not take their profile", RarefyWarning, stacklevel=4)
    return turned.convert(picture.mode) if format == "JXL" else turned  # gray stays gray


def _written(picture: "pil.Image", writer: Writer, format: str) -> tuple[memoryview, list[str]]:
    """The file, and what of the metadata is not in it."""
    whole = io.BytesIO()
    try:
        metadata, lost = metadata_options(picture, format)
        options = writer.options | (writer.gray if picture.mode == "L" else {}) | metadata
        picture.save(whole, format=format, **options)
    except _PILLOW_ERRORS as error:
        raise MediaError(f"the picture cannot be written as {format}: {error}") from error
    return whole.getbuffer(), lost


def _format_of(target: str | os.PathLike[str] | BinaryIO) -> str:
    suffix = Path(target).suffix.lower() if isinstance(target, str | os.PathLike) else ""
    if not suffix:
        return "PNG"
    if suffix not in SUFFIXES:
        raise MediaError(f"{target} ends in no suffix of a picture that can be written: {', '.join(SUFFIXES)}")
    return SUFFIXES[suffix]


def _warn_of_losses(picture: "pil.Image", writer: Writer, format: str) -> None:
    lost = [_SAID[ours] for key, ours in _NAMES.items() if key in picture.info and ours not in writer.holds]
    for key, room in _JPEG_ROOM.items() if format == "JPEG" else ():
        if len(picture.info.get(key, b"")) > room:
            del picture.info[key]
            lost.append(f"{_SAID[_NAMES[key]]} of more than {room} bytes")
    if lost:
        warnings.warn(f"left out, as {format} does not take it: {', '.join(lost)}", RarefyWarning, stacklevel=4)


def _write_file(path: Path, data: memoryview) -> None:
    """Write a file that is whole or not there."""
    if path.exists() and not path.is_file():  # a device or a pipe: there is nothing to rename
        path.write_bytes(data)
        return
    place = place_of(path)
    file, unfinished = open_beside(place)
    try:
        with file:
            file.write(data)
        unfinished.replace(place)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
