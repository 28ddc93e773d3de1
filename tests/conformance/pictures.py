"""Drawn pictures, made of integers alone."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def scene(height: int, width: int, channels: int = 3) -> Pixels:
    """Slopes, a bright box and a little grain, uint8 [H, W, C]."""
    rows, columns = np.mgrid[:height, :width]
    planes = [(rows * (3 + c) + columns * (5 - 2 * c) + 40 * c) % 256 for c in range(channels)]
    picture = np.stack(planes, -1)
    picture[height // 4 : height // 2, width // 3 : width // 3 * 2] = 230
    grain = np.random.default_rng(height * width).integers(-6, 7, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def noise(height: int, width: int) -> Pixels:
    """Every value as likely as any other."""
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)


def board(height: int, width: int) -> Pixels:
    """Black and white pixels in turn."""
    rows, columns = np.mgrid[:height, :width]
    return np.repeat((255 * ((rows + columns) % 2)).astype(np.uint8)[..., None], 3, -1)


def flat(height: int, width: int, value: int) -> Pixels:
    """One gray level."""
    return np.full((height, width, 3), value, np.uint8)


def round_hole(height: int, width: int) -> Pixels:
    """Alpha [H, W]: invisible in the middle, half visible at its border, opaque outside."""
    rows, columns = np.mgrid[:height, :width]
    distance = (2 * rows - height) ** 2 + (2 * columns - width) ** 2
    size = min(height, width) ** 2
    return np.where(distance < size // 4, 0, np.where(distance < size // 2, 128, 255)).astype(np.uint8)
