"""`rarefy bench images`: pictures of a folder, rarefy's codecs and the anchors, metrics of RGB."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs.media import as_image
from rarefy.errors import MediaError, OptionError, WeightsError
from rarefy.tools import environment
from rarefy.tools.anchors import ANCHORS, library_versions
from rarefy.tools.bench_sizes import size_parts
from rarefy.tools.bench_times import codec_times
from rarefy.tools.commands.parser import EFFORTS
from rarefy.tools.files import write_bytes
from rarefy.tools.harness.cache import Cache
from rarefy.tools.harness.measure import Bench
from rarefy.tools.harness.parts import Candidate, Item, Metric
from rarefy.tools.harness.results import Result, file_name, summarised
from rarefy.tools.peers import PREFIX, find_peer, peer_candidate
from rarefy.tools.picture_metrics import METRICS

Pixels = NDArray[np.uint8]
Setting = tuple[str, tuple[float, ...]]  # of a codec or an anchor; an anchor's may be empty: those of its own
BROWSER_FORMATS = ("jpeg", "webp", "avif")
SCHEMA = 2  # of results; docs/BENCHMARKS.md describes it


def read_items(folder: Path, fail: Callable[[str, Exception], object]) -> tuple[list[Item[Pixels]], list[str]]:
    """Return the pictures of a folder, and the names of the files in it that are none, after telling `fail` of each.

    Pictures are compared as 8-bit RGB, turned upright and without alpha, as every codec gets them. Hidden files and
    folders are passed over.
    """
    items, unusable = [], []
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        try:
            items.append(item(path.name, as_image(path).pixels))
        except (MediaError, OSError) as error:
            fail(str(path), error)
            unusable.append(path.name)
    return items, unusable


def item(name: str, pixels: Pixels) -> Item[Pixels]:
    """Return a picture, uint8 [H, W, 1 or 3], as what is measured: RGB."""
    height, width = pixels.shape[:2]
    colours = np.ascontiguousarray(np.broadcast_to(pixels, (height, width, 3)))
    digest = hashlib.sha256(repr(colours.shape).encode() + colours.tobytes()).hexdigest()
    return Item(name, colours, {"width": width, "height": height}, width * height, digest)


def rarefy_candidate(setting: Setting, threads: int, device: str) -> Candidate[Pixels]:
    """Return a codec of rarefy at some qualities; `image+3` is the codec image with effort 3."""
    from rarefy.codecs import api
    from rarefy.codecs.weights import load_codec

    whole, qualities = setting
    name, _, effort = whole.partition("+")
    if effort and (not effort.isdecimal() or int(effort) not in EFFORTS):
        raise OptionError(f'"{whole}": behind the plus stands an effort, {EFFORTS[0]} to {EFFORTS[-1]}')
    codec = load_codec(name, device)  # the one that `encode` and `decode` use: it is timed inside

    def encode(pixels: Pixels, quality: float) -> bytes:
        return api.encode(pixels, codec=name, quality=quality, effort=int(effort or 0), threads=threads, device=device)

    def decode(data: bytes) -> Pixels:
        return np.asarray(api.decode(data, threads=threads, device=device))

    return Candidate(
        whole,
        qualities,
        encode,
        decode,
        is_anchor=False,
        describe=f"rarefy {name}, {device}" + (f", effort {effort}" if effort else ""),
        version=f"{codec.weights_hash.hex()} {source_digest()}",
        size_parts=lambda data: size_parts(data, codec),
        times=lambda: codec_times(codec),
    )


@cache
def source_digest() -> str:
    """Return the SHA-256 of everything that files and decoded pictures depend on beside weights, shortened."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in ("codecs", "entropy", "models", "kernels"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".cpp", ".h"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def anchor_candidate(setting: Setting, threads: int, device: str) -> Candidate[Pixels]:
    """Return an anchor at some settings, by default its own, or a peer."""
    name, settings = setting
    if name.startswith(PREFIX):
        return peer_candidate(name, settings, threads, device)
    anchor = ANCHORS[name]

    def encode(pixels: Pixels, setting: float) -> bytes:
        try:
            return anchor.encode(pixels, int(setting), threads)
        except Exception as error:  # each library has errors of its own
            raise MediaError(f"its encoder refuses the picture: {error}") from error

    return Candidate(
        name,
        settings or tuple(float(setting) for setting in anchor.settings),
        encode,
        anchor.decode,
        is_anchor=True,
        describe=anchor.describe,
        version=anchor.version() or "",
        size_parts=lambda data: {},
    )


