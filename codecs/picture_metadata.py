"""The metadata of Pillow images: colour profile, EXIF (resolution in it), XMP; out of `info` and back into a writer."""

from typing import TYPE_CHECKING, Any, NamedTuple

from rarefy.codecs.colour import SPACE, is_srgb
from rarefy.codecs.resolution import has_second_directory, resolution_of, with_resolution
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

EXIF_PREFIX = b"Exif\0\0"
_XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
EXIF_ANEW = {"TIFF", "AVIF"}  # formats for which Pillow takes EXIF apart and writes it anew
_ORIENTATION_TAG = 0x0112
_XMP_TAG = 700  # of TIFF (XMP specification, part 3)
_DIRECTORIES = {0x8769, 0x8825}  # of EXIF and of GPS
# Tags of a TIFF file that say something about the picture, and not how its samples are stored (TIFF 6.0, EXIF 2.32)
_DESCRIPTIVE = {0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}
_DESCRIPTIVE |= {0x4746, 0x4749, *range(0x9C9B, 0x9CA0)}  # rating; title, comment, author, keywords, subject of Windows
_DESCRIPTIVE |= _DIRECTORIES
# "A screen", says a file whose program did not know: nothing that is worth keeping
_UNKNOWN_DPI = {(72, 72), (96, 96), (1, 1), (0, 0)}


class Metadata(NamedTuple):
    """icc: a colour profile, None is sRGB. exif: a TIFF structure without prefix. xmp: an XMP packet."""

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None


def metadata_of(picture: "pil.Image", channels: int, name: str) -> tuple[Metadata, tuple[str, ...]]:
    """Take the metadata of a loaded Pillow image, and notes on what is damaged. channels: that its colours have.

    A resolution that stands outside of EXIF goes into EXIF, unless EXIF has one. Raises MediaError for damaged EXIF in
    the text of a PNG.
    """
    notes = []
    icc = _bytes_of(picture, "icc_profile")
    if icc is None and "icc_profile" in picture.info:
        notes.append("the colour profile is damaged and left out: the picture is taken as sRGB")
    space = None if icc is None else icc[SPACE]
    if (space == b"CMYK" and picture.mode != "CMYK") or (space == b"GRAY" and channels > 1):
        notes.append("the colour profile is of another kind of colour and left out: the picture is taken as sRGB")
        icc = None
    if picture.format == "JXL" and icc is not None and is_srgb(icc):  # its reader makes one where the file has none
        icc = None
    if picture.format == "TIFF":
        exif, is_whole = _exif_of_tiff(picture)
        notes += [] if is_whole else ["EXIF tags that are damaged are left out"]
    else:
        exif = _exif(picture, name)
    dpi = _resolution(picture)
    if dpi is not None and resolution_of(exif) is None:
        exif = with_resolution(exif, dpi)
    try:
        xmp = _xmp(picture)
    except ValueError:
        xmp = None
        notes.append("XMP in a text chunk that is damaged is left out")
    return Metadata(icc, exif, xmp), tuple(notes)


def _bytes_of(picture: "pil.Image", key: str) -> bytes | None:
    value = picture.info.get(key)
    if isinstance(value, str):
        value = value.encode("utf-8")
    return bytes(value) if value else None


def _exif(picture: "pil.Image", name: str) -> bytes | None:
    """Give the TIFF structure, without the prefix that belongs to JPEG.

    Raises MediaError where it stands in a text that is damaged.
    """
    exif = _bytes_of(picture, "exif")
    if exif is None:
        try:
            exif = _raw_profile(picture, "exif") or _segment(picture, EXIF_PREFIX)
        except ValueError as error:
            raise MediaError(f"{name} holds EXIF in a text chunk that is damaged: store it as PNG anew") from error
    while exif is not None and exif.startswith(EXIF_PREFIX):  # some programs put it twice
        exif = exif.removeprefix(EXIF_PREFIX)
    return exif or None


def _xmp(picture: "pil.Image") -> bytes | None:
    """Give the XMP packet; raises ValueError where it stands in a text that is damaged."""
    return _bytes_of(picture, "xmp") or _raw_profile(picture, "xmp") or _segment(picture, _XMP_PREFIX)


