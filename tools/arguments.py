"""Argument parsing: errors as one sentence with a hint and exit code 2, and the types that verbs share."""

import argparse
from typing import NoReturn

from rarefy.tools.terminal import USAGE, Terminal


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors read like every other error of the command line."""

    def error(self, message: str) -> NoReturn:
        """Report a usage error and leave with exit code 2."""
        Terminal().error(message, f"{self.prog} --help lists what it takes")
        self.exit(USAGE)


def quality(text: str) -> float:
    """Read a quality: a number from 0 to 100."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 100")
    return value


def positive(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Read `WIDTHxHEIGHT` in pixels."""
    width, cross, height = text.partition("x")
    if not cross:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 768x512")
    return positive(width), positive(height)
