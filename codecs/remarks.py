"""Notes on what a picture file holds beyond one picture of 8 bits: frames, gain maps, films, texts, colour codes.

High dynamic range coded by PQ or HLG is refused: its numbers, shown as sRGB, would be another picture.
"""

import re
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from rarefy.codecs.arrays import SIXTEEN_BITS_NOTE
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

# ITU-T H.273: colour primaries of sRGB (and not stated), and the transfer functions that sRGB displays show well
_SRGB_PRIMARIES = {1, 2}
_SRGB_TRANSFERS = {1, 2, 6, 13, 14, 15}
_HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_BOXES_BYTES = 1 << 16  # of an AVIF file: its boxes stand before its samples, nearly always
_TEXTS_SHOWN = 5
_BMP_HEAD, _BMP_COLOURS = 124, slice(56, 60)  # BITMAPV5HEADER, its bV5CSType: an embedded or a linked profile
_EXTRA_SAMPLES, _IPTC, _PHOTOSHOP = 338, 33723, 34377  # tags of TIFF
_SRGB_CHROMATICITY = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# Texts of PNG that are kept otherwise, or tell of the file and not of the picture
_MINOR_TEXTS = re.compile(
    r"XML:com\.adobe\.xmp|Raw profile type (?:exif|xmp|APP1)|Software|date:.*|Creation Time|exif:.*|icc:.*", re.I
)
_GAIN_MAP = re.compile(rb"hdrgm:Version|HDRGainMap|hdr-gain-map")
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_MOTION = re.compile(rb"(?:MotionPhoto|MicroVideo)(?:=\"|>)1")


def remarks_on_file(file: BinaryIO, format: str, name: str) -> tuple[str, ...]:
    """Look at the bytes of a file for what Pillow does not tell; raises MediaError for PQ and HLG."""
    codes: tuple[int, int] | None = None
    bits = 8
    has_profile = False
    if format == "PNG":
        chunks = dict(_chunks(file))
        has_profile = b"iCCP" in chunks
        code = chunks.get(b"cICP", b"")
        codes = (code[0], code[1]) if len(code) == 4 else None
    elif format == "BMP":
        return _remarks_on_bmp(file)
    elif format in ("AVIF", "HEIF"):
        file.seek(0)
        boxes = file.read(_BOXES_BYTES)
        codes, bits = _nclx(boxes), _bits_of_avif(boxes)
    notes = (SIXTEEN_BITS_NOTE,) if bits > 8 else ()
    remarks = _remarks_on_codes(codes, name)
    return notes if has_profile else notes + remarks


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the chunks of a PNG that stand before its pixels; of large ones no content."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            return
        if size <= 64:
            yield kind, file.read(size)
            file.seek(4, 1)
        else:
            yield kind, b""
            file.seek(size + 4, 1)


def _remarks_on_bmp(file: BinaryIO) -> tuple[str, ...]:
    file.seek(14)
    head = file.read(_BMP_HEAD)
    has_profile = head[:4] == struct.pack("<I", _BMP_HEAD) and head[_BMP_COLOURS] in (b"DEBM", b"KNIL")
    return ("the colour profile of a BMP file is left out: the picture is taken as sRGB",) if has_profile else ()


def _nclx(boxes: bytes) -> tuple[int, int] | None:
    """Find the codes of the colour box (ISO 14496-12, section 12.1.5) of an AVIF or HEIF file."""
    place = boxes.find(b"colrnclx")
    if place < 0 or len(boxes) < place + 12 or b"colrprof" in boxes or b"colrrICC" in boxes:
        return None  # a profile goes before the codes
    primaries, transfer = struct.unpack_from(">HH", boxes, place + 8)
    return primaries, transfer


def _bits_of_avif(boxes: bytes) -> int:
    """Read the bit depth from the configuration of AV1 (AV1-ISOBMFF, section 2.3) or HEVC (ISO 14496-15, 8.3.2)."""
    av1, hevc = boxes.find(b"av1C"), boxes.find(b"hvcC")
    if 0 <= av1 < len(boxes) - 6:
        return 8 + 2 * bool(boxes[av1 + 6] & 0x40) + 2 * bool(boxes[av1 + 6] & 0x20)
    if 0 <= hevc < len(boxes) - 21:
        return 8 + (boxes[hevc + 21] & 7)
    return 8


