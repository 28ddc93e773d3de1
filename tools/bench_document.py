"""`python -m rarefy.tools.bench_document`: write the tables of docs/BENCHMARKS.md anew from the results that they name.

A table stands between `<!-- table: results/NAME.json -->` and `<!-- end -->`; a test fails while one is not current.
"""

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
    return PLACE.sub(lambda place: place[1] + tables(joined([read_result(ROOT / place[2])])) + place[3], text)


def tables(result: dict[str, Any]) -> str:
    """Return command, machine, points of the codecs under test, and rate differences, as Markdown."""
    machine, names = result["machine"], ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        "```console",
        f"$ {result['command']}",
        "```",
        "",
        f"{_count(result['pictures'], 'picture')}; commit {result['commit']}, {machine['cpu']} "
        f"({_count(machine['cores'], 'core')}), {_count(machine['threads'], 'thread')}, {names}.",
        "",
        *_points(result),
        "",
        *_differences(result),
    ]
    return "\n".join(lines) + "\n"


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
