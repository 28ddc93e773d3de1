"""Packs coded samples into shards: a run that was killed at any moment goes on, with no sample lost and none twice.

The manifest alone says which shards count. A shard gets its name when it is whole and its line in the manifest after
that; whatever else lies there under a shard's name is from a run that was killed between the two, and is removed.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rarefy.codecs.folders import hold
from rarefy.data.manifest import FILE, SHARD, Manifest, Settings, Shard, Skipped, read_manifest
from rarefy.data.shards import ShardWriter, read_members, size_in_shard
from rarefy.errors import FormatError, OptionError


class Packer:
    """Fills a folder of shards, in the order in which samples come.

    done: keys of the samples in whole shards. Raises OptionError for a folder with shards of other settings, or one
    that another process packs into. Close it, or use it in a `with` statement.
    """

    def __init__(self, folder: Path, settings: Settings, classes: tuple[str, ...] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = hold(folder, "packing")
        try:
            self.manifest = _begin(folder, settings, classes)
            _remove_unfinished(folder, self.manifest)
            self.done = {key for shard in self.manifest.shards for key in _keys(folder, shard)}
        except BaseException:
            self._release()
            raise
        self._skipped = {skipped.source: skipped.reason for skipped in self.manifest.skipped}
        self._writer: ShardWriter | None = None

    def add(self, key: str, source: str, fields: Mapping[str, bytes]) -> Shard | None:
        """Append a sample; returns the shard that became whole because this one did not fit any more."""
        whole = None
        room = self.manifest.settings.shard_bytes
        if self._writer and self._writer.size_bytes + size_in_shard(fields) > room:
            whole = self._close_shard()
        if self._writer is None:
            self._writer = ShardWriter(self.folder / f"latents-{len(self.manifest.shards):06}.tar")
        self._writer.add(key, fields)
        self._skipped.pop(source, None)
        return whole

    def skip(self, source: str, reason: str) -> None:
        """Note a file that becomes no sample."""
        self._skipped[source] = reason

    def finish(self) -> Shard | None:
        """Close the last shard, and say in the manifest that nothing is missing."""
        last = self._close_shard() if self._writer else None
        self.manifest = replace(self.manifest, skipped=self._all_skipped(), is_complete=True)
        self.manifest.write(self.folder)
        return last

    def note_statistics(self, statistics: dict[str, Any]) -> None:
        """Write statistics of the latents into the manifest."""
        self.manifest = replace(self.manifest, statistics=statistics)
        self.manifest.write(self.folder)

    def close(self) -> None:
        """Let go of the folder; a shard that is not whole is removed."""
        try:
            if self._writer:
                self._writer.abandon()
                self._writer = None
        finally:
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Packer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _close_shard(self) -> Shard:
        assert self._writer is not None
        writer, self._writer = self._writer, None
        try:
            shard = Shard(writer.path.name, writer.samples, writer.close())
        except BaseException:
            writer.abandon()
            raise
        self.manifest = self.manifest.with_shard(shard, self._all_skipped())
        self.manifest.write(self.folder)
        return shard

    def _all_skipped(self) -> tuple[Skipped, ...]:
        return tuple(Skipped(*item) for item in sorted(self._skipped.items()))


def _begin(folder: Path, settings: Settings, classes: tuple[str, ...]) -> Manifest:
    manifest = read_manifest(folder)
    if manifest is not None and not manifest.shards:
        manifest = Manifest(settings)
    elif manifest is None:
        if strays := [path.name for path in sorted(folder.iterdir()) if SHARD.fullmatch(path.name)]:
            raise OptionError(f"{folder}: holds {strays[0]} without a manifest: choose another folder, or remove it")
        manifest = Manifest(settings)
    try:
        manifest.require(settings)
    except OptionError as error:
        raise OptionError(f"{folder}: {error}") from error
    if manifest.classes != classes[: len(manifest.classes)]:
        raise OptionError(f"{folder}: the shards there have other classes: {', '.join(manifest.classes)}")
    manifest = replace(manifest, classes=classes)
    manifest.write(folder)  # before the first shard: a shard without a manifest is never ours
    return manifest


def _remove_unfinished(folder: Path, manifest: Manifest) -> None:
    whole = {shard.name for shard in manifest.shards}
    for path in folder.iterdir():
        name = path.name.removeprefix(".").removesuffix(".part")
        is_stray = SHARD.fullmatch(name) and (path.name != name or name not in whole)
        if is_stray or (name.startswith(FILE) and path.name.endswith(".part")):
            path.unlink()


def _keys(folder: Path, shard: Shard) -> list[str]:
    """The keys of a shard; raises FormatError where it is not the one that the manifest knows."""
    path = folder / shard.name
    try:
        size, keys = path.stat().st_size, [key for key, _ in read_members(path)]
    except FileNotFoundError as error:
        raise FormatError(f"{path}: is in the manifest and not on the disk: bring it back, or pack anew") from error
    if size != shard.size_bytes or len(keys) != shard.samples:
        raise FormatError(
            f"{path}: has {size} bytes and {len(keys)} samples, where the manifest says {shard.size_bytes} and "
            f"{shard.samples}: it was altered"
        )
    return keys
