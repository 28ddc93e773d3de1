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
# Texts of PNG that are kept otherwise, or tell of the file and not of the picture
_MINOR_TEXTS = re.compile(
    r"XML:com\.adobe\.xmp|Raw profile type .*|Software|date:.*|Creation Time|exif:.*|icc:.*", re.I
)
_GAIN_MAP = re.compile(rb"hdrgm:Version|HDRGainMap|hdr-gain-map")
_MOTION = re.compile(rb"(?:MotionPhoto|MicroVideo)(?:=\"|>)1")


def remarks_on_file(file: BinaryIO, format: str, name: str) -> tuple[str, ...]:
    """Look at the bytes of a file for what Pillow does not tell; raises MediaError for PQ and HLG."""
    codes: tuple[int, int] | None = None
    bits = 8
    if format == "PNG":
        codes = next(((data[0], data[1]) for kind, data in _chunks(file) if kind == b"cICP" and len(data) == 4), None)
    elif format in ("AVIF", "HEIF"):
        file.seek(0)
        boxes = file.read(_BOXES_BYTES)
        codes, bits = _nclx(boxes), _bits_of_avif(boxes)
    notes = (SIXTEEN_BITS_NOTE,) if bits > 8 else ()
    return notes + _remarks_on_codes(codes, name)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of the small chunks of a PNG that stand before its pixels."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            return
        if size <= 64:
            yield kind, file.read(size)
            file.seek(4, 1)
        else:
            file.seek(size + 4, 1)


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
    return tuple(
        note
        for note in (_frames(picture), _gain_map(picture), _film(picture), _texts(picture), _gamma(picture))
        if note is not None
    )


def _frames(picture: Any) -> str | None:
    sizes = len(picture.ico.entry) if picture.format == "ICO" else 1
    if sizes > 1:
        return f"the largest of its {sizes} icons is taken, the others are left out"
    count = getattr(picture, "n_frames", 1)
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
    if 0x0404 in picture.info.get("photoshop", {}):  # the resource that holds IPTC (Photoshop file formats)
        names.append("IPTC data")
    if not names:
        return None
    others = f" and {len(names) - _TEXTS_SHOWN} more" if len(names) > _TEXTS_SHOWN else ""
    return f"texts are left out: {', '.join(names[:_TEXTS_SHOWN])}{others}"


def _gamma(picture: "pil.Image") -> str | None:
    info = picture.info
    gamma = info.get("gamma")
    if gamma is None or "srgb" in info or info.get("icc_profile") or abs(gamma - 1 / 2.2) < 0.005:
        return None
    return f"it is coded with a gamma of {gamma:.4f} and has no colour profile: it is taken as sRGB"
