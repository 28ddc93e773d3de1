"""`rarefy encode`: pictures and sounds to .rfy files, one line each."""

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefy.codecs.container import read_info
from rarefy.codecs.limits import FileLimits
from rarefy.codecs.registry import find as find_codec
from rarefy.codecs.suffixes import PICTURES, SOUNDS
from rarefy.errors import MediaError, RarefyError
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.existing import check_rarefy_file, without_done
from rarefy.tools.commands.inputs import find, plan
from rarefy.tools.commands.output import Report, source_name
from rarefy.tools.commands.rate import target_of
from rarefy.tools.commands.sound_files import EncodedSound, SoundOriginal, encode_file, takes_sound
from rarefy.tools.files import Job, check_target, is_stream, read_bytes, write_bytes
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, Terminal

if TYPE_CHECKING:
    from rarefy.codecs.media import Image


@dataclass(frozen=True)
class Original:
    """A picture and the size of the file that it came from."""

    image: "Image"
    source_bytes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """What pictures that are encoded together have in common."""
        return self.image.height, self.image.width, self.image.channels

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.image.width * self.image.height

    @property
    def size_bytes(self) -> int:
        """Of the pixels in memory."""
        return self.image.pixels.nbytes


@dataclass(frozen=True)
class Encoded:
    """An original and the bytes of its file."""

    original: Original
    data: bytes


def run(options: Namespace, terminal: Terminal) -> int:
    """Encode every input and return the worst exit code."""
    jobs = plan(find(options.inputs, _suffixes(options.codec), options.recursive), options.output, ".rfy")
    if options.json and any(job.target == STANDARD_STREAM for job in jobs):
        raise Refusal("--json and the encoded bytes both want standard output", "name a file with -o", USAGE)
    report = Report(terminal, options.json, len(jobs))
    worst = 0
    if options.skip_existing:
        jobs, worst = without_done(jobs, check_rarefy_file, report.skip, report.fail)
    stages = Stages(
        load=partial(_load, options=options),
        code=partial(_encode, options=options),
        finish=_write,
        report=partial(_report, report, options),
        fail=report.fail,
    )
    worst = max(worst, Batch(jobs, stages).run())
    report.sum_up()
    return worst


def _suffixes(codec: str | None) -> frozenset[str]:
    """What is looked for in folders: media of the codec that was named, else of all."""
    if codec is None:
        return PICTURES | SOUNDS
    return SOUNDS if find_codec(codec).media == "sound" else PICTURES


def _load(job: Job, options: Namespace) -> Original | SoundOriginal:
    check_target(job, options.overwrite or options.skip_existing)
    is_once = is_stream(job.source)  # what it holds can be read once alone
    if not is_once and takes_sound(job.source, None, options.codec):
        return SoundOriginal(job.source, Path(job.source).stat().st_size)
    data = read_bytes(job.source)
    if is_once and takes_sound(job.source, data, options.codec):
        return SoundOriginal(data, len(data))
    return _load_picture(job, data, options)


def _load_picture(job: Job, data: bytes, options: Namespace) -> Original:
    from rarefy.codecs import media  # numpy: not before the names are known to be good

    try:
        image = media.as_image(data, FileLimits(), warns=False)  # its notes are reported with its name
    except MediaError as error:  # which calls bytes "the picture": here they have a name
        raise MediaError(re.sub("^the picture(?= )", lambda _: source_name(job), str(error))) from error
    return Original(image.stripped() if options.strip else image, len(data))


def _encode(originals: Sequence[Original | SoundOriginal], options: Namespace) -> list[Encoded | EncodedSound]:
    pictures = [original for original in originals if isinstance(original, Original)]
    sounds = [encode_file(original, options) for original in originals if isinstance(original, SoundOriginal)]
    return [*(_encode_pictures(pictures, options) if pictures else []), *sounds]  # one medium, by its shape


