"""The command line: `rarefy VERB INPUT...`.

The parser is built, and help and version printed, without torch, numpy or Pillow: the work of each verb lives in a
module that is imported when the verb runs. Data goes to stdout, words go to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damaged or unsupported input; a batch ends with the worst of its files'.
"""

import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

from rarefy.tools.commands.parser import PASSED_ON, SUMMARY, build_parser
from rarefy.tools.endings import ENDINGS, Terminated
from rarefy.tools.terminal import FAILED, Terminal

__all__ = ["PASSED_ON", "SUMMARY", "build_parser", "main"]

# How long the idle threads of OpenMP spin, read when torch is loaded. As long as they would by themselves, two threads
# on a busy machine take forty times as long as one.
SPINS = "1000"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv[1:]` by default) and return its exit code.

    Raises:
        SystemExit: after `--help`, `--version` and wrong usage, as argparse does.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that its encoding does not have
    terminal = Terminal()
    try:
        with _endings_raised():
            return _flush(_run(arguments, terminal), terminal)
    except BrokenPipeError:
        _abandon_stdout()
        terminal.error("whoever read the output has closed it (broken pipe)")
        return FAILED
    except KeyboardInterrupt:
        return _die_of(signal.SIGINT, "interrupted", terminal)
    except Terminated as ending:
        return _die_of(ending.number, "terminated", terminal)


def _open_closed() -> None:
    """Standard streams that a shell closed (`>&-`) are None in Python: give them a place where nothing is."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  # open until the end


def _run(arguments: list[str], terminal: Terminal) -> int:
    try:
        if arguments and arguments[0] in PASSED_ON:
            terminal.tells_defects = True
            passed: int = import_module(PASSED_ON[arguments[0]][0]).main(arguments[1:])
            return passed
        options = build_parser().parse_args(arguments)
        terminal.quiet, terminal.verbose = options.quiet, options.verbose
        code: int = import_module(f"rarefy.tools.commands.{options.verb}").run(options, terminal)
        return code
    except BrokenPipeError:
        raise
    except Exception as error:  # the last place where a failure can still become one sentence
        return terminal.failure(error)


def _flush(code: int, terminal: Terminal) -> int:
    """Bring what is left in stdout's buffer out, and fail where that fails: on a full disk, the data is not there."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _abandon_stdout()
        return code or terminal.failure(error, "standard output")
    return code


def _abandon_stdout() -> None:
    # Python flushes stdout once more at its exit and would complain again: give it a place where that works.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _endings_raised() -> Iterator[None]:
    """Raise `Terminated` at signals that end programs, but for those that are ignored, as `nohup` does."""
    changed = {number: signal.getsignal(number) for number in ENDINGS if signal.getsignal(number) != signal.SIG_IGN}
    for number in changed:
        signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(number)


def _die_of(number: signal.Signals, word: str, terminal: Terminal) -> int:
    """Say so in one word and die of the signal itself, so that a shell stops the loop that it runs."""
    terminal.error(word)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
