"""Which input goes to which output: names, folders and patterns, and what is refused before any work starts."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from glob import escape, glob, has_magic
from pathlib import Path
from typing import NamedTuple

from rarefy.codecs.folders import may_be_file, visible_files, visible_folders
from rarefy.codecs.picture_kinds import SUFFIXES
from rarefy.codecs.suffixes import SOUNDS
from rarefy.codecs.unfinished import is_special
from rarefy.tools.files import Job
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, name_of


class Found(NamedTuple):
    """One input, its name inside an output folder, and whether a folder or a pattern led to it."""

    source: str
    relative: Path
    is_member: bool


def find(inputs: Sequence[str], suffixes: frozenset[str], is_recursive: bool) -> list[Found]:
    """Return the inputs, with folders and patterns replaced by their files of the given suffixes, sorted.

    Patterns are those of shells (`*`, `?`, `[...]`, and `**` for folders of any depth); a file that bears the name of a
    pattern is that file. Hidden files are taken where they are named, not where a folder holds them.

    Raises:
        Refusal: a folder was named and `is_recursive` is false, or a folder or pattern holds no such file.
    """
    found: list[Found] = []
    for name in inputs:
        if not name:
            raise Refusal("an input has no name", "an empty variable of the shell, perhaps", USAGE)
        if name == STANDARD_STREAM:
            found.append(Found(name, Path("stdin"), False))
        elif Path(name).is_dir():
            found += _folder(Path(name), suffixes, is_recursive)
        elif has_magic(name) and not os.path.lexists(name):
            found += _pattern(name, suffixes)
        else:
            found.append(Found(name, Path(Path(name).name), False))
    return found


def _folder(folder: Path, suffixes: frozenset[str], is_recursive: bool) -> list[Found]:
    if not is_recursive:
        raise Refusal(f"{folder}: is a folder", "add -r to take the files in it", USAGE)
    closed: list[OSError] = []
    os.scandir(folder).close()  # raises what is wrong with the folder itself
    found = _members(folder, (folder / name for name in visible_files(folder, closed.append)), suffixes)
    found += [Found(name, Path(name).relative_to(folder), True) for name in sorted(_names(closed))]  # reading tells why
    if not found:
        raise Refusal(f"{folder}: holds no file that ends in {', '.join(sorted(suffixes))}")
    return found


def _pattern(pattern: str, suffixes: frozenset[str]) -> list[Found]:
    found = _members(_fixed_part(pattern), map(Path, _matches(pattern)), suffixes)
    if not found:
        raise Refusal(f"{pattern}: matches no file that ends in {', '.join(sorted(suffixes))}")
    return found


def _members(root: Path, paths: Iterable[Path], suffixes: frozenset[str]) -> list[Found]:
    taken = sorted({path for path in paths if path.suffix.lower() in suffixes and may_be_file(path)})
    return [Found(str(path), path.relative_to(root), True) for path in taken]


def _names(errors: Iterable[OSError]) -> set[str]:
    return {os.fspath(error.filename) for error in errors}


def _matches(pattern: str) -> Iterator[str]:
    """Yield what a pattern matches, and look into no folder twice for `**`, as glob does where links lead back."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from glob(pattern)
        return
    place = parts.index("**")
    head, tail = Path(*parts[:place]), parts[place + 1 :] or ("*",)
    for start in glob(str(head)) if has_magic(str(head)) else [str(head)]:
        for folder in visible_folders(Path(start), lambda _: None):
            yield from _matches(str(Path(escape(folder), *tail)))


