"""What size or fidelity an encoder is asked for: a quality, or a target that it searches the quality for."""

from argparse import ArgumentParser, Namespace
from typing import Any

from rarefy.tools.arguments import positive_number, quality, size_bytes

TARGETS = ("target_size", "target_bpp", "target_psnr", "target_kbps")


def add_rate(parser: ArgumentParser, default: float | None) -> None:
    """Add the options, of which one may be given. default: the quality where none is; None: that of the input."""
    text = f"default {default:g}" if default is not None else "default: that of the file"
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--quality", type=quality, default=default, metavar="Q", help=f"0 (smallest) to 100 (best), {text}"
    )
    group.add_argument(
        "--target-size", type=size_bytes, metavar="SIZE", help="the best quality in at most this size: 50k, 1.5M, bytes"
    )
    group.add_argument(
        "--target-bpp", type=positive_number, metavar="BPP", help="the best quality in at most these bits per pixel"
    )
    group.add_argument(
        "--target-psnr", type=positive_number, metavar="DB", help="the smallest file with at least this PSNR, in dB"
    )
    group.add_argument(
        "--target-kbps",
        type=positive_number,
        metavar="KBPS",
        help="the best quality of a sound in at most these kilobits per second",
    )


def target_of(options: Namespace) -> dict[str, Any]:
    """Return the target that was given, as a keyword of `rarefy.encode`, or nothing."""
    return {name: value for name in TARGETS if (value := getattr(options, name)) is not None}
