"""Argument parsing: errors as one sentence with a hint and exit code 2, and the types that verbs share."""

import argparse
import math
import re
from decimal import Decimal
from typing import NoReturn

from rarefy.tools.terminal import USAGE, Terminal

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3}


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors read like every other error of the command line."""

    def error(self, message: str) -> NoReturn:
        """Report a usage error and leave with exit code 2."""
        Terminal().error(message, f"{self.prog} --help lists what it takes")
        self.exit(USAGE)


class WithDefaults(argparse.RawTextHelpFormatter):
    """Help that says which number an option has by default, and keeps the lines of a description."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_number = isinstance(action.default, int | float) and not isinstance(action.default, bool)
        return f"{action.help} (%(default)g by default)" if is_number else action.help


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


def positive_number(text: str) -> float:
    """Read a finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def piece_seconds(text: str) -> float:
    """Read the length of a piece of sound in seconds: a hundredth or more."""
    value = positive_number(text)
    if value < 0.01:
        raise argparse.ArgumentTypeError(f"{text!r}: pieces are 0.01 seconds or longer")
    return value


def seconds(text: str) -> float:
    """Read a time in seconds, 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def size_bytes(text: str) -> int:
    """Read a size of a file: bytes, or `50k`, `50kB`, `1.5M` with the units of a thousand and a million bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kKmMgG])?B?)?", text)
    value = int(Decimal(match[1]) * UNITS[(match[2] or "").lower()]) if match else 0
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 50k, 1.5M or 20000")
    return value


def region(text: str) -> tuple[int, int, int, int]:
    """Read `X,Y,WIDTH,HEIGHT` in pixels; X and Y count from the upper left corner."""
    parts = text.split(",")
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a region such as 1024,512,256,256 (X,Y,WIDTH,HEIGHT)")
    x, y, width, height = map(int, parts)
    if width == 0 or height == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is a region without pixels")
    return x, y, width, height
