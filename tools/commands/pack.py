"""`rarefy pack`: a folder of pictures or sounds to shards of latents that networks train on, in WebDataset's layout."""

from argparse import Namespace
from functools import partial
from pathlib import Path

from rarefy.data.manifest import FILE, Settings, Shard, Skipped, read_manifest
from rarefy.data.packing import Packer
from rarefy.data.pieces import recording_key
from rarefy.data.sources import Source, class_names, find_sources
from rarefy.errors import RarefyError
from rarefy.tools.commands.batch import Batch, Stages
from rarefy.tools.commands.output import Report, print_json
from rarefy.tools.commands.pack_samples import (
    SUFFIXES,
    Coded,
    Picture,
    Sound,
    code,
    count_samples,
    keys_of,
    load,
    load_and_code,
    medium_of,
)
from rarefy.tools.files import Job
from rarefy.tools.terminal import USAGE, Refusal, Terminal, readable_size

MEGABYTE = 10**6


def run(options: Namespace, terminal: Terminal) -> int:
    """Pack what is not packed yet, and return the worst exit code."""
    medium = medium_of(options.codec)
    if options.seconds is not None and medium != "sound":
        sentence = f'--seconds cuts sounds, and codec "{options.codec}" is for pictures'
        raise Refusal(sentence, "leave it out, or take --codec walloc-audio", USAGE)
    folder, target = Path(options.folder), Path(options.output)
    _require_folders(folder, target)
    manifest = read_manifest(target)
    asked = options.label or (manifest.settings.label if manifest else None)
    sources, left_out, label = find_sources(folder, SUFFIXES[medium], asked)
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
        raise Refusal(f"{folder}: is no folder", "name the folder that holds the pictures or sounds", USAGE)
    if target.resolve().is_relative_to(folder.resolve()):
        raise Refusal(f"{target}: lies in the folder that is packed", "name a folder elsewhere with -o", USAGE)


def _settings(options: Namespace, label: str) -> Settings:
    from rarefy.codecs.weights import load_any  # torch: not before the names are known to be good

    return Settings(
        codec=options.codec,
        weights=load_any(options.codec, options.device).weights_hash.hex(),
        quality=options.quality,
        label=label,
        source=Path(options.folder).resolve().name,
        shard_bytes=options.shard_megabytes * MEGABYTE,
        seconds=options.seconds,
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
        self._sources = {str(source.path): source for source in sources if not self._is_done(source)}
        self._report = Report(terminal, options.json, len(sources))
        self._report.skipped = len(sources) - len(self._sources)
        self._left_out = left_out
        self._tell_of_gone({source.key for source in sources})

    def _tell_of_gone(self, keys: set[str]) -> None:
        """Samples stay in shards when their files are moved or deleted, with the labels that they had."""
        seconds = self._packer.manifest.settings.seconds
        packed = self._packer.done if seconds is None else {recording_key(key) for key in self._packer.done}
        if gone := sorted(packed - keys):
            names = f"{gone[0]} and {len(gone) - 1} others" if len(gone) > 1 else gone[0]
            self._terminal.warning(
                f"{self._options.output}: has samples of files that are not there any more ({names}): "
                "pack into another folder to be without them"
            )

    def run(self) -> int:
        """Pack all; returns the worst exit code."""
        for skipped in self._left_out:
            self._leave_out(skipped)
        if not self._sources and self._packer.manifest.is_complete:
            return 0
        jobs = [Job(path, self._options.output) for path in self._sources]
        worst = self._run_on_ray(jobs) if self._options.ray else Batch(jobs, self._stages()).run()
        self._tell(self._packer.finish())
        return worst

    def _is_done(self, source: Source) -> bool:
        """Tell whether all samples of a source are in whole shards.

        A run that was stopped may have left some pieces of a recording out, and the recording knows how many it has.
        """
        done, seconds = self._packer.done, self._packer.manifest.settings.seconds
        if keys_of(source, 1, seconds)[0] not in done:
            return False
        if seconds is None or self._packer.manifest.is_complete:
            return True
        try:
            return done.issuperset(keys_of(source, count_samples(source, seconds), seconds))
        except (RarefyError, OSError):
            return False  # it is told when it is packed

    def _stages(self) -> Stages[Picture | Sound, Coded, Coded]:
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

    def _load(self, job: Job) -> Picture | Sound:
        manifest = self._packer.manifest
        return load(self._sources[job.source], manifest.settings, manifest.classes)

    def _add(self, job: Job, coded: Coded, milliseconds: float) -> None:
        source, report, packer = self._sources[job.source], self._report, self._packer
        seconds = packer.manifest.settings.seconds
        for key, fields in zip(keys_of(source, len(coded.samples), seconds), coded.samples, strict=True):
            if key not in packer.done:
                self._tell(packer.add(key, source.name, fields))
        report.warn(job, coded.notes)
        report.done += 1
        report.pixels += coded.pixels
        report.seconds += coded.seconds
        report.source_bytes += coded.source_bytes
        report.size_bytes += coded.size_bytes
        if coded.samples:
            words = "" if len(coded.samples) == 1 else f" in {len(coded.samples)} samples"
            self._terminal.detail(f"{job.source}  {readable_size(coded.size_bytes)}{words} {milliseconds:.0f} ms")
        else:
            self._leave_out(Skipped(source.name, f"is shorter than a piece of {seconds:g} seconds"))
        self._terminal.progress(report.done + report.failed, len(self._sources))

    def _leave_out(self, skipped: Skipped) -> None:
        self._packer.skip(skipped.source, skipped.reason)
        self._terminal.detail(f"{skipped.source}  left out: {skipped.reason}")

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
