"""`rarefy bench`: rate, fidelity and speed on real files in memory, beside the codecs that everybody has, in one run.

`bench images` measures codecs and anchors on a folder of pictures, `bench join` makes one result of several and draws
reports, `bench compare` tells what changed between two; `bench speed` times one picture, `bench large` large ones and
parts of them, `bench folder` many small ones; `bench exactness` decodes every encoder's files in every decoder;
`bench sound` measures a codec of sounds beside Opus and MP3, `bench long-sound` an hour of it;
`bench integer` holds the compiled layers of the scale network to torch, `bench coder` the entropy coder to others;
`bench loading` and `bench storing` are about latents to learn from.
Times are wall times of warm calls (the first call of each codec is told apart), sizes are lengths of files.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from rarefy.tools.arguments import Parser, positive, quality, size
from rarefy.tools.bench_output import write_result
from rarefy.tools.terminal import DONE, FAILED, Refusal, Terminal

DEFAULT_CODEC = "image@5,15,30,45,60,75,90"
ANCHOR_NAMES = ("jpeg", "webp", "avif", "avif-fast", "jxl", "hevc", "av1")
DEFAULT_ANCHORS = "jpeg,webp,avif"
SOUND_ANCHOR_NAMES = ("opus", "mp3")
PEERS = "compressai:"
METRIC_NAMES = ("psnr", "ms-ssim", "haarpsi", "dss", "ssimulacra2", "lpips")
SHOWN = 6  # pictures that a report shows: each costs some megabytes for its lossless copies


def main(argv: Sequence[str]) -> int:
    """Run `rarefy bench ARGV...` and return its exit code."""
    from rarefy.tools import bench_command

    options = build_parser().parse_args(argv)
    command = ["rarefy", "bench", *argv]
    terminal = Terminal()
    _require(options)
    if options.subject == "images":
        return bench_command.images(options, command, terminal)
    if options.subject == "join":
        return bench_command.join(options)
    if options.subject == "compare":
        return bench_command.compare(options)
    if options.subject == "large":
        return _large(options, command)
    if options.subject == "folder":
        return _folder(options, command)
    if options.subject == "loading":
        return _loading(options, command)
    if options.subject == "sound":
        return _sound(options, command, terminal)
    if options.subject == "long-sound":
        return _long_sound(options, command)
    if options.subject == "storing":
        return _storing(options, command)
    if options.subject == "exactness":
        return _exactness(options, command)
    if options.subject == "integer":
        return _integer(options, command)
    if options.subject == "coder":
        return _coder(options, command)
    return _speed(options, command, terminal)


def _require(options: Namespace) -> None:
    """Refuse, before anything is measured, what lacks a package at its end; raises Refusal."""
    needed = {"skimage": options.subject in ("speed", "folder", "integer", "exactness")}
    needed["scipy"] = options.subject in ("images", "join", "compare")
    needed["matplotlib"] = bool(getattr(options, "plot", None) or getattr(options, "report", None))
    missing = [package for package, is_needed in needed.items() if is_needed and find_spec(package) is None]
    if missing:
        raise Refusal(f"bench {options.subject} needs {' and '.join(missing)}", "pip install 'rarefy[bench]'")


def build_parser() -> ArgumentParser:
    """Return the parser of `rarefy bench`."""
    parser = Parser(prog="rarefy bench", description="Measure on real files, beside other codecs, in one run.")
    subjects = parser.add_subparsers(dest="subject", metavar="SUBJECT", required=True)
    images = subjects.add_parser("images", help="rate, fidelity and time over a folder of pictures")
    images.add_argument("folder", type=Path, metavar="DIR", help="folder of pictures")
    images.add_argument(
        "--codecs",
        type=_settings,
        nargs="+",
        default=[_settings(DEFAULT_CODEC)],
        metavar="NAME@Q,Q...",
        help="codecs and their qualities",
    )
    images.add_argument(
        "--anchors",
        type=_anchors,
        nargs="+",
        default=[_anchors(DEFAULT_ANCHORS)],
        metavar="NAME,NAME...",
        help=f"of {', '.join(ANCHOR_NAMES)}, {PEERS}MODEL, or none; NAME@N,N... for other settings than its own; "
        f"default {DEFAULT_ANCHORS}",
    )
    images.add_argument(
        "--metrics",
        type=_metrics,
        default=_metrics("psnr"),
        metavar="NAME,NAME...",
        help=f"of {', '.join(METRIC_NAMES)}; default psnr",
    )
    images.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep measurements here and take those that are; default REPORT/cache"
    )
    images.add_argument(
        "--show", type=_count, default=SHOWN, metavar="N", help=f"pictures in the report, default {SHOWN}"
    )
    join = subjects.add_parser("join", help="results of several codecs on the same pictures as one")
    join.add_argument("results", type=Path, nargs="+", metavar="FILE", help="results of bench images")
    compare = subjects.add_parser("compare", help="what changed between two results, with confidence over pictures")
    compare.add_argument("first", type=Path, metavar="BEFORE", help="result of bench images")
    compare.add_argument("second", type=Path, metavar="AFTER", help="another one, on the same pictures")
    for subject in (images, join):
        subject.add_argument("--report", type=Path, metavar="DIR", help="folder for report.html, plots and results")
        subject.add_argument("--plot", type=Path, metavar="FILE", help="draw the curves of PSNR (.svg, .png, .pdf)")
        subject.add_argument(
            "--published",
            type=_published,
            metavar="FILE@NAME,NAME...",
            help="draw published curves of a table behind, such as results/published/kodak.csv@vtm-444,mbt2018-mean",
        )
    speed = subjects.add_parser("speed", help="time one picture, from array to bytes and back")
    speed.add_argument(
        "--codec", type=_settings, default=_settings("image@50"), metavar="NAME@Q", help="default image@50"
    )
    integer = subjects.add_parser("integer", help="the integer scale network on torch and on compiled kernels")
    for subject in (speed, integer):
        subject.add_argument(
            "--size", type=size, default=(768, 512), metavar="WxH", help="size of the picture (default 768x512)"
        )
        subject.add_argument(
            "--runs", type=positive, default=9, metavar="N", help="warm runs, of which the median counts"
        )
    coder = subjects.add_parser("coder", help="the entropy coder beside the peers that are installed")
    coder.add_argument("--rounds", type=positive, default=7, metavar="N", help="rounds, of which the median counts")
    coder.add_argument(
        "--pictures", type=Path, metavar="DIR", help="hold files of these to the ideal length of their latents too"
    )
    exactness = subjects.add_parser("exactness", help="every encoder's files in every decoder (takes minutes)")
    large = subjects.add_parser("large", help="large pictures: time, memory, regions, the price of units")
    large.add_argument(
        "pictures", type=Path, nargs="+", metavar="FILE", help="photographs; those above a megapixel count"
    )
    large.add_argument(
        "--sizes", type=size, nargs="+", default=[(4000, 3000), (8000, 6000)], metavar="WxH", help="of whole pictures"
    )
    folder = subjects.add_parser("folder", help="a folder of small pictures at once, against one call for each")
    folder.add_argument("--count", type=positive, default=200, metavar="N", help="pictures (default 200)")
    folder.add_argument("--calls", type=positive, default=10, metavar="N", help="single calls that are timed")
    loading = subjects.add_parser("loading", help="latents for training, against JPEG or Opus files of equal size")
    loading.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="photographs that crops are taken from, or recordings"
    )
    loading.add_argument(
        "--codec",
        type=_settings,
        default=_settings("walloc-image@50"),
        metavar="NAME@Q",
        help="default walloc-image@50",
    )
    loading.add_argument("--count", type=positive, default=2048, metavar="N", help="crops, or pieces (default 2048)")
    loading.add_argument("--workers", type=positive, default=2, metavar="N", help="of the loader (default 2)")
    sound = subjects.add_parser("sound", help="a codec of sounds, beside Opus and MP3 in files of the same size")
    sound.add_argument("folder", type=Path, metavar="DIR", help="folder of sounds of one or two channels")
    sound.add_argument(
        "--codec",
        type=_settings,
        default=_settings("walloc-audio@10,30,50,70,90"),
        metavar="NAME@Q,Q...",
        help="default walloc-audio@10,30,50,70,90",
    )
    sound.add_argument(
        "--anchors",
        type=_sound_anchors,
        default=list(SOUND_ANCHOR_NAMES),
        metavar="NAME,NAME...",
        help=f"of {', '.join(SOUND_ANCHOR_NAMES)}, or none; default all",
    )
    long_sound = subjects.add_parser("long-sound", help="an hour of sound: time, memory, and a part alone")
    long_sound.add_argument("folder", type=Path, metavar="DIR", help="folder of sounds, which are put together")
    long_sound.add_argument(
        "--minutes", type=positive, nargs="+", default=[1, 60], metavar="N", help="lengths (default 1 60)"
    )
    long_sound.add_argument("--quality", type=quality, default=50.0, metavar="Q", help="0 to 100 (default 50)")
    storing = subjects.add_parser("storing", help="files against lossless WebP of the same latents")
    storing.add_argument("pictures", type=Path, nargs="+", metavar="FILE", help="pictures to encode")
    storing.add_argument(
        "--codec",
        type=_settings,
        default=_settings("walloc-image@20,50,80"),
        metavar="NAME@Q,Q",
        help="default walloc-image@20,50,80",
    )
    for subject in (images, speed, integer, large, folder, sound, long_sound):
        subject.add_argument("--threads", type=positive, default=2, metavar="N", help="CPU threads (default 2)")
    for subject in (images, speed):
        subject.add_argument("--device", default="cpu", metavar="NAME", help="cpu (default) or cuda")
    measured = (images, join, compare, speed, integer, coder, large, folder, loading, storing, sound, long_sound)
    for subject in (*measured, exactness):
        subject.add_argument("--json", metavar="FILE", help="write the result as JSON, - for standard output")
    return parser


def _settings(text: str) -> tuple[str, tuple[float, ...]]:
    """Read `image@10,50`: a codec and its qualities."""
    name, at, qualities = text.partition("@")
    if not name or not at:
        raise ArgumentTypeError(f"{text!r} is not a codec and its qualities, such as image@10,50")
    return name, tuple(quality(part) for part in qualities.split(","))


def _anchors(text: str) -> list[tuple[str, tuple[float, ...]]]:
    """Read `jpeg,webp` (at their own settings), `jpeg@30,60`, or `none`."""
    listed, at, settings = text.partition("@")
    names = [] if text == "none" else [name for name in listed.split(",") if name]
    unknown = [name for name in names if name not in ANCHOR_NAMES and not name.startswith(PEERS)]
    if unknown:
        raise ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(ANCHOR_NAMES)}, {PEERS}MODEL")
    if at and len(names) != 1:
        raise ArgumentTypeError(f"{text!r} is not an anchor and its settings, such as jpeg@30,60")
    return [(name, tuple(quality(part) for part in settings.split(",")) if at else ()) for name in names]


def _sound_anchors(text: str) -> list[str]:
    names = [] if text == "none" else [name for name in text.split(",") if name]
    if unknown := [name for name in names if name not in SOUND_ANCHOR_NAMES]:
        raise ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(SOUND_ANCHOR_NAMES)}")
    return names


def _count(text: str) -> int:
    """Read a whole number, zero too."""
    return 0 if text == "0" else positive(text)


def _metrics(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    unknown = [name for name in names if name not in METRIC_NAMES]
    if unknown or not names:
        raise ArgumentTypeError(f"{(unknown or [text])[0]!r} is not one of {', '.join(METRIC_NAMES)}")
    return names


def _published(text: str) -> tuple[Path, list[str]]:
    """Read `table.csv@vtm-444,webp`: a table of published curves and those to draw, all if none are named."""
    path, _, names = text.partition("@")
    return Path(path), [name for name in names.split(",") if name]


def _speed(options: Namespace, command: list[str], terminal: Terminal) -> int:
    from rarefy.tools import bench_speed

    codec, qualities = options.codec
    result = bench_speed.measure(
        codec, qualities[0], options.size, options.threads, options.device, options.runs, command
    )
    write_result(result, bench_speed.table(result), options.json)
    return DONE


def _large(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_large

    result = bench_large.measure(options.pictures, options.sizes, options.threads, command)
    write_result(result, bench_large.table(result), options.json)
    return DONE


def _folder(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_folder

    result = bench_folder.measure(options.count, min(options.calls, options.count), options.threads, command)
    write_result(result, bench_folder.table(result), options.json)
    return DONE if result["is_equal"] else FAILED


def _loading(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_loading

    codec, qualities = options.codec
    result = bench_loading.measure(options.files, codec, qualities[0], options.count, options.workers, command)
    write_result(result, bench_loading.table(result), options.json)
    return DONE


def _sound(options: Namespace, command: list[str], terminal: Terminal) -> int:
    from rarefy.tools import bench_sound

    codec, qualities = options.codec
    result = bench_sound.measure(
        options.folder, codec, qualities, options.anchors, options.threads, command, terminal.progress
    )
    write_result(result, bench_sound.table(result), options.json)
    return DONE


def _long_sound(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_long_sound

    result = bench_long_sound.measure(options.folder, options.minutes, options.quality, options.threads, command)
    write_result(result, bench_long_sound.table(result), options.json)
    return DONE if result["is_equal"] else FAILED


def _storing(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_storing

    codec, qualities = options.codec
    result = bench_storing.measure(options.pictures, codec, qualities, command)
    write_result(result, bench_storing.table(result), options.json)
    return DONE


def _integer(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_integer

    result = bench_integer.measure(options.size, options.threads, options.runs, command)
    write_result(result, bench_integer.table(result), options.json)
    return DONE if result["is_equal"] else FAILED


def _coder(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import bench_coder

    result = bench_coder.measure(options.rounds, options.pictures, command)
    write_result(result, bench_coder.table(result), options.json)
    return DONE


def _exactness(options: Namespace, command: list[str]) -> int:
    from rarefy.tools import exactness

    result = exactness.measure(command)
    write_result(result, exactness.table(result), options.json)
    return FAILED if result["failures"] else DONE
