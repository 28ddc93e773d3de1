"""Which input goes to which output, and outputs that appear whole or not at all.

Everything that can be refused from the names alone is refused before any work starts.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, name_of


class Job(NamedTuple):
    """One input and its output; `-` is the standard stream."""

    source: str
    target: str


class Found(NamedTuple):
    """One input, its name inside an output folder, and whether it was found in a folder."""

    source: str
    relative: Path
    is_member: bool


def find(inputs: Sequence[str], suffixes: frozenset[str], is_recursive: bool) -> list[Found]:
    """Return the inputs, with folders replaced by their files of the given suffixes, sorted.

    Raises:
        Refusal: a folder was named and `is_recursive` is false, or a folder holds no such file.
    """
    found: list[Found] = []
    for name in inputs:
        if name == STANDARD_STREAM:
            found.append(Found(name, Path("stdin"), False))
        elif not Path(name).is_dir():
            found.append(Found(name, Path(Path(name).name), False))
        elif is_recursive:
            found += _members(Path(name), suffixes)
        else:
            raise Refusal(f"{name}: is a folder", "add -r to take the files in it", USAGE)
    return found


def _members(folder: Path, suffixes: frozenset[str]) -> list[Found]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise Refusal(f"{folder}: holds no file that ends in {', '.join(sorted(suffixes))}")
    return [Found(str(path), path.relative_to(folder), True) for path in paths]


def plan(found: Sequence[Found], output: str | None, suffix: str) -> list[Job]:
    """Join every input with its output and refuse what could not end well.

    Without `output`, a file's output lies next to it with `suffix`, and standard input goes to standard output. One
    input may go to a file of any name; several, and those found in folders, go to a folder that mirrors their tree.

    Raises:
        Refusal: two inputs would write one output, or an output is one of the inputs.
    """
    jobs = [Job(item.source, _target(item, output, suffix)) for item in found]
    if output is not None and output != STANDARD_STREAM and not _is_special(Path(output)):
        is_folder = output.endswith(os.sep) or Path(output).is_dir()
        if not is_folder and len(found) == 1 and not found[0].is_member:
            jobs = [Job(found[0].source, output)]
        elif Path(output).is_file():
            raise Refusal(f"{output}: is a file, and the inputs need a folder", "name a folder with -o", USAGE)
    _refuse_collisions(jobs)
    return jobs


def _target(item: Found, output: str | None, suffix: str) -> str:
    """Return the output of an input, with `output` read as a folder unless it is a stream or a device."""
    if output is None:
        return STANDARD_STREAM if item.source == STANDARD_STREAM else str(Path(item.source).with_suffix(suffix))
    if output == STANDARD_STREAM or _is_special(Path(output)):
        return output
    return str(Path(output) / item.relative.with_suffix(suffix))


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    inputs = {Path(job.source).resolve() for job in jobs if job.source != STANDARD_STREAM}
    writers: dict[str | Path, str] = {}
    for job in jobs:
        path = job.target if job.target == STANDARD_STREAM else Path(job.target).resolve()
        if path in inputs:
            raise Refusal(f"{job.target}: is an input, and would be overwritten", "name another output with -o", USAGE)
        if path in writers and not (isinstance(path, Path) and _is_special(path)):
            both = f"{writers[path]} and {job.source}"
            raise Refusal(f"{both} would both be written to {name_of(job.target)}", "name a folder with -o", USAGE)
        writers[path] = job.source


def _is_special(path: Path) -> bool:
    """Tell devices and pipes, which are written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def check_target(job: Job, overwrite: bool) -> None:
    """Refuse to write over a file unasked, or to write bytes to a terminal.

    Raises:
        Refusal: with the way out as its hint.
    """
    if overwrite:
        return
    if job.target == STANDARD_STREAM:
        if sys.stdout.isatty():
            raise Refusal("standard output is a terminal", "redirect it, name a file with -o, or insist with -f", USAGE)
    elif Path(job.target).is_file():
        raise Refusal(f"{job.target}: exists already", "add -f to overwrite it, or name another output with -o")


def read_bytes(source: str) -> bytes:
    """Return all bytes of a file or of standard input."""
    return sys.stdin.buffer.read() if source == STANDARD_STREAM else Path(source).read_bytes()


def write_bytes(target: str, data: bytes) -> None:
    """Write all bytes to a file, which appears whole or not at all, or to standard output."""
    if target == STANDARD_STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with whole_file(Path(target)) as file:
        file.write(data)


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that takes the target's name when the block ends well and vanishes when it does not."""
    if _is_special(target):
        with target.open("wb") as device:
            yield device
        return
    target = target.resolve()  # a symbolic link stays one; the file that it names is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def each(jobs: Sequence[Job], work: Callable[[Job], None], fail: Callable[[Job, Exception], int]) -> int:
    """Do every job, go on after failures, and return the worst exit code.

    A broken pipe ends the batch at once: nobody reads the rest.
    """
    worst = 0
    for job in jobs:
        try:
            work(job)
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever it was, `fail` reports it and the other files still get their turn
            worst = max(worst, fail(job, error))
    return worst
