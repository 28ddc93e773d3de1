"""Training pictures as one flat uint8 array, on any device, and random patches cut from it by index arithmetic.

Decoding a picture costs more than a training step, so every picture is decoded once and stays in memory. Smaller copies
of each picture widen the range of scales and lift the quality of lossy sources.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.codecs.folders import visible_files
from rarefy.codecs.media import as_image
from rarefy.codecs.suffixes import PICTURES
from rarefy.errors import MediaError
from rarefy.tools.synthetic import SIDE, draw_pictures
from rarefy.tools.terminal import describe
from rarefy.tools.training_log import say

Result = TypeVar("Result")


def is_held_back(name: str, one_in: int) -> bool:
    """Whether a file belongs to the held-back split: a property of its name alone, so that no list is needed."""
    return one_in > 0 and int(hashlib.sha1(os.fsencode(name)).hexdigest()[:8], 16) % one_in == 0


def picture_files(folders: list[Path], one_in: int, held_back: bool) -> list[Path]:
    """The pictures of one side of the split, sorted by name."""
    return [p for p in files_below(folders, PICTURES) if is_held_back(p.name, one_in) == held_back]


def files_below(folders: list[Path], suffixes: frozenset[str]) -> list[Path]:
    """The files with these suffixes, sorted; one that is in two of the folders comes once."""
    found = (folder / name for folder in folders for name in visible_files(folder))
    return sorted({os.path.abspath(p): p for p in found if p.suffix.lower() in suffixes}.values())


def readable(files: list[Path], read: Callable[[Path], object]) -> list[Path]:
    """The files that `read` takes, in order; those that are damaged are said on stderr and left out."""

    def proved(path: Path) -> Path:
        read(path)
        return path

    return read_each(files, proved, 1)


def read_each(files: list[Path], read: Callable[[Path], Result], workers: int) -> list[Result]:
    """What `read` makes of each file, in order; those that are damaged are said on stderr and left out."""
    tried = partial(_tried, read)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            results = list(pool.map(tried, files, chunksize=4))
    else:
        results = list(map(tried, files))
    for result in results:
        if isinstance(result, _LeftOut):
            say(f"rarefy: warning: {result.reason}: left out")
    return [result for result in results if not isinstance(result, _LeftOut)]


@dataclass(frozen=True)
class _LeftOut:
    reason: str


def _tried(read: Callable[[Path], Result], path: Path) -> Result | _LeftOut:
    try:
        return read(path)
    except (MediaError, OSError) as error:
        return _LeftOut(describe(error, str(path)))


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 [H, W, 3], as codecs see it: upright, gray as three equal channels, without alpha.

    Raises MediaError for what is damaged.
    """
    pixels = as_image(path, warns=False).pixels
    return np.array(np.broadcast_to(pixels, (*pixels.shape[:2], 3)), order="C")


def read_scales(path: Path, scales: tuple[float, ...], smallest: int) -> list[NDArray[np.uint8]]:
    """Decode a picture to uint8 [H, W, 3] at each scale at which its shorter side is at least `smallest` pixels."""
    from PIL import Image

    picture = Image.fromarray(read_rgb(path))
    sizes = [(scale, (round(scale * picture.width), round(scale * picture.height))) for scale in scales]
    return [
        np.asarray(picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS))
        for scale, size in sizes
        if min(size) >= smallest
    ]


class Patches:
    """Random square patches: uint8 [B, 3, size, size], flipped and transposed at random, from a pool on `device`.

    drawn: which part of the patches shows no photograph but `rarefy.tools.synthetic`.
    """

    def __init__(
        self,
        files: list[Path],
        size: int,
        scales: tuple[float, ...],
        device: torch.device,
        *,
        drawn: float = 0.0,
        workers: int = 1,
    ) -> None:
        read = partial(read_scales, scales=scales, smallest=size)
        pictures = [a for many in read_each(files, read, workers) for a in many]
        if not pictures:
            raise MediaError(f"no training pictures with a shorter side of at least {size} pixels")
        area = sum(a.shape[0] * a.shape[1] for a in pictures)
        pictures += draw_pictures(round(drawn / (1 - drawn) * area / SIDE**2), seed=1)
        shapes = torch.tensor([a.shape[:2] for a in pictures], dtype=torch.long)
        areas = shapes.prod(1)
        self.size = size
        self.device = device
        self.pixels = torch.from_numpy(np.concatenate([a.reshape(-1, 3) for a in pictures])).to(device)
        self.starts = (areas.cumsum(0) - areas).to(device)
        self.heights, self.widths = shapes.to(device).unbind(1)
        self.ends = (areas.double().cumsum(0) / areas.sum()).to(device)
        self.megapixels = float(areas.sum()) / 1e6

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Cut `count` patches; the generator lives on the pool's device."""
        u = torch.rand(6, count, device=self.device, generator=generator)
        which = torch.searchsorted(self.ends, u[5].double()).clamp(max=len(self.ends) - 1)
        height, width = self.heights[which], self.widths[which]
        top = (u[0] * (height - self.size + 1)).long()
        left = (u[1] * (width - self.size + 1)).long()
        run = torch.arange(self.size, device=self.device)
        down = torch.where(u[2, :, None] < 0.5, run, self.size - 1 - run)
        across = torch.where(u[3, :, None] < 0.5, run, self.size - 1 - run)
        rows, columns = down[:, :, None], across[:, None, :]
        turned = u[4, :, None, None] < 0.5
        y = torch.where(turned, down[:, None, :], rows)
        x = torch.where(turned, across[:, :, None], columns)
        index = (self.starts[which] + top * width + left)[:, None, None] + y * width[:, None, None] + x
        return self.pixels[index].permute(0, 3, 1, 2)