def _remarks_on_codes(codes: tuple[int, int] | None, name: str) -> tuple[str, ...]:
    if codes is None:
        return ()
    primaries, transfer = codes
    if transfer in _HDR_TRANSFERS:
        raise MediaError(
            f"{name} is a picture of high dynamic range ({_HDR_TRANSFERS[transfer]}), which is not taken: "
            "map it to 8-bit sRGB first"
        )
    if primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS:
        return ()
    return (
        f"colours are given by codes alone (primaries {primaries}, transfer {transfer}), without a profile: "
        "they are taken as sRGB",
    )


def remarks_on_image(picture: "pil.Image") -> tuple[str, ...]:
    """Say what a loaded Pillow image holds that will be left out."""
    return tuple(note for remark in _REMARKS if (note := remark(picture)) is not None)


def _frames(picture: Any) -> str | None:
    sizes = len(picture.ico.entry) if picture.format == "ICO" else 1
    if sizes > 1:
        return f"the largest of its {sizes} icons is taken, the others are left out"
    try:
        count = getattr(picture, "n_frames", 1)
    except Exception:  # a page of a kind that Pillow does not know, behind one that it does
        return "further pages are left out"
    if count == 1:
        return None
    what = {"TIFF": "page", "HEIF": "picture", "MPO": "picture"}.get(picture.format, "frame")
    number = "the primary one" if picture.format == "HEIF" else f"number {picture.tell() + 1}"
    return f"of its {count} {what}s, {number} is taken; the others are left out"


def _gain_map(picture: "pil.Image") -> str | None:
    has_markers = any(b"urn:iso:std:iso:ts:21496" in data[:64] for _, data in getattr(picture, "applist", ()))
    if has_markers or _GAIN_MAP.search(_xmp(picture)):
        return "the gain map is left out: the picture is kept as it looks without high dynamic range"
    return None


def _film(picture: "pil.Image") -> str | None:
    return "the film of a motion photo is left out" if _MOTION.search(_xmp(picture)) else None


def _xmp(picture: "pil.Image") -> bytes:
    xmp = picture.info.get("xmp", b"")
    return xmp.encode() if isinstance(xmp, str) else bytes(xmp)


def _texts(picture: "pil.Image") -> str | None:
    names = [name for name in getattr(picture, "text", {}) if not _MINOR_TEXTS.fullmatch(name)]
    if picture.info.get("comment") and picture.format != "PNG":
        names.append("a comment")
    tags = getattr(picture, "tag_v2", {})
    if 0x0404 in picture.info.get("photoshop", {}) or _IPTC in tags:  # that resource holds it (Photoshop file formats)
        names.append("IPTC data")
    if _PHOTOSHOP in tags:
        names.append("resources of Photoshop")
    if any(data.startswith(_EXTENDED_XMP) for _, data in getattr(picture, "applist", ())):
        names.append("the extended part of its XMP")
    if any(kind == "APP11" and b"c2pa" in data for kind, data in getattr(picture, "applist", ())):
        names.append("content credentials (C2PA)")
    if not names:
        return None
    others = f" and {len(names) - _TEXTS_SHOWN} more" if len(names) > _TEXTS_SHOWN else ""
    return f"texts are left out: {', '.join(names[:_TEXTS_SHOWN])}{others}"


def _gamma(picture: "pil.Image") -> str | None:
    info = picture.info
    gamma = info.get("gamma")
    if "srgb" in info or info.get("icc_profile"):
        return None
    if gamma is not None and abs(gamma - 1 / 2.2) >= 0.005:
        return f"it is coded with a gamma of {gamma:.4f} and has no colour profile: it is taken as sRGB"
    found = info.get("chromaticity")
    if found and max(abs(a - b) for a, b in zip(found, _SRGB_CHROMATICITY, strict=False)) > 0.005:
        return "its primaries are not those of sRGB (cHRM) and it has no colour profile: it is taken as sRGB"
    return None


def _extra_channels(picture: Any) -> str | None:
    if picture.format == "TIFF" and 0 in picture.tag_v2.get(_EXTRA_SAMPLES, ()):
        return "channels beyond colour and transparency are left out"
    return None


def _pixel_shape(picture: "pil.Image") -> str | None:
    """Tell of pixels that are not square: of resolutions without a unit, which say nothing else."""
    x, y = picture.info.get("aspect") or (1, 1)  # of PNG
    if picture.format == "JPEG" and picture.info.get("jfif_unit") == 0:
        x, y = picture.info.get("jfif_density", (1, 1))
    return None if x == y or not x or not y else f"its pixels are not square ({x}:{y}): they are taken as square"


_REMARKS = (_frames, _gain_map, _film, _texts, _gamma, _extra_channels, _pixel_shape)
