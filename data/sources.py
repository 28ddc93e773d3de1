"""Which files of a folder become samples, under which keys and labels."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rarefy.codecs.folders import visible_files
from rarefy.data.manifest import Skipped
from rarefy.errors import MediaError, OptionError


@dataclass(frozen=True)
class Source:
    """A file that becomes a sample. name: its path in the folder, with slashes; folder_class: where that gives one."""

    path: Path
    name: str
    folder_class: str | None = None

    @property
    def key(self) -> str:
        """The name without its suffix; dots are spelled %2E, since a key ends at its first."""
        folder, slash, last = self.name.rpartition("/")
        stem = last[: len(last) - len(self.path.suffix)]
        return folder + slash + stem.replace("%", "%25").replace(".", "%2E")


def find_sources(
    folder: Path, suffixes: Iterable[str], label: str | None = None
) -> tuple[list[Source], list[Skipped], str]:
    """Return the files of a folder in order, those that are left out, and where labels come from.

    label: "folder" takes the first folder on the way to a file for its class, "json" the file of its name that ends in
    .json, "none" nothing; None is "folder" where each file lies in one, else "none". Hidden files do not count.

    Raises OptionError where two files would have one key, or where nothing is found, OSError for folders that cannot be
    read.
    """
    taken = frozenset(suffixes)
    files = sorted(visible_files(folder))
    found = [name for name in files if Path(name).suffix.lower() in taken]
    if not found:
        raise OptionError(f"{folder}: holds no file that ends in {', '.join(sorted(taken))}")
    if label is None:
        label = "folder" if all("/" in name for name in found) else "none"
    sources = [Source(folder / name, name, _class_of(name) if label == "folder" else None) for name in found]
    _require_one_each(sources)
    is_label = {Path(name).with_suffix(".json").as_posix() for name in found} if label == "json" else set()
    left_out = [
        Skipped(name, f"{Path(name).suffix or 'a name without a suffix'} is no suffix that is taken")
        for name in files
        if Path(name).suffix.lower() not in taken and name not in is_label
    ]
    return sources, left_out, label


def _class_of(name: str) -> str | None:
    first, slash, _ = name.partition("/")
    return first if slash else None


def _require_one_each(sources: Sequence[Source]) -> None:
    seen: dict[str, Source] = {}
    for source in sources:
        if source.key in seen:
            raise OptionError(
                f"{seen[source.key].name} and {source.name} would both be the sample {source.key}: rename one of them"
            )
        seen[source.key] = source


def class_names(sources: Sequence[Source], known: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of labels 0, 1 …: those that are known keep their numbers, others follow in order."""
    new = {source.folder_class for source in sources if source.folder_class is not None} - set(known)
    return (*known, *sorted(new))


def label_fields(source: Source, label: str, classes: Sequence[str]) -> dict[str, bytes]:
    """The fields of a sample that hold its label; raises MediaError where it has none."""
    if label == "folder":
        if source.folder_class is None:
            raise MediaError("lies in no folder that could be its class")
        return {"cls": str(classes.index(source.folder_class)).encode()}
    return {"json": _json_beside(source.path)} if label == "json" else {}


def _json_beside(path: Path) -> bytes:
    beside = path.with_suffix(".json")
    try:
        data = beside.read_bytes()
        json.loads(data)
    except FileNotFoundError as error:
        raise MediaError(f"has no label: {beside.name} is not there") from error
    except (ValueError, RecursionError) as error:
        raise MediaError(f"has no label: {beside.name} is no JSON") from error
    return data
