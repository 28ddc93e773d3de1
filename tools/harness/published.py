"""Published curves, to draw behind measured ones: facts of others, with their sources, not measured here."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rarefy.errors import FormatError, OptionError

COLUMNS = ["codec", "metric", "bpp", "value", "source"]
KEYS = {"psnr_rgb_db": "psnr_db", "msssim_rgb": "ms_ssim"}  # published metric -> key of ours; others are not drawn


@dataclass(frozen=True)
class Published:
    """One published curve. points: bits per pixel and the metric's value, by rising rate."""

    codec: str
    metric: str
    points: list[tuple[float, float]]
    source: str


def read_published(path: Path, codecs: Iterable[str] = ()) -> list[Published]:
    """Read curves from a table (CSV with the columns codec, metric, bpp, value, source), of all codecs or of some.

    Raises:
        FormatError: the file is no such table.
        OptionError: it has no curve of a codec that was asked for.
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != COLUMNS:
            raise FormatError(f"{path}: has not the columns {', '.join(COLUMNS)}")
        curves: dict[tuple[str, str], tuple[list[tuple[float, float]], str]] = {}
        for row in reader:
            try:
                point = float(row["bpp"]), float(row["value"])
            except (TypeError, ValueError) as error:
                raise FormatError(f"{path}: line {reader.line_num} has no numbers as bpp and value") from error
            curves.setdefault((row["codec"], row["metric"]), ([], row["source"]))[0].append(point)
    wanted = list(codecs) or sorted({codec for codec, _ in curves})
    for codec in wanted:
        if not any(name == codec for name, _ in curves):
            raise OptionError(f'{path}: has no curve of "{codec}"')
    return [
        Published(codec, KEYS[metric], sorted(points), source)
        for (codec, metric), (points, source) in curves.items()
        if codec in wanted and metric in KEYS
    ]
