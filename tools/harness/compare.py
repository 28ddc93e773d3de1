"""`rarefy bench compare`: what changed from one result to another, with confidence over pictures.

Every picture that both results have gives one Bjontegaard rate difference, of the second against the first; pictures
are drawn again and again with replacement (bootstrap: B. Efron, 1979), and the interval that holds 95 % of the means is
the confidence. Means are of logarithms, so that half and double the size cancel out.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, log, log1p
from typing import Any

import numpy as np

from rarefy.errors import OptionError
from rarefy.tools.harness.results import Result, axes_of
from rarefy.tools.harness.summary import bd_rates, points_of
from rarefy.tools.metrics import bd_rate

RESAMPLES, SEED = 10_000, 1
CONFIDENCE = 0.95
FEWEST_PICTURES = 5  # below which an interval over pictures means nothing


@dataclass(frozen=True)
class Change:
    """How a codec's rate at equal fidelity changed, as fractions; -0.02 means 2 % fewer bits.

    mean, low, high: over pictures, with the interval of confidence; low and high are None for too few pictures.
    of_means: of the curves of means. pictures: how many gave a difference. worst: the pictures that lost most.
    """

    codec: str
    metric: str
    mean: float
    low: float | None
    high: float | None
    of_means: float | None
    pictures: int
    worst: dict[str, float]

    @property
    def verdict(self) -> str:
        """Say in a word what the interval shows."""
        if self.low is None or self.high is None:
            return f"too few pictures to tell ({FEWEST_PICTURES} or more)"
        return "better" if self.high < 0 else "worse" if self.low > 0 else "no difference shown"


def compare(first: Result, second: Result) -> list[Change]:
    """Return the changes of all codecs that both results have, by every metric that both have.

    Where they share none and each has one codec that is no anchor, these two are compared.

    Raises:
        OptionError: there is nothing to compare, or a name stands for different pictures.
    """
    changes = []
    for ours, theirs in pairs(first, second):
        for metric in first["metrics"]:
            if metric in second["metrics"]:
                change = _change(first, second, (ours, theirs), metric)
                changes += [change] if change else []
    if not changes:
        raise OptionError("the results share no picture whose curves have a common interval: nothing can be compared")
    return changes


def pairs(first: Result, second: Result) -> list[tuple[str, str]]:
    """Return which codec of the first is compared with which of the second."""
    names = [list(dict.fromkeys(row["codec"] for row in result["rows"])) for result in (first, second)]
    common = [name for name in names[0] if name in names[1]]
    tested = [
        [name for name in of if name not in result["anchors"]]
        for of, result in zip(names, (first, second), strict=True)
    ]
    if not set(tested[0]) & set(tested[1]) and len(tested[0]) == len(tested[1]) == 1:
        return [(tested[0][0], tested[1][0]), *((name, name) for name in common)]
    return [(name, name) for name in common]


def _change(first: Result, second: Result, names: tuple[str, str], metric: str) -> Change | None:
    logs = _log_ratios(first, second, names, metric)
    if not logs:
        return None
    values = np.array(list(logs.values()))
    low, high = _interval(values) if len(values) >= FEWEST_PICTURES else (None, None)
    title = names[0] if names[0] == names[1] else f"{names[0]} -> {names[1]}"
    lost = sorted(logs.items(), key=lambda pair: -pair[1])[:3]
    return Change(
        codec=title,
        metric=metric,
        mean=exp(values.mean()) - 1,
        low=low,
        high=high,
        of_means=_of_means(first, second, names, metric),
        pictures=len(values),
        worst={picture: exp(value) - 1 for picture, value in lost},
    )


def _log_ratios(first: Result, second: Result, names: tuple[str, str], metric: str) -> dict[str, float]:
    """Return picture -> logarithm of the rate of the second over the first at equal fidelity."""
    before, after = (_by_picture(result, name) for result, name in zip((first, second), names, strict=True))
    axes, ratios = axes_of(first), {}
    for picture in before.keys() & after.keys():
        _require_same(before[picture], after[picture], picture)
        curves = [points_of(rows, metric, axes) for rows in (after[picture], before[picture])]
        difference = bd_rate(*curves[0], *curves[1])
        if difference is not None:
            ratios[picture] = log1p(difference)
    return dict(sorted(ratios.items()))


def _by_picture(result: Result, codec: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in result["rows"]:
        if row["codec"] == codec:
            found.setdefault(row["picture"], []).append(row)
    return found


def _require_same(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], picture: str) -> None:
    for name in ("width", "height", "digest"):
        values = {row[name] for row in (before[0], after[0]) if name in row}
        if len(values) > 1:
            raise OptionError(f'"{picture}" is not the same picture in both results: its {name} differs')


def _interval(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return the bounds that hold the mean of resampled pictures in 95 of 100 cases, as fractions."""
    generator = np.random.default_rng(SEED)
    means = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return exp(low) - 1, exp(high) - 1


def _of_means(first: Result, second: Result, names: tuple[str, str], metric: str) -> float | None:
    curves = {"after": second["curves"].get(names[1], []), "before": first["curves"].get(names[0], [])}
    axes = {metric: axes_of(first)[metric]}
    return bd_rates(curves, ["before"], axes)[metric]["pchip"]["after"]["before"]


def to_json(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Return changes as JSON holds them, each with its verdict."""
    return [asdict(change) | {"verdict": change.verdict} for change in changes]


def table(changes: Sequence[Change], first: Result, second: Result) -> str:
    """Return what changed as lines of text."""
    width = max(len(change.codec) for change in changes) + 2
    lines = [f"{'':{width}}{'by':14}{'rate':>9}{'95 % of means':>22}{'of curves':>11}{'pictures':>10}  verdict"]
    for change in changes:
        label = first["metrics"][change.metric]["label"]
        bounds = (
            "-" if change.low is None or change.high is None else f"{_percent(change.low)} .. {_percent(change.high)}"
        )
        of_means = "-" if change.of_means is None else _percent(change.of_means)
        lines.append(
            f"{change.codec:{width}}{label:14}{_percent(change.mean):>9}{bounds:>22}{of_means:>11}{change.pictures:10d}"
            f"  {change.verdict}"
        )
    lines += [f"{change.codec}, {_lost(change)}" for change in changes if _is_told(change, changes, first)]
    return "\n".join([*lines, *_times(first, second)]) + "\n"


def _is_told(change: Change, changes: Sequence[Change], first: Result) -> bool:
    """Tell the pictures of codecs under test, by one metric: anchors are there to show that nothing else changed."""
    return change.metric == changes[0].metric and change.codec not in first["anchors"]


def _lost(change: Change) -> str:
    lost = ", ".join(f"{picture} {_percent(value)}" for picture, value in change.worst.items())
    return f"by {change.metric}, the least gain: {lost}"


def _percent(value: float) -> str:
    return f"{100 * value:+.2f} %"


def _times(first: Result, second: Result) -> list[str]:
    """Return how times changed, where one machine made both results."""
    if first.get("machine") != second.get("machine"):
        return ["times are not compared: the results are of different machines or numbers of threads"]
    lines = []
    for ours, theirs in pairs(first, second):
        if ours not in first["curves"] or theirs not in second["curves"]:  # no picture that every codec did
            continue
        ratios = [
            exp(np.mean([log(row[time]) for row in second["curves"][theirs]]))
            / exp(np.mean([log(row[time]) for row in first["curves"][ours]]))
            for time in ("encode_ms", "decode_ms")
        ]
        lines.append(
            f"{theirs}: encoding takes {ratios[0]:.2f} times as long as before, decoding {ratios[1]:.2f} times"
        )
    return lines
