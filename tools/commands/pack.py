"""`rarefy pack`: a folder of pictures to shards of latents that networks train on, in the layout of WebDataset."""

import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rarefy.codecs.registry import find as find_codec
from rarefy.data.manifest import FILE, Settings, Shard, Skipped, read_manifest
from rarefy.data.packing import Packer
from rarefy.data.sources import Source, class_names, find_sources, label_fields
from rarefy.errors import MediaError
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.encode import PICTURES, Original
from rarefy.tools.commands.output import Report, print_json
from rarefy.tools.files import Job, read_bytes
from rarefy.tools.terminal import USAGE, Refusal, Terminal, readable_size

MEGABYTE = 10**6


@dataclass(frozen=True)
class Picture(Original):
    """A picture with the fields of its sample that are known before it is coded."""

    fields: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Coded:
    """The fields of a sample, and what is told of its picture."""

    fields: dict[str, bytes]
    source_bytes: int
    pixels: int
    notes: tuple[str, ...]


def run(options: Namespace, terminal: Terminal) -> int:
    """Pack what is not packed yet, and return the worst exit code."""
    find_codec(options.codec)
    folder, target = Path(options.folder), Path(options.output)
    _require_folders(folder, target)
    manifest = read_manifest(target)
    asked = options.label or (manifest.settings.label if manifest else None)
    sources, left_out, label = find_sources(folder, PICTURES, asked)
    classes = class_names(sources, manifest.classes if manifest else ())
    with Packer(target, _settings(options, label), classes) as packer:
        work = Packing(packer, sources, left_out, options, terminal)
        worst = work.run()
        if options.statistics and packer.manifest.statistics is None and packer.manifest.samples:
            _note_statistics(packer, target)
    work.sum_up()
    return worst


def _require_folders(folder: Path, target: Path) -> None:
    if not folder.is_dir():
        raise Refusal(f"{folder}: is no folder", "name the folder that holds the pictures", USAGE)
    if target.resolve().is_relative_to(folder.resolve()):
        raise Refusal(f"{target}: lies in the folder that is packed", "name a folder elsewhere with -o", USAGE)


def _settings(options: Namespace, label: str) -> Settings:
    from rarefy.codecs.weights import load_codec  # torch: not before the names are known to be good

    return Settings(
        codec=options.codec,
        weights=load_codec(options.codec, options.device).weights_hash.hex(),
        quality=options.quality,
        label=label,
        source=Path(options.folder).resolve().name,
        shard_bytes=options.shard_megabytes * MEGABYTE,
    )


def _note_statistics(packer: Packer, target: Path) -> None:
    from rarefy.data import LatentDataset, compute_statistics

    packer.note_statistics(compute_statistics(LatentDataset(target)).to_dict())


