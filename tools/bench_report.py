"""The results of `bench images` for people: a table in text and the curves as a drawing."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefy.tools.harness.published import Published
from rarefy.tools.harness.results import axes_of
from rarefy.tools.harness.summary import points_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PUBLISHED_STYLES = ("-", "--", ":", "-.")


def table(result: dict[str, Any]) -> str:
    """Return the curves and rate differences as lines of text."""
    metrics = result["metrics"]
    width = max(13, *map(len, result["curves"])) + 1 if result["curves"] else 14
    heads = "".join(f"{_unit_label(key, facts):>{_column(key, facts)}}" for key, facts in metrics.items())
    lines = [f"{'':{width}}{'setting':>8}{'bpp':>9}{heads}{'encode ms':>11}{'decode ms':>11}"]
    for name, points in result["curves"].items():
        lines += [
            f"{name:{width}}{point['setting']:8g}{point['bits_per_pixel']:9.4f}"
            + "".join(_number(point[key], _column(key, facts), facts["digits"]) for key, facts in metrics.items())
            + f"{point['encode_ms']:11.1f}{point['decode_ms']:11.1f}"
            for point in points
        ]
    lines += [f"{name}: {result['codecs'][name]}" for name in result["curves"] if name in result["anchors"]]
    lines += _rate_differences(result)
    return "\n".join(lines) + "\n"


def _rate_differences(result: dict[str, Any]) -> list[str]:
    lines = []
    for key, facts in result["metrics"].items():
        for name, against in result["bd_rates"][key]["pchip"].items():
            for anchor, difference in against.items() if name not in result["anchors"] else ():
                value = (
                    f"no common interval of {facts['label']}" if difference is None else f"{100 * difference:+.1f} %"
                )
                measure = "" if key == "psnr_db" else f" by {facts['label']}"
                lines.append(f"BD-rate of {name} against {anchor}{measure}: {value}")
    return lines


def _unit_label(key: str, facts: dict[str, Any]) -> str:
    return f"{facts['label']} dB" if key.endswith("_db") else str(facts["label"])


def _column(key: str, facts: dict[str, Any]) -> int:
    return max(7, len(_unit_label(key, facts))) + 2


def _number(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.{digits}f}"


def plot(result: dict[str, Any], target: Path, metric: str = "psnr_db", published: Sequence[Published] = ()) -> None:
    """Draw a metric over bits per pixel, one line per codec, in the format of the file's suffix.

    published: curves of others, drawn thin and gray behind, each named with the word "published".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_xscale("log")
    scales = axes_of(result)
    for name, points in result["curves"].items():
        axes.plot(*points_of(points, metric, scales), ".--" if name in result["anchors"] else "o-", label=name)
    limits = axes.get_xlim(), axes.get_ylim()
    behind = [curve for curve in published if curve.metric == metric]
    for curve, style in zip(behind, cycle(PUBLISHED_STYLES), strict=False):
        rates, values = [rate for rate, _ in curve.points], [scales[metric](value) for _, value in curve.points]
        axes.plot(rates, values, style, color="0.6", linewidth=1, zorder=1, label=f"{curve.codec} (published)")
    axes.set_xlim(limits[0])  # what was measured fills the drawing
    axes.set_ylim(limits[1])
    _label(axes, result, metric)
    figure.savefig(target)


def _label(axes: "Axes", result: dict[str, Any], metric: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    facts = result["metrics"][metric]
    is_decibels = metric.endswith("_db") or facts["scale"] == "decibels"
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bits per pixel (whole files)")
    axes.set_ylabel(f"{facts['label']} of RGB, dB" if is_decibels else facts["label"])
    axes.set_title(f"mean of {result['pictures']} pictures")
    axes.grid(alpha=0.3, which="both")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
