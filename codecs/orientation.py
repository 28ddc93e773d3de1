"""Rotation that EXIF or XMP asks for: found, applied to the pixels, and set to "none" in the metadata.

The metadata is patched in place: nothing but the tag changes, so that offsets inside of it (maker notes) stay right.
"""

import re
import struct
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

_TAG = 0x0112  # TIFF 6.0, "Orientation"
_TYPES = {1: "B", 3: "H", 4: "I"}  # TIFF 6.0: BYTE, SHORT, LONG
_XMP_TAG = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])(?=\s*[\"'<])")

# TIFF 6.0: where row 0 and column 0 of the stored picture are to be seen.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels, 1),
}


def apply_orientation(
    planes: Sequence[Pixels], exif: bytes | None, xmp: bytes | None
) -> tuple[list[Pixels], bytes | None, bytes | None]:
    """Turn arrays [H, W] or [H, W, C] as the metadata asks; returns them with metadata that asks for no turn any more.

    EXIF goes before XMP. exif: a TIFF structure; one that cannot be read asks for nothing and is kept as it is.
    """
    entry = _find_entry(exif) if exif is not None else None
    orientation = entry[1] if entry else _xmp_orientation(xmp)
    if orientation not in _TURNS:
        return list(planes), exif, xmp
    if exif is not None and entry is not None:
        exif = exif[: entry[0]] + _upright_entry(exif) + exif[entry[0] + 12 :]
    turned = [np.ascontiguousarray(_TURNS[orientation](plane)) for plane in planes]
    return turned, exif, _XMP_TAG.sub(rb"\g<1>1", xmp) if xmp is not None else None


def _find_entry(exif: bytes) -> tuple[int, int] | None:
    """Find the entry of the tag in the first directory: its position and its value."""
    order = _byte_order(exif)
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, directory)
        for position in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(order + "HHI", exif, position)
            if tag == _TAG and kind in _TYPES:
                (value,) = struct.unpack_from(order + _TYPES[kind], exif, position + 8)
                return position, int(value)
    except struct.error:  # a directory that reaches beyond its bytes names no orientation
        return None
    return None


def _byte_order(exif: bytes) -> str | None:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])


def _upright_entry(exif: bytes) -> bytes:
    """Spell the tag with the value 1 as an entry of a directory: 12 bytes."""
    order = _byte_order(exif)
    return struct.pack(f"{order}HHIHxx", _TAG, 3, 1, 1)


def _xmp_orientation(xmp: bytes | None) -> int | None:
    found = _XMP_TAG.search(xmp) if xmp is not None else None
    return int(found[2]) if found else None
