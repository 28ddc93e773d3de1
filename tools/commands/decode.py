"""`rarefy decode`: .rfy files to pictures and sounds, in the format that the output's name asks for."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from rarefy.codecs.header import Header
from rarefy.codecs.layout import read_head
from rarefy.codecs.limits import Limits
from rarefy.codecs.picture_kinds import SUFFIXES
from rarefy.codecs.suffixes import SOUNDS
from rarefy.errors import MediaError
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.existing import check_output, without_done
from rarefy.tools.commands.inputs import find, plan
from rarefy.tools.commands.output import Report
from rarefy.tools.commands.sound_files import (
    SavedSound,
    StoredSound,
    check_target_of_sound,
    holds_sound,
    require_no_part,
    save_sound,
)
from rarefy.tools.commands.warned import notes_of, warnings_collected
from rarefy.tools.files import Job, check_target, is_stream, read_bytes, write_bytes
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, Terminal

if TYPE_CHECKING:
    from rarefy.codecs.media import Image

FILES = frozenset({".rfy"})


@dataclass(frozen=True)
class Stored:
    """The bytes of a file and its header."""

    data: bytes
    header: Header

    @property
    def shape(self) -> tuple[object, ...]:
        """What files that are decoded together have in common."""
        header = self.header
        if header.medium == "sound":
            return (id(self),)  # each is coded alone
        return header.codec, header.weights, header.height, header.width, header.channels, header.quality

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return self.header.width * self.header.height

    @property
    def size_bytes(self) -> int:
        """Of the file in memory."""
        return len(self.data)


@dataclass(frozen=True)
class Decoded:
    """A picture and the size of the file that it came from."""

    image: "Image"
    source_bytes: int


@dataclass(frozen=True)
class Saved:
    """A picture that is written: the size of its file, and what that file could not hold."""

    decoded: Decoded
    size_bytes: int
    notes: tuple[str, ...]


def run(options: Namespace, terminal: Terminal) -> int:
    """Decode every input and return the worst exit code."""
    if options.allow_damaged and (options.start is not None or options.duration is not None):
        raise Refusal("--allow-damaged gives whole sounds", "leave out --start and --duration", USAGE)
    found = find(options.inputs, FILES, options.recursive)
    jobs = plan(found, options.output, lambda source: ".wav" if holds_sound(source) else ".png")
    if options.json and any(job.target == STANDARD_STREAM for job in jobs):
        raise Refusal("--json and the data both want standard output", "name a file with -o", USAGE)
    for job in jobs:
        _check_suffix(job)
    report = Report(terminal, options.json, len(jobs))
    worst = 0
    if options.skip_existing:
        jobs, worst = without_done(jobs, check_output, report.skip, report.fail)
    stopped = Event()
    stages = Stages(
        load=partial(_load, options=options),
        code=partial(_decode, options=options),
        finish=partial(_write, stopped=stopped),
        report=partial(_report, report),
        fail=report.fail,
        stopped=stopped,
    )
    with warnings_collected():
        worst = max(worst, Batch(jobs, stages).run())
    report.sum_up()
    return worst


def _check_suffix(job: Job) -> None:
    """Refuse a suffix that no format of the input's medium has; what a stream holds is not known yet."""
    if holds_sound(job.source):
        check_target_of_sound(job.target)
    elif not is_stream(job.source) or Path(job.target).suffix.lower() not in SOUNDS:
        picture_format(job.target)


def read_stored(source: str) -> Stored:
    """Read a file; raises FormatError and its kinds for what has no whole header."""
    data = read_bytes(source)
    return Stored(data, read_head(memoryview(data), Limits()).header)


def picture_format(target: str) -> str:
    """Return the format that an output's suffix stands for; PNG where there is none.

    Raises Refusal for a suffix that no format has: what it promises would not be what the file is.
    """
    suffix = Path(target).suffix.lower()
    if suffix and suffix not in SUFFIXES and not is_stream(target):
        raise Refusal(f"{target}: pictures are written as {', '.join(SUFFIXES)}", "name another output with -o", USAGE)
    return SUFFIXES.get(suffix, "PNG")


def _load(job: Job, options: Namespace) -> Stored | StoredSound:
    check_target(job, options.overwrite or options.skip_existing)
    stored = read_stored(job.source)
    if stored.header.medium != "sound":
        return stored
    require_no_part(options)
    check_target_of_sound(job.target)
    return StoredSound(stored.data, stored.header, options)


def _decode(files: Sequence[Stored | StoredSound], options: Namespace) -> list[Decoded | StoredSound]:
    sounds = [file for file in files if isinstance(file, StoredSound)]  # which are decoded while they are written
    return [*_decode_pictures([file for file in files if isinstance(file, Stored)], options), *sounds]


def _decode_pictures(files: Sequence[Stored], options: Namespace) -> list[Decoded]:
    if not files:
        return []
    if options.start is not None or options.duration is not None:
        raise MediaError("a picture has no --start and no --duration: take --region")
    images = [_part(file.data, options) for file in files] if _is_part(options) else _whole(files, options)
    return [Decoded(image, len(file.data)) for image, file in zip(images, files, strict=True)]


def _is_part(options: Namespace) -> bool:
    return options.region is not None or options.preview is not None


def _whole(files: Sequence[Stored], options: Namespace) -> list["Image"]:
    from rarefy.codecs import api  # torch: not before it is needed

    datas: list[api.Data] = [file.data for file in files]
    if options.allow_damaged:
        return api.decode(datas, threads=options.threads, device=options.device, allow_damaged=True)
    return api.decode(datas, threads=options.threads, device=options.device)


def _part(data: bytes, options: Namespace) -> "Image":
    from rarefy.codecs import api  # torch: not before it is needed

    with api.open(data, device=options.device, threads=options.threads) as file:
        return file.preview(options.preview) if options.region is None else file.region(*options.region)


def _write(job: Job, decoded: Decoded | StoredSound, stopped: Event) -> Saved | SavedSound:
    if isinstance(decoded, StoredSound):
        with notes_of() as notes:
            saved = save_sound(job, decoded, stopped)
        return replace(saved, notes=(*saved.notes, *notes))
    picture = BytesIO()
    with notes_of() as notes:
        decoded.image.save(picture, format=picture_format(job.target))
    write_bytes(job.target, picture.getvalue(), job.source)
    return Saved(decoded, picture.tell(), tuple(notes))


def _report(report: Report, job: Job, saved: Saved | SavedSound, milliseconds: float) -> None:
    if isinstance(saved, SavedSound):
        _report_sound(report, job, saved)
    else:
        _report_picture(report, job, saved, milliseconds)


def _report_picture(report: Report, job: Job, saved: Saved, milliseconds: float) -> None:
    image = saved.decoded.image
    report.warn(job, (*image.notes, *saved.notes))
    facts = {"width": image.width, "height": image.height, "milliseconds": milliseconds}
    words = f"({image.width}x{image.height}) {milliseconds:.0f} ms"
    report.finished(job, saved.decoded.source_bytes, saved.size_bytes, words, facts)


def _report_sound(report: Report, job: Job, saved: SavedSound) -> None:
    report.warn(job, saved.notes)
    facts = {
        "seconds": saved.seconds,
        "sample_rate": saved.sample_rate,
        "channels": saved.channels,
        "milliseconds": saved.milliseconds,
    }
    words = f"({saved.seconds:.1f} s, {saved.sample_rate} Hz) {saved.milliseconds:.0f} ms"
    report.finished(job, saved.source_bytes, saved.size_bytes, words, facts)
