"""Whether the bytes of a picture reach its end: what was cut, or filled up with zeros, is never a whole picture."""

from collections.abc import Callable


def _has_end_chunk(data: bytes) -> bool:
    position = 8  # behind the signature
    while position + 12 <= len(data):
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return False


def _first_scan(data: bytes) -> int:
    """Return where the segments of a JPEG end: a preview inside of them has an end of its own."""
    position = 2
    while position + 4 <= len(data) and data[position : position + 2] != b"\xff\xda":
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position


def _has_end_mark(data: bytes) -> bool:
    return b"\xff\xd9" in data[_first_scan(data) :]  # not only at the end: cameras put more behind the picture


def _has_all_chunks(data: bytes) -> bool:
    return len(data) >= 12 and len(data) >= 8 + int.from_bytes(data[4:8], "little")


ENDS: dict[str, Callable[[bytes], bool]] = {"PNG": _has_end_chunk, "JPEG": _has_end_mark, "WEBP": _has_all_chunks}
