"""Rate-distortion curves: every codec at every setting on every picture, then means and Bjontegaard rate differences.

The curve of a codec has one point per setting: the mean over pictures of bits per pixel and of PSNR.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs.container import read_info
from rarefy.tools import environment
from rarefy.tools.anchors import ANCHORS, library_versions
from rarefy.tools.metrics import bd_rate, psnr

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Subject:
    """A codec under test: its settings, and how it makes and reads a file (uint8 [H, W, 3])."""

    name: str
    settings: tuple[float, ...]
    encode: Callable[[Pixels, float], bytes]
    decode: Callable[[bytes], Pixels]
    is_anchor: bool
    describe: str


@dataclass(frozen=True)
class Row:
    """One picture at one setting."""

    codec: str
    setting: float
    picture: str
    width: int
    height: int
    size_bytes: int
    bits_per_pixel: float
    psnr_db: float
    encode_ms: float
    decode_ms: float


def subjects(
    codecs: Iterable[tuple[str, tuple[float, ...]]], anchors: Iterable[str], threads: int, device: str
) -> list[Subject]:
    """Return rarefy's codecs at the asked qualities, and the anchors at their own settings."""
    ours = [_rarefy(name, qualities, threads, device) for name, qualities in codecs]
    return ours + [_anchor(name, threads) for name in anchors]


def _rarefy(name: str, qualities: tuple[float, ...], threads: int, device: str) -> Subject:
    from rarefy.codecs import api

    def encode(pixels: Pixels, quality: float) -> bytes:
        return api.encode(pixels, codec=name, quality=quality, threads=threads, device=device)

    def decode(data: bytes) -> Pixels:
        return np.asarray(api.decode(data, threads=threads, device=device))

    return Subject(name, qualities, encode, decode, False, f"rarefy {name}, {device}")


def _anchor(name: str, threads: int) -> Subject:
    anchor = ANCHORS[name]
    return Subject(
        name,
        tuple(float(setting) for setting in anchor.settings),
        lambda pixels, setting: anchor.encode(pixels, int(setting), threads),
        anchor.decode,
        True,
        anchor.describe,
    )


def measure(
    paths: Sequence[Path],
    under_test: Sequence[Subject],
    threads: int,
    command: Sequence[str],
    say: Callable[[str], None],
) -> dict[str, object]:
    """Return everything measured, ready for JSON: rows, curves, BD-rates, first-run times and the circumstances."""
    pictures = {path.name: np.asarray(Image.open(path).convert("RGB")) for path in paths}
    rows: list[Row] = []
    first: dict[str, dict[str, float]] = {}
    weights: dict[str, str] = {}
    for subject in under_test:
        say(f"{subject.name}: {len(pictures)} pictures at {len(subject.settings)} settings")
        data, first[subject.name] = _first_run(subject, next(iter(pictures.values())))
        if not subject.is_anchor:
            weights[subject.name] = read_info(data).weights
        rows += [
            row(subject, setting, name, pixels) for setting in subject.settings for name, pixels in pictures.items()
        ]
    curves = {subject.name: curve(subject, rows) for subject in under_test}
    circumstances = environment.describe(command, threads)
    return {
        **circumstances,
        "libraries": library_versions(),
        "codecs": {subject.name: subject.describe for subject in under_test},
        "weights": weights,
        "anchors": [subject.name for subject in under_test if subject.is_anchor],
        "pictures": len(pictures),
        "curves": curves,
        "bd_rate": bd_rates(under_test, curves),
        "first_run": first,
        "rows": [asdict(row) for row in rows],
    }


def _first_run(subject: Subject, pixels: Pixels) -> tuple[bytes, dict[str, float]]:
    """Time the calls that load weights and libraries, so that the rows are warm."""
    begin = perf_counter()
    data = subject.encode(pixels, subject.settings[0])
    middle = perf_counter()
    subject.decode(data)
    return data, {"encode_ms": 1000 * (middle - begin), "decode_ms": 1000 * (perf_counter() - middle)}


def row(subject: Subject, setting: float, picture: str, pixels: Pixels) -> Row:
    """Encode and decode one picture at one setting."""
    begin = perf_counter()
    data = subject.encode(pixels, setting)
    middle = perf_counter()
    decoded = subject.decode(data)
    end = perf_counter()
    height, width = pixels.shape[:2]
    return Row(
        codec=subject.name,
        setting=setting,
        picture=picture,
        width=width,
        height=height,
        size_bytes=len(data),
        bits_per_pixel=8 * len(data) / (width * height),
        psnr_db=psnr(pixels, decoded),
        encode_ms=1000 * (middle - begin),
        decode_ms=1000 * (end - middle),
    )


def curve(subject: Subject, rows: Sequence[Row]) -> list[dict[str, float]]:
    """Return one point per setting: means of rate and fidelity, medians of the times."""
    points = []
    for setting in subject.settings:
        chosen = [row for row in rows if row.codec == subject.name and row.setting == setting]
        points.append(
            {
                "setting": setting,
                "bits_per_pixel": fmean(row.bits_per_pixel for row in chosen),
                "psnr_db": fmean(row.psnr_db for row in chosen),
                "encode_ms": median(row.encode_ms for row in chosen),
                "decode_ms": median(row.decode_ms for row in chosen),
            }
        )
    return points


def bd_rates(
    under_test: Sequence[Subject], curves: dict[str, list[dict[str, float]]]
) -> dict[str, dict[str, float | None]]:
    """Return codec -> anchor -> rate difference as a fraction, for every pair of different names."""
    points = {
        name: ([point["bits_per_pixel"] for point in curve], [point["psnr_db"] for point in curve])
        for name, curve in curves.items()
    }
    anchors = [subject.name for subject in under_test if subject.is_anchor]
    return {
        subject.name: {name: bd_rate(*points[subject.name], *points[name]) for name in anchors if name != subject.name}
        for subject in under_test
    }
