"""The metadata of Pillow images: colour profile, EXIF (resolution in it), XMP; out of `info` and back into a writer."""

from typing import TYPE_CHECKING, Any, NamedTuple

from rarefy.codecs.colour import is_srgb
from rarefy.codecs.resolution import resolution_of, with_resolution
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION_TAG = 0x0112
_XMP_TAG = 700  # of TIFF (XMP specification, part 3)
_DIRECTORIES = {0x8769, 0x8825}  # of EXIF and of GPS
# Tags of a TIFF file that say something about the picture, and not how its samples are stored (TIFF 6.0, EXIF 2.32)
_DESCRIPTIVE = {0x010D, 0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298}
_DESCRIPTIVE |= _DIRECTORIES
# "A screen", says a file whose program did not know: nothing that is worth keeping
_UNKNOWN_DPI = {(72, 72), (96, 96), (1, 1), (0, 0)}


class Metadata(NamedTuple):
    """icc: a colour profile, None is sRGB. exif: a TIFF structure without prefix. xmp: an XMP packet."""

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None


def metadata_of(picture: "pil.Image", name: str) -> tuple[Metadata, tuple[str, ...]]:
    """Take the metadata of a loaded Pillow image, and notes on what is damaged.

    A resolution that stands outside of EXIF goes into EXIF, unless EXIF has one. Raises MediaError for damaged EXIF in
    the text of a PNG.
    """
    notes = []
    icc = _bytes_of(picture, "icc_profile")
    if icc is None and "icc_profile" in picture.info:
        notes.append("the colour profile is damaged and left out: the picture is taken as sRGB")
    if picture.format == "JXL" and icc is not None and is_srgb(icc):  # its reader makes one where the file has none
        icc = None
    exif = _exif_of_tiff(picture) if picture.format == "TIFF" else _exif(picture, name)
    dpi = _resolution(picture)
    if dpi is not None and resolution_of(exif) is None:
        exif = with_resolution(exif, dpi)
    return Metadata(icc, exif, _bytes_of(picture, "xmp")), tuple(notes)


def _bytes_of(picture: "pil.Image", key: str) -> bytes | None:
    value = picture.info.get(key)
    if isinstance(value, str):
        value = value.encode("utf-8")
    return bytes(value) if value else None


def _exif(picture: "pil.Image", name: str) -> bytes | None:
    """Give the TIFF structure, without the prefix that belongs to JPEG."""
    exif = _bytes_of(picture, "exif")
    if exif is None and "Raw profile type exif" in picture.info:
        exif = _raw_profile(str(picture.info["Raw profile type exif"]), name)
    if exif is None:
        return None
    return exif.removeprefix(EXIF_PREFIX) or None


def _raw_profile(text: str, name: str) -> bytes:
    """Read EXIF as older programs put it into PNG text: name, length, hex digits, each on lines of their own."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError as error:
        raise MediaError(f"{name} holds EXIF in a text chunk that is damaged: store it as PNG anew") from error


def _exif_of_tiff(picture: "pil.Image") -> bytes | None:
    """Collect from a TIFF file the tags that EXIF has too; Pillow has turned the picture already."""
    from PIL import Image as pil

    found = picture.getexif()
    kept = pil.Exif()
    kept.endian = "<"
    for tag in _DESCRIPTIVE & set(found):
        kept[tag] = found.get_ifd(tag) if tag in _DIRECTORIES else found[tag]
    if set(kept) == {0x0128} or not set(kept):  # a unit alone says nothing
        return None
    return kept.tobytes().removeprefix(EXIF_PREFIX)


def _resolution(picture: "pil.Image") -> tuple[float, float] | None:
    """Give the dots per inch that a file states outside of EXIF."""
    dpi = picture.info.get("dpi")
    if picture.format == "TIFF" or not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    x, y = (float(value) for value in dpi)
    is_known = (round(x), round(y)) not in _UNKNOWN_DPI and 0 < x < 1e6 and 0 < y < 1e6
    return (x, y) if is_known else None


def metadata_options(picture: "pil.Image", format: str) -> dict[str, Any]:
    """Give the metadata of an image (in its `info`) to Pillow in the way that its writer of this format wants it."""
    info = picture.info
    options: dict[str, Any] = {key: info[key] for key in ("icc_profile", "exif", "xmp") if key in info}
    dpi = resolution_of(options.get("exif", b"").removeprefix(EXIF_PREFIX))
    if dpi is not None and format in ("PNG", "JPEG", "BMP"):
        options["dpi"] = dpi
    if format == "PNG" and "xmp" in options:
        options["pnginfo"] = _png_chunk(options.pop("xmp"))
    if format == "TIFF":
        _put_into_tags(options)
    return options


def _png_chunk(xmp: bytes) -> Any:
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    # iTXt: keyword, no compression, no language, no translated keyword, then the packet as it is
    chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    return chunks


def _put_into_tags(options: dict[str, Any]) -> None:
    """EXIF and XMP of a TIFF file are tags among the others."""
    from PIL import Image as pil

    tags = pil.Exif()
    if "exif" in options:
        tags.load(options.pop("exif"))
        for tag in set(tags) - _DESCRIPTIVE - {_ORIENTATION_TAG}:
            del tags[tag]
    if not _DIRECTORIES.isdisjoint(tags):
        options["compression"] = None  # libtiff, which compresses, writes none of them
    if "xmp" in options:
        tags[_XMP_TAG] = options.pop("xmp")
    if len(tags):
        options["exif"] = tags