def available_anchors(wanted: Iterable[Setting]) -> tuple[list[Setting], dict[str, str]]:
    """Return the anchors whose libraries are installed, and name -> reason for those that are left out."""
    chosen, left_out = [], {}
    for name, settings in wanted:
        if name.startswith(PREFIX):
            present, reason = find_peer(name, settings)
            if present:
                chosen.append((name, present))
            else:
                left_out[name] = reason
        elif reason := ANCHORS[name].lack:
            left_out[name] = reason
        else:
            chosen.append((name, settings))
    return chosen, left_out


def available_metrics(wanted: Iterable[str]) -> tuple[list[Metric[Pixels]], dict[str, str]]:
    """Return the metrics that can be had here, and name -> reason for those that are left out."""
    chosen, left_out = [], {}
    for name in wanted:
        metric, reason = METRICS[name]()
        if metric is None:
            left_out[name] = reason
        else:
            chosen.append(metric)
    return chosen, left_out


def measure(
    candidates: Sequence[Candidate[Pixels]],
    metrics: Sequence[Metric[Pixels]],
    bench: Bench[Pixels],
    threads: int,
    command: Sequence[str],
) -> Result:
    """Return everything measured, for JSON: rows, curves, rate differences, first-run times and the circumstances."""
    measured = bench.run(candidates)
    return summarised(
        {
            "schema": SCHEMA,
            **environment.describe(command, threads),
            "libraries": library_versions(),
            "codecs": {candidate.name: candidate.describe for candidate in candidates},
            "weights": {candidate.name: _weights(candidate) for candidate in candidates if not candidate.is_anchor},
            "anchors": [candidate.name for candidate in candidates if candidate.is_anchor],
            "metrics": {metric.key: metric.facts() for metric in metrics},
            "means": "of each metric over pictures, not of the error behind it; of bits per pixel; medians of times",
            "failures": measured.failures,
            "first_run": measured.first_run,
            "rows": measured.rows,
        }
    )


def _weights(candidate: Candidate[Pixels]) -> str:
    """Return the name that files give the weights: the first digits of their hash."""
    name = candidate.version.partition(" ")[0][:8]
    if not name:
        raise WeightsError(f"{candidate.name}: random weights are not measured")
    return name


def open_bench(
    items: Sequence[Item[Pixels]],
    metrics: Sequence[Metric[Pixels]],
    folder: Path | None,
    threads: int,
    fail: Callable[[str, Exception], object],
    progress: Callable[[int, int], None],
) -> Bench[Pixels]:
    """Return a run whose cached results hold for this machine and this number of threads."""
    machine = environment.describe([], threads)["machine"]
    return Bench(items, metrics, Cache(folder), {"machine": machine}, fail, progress)


class Pictures:
    """Some pictures of a run as files that a browser displays: what codecs made of them, and the originals.

    JPEG, WebP and AVIF are shown by the browser itself; of all others it gets the decoded picture, lossless.
    """

    def __init__(
        self, items: Sequence[Item[Pixels]], candidates: Sequence[Candidate[Pixels]], bench: Bench[Pixels]
    ) -> None:
        self._items, self._candidates, self._bench = items, candidates, bench

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write all versions of all pictures below a folder; return what the report says of them."""
        return [self._write_item(folder, number, item) for number, item in enumerate(self._items)]

    def _write_item(self, folder: Path, number: int, item: Item[Pixels]) -> dict[str, Any]:
        place = f"pictures/{number:03d}"
        versions: list[dict[str, Any]] = [
            {"codec": "original", "setting": None, "source": _save(folder, f"{place}/original.webp", item.medium)}
        ]
        for candidate in self._candidates:
            for setting in candidate.settings:
                data = self._bench.file(candidate, setting, item)
                if data is not None:
                    name = f"{place}/{file_name(candidate.name)}-{setting:g}"
                    source = _shown(folder, name, candidate, data)
                    versions.append({"codec": candidate.name, "setting": setting, "source": source})
        return {"name": item.name, **item.facts, "versions": versions}


def _shown(folder: Path, name: str, candidate: Candidate[Pixels], data: bytes) -> str:
    if candidate.name not in BROWSER_FORMATS:
        return _save(folder, f"{name}.webp", candidate.decode(data))
    write_bytes(str(folder / f"{name}.{candidate.name}"), data)
    return f"{name}.{candidate.name}"


def _save(folder: Path, name: str, pixels: Pixels) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, quality=30, method=0)
    write_bytes(str(folder / name), file.getvalue())
    return name
