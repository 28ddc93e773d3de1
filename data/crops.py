"""Crops of latents at places where they are those of a crop of the picture, but for a margin at its border."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.errors import OptionError

_MASK = (1 << 64) - 1
NO_FLIP = (
    "a mirrored latent is not the latent of a mirrored picture (wavelet packets: 75 % off), so latents cannot be "
    "flipped: mirror the pictures before they are packed"
)


@dataclass(frozen=True)
class Crop:
    """A part of each sample, height x width pixels, which the codec's stride must divide.

    is_random: at a place that follows from seed, epoch and sample; else in the middle. Raises OptionError for sides
    that are not above 0.
    """

    height: int
    width: int
    is_random: bool = True

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise OptionError(f"a crop has sides above 0, not {self.height} x {self.width}")

    def sides(self, stride: int) -> tuple[int, int]:
        """Height and width in latents; raises OptionError where the crop would not be aligned."""
        if self.height % stride or self.width % stride:
            raise OptionError(
                f"a crop of {self.height} x {self.width} pixels is not aligned: latents can be cut at multiples of "
                f"{stride} pixels only"
            )
        return self.height // stride, self.width // stride

    def cut(
        self, latents: Tensor | Sequence[Tensor], stride: int, name_of: Callable[[int], str], chance: NDArray[np.uint64]
    ) -> Tensor:
        """Cut each of B latents [C, h, w]; chance: a number for each, 64 random bits. Gives [B, C, height, width]."""
        height, width = self.sides(stride)
        parts = []
        for place, (one, bits) in enumerate(zip(latents, chance.tolist(), strict=True)):
            rows, columns = one.shape[1] - height, one.shape[2] - width
            if rows < 0 or columns < 0:
                raise OptionError(
                    f"{name_of(place)}: has {one.shape[1]} x {one.shape[2]} latents, too few for a crop of "
                    f"{height} x {width}"
                )
            y, x = rows // 2, columns // 2
            if self.is_random:
                y, x = bits % (rows + 1), (bits >> 32) % (columns + 1)
            parts.append(one[:, y : y + height, x : x + width])
        return torch.stack(parts)


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