class Packing:
    """One run over the sources that are not packed yet."""

    def __init__(
        self, packer: Packer, sources: list[Source], left_out: list[Skipped], options: Namespace, terminal: Terminal
    ) -> None:
        self._packer, self._options, self._terminal = packer, options, terminal
        self._sources = {str(source.path): source for source in sources if source.key not in packer.done}
        self._report = Report(terminal, options.json, len(sources))
        self._report.skipped = len(sources) - len(self._sources)
        self._left_out = left_out

    def run(self) -> int:
        """Pack all; returns the worst exit code."""
        for skipped in self._left_out:
            self._packer.skip(skipped.source, skipped.reason)
            self._terminal.detail(f"{skipped.source}  left out: {skipped.reason}")
        if not self._sources and self._packer.manifest.is_complete:
            return 0
        jobs = [Job(path, self._options.output) for path in self._sources]
        worst = self._run_on_ray(jobs) if self._options.ray else Batch(jobs, self._stages()).run()
        self._tell(self._packer.finish())
        return worst

    def _stages(self) -> Stages[Picture, Coded, Coded]:
        return Stages(
            load=self._load,
            code=partial(code, options=self._options),
            finish=lambda job, coded: coded,
            report=self._add,
            fail=self._fail,
        )

    def _run_on_ray(self, jobs: list[Job]) -> int:
        from rarefy.tools.pack_ray import on_ray

        manifest, worst = self._packer.manifest, 0
        work = partial(load_and_code, settings=manifest.settings, classes=manifest.classes, options=self._options)
        sources = [self._sources[job.source] for job in jobs]
        for job, (_, coded) in zip(jobs, on_ray(sources, work, self._options.ray), strict=True):
            if isinstance(coded, Exception):
                worst = max(worst, self._fail(job, coded))
            else:
                self._add(job, coded, 0.0)
        return worst

    def _load(self, job: Job) -> Picture:
        source = self._sources[job.source]
        return load(source, self._packer.manifest.settings.label, self._packer.manifest.classes)

    def _add(self, job: Job, coded: Coded, milliseconds: float) -> None:
        source, report = self._sources[job.source], self._report
        self._tell(self._packer.add(source.key, source.name, coded.fields))
        report.warn(job, coded.notes)
        report.done += 1
        report.pixels += coded.pixels
        report.source_bytes += coded.source_bytes
        report.size_bytes += len(coded.fields["rfy"])
        self._terminal.detail(f"{job.source}  {readable_size(len(coded.fields['rfy']))} {milliseconds:.0f} ms")
        self._terminal.progress(report.done + report.failed, len(self._sources))

    def _fail(self, job: Job, error: Exception) -> int:
        reason = " ".join(str(error).split()).removeprefix(job.source).lstrip(": ")
        self._packer.skip(self._sources[job.source].name, reason)
        return self._report.fail(job, error)

    def _tell(self, shard: Shard | None) -> None:
        if shard is None:
            return
        self._terminal.say(
            f"{Path(self._options.output, shard.name)}  {shard.samples} samples, {readable_size(shard.size_bytes)}"
        )
        if self._options.json:
            print_json({"shard": shard.name, "samples": shard.samples, "size_bytes": shard.size_bytes})

    def sum_up(self) -> None:
        """Tell the sum, and where everything that was skipped is named."""
        self._report.sum_up()
        manifest = self._packer.manifest
        words = f"{self._options.output}  {manifest.samples} samples, {readable_size(manifest.size_bytes)} of shards"
        if manifest.skipped:
            words += f"; {len(manifest.skipped)} left out, {FILE} says why"
        self._terminal.say(words)


def load(source: Source, label: str, classes: Sequence[str]) -> Picture:
    """Read a picture and its label; without EXIF and XMP, which nobody trains on."""
    from rarefy.codecs import media  # numpy: not before the names are known to be good

    fields = label_fields(source, label, classes)
    data = read_bytes(str(source.path))
    try:
        image = media.as_image(data, warns=False)
    except MediaError as error:  # which calls bytes "the picture": here they have a name
        raise MediaError(re.sub("^the picture(?= )", lambda _: str(source.path), str(error))) from error
    return Picture(image.stripped(), len(data), fields)


def code(pictures: Sequence[Picture], options: Namespace) -> list[Coded]:
    """Encode pictures of one size together."""
    from rarefy.codecs import api

    images = [picture.image for picture in pictures]
    datas = api.encode(
        images, codec=options.codec, quality=options.quality, threads=options.threads, device=options.device
    )
    return [
        Coded(picture.fields | {"rfy": data}, picture.source_bytes, picture.pixels, picture.image.notes)
        for picture, data in zip(pictures, datas, strict=True)
    ]


def load_and_code(
    sources: Sequence[Source], settings: Settings, classes: Sequence[str], options: Namespace
) -> list[Coded | Exception]:
    """What a worker of a cluster does with some sources: the outcome of each, an error where it has one.

    Raises WeightsError where the worker's machine has other weights.
    """
    from rarefy.codecs.weights import load_codec

    load_codec(settings.codec, options.device, bytes.fromhex(settings.weights))
    outcomes: list[Coded | Exception] = []
    for source in sources:
        try:
            outcomes += code([load(source, settings.label, classes)], options)
        except Exception as error:  # is reported with the name of its file, where the shards are written
            outcomes.append(error)
    return outcomes
