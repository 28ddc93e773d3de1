"""Picture files in and out, by Pillow: 8-bit RGB and gray PNG, JPEG and WebP, with their metadata.

What cannot be kept is refused with a sentence that says what the file is; nothing is dropped in silence.
"""

import io
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from rarefy.codecs.arrays import split_alpha
from rarefy.codecs.header import SIGNATURE
from rarefy.codecs.limits import Limits
from rarefy.codecs.orientation import Pixels
from rarefy.errors import LimitError, MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

ADVICE = "convert it to 8-bit RGB or gray first"
_READ_FORMATS = ("PNG", "JPEG", "WEBP")
_WRITE_FORMATS = {"": "PNG", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 1},  # a tenth of the time of level 6 for a few per cent of size
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
}
_EXIF_PREFIX = b"Exif\0\0"

_MODES = {
    "1": "a picture of 1 bit per pixel",
    "P": "a picture with a palette",
    "PA": "a picture with a palette and transparency",
    "La": "a gray picture with transparency",
    "RGBa": "a picture with transparency",
    "CMYK": "a CMYK picture",
    "YCbCr": "a YCbCr picture",
    "I": "a picture of 32-bit integers",
    "F": "a picture of floating-point numbers",
}
# (position, bytes found there, what the file is)
_OTHER_FILES = (
    (0, SIGNATURE, "already a rarefy file: decode it first"),
    (0, b"GIF8", f"a GIF picture, which is not taken: {ADVICE} and store it as PNG"),
    (0, b"BM", f"a BMP picture, which is not taken: {ADVICE} and store it as PNG"),
    (0, b"II*\0", f"a TIFF picture, which is not taken: {ADVICE} and store it as PNG"),
    (0, b"MM\0*", f"a TIFF picture, which is not taken: {ADVICE} and store it as PNG"),
    (4, b"ftyp", "an AVIF, HEIC or MP4 file, which is not taken: store it as PNG first"),
    (0, b"\xff\x0a", "a JPEG XL picture, which is not taken: store it as PNG first"),
    (4, b"JXL \r\n", "a JPEG XL picture, which is not taken: store it as PNG first"),
    (4, b"jP  \r\n", "a JPEG 2000 picture, which is not taken: store it as PNG first"),
    (0, b"8BPS", "a Photoshop file, which is not taken: store it as PNG first"),
    (0, b"%PDF", "a PDF document, not a picture"),
)


class Parts(NamedTuple):
    """A picture taken apart, as stored, not yet turned: what `Image` holds."""

    pixels: Pixels
    alpha: Pixels | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    notes: tuple[str, ...] = ()


def read_picture(file: BinaryIO, name: str, limits: Limits) -> Parts:
    """Read an encoded picture from a seekable file; returns what `from_pil` does. name: for messages."""
    from PIL import Image as pil

    _check_signature(file.read(64), name)
    file.seek(0)
    try:
        picture = pil.open(file, formats=_READ_FORMATS)
    except Exception as error:  # Pillow's readers raise many kinds of exceptions on damaged files
        raise _damaged(name, error) from error
    with picture:
        return from_pil(picture, name, limits)


def from_pil(picture: "pil.Image", name: str, limits: Limits) -> Parts:
    """Take pixels uint8 [H, W, C], ICC profile, EXIF (a TIFF structure) and XMP out of a Pillow image.

    Raises MediaError for pictures that are not 8-bit RGB or gray, have several frames or transparency, are damaged, or
    are above the limits (checked before the pixels are decoded).
    """
    try:
        limits.check_picture(picture.width, picture.height)
    except LimitError as error:
        raise MediaError(f"{name}: {error}") from error
    _check_kind(picture, name)
    try:
        picture.load()  # metadata that stands after the pixels is known only now
        pixels = np.array(picture, dtype=np.uint8)
    except Exception as error:  # as above
        raise _damaged(name, error) from error
    if pixels.size == 0:
        raise MediaError(f"{name} has no pixels ({picture.width} x {picture.height})")
    _check_transparency(picture, name)
    pixels, alpha = split_alpha(pixels.reshape(picture.height, picture.width, -1))
    return Parts(pixels, alpha, _metadata(picture, "icc_profile"), _exif(picture, name), _metadata(picture, "xmp"))


def _check_signature(head: bytes, name: str) -> None:
    """Refuse by the first bytes what is no PNG, JPEG or WebP, and say what it is."""
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return
    if not head:
        raise MediaError(f"{name} is empty (0 bytes)")
    for position, mark, what in _OTHER_FILES:
        if head.startswith(mark, position):
            raise MediaError(f"{name} is {what}")
    what = "a text file" if head.isascii() and b"\0" not in head else "a file of an unknown kind"
    raise MediaError(f"{name} is {what}, not a picture: PNG, JPEG and WebP pictures are taken")


