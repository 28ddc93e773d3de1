"""The command line: `rarefy VERB INPUT...`.

The parser is built, and help and version printed, without torch, numpy or Pillow: the work of each verb lives in a
module that is imported when the verb runs. Data goes to stdout, words go to stderr.
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 damaged or unsupported input; a batch ends with the worst of its files'.
"""

import os
import signal
import sys
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from rarefy import __version__
from rarefy.tools.arguments import Parser, positive, quality
from rarefy.tools.terminal import FAILED, Terminal

SUMMARY = "Learned codecs: small files that decode to the same symbols everywhere."
# Verbs with a parser of their own: verb -> (module with main(argv) -> int, help)
PASSED_ON = {
    "train": ("rarefy.tools.train", "train a codec from a recipe"),
    "weights": ("rarefy.tools.weights", "export, check and describe weights"),
    "bench": ("rarefy.tools.bench", "measure rate, fidelity and speed against other codecs"),
}


class Terminated(BaseException):
    """SIGTERM, as an exception, so that half-made files are removed on the way out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (`sys.argv[1:]` by default) and return its exit code.

    Raises:
        SystemExit: after `--help`, `--version` and wrong usage, as argparse does.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    terminal = Terminal()
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = _run(arguments, terminal)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _broken_pipe(terminal)
    except KeyboardInterrupt:
        return _die_of(signal.SIGINT, "interrupted", terminal)
    except Terminated:
        return _die_of(signal.SIGTERM, "terminated", terminal)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _run(arguments: list[str], terminal: Terminal) -> int:
    try:
        if arguments and arguments[0] in PASSED_ON:
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


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _broken_pipe(terminal: Terminal) -> int:
    # Python flushes stdout once more at its exit and would complain again: give it a place where that works.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    terminal.error("whoever read the output has closed it (broken pipe)")
    return FAILED


def _die_of(number: signal.Signals, word: str, terminal: Terminal) -> int:
    """Say so in one word and die of the signal itself, so that a shell stops the loop that it runs."""
    terminal.error(word)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return FAILED


def build_parser() -> ArgumentParser:
    """Return the parser of every verb."""
    parser = Parser(prog="rarefy", description=SUMMARY, epilog="rarefy VERB --help tells more about a verb.")
    parser.add_argument("--version", action="version", version=f"rarefy {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_encode(
        verbs.add_parser("encode", help="turn pictures into small files", description="Turn pictures into .rfy files.")
    )
    _add_decode(verbs.add_parser("decode", help="turn them back", description="Turn .rfy files into pictures."))
    _add_info(
        verbs.add_parser(
            "info", help="tell what a file is", description="Tell what files are, without torch or weights."
        )
    )
    _add_verify(
        verbs.add_parser("verify", help="check files", description="Check every checksum and every symbol of files.")
    )
    _add_codecs(verbs.add_parser("codecs", help="list the codecs", description="List the codecs that are installed."))
    for verb, (_, summary) in PASSED_ON.items():
        verbs.add_parser(verb, help=summary, add_help=False).add_argument("rest", nargs=REMAINDER)
    return parser


def _add_encode(parser: ArgumentParser) -> None:
    _add_inputs(parser, "picture, or - for standard input")
    _add_output(parser)
    parser.add_argument(
        "--codec", default="image", metavar="NAME", help="which codec (default: image; see rarefy codecs)"
    )
    parser.add_argument(
        "--quality", type=quality, default=50.0, metavar="Q", help="0 (smallest) to 100 (best), default 50"
    )
    parser.add_argument("--verify", action="store_true", help="decode and compare before a file counts as done")
    _add_machine(parser)
    _add_words(parser)


def _add_decode(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, or - for standard input")
    _add_output(parser)
    _add_machine(parser)
    _add_words(parser)


def _add_info(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, or - for standard input")
    _add_words(parser)


def _add_verify(parser: ArgumentParser) -> None:
    _add_inputs(parser, ".rfy file, folder of such files, or - for standard input")
    _add_machine(parser)
    _add_words(parser)


def _add_codecs(parser: ArgumentParser) -> None:
    _add_words(parser)


def _add_inputs(parser: ArgumentParser, what: str) -> None:
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=what)


def _add_output(parser: ArgumentParser) -> None:
    parser.add_argument(
        "-o", dest="output", metavar="OUT", help="output file, folder, or - (default: next to the input)"
    )
    parser.add_argument("-f", dest="overwrite", action="store_true", help="overwrite files that exist")
    parser.add_argument(
        "-r", dest="recursive", action="store_true", help="take the files in folders; -o mirrors their tree"
    )


def _add_machine(parser: ArgumentParser) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads (default: all cores)")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")


def _add_words(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    parser.add_argument("-q", dest="quiet", action="store_true", help="say nothing but errors")
    parser.add_argument("-v", dest="verbose", action="store_true", help="say more, with tracebacks of errors")


if __name__ == "__main__":
    sys.exit(main())
