"""Sounds to files: resampling, analysis and coding, span by span, in memory for a few seconds and the coded bytes."""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs import container
from rarefy.codecs.audio_resampling import resample_blocks, resampled_length
from rarefy.codecs.audio_source import Samples, bit_depth_of
from rarefy.codecs.audio_tags import tag_bytes
from rarefy.codecs.container import TAGS, File, Header
from rarefy.codecs.header import SAMPLE_FORMATS, SPANS_A_SECOND
from rarefy.codecs.limits import Limits
from rarefy.codecs.sound_layout import groups_of
from rarefy.codecs.sound_level import gain_of, level_of
from rarefy.entropy.gains import position_of
from rarefy.entropy.precision import require_float32
from rarefy.entropy.search import Searchable, price_of, refine, rounds_of
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from rarefy.codecs.sound import SoundCodec, SoundPart

KEPT_SAMPLES = 1 << 25  # of sounds whose latents are kept for the next quality: six minutes of stereo


class Sound(Protocol):
    """What is encoded: `Audio` and `AudioReader` are such. Blocks can be gone through more than once."""

    @property
    def sample_rate(self) -> int:
        """In Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def length(self) -> int:
        """Samples per channel."""

    @property
    def subtype(self) -> str | None:
        """How the source coded its samples, by libsndfile's names; None where unknown."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Texts by name."""

    def blocks(self) -> Iterator[Samples]:
        """Samples float32 [channels, n] in order."""


class Facts(NamedTuple):
    """What one look at all samples tells."""

    mean_square: float
    peak: float


class Span(NamedTuple):
    """A unit before it is coded: latents float32 [1, C, n] of its window, and which of them it is.

    samples: of the window, float32 [1, channels, n], for a search to compare with; None where nothing is searched.
    """

    latents: Tensor
    within: slice
    samples: Tensor | None


