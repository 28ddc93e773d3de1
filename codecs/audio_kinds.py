"""What a file of sound is, by its first bytes, and whether the whole of it is there."""

import os
import struct
import zlib
from typing import BinaryIO

from rarefy.codecs.header import SIGNATURE
from rarefy.errors import MediaError

_HEAD = 256  # bytes that tell a file
TAKEN = "WAV, FLAC, OGG (Vorbis, Opus), MP3, AIFF, CAF, AU, W64, M4A and WebM are taken"

# (position, bytes found there, kind)
_SIGNATURES = (
    (8, b"WAVE", "WAV"),  # behind RIFF, RIFX or RF64
    (8, b"AIFF", "AIFF"),
    (8, b"AIFC", "AIFF"),
    (0, b"fLaC", "FLAC"),
    (0, b"OggS", "OGG"),
    (0, b"ID3", "MP3"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (0, b"riff\x2e\x91\xcf\x11", "W64"),
    (0, b"\x1a\x45\xdf\xa3", "MATROSKA"),
    (4, b"ftyp", "MP4"),
)
# (position, bytes found there, what the file is)
_OTHER_FILES = (
    (0, SIGNATURE, "already a rarefy file: decode it first"),
    (0, b"MThd", "a MIDI file, which holds notes and no sound"),
    (0, b"wvpk", "a WavPack file, which is not taken: store it as FLAC first"),
    (0, b"MAC ", "a file of Monkey's Audio, which is not taken: store it as FLAC first"),
    (0, b"\x30\x26\xb2\x75", "a WMA file, which is not taken: store it as FLAC first"),
    (0, b"\x89PNG", "a picture, not a sound"),
    (0, b"\xff\xd8\xff", "a picture, not a sound"),
    (0, b"GIF8", "a picture, not a sound"),
    (8, b"WEBP", "a picture, not a sound"),
    (0, b"%PDF", "a PDF document, not a sound"),
    (0, b"PK\x03\x04", "an archive (ZIP), not a sound: unpack it first"),
)
MOST_CHUNKS = 10_000  # that are looked at for the samples
_UNKNOWN_SIZE = 0x7FFF_F000  # what programs that write into pipes put where they do not know a size, or more than that
_OGG_PAGE = 65_307  # the largest page (RFC 3533, section 6)
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def kind_of(file: BinaryIO, name: str) -> str:
    """Tell by its first bytes which kind of sound a file is; the file is left at its begin.

    Raises MediaError that says what the file is where it is none.
    """
    head = file.read(_HEAD)
    file.seek(0)
    for position, mark, kind in _SIGNATURES:
        if head.startswith(mark, position):
            return kind
    kind_of_frames = _kind_of_frames(head)
    if kind_of_frames is None:
        raise MediaError(f"{name} is {_what_else(head)}")
    return kind_of_frames


HEAD_BYTES = 64  # that tell a sound from a picture


def begins_like_sound(head: bytes) -> bool:
    """Tell whether these first bytes are those of a sound; films, whose sound is not all of them, do not count."""
    films = ("MATROSKA", "MP4")
    is_signed = any(head.startswith(mark, position) for position, mark, kind in _SIGNATURES if kind not in films)
    return is_signed or head[4:11] in (b"ftypM4A", b"ftypM4B") or _kind_of_frames(head) is not None


def _kind_of_frames(head: bytes) -> str | None:
    """Tell MPEG audio and ADTS, which begin with no signature but with a frame (ISO 11172-3, ISO 13818-7)."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    if layer == 0:
        return "AAC" if head[1] & 0xF6 == 0xF0 else None
    bit_rate, rate = head[2] >> 4, head[2] >> 2 & 3
    return "MP3" if version != 1 and bit_rate != 15 and rate != 3 else None


def _what_else(head: bytes) -> str:
    if not head:
        return "empty (0 bytes)"
    for position, mark, what in _OTHER_FILES:
        if head.startswith(mark, position):
            return what
    what = "a text file" if head.isascii() and b"\0" not in head else "a file of an unknown kind"
    return f"{what}, not a sound: {TAKEN}"


def check_size(file: BinaryIO, kind: str, name: str) -> None:
    """Refuse a WAV or AIFF with fewer samples than its header says, or with none stated where bytes follow.

    Readers would give the rest, or nothing, without a word. The file is left at its begin. Raises MediaError.
    """
    if kind not in ("WAV", "AIFF"):
        return
    size = file.seek(0, os.SEEK_END)
    start, length, is_unfinished = _samples_in_chunks(file, size)
    file.seek(0)
    if is_unfinished:
        raise MediaError(f"{name} is unfinished: its header states no samples, and {size - start} bytes follow it")
    if start + length > size and length < _UNKNOWN_SIZE:
        there = max(size - start, 0)
        raise MediaError(f"{name} is incomplete: its header promises {length} bytes of samples, {there} are there")


def _samples_in_chunks(file: BinaryIO, size: int) -> tuple[int, int, bool]:
    """Give where the samples begin, how many bytes they take, and whether none are stated and no chunk follows either.

    (0, 0, False) where there is no chunk of samples, of which readers tell better.
    """
    file.seek(0)
    order = ">" if file.read(12)[:4] in (b"FORM", b"RIFX") else "<"
    position = 12
    for _ in range(MOST_CHUNKS):
        if position + 8 > size:
            break
        file.seek(position)
        mark, length = struct.unpack(f"{order}4sI", file.read(8))
        if mark in (b"data", b"SSND"):
            follows = file.read(8)
            is_chunk = follows[:4].isascii() and position + 16 + int.from_bytes(follows[4:], "little") <= size
            return position + 8, length, length == 0 and len(follows) == 8 and order == "<" and not is_chunk
        position += 8 + length + length % 2
    return 0, 0, False


def has_end(file: BinaryIO) -> bool:
    """Tell whether the last pages of an OGG file are whole and the last one says so; the file is left at its begin."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 2 * _OGG_PAGE, 0))  # the last page, and one before it, from which its begin is known
    tail = file.read()
    file.seek(0)
    position, is_last = tail.find(b"OggS\0"), False
    while position >= 0 and position < len(tail):
        head = tail[position : position + 27]
        if len(head) < 27 or head[:4] != b"OggS":
            return False
        lacing = tail[position + 27 : position + 27 + head[26]]
        page = tail[position : position + 27 + len(lacing) + sum(lacing)]
        if _ogg_checksum(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            return False
        is_last = head[5] & 4 != 0
        position += len(page)
    return is_last


def _ogg_checksum(page: bytes) -> int:
    """Give the CRC-32 of RFC 3533, section 6, by zlib's, which takes bits in the other order and inverts both ends."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)
