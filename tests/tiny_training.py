"""A recipe that trains in a second, and pictures for it."""

from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = """
codec = "walloc-image"
[model]
latents = 6
width = 16
blocks = 1
lambda_low = 1e-3
lambda_high = 0.2
[data]
patch = 64
scales = [1.0, 0.5]
drawn = 0.1
held_back_one_in = 3
[train]
batch = 2
minutes = 0.004
warmup_steps = 2
decay_from = 0.5
adam = 1e-3
muon = 5e-3
muon_every = 2
clip = 2.0
ema = 0.99
weight_power = -0.25
cost_power = 0.5
gradients = "straight"
paid = [1.0, 1.0]
part = "all"
seed = 5
"""


def write_pictures(folder: Path) -> None:
    """Twelve small pictures in two folders, one with a name too long for a block of a tar file."""
    source = np.random.default_rng(3)
    for number in range(12):
        place = folder / ("a" if number % 2 else "b" * 120)
        place.mkdir(exist_ok=True)
        Image.fromarray(source.integers(0, 255, (72, 80, 3), dtype=np.uint8)).save(place / f"{number}.png")
