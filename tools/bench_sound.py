"""`rarefy bench sound`: a codec on a folder of sounds, beside Opus and MP3 in files of the same size.

Sizes are lengths of files. Every sound is encoded at each quality; for each of these files an anchor makes one that is
as near in size as its bit rates allow (what it came to is in the rows), and both are held to the original.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from rarefy.codecs import api
from rarefy.codecs.audio import Audio, read_audio
from rarefy.codecs.audio_source import Samples
from rarefy.codecs.suffixes import SOUNDS
from rarefy.errors import MediaError
from rarefy.tools import environment
from rarefy.tools.anchors_sound import SOUND_ANCHORS
from rarefy.tools.sound_metrics import mel_distance, si_sdr

Row = dict[str, Any]


def measure(
    folder: Path,
    codec: str,
    qualities: Sequence[float],
    anchors: Sequence[str],
    threads: int,
    command: Sequence[str],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Measure; sounds of more than two channels are left out. Raises MediaError for a folder without sounds."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS)
    weights = api.load(codec).weights_hash.hex()
    rows: list[Row] = []
    for number, path in enumerate(paths):
        audio = read_audio(path, warns=False)
        if audio.channels <= 2:
            rows += _of_sound(str(path.relative_to(folder)), audio, codec, qualities, anchors, threads)
        progress(number + 1, len(paths))
    if not rows:
        raise MediaError(f"{folder}: holds no sounds of one or two channels")
    facts = {**environment.describe(command, threads), "codec": codec, "weights": weights}
    return {**facts, "anchors": list(anchors), "means": means(rows), "rows": rows}


def _of_sound(
    name: str, audio: Audio, codec: str, qualities: Sequence[float], anchors: Sequence[str], threads: int
) -> list[Row]:
    rows = []
    for quality in qualities:
        begin = perf_counter()
        data = api.encode(audio, codec=codec, quality=quality, threads=threads)
        between = perf_counter()
        decoded = api.decode(data, threads=threads).samples
        seconds = {"encode_s": between - begin, "decode_s": perf_counter() - between}
        rows.append({**_row(name, audio, codec, quality, data, decoded), **seconds})
        for anchor in anchors:
            file = SOUND_ANCHORS[anchor].file_of(audio, len(data))
            rows.append(_row(name, audio, anchor, quality, file, SOUND_ANCHORS[anchor].decode(file, audio)))
    return rows


def _row(name: str, audio: Audio, codec: str, quality: float, data: bytes, decoded: Samples) -> Row:
    """What is told of one file; quality: of the codec whose file this one is as large as."""
    return {
        "sound": name,
        "kind": "stereo" if audio.channels == 2 else "mono",
        "codec": codec,
        "quality": quality,
        "seconds": audio.seconds,
        "size_bytes": len(data),
        "kbps": 8 * len(data) / 1000 / audio.seconds,
        "si_sdr_db": si_sdr(audio.samples, decoded),
        "mel_distance": mel_distance(audio.samples, decoded, audio.sample_rate),
    }


def means(rows: Sequence[Row]) -> list[Row]:
    """Means over the sounds of each kind at each quality; SI-SDR that is not finite counts as 0 or 100 dB."""
    groups: dict[tuple[str, float, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["kind"], row["quality"], row["codec"]].append(row)
    found = []
    for (kind, quality, codec), some in sorted(groups.items(), key=lambda group: group[0][:2]):
        ratios = [max(0.0, min(100.0, r)) if np.isinf(r) else r for r in (row["si_sdr_db"] for row in some)]
        found.append(
            {
                "kind": kind,
                "quality": quality,
                "codec": codec,
                "sounds": len(some),
                "kbps": float(np.mean([row["kbps"] for row in some])),
                "si_sdr_db": float(np.mean(ratios)),
                "mel_distance": float(np.mean([row["mel_distance"] for row in some])),
            }
        )
    return found


def table(result: dict[str, Any]) -> str:
    """The means as text."""
    lines = ["kind    quality  codec         sounds    kbit/s  SI-SDR, dB  mel distance"]
    lines += [
        f"{row['kind']:6}  {row['quality']:7g}  {row['codec']:12}  {row['sounds']:6d}  {row['kbps']:8.1f}  "
        f"{row['si_sdr_db']:10.2f}  {row['mel_distance']:12.3f}"
        for row in result["means"]
    ]
    return "\n".join(lines) + "\n"
