"""What a file says about itself: codec, sizes, sections. Needs neither torch nor weights, and reads little of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END
from typing import Any, BinaryIO

from rarefy.codecs.fields import Source
from rarefy.codecs.header import QUALITY_STEPS, VERSION, Header
from rarefy.codecs.layout import Head, look_up_units, read_head, unit_sections
from rarefy.codecs.limits import Limits
from rarefy.errors import TruncatedError


@dataclass(frozen=True)
class Info:
    """Facts of a file. sections, metadata: sizes in bytes by name, those of `sections` summed over all units."""

    header: Header
    size_bytes: int
    sections: dict[str, int]
    metadata: dict[str, int]
    format_version: int = VERSION

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self.header.codec

    @property
    def weights(self) -> str:
        """First digits of the SHA-256 of the weights, in hex."""
        return self.header.weights.hex()

    @property
    def medium(self) -> str:
        """ "image" or "sound"."""
        return self.header.medium

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of a picture; 0, 0 of others."""
        return self.header.width, self.header.height

    @property
    def channels(self) -> int:
        """Of pictures 3 (RGB) or 1 (gray), of sounds their number."""
        return self.header.channels

    @property
    def quality(self) -> float:
        """Quality from 0 to 100."""
        return self.header.quality / QUALITY_STEPS

    @property
    def bits_per_pixel(self) -> float:
        """Bits of the whole file per pixel of a picture, per sample in time of a sound."""
        positions = self.header.length if self.medium == "sound" else self.header.width * self.header.height
        return self.size_bytes * 8 / positions

    @property
    def seconds(self) -> float:
        """Length of a sound in seconds; 0 of others."""
        return self.header.length / self.header.sample_rate if self.medium == "sound" else 0.0

    @property
    def kilobits_per_second(self) -> float:
        """Bits of the whole file of a sound per millisecond; 0 of others."""
        return self.size_bytes * 8 / 1000 / self.seconds if self.medium == "sound" else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Give all facts in types that JSON takes."""
        rate = {"bits_per_pixel": self.bits_per_pixel}
        if self.medium == "sound":
            rate = {"seconds": self.seconds, "kilobits_per_second": self.kilobits_per_second}
        return {
            "format_version": self.format_version,
            **self.header.show(),
            "units": self.header.unit_count,
            "size_bytes": self.size_bytes,
            **rate,
            "sections": dict(self.sections),
            "metadata": dict(self.metadata),
        }


class FileBytes:
    """A seekable binary file as bytes that are read when they are asked for, from its present position on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = file.tell()
        self._size = file.seek(0, SEEK_END) - self._start

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop, _ = part.indices(self._size)
        self._file.seek(self._start + start)
        read = self._file.read(stop - start)
        if len(read) != stop - start:
            raise TruncatedError("the file became shorter while it was read")
        return read


Readable = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO


def read_info(source: Readable, limits: Limits | None = None) -> Info:
    """Read the header of a file and the sizes of its sections.

    source: a path, the bytes of a file, or a binary file (from its position on). What the units hold is not read, so
    that damage inside of them is not seen; `read` sees it.

    Raises RarefyError for what is no whole rarefy file, OSError if a path cannot be opened.
    """
    with _opened(source) as data:
        head = read_head(data, Limits() if limits is None else limits)
        return Info(
            head.header,
            size_bytes=len(data),
            sections=_section_sizes(data, head),
            metadata={span.name: span.stop - span.start for span in head.metadata},
        )


def _section_sizes(data: Source, head: Head) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for unit in look_up_units(data, head):
        for span in unit_sections(data, head, unit):
            sizes[span.name] = sizes.get(span.name, 0) + span.stop - span.start
    return sizes


@contextmanager
def _opened(source: Readable) -> Iterator[Source]:
    if isinstance(source, bytes | bytearray | memoryview):
        yield memoryview(source).cast("B")
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield _file_bytes(file)
    else:
        yield _file_bytes(source)


def _file_bytes(file: BinaryIO) -> Source:
    return FileBytes(file) if file.seekable() else memoryview(file.read())
