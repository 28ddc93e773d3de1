"""What a verb tells: a line per file, one JSON object per line on stdout, failures of single files, and the sum."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from rarefy.tools.files import Job
from rarefy.tools.terminal import STANDARD_STREAM, Terminal, name_of, readable_duration, readable_size


def print_json(record: Mapping[str, object]) -> None:
    """Write one JSON object as one line on stdout."""
    print_text(json.dumps(record) + "\n")


def print_text(text: str) -> None:
    """Write text to stdout at once; raises OSError that names it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        error.filename = name_of(STANDARD_STREAM)
        raise


def failure_of(terminal: Terminal, as_json: bool) -> Callable[[Job, Exception], int]:
    """Return what reports the failure of a job, in words and, where asked, as a JSON object."""

    def fail(job: Job, error: Exception) -> int:
        code = terminal.failure(error, source_name(job))
        if as_json:
            print_json({"source": job.source, "error": str(error), "exit": code})
        return code

    return fail


def source_name(job: Job) -> str:
    """Return how messages call an input."""
    return "standard input" if job.source == STANDARD_STREAM else job.source


@dataclass
class Report:
    """Tells what became of each of `total` files, and the sum where they are several.

    pixels, seconds: those of the pictures and sounds that were encoded, for the rate of them all.
    """

    terminal: Terminal
    as_json: bool
    total: int
    done: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    source_bytes: int = field(default=0, init=False)
    size_bytes: int = field(default=0, init=False)
    pixels: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    _begin: float = field(default_factory=perf_counter, init=False)

    def finished(self, job: Job, source_bytes: int, size_bytes: int, words: str, facts: Mapping[str, object]) -> None:
        """Tell of an output: `words` follow its sizes, `facts` go into its JSON object."""
        self.done += 1
        self.source_bytes += source_bytes
        self.size_bytes += size_bytes
        self.terminal.say(f"{job.source}  {readable_size(source_bytes)} -> {readable_size(size_bytes)} {words}")
        self.terminal.detail(f"  written to {name_of(job.target)}")
        if self.as_json:
            sizes = {"source_bytes": source_bytes, "size_bytes": size_bytes}
            print_json({"source": job.source, "target": job.target, **sizes, **facts})
        self._progress()

    def warn(self, job: Job, notes: tuple[str, ...]) -> None:
        """Tell what an output has not of its input."""
        for note in notes:
            self.terminal.warning(f"{source_name(job)}: {note.removesuffix('.')}")

    def skip(self, job: Job, why: str = "is there already") -> None:
        """Tell of an output that needs no work."""
        self.skipped += 1
        self.terminal.detail(f"{job.source}  {name_of(job.target)} {why}")
        if self.as_json:
            print_json({"source": job.source, "target": job.target, "is_skipped": True})

    def fail(self, job: Job, error: Exception) -> int:
        """Tell of a failure; return its exit code."""
        self.failed += 1
        code = failure_of(self.terminal, self.as_json)(job, error)
        self._progress()
        return code

    def sum_up(self) -> None:
        """Tell the sum of several files."""
        if self.total < 2:
            return
        elapsed = perf_counter() - self._begin
        words = f"{_count(self.done, 'file')}  {readable_size(self.source_bytes)} -> {readable_size(self.size_bytes)}"
        if self.pixels and not self.seconds:
            words += f" ({8 * self.size_bytes / self.pixels:.2f} bpp)"
        if self.seconds and not self.pixels:
            words += f" ({8 * self.size_bytes / self.seconds / 1000:.1f} kbit/s)"
        words += f" in {_duration(elapsed)}"
        if self.done:
            words += f" ({self.done / elapsed:.1f} files/s)"
        words += f", {self.skipped} skipped" if self.skipped else ""
        words += f", {self.failed} failed" if self.failed else ""
        self.terminal.say(words)

    def _progress(self) -> None:
        self.terminal.progress(self.done + self.failed, self.total - self.skipped)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else readable_duration(seconds)