def _segment(picture: "pil.Image", prefix: bytes) -> bytes | None:
    """What a segment of JPEG, as older programs put it into PNG text, holds behind this prefix."""
    content = _raw_profile(picture, "APP1")
    return content.removeprefix(prefix) if content is not None and content.startswith(prefix) else None


def _raw_profile(picture: "pil.Image", kind: str) -> bytes | None:
    """Read metadata as older programs put it into PNG text: name, length, hex digits, each on lines of their own."""
    text = picture.info.get(f"Raw profile type {kind}")
    return None if text is None else bytes.fromhex("".join(str(text).split("\n")[3:]))


def _exif_of_tiff(picture: "pil.Image") -> tuple[bytes | None, bool]:
    """Collect from a TIFF file the tags that EXIF has too; Pillow has turned the picture already.

    Gives them, and whether all could be spelled.
    """
    from PIL import Image as pil

    found = picture.getexif()
    kept = pil.Exif()
    kept.endian = "<"
    is_whole = True
    for tag in sorted(_DESCRIPTIVE & set(found)):
        try:
            kept[tag] = _spelled(found.get_ifd(tag) if tag in _DIRECTORIES else found[tag])
            kept.tobytes()
        except Exception:  # Pillow raises many kinds of exceptions on entries that are damaged
            kept.pop(tag, None)
            is_whole = False
    if set(kept) == {0x0128} or not set(kept):  # a unit alone says nothing
        return None, is_whole
    return kept.tobytes().removeprefix(EXIF_PREFIX), is_whole


def _spelled(value: Any) -> Any:
    """Give letters beyond ASCII as the bytes that they were read from, where Pillow would write question marks."""
    if isinstance(value, dict):
        return {tag: _spelled(each) for tag, each in value.items()}
    return value.encode("latin-1", "replace") if isinstance(value, str) and not value.isascii() else value


def _resolution(picture: "pil.Image") -> tuple[float, float] | None:
    """Give the dots per inch that a file states outside of EXIF."""
    dpi = picture.info.get("dpi")
    if picture.format == "TIFF" or not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    x, y = (float(value) for value in dpi)
    is_known = (round(x), round(y)) not in _UNKNOWN_DPI and 0 < x < 1e6 and 0 < y < 1e6
    return (x, y) if is_known else None


def metadata_options(picture: "pil.Image", format: str) -> tuple[dict[str, Any], list[str]]:
    """Give the metadata of an image (in its `info`) to Pillow in the way that its writer of this format wants it.

    Gives the options, and what of the metadata is not in them.
    """
    info = picture.info
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "xmp") if key in info}
    exif = options.get("exif", b"").removeprefix(EXIF_PREFIX)
    dpi = resolution_of(exif)
    largest = {"PNG": 1e6, "JPEG": 65_535, "BMP": 1e6}.get(format, 0)
    if dpi is not None and max(dpi) <= largest:
        options["dpi"] = dpi
    if format == "PNG" and "xmp" in options:
        options["pnginfo"] = _png_chunk(options.pop("xmp"))
    lost = ["the preview in EXIF"] if format in EXIF_ANEW and has_second_directory(exif) else []
    if format == "TIFF":
        lost += _put_into_tags(options)
    return options, lost


def _png_chunk(xmp: bytes) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    # iTXt: keyword, no compression, no language, no translated keyword, then the packet as it is
    chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    return chunks


def _put_into_tags(options: dict[str, Any]) -> list[str]:
    """EXIF and XMP of a TIFF file are tags among the others; gives what EXIF had that is not among them."""
    from PIL import Image as pil

    tags, lost = pil.Exif(), []
    if "exif" in options:
        tags.load(options.pop("exif"))
        for tag in sorted(set(tags) - _DESCRIPTIVE - {_ORIENTATION_TAG}):
            del tags[tag]
            lost.append(f"EXIF tag {tag}")
        for tag in set(tags):
            directory = tags.get_ifd(tag) if tag in _DIRECTORIES else None
            if directory is None:
                tags[tag] = _spelled(tags[tag])
            else:
                directory.update(_spelled(directory))
    if not _DIRECTORIES.isdisjoint(tags):
        options["compression"] = None  # libtiff, which compresses, writes none of them
    if "xmp" in options:
        tags[_XMP_TAG] = options.pop("xmp")
    if len(tags):
        options["exif"] = tags
    return lost
