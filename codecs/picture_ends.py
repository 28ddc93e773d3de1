"""Whether the bytes of a picture reach its end: what was cut, or filled up with zeros, is never a whole picture."""

from collections.abc import Callable

# Second bytes of markers (ITU-T T.81, table B.1)
_SCAN, _NO_MARKS, _ALONE = 0xDA, (0x00, 0xFF), (0x01, *range(0xD0, 0xD9))


def _has_end_chunk(data: bytes) -> bool:
    position = 8  # behind the signature
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def _first_scan(data: bytes) -> int:
    """Return where the segments of a JPEG end: a preview inside of them has an end of its own.

    Bytes between segments, which decoders pass over, are passed over.
    """
    position = data.find(b"\xff", 2)
    while 0 <= position < len(data) - 4:
        kind = data[position + 1]
        if kind == _SCAN:
            return position
        if kind in _NO_MARKS:
            position += 1
        else:
            has_length = kind not in _ALONE
            position += 2 + (int.from_bytes(data[position + 2 : position + 4], "big") if has_length else 0)
        position = data.find(b"\xff", position)
    return len(data)


def _has_end_mark(data: bytes) -> bool:
    return data.find(b"\xff\xd9", _first_scan(data)) >= 0  # not only at the end: cameras put more behind the picture


def _has_all_chunks(data: bytes) -> bool:
    return len(data) >= 12 and len(data) >= 8 + int.from_bytes(data[4:8], "little")


ENDS: dict[str, Callable[[bytes], bool]] = {"PNG": _has_end_chunk, "JPEG": _has_end_mark, "WEBP": _has_all_chunks}