def _check_kind(picture: "pil.Image", name: str) -> None:
    # An MPO is a JPEG photograph with previews or a depth map behind it: its first frame is the photograph.
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        raise MediaError(f"{name} is an animation, which is not taken: store one frame as a picture first")
    if picture.mode not in ("RGB", "L", "RGBA", "LA"):
        sixteen_bits = "a picture of 16 bits per channel" if picture.mode.startswith("I;16") else None
        what = sixteen_bits or _MODES.get(picture.mode, f"a picture of the kind {picture.mode!r}")
        raise MediaError(f"{name} is {what}, which is not taken: {ADVICE}")
    # Pillow halves the depth of 16-bit RGB in PNG files without a word; the plan of its decoder tells.
    if any(";16" in str(tile[3]) for tile in getattr(picture, "tile", ())):
        raise MediaError(f"{name} is a picture of 16 bits per channel, which is not taken: {ADVICE}")
    _check_transparency(picture, name)


def _check_transparency(picture: "pil.Image", name: str) -> None:
    if picture.info.get("transparency") is not None:
        raise MediaError(f"{name} is a picture with a transparent colour, which is not taken: {ADVICE}")


def _metadata(picture: "pil.Image", key: str) -> bytes | None:
    value = picture.info.get(key)
    if isinstance(value, str):
        value = value.encode("utf-8")
    return bytes(value) if value else None


def _exif(picture: "pil.Image", name: str) -> bytes | None:
    """Give the TIFF structure, without the prefix that belongs to JPEG."""
    exif = _metadata(picture, "exif")
    if exif is None and "Raw profile type exif" in picture.info:
        exif = _raw_profile(str(picture.info["Raw profile type exif"]), name)
    if exif is None:
        return None
    return exif.removeprefix(_EXIF_PREFIX) or None


def _raw_profile(text: str, name: str) -> bytes:
    """Read EXIF as older programs put it into PNG text: name, length, hex digits, each on lines of their own."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError as error:
        raise MediaError(f"{name} holds EXIF in a text chunk that is damaged: store it as PNG anew") from error


def _damaged(name: str, error: Exception) -> MediaError:
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, DecompressionBombError | DecompressionBombWarning):
        return MediaError(
            f"{name} is too large for Pillow ({reason}): raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
    return MediaError(f"{name} is damaged or incomplete and cannot be read as a picture ({reason})")


def to_pil(pixels: Pixels, icc: bytes | None, exif: bytes | None, xmp: bytes | None) -> "pil.Image":
    """Make a Pillow image of pixels [H, W, 1 to 4], with the metadata where Pillow keeps it."""
    from PIL import Image as pil

    picture = pil.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    kept = {"icc_profile": icc, "exif": exif and _EXIF_PREFIX + exif, "xmp": xmp}
    picture.info.update({key: value for key, value in kept.items() if value})
    return picture


def write_picture(picture: "pil.Image", target: str | os.PathLike[str] | BinaryIO, format: str | None) -> None:
    """Write a Pillow image with its metadata; see `Image.save`."""
    format = _format_of(target) if format is None else _known_format(format)
    if format == "JPEG" and picture.mode in ("LA", "RGBA"):
        raise MediaError("JPEG has no transparency: save as PNG or WebP, or put the picture on a background first")
    whole = io.BytesIO()
    try:
        picture.save(whole, format=format, **_WRITE_OPTIONS[format], **_metadata_options(picture, format))
    except (OSError, ValueError) as error:
        raise MediaError(f"the picture cannot be written as {format}: {error}") from error
    if isinstance(target, str | os.PathLike):
        _write_file(Path(target), whole.getbuffer())
    else:
        target.write(whole.getbuffer())


def _format_of(target: str | os.PathLike[str] | BinaryIO) -> str:
    suffix = Path(target).suffix.lower() if isinstance(target, str | os.PathLike) else ""
    if suffix not in _WRITE_FORMATS:
        raise MediaError(f"{target} ends in no suffix of a picture that can be written: {_suffixes()}")
    return _WRITE_FORMATS[suffix]


def _known_format(format: str) -> str:
    if format.upper() not in _WRITE_OPTIONS:
        raise MediaError(f"pictures cannot be written as {format!r}: {', '.join(_WRITE_OPTIONS)}")
    return format.upper()


def _suffixes() -> str:
    return ", ".join(suffix for suffix in _WRITE_FORMATS if suffix)


def _metadata_options(picture: "pil.Image", format: str) -> dict[str, Any]:
    """Give metadata to Pillow in the way that its writer of this format wants it."""
    info = picture.info
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "xmp") if key in info}
    if format == "PNG" and "xmp" in options:
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        # iTXt: keyword, no compression, no language, no translated keyword, then the packet as it is
        chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + options.pop("xmp"))
        options["pnginfo"] = chunks
    return options


def _write_file(path: Path, data: memoryview) -> None:
    """Write a file that is whole or not there: under another name first, which is then changed."""
    if path.exists() and not path.is_file():  # a device or a pipe: there is nothing to rename
        path.write_bytes(data)
        return
    path = Path(os.path.realpath(path))  # a link stays a link
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise
