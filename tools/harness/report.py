"""A result as a page that opens from disk: `report.html`, with the pictures that it shows in a folder beside it.

Everything else (data, drawings, style, code) is in the page itself; nothing is fetched from a network.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean, median
from typing import Any, Protocol

from rarefy.tools.files import write_bytes
from rarefy.tools.harness.results import Result, axes_of
from rarefy.tools.harness.summary import at_equal, complete_items, without_infinities

HERE = Path(__file__).resolve().parent
KEPT = (
    *("command", "date", "versions", "commit", "machine", "libraries", "codecs", "weights", "anchors", "metrics"),
    *("means", "pictures", "curves", "bd_rates", "first_run", "failures", "unusable_files", "left_out"),
)


class Player(Protocol):
    """Shows some media of a result: for pictures, files that a browser displays."""

    def write(self, folder: Path) -> list[dict[str, Any]]:
        """Write files below a folder; return per item `name` and `versions`: codec, setting and source of each."""


def write(result: Result, folder: Path, plots: Mapping[str, Path], player: Player | None) -> None:
    """Write report.html into a folder. plots: metric -> drawing (SVG), which the page takes in."""
    shown = player.write(folder) if player else []
    drawings = "\n".join(
        f'<figure id="plot-{escape(key)}">{_inline(path.read_text(encoding="utf-8"), key)}</figure>'
        for key, path in plots.items()
    )
    page = (HERE / "report.html").read_text(encoding="utf-8")
    for mark, text in (
        ("{{style}}", (HERE / "report.css").read_text(encoding="utf-8")),
        ("{{code}}", (HERE / "report.js").read_text(encoding="utf-8")),
        ("{{plots}}", drawings),
        ("{{data}}", _embedded(_data(result, shown))),
    ):
        before, found, after = page.partition(mark)
        assert found, f"report.html has no {mark}"
        page = before + text + after
    write_bytes(str(folder / "report.html"), page.encode())


def _inline(drawing: str, key: str) -> str:
    """Return an SVG as an element of a page, its identifiers made different from those of other drawings."""
    element = drawing[drawing.index("<svg") :]
    for opening in ('id="', 'href="#', "url(#"):
        element = element.replace(opening, f"{opening}{key}-")
    return element


def _embedded(data: Mapping[str, Any]) -> str:
    """Return JSON that no name in it can break out of a script element with."""
    return json.dumps(without_infinities(dict(data)), allow_nan=False).replace("<", "\\u003c")


def _data(result: Result, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = {item["name"] for item in shown}
    metric = next(iter(result["metrics"]))
    ours = [codec for codec in result["curves"] if codec not in result["anchors"]]
    return {
        **{name: result[name] for name in KEPT if name in result},
        "parts": parts(result),
        "equal": {codec: at_equal(result["curves"], codec, metric, axes_of(result)) for codec in ours},
        "rows": [row for row in result["rows"] if row["picture"] in names],
        "shown": list(shown),
    }


def parts(result: Result) -> dict[str, list[dict[str, Any]]]:
    """Return codec -> per setting: mean bytes of a file by part, and median milliseconds by part of a call."""
    complete = complete_items(result["rows"])
    table: dict[str, list[dict[str, Any]]] = {}
    for codec, points in result["curves"].items():
        for point in points:
            rows = [
                row
                for row in result["rows"]
                if (row["codec"], row["setting"]) == (codec, point["setting"]) and row["picture"] in complete
            ]
            entry: dict[str, Any] = {"setting": point["setting"]}
            for name, average in (("size_parts", fmean), ("encode_parts_ms", median), ("decode_parts_ms", median)):
                found = [row.get(name, {}) for row in rows]
                keys = list(dict.fromkeys(key for values in found for key in values))
                entry[name] = {key: average([values.get(key, 0) for values in found]) for key in keys}
            for name in ("encode_peak_bytes", "decode_peak_bytes"):
                known = [row[name] for row in rows if row.get(name) is not None]
                entry[name] = max(known) if known else None
            table.setdefault(codec, []).append(entry)
    return table
