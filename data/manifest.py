"""The manifest of packed shards: what made them and what is in them, so that no latents meet those of other weights."""

import json
import os
import re
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rarefy.codecs.header import VERSION
from rarefy.errors import FormatError, OptionError, UnsupportedError

FILE = "manifest.json"
FORMAT, FORMAT_VERSION = "rarefy-shards", 0
SHARD = re.compile(r"latents-(\d{6,})\.tar")


@dataclass(frozen=True)
class Settings:
    """What all samples of a folder of shards have in common.

    weights: the SHA-256 in hex. quality: 0 to 100. label: where labels come from, "folder", "json" or "none".
    source: the name of the folder that is packed. format_version: that of the `.rfy` files. seconds: of the pieces that
    sounds were cut into, None where each file is a sample.
    """

    codec: str
    weights: str
    quality: float
    label: str
    source: str
    shard_bytes: int
    format_version: int = VERSION
    seconds: float | None = None


@dataclass(frozen=True)
class Shard:
    """A shard that is whole; size_bytes is that of the tar file."""

    name: str
    samples: int
    size_bytes: int


@dataclass(frozen=True)
class Skipped:
    """A file that is in no shard, by its path in the source, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says. classes: the names of labels 0, 1 …; statistics: of the latents, where computed."""

    settings: Settings
    classes: tuple[str, ...] = ()
    shards: tuple[Shard, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    is_complete: bool = False
    statistics: dict[str, Any] | None = field(default=None)

    @property
    def samples(self) -> int:
        """Samples in all shards."""
        return sum(shard.samples for shard in self.shards)

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.size_bytes for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Replace the folder's manifest, at once and on the disk."""
        record = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            **asdict(self),
            "samples": self.samples,
            "size_bytes": self.size_bytes,
            "skipped_count": len(self.skipped),
        }
        write_whole(folder / FILE, json.dumps(record, indent=1).encode() + b"\n")  # ASCII: names may be no text

    def require(self, settings: Settings) -> None:
        """Raise OptionError that names each setting in which these shards differ."""
        mine, asked = asdict(self.settings), asdict(settings)
        differences = [f"{name} {mine[name]!r}, not {asked[name]!r}" for name in mine if mine[name] != asked[name]]
        if differences:
            raise OptionError(f"the shards there were made with {'; '.join(differences)}: samples must not mix")

    def with_shard(self, shard: Shard, skipped: tuple[Skipped, ...]) -> "Manifest":
        """The manifest with one more shard, and with what was skipped on the way."""
        return replace(self, shards=(*self.shards, shard), skipped=skipped, is_complete=False, statistics=None)


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; None where there is none. Raises FormatError for one that is damaged."""
    try:
        record = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise FormatError(f"{folder / FILE}: is no JSON ({error})") from error
    try:
        if record["format"] != FORMAT:
            raise FormatError(f"{folder / FILE}: is no manifest of shards")
        if record["version"] != FORMAT_VERSION:
            raise UnsupportedError(
                f"{folder / FILE}: has version {record['version']}, this rarefy reads {FORMAT_VERSION}: install another"
            )
        return _manifest(record)
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{folder / FILE}: is no whole manifest ({error!r})") from error


def _manifest(record: dict[str, Any]) -> Manifest:
    """The manifest in a record; raises KeyError, TypeError or ValueError for one that is not whole."""
    settings = Settings(**record["settings"])
    bytes.fromhex(settings.weights)
    shards = tuple(Shard(**shard) for shard in record["shards"])
    for shard in shards:
        if not SHARD.fullmatch(shard.name):
            raise ValueError(f"a shard named {shard.name!r}")
    statistics = record["statistics"]
    if not isinstance(statistics, dict | None):
        raise TypeError("statistics that are no table")
    skipped = tuple(Skipped(**file) for file in record["skipped"])
    return Manifest(settings, tuple(record["classes"]), shards, skipped, record["is_complete"], statistics)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole, or not at all, whenever the machine stops."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # of a disk that takes nothing
            temporary.unlink(missing_ok=True)
        raise
