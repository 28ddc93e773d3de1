"""What a file is, by its first bytes, and which formats of pictures are read and written."""

import struct
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, BinaryIO

from rarefy.codecs.audio_kinds import begins_like_sound
from rarefy.codecs.header import SIGNATURE
from rarefy.errors import MediaError

_HEAD = 256  # bytes that tell a file; the brands of an ISO file stand there
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

# (position, bytes found there, the format by the name that Pillow has for it)
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\xff\x0a", "JXL"),
    (4, b"JXL \r\n", "JXL"),
    *((0, b"P%d" % number, "PPM") for number in range(1, 7)),
    (0, b"Pf", "PPM"),
)
RAW = "a raw photograph, which is not taken: develop it to JPEG or PNG first"
# Fuji, Olympus, Panasonic, Canon; others are TIFF files whose tags tell
_RAW_MARKS = ((0, b"FUJIFILMCCD-RAW"), (0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"IIU\0"), (4, b"ftypcrx "))
_CANON = b"II*\0\x10\0\0\0CR\2\0"  # what begins as TIFF otherwise
# (position, bytes found there, what the file is)
_OTHER_FILES = (
    (0, SIGNATURE, "already a rarefy file: decode it first"),
    (4, b"jP  \r\n", "a JPEG 2000 picture, which is not taken: store it as PNG first"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture, which is not taken: store it as PNG first"),
    (0, b"8BPS", "a Photoshop file, which is not taken: store it as PNG first"),
    (0, b"v/1\x01", "an OpenEXR picture, which is not taken: store it as PNG first"),
    (0, b"#?RADIANCE", "a Radiance HDR picture, which is not taken: store it as PNG first"),
    *((place, mark, RAW) for place, mark in _RAW_MARKS),
    (0, b"PF\n", "a PFM picture in colour, which is not taken: store it as PNG first"),
    (0, b"<svg", "an SVG drawing, which is not taken: draw it to PNG first"),
    (0, b"%PDF", "a PDF document, not a picture"),
    (4, b"ftyp", "a film (MP4, MOV), not a picture"),
)
# Format -> the module that Pillow needs for it, the package that has it, and what to call such a picture
_PLUGINS = {"HEIF": ("pillow_heif", "pillow-heif", "a HEIF"), "JXL": ("pillow_jxl", "pillow-jxl-plugin", "a JPEG XL")}
TAKEN = "PNG, JPEG, WebP, AVIF, TIFF, BMP, GIF, PPM, ICO, and with plugins HEIF and JPEG XL, are taken"


def format_of(file: BinaryIO, name: str) -> str:
    """Tell by its first bytes which of Pillow's formats a file is, and make ready the plugin that it needs.

    Raises MediaError that says what the file is where it is none of them. The file is left at its begin.
    """
    head = file.read(_HEAD)
    file.seek(0)
    format = _format_of_iso_file(head) or next(
        (format for position, mark, format in _SIGNATURES if head.startswith(mark, position)), None
    )
    if head.startswith(_CANON):
        raise MediaError(f"{name} is {RAW}")
    if format is None:
        raise MediaError(f"{name} is {_what_else(head)}")
    _load_plugin(format, name)
    return format


def _format_of_iso_file(head: bytes) -> str | None:
    """AVIF and HEIF are files of boxes that differ by their brands (ISO 14496-12, section 4.3)."""
    if head[4:8] != b"ftyp":
        return None
    (size,) = struct.unpack_from(">I", head)
    brands = {head[8:12], *(head[start : start + 4] for start in range(16, min(size, len(head)), 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def _what_else(head: bytes) -> str:
    if not head:
        return "empty (0 bytes)"
    for position, mark, what in _OTHER_FILES:
        if head.startswith(mark, position):
            return what
    if begins_like_sound(head):
        return "a sound, not a picture"
    what = "a text file" if head.isascii() and b"\0" not in head else "a file of an unknown kind"
    return f"{what}, not a picture: {TAKEN}"


def _load_plugin(format: str, name: str) -> None:
    """Make Pillow know HEIF and JPEG XL, which packages of their own read."""
    if format not in _PLUGINS:
        return
    module, package, what = _PLUGINS[format]
    try:
        plugin = import_module(module)
    except ImportError as error:
        raise MediaError(f"{name} is {what} picture, which needs a plugin: pip install {package}") from error
    if format == "HEIF":  # the other one registers itself
        plugin.register_heif_opener()


@dataclass(frozen=True)
class Writer:
    """How Pillow writes a format, and what the format holds.

    gray: options that differ for gray without alpha. modes: those of Pillow that are written.
    """

    options: dict[str, Any] = field(default_factory=dict)
    gray: dict[str, Any] = field(default_factory=dict)
    modes: tuple[str, ...] = ("L", "LA", "RGB", "RGBA")
    holds: tuple[str, ...] = ("icc", "exif", "xmp")


WRITERS = {
    "PNG": Writer({"compress_level": 1}),  # a tenth of the time of level 6 for a few per cent of size
    "JPEG": Writer({"quality": 95, "subsampling": 0}, modes=("L", "RGB")),
    "WEBP": Writer({"lossless": True}),
    "AVIF": Writer({"quality": 95, "subsampling": "4:4:4", "speed": 8}, gray={"subsampling": "4:0:0"}),
    "TIFF": Writer({"compression": "tiff_adobe_deflate"}),
    "BMP": Writer(modes=("L", "RGB"), holds=()),
    "PPM": Writer(modes=("L", "RGB"), holds=()),
    "JXL": Writer({"lossless": True, "effort": 3}, holds=("exif", "xmp")),  # its plugin writes no profile
    "HEIF": Writer({"quality": 95, "chroma": 444}),
}
SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".jxl": "JXL",
    ".heic": "HEIF",
    ".heif": "HEIF",
}


def writer_of(format: str) -> Writer:
    """Give the writer of a format; raises MediaError for unknown ones and where a plugin is missing."""
    if format not in WRITERS:
        raise MediaError(f"pictures cannot be written as {format!r}: {', '.join(WRITERS)}")
    _load_plugin(format, "the output")
    return WRITERS[format]
