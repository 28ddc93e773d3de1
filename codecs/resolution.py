"""Resolution in EXIF: dots per inch found, or put in by a new first directory behind the rest.

The structure is only added to, so that offsets inside of it (maker notes) stay right.
"""

import struct
from fractions import Fraction

_X, _Y, _UNIT = 0x011A, 0x011B, 0x0128  # TIFF 6.0: XResolution, YResolution, ResolutionUnit
_RATIONAL, _SHORT = 5, 3
_INCH, _CENTIMETRE = 2, 3
_EMPTY = b"II*\0" + struct.pack("<IHI", 8, 0, 0)


def resolution_of(exif: bytes | None) -> tuple[float, float] | None:
    """Give the dots per inch, across and down, that EXIF states, or None. exif: a TIFF structure, maybe damaged."""
    entries = _first_directory(exif) if exif else None
    if exif is None or entries is None or not {_X, _Y} <= set(entries):
        return None
    order = _order(exif)
    try:
        x, y = (_rational(exif, entries[tag], order) for tag in (_X, _Y))
        unit = struct.unpack_from(order + "H", entries[_UNIT], 8)[0] if _UNIT in entries else _INCH
    except (struct.error, ZeroDivisionError):
        return None
    scale = {_INCH: 1.0, _CENTIMETRE: 2.54}.get(unit)
    return (x * scale, y * scale) if scale and x > 0 and y > 0 else None


def _rational(exif: bytes, entry: bytes, order: str) -> float:
    (offset,) = struct.unpack_from(order + "I", entry, 8)
    numerator, denominator = struct.unpack_from(order + "II", exif, offset)
    return float(numerator / denominator)


def with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """Add a resolution in dots per inch to EXIF, or make EXIF that says nothing else.

    EXIF whose first directory cannot be read comes back as it is.
    """
    exif = exif or _EMPTY
    entries = _first_directory(exif)
    if entries is None:
        return exif
    order = _order(exif)
    exif += bytes(len(exif) % 2)  # directories begin at even positions
    values = b"".join(struct.pack(order + "II", *_fraction(value)) for value in dpi)
    start = len(exif) + len(values)
    entries[_X] = struct.pack(order + "HHII", _X, _RATIONAL, 1, len(exif))
    entries[_Y] = struct.pack(order + "HHII", _Y, _RATIONAL, 1, len(exif) + 8)
    entries[_UNIT] = struct.pack(order + "HHIHxx", _UNIT, _SHORT, 1, _INCH)
    directory = struct.pack(order + "H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
    following = _following_directory(exif, order)
    return exif[:4] + struct.pack(order + "I", start) + exif[8:] + values + directory + following


def has_second_directory(exif: bytes) -> bool:
    """Tell whether a directory follows the first one: that of a preview."""
    return _first_directory(exif) is not None and any(_following_directory(exif, _order(exif)))


def _fraction(dpi: float) -> tuple[int, int]:
    """Spell a number of dots: whole ones as such, for PNG's dots per metre are never quite whole dots per inch."""
    if abs(dpi - round(dpi)) < 0.02:
        return max(1, round(dpi)), 1
    fraction = Fraction(dpi).limit_denominator(1000)
    return fraction.numerator, fraction.denominator


def _order(exif: bytes) -> str:
    return ">" if exif.startswith(b"MM") else "<"


def _first_directory(exif: bytes) -> dict[int, bytes] | None:
    """Give the entries of the first directory by their tags, 12 bytes each, or None if there is no sound one."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return None
    order = _order(exif)
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
    except struct.error:
        return None
    entries = [exif[place : place + 12] for place in range(start + 2, start + 2 + 12 * count, 12)]
    if entries and len(entries[-1]) < 12:
        return None
    return {struct.unpack_from(order + "H", entry)[0]: entry for entry in entries}


def _following_directory(exif: bytes, order: str) -> bytes:
    """Give the 4 bytes behind the first directory: where the next one (of the thumbnail) stands."""
    (start,) = struct.unpack_from(order + "I", exif, 4)
    (count,) = struct.unpack_from(order + "H", exif, start)
    return exif[start + 2 + 12 * count :][:4].ljust(4, b"\0")
