"""`rarefy bench long-sound`: an hour of sound from a file to a file and back, and ten seconds out of its middle.

The hour is made of shorter sounds, one after the other and over again. Each command runs in a process of its own, as
people run it, start and weights included; the system says afterwards what memory it took at most.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from rarefy.codecs.audio import open_audio
from rarefy.codecs.audio_resampling import resample_blocks
from rarefy.codecs.audio_source import Samples
from rarefy.codecs.audio_writing import AudioWriter
from rarefy.codecs.suffixes import SOUNDS
from rarefy.errors import MediaError
from rarefy.tools import environment

RATE = 44_100
PART_SECONDS = 10  # of the part that is decoded alone

Row = dict[str, Any]


class Spent(NamedTuple):
    """What a command took: wall seconds, and the most memory that was resident, in bytes."""

    seconds: float
    peak_bytes: int


def measure(folder: Path, minutes: Sequence[int], quality: float, threads: int, command: Sequence[str]) -> Row:
    """Measure stereo at 44.1 kHz of each length, made of the sounds of a folder.

    Raises MediaError for a folder without sounds.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    if not paths:
        raise MediaError(f"{folder}: holds no sounds")
    rows = [_row(paths, length, quality, threads) for length in minutes]
    facts = {**environment.describe(command, threads), "sounds": len(paths), "quality": quality}
    return {**facts, "is_equal": all(row["is_equal"] for row in rows), "rows": rows}


def _row(paths: Sequence[Path], minutes: int, quality: float, threads: int) -> Row:
    """Encode, decode, and decode a part, of so many minutes."""
    seconds, start = 60 * minutes, 30 * minutes
    with tempfile.TemporaryDirectory() as name:
        source, coded, whole, part = (Path(name, file) for file in ("a.flac", "a.rfy", "whole.wav", "part.wav"))
        write_sound(source, paths, seconds)
        rarefy, end = [*environment.python_command()], ["-q", "--threads", str(threads)]
        encode = spent([*rarefy, "encode", str(source), "-o", str(coded), "--quality", f"{quality:g}", *end])
        decode = spent([*rarefy, "decode", str(coded), "-o", str(whole), *end])
        window = ["--start", str(start), "--duration", str(PART_SECONDS)]
        alone = spent([*rarefy, "decode", str(coded), "-o", str(part), *window, *end])
        return {
            "minutes": minutes,
            "source_bytes": source.stat().st_size,
            "size_bytes": coded.stat().st_size,
            "kbps": 8 * coded.stat().st_size / 1000 / seconds,
            **_facts("encode", encode, seconds),
            **_facts("decode", decode, seconds),
            **_facts("part", alone, PART_SECONDS),
            "is_equal": _is_part(part, whole, start),
        }


def _facts(name: str, what: Spent, seconds: float) -> Row:
    return {
        f"{name}_s": what.seconds,
        f"{name}_times_real": seconds / what.seconds,
        f"{name}_peak_bytes": what.peak_bytes,
    }


def _is_part(part: Path, whole: Path, start: int) -> bool:
    """Whether a file has the samples that another one has from a second on."""
    with open_audio(part) as first, open_audio(whole) as second:
        return np.array_equal(first.read(), second.read(start * RATE, PART_SECONDS * RATE))


def write_sound(target: Path, paths: Sequence[Path], seconds: int) -> None:
    """Write stereo of so many seconds, in 16 bits: the sounds one after the other, over again until it is full.

    Mono goes to both channels; of surround the first two stay. Raises MediaError where all are empty.
    """
    left = seconds * RATE
    with AudioWriter(target, RATE, 2, subtype="PCM_16", length=left, clips=True) as writer:
        for path in cycle(paths):
            before = left
            for block in _stereo(path):
                writer.write(block[:, :left])
                left -= min(left, block.shape[1])
            if not left:
                return
            if left == before and path == paths[-1]:
                raise MediaError(f"{path.parent}: its last sound is empty, leave it out")


def _stereo(path: Path) -> Iterator[Samples]:
    with open_audio(path) as reader:
        for block in resample_blocks(reader.blocks(), reader.sample_rate, RATE):
            yield block[:2] if len(block) > 1 else np.repeat(block, 2, axis=0)


def spent(command: Sequence[str]) -> Spent:
    """Run a command; raises CalledProcessError where it fails. Needs a system with wait4 (Linux, macOS).

    The peak is never below what this process has itself, which the child is for a moment.
    """
    begin = perf_counter()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return Spent(seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))


def table(result: Row) -> str:
    """Return the results as lines of text."""
    lines = [
        f"{row['minutes']:4d} min  {row['size_bytes']} bytes ({row['kbps']:.1f} kbit/s)\n"
        + "".join(
            f"  {name:6}  {row[f'{name}_s']:8.2f} s  {row[f'{name}_times_real']:6.1f} times real time  "
            f"peak {row[f'{name}_peak_bytes'] / 1e6:6.0f} MB\n"
            for name in ("encode", "decode", "part")
        )
        for row in result["rows"]
    ]
    words = "is equal to that part of the whole" if result["is_equal"] else "DIFFERS from the whole"
    return "".join(lines) + f"the part, {PART_SECONDS} s from the middle on, {words}\n"
