"""Files to sounds: any range, a few spans at a time, side by side, in memory for these.

Latents of a unit come from its bytes alone. The synthesis runs on spans with a halo of neighbouring latents, and the
way back to the original's sample rate on spans with a margin of neighbouring samples: always the same windows, so that
a range equals the same part of the whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs import container
from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_resampling import resample, resampled_length
from rarefy.codecs.audio_source import Samples
from rarefy.codecs.audio_tags import read_tags
from rarefy.codecs.container import LATENTS, TAGS, Header
from rarefy.codecs.header import SPANS_A_SECOND
from rarefy.codecs.limits import Limits
from rarefy.codecs.parallel import side_by_side
from rarefy.codecs.sound_layout import groups_of
from rarefy.codecs.sound_level import gain_of
from rarefy.entropy.precision import require_float32
from rarefy.errors import FormatError, OptionError, RarefyError, WeightsError

if TYPE_CHECKING:
    from rarefy.codecs.sound import SoundCodec, SoundPart

RESAMPLING_MARGIN = 1024  # samples of the lower rate beyond a span, beyond which soxr's filter is below 24 bits
FLOATS = ("FLOAT", "DOUBLE")  # formats that do not clip
TOGETHER = 2  # spans for each thread that are decoded side by side


class SoundDecoder:
    """One file on its way to samples.

    units: by number; all of them, unless `is_lenient`. Then `lost` holds the numbers of those that are missing or
    damaged, with the reason: silence in sounds.
    """

    def __init__(
        self,
        codec: "SoundCodec",
        header: Header,
        units: Mapping[int, container.Unit],
        limits: Limits | None = None,
        precision: str = "auto",
        is_lenient: bool = False,
    ) -> None:
        require_float32(codec)
        codec.check(header)
        self.codec, self.header, self.units, self.precision = codec, header, units, precision
        self.limits = limits or Limits()
        self.is_lenient = is_lenient
        self.lost: dict[int, str] = {}
        self.groups = [_Group(self, number) for number in range(len(groups_of(header.channels)))]

    def samples(self, start: int = 0, count: int | None = None) -> Samples:
        """Samples float32 [channels, count] of a range, all that follow without `count`.

        Raises OptionError for a range that is not in the sound, LimitError for more samples than memory may hold,
        WeightsError where the synthesis diverges.
        """
        start, stop = self._range(start, count)
        self.limits.check_samples(self.header.channels * (stop - start))
        blocks = list(self.blocks(start, stop - start))
        return np.concatenate(blocks, axis=1) if blocks else np.empty((self.header.channels, 0), np.float32)

    def blocks(self, start: int = 0, count: int | None = None) -> Iterator[Samples]:
        """The range in blocks, one for each span that it touches."""
        start, stop = self._range(start, count)
        return self._blocks(start, stop)

    def _blocks(self, start: int, stop: int) -> Iterator[Samples]:
        touched = [n for n in range(self.header.span_count) if self.begin_of(n) < stop and start < self.begin_of(n + 1)]
        together = TOGETHER * torch.get_num_threads()
        for number, span in enumerate(touched):
            if number % together == 0:
                self._prepare(range(span, min(span + together, touched[-1] + 1)))
            first, end = self.begin_of(span), self.begin_of(span + 1)
            yield np.ascontiguousarray(self._span(span)[:, max(start, first) - first : min(stop, end) - first])

    def _prepare(self, spans: range) -> None:
        """Decode spans side by side, one thread each, so that threads change no sample."""
        is_long = self.header.span > self.codec.span  # no encoder makes such spans: many at once might take much memory
        if self.header.span_count == 1 or is_long or torch.get_num_threads() == 1:
            return
        try:
            with side_by_side() as pool:
                for group in self.groups:
                    group.prepare(spans, pool)
        except RarefyError:
            return  # raised again by the span that has it, behind the whole ones before

    def begin_of(self, span: int) -> int:
        """The first sample of a span, at the original's rate; that of the span after the last is the length."""
        header = self.header
        if span >= header.span_count:
            return header.length
        return -(-span * header.span * header.sample_rate // SPANS_A_SECOND)

    def latents(self, group: int = 0) -> Tensor:
        """All latents of a group of channels: float32 [1, C, n]; raises LimitError for more samples than allowed."""
        self.limits.check_samples(self.header.channels * self.header.length)
        if not isinstance(group, int) or not 0 <= group < len(self.groups):
            raise OptionError(f"the sound has {len(self.groups)} groups of channels, there is none of number {group!r}")
        spans = range(self.header.span_count)
        return torch.cat([self.groups[group].latents(span) for span in spans], 2)

    def prove(self) -> None:
        """Decode every unit's symbols, without the synthesis; raises what is wrong."""
        for span in range(self.header.span_count):
            for group in self.groups:
                group.latents(span)

    def _range(self, start: int, count: int | None) -> tuple[int, int]:
        length = self.header.length
        stop = length if count is None else start + count
        if not 0 <= start <= stop <= length:
            raise OptionError(f"samples {start} to {stop} are not inside the sound of {length} samples")
        return start, stop

    def _span(self, span: int) -> Samples:
        """The samples of a span, [channels, n] at the original's rate."""
        parts = [group.span(span) for group in self.groups]
        samples = np.concatenate(parts) * np.float32(gain_of(self.header.level))
        if not np.isfinite(samples).all():
            raise WeightsError("the synthesis gave samples that are not finite: these weights cannot play it")
        return samples if self.header.sample_format in FLOATS else samples.clip(-1, 1)


class _Group:
    """Channels that are coded together; keeps what neighbouring spans share."""

    def __init__(self, decoder: SoundDecoder, number: int) -> None:
        self.decoder, self.number = decoder, number
        own = groups_of(decoder.header.channels)[number]
        self.part: SoundPart = decoder.codec.part(own.stop - own.start)
        header = decoder.header
        self.length = resampled_length(header.length, header.sample_rate, self.part.sample_rate)
        self.step = self.part.samples_of(header.span) or self.length
        self._latents: dict[int, Tensor] = {}
        self._signals: dict[int, Samples] = {}

    def prepare(self, spans: range, pool: ThreadPoolExecutor) -> None:
        """Have the signals of these spans, and of those that resampling looks at, before they are asked for."""
        start, stop = self._window(spans[0])[0], self._window(spans[-1])[1]
        wanted = range(start // self.step, -(-stop // self.step))
        units = range(max(0, wanted.start - 1), min(self.decoder.header.span_count, wanted.stop + 1))
        self._latents = {n: y for n, y in self._latents.items() if n in units}
        self._signals = {n: s for n, s in self._signals.items() if n in wanted}
        missing = [n for n in units if n not in self._latents]
        self._latents |= zip(missing, pool.map(self._decompressed, missing), strict=True)
        missing = [n for n in wanted if n not in self._signals]
        self._signals |= zip(missing, pool.map(self._synthesised, missing), strict=True)

    def _window(self, span: int) -> tuple[int, int]:
        """Begin and end of what a span's samples are made of, at the part's rate: with a margin to resample."""
        own, rate = self.part.sample_rate, self.decoder.header.sample_rate
        begin, end = span * self.step, (span + 1) * self.step
        if rate == own:
            return begin, min(self.length, end)
        common = own // gcd(own, rate)  # samples after which both rates meet
        margin = min(RESAMPLING_MARGIN * max(1, -(-own // rate)), 2 * self.step)
        return max(0, begin - margin) // common * common, min(self.length, end + margin)

    def span(self, span: int) -> Samples:
        """Samples of a span at the original's rate."""
        decoder, rate = self.decoder, self.decoder.header.sample_rate
        if rate == self.part.sample_rate:
            return self._signal(span)
        first, last = decoder.begin_of(span), decoder.begin_of(span + 1)
        start, stop = self._window(span)
        begin = start * rate // self.part.sample_rate
        window = self._signal_range(start, stop)
        if not window.any():
            return np.zeros((self.part.channels, last - first), np.float32)
        return resample(window, self.part.sample_rate, rate, last - begin)[:, first - begin :]

    def _signal_range(self, start: int, stop: int) -> Samples:
        """Samples at the part's rate, from this span and its neighbours."""
        pieces = []
        for span in range(start // self.step, -(-stop // self.step)):
            first = span * self.step
            pieces.append(self._signal(span)[:, max(0, start - first) : stop - first])
        return np.concatenate(pieces, axis=1)

    def _signal(self, span: int) -> Samples:
        """Samples of a span at the part's rate."""
        if span not in self._signals:
            self._signals = {n: s for n, s in self._signals.items() if abs(n - span) <= 2}
            self._signals[span] = self._synthesised(span)
        return self._signals[span]

    def _synthesised(self, span: int) -> Samples:
        part, count = self.part, self.decoder.header.span_count
        own = self.latents(span)  # first: an error in it is told before one in its neighbours
        before = [self.latents(span - 1)[:, :, -part.halo :]] if span else []
        after = [self.latents(span + 1)[:, :, : part.halo]] if span + 1 < count else []
        length = min(self.step, self.length - span * self.step)
        if self._is_lost(range(max(0, span - 1), min(count, span + 2))):
            return np.zeros((part.channels, length), np.float32)
        y_hat = torch.cat([*before, own, *after], 2)
        with torch.inference_mode(), self.decoder.codec.transforms(self.decoder.precision):
            x_hat = part.synthesis(y_hat)[0]
        first = before[0].shape[2] * part.stride if before else 0
        samples: Samples = x_hat[:, first : first + length].cpu().numpy()
        return samples

    def _is_lost(self, spans: range) -> bool:
        """Whether the units of all these spans are lost."""
        return all(span * len(self.decoder.groups) + self.number in self.decoder.lost for span in spans)

    def latents(self, span: int) -> Tensor:
        """Latents float32 [1, C, n] of a span; zeros for one that is lost."""
        if span not in self._latents:
            self._latents = {n: y for n, y in self._latents.items() if abs(n - span) <= 2}
            self._latents[span] = self._decompressed(span)
        return self._latents[span]

    def _decompressed(self, span: int) -> Tensor:
        decoder = self.decoder
        number = span * len(decoder.groups) + self.number
        length = min(self.step, self.length - span * self.step)
        count = -(-length // self.part.stride)
        decoder.limits.check_symbols(self.part.bottleneck.symbol_count((count,)), f"unit {number}")
        try:
            return _decompress(decoder, number, self.part, count)
        except FormatError as error:
            if not decoder.is_lenient:
                raise
            decoder.lost.setdefault(number, str(error))
        return torch.zeros(1, self.part.bottleneck.channels, count, device=decoder.codec.device())


def _decompress(decoder: SoundDecoder, number: int, part: "SoundPart", count: int) -> Tensor:
    if number not in decoder.units:
        raise FormatError("it is missing")
    unit = decoder.units[number]
    if set(unit.sections) != {LATENTS}:
        names = ", ".join(sorted(unit.sections)) or "none"
        raise FormatError(f'unit {number} has the sections {names}; codec "{decoder.codec.name}" reads "{LATENTS}"')
    try:
        with torch.inference_mode():
            return part.bottleneck.decompress([(dict(unit.sections), unit.checksum)], (count,), decoder.header.quality)
    except FormatError as error:
        if decoder.header.unit_count == 1:
            raise
        raise type(error)(f"unit {number}: {error}") from error


def as_audio(samples: Samples, header: Header, metadata: Mapping[str, bytes], notes: Sequence[str] = ()) -> Audio:
    """A sound of what a file holds of it."""
    return Audio(samples, header.sample_rate, header.sample_format, tags_in(metadata), tuple(notes))


def tags_in(metadata: Mapping[str, bytes]) -> dict[str, str]:
    """The tags that a file's metadata hold; raises FormatError for damaged ones."""
    return read_tags(metadata[TAGS]) if TAGS in metadata else {}
