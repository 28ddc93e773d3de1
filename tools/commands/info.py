"""`rarefy info`: what files say about themselves, without torch and without weights."""

from argparse import Namespace

from rarefy.codecs.container import Info, read_info
from rarefy.codecs.header import SPANS_A_SECOND
from rarefy.tools.commands.inputs import find
from rarefy.tools.commands.output import failure_of, print_json, print_text
from rarefy.tools.files import Job, each, read_bytes
from rarefy.tools.terminal import STANDARD_STREAM, Terminal, printable, readable_size

PREVIEW = "preview: a later release may ask for this one"


def run(options: Namespace, terminal: Terminal) -> int:
    """Describe every file and return the worst exit code."""
    jobs = [Job(item.source, "") for item in find(options.inputs, frozenset({".rfy"}), is_recursive=True)]
    return each(jobs, lambda job: _info(job, options), failure_of(terminal, options.json))


def _info(job: Job, options: Namespace) -> None:
    info = read_info(read_bytes(job.source) if job.source == STANDARD_STREAM else job.source)
    if options.json:
        print_json({"source": job.source, **info.to_dict()})
    else:
        print_text(describe(job.source, info))


def describe(name: str, info: Info) -> str:
    """Return the facts of a file as lines of text."""
    header = info.header
    facts = {
        "codec": info.codec,
        "weights": f"{info.weights}... ({PREVIEW})",
        "format": f"version {info.format_version}",
        header.medium: _medium(info),
        "quality": f"{info.quality:g}",
        "size": f"{readable_size(info.size_bytes)} ({_rate(info)})",
        "units": f"{header.unit_count}{_extent(info)}",
        **{f"section {section}": readable_size(size) for section, size in info.sections.items()},
        **{f"metadata {section}": readable_size(size) for section, size in info.metadata.items()},
        "framing": readable_size(info.size_bytes - sum(info.sections.values()) - sum(info.metadata.values())),
    }
    width = max(map(len, facts))
    return f"{printable(name)}\n" + "".join(f"  {key:{width}}  {fact}\n" for key, fact in facts.items())


def _medium(info: Info) -> str:
    header = info.header
    if info.medium == "sound":
        channels = {1: "mono", 2: "stereo"}.get(info.channels, f"{info.channels} channels")
        return f"{_clock(info.seconds)}, {header.sample_rate} Hz, {channels}, {header.sample_format}"
    colours = {1: "gray", 3: "RGB"}.get(info.channels, f"{info.channels} channels")
    return f"{header.width}x{header.height}, {colours}, {header.bit_depth} bit"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}" if minutes else f"{rest:.2f} s"


def _rate(info: Info) -> str:
    return f"{info.kilobits_per_second:.1f} kbit/s" if info.medium == "sound" else f"{info.bits_per_pixel:.3f} bpp"


def _extent(info: Info) -> str:
    """How large a unit is, where there are several."""
    header = info.header
    if info.medium == "sound":
        return f" of at most {header.span / SPANS_A_SECOND:.2f} s" if header.span else ""
    return f" of at most {header.tile}x{header.tile}" if header.tile else ""
