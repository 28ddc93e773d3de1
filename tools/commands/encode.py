"""`rarefy encode`: pictures to .rfy files, one line each."""

from argparse import Namespace
from time import perf_counter
from typing import TYPE_CHECKING

from rarefy.codecs.registry import codecs
from rarefy.errors import OptionError, RarefyError
from rarefy.tools.commands.output import failure_of, print_json
from rarefy.tools.files import Job, check_target, each, find, plan, read_bytes, write_bytes
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, Terminal, name_of, readable_size

if TYPE_CHECKING:
    from rarefy.codecs.media import Image

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


def run(options: Namespace, terminal: Terminal) -> int:
    """Encode every input and return the worst exit code."""
    jobs = plan(find(options.inputs, PICTURES, options.recursive), options.output, ".rfy")
    if options.codec not in codecs():
        raise OptionError(f"there is no codec {options.codec!r}; those installed are {', '.join(sorted(codecs()))}")
    if options.json and any(job.target == STANDARD_STREAM for job in jobs):
        raise Refusal("--json and the encoded bytes both want standard output", "name a file with -o", USAGE)
    return each(jobs, lambda job: _encode(job, options, terminal), failure_of(terminal, options.json))


def _encode(job: Job, options: Namespace, terminal: Terminal) -> None:
    from rarefy.codecs import api, media  # torch: not before the names are known to be good

    check_target(job, options.overwrite)
    begin = perf_counter()
    original = read_bytes(job.source)
    image = media.as_image(original)
    data = api.encode(
        image, codec=options.codec, quality=options.quality, threads=options.threads, device=options.device
    )
    milliseconds = 1000 * (perf_counter() - begin)
    if options.verify:
        _compare(image, data, options)
    write_bytes(job.target, data)
    bits_per_pixel = 8 * len(data) / (image.width * image.height)
    sizes = f"{readable_size(len(original))} -> {readable_size(len(data))}"
    checked = ", verified" if options.verify else ""
    terminal.say(f"{job.source}  {sizes} ({bits_per_pixel:.2f} bpp) {milliseconds:.0f} ms{checked}")
    terminal.detail(f"  written to {name_of(job.target)}")
    if options.json:
        print_json(
            {
                "source": job.source,
                "target": job.target,
                "codec": options.codec,
                "quality": options.quality,
                "width": image.width,
                "height": image.height,
                "source_bytes": len(original),
                "size_bytes": len(data),
                "bits_per_pixel": bits_per_pixel,
                "milliseconds": milliseconds,
                "is_verified": options.verify,
            }
        )


def _compare(image: "Image", data: bytes, options: Namespace) -> None:
    """Decode what was encoded: the decoder checks the symbols' checksums, the picture must have its shape back."""
    from rarefy.codecs import api

    try:
        decoded = api.decode(data, threads=options.threads, device=options.device)
    except RarefyError as error:
        raise RarefyError(f"what was encoded does not decode ({error}), nothing is written") from error
    if decoded.pixels.shape != image.pixels.shape:
        raise RarefyError(f"a picture of {image.pixels.shape} decodes to {decoded.pixels.shape}, nothing is written")
