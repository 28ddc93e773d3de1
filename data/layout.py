"""How the latents of a file lie: their shape, the units they were cut into, and the bottleneck that decodes them.

Pictures have latents [C, h, w] in tiles, mono and stereo sounds [C, n] in spans of time. C and the samples that a
latent stands for differ between mono and stereo, which are coded by two parts of a codec. Surround sounds are coded as
several pairs and singles, which are no one tensor.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.audio_resampling import resampled_length
from rarefy.codecs.base import Codec
from rarefy.codecs.grid import Box, divided, extents
from rarefy.codecs.header import Header
from rarefy.codecs.limits import Limits
from rarefy.codecs.sound import SoundCodec
from rarefy.errors import OptionError

Shape = tuple[int, ...]
MOST_CHANNELS = 2  # of sounds whose latents are one tensor


class Size(NamedTuple):
    """Of a picture height, width and channels; of a sound samples per channel, sample rate in Hz and channels."""

    first: int
    second: int
    channels: int


@dataclass(frozen=True)
class Layout:
    """bottleneck: of all units. shape: of the latents without their channels.

    boxes, shapes: where each unit lies in them, and its own shape.
    """

    bottleneck: Any
    shape: Shape
    boxes: tuple[Box, ...]
    shapes: tuple[Shape, ...]


def size_of(header: Header) -> Size:
    """What a file says of the size of its medium."""
    if header.medium == "sound":
        return Size(header.length, header.sample_rate, header.channels)
    return Size(header.height, header.width, header.channels)


def surround(channels: int) -> str:
    """The sentence on sounds with more channels than two."""
    return (
        f"has {channels} channels, which are coded as pairs and singles: latents to learn from are those of mono and "
        "stereo sounds, mix it down first"
    )


def bottleneck_of(codec: AnyCodec, channels: int) -> Any:
    """The bottleneck of media with so many channels."""
    return codec.part(channels).bottleneck if isinstance(codec, SoundCodec) else picture_codec(codec).bottleneck


def shape_of(codec: AnyCodec, size: Size) -> Shape:
    """The shape of the latents of a medium, without their channels: [h, w] or [n]."""
    if not isinstance(codec, SoundCodec):
        stride = picture_codec(codec).stride
        return -(-size.first // stride), -(-size.second // stride)
    part = codec.part(size.channels)
    return (-(-resampled_length(size.first, size.second, part.sample_rate) // part.stride),)


def layout_of(codec: AnyCodec, header: Header, limits: Limits) -> Layout:
    """How the latents of a file lie.

    Raises FormatError or WeightsError for files that the codec must not decode, LimitError for units that are too
    large, OptionError for sounds of more than two channels.
    """
    codec.check(header)
    if header.medium == "sound" and header.channels > MOST_CHANNELS:
        raise OptionError(f"the sound {surround(header.channels)}")
    boxes = _spans(codec, header) if isinstance(codec, SoundCodec) else _tiles(picture_codec(codec), header)
    shapes = tuple(map(extents, boxes))
    bottleneck = bottleneck_of(codec, header.channels)
    for number, shape in enumerate(shapes):
        limits.check_symbols(bottleneck.symbol_count(shape), f"unit {number}")
    return Layout(bottleneck, shape_of(codec, size_of(header)), boxes, shapes)


def _tiles(codec: Codec, header: Header) -> tuple[Box, ...]:
    return tuple(divided(header.grid.box(number), codec.stride) for number in range(header.unit_count))


def _spans(codec: SoundCodec, header: Header) -> tuple[Box, ...]:
    part, size = codec.part(header.channels), size_of(header)
    count = shape_of(codec, size)[0]
    step = part.samples_of(header.span) // part.stride or count
    return tuple((slice(first, min(first + step, count)),) for first in range(0, count, step))


def picture_codec(codec: AnyCodec) -> Codec:
    """A codec that is none of sounds; raises OptionError for one of a medium that datasets do not know."""
    if not isinstance(codec, Codec):
        raise OptionError(f'codec "{codec.name}" is for {codec.medium}: latents of pictures and sounds can be loaded')
    return codec
