"""`rarefy transcode`: .rfy files to another codec, quality or generation of weights, metadata kept.

Media are decoded and encoded again: what the first encoding lost stays lost, and the second loses a little more.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rarefy.codecs.container import Info, read, read_info
from rarefy.codecs.header import QUALITY_STEPS
from rarefy.codecs.registry import find as find_codec
from rarefy.codecs.registry import find_for_file
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.decode import FILES, Stored, read_stored
from rarefy.tools.commands.encode import compare
from rarefy.tools.commands.existing import check_rarefy_file, without_done
from rarefy.tools.commands.inputs import find, plan
from rarefy.tools.commands.output import Report
from rarefy.tools.commands.rate import target_of
from rarefy.tools.commands.sound_files import compare_sound
from rarefy.tools.files import Job, check_target, write_bytes
from rarefy.tools.terminal import STANDARD_STREAM, USAGE, Refusal, Terminal


class Former(Stored):
    """A file as it was."""

    @property
    def quality(self) -> float:
        """0 to 100."""
        return self.header.quality / QUALITY_STEPS


@dataclass(frozen=True)
class Transcoded:
    """A file as it was and as it is; the same bytes where it had all that was asked for."""

    former: Former
    data: bytes

    @property
    def is_kept(self) -> bool:
        """Whether nothing had to be done."""
        return self.data is self.former.data


def run(options: Namespace, terminal: Terminal) -> int:
    """Transcode every input and return the worst exit code."""
    if options.codec is not None:
        find_codec(options.codec)
    jobs = _plan(options)
    report = Report(terminal, options.json, len(jobs))
    worst = 0
    if options.skip_existing:
        jobs, worst = without_done(jobs, check_rarefy_file, report.skip, report.fail)
    stages = Stages(
        load=partial(_load, options=options),
        code=partial(_transcode, options=options, is_wanted=_is_wanted(options)),
        finish=_write,
        report=partial(_report, report),
        fail=report.fail,
    )
    worst = max(worst, Batch(jobs, stages).run())
    report.sum_up()
    return worst


def _plan(options: Namespace) -> list[Job]:
    if options.output is None and options.skip_existing:
        raise Refusal("--skip-existing asks for outputs apart from the inputs", "name a folder with -o", USAGE)
    jobs = plan(find(options.inputs, FILES, options.recursive), options.output, ".rfy", is_in_place=True)
    if options.json and any(job.target == STANDARD_STREAM for job in jobs):
        raise Refusal("--json and the encoded bytes both want standard output", "name a file with -o", USAGE)
    if not options.overwrite and any(job.target == job.source != STANDARD_STREAM for job in jobs):
        raise Refusal("the inputs would be replaced", "add -f to replace them, or name a folder with -o", USAGE)
    return jobs


def _is_wanted(options: Namespace) -> Callable[[Former], bool]:
    """Return what tells files that have the codec, the weights and the quality already."""
    from rarefy.codecs.weights import load_any  # torch: not before the names are known to be good

    if options.codec is not None:
        load_any(options.codec, options.device)  # an error of all files, not of each

    def is_wanted(former: Former) -> bool:
        header, codec = former.header, _codec_for(former, options)
        find_for_file(header.codec)
        is_current = header.codec == codec and load_any(codec, options.device).weights_hash.startswith(header.weights)
        is_quality = options.quality is None or round(options.quality * QUALITY_STEPS) == header.quality
        return is_current and is_quality and not options.always and not target_of(options)

    return is_wanted


def _codec_for(former: Former, options: Namespace) -> str:
    """The codec that was named, or else the file's own."""
    return str(options.codec or former.header.codec)


def _load(job: Job, options: Namespace) -> Former:
    check_target(job, options.overwrite or options.skip_existing)
    stored = read_stored(job.source)
    return Former(stored.data, stored.header)


def _transcode(formers: Sequence[Former], options: Namespace, is_wanted: Callable[[Former], bool]) -> list[Transcoded]:
    """Transcode files of one codec, generation and quality."""
    from rarefy.codecs import api

    if is_wanted(formers[0]):
        return [_kept(former, options) for former in formers]
    quality = formers[0].quality if options.quality is None else options.quality
    rate: dict[str, Any] = target_of(options) or {"quality": quality}
    files: list[api.Data] = [former.data for former in formers]
    codec = _codec_for(formers[0], options)
    media = api.decode(files, threads=options.threads, device=options.device)
    datas = api.encode(media, codec=codec, threads=options.threads, device=options.device, **rate)
    if options.verify and formers[0].header.medium == "sound":
        for audio, data in zip(media, datas, strict=True):
            compare_sound(audio.blocks(), data, options)
    elif options.verify:
        compare(media, datas, options)
    return [Transcoded(former, data) for former, data in zip(formers, datas, strict=True)]


def _kept(former: Former, options: Namespace) -> Transcoded:
    """Leave a file as it is; raises FormatErrors for one that is damaged."""
    from rarefy.codecs import api

    if options.verify:
        api.verify(former.data, threads=options.threads)
    else:
        read(former.data)
    return Transcoded(former, former.data)


def _write(job: Job, transcoded: Transcoded) -> Transcoded:
    if not transcoded.is_kept or job.target != job.source or job.target == STANDARD_STREAM:
        write_bytes(job.target, transcoded.data, job.source)
    return transcoded


def _report(report: Report, job: Job, transcoded: Transcoded, milliseconds: float) -> None:
    former, info = transcoded.former, read_info(transcoded.data)
    if transcoded.is_kept and job.target == job.source:
        report.skip(job, "has this codec, these weights and this quality already")
        return
    report.pixels += former.pixels
    report.seconds += info.seconds
    kept = ", kept as it is" if transcoded.is_kept else ""
    facts = {
        "codec": info.codec,
        "quality": info.quality,
        **_rate(info),
        "milliseconds": milliseconds,
        "is_kept": transcoded.is_kept,
    }
    words = f"({_rate_in_words(info)}) {milliseconds:.0f} ms{kept}"
    report.finished(job, len(former.data), len(transcoded.data), words, facts)


def _rate(info: Info) -> dict[str, float]:
    if info.medium == "sound":
        return {"kilobits_per_second": info.kilobits_per_second}
    return {"bits_per_pixel": info.bits_per_pixel}


def _rate_in_words(info: Info) -> str:
    return f"{info.kilobits_per_second:.1f} kbit/s" if info.medium == "sound" else f"{info.bits_per_pixel:.2f} bpp"
