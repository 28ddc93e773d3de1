"""The results of `bench images` for people: a table in text and the curves as a drawing."""

from pathlib import Path
from typing import Any


def table(result: dict[str, Any]) -> str:
    """Return the curves and rate differences as lines of text."""
    lines = [f"{'codec':14}{'setting':>8}{'bpp':>9}{'PSNR dB':>9}{'encode ms':>11}{'decode ms':>11}"]
    for name, points in result["curves"].items():
        lines += [
            f"{name:14}{point['setting']:8g}{point['bits_per_pixel']:9.4f}{point['psnr_db']:9.2f}"
            f"{point['encode_ms']:11.1f}{point['decode_ms']:11.1f}"
            for point in points
        ]
    ours = {name: against for name, against in result["bd_rate"].items() if name not in result["anchors"]}
    for name, differences in ours.items():
        for anchor, difference in differences.items():
            value = "no common interval of PSNR" if difference is None else f"{100 * difference:+.1f} %"
            lines.append(f"BD-rate of {name} against {anchor}: {value}")
    return "\n".join(lines) + "\n"


def plot(result: dict[str, Any], target: Path) -> None:
    """Draw PSNR over bits per pixel, one line per codec, in the format of the file's suffix."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in result["curves"].items():
        style = ".--" if name in result["anchors"] else "o-"
        axes.plot(
            [point["bits_per_pixel"] for point in points], [point["psnr_db"] for point in points], style, label=name
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bits per pixel (whole files)")
    axes.set_ylabel("PSNR of RGB, dB")
    axes.set_title(f"mean of {result['pictures']} pictures")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(target)
