"""Rate control: the quality at which a file has a wanted size, or a picture a wanted PSNR.

Latents are computed once; each trial repeats bottleneck and coding alone, and the synthesis where PSNR is asked for.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rarefy.codecs.base import Codec
from rarefy.codecs.container import read
from rarefy.codecs.decoding import Decoder
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.errors import OptionError

HIGHEST = 25600
LARGEST = 1e18  # beyond any file
FILLED = 0.99  # of the wanted size is full enough
PSNR_MARGIN = 0.05  # dB above the wanted PSNR are near enough


@dataclass(frozen=True)
class Target:
    """What a file should have; one of the three.

    size: bytes, not to be exceeded. bits_per_pixel: of the whole file, not to be exceeded. psnr: dB of 8-bit pixels, at
    least.
    """

    size: int | None = None
    bits_per_pixel: float | None = None
    psnr: float | None = None

    def __post_init__(self) -> None:
        values = [v for v in (self.size, self.bits_per_pixel, self.psnr) if v is not None]
        if len(values) != 1:
            raise OptionError("one target at a time: a size, bits per pixel, or a PSNR")
        if isinstance(values[0], str | bytes) or not 0 < values[0] < LARGEST:
            raise OptionError(f"a target is a positive number, not {values[0]!r}")

    def size_for(self, image: Image) -> int | None:
        """The largest allowed number of bytes, if the target is one of size."""
        if self.bits_per_pixel is not None:
            return math.floor(self.bits_per_pixel * image.width * image.height / 8)
        return self.size


def encode_to(codec: Codec, image: Image, target: Target, precision: str = "auto") -> bytes:
    """The file that comes nearest to a target on its right side.

    Sizes are filled to 99 % or more, unless quality 100 needs less or the file is so small that one step of the quality
    is more than that. Raises OptionError where no quality gets there.
    """
    encoder = Encoder(codec, [image], precision, keep=True)
    size = target.size_for(image)
    if size is not None and size < 1:
        raise OptionError("a target of less than a byte")
    if size is not None:
        return _largest_within(encoder, size)
    assert target.psnr is not None
    return _smallest_above(encoder, image, target.psnr, precision)


def _largest_within(encoder: Encoder, size: int) -> bytes:
    """The file of the highest quality found that has at most `size` bytes."""
    files: dict[int, bytes] = {}

    def excess(quality: int) -> float:
        files[quality] = encoder.files(quality)[0]
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
