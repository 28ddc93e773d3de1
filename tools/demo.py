"""`make demo`: one picture through rarefy, then through JPEG, WebP and AVIF at about the same size, side by side.

Leaves the files, the decoded pictures and one labelled comparison in a folder, and prints a table of what it measured.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import rarefy
from rarefy.codecs.media import as_image
from rarefy.tools.anchors import ANCHORS, Pixels
from rarefy.tools.arguments import Parser, positive, quality
from rarefy.tools.cli import SPINS
from rarefy.tools.metrics import psnr
from rarefy.tools.terminal import DONE, Terminal, readable_size

ORDER = ("jpeg", "webp", "avif")
PANEL = 384  # pixels of each side of the crop that a panel shows
RUNS = 3
LABEL = 44  # pixels of height above each panel
NARROWEST = 230  # pixels of width that a label needs


@dataclass(frozen=True)
class Result:
    """One codec's file of the picture, what it decodes to, and the times that took."""

    name: str
    suffix: str
    data: bytes
    pixels: Pixels
    psnr_db: float
    encode_ms: float
    decode_ms: float

    @property
    def bits_per_pixel(self) -> float:
        """Size of the whole file over the number of pixels."""
        return 8 * len(self.data) / (self.pixels.shape[0] * self.pixels.shape[1])


def main(argv: Sequence[str]) -> int:
    """Run the demonstration and return its exit code."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    options = build_parser().parse_args(argv)
    original = load(options.picture)
    name = Path(options.picture).stem if options.picture else "chelsea"
    ours = with_rarefy(original, options.quality, options.threads)
    results = [ours, *(with_anchor(anchor, original, len(ours.data), options.threads) for anchor in ORDER)]
    save(options.out, name, original, results)
    sys.stdout.write(table(name, original, results))
    sys.stdout.write(f"files and {name}-compared.png are in {options.out}/\n")
    return DONE


def build_parser() -> ArgumentParser:
    """Return the parser of the demonstration."""
    parser = Parser(prog="rarefy.tools.demo", description="Compare rarefy with JPEG, WebP and AVIF at equal size.")
    parser.add_argument("picture", nargs="?", help="picture (default: scikit-image's cat, chelsea)")
    parser.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="folder for the results")
    parser.add_argument("--quality", type=quality, default=50.0, metavar="Q", help="rarefy's quality, default 50")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="CPU threads, default 2")
    return parser


def load(path: str | None) -> Pixels:
    """Return a picture as uint8 [H, W, 3]; without a path, scikit-image's `chelsea`."""
    if path is not None:
        return np.broadcast_to(pixels := as_image(path).pixels, (*pixels.shape[:2], 3))
    from skimage import data

    return np.asarray(data.chelsea())


def with_rarefy(original: Pixels, quality: float, threads: int) -> Result:
    """Encode and decode with rarefy, warm: the first calls, which load torch and the weights, are not counted."""
    rarefy.decode(rarefy.encode(original, quality=quality, threads=threads), threads=threads)
    return measure(
        "rarefy",
        ".rfy",
        original,
        lambda: rarefy.encode(original, quality=quality, threads=threads),
        lambda data: np.asarray(rarefy.decode(data, threads=threads)),
    )


def with_anchor(name: str, original: Pixels, size_bytes: int, threads: int) -> Result:
    """Encode and decode with a format of Pillow, at the quality whose size is closest to `size_bytes`."""
    anchor = ANCHORS[name]
    setting = closest_setting(lambda quality: len(anchor.encode(original, quality, threads)), size_bytes)
    label = f"{name} q{setting}"
    return measure(label, f".{name}", original, lambda: anchor.encode(original, setting, threads), anchor.decode)


def closest_setting(size_of: Callable[[int], int], size_bytes: int) -> int:
    """Return the quality from 0 to 100 whose file is closest to a size, given that sizes rise with quality."""
    sizes: dict[int, int] = {}
    low, high = 0, 100
    while low <= high:
        middle = (low + high) // 2
        sizes[middle] = size_of(middle)
        if sizes[middle] < size_bytes:
            low = middle + 1
        else:
            high = middle - 1
    return min(sizes, key=lambda quality: abs(sizes[quality] - size_bytes))


def measure(
    name: str, suffix: str, original: Pixels, encode: Callable[[], bytes], decode: Callable[[bytes], Pixels]
) -> Result:
    """Time encoding and decoding, medians of a few runs, and compare."""
    encode_ms, decode_ms = [], []
    for _ in range(RUNS):
        begin = perf_counter()
        data = encode()
        middle = perf_counter()
        pixels = decode(data)
        encode_ms.append(1000 * (middle - begin))
        decode_ms.append(1000 * (perf_counter() - middle))
    return Result(name, suffix, data, pixels, psnr(original, pixels), median(encode_ms), median(decode_ms))


def table(name: str, original: Pixels, results: Sequence[Result]) -> str:
    """Return what was measured as lines of text."""
    height, width = original.shape[:2]
    lines = [f"{name}, {width}x{height}, {readable_size(original.nbytes)} as plain RGB"]
    lines.append(f"{'':12}{'size':>10}{'bpp':>8}{'PSNR dB':>9}{'encode ms':>11}{'decode ms':>11}")
    lines += [
        f"{result.name:12}{readable_size(len(result.data)):>10}{result.bits_per_pixel:8.3f}{result.psnr_db:9.2f}"
        f"{result.encode_ms:11.1f}{result.decode_ms:11.1f}"
        for result in results
    ]
    return "\n".join(lines) + "\n"


def save(folder: Path, name: str, original: Pixels, results: Sequence[Result]) -> None:
    """Write every file, every decoded picture and the comparison."""
    folder.mkdir(parents=True, exist_ok=True)
    for result in results:
        (folder / f"{name}{result.suffix}").write_bytes(result.data)
        Image.fromarray(result.pixels).save(folder / f"{name}{result.suffix}.png", compress_level=1)
    compare(original, results).save(folder / f"{name}-compared.png")


def compare(original: Pixels, results: Sequence[Result]) -> Image.Image:
    """Draw the same crop of the original and of every result in a row, pixel for pixel, each under its label."""
    labels = [("original", readable_size(original.nbytes))]
    labels += [
        (result.name, f"{readable_size(len(result.data))}  {result.bits_per_pixel:.3f} bpp  {result.psnr_db:.2f} dB")
        for result in results
    ]
    crops = [crop(pixels) for pixels in (original, *(result.pixels for result in results))]
    height, width = crops[0].shape[0], max(crops[0].shape[1], NARROWEST)
    sheet = Image.new("RGB", ((width + 4) * len(crops) - 4, height + LABEL), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for index, ((title, facts), pixels) in enumerate(zip(labels, crops, strict=True)):
        left = index * (width + 4)
        draw.text((left + 4, 3), title, "black", font)
        draw.text((left + 4, 22), facts, "black", font)
        sheet.paste(Image.fromarray(pixels), (left, LABEL))
    return sheet


def crop(pixels: Pixels) -> Pixels:
    """Return the middle of a picture, at most PANEL pixels wide and high."""
    top, left = (max(0, (length - PANEL) // 2) for length in pixels.shape[:2])
    return pixels[top : top + PANEL, left : left + PANEL]


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (rarefy.RarefyError, OSError) as failure:
        sys.exit(Terminal().failure(failure))
