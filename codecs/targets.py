"""Rate control: the quality at which a file has a wanted size, or a picture a wanted PSNR.

Latents are computed once; each trial repeats bottleneck and coding alone, and the synthesis where PSNR is asked for.
With an effort pictures are analysed and searched at every trial.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from rarefy.codecs.base import Codec
from rarefy.codecs.container import read
from rarefy.codecs.decoding import Decoder
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.codecs.sound_encoding import Sound, SoundEncoder
from rarefy.errors import OptionError

if TYPE_CHECKING:
    from rarefy.codecs.sound import SoundCodec

HIGHEST = 25600
LARGEST = 1e18  # beyond any file
FILLED = 0.99  # of the wanted size is full enough
PSNR_MARGIN = 0.05  # dB above the wanted PSNR are near enough


@dataclass(frozen=True)
class Target:
    """What a file should have; one of the four.

    size: bytes, not to be exceeded. bits_per_pixel: of the whole file of a picture, not to be exceeded. psnr: dB of its
    8-bit pixels, at least. kbps: thousands of bits a second of the whole file of a sound, not to be exceeded.
    """

    size: int | None = None
    bits_per_pixel: float | None = None
    psnr: float | None = None
    kbps: float | None = None

    def __post_init__(self) -> None:
        values = [v for v in (self.size, self.bits_per_pixel, self.psnr, self.kbps) if v is not None]
        if len(values) != 1:
            raise OptionError("one target at a time: a size, bits per pixel, a PSNR, or kilobits per second")
        if not isinstance(values[0], Real) or not 0 < values[0] < LARGEST:
            raise OptionError(f"a target is a positive number, not {values[0]!r}")

    def size_for(self, image: Image) -> int | None:
        """The largest allowed number of bytes, if the target is one of size."""
        if self.kbps is not None:
            raise OptionError("kilobits per second are for sounds: pictures have bits per pixel")
        if self.bits_per_pixel is not None:
            return math.floor(self.bits_per_pixel * image.width * image.height / 8)
        return self.size

    def size_for_sound(self, sound: Sound) -> int:
        """The largest allowed number of bytes; raises OptionError for a target of pictures."""
        if self.kbps is not None:
            return math.floor(self.kbps * 125 * sound.length / sound.sample_rate)
        if self.size is None:
            raise OptionError("bits per pixel and PSNR are for pictures: sounds have kilobits per second, or a size")
        return self.size


def encode_to(codec: Codec, image: Image, target: Target, precision: str = "auto", effort: int = 0) -> bytes:
    """The file that comes nearest to a target on its right side; every quality that is tried takes its effort.

    Sizes are filled to 99 % or more, unless quality 100 needs less or the file is so small that one step of the quality
    is more than that. Raises OptionError where no quality gets there.
    """
    encoder = Encoder(codec, [image], precision, keep=True, effort=effort)
    try:
        return _nearest(encoder, image, target, precision)
    except OptionError:
        if not effort:
            raise
        # The search trades bits for error: at the ends of the range one of them may have grown.
        return encode_to(codec, image, target, precision)


def _nearest(encoder: Encoder, image: Image, target: Target, precision: str) -> bytes:
    size = target.size_for(image)
    if size is not None:
        return _largest_within(lambda quality: encoder.files(quality)[0], size)
    assert target.psnr is not None
    return _smallest_above(encoder, image, target.psnr, precision)


def encode_sound_to(
    codec: "SoundCodec", sound: Sound, target: Target, precision: str = "auto", effort: int = 0
) -> bytes:
    """As `encode_to`, for sounds; long ones are gone through once for each quality that is tried."""
    size = target.size_for_sound(sound)
    return _largest_within(SoundEncoder(codec, sound, precision, keep=True, effort=effort).file, size)


def _largest_within(file_at: Callable[[int], bytes], size: int) -> bytes:
    """The file of the highest quality found that has at most `size` bytes."""
    if size < 1:
        raise OptionError("a target of less than a byte")
    files: dict[int, bytes] = {}

    def excess(quality: int) -> float:
        files[quality] = file_at(quality)
        return math.log(len(files[quality]) / size)

    quality = _search(excess, math.log(FILLED))
    if len(files[quality]) > size:
        raise OptionError(f"{size} bytes are too few: at quality 0 the file has {len(files[quality])}")
    return files[quality]


def _smallest_above(encoder: Encoder, image: Image, psnr: float, precision: str) -> bytes:
    files: dict[int, bytes] = {}
    found: dict[int, float] = {}

    def lack(mirrored: int) -> float:
        """Of dB, over the quality counted down from the highest: a rising function, as the search wants it."""
        quality = HIGHEST - mirrored
        files[quality] = encoder.files(quality)[0]
        found[quality] = _psnr(encoder.codec, files[quality], image, precision)
        return max(psnr - found[quality], -psnr)

    quality = HIGHEST - _search(lack, -PSNR_MARGIN)
    if found[quality] < psnr:  # on drawn pictures fidelity does not rise with quality everywhere
        for mirrored in range(HIGHEST // 8, HIGHEST, HIGHEST // 8):
            lack(mirrored)
        quality = min((q for q in found if found[q] >= psnr), default=-1)
    if quality < 0:
        raise OptionError(f"no quality reaches {psnr:g} dB: the best of those tried has {max(found.values()):.2f}")
    return files[quality]


def _search(excess: Callable[[int], float], least: float) -> int:
    """A q256 at which a rising function lies between `least` and 0; else the highest at which it is not above 0.

    Regula falsi (Illinois) on the function, which is close to a straight line in the quality. Gives 0 where it is
    above 0 everywhere.
    """
    low, high = 0, HIGHEST
    at_low = excess(low)
    if at_low > 0:
        return low
    at_high = excess(high)
    if at_high <= 0:
        return high
    aim, value, side = 0.5 * least, at_low, 0
    while high - low > 1 and value < least:
        share = (aim - at_low) / (at_high - at_low)
        middle = min(high - 1, max(low + 1, low + round(share * (high - low))))
        trial = excess(middle)
        if trial <= 0:
            low, at_low, value = middle, trial, trial
            at_high = aim + (at_high - aim) / (2 if side < 0 else 1)
            side = -1
        else:
            high, at_high = middle, trial
            at_low = aim + (at_low - aim) / (2 if side > 0 else 1)
            side = 1
    return low


def _psnr(codec: Codec, data: bytes, image: Image, precision: str) -> float:
    """In dB, over the pixels that can be seen."""
    file = read(data, Limits.none())
    decoded, _ = Decoder(codec, file.header, dict(enumerate(file.units)), Limits.none(), precision).picture()
    error = np.subtract(image.pixels, decoded, dtype=np.float32)
    if image.alpha is not None:
        error = error[image.alpha > 0]
    mean = float(np.square(error, out=error).mean(dtype=np.float64)) if error.size else 0.0
    return 10 * math.log10(255**2 / mean) if mean else math.inf
