"""Where every sample of a folder is, how large its medium is and what its label says: built once from headers alone.

For shards it is kept beside them, in `.index.npz`, and built anew when one of them changes. Nothing of it is trusted:
bytes are proved when they are decoded.
"""

import io
import json
import mmap
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefy.codecs.header import QUALITY_STEPS, Header
from rarefy.codecs.layout import read_head
from rarefy.codecs.limits import Limits
from rarefy.data.layout import MOST_CHANNELS, size_of, surround
from rarefy.data.manifest import FILE, Manifest, read_manifest, write_whole
from rarefy.data.shards import SUFFIX, Place, read_members
from rarefy.data.sources import Source, class_names, find_sources
from rarefy.errors import FormatError, OptionError, RarefyError, RarefyWarning, WeightsError

CACHE = ".index.npz"
CACHE_VERSION = 1
NO_LABEL = -1
LABEL_DIGITS = 18  # that int64 holds

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Index:
    """Samples in the order of their files.

    root: what `files` are relative to. places: int64 [n, 3]: the number of the file, offset and size in bytes. sizes:
    int64 [n, 3], see `rarefy.data.layout.Size`. qualities: int64 [n], q256. labels: int64 [n], `NO_LABEL` where there
    is none. label_places: int64 [n, 2]: offset and size of labels in JSON; a size of 0 is none. keys: all, one after
    the other; key_ends: int64 [n], where each ends. facts: codec, weights, and what the index was built from.
    """

    root: Path
    places: Integers
    sizes: Integers
    qualities: Integers
    labels: Integers
    label_places: Integers
    keys: bytes
    key_ends: Integers
    facts: dict[str, Any]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def files(self) -> list[str]:
        """Names of the shards, or of single files."""
        return [name for name, *_ in self.facts["files"]]

    @property
    def codec(self) -> str:
        """Name of the codec of all samples."""
        return str(self.facts["codec"])

    @property
    def weights(self) -> bytes:
        """The SHA-256 of the weights of all samples, or its begin."""
        return bytes.fromhex(self.facts["weights"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1 …, where they are known."""
        return tuple(self.facts["classes"])

    def key(self, number: int) -> str:
        """The key of a sample."""
        start = int(self.key_ends[number - 1]) if number else 0
        return self.keys[start : int(self.key_ends[number])].decode(errors="surrogateescape")


class _Entry(NamedTuple):
    """A sample on its way into an index."""

    key: str
    file: int
    place: Place
    header: Header
    label: int = NO_LABEL
    label_place: Place = Place(0, 0)


def open_index(path: Path) -> Index:
    """The index of a folder of shards, of one shard, or of a folder of `.rfy` files.

    Raises OptionError where there is nothing and for sounds of more than two channels, FormatError for what is damaged,
    and WeightsError for samples of several codecs or generations of weights.
    """
    if path.is_file():
        return _of_shards(path.parent, [path], None, path.with_name(f".{path.name}{CACHE}"))
    if not path.is_dir():
        raise OptionError(f"{path}: there is neither a folder nor a shard")
    manifest = read_manifest(path)
    if manifest is not None and not manifest.shards:
        raise OptionError(f"{path}: its manifest names no whole shard yet")
    if manifest is not None and not manifest.is_complete:
        words = f"{path}: packing has not finished, and samples are missing: run `rarefy pack` again"
        warnings.warn(words, RarefyWarning, stacklevel=4)
    shards = [path / shard.name for shard in manifest.shards] if manifest else sorted(path.glob("*.tar"))
    if shards:
        return _of_shards(path, shards, manifest, path / CACHE)
    return _of_files(path)


def _of_shards(root: Path, shards: Sequence[Path], manifest: Manifest | None, cache: Path) -> Index:
    files = []
    for number, shard in enumerate(shards):
        if not shard.is_file():
            raise FormatError(f"{shard}: is in {FILE} and not on the disk")
        state = shard.stat()
        if manifest and manifest.shards[number].size_bytes != state.st_size:
            raise FormatError(f"{shard}: has {state.st_size} bytes, not those of {FILE}: it was altered")
        files.append([shard.name, state.st_size, state.st_mtime_ns])
    facts = {
        "version": CACHE_VERSION,
        "files": files,
        "classes": manifest.classes if manifest else (),
        "weights": manifest.settings.weights if manifest else "",
    }
    known = _read_cache(root, cache, facts)
    if known is not None:
        return known
    entries = [entry for number, shard in enumerate(shards) for entry in _read_shard(shard, number)]
    index = _index(root, entries, facts)
    _write_cache(index, cache)
    return index


def _read_shard(shard: Path, number: int) -> Iterator[_Entry]:
    members = list(read_members(shard))  # raises what is wrong with a file that cannot be mapped, such as an empty one
    with shard.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for key, fields in members:
            if SUFFIX in fields:
                header = _header(data, fields[SUFFIX], f"{shard}: sample {key}")
                place = fields.get("json", Place(0, 0))
                yield _Entry(key, number, fields[SUFFIX], header, _class(data, fields, f"{shard}: sample {key}"), place)


def _header(data: mmap.mmap | bytes, place: Place, name: str) -> Header:
    with memoryview(data) as whole, whole[place.offset : place.offset + place.size] as view:
        try:
            return read_head(view, Limits.none()).header
        except RarefyError as error:
            raise type(error)(f"{name}: {error}") from error


def _class(data: mmap.mmap, fields: dict[str, Place], name: str) -> int:
    if "cls" not in fields:
        return NO_LABEL
    place = fields["cls"]
    text = data[place.offset : place.offset + place.size].strip()
    if not text.isdigit() or len(text) > LABEL_DIGITS:
        raise FormatError(f"{name}: its label {text[:20]!r} is no whole number below 10^{LABEL_DIGITS}")
    return int(text)


def _of_files(root: Path) -> Index:
    sources, _, label = find_sources(root, {f".{SUFFIX}"})
    classes = class_names(sources) if label == "folder" else ()
    facts = {"files": [[source.name] for source in sources], "classes": classes, "weights": ""}
    return _index(root, [_read_file(source, number, classes) for number, source in enumerate(sources)], facts)


def _read_file(source: Source, number: int, classes: Sequence[str]) -> _Entry:
    data = source.path.read_bytes()
    place = Place(0, len(data))
    label = classes.index(source.folder_class) if source.folder_class is not None else NO_LABEL
    return _Entry(source.key, number, place, _header(data, place, str(source.path)), label)


def _index(root: Path, entries: list[_Entry], facts: dict[str, Any]) -> Index:
    if not entries:
        raise OptionError(f"{root}: holds no sample with a .{SUFFIX} file")
    _require_one_kind(root, entries, bytes.fromhex(facts["weights"]))
    header = entries[0].header
    keys = [entry.key.encode(errors="surrogateescape") for entry in entries]  # names may be no text
    return Index(
        root,
        np.array([(entry.file, *entry.place) for entry in entries], np.int64),
        np.array([size_of(entry.header) for entry in entries], np.int64),
        np.array([entry.header.quality for entry in entries], np.int64),
        np.array([entry.label for entry in entries], np.int64),
        np.array([entry.label_place for entry in entries], np.int64),
        b"".join(keys),
        np.cumsum([len(key) for key in keys], dtype=np.int64),
        facts | {"codec": header.codec, "weights": facts["weights"] or header.weights.hex()},
    )


def _require_one_kind(root: Path, entries: list[_Entry], weights: bytes) -> None:
    first = entries[0]
    for entry in entries:
        mine, other = first.header, entry.header
        if (other.codec, other.weights) != (mine.codec, mine.weights):
            raise WeightsError(
                f"{root}: {first.key} was made by {mine.codec} {mine.weights.hex()}, {entry.key} by {other.codec} "
                f"{other.weights.hex()}: latents of several weights mean different things and must not mix"
            )
        if other.medium == "sound" and other.channels > MOST_CHANNELS:
            raise OptionError(f"{root}: {entry.key} {surround(other.channels)}")
    if weights and not weights.startswith(first.header.weights):
        raise WeightsError(
            f"{root}: {FILE} names the weights {weights.hex()[:8]}, {first.key} {first.header.weights.hex()}"
        )


def require_one_quality(index: Index) -> None:
    """Raise OptionError where samples have several qualities: the steps of their integers differ."""
    low, high = int(index.qualities.min()), int(index.qualities.max())
    if low != high:
        raise OptionError(
            f"{index.root}: holds qualities from {low / QUALITY_STEPS:g} to {high / QUALITY_STEPS:g}, whose integers "
            'have different steps: take output="floats", or pack with one quality'
        )


ARRAYS = ("places", "sizes", "qualities", "labels", "label_places", "key_ends")


def _write_cache(index: Index, cache: Path) -> None:
    buffer = io.BytesIO()
    facts = np.frombuffer(json.dumps(index.facts).encode(), np.uint8)
    arrays = {name: getattr(index, name) for name in ARRAYS}
    np.savez(buffer, facts=facts, keys=np.frombuffer(index.keys, np.uint8), **arrays)
    try:
        write_whole(cache, buffer.getvalue())
    except OSError:  # where nothing can be written, the index is built each time
        return


def _read_cache(root: Path, cache: Path, facts: dict[str, Any]) -> Index | None:
    """The index as it was kept; None where it is not there, not whole, or not that of these shards."""
    try:
        with np.load(cache, allow_pickle=False) as kept:
            known = json.loads(kept["facts"].tobytes())
            if not isinstance(known, dict):
                return None
            if any(known.get(name) != json.loads(json.dumps(facts[name])) for name in ("version", "files", "classes")):
                return None
            if facts["weights"] and known["weights"] != facts["weights"]:
                return None
            arrays = {name: kept[name] for name in ARRAYS}
            return Index(root, keys=kept["keys"].tobytes(), facts=known, **arrays)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # a copy that is lost costs time alone
        return None