def _fixed_part(pattern: str) -> Path:
    """Return the folders of a pattern before the first one with a wildcard: what an output folder need not mirror."""
    fixed: list[str] = []
    for part in Path(pattern).parts[:-1]:
        if has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def plan(
    found: Sequence[Found], output: str | None, suffix: str | Callable[[str], str], is_in_place: bool = False
) -> list[Job]:
    """Join every input with its output and refuse what could not end well.

    Without `output`, a file's output lies next to it with `suffix`, which may depend on the input's name, and standard
    input goes to standard output. One
    input may go to a file of any name; several, and those that folders or patterns led to, go to a folder that mirrors
    their tree. is_in_place: without `output`, files are their own outputs.

    Raises:
        Refusal: two inputs would write one output, or an output is one of the inputs.
    """
    if output == "":
        raise Refusal("the output has no name", "an empty variable of the shell, perhaps", USAGE)
    if is_in_place and output is None:
        jobs = [Job(item.source, item.source) for item in found]
        _refuse_collisions(jobs, inputs=set())
        return jobs
    suffixes = [suffix if isinstance(suffix, str) else suffix(item.source) for item in found]
    jobs = [Job(item.source, _target(item, output, own)) for item, own in zip(found, suffixes, strict=True)]
    if output is not None and output != STANDARD_STREAM and not is_special(Path(output)):
        is_folder = output.endswith(os.sep) or Path(output).is_dir()
        if not is_folder and len(found) == 1 and not found[0].is_member:
            jobs = [Job(found[0].source, output)]
        elif Path(output).is_file():
            raise Refusal(f"{output}: is a file, and the inputs need a folder", "name a folder with -o", USAGE)
        elif not is_folder and Path(output).suffix.lower() in {".rfy", *SUFFIXES, *SOUNDS}:
            hint = f"say {output}{os.sep} if it is to be a folder of that name"
            raise Refusal(f"{output}: is the name of one file, and the inputs need a folder", hint, USAGE)
    _refuse_collisions(jobs, {_place(job.source) for job in jobs if job.source != STANDARD_STREAM})
    return jobs


def _place(name: str) -> Path:
    """Where a name leads; links in a circle lead to themselves, and fail where they are opened."""
    return Path(os.path.realpath(name))


def _target(item: Found, output: str | None, suffix: str) -> str:
    """Return the output of an input, with `output` read as a folder unless it is a stream or a device."""
    if output is None:
        return STANDARD_STREAM if item.source == STANDARD_STREAM else str(Path(item.source).with_suffix(suffix))
    if output == STANDARD_STREAM or is_special(Path(output)):
        return output
    return str(Path(output) / item.relative.with_suffix(suffix))


@lru_cache(1024)
def _ignores_case(folder: Path) -> bool:
    """Tell whether names that differ by case are one on the file system of a folder, which need not be there yet."""
    while folder != folder.parent and not os.path.isdir(folder):
        folder = folder.parent
    try:
        names = [folder / name for name in os.listdir(folder)]
    except OSError:  # a folder to write to alone
        names = []
    for known in (*names, folder):
        other = known.with_name(known.name.swapcase()) if known.name else known
        if other != known and os.path.exists(known):  # no link that leads nowhere
            try:
                return other.samefile(known)
            except OSError:  # there is no such name: case counts
                return False
    return False


def _key(place: Path) -> str:
    """A name's file: equal for two names that are one on the file system."""
    name = str(place)
    return unicodedata.normalize("NFC", name).casefold() if _ignores_case(place.parent) else name


def _refuse_collisions(jobs: Sequence[Job], inputs: set[Path]) -> None:
    writers: dict[str, str] = {}
    keys = {_key(place) for place in inputs}
    for job in jobs:
        path = job.target if job.target == STANDARD_STREAM else _key(_place(job.target))
        if path in keys and job.target == job.source:
            sentence = f"{job.source}: its output would have its own name"
            raise Refusal(sentence, "is it the file that was meant? Else name another output with -o", USAGE)
        if path in keys:
            raise Refusal(f"{job.target}: is an input, and would be overwritten", "name another output with -o", USAGE)
        if path in writers and not (path != STANDARD_STREAM and is_special(Path(job.target))):
            both = f"{writers[path]} and {job.source}"
            hint = "rename one of them, or name an output for each"
            raise Refusal(f"{both} would both be written to {name_of(job.target)}", hint, USAGE)
        writers[path] = job.source
