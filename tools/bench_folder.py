"""A folder of small pictures: one `rarefy encode -r` against one `rarefy encode` for each picture."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from rarefy.tools import environment
from rarefy.tools.bench_speed import photograph

SIZE = (128, 96)  # width and height of a picture


def measure(count: int, calls: int, threads: int, command: Sequence[str]) -> dict[str, Any]:
    """Time both over `count` different crops of a photograph, files in and files out.

    Of the single calls, `calls` are timed and their median stands for each; they differ in nothing but the crop.
    """
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "pictures"), Path(name, "files")
        source.mkdir()
        paths = _write_crops(source, count)
        encode = [*environment.python_command(), "encode", "-q", "--threads", str(threads)]
        whole = _seconds([*encode, "-r", str(source), "-o", str(target)])
        singles = [_seconds([*encode, str(path), "-o", str(Path(name, f"{path.stem}.rfy"))]) for path in paths[:calls]]
        written = len(list(target.rglob("*.rfy")))
        same = all(
            (target / f"{p.stem}.rfy").read_bytes() == Path(name, f"{p.stem}.rfy").read_bytes() for p in paths[:calls]
        )
    return {
        **environment.describe(command, threads),
        "pictures": f"{count} crops of scikit-image's coffee, {SIZE[0]}x{SIZE[1]}",
        "written": written,
        "is_equal": same and written == count,
        "folder_s": whole,
        "calls": calls,
        "call_s": median(singles),
        "speedup": count * median(singles) / whole,
    }


def _write_crops(folder: Path, count: int) -> list[Path]:
    pixels = photograph((600, 400))
    source = np.random.default_rng(0)
    paths = [folder / f"{number:04}.png" for number in range(count)]
    for path in paths:
        y, x = source.integers(pixels.shape[0] - SIZE[1]), source.integers(pixels.shape[1] - SIZE[0])
        Image.fromarray(pixels[y : y + SIZE[1], x : x + SIZE[0]]).save(path)
    return paths


def _seconds(command: Sequence[str]) -> float:
    begin = perf_counter()
    subprocess.run(command, check=True)
    return perf_counter() - begin


def table(result: dict[str, Any]) -> str:
    """Return the times as lines of text."""
    return (
        f"{result['pictures']}, {result['machine']['threads']} threads\n"
        f"  encode -r     {result['folder_s']:8.2f} s  the folder\n"
        f"  encode        {result['call_s']:8.2f} s  a picture, median of {result['calls']} calls\n"
        f"  {result['speedup']:.1f} times as fast; files {'equal' if result['is_equal'] else 'DIFFER'}\n"
    )
