"""Crops of latents at places where they are those of a crop of the medium, but for a margin at its border."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.codecs.any_codec import AnyCodec
from rarefy.data.layout import Shape, picture_codec
from rarefy.errors import OptionError

_MASK = (1 << 64) - 1
NO_FLIP = (
    "a mirrored latent is not the latent of a mirrored picture (wavelet packets: 75 % off), so latents cannot be "
    "flipped: mirror the pictures before they are packed"
)


@dataclass(frozen=True)
class Crop:
    """A part of each picture, height x width pixels, which the codec's stride must divide.

    is_random: at a place that follows from seed, epoch and sample; else in the middle. Raises OptionError for sides
    that are not above 0.
    """

    height: int
    width: int
    is_random: bool = True

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise OptionError(f"a crop has sides above 0, not {self.height} x {self.width}")

    def extents(self, codec: AnyCodec) -> Shape:
        """Height and width in latents; raises OptionError where the crop would not be aligned, and for sounds."""
        if codec.medium == "sound":
            raise OptionError("sounds have no height and width: take SoundCrop(latents=...)")
        stride = picture_codec(codec).stride
        if self.height % stride or self.width % stride:
            raise OptionError(
                f"a crop of {self.height} x {self.width} pixels is not aligned: latents can be cut at multiples of "
                f"{stride} pixels only"
            )
        return self.height // stride, self.width // stride


@dataclass(frozen=True)
class SoundCrop:
    """A part of each sound, so many latents long: with `walloc-audio` 172.3 of stereo, or 187.5 of mono, are a second.

    is_random: as for `Crop`. Raises OptionError for a length that is not above 0.
    """

    latents: int
    is_random: bool = True

    def __post_init__(self) -> None:
        if self.latents < 1:
            raise OptionError(f"a crop has a length above 0, not {self.latents}")

    def extents(self, codec: AnyCodec) -> Shape:
        """The length in latents; raises OptionError for pictures."""
        if codec.medium != "sound":
            raise OptionError("pictures are not cut along time: take Crop(height, width)")
        return (self.latents,)


AnyCrop = Crop | SoundCrop


def cut(
    latents: Tensor | Sequence[Tensor],
    extents: Shape,
    chance: NDArray[np.uint64] | None,
    name_of: Callable[[int], str],
) -> Tensor | list[Tensor]:
    """Cut a part of `extents` out of each of B latents [C, ...], stacked where all have as many channels.

    chance: a number for each, 64 random bits; without, the parts are the middles. Raises OptionError with the name of a
    sample that is too small.
    """
    parts = []
    for place, one in enumerate(latents):
        room = [there - wanted for there, wanted in zip(one.shape[1:], extents, strict=True)]
        if min(room) < 0:
            raise OptionError(
                f"{name_of(place)}: has {spelled(one.shape[1:])} latents, too few for a crop of {spelled(extents)}"
            )
        bits = None if chance is None else int(chance[place])
        first = [free // 2 if bits is None else (bits >> 32 * axis) % (free + 1) for axis, free in enumerate(room)]
        parts.append(one[(slice(None), *(slice(at, at + e) for at, e in zip(first, extents, strict=True)))])
    return torch.stack(parts) if len({part.shape for part in parts}) == 1 else parts


def spelled(extents: Sequence[int]) -> str:
    """Extents in words, `12 x 12`."""
    return " x ".join(map(str, extents))


def chance(seed: int, epoch: int, samples: Sequence[int]) -> NDArray[np.uint64]:
    """64 random bits for each sample, that depend on nothing else (splitmix64)."""
    mixed = np.asarray(samples, np.uint64) + np.uint64(_mixed(_mixed(seed & _MASK) ^ (epoch & _MASK)))
    with np.errstate(over="ignore"):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _mixed(value: int) -> int:
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
