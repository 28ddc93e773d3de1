"""Tar shards in the layout of WebDataset: the members of a sample follow each other and share a key.

A shard's bytes follow from its samples alone (no times, owners or permissions of the machine), and it appears under its
name when it is whole.
"""

import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rarefy.errors import FormatError

SUFFIX = "rfy"
BLOCK = tarfile.BLOCKSIZE
_MODE = 0o644
# As WebDataset splits a name: the key ends at the first dot of its last part
_NAME = re.compile(r"((?:.*/|)[^./]+)[.]([^/]*)", re.DOTALL)


class Place(NamedTuple):
    """Where the bytes of a member stand in a shard."""

    offset: int
    size: int


class ShardWriter:
    """Writes one shard under a temporary name; `close` gives it its own, `abandon` removes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = temporary_of(path)
        self.samples = 0
        self._file = self.temporary.open("wb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    @property
    def size_bytes(self) -> int:
        """Bytes that were written."""
        return self._tar.offset

    def add(self, key: str, fields: Mapping[str, bytes]) -> None:
        """Append a sample: its fields by name, `rfy` among them, in the order of their names."""
        with self._named():
            for field in sorted(fields):
                member = tarfile.TarInfo(f"{key}.{field}")
                member.size, member.mode = len(fields[field]), _MODE
                self._tar.addfile(member, io.BytesIO(fields[field]))
        self.samples += 1

    def close(self) -> int:
        """Bring the shard to the disk under its name; returns its size."""
        with self._named():
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.temporary, self.path)
            return self.path.stat().st_size

    def abandon(self) -> None:
        """Remove what was written."""
        with suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()
        self.temporary.unlink(missing_ok=True)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = os.fspath(self.path)
            raise


def size_in_shard(fields: Mapping[str, bytes]) -> int:
    """The bytes that a sample takes: a block before each field, whose own blocks are filled up."""
    return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in fields.values())


def temporary_of(path: Path) -> Path:
    """What a shard is called while it is written."""
    return path.with_name(f".{path.name}.part")


def split_name(name: str) -> tuple[str, str] | None:
    """Split a member's name into key and field; None where it has no field."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2].lower()) if match else None


def read_members(path: Path) -> Iterator[tuple[str, dict[str, Place]]]:
    """Yield key and fields of every sample of a shard, from the headers alone.

    Raises FormatError for what is no plain tar file, and at the end of one that was cut: compressed ones have no places
    to read from.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            key, fields = "", dict[str, Place]()
            for member in tar:
                parts = split_name(member.name) if member.isreg() else None
                if parts is None:
                    continue
                if parts[0] != key and fields:
                    yield key, fields
                    fields = {}
                key = parts[0]
                if parts[1] in fields:
                    raise FormatError(f"{path}: sample {key} stands there twice, one behind the other")
                fields[parts[1]] = Place(member.offset_data, member.size)
            file.seek(tar.offset)
            if file.read(BLOCK) != bytes(BLOCK):  # which tarfile takes for an end
                raise FormatError(f"{path}: is no whole tar file: it was cut or altered")
            if fields:
                yield key, fields
    except tarfile.TarError as error:
        raise FormatError(f"{path}: is no whole tar file that is not compressed ({error})") from error
