"""Bytes in and out: outputs appear whole or not at all, with the permissions that `cp` would give them."""

import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rarefy.codecs.unfinished import USUAL_MODE, is_special, whole_file
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, name_of


class Job(NamedTuple):
    """One input and its output; `-` is the standard stream."""

    source: str
    target: str


def is_stream(target: str) -> bool:
    """Tell the standard stream, devices and pipes: writing there may wait for a reader."""
    return target == STANDARD_STREAM or is_special(Path(target))


def check_target(job: Job, overwrite: bool) -> None:
    """Refuse to write over a file unasked, or to write bytes to a terminal.

    Raises:
        Refusal: with the way out as its hint.
    """
    if job.target not in (STANDARD_STREAM, job.source) and Path(job.target).is_dir():
        raise Refusal(f"{job.target}: is a folder", "name another output with -o", USAGE)
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


def write_bytes(target: str, data: bytes, source: str = STANDARD_STREAM) -> None:
    """Write all bytes to a file, which appears whole or not at all, or to standard output.

    source: the file that a new output takes its permissions from. Raises OSError that names the target.
    """
    try:
        if target == STANDARD_STREAM:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            with whole_file(Path(target), mode_of(source)) as file:
                file.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = name_of(target)  # not that of the unfinished file
        raise


def mode_of(source: str) -> int:
    """Return the permissions of an input, so that what was private stays private."""
    if source == STANDARD_STREAM or not Path(source).is_file():
        return USUAL_MODE
    return stat.S_IMODE(Path(source).stat().st_mode) & 0o777


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
