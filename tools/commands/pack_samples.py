"""What `rarefy pack` makes of one source: the files of its samples, with labels. Runs on workers of a cluster too.

A picture is a sample. A sound is one, or as many as there are pieces of `--seconds` in it.
"""

import re
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rarefy.codecs.limits import FileLimits
from rarefy.codecs.registry import find as find_codec
from rarefy.codecs.suffixes import PICTURES, SOUNDS
from rarefy.data.manifest import Settings
from rarefy.data.pieces import piece_count, piece_key, piece_length
from rarefy.data.sources import Source, label_fields
from rarefy.errors import MediaError
from rarefy.tools.commands.encode import Original
from rarefy.tools.commands.sound_files import SoundOriginal
from rarefy.tools.files import read_bytes

if TYPE_CHECKING:
    from rarefy.codecs.audio import AudioReader

RFY = "rfy"
SUFFIXES = {"image": PICTURES, "sound": SOUNDS}


@dataclass(frozen=True)
class Picture(Original):
    """A picture with the fields of its sample that are known before it is coded."""

    fields: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Sound(SoundOriginal):
    """A sound that is not opened yet, with the fields of each of its samples."""

    fields: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Coded:
    """The fields of a source's samples in order, and what is told of it: pixels of a picture, seconds of a sound.

    A sound that is shorter than a piece has no samples.
    """

    samples: tuple[dict[str, bytes], ...]
    source_bytes: int
    notes: tuple[str, ...]
    pixels: int = 0
    seconds: float = 0.0

    @property
    def size_bytes(self) -> int:
        """Of its `.rfy` files."""
        return sum(len(fields[RFY]) for fields in self.samples)


def medium_of(codec: str) -> str:
    """The medium of a codec's files, "image" or "sound"; raises OptionError where there is no such codec."""
    return find_codec(codec).media


def keys_of(source: Source, count: int, seconds: float | None) -> list[str]:
    """The keys of a source's samples."""
    return [source.key] if seconds is None else [piece_key(source.key, number) for number in range(count)]


def count_samples(source: Source, seconds: float | None) -> int:
    """How many samples a source gives, without decoding it; raises MediaError for what is no sound."""
    if seconds is None:
        return 1
    from rarefy.codecs.audio import open_audio

    with open_audio(source.path, FileLimits()) as reader:
        return piece_count(reader.length, reader.sample_rate, seconds)


def load(source: Source, settings: Settings, classes: Sequence[str]) -> Picture | Sound:
    """Read a picture and its label; of a sound the label alone, since it may be long."""
    fields = label_fields(source, settings.label, classes)
    if medium_of(settings.codec) == "sound":
        size = source.path.stat().st_size
        return Sound(str(source.path), size, pixels=size, fields=fields)  # what is coded takes no more memory
    return _load_picture(source, fields)


def _load_picture(source: Source, fields: dict[str, bytes]) -> Picture:
    """A picture without EXIF and XMP, which nobody trains on."""
    from rarefy.codecs import media  # numpy: not before the names are known to be good

    data = read_bytes(str(source.path))
    try:
        image = media.as_image(data, FileLimits(), warns=False)
    except MediaError as error:  # which calls bytes "the picture": here they have a name
        raise MediaError(re.sub("^the picture(?= )", lambda _: str(source.path), str(error))) from error
    return Picture(image.stripped(), len(data), fields)


def code(loaded: Sequence[Picture | Sound], options: Namespace) -> list[Coded]:
    """Encode pictures of one size together, sounds one by one."""
    pictures = [one for one in loaded if isinstance(one, Picture)]
    sounds = [_code_sound(one, options) for one in loaded if isinstance(one, Sound)]
    return [*(_code_pictures(pictures, options) if pictures else []), *sounds]  # one medium, that of the codec


def _code_pictures(pictures: Sequence[Picture], options: Namespace) -> list[Coded]:
    datas = _encode([picture.image for picture in pictures], options)
    return [
        Coded(({**picture.fields, RFY: data},), picture.source_bytes, picture.image.notes, pixels=picture.pixels)
        for picture, data in zip(pictures, datas, strict=True)
    ]


def _code_sound(sound: Sound, options: Namespace) -> Coded:
    """Encode a sound without its tags, in memory for a piece, or a few seconds, and the coded bytes."""
    from rarefy.codecs.audio import open_audio
    from rarefy.data.layout import MOST_CHANNELS, surround

    with open_audio(sound.source, FileLimits()) as reader:
        reader.tags = {}
        if reader.channels > MOST_CHANNELS:
            raise MediaError(surround(reader.channels))
        sounds = [reader] if options.seconds is None else _pieces(reader, options.seconds)
        samples = tuple({**sound.fields, RFY: _encode(one, options)} for one in sounds)
        seconds = reader.seconds if options.seconds is None else options.seconds * len(samples)
        return Coded(samples, sound.source_bytes, reader.notes, seconds=seconds)


def _pieces(reader: "AudioReader", seconds: float) -> Iterator[Any]:
    """Whole pieces, one after the other: `Audio`."""
    from rarefy.codecs.audio import Audio

    length = piece_length(reader.sample_rate, seconds)
    count = piece_count(reader.length, reader.sample_rate, seconds)
    for samples in reader.blocks(length, count=length * count):
        yield Audio(samples, reader.sample_rate, reader.subtype)


def _encode(media: Any, options: Namespace) -> Any:
    from rarefy.codecs import api  # torch: not before it is needed

    machine = {"threads": options.threads, "device": options.device}
    return api.encode(media, codec=options.codec, quality=options.quality, **machine)


def load_and_code(
    sources: Sequence[Source], settings: Settings, classes: Sequence[str], options: Namespace
) -> list[Coded | Exception]:
    """What a worker of a cluster does with some sources: the outcome of each, an error where it has one.

    Raises WeightsError where the worker's machine has other weights.
    """
    from rarefy.codecs.weights import load_any

    load_any(settings.codec, options.device, bytes.fromhex(settings.weights))
    outcomes: list[Coded | Exception] = []
    for source in sources:
        try:
            outcomes += code([load(source, settings, classes)], options)
        except Exception as error:  # is reported with the name of its file, where the shards are written
            outcomes.append(error)
    return outcomes
