"""Size and bit depth of a JPEG XL picture from its first bytes: its reader decodes all pixels before it tells the one,
and never tells the other.

ISO 18181-1, "SizeHeader", "ImageMetadata" and "BitDepth", and ISO 18181-2 for the boxes around.
"""

import struct

_SIGNATURE = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, numbers 1 to 7


class _Bits:
    """Bits of bytes, lowest first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


def jxl_size(head: bytes) -> tuple[int, int] | None:
    """Give width and height, as stored; None where the codestream does not begin within `head`."""
    bits = _codestream_bits(head, 14)
    return None if bits is None else _size(bits)


def jxl_depth(head: bytes) -> int | None:
    """Give the bits of a sample; None where the codestream does not begin within `head`, or has a preview or frames."""
    bits = _codestream_bits(head, 32)
    if bits is None:
        return None
    _size(bits)
    if bits.take(1):  # all is as by default
        return 8
    if bits.take(1):  # extra fields
        bits.take(3)  # orientation
        if bits.take(1):  # the size that it is meant for
            _size(bits)
        if bits.take(1) or bits.take(1):  # a preview, an animation
            return None
    depths = (32, 16, 24) if bits.take(1) else (8, 10, 12)
    number = bits.take(2)
    return depths[number] if number < 3 else 1 + bits.take(6)


def _codestream_bits(head: bytes, count: int) -> _Bits | None:
    """The bits behind the signature of the codestream, if so many bytes of it are here."""
    start = 0 if head.startswith(_SIGNATURE) else _codestream(head)
    if start is None or not head.startswith(_SIGNATURE, start) or len(head) < start + count:
        return None
    return _Bits(head[start + 2 : start + count])


def _size(bits: _Bits) -> tuple[int, int]:
    is_small = bool(bits.take(1))
    height = _side(bits, is_small)
    ratio = bits.take(3)
    if ratio == 0:
        return _side(bits, is_small), height
    across, down = _RATIOS[ratio - 1]
    return height * across // down, height


def _side(bits: _Bits, is_small: bool) -> int:
    if is_small:
        return 8 * (bits.take(5) + 1)
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


def _codestream(head: bytes) -> int | None:
    """Find the box of the codestream, or of its first part, in a file of boxes (ISO 18181-2)."""
    place = 0
    while place + 16 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, place)
        content = place + (16 if size == 1 else 8)
        if kind == b"jxlc":
            return content
        if kind == b"jxlp":
            return content + 4  # behind the number of the part
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, place + 8)
        if size < 8:
            return None
        place += size
    return None