class SoundEncoder:
    """A sound on its way to files.

    keep: whether latents of a short sound are kept for the next quality. effort: 0, or 1 to 6 for 2^effort rounds of a
    search for symbols that cost less. Raises MediaError for an empty sound and samples that are not finite, LimitError
    for what no decoder would take by default, OptionError where the codec has no search.
    """

    def __init__(
        self, codec: "SoundCodec", sound: Sound, precision: str = "auto", *, keep: bool = False, effort: int = 0
    ) -> None:
        require_float32(codec)
        self._rounds = rounds_of(effort, codec.name, codec.stereo.bottleneck, codec.mono.bottleneck)
        if not sound.length:
            raise MediaError("the sound is empty (no samples): there is nothing to encode")
        Limits().check_sound(sound.sample_rate, sound.channels, sound.length)
        self.codec, self.sound, self.precision = codec, sound, precision
        is_long = sound.length * SPANS_A_SECOND > sound.sample_rate * codec.span
        self.span = codec.span if is_long else 0
        self.groups = groups_of(sound.channels)
        is_kept = keep and sound.length * sound.channels <= KEPT_SAMPLES
        self._kept: dict[int, list[Span]] | None = {} if is_kept else None

    def file(self, quality: int) -> bytes:
        """The file at a quality q256."""
        groups = [list(self._units(number, quality)) for number in range(len(self.groups))]
        units = [unit for span in zip(*groups, strict=True) for unit in span]
        metadata = {TAGS: tag_bytes(self.sound.tags)} if self.sound.tags else {}
        return container.write(File(self._header(quality), units, metadata))

    def _header(self, quality: int) -> Header:
        return Header(
            medium="sound",
            codec=self.codec.name,
            weights=self.codec.weights_name(),
            sample_rate=self.sound.sample_rate,
            length=self.sound.length,
            channels=self.sound.channels,
            sample_format=_sample_format(self.sound.subtype, self._facts.peak),
            level=self._level,
            quality=quality,
            span=self.span,
        )

    @cached_property
    def _facts(self) -> Facts:
        total, peak = 0.0, 0.0
        for block in self.sound.blocks():
            total += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max(initial=0)))
        if not math.isfinite(total):
            raise MediaError("the sound has samples that are infinite or no numbers")
        return Facts(total / (self.sound.length * self.sound.channels), peak)

    @property
    def _level(self) -> int:
        return level_of(self._facts.mean_square)

    def _units(self, number: int, quality: int) -> Iterator[container.Unit]:
        """The units of a group of channels."""
        part = self._part(number)
        for span in self._spans(number):
            with torch.inference_mode():
                y = span.latents[:, :, span.within].contiguous()
                if self._rounds:
                    y = self._refined(part, span, y, quality)
                ((sections, checksum),) = part.bottleneck.compress(y, quality)
            yield container.Unit(sections, checksum)

    def _refined(self, part: "SoundPart", span: Span, y: Tensor, quality: int) -> Tensor:
        """Latents of a unit whose symbols cost less; around them the neighbours' are as they were before rounding."""
        samples, bottleneck = span.samples, part.bottleneck
        assert samples is not None and isinstance(bottleneck, Searchable)
        # Training takes the mean over three channels, two of stereo and one of mono.
        price = price_of(part.bottleneck.rate_multiplier(position_of(quality, y.device)))

        def restore(y_hat: Tensor) -> Tensor:
            whole = span.latents.clone()
            whole[:, :, span.within] = y_hat
            with self.codec.transforms(self.precision):
                return part.synthesis(whole)[:, :, : samples.shape[2]]

        return refine(bottleneck, y, quality, restore, samples, price, self._rounds)

    def _part(self, number: int) -> "SoundPart":
        group = self.groups[number]
        return self.codec.part(group.stop - group.start)

    def _spans(self, number: int) -> Iterable[Span]:
        if self._kept is None:
            return self._analysed(number)
        if number not in self._kept:
            self._kept[number] = list(self._analysed(number))
        return self._kept[number]

    def _analysed(self, number: int) -> Iterator[Span]:
        part, sound = self._part(number), self.sound
        gain = np.float32(1 / gain_of(self._level))
        own = (block[self.groups[number]] * gain for block in sound.blocks())
        length = resampled_length(sound.length, sound.sample_rate, part.sample_rate)
        blocks = resample_blocks(own, sound.sample_rate, part.sample_rate, length)
        step = part.samples_of(self.span) or length
        for first, window in windows(blocks, length, step, part.halo * part.stride):
            begin = first // part.stride
            yield self._span(part, window, slice(begin, begin + -(-min(step, length) // part.stride)))

    def _span(self, part: "SoundPart", window: Samples, within: slice) -> Span:
        missing = -window.shape[1] % part.stride
        padded = np.pad(window, ((0, 0), (0, missing)), mode="edge")
        with torch.inference_mode(), self.codec.transforms(self.precision):
            x = torch.from_numpy(padded)[None].to(self.codec.device())
            y = part.analysis(x)
        if not self._rounds:
            return Span(y[:, :, within].contiguous(), slice(None), None)
        return Span(y, within, x[:, :, : window.shape[1]])


def windows(blocks: Iterable[Samples], length: int, step: int, margin: int) -> Iterator[tuple[int, Samples]]:
    """Cut a sound that comes in blocks into pieces of `step` samples with a margin, as far as it reaches.

    Gives where the piece begins in its window, and the window, float32 [channels, n]. Pieces at the end of the sound
    are shorter; the last one's window has all samples up to there.
    """
    waiting = iter(blocks)
    held: Samples | None = None
    begin = end = 0  # of what is held
    for start in range(0, length, step):
        first, last = max(0, start - margin), min(length, start + step + margin)
        pieces = [] if held is None else [held[:, first - begin :]]
        while end < last:
            piece = next(waiting)
            pieces.append(piece[:, max(0, first - end) :])
            end += piece.shape[1]
        held = np.concatenate(pieces, axis=1)
        begin = first
        yield start - first, held[:, : last - first]


def _sample_format(subtype: str | None, peak: float) -> str:
    """How a decoder writes the samples: as the source did, in 16 bits where it was lossy."""
    if subtype in SAMPLE_FORMATS:
        return str(subtype)
    if subtype is None and peak > 1:
        return "FLOAT"  # samples of a program, which no format has clipped
    bits = bit_depth_of(subtype) or 16
    return "PCM_16" if bits <= 16 else "PCM_24" if bits <= 24 else "PCM_32"
