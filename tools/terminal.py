"""Words for people: lines, errors and hints on stderr, sizes in readable units, and the exit code that an error means.

Data never goes through here: stdout belongs to it.
"""

import sys
import traceback
from contextlib import suppress
from time import perf_counter

from rarefy.errors import FormatError, LimitError, MediaError, OptionError, RarefyError, UnsupportedError

DONE, FAILED, USAGE, DAMAGED = 0, 1, 2, 3
STANDARD_STREAM = "-"
PATIENCE = 2.0  # seconds after which people like to know how long it will take
ERASE_LINE = "\r\x1b[K"
DEFECT = "this is a defect of rarefy: run the command again with -v and report what it prints"


class Refusal(RarefyError):
    """The command line itself says no, naming the file; `hint` tells what to type instead, `code` is the exit code."""

    def __init__(self, message: str, hint: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class Terminal:
    """Writes one line per thing worth saying. `quiet` leaves errors alone, `verbose` adds details and tracebacks.

    tells_defects: tracebacks of internal errors come unasked, for verbs without `-v`.
    """

    def __init__(self, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self.tells_defects = False
        self._begin = perf_counter()
        self._has_status = False

    def say(self, line: str) -> None:
        """Write a line, unless quiet."""
        if not self.quiet:
            self._print(line)

    def detail(self, line: str) -> None:
        """Write a line that only `-v` asks for."""
        if self.verbose:
            self._print(line)

    def warning(self, message: str) -> None:
        """Write `rarefy: warning: …`, unless quiet: the work is done, and not quite as one might think."""
        if not self.quiet:
            self._print(f"rarefy: warning: {message}")

    def error(self, message: str, hint: str = "") -> None:
        """Write `rarefy: error: …` and, where there is one, `rarefy: hint: …`."""
        self._print(f"rarefy: error: {message}")
        if hint:
            self._print(f"rarefy: hint: {hint}")

    def failure(self, error: BaseException, name: str = "") -> int:
        """Report an exception that ended the work on `name`; return the exit code that it means."""
        hint = hint_for(error)
        if self.verbose or (self.tells_defects and hint == DEFECT):
            traceback.print_exception(error, file=sys.stderr)
            hint = "this is a defect of rarefy: report what is above" if hint == DEFECT else hint
        self.error(describe(error, name), hint)
        return exit_code(error)

    def progress(self, done: int, total: int) -> None:
        """Show on a terminal how far a batch is, in a line that the next one replaces."""
        seconds = perf_counter() - self._begin
        if self.quiet or seconds < PATIENCE or not 0 < done < total or not sys.stderr.isatty():
            return
        left = readable_duration(seconds / done * (total - done))
        print(f"{done} of {total}, {done / seconds:.1f} files/s, {left} left", end="", file=sys.stderr, flush=True)
        self._has_status = True

    def _print(self, line: str) -> None:
        erase, self._has_status = ERASE_LINE if self._has_status else "", False
        with suppress(OSError):  # a terminal that has gone away
            print(erase + printable(line), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text of one line that no file name can turn into commands for the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def exit_code(error: BaseException) -> int:
    """Return the exit code of an exception: 1 failed, 2 usage, 3 damaged or unsupported input."""
    if isinstance(error, Refusal):
        return error.code
    if isinstance(error, OptionError):
        return USAGE
    if isinstance(error, FormatError | LimitError | MediaError | UnsupportedError):
        return DAMAGED
    return FAILED


def describe(error: BaseException, name: str = "") -> str:
    """Return one sentence without a full stop, that begins with `name` unless the error already does."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        sentence = error.strerror[0].lower() + error.strerror[1:]
        name = str(error.filename or name)
    elif isinstance(error, RarefyError):
        sentence = " ".join(str(error).split()).removesuffix(".")
    elif is_out_of_memory(error):
        sentence = "there is not enough memory"
    else:
        sentence = f"internal error ({type(error).__name__}: {' '.join(str(error).split())})"
    return sentence if not name or sentence.startswith(name) else f"{name}: {sentence}"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell a lack of memory, which torch reports as RuntimeErrors of its allocators."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and ("not enough memory" in str(error) or "out of memory" in str(error))
    )


def hint_for(error: BaseException) -> str:
    """Return what a person may do about an error, or nothing."""
    if isinstance(error, Refusal):
        return error.hint
    if isinstance(error, RarefyError | OSError) or is_out_of_memory(error):
        return ""
    return DEFECT


def name_of(path: str) -> str:
    """Return how messages call an output."""
    return "standard output" if path == STANDARD_STREAM else path


def readable_size(size_bytes: int) -> str:
    """Return a size such as `97 B`, `31.2 kB` or `1.2 MB`, in powers of 1000 as disks and networks count."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    size, units = size_bytes / 1000, ["kB", "MB", "GB", "TB"]
    while size >= 999.95 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.1f} {units[0]}"


def readable_duration(seconds: float) -> str:
    """Return a duration such as `7 s`, `3 min 20 s` or `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
