"""Drawn sounds, made of integers alone."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
FULL = 1 << 15  # of 16 bits


def tones(channels: int, length: int, loudness: int = 1) -> Samples:
    """Two triangle waves and a little grain, others in each channel: float32 [channels, length]."""
    time = np.arange(length)
    grain = np.random.default_rng(length).integers(-200, 201, (channels, length))
    rows = [
        _triangle(time, 301 + 52 * c) * (9000 - 1000 * (c % 5)) + _triangle(time, 43 + 6 * c) * 2500
        for c in range(channels)
    ]
    return (loudness * (np.stack(rows) + grain) / FULL).astype(np.float32)


def noise(channels: int, length: int) -> Samples:
    """Every value as likely as any other."""
    drawn = np.random.default_rng(7).integers(-FULL, FULL, (channels, length))
    return (drawn / FULL).astype(np.float32)


def silence(channels: int, length: int) -> Samples:
    """Nothing at all."""
    return np.zeros((channels, length), np.float32)


def _triangle(time: NDArray[np.int64], period: int) -> NDArray[np.float64]:
    """A wave between -1 and 1."""
    return 4 * np.abs(time % period - period // 2) / period - 1
