"""Rows to results: curves of means, Bjontegaard rate differences, and codecs at equal quality and at equal size.

A curve has one point per setting: means over items of rate and of every metric (of the metric, not of the error behind
it), medians of times. Items that some codec could not do are left out of every curve, so that all have the same ones.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from rarefy.tools.harness.measure import Row
from rarefy.tools.metrics import INTERPOLATIONS, bd_rate, fidelity_at, rate_at

RATE = "bits_per_pixel"
Point = dict[str, float | None]
Axes = Mapping[str, Callable[[float], float]]  # metric key -> to the scale on which rates are compared
Differences = dict[str, dict[str, float | None]]  # codec -> anchor -> rate difference as a fraction


def complete_items(rows: Sequence[Row]) -> set[str]:
    """Return the names of the items that every codec was measured on, at every setting that it was measured at."""
    wanted = {(row["codec"], row["setting"]) for row in rows}
    done: dict[str, set[tuple[str, float]]] = {}
    for row in rows:
        done.setdefault(row["picture"], set()).add((row["codec"], row["setting"]))
    return {name for name, pairs in done.items() if pairs == wanted}


def curves(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, list[Point]]:
    """Return codec -> points by rising setting in the order of the rows, over the complete items."""
    complete = complete_items(rows)
    groups: dict[str, dict[float, list[Row]]] = {}
    for row in rows:
        if row["picture"] in complete:
            groups.setdefault(row["codec"], {}).setdefault(row["setting"], []).append(row)
    counted = {metric: _counted(rows, metric) for metric in metrics}
    return {
        codec: [_point(setting, chosen, counted) for setting, chosen in settings.items()]
        for codec, settings in groups.items()
    }


def _counted(rows: Sequence[Row], metric: str) -> set[str]:
    """Return the items that a metric can be measured on: by some codec it was."""
    return {row["picture"] for row in rows if row.get(metric) is not None}


def _point(setting: float, rows: Sequence[Row], counted: Mapping[str, set[str]]) -> Point:
    means = {
        metric: _mean([row.get(metric) for row in rows if row["picture"] in counted[metric]]) for metric in counted
    }
    return {
        "setting": setting,
        RATE: fmean(row[RATE] for row in rows),
        **means,
        "encode_ms": median(row["encode_ms"] for row in rows),
        "decode_ms": median(row["decode_ms"] for row in rows),
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean, None of nothing and where one of the values has none (a lossless picture read from JSON)."""
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


def points_of(curve: Sequence[Mapping[str, Any]], metric: str, axes: Axes) -> tuple[list[float], list[float]]:
    """Return rates and fidelities of a curve on the metric's scale, without the points that have no finite fidelity."""
    scale = axes[metric]
    pairs = [(point[RATE], point.get(metric)) for point in curve]
    finite = [(rate, scale(value)) for rate, value in pairs if value is not None and math.isfinite(value)]
    return [rate for rate, _ in finite], [value for _, value in finite]


def bd_rates(
    all_curves: Mapping[str, Sequence[Mapping[str, Any]]], anchors: Sequence[str], axes: Axes
) -> dict[str, dict[str, Differences]]:
    """Return metric -> interpolation -> codec -> anchor -> rate difference, for every pair of different names."""

    def difference(metric: str, interpolation: str, codec: str, anchor: str) -> float | None:
        ours, theirs = (points_of(all_curves[name], metric, axes) for name in (codec, anchor))
        return bd_rate(*ours, *theirs, interpolation)

    return {
        metric: {
            interpolation: {
                codec: {
                    anchor: difference(metric, interpolation, codec, anchor) for anchor in anchors if anchor != codec
                }
                for codec in all_curves
            }
            for interpolation in INTERPOLATIONS
        }
        for metric in axes
    }


def at_equal(
    all_curves: Mapping[str, Sequence[Mapping[str, Any]]], codec: str, metric: str, axes: Axes
) -> list[dict[str, Any]]:
    """Return, for every point of a codec, what each other codec needs for its quality and reaches at its size.

    `rates`: bits for the same fidelity over the codec's, less one; `fidelities`: difference on the metric's scale at
    the same rate. None outside of the other's curve.
    """
    own = points_of(all_curves[codec], metric, axes)
    others = {name: points_of(curve, metric, axes) for name, curve in all_curves.items() if name != codec}
    rows = []
    for rate, fidelity in zip(*own, strict=True):
        needed = {name: rate_at(fidelity, *curve) for name, curve in others.items()}
        reached = {name: fidelity_at(rate, *curve) for name, curve in others.items()}
        rows.append(
            {
                RATE: rate,
                "fidelity": fidelity,
                "rates": {name: None if value is None else value / rate - 1 for name, value in needed.items()},
                "fidelities": {name: None if value is None else value - fidelity for name, value in reached.items()},
            }
        )
    return rows


def without_infinities(value: Any) -> Any:
    """Return a result as JSON can hold it: numbers that are not finite become null."""
    if isinstance(value, dict):
        return {name: without_infinities(part) for name, part in value.items()}
    if isinstance(value, list):
        return [without_infinities(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
