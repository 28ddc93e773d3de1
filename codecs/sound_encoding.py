"""Sounds to files: resampling, analysis and coding, a few spans at a time, in memory for these and the coded bytes.

Short sounds are kept in memory while they are encoded: the level of a sound takes a look at all of it before.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs import container
from rarefy.codecs.audio_resampling import resample_blocks, resampled_length
from rarefy.codecs.audio_source import Samples, bit_depth_of
from rarefy.codecs.audio_tags import tag_bytes
from rarefy.codecs.container import TAGS, File, Header
from rarefy.codecs.header import SAMPLE_FORMATS, SPANS_A_SECOND
from rarefy.codecs.limits import FileLimits
from rarefy.codecs.parallel import side_by_side
from rarefy.codecs.sound_layout import groups_of
from rarefy.codecs.sound_level import gain_of, level_of
from rarefy.entropy.gains import position_of
from rarefy.entropy.precision import require_float32
from rarefy.entropy.search import Found, compress_found, price_of, refine, rounds_of
from rarefy.entropy.trial import Goal, Searchable
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from rarefy.codecs.sound import SoundCodec, SoundPart

# Of sounds whose samples are kept for the second look, and latents for the next quality: six minutes of stereo, 128 MiB
KEPT_SAMPLES = 1 << 25
AHEAD = 2  # spans for each thread that are read before they are waited for

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        FileLimits().check_sound(sound.sample_rate, sound.channels, sound.length)
        self.codec, self.sound, self.precision = codec, sound, precision
        is_long = sound.length * SPANS_A_SECOND > sound.sample_rate * codec.span
        self.span = codec.span if is_long else 0
        self.groups = groups_of(sound.channels)
        self._is_short = sound.length * sound.channels <= KEPT_SAMPLES
        self._kept: dict[int, list[Span]] | None = {} if keep and self._is_short else None

    def file(self, quality: int) -> bytes:
        """The file at a quality q256."""
        with self._pool() as pool:
            groups = [list(self._units(number, quality, pool)) for number in range(len(self.groups))]
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

    def _pool(self) -> AbstractContextManager[ThreadPoolExecutor | None]:
        """Threads that work on spans side by side, while this one reads."""
        return side_by_side() if self.span and torch.get_num_threads() > 1 else nullcontext()

    def _blocks(self) -> Iterable[Samples]:
        return self.sound.blocks() if self._held is None else self._held

    @cached_property
    def _held(self) -> list[Samples] | None:
        """The blocks of a short sound, so that its file is decoded once."""
        return list(self.sound.blocks()) if self._is_short else None

    @cached_property
    def _facts(self) -> Facts:
        total, peak = 0.0, 0.0
        for block in self._blocks():
            total += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max(initial=0)))
        if not math.isfinite(total):
            raise MediaError("the sound has samples that are infinite or no numbers")
        return Facts(total / (self.sound.length * self.sound.channels), peak)

    @property
    def _level(self) -> int:
        return level_of(self._facts.mean_square)

    def _units(self, number: int, quality: int, pool: ThreadPoolExecutor | None) -> Iterator[container.Unit]:
        """The units of a group of channels."""
        return _each(pool, partial(self._unit, self._part(number), quality), self._spans(number, pool))

    def _unit(self, part: "SoundPart", quality: int, span: Span) -> container.Unit:
        with torch.inference_mode():
            y = span.latents[:, :, span.within].contiguous()
            if self._rounds:
                coded = compress_found(part.bottleneck, [self._found(part, span, y, quality)], quality)
            else:
                coded = part.bottleneck.compress(y, quality)
        ((sections, checksum),) = coded
        return container.Unit(sections, checksum)

    def _found(self, part: "SoundPart", span: Span, y: Tensor, quality: int) -> Found:
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

        goal = Goal(samples, restore, price, part.stride, (slice(None), slice(None), span.within))
        return refine(bottleneck, y, quality, goal, self._rounds)

    def _part(self, number: int) -> "SoundPart":
        group = self.groups[number]
        return self.codec.part(group.stop - group.start)

    def _spans(self, number: int, pool: ThreadPoolExecutor | None) -> Iterable[Span]:
        if self._kept is None:
            return self._analysed(number, pool)
        if number not in self._kept:
            self._kept[number] = list(self._analysed(number, pool))
        return self._kept[number]

    def _analysed(self, number: int, pool: ThreadPoolExecutor | None) -> Iterator[Span]:
        part, sound = self._part(number), self.sound
        gain = np.float32(1 / gain_of(self._level))
        own = (block[self.groups[number]] * gain for block in self._blocks())
        length = resampled_length(sound.length, sound.sample_rate, part.sample_rate)
        blocks = resample_blocks(own, sound.sample_rate, part.sample_rate, length)
        step = part.samples_of(self.span) or length
        latents = -(-min(step, length) // part.stride)
        return _each(pool, partial(self._span, part, latents), windows(blocks, length, step, part.halo * part.stride))

    def _span(self, part: "SoundPart", latents: int, piece: tuple[int, Samples]) -> Span:
        """Analyse a window, of which so many latents are the unit's, from a sample on."""
        first, window = piece
        missing = -window.shape[1] % part.stride
        padded = np.pad(window, ((0, 0), (0, missing)), mode="edge")
        with torch.inference_mode(), self.codec.transforms(self.precision):
            x = torch.from_numpy(padded)[None].to(self.codec.device())
            y = part.analysis(x)
        within = slice(first // part.stride, first // part.stride + latents)
        if not self._rounds:
            return Span(y[:, :, within].contiguous(), slice(None), None)
        return Span(y, within, x[:, :, : window.shape[1]])


def _each(pool: ThreadPoolExecutor | None, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What work makes of the items, in their order; a pool is a few items ahead, and no more."""
    if pool is None:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > AHEAD * torch.get_num_threads():
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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
