"""`rarefy decode`: .rfy files to pictures, in the format that the output's name asks for."""

from argparse import Namespace
from io import BytesIO
from pathlib import Path
from time import perf_counter

from rarefy.tools.commands.output import failure_of, print_json
from rarefy.tools.files import Job, check_target, each, find, plan, read_bytes, write_bytes
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, Terminal, name_of, readable_size

FILES = frozenset({".rfy"})


def run(options: Namespace, terminal: Terminal) -> int:
    """Decode every input and return the worst exit code."""
    jobs = plan(find(options.inputs, FILES, options.recursive), options.output, ".png")
    if options.json and any(job.target == STANDARD_STREAM for job in jobs):
        raise Refusal("--json and the picture both want standard output", "name a file with -o", USAGE)
    return each(jobs, lambda job: _decode(job, options, terminal), failure_of(terminal, options.json))


def picture_format(target: str) -> str:
    """Return Pillow's name of the format that a file name's suffix stands for; PNG where it stands for none."""
    from PIL import Image

    name = Image.registered_extensions().get(Path(target).suffix.lower(), "PNG")
    return name if name in Image.SAVE else "PNG"


def _decode(job: Job, options: Namespace, terminal: Terminal) -> None:
    from rarefy.codecs import api  # torch: not before the names are known to be good

    check_target(job, options.overwrite)
    begin = perf_counter()
    data = read_bytes(job.source)
    image = api.decode(data, threads=options.threads, device=options.device)
    milliseconds = 1000 * (perf_counter() - begin)
    picture = BytesIO()
    image.save(picture, format=picture_format(job.target))
    write_bytes(job.target, picture.getvalue())
    sizes = f"{readable_size(len(data))} -> {readable_size(picture.tell())}"
    terminal.say(f"{job.source}  {sizes} ({image.width}x{image.height}) {milliseconds:.0f} ms")
    terminal.detail(f"  written to {name_of(job.target)}")
    if options.json:
        print_json(
            {
                "source": job.source,
                "target": job.target,
                "width": image.width,
                "height": image.height,
                "source_bytes": len(data),
                "size_bytes": picture.tell(),
                "milliseconds": milliseconds,
            }
        )