def _encode_pictures(originals: Sequence[Original], options: Namespace) -> list[Encoded]:
    from rarefy.codecs import api  # torch: not before it is needed

    rate: dict[str, Any] = target_of(options) or {"quality": options.quality}
    images = [original.image for original in originals]
    datas = api.encode(
        images, codec=options.codec, effort=options.effort, threads=options.threads, device=options.device, **rate
    )
    if options.verify:
        compare(images, datas, options)
    return [Encoded(original, data) for original, data in zip(originals, datas, strict=True)]


def compare(images: list["Image"], datas: list[bytes], options: Namespace) -> None:
    """Decode what was encoded: symbols must fit their checksums, and pictures must be nearer than one flat colour."""
    from rarefy.codecs import api

    try:
        decoded = api.decode(list(datas), threads=options.threads, device=options.device)
    except RarefyError as error:
        raise RarefyError(f"what was encoded does not decode ({error}), nothing is written") from error
    for image, again in zip(images, decoded, strict=True):
        if again.pixels.shape != image.pixels.shape:
            raise RarefyError(f"a picture of {image.pixels.shape} decodes to {again.pixels.shape}, nothing is written")
        distance, spread = _squares(image, again)
        if distance > spread + 4:  # a flat picture has no spread, but the rounding of a level or two
            raise RarefyError(
                "what was encoded decodes to another picture, farther off than one flat colour: these weights cannot "
                "code this pattern, nothing is written"
            )


def _squares(image: "Image", again: "Image") -> tuple[float, float]:
    """Mean squares, in levels, over what can be seen: of the error, and of the original around its mean colour."""
    import numpy as np

    seen = slice(None) if image.alpha is None or not image.alpha.any() else image.alpha > 0
    pixels = image.pixels[seen].reshape(-1, image.channels).astype(np.float32)
    error = pixels - again.pixels[seen].reshape(-1, image.channels)
    spread = pixels - pixels.mean(0)
    return float(np.square(error).mean()), float(np.square(spread).mean())


def _write(job: Job, encoded: Encoded | EncodedSound) -> Encoded | EncodedSound:
    write_bytes(job.target, encoded.data, job.source)
    return encoded


def _report(report: Report, options: Namespace, job: Job, encoded: Encoded | EncodedSound, milliseconds: float) -> None:
    if isinstance(encoded, EncodedSound):
        _report_sound(report, options, job, encoded, milliseconds)
    else:
        _report_picture(report, options, job, encoded, milliseconds)


def _report_picture(report: Report, options: Namespace, job: Job, encoded: Encoded, milliseconds: float) -> None:
    original, info = encoded.original, read_info(encoded.data)
    report.pixels += original.pixels
    report.warn(job, original.image.notes)
    checked = ", verified" if options.verify else ""
    facts = {
        "codec": info.codec,
        "quality": info.quality,
        "width": original.image.width,
        "height": original.image.height,
        "bits_per_pixel": info.bits_per_pixel,
        "milliseconds": milliseconds,
        "is_verified": options.verify,
    }
    words = f"({info.bits_per_pixel:.2f} bpp) {milliseconds:.0f} ms{checked}"
    report.finished(job, original.source_bytes, len(encoded.data), words, facts)


def _report_sound(report: Report, options: Namespace, job: Job, encoded: EncodedSound, milliseconds: float) -> None:
    info = read_info(encoded.data)
    report.seconds += encoded.seconds
    report.warn(job, encoded.notes)
    checked = ", verified" if options.verify else ""
    facts = {
        "codec": info.codec,
        "quality": info.quality,
        "seconds": info.seconds,
        "sample_rate": info.header.sample_rate,
        "channels": info.channels,
        "kilobits_per_second": info.kilobits_per_second,
        "milliseconds": milliseconds,
        "is_verified": options.verify,
    }
    words = f"({info.kilobits_per_second:.1f} kbit/s) {milliseconds:.0f} ms{checked}"
    report.finished(job, encoded.original.source_bytes, len(encoded.data), words, facts)
