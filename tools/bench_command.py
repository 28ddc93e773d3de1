"""The verbs of `rarefy bench` that make, join and compare results of pictures."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rarefy.errors import MediaError
from rarefy.tools.bench_output import to_json, write_result
from rarefy.tools.files import write_bytes
from rarefy.tools.harness.published import Published, read_published
from rarefy.tools.harness.results import Result, file_name, joined, of_codec, read_result
from rarefy.tools.terminal import DONE, Terminal

if TYPE_CHECKING:
    from rarefy.tools.harness.report import Player


def images(options: Namespace, command: list[str], terminal: Terminal) -> int:
    """Measure a folder of pictures; files that are none, and codecs that fail on one, are named and skipped.

    Returns the worst exit code of what was skipped.
    """
    from rarefy.tools import bench_images, bench_report

    published = _published(options)
    codes = [DONE]

    def fail(name: str, error: Exception) -> None:
        codes.append(terminal.failure(error, name))

    items, unusable = bench_images.read_items(options.folder, fail)
    if not items:
        raise MediaError(f"{options.folder}: holds no pictures")
    anchors, absent = bench_images.available_anchors([one for group in options.anchors for one in group])
    metrics, unmeasured = bench_images.available_metrics(options.metrics)
    for name, reason in (absent | unmeasured).items():
        terminal.warning(f"{name} is left out: {reason}")
    candidates = [bench_images.rarefy_candidate(codec, options.threads, options.device) for codec in options.codecs]
    candidates += [bench_images.anchor_candidate(anchor, options.threads, options.device) for anchor in anchors]
    for candidate in candidates:
        terminal.say(f"{candidate.name}: {candidate.describe}; settings {_listed(candidate.settings)}")
    cache = options.cache or (options.report and options.report / "cache")
    bench = bench_images.open_bench(items, metrics, cache, options.threads, fail, terminal.progress)
    result = bench_images.measure(candidates, metrics, bench, options.threads, command)
    result |= {"unusable_files": unusable, "left_out": absent | unmeasured}
    write_result(result, bench_report.table(result), options.json)
    player = bench_images.Pictures(items[: options.show], candidates, bench)
    _show(result, options, published, player)
    return max(codes)


def _listed(settings: tuple[float, ...]) -> str:
    return ", ".join(f"{setting:g}" for setting in settings)


def join(options: Namespace) -> int:
    """Join results of several codecs, and show them as one."""
    from rarefy.tools import bench_report

    published = _published(options)
    result = joined([read_result(path) for path in options.results])
    write_result(result, bench_report.table(result), options.json)
    _show(result, options, published, None)
    return DONE


def compare(options: Namespace) -> int:
    """Tell what changed from one result to another."""
    from rarefy.tools.harness import compare

    first, second = (joined([read_result(path)]) for path in (options.first, options.second))
    changes = compare.compare(first, second)
    table = compare.table(changes, first, second)
    write_result(
        {"before": str(options.first), "after": str(options.second), "changes": compare.to_json(changes)},
        table,
        options.json,
    )
    return DONE


def _published(options: Namespace) -> list[Published]:
    return read_published(*options.published) if options.published else []


def _show(result: Result, options: Namespace, published: list[Published], player: "Player | None") -> None:
    """Draw the plot and write the report, where they are asked for."""
    from rarefy.tools import bench_report

    if options.plot:
        bench_report.plot(result, options.plot, published=published)
    if options.report:
        from rarefy.tools.harness import report

        _write_results(result, options.report)
        plots = {key: options.report / f"{key}.svg" for key in result["metrics"]}
        for key, path in plots.items():
            bench_report.plot(result, path, key, published)
        report.write(result, options.report, plots, player)


def _write_results(result: Result, folder: Path) -> None:
    """Write the whole result, and one file per codec that can be committed and joined."""
    write_bytes(str(folder / "results.json"), to_json(result))
    for codec in result["curves"]:
        write_bytes(str(folder / "codecs" / f"{file_name(codec)}.json"), to_json(of_codec(result, codec)))
