"""`rarefy bench`: rate, fidelity and speed on real files in memory, beside the codecs that everybody has, in one run.

`bench images` draws the rate-distortion curves of a folder of pictures; `bench speed` times one picture, `bench large`
large ones and parts of them; `bench exactness` decodes every encoder's files in every decoder; `bench integer` holds
the compiled layers of the scale network to torch. Times are wall times of warm calls (the first call of each codec is
told apart), sizes are lengths of files.
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from pathlib import Path

from rarefy.errors import MediaError
from rarefy.tools.arguments import Parser, positive, quality, size
from rarefy.tools.files import write_bytes
from rarefy.tools.terminal import DONE, FAILED, STANDARD_STREAM, Terminal

ANCHOR_NAMES = ("webp", "avif", "jpeg")
DEFAULT_CODEC = "image@5,15,30,45,60,75,90"
PICTURE_SUFFIXES = frozenset({".png", ".webp", ".jpg", ".jpeg", ".avif", ".tif", ".tiff", ".bmp", ".ppm"})


def main(argv: Sequence[str]) -> int:
    """Run `rarefy bench ARGV...` and return its exit code."""
    options = build_parser().parse_args(argv)
    command = ["rarefy", "bench", *argv]
    terminal = Terminal()
    if options.subject == "images":
        return _images(options, command, terminal)
    if options.subject == "large":
        return _large(options, command)
    if options.subject == "exactness":
        return _exactness(options, command)
    if options.subject == "integer":
        return _integer(options, command)
    return _speed(options, command, terminal)


def build_parser() -> ArgumentParser:
    """Return the parser of `rarefy bench`."""
    parser = Parser(prog="rarefy bench", description="Measure on real files, beside other codecs, in one run.")
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    images = subjects.add_parser("images", help="rate and fidelity over a folder of pictures")
    images.add_argument("folder", type=Path, metavar="DIR", help="folder of pictures")
    images.add_argument(
        "--codecs",
        type=_settings,
        nargs="+",
        default=[_settings(DEFAULT_CODEC)],
        metavar="NAME@Q,Q...",
        help="codecs and their qualities",
    )
    images.add_argument(
        "--anchors",
        type=_anchors,
        default=list(ANCHOR_NAMES),
        metavar="NAME,NAME...",
        help="of webp, avif, jpeg; default all",
    )
    images.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves (.svg, .png, .pdf)")
    speed = subjects.add_parser("speed", help="time one picture, from array to bytes and back")
    speed.add_argument(
        "--codec", type=_settings, default=_settings("image@50"), metavar="NAME@Q", help="default image@50"
    )
    integer = subjects.add_parser("integer", help="the integer scale network on torch and on compiled kernels")
    for subject in (speed, integer):
        subject.add_argument(
            "--size", type=size, default=(768, 512), metavar="WxH", help="size of the picture (default 768x512)"
        )
        subject.add_argument(
            "--runs", type=positive, default=9, metavar="N", help="warm runs, of which the median counts"
        )
    exactness = subjects.add_parser("exactness", help="every encoder's files in every decoder (takes minutes)")
    large = subjects.add_parser("large", help="large pictures: time, memory, regions, the price of units")
    large.add_argument(
        "pictures", type=Path, nargs="+", metavar="FILE", help="photographs; those above a megapixel count"
    )
    large.add_argument(
        "--sizes", type=size, nargs="+", default=[(4000, 3000), (8000, 6000)], metavar="WxH", help="of whole pictures"
    )
    for subject in (images, speed, integer, large):
        subject.add_argument("--threads", type=positive, default=2, metavar="N", help="CPU threads (default 2)")
    for subject in (images, speed):
        subject.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    for subject in (images, speed, integer, large, exactness):
        subject.add_argument("--json", metavar="FILE", help="write the result as JSON, - for standard output")
    return parser


def _settings(text: str) -> tuple[str, tuple[float, ...]]:
    """Read `image@10,50`: a codec and its qualities."""
    name, at, qualities = text.partition("@")
    if not name or not at:
        raise ArgumentTypeError(f"{text!r} is not a codec and its qualities, such as image@10,50")
    return name, tuple(quality(part) for part in qualities.split(","))


def _anchors(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in ANCHOR_NAMES]
    if unknown:
        raise ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(ANCHOR_NAMES)}")
    return names


def _images(options: Namespace, command: list[str], terminal: Terminal) -> int:
    from rarefy.tools import bench_images, bench_report

    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise MediaError(f"{options.folder}: holds no pictures")
    subjects = bench_images.subjects(options.codecs, options.anchors, options.threads, options.device)
    result = bench_images.measure(paths, subjects, options.threads, command, terminal.say)
    _write(result, bench_report.table(result), options.json)
    if options.plot:
        bench_report.plot(result, options.plot)
    return DONE


def _speed(options: Namespace, command: list[str], terminal: Terminal) -> int:
    from rarefy.tools import bench_speed

    codec, qualities = options.codec
    result = bench_speed.measure(
        codec, qualities[0], options.size, options.threads, options.device, options.runs, command
    )
    _write(result, bench_speed.table(result), options.json)
    return DONE


def _large(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_large

    result = bench_large.measure(options.pictures, options.sizes, options.threads, command)
    _write(result, bench_large.table(result), options.json)
    return DONE


def _integer(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_integer

    result = bench_integer.measure(options.size, options.threads, options.runs, command)
    _write(result, bench_integer.table(result), options.json)
    return DONE if result["is_equal"] else FAILED


def _exactness(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import exactness

    result = exactness.measure(command)
    _write(result, exactness.table(result), options.json)
    return FAILED if result["failures"] else DONE


def _write(result: dict[str, object], table: str, target: str | None) -> None:
    """Print the table; write the JSON where it is wanted, on standard output in place of the table."""
    if target is not None:
        write_bytes(target, json.dumps(result, indent=1).encode() + b"\n")
    if target != STANDARD_STREAM:
        sys.stdout.write(table)
