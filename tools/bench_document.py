"""`python -m rarefy.tools.bench_document`: write the tables of docs/BENCHMARKS.md anew from the results that they name.

A table stands between `<!-- table: results/NAME.json -->` and `<!-- end -->`; a test fails while one is not current.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from rarefy.tools.files import write_bytes
from rarefy.tools.harness.results import joined, read_result

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/BENCHMARKS.md"
PLACE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> int:
    """Write the document's tables and return 0."""
    write_bytes(str(DOCUMENT), current(DOCUMENT.read_text(encoding="utf-8")).encode())
    return 0


def current(text: str) -> str:
    """Return a document with tables as its results have them."""
    return PLACE.sub(lambda place: place[1] + _tables_of(ROOT / place[2]) + place[3], text)


def _tables_of(path: Path) -> str:
    """The tables of a result of `rarefy bench sound`, of `rarefy bench long-sound`, or of one of pictures."""
    result = json.loads(path.read_bytes())
    if "part_s" in result["rows"][0]:
        return long_sound_tables(result)
    return sound_tables(result) if "sound" in result["rows"][0] else tables(joined([read_result(path)]))


def long_sound_tables(result: dict[str, Any]) -> str:
    """Return command, machine, times and memory of a result of long sounds, as Markdown."""
    columns = ("minutes", "MB of FLAC", "MB coded", "process", "seconds", "times real time", "peak memory, MB")
    lines = [*_circumstances(result, _count(result["sounds"], "sound")), _line([*columns])]
    lines.append(_line(["---"] * len(columns)))
    for row in result["rows"]:
        sizes = [_number(row[f"{name}_bytes"] / 1e6, 2) for name in ("source", "size")]
        for name, label in (("encode", "encode"), ("decode", "decode"), ("part", "decode 10 s of the middle")):
            spent = [_number(row[f"{name}_{key}"], digits) for key, digits in (("s", 1), ("times_real", 0))]
            memory = _number(row[f"{name}_peak_bytes"] / 1e6, 0)
            lines.append(_line([str(row["minutes"]), *sizes, label, *spent, memory]))
    return "\n".join(lines) + "\n"


def sound_tables(result: dict[str, Any]) -> str:
    """Return command, machine and means of a result of sounds, as Markdown."""
    sounds = len({row["sound"] for row in result["rows"]})
    columns = ("sounds", "files as large as at quality", "codec", "kbit/s", "SI-SDR, dB", "mel distance")
    lines = [*_circumstances(result, _count(sounds, "sound")), _line([*columns]), _line(["---"] * len(columns))]
    for row in result["means"]:
        numbers = [_number(row["kbps"], 1), _number(row["si_sdr_db"], 2), _number(row["mel_distance"], 3)]
        lines.append(_line([row["kind"], f"{row['quality']:g}", row["codec"], *numbers]))
    return "\n".join(lines) + "\n"


def tables(result: dict[str, Any]) -> str:
    """Return command, machine, points of the codecs under test, and rate differences, as Markdown."""
    lines = [
        *_circumstances(result, _count(result["pictures"], "picture")),
        *_points(result),
        "",
        *_differences(result),
    ]
    return "\n".join(lines) + "\n"


def _circumstances(result: dict[str, Any], amount: str) -> list[str]:
    machine, names = result["machine"], ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [
        "```console",
        f"$ {result['command']}",
        "```",
        "",
        f"{amount}; commit {result['commit']}, {machine['cpu']} "
        f"({_count(machine['cores'], 'core')}), {_count(machine['threads'], 'thread')}, {names}.",
        "",
    ]


def _points(result: dict[str, Any]) -> list[str]:
    metrics = result["metrics"]
    head = ["codec", "setting", "bits per pixel", *(facts["label"] for facts in metrics.values())]
    lines = [_line([*head, "encode, ms", "decode, ms"]), _line(["---"] * (len(head) + 2))]
    for name, points in result["curves"].items():
        for point in points:
            values = [_number(point[key], facts["digits"]) for key, facts in metrics.items()]
            times = [_number(point[time], 1) for time in ("encode_ms", "decode_ms")]
            lines.append(_line([name, f"{point['setting']:g}", _number(point["bits_per_pixel"], 3), *values, *times]))
    return lines


def _differences(result: dict[str, Any]) -> list[str]:
    ours = [name for name in result["curves"] if name not in result["anchors"]]
    columns = [(name, key) for name in ours for key in result["metrics"]]
    titles = [f"BD-rate of {name} by {result['metrics'][key]['label']}" for name, key in columns]
    lines = [_line(["against", *titles]), _line(["---"] * (len(columns) + 1))]
    for anchor in result["anchors"]:
        found = [result["bd_rates"][key]["pchip"][name][anchor] for name, key in columns]
        values = ["no common interval" if value is None else f"{100 * value:+.1f} %" for value in found]
        lines.append(_line([f"{anchor} ({result['codecs'][anchor]})", *values]))
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
