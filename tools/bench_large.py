"""Large pictures: time and memory of whole ones, time of a small region, and what cutting into units costs in rate.

Pictures of a wanted size are made of a photograph and its mirror images, side by side: its own detail, without edges
where it repeats. Each size is measured in a process of its own, whose peak of memory is known.
"""

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefy.tools import environment
from rarefy.tools.metrics import psnr
from rarefy.tools.terminal import Refusal

REGION_SIDE = 256
REGIONS = 20
REGION_SIZE = (5472, 3648)  # a picture of 20 megapixels
RATE_SIZE = (2048, 1408)  # of pictures that are too small to be cut, put beside their mirror images
RATE_QUALITIES = (20, 50, 80)


def measure(
    paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    threads: int,
    command: Sequence[str],
    region_size: tuple[int, int] = REGION_SIZE,
) -> dict[str, Any]:
    """Measure whole pictures of each size (width, height), regions of one of `region_size`, and the rate of units."""
    apart = multiprocessing.get_context("spawn")
    with apart.Pool(1, maxtasksperchild=1) as pool:
        whole = [pool.apply(_whole, (paths[0], size, threads)) for size in sizes]
        regions = pool.apply(_regions, (paths[0], region_size, threads))
        rate = pool.apply(_rate, (list(paths), threads))
    return {**environment.describe(command, threads), "whole": whole, "regions": regions, "units": rate}


def enlarged(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Pixels [height, width, 3] of a picture and its mirror images."""
    rows, columns = (
        _there_and_back(wanted, given) for wanted, given in zip((height, width), pixels.shape, strict=False)
    )
    return np.ascontiguousarray(pixels[rows][:, columns])


def _there_and_back(wanted: int, given: int) -> NDArray[np.intp]:
    place = np.arange(wanted) % (2 * given)
    return np.where(place < given, place, 2 * given - 1 - place)


def _picture(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    from rarefy.codecs.media import as_image

    return enlarged(as_image(path).pixels, *size)


def _whole(path: Path, size: tuple[int, int], threads: int) -> dict[str, Any]:
    from rarefy.codecs import api

    pixels = _picture(path, size)
    api.decode(api.encode(pixels[:64, :64], threads=threads), threads=threads)  # weights loaded, libraries awake
    begin = perf_counter()
    data = api.encode(pixels, threads=threads)
    between = perf_counter()
    api.decode(data, threads=threads)
    end = perf_counter()
    return {
        "width": size[0],
        "height": size[1],
        "size_bytes": len(data),
        "encode_s": between - begin,
        "decode_s": end - between,
        "peak_memory_bytes": _peak_memory(),
    }


def _regions(path: Path, size: tuple[int, int], threads: int) -> dict[str, Any]:
    from rarefy.codecs import api
    from rarefy.codecs.parallel import threads_of_torch

    pixels = _picture(path, size)
    data = api.encode(pixels, threads=threads)
    api.decode(data, threads=threads)
    begin = perf_counter()
    whole = api.decode(data, threads=threads)
    whole_s = perf_counter() - begin
    generator = np.random.default_rng(0)
    times = []
    with api.open(data) as file, threads_of_torch(threads):
        for _ in range(REGIONS):
            x, y = (int(generator.integers(0, extent - REGION_SIDE + 1)) for extent in size)
            begin = perf_counter()
            part = file.region(x, y, REGION_SIDE, REGION_SIDE)
            times.append(perf_counter() - begin)
            if not np.array_equal(part.pixels, whole.pixels[y : y + REGION_SIDE, x : x + REGION_SIDE]):
                raise AssertionError(f"the region at {x},{y} is not the crop of the whole picture")
    return {
        "width": size[0],
        "height": size[1],
        "side": REGION_SIDE,
        "count": REGIONS,
        "whole_decode_s": whole_s,
        "mean_share": mean(times) / whole_s,
        "worst_share": max(times) / whole_s,
    }


def _rate(paths: list[Path], threads: int) -> list[dict[str, Any]]:
    """Bytes and PSNR of pictures in units and in one piece, summed at each quality; small ones are enlarged first."""
    from rarefy.codecs.encoding import Encoder
    from rarefy.codecs.media import Image, as_image
    from rarefy.codecs.parallel import threads_of_torch
    from rarefy.codecs.weights import load_codec

    codec = load_codec("image")
    rows = []
    with threads_of_torch(threads):
        images = [
            image if Encoder(codec, [image]).tile else Image(enlarged(image.pixels, *RATE_SIZE))
            for image in map(as_image, paths)
        ]
        for quality in RATE_QUALITIES:
            row: dict[str, Any] = {"quality": quality, "pictures": len(images)}
            for name, tile in (("units", None), ("whole", 0)):
                files = [Encoder(codec, [image], tile=tile).files(quality * 256)[0] for image in images]
                row[f"{name}_bytes"] = sum(map(len, files))
                row[f"{name}_psnr"] = mean(
                    psnr(codec.decode(data).pixels, image.pixels) for data, image in zip(files, images, strict=True)
                )
            rows.append(row)
    return rows


def _peak_memory() -> int:
    """Largest resident size of this process, in bytes; raises Refusal on Windows, which does not count it."""
    if sys.platform == "win32":
        raise Refusal("bench large needs a system that counts memory, such as Linux or macOS")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def table(result: dict[str, Any]) -> str:
    """Return the results as lines of text."""
    lines = [
        f"{row['width']}x{row['height']}  encode {row['encode_s']:6.2f} s  decode {row['decode_s']:6.2f} s  "
        f"peak {row['peak_memory_bytes'] / 1e9:.2f} GB  {row['size_bytes']} bytes\n"
        for row in result["whole"]
    ]
    r = result["regions"]
    lines.append(
        f"{r['side']}x{r['side']} of {r['width']}x{r['height']}: {r['mean_share']:.1%} of the whole's "
        f"{r['whole_decode_s']:.2f} s, worst of {r['count']} {r['worst_share']:.1%}\n"
    )
    for row in result["units"]:
        excess = row["units_bytes"] / row["whole_bytes"] - 1
        lines.append(
            f"units at quality {row['quality']}, {row['pictures']} pictures: {excess:+.2%} of rate, "
            f"{row['units_psnr'] - row['whole_psnr']:+.3f} dB\n"
        )
    return "".join(lines)
