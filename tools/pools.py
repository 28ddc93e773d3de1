"""What a trainer draws from: patches of pictures or crops of sound, as the codec's medium asks for."""

from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from rarefy.codecs.audio import read_audio
from rarefy.codecs.registry import build, find
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_level import SPREAD
from rarefy.errors import OptionError
from rarefy.tools.patches import Patches, picture_files, read_rgb, readable
from rarefy.tools.recipe import Recipe, SoundRecipe
from rarefy.tools.sound_patches import SoundPatches, sound_files


class Pool(Protocol):
    """Where batches come from."""

    device: torch.device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Cut `count` items; the generator lives on the pool's device and decides all."""


class SoundPool:
    """Crops for both parts of a codec of sound: float32 [B, 3, length], two channels of stereo and one of mono."""

    def __init__(self, stereo: SoundPatches, mono: SoundPatches) -> None:
        self.stereo, self.mono, self.device = stereo, mono, stereo.device

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """See `Pool.draw`."""
        return torch.cat([self.stereo.draw(count, generator), self.mono.draw(count, generator)], 1)


def files_of(codec: str, folders: list[Path], one_in: int, held_back: bool) -> list[Path]:
    """The pictures or sounds, as the codec's medium asks for, of one side of the split, sorted by name."""
    kind = sound_files if find(codec).media == "sound" else picture_files
    return kind(folders, one_in, held_back=held_back)


def readable_files_of(codec: str, files: list[Path]) -> list[Path]:
    """Pictures or sounds that are not damaged, as the codec's medium asks for; the others are said on stderr."""
    return readable(files, partial(read_audio, warns=False) if find(codec).media == "sound" else read_rgb)


def pool_of(recipe: Recipe, folders: list[Path], device: torch.device, workers: int) -> tuple[Pool, str]:
    """The pool of a recipe, without what is held back, and what it holds in words."""
    d = recipe.data
    if isinstance(d, SoundRecipe):
        return _sounds(recipe, d, folders, device, workers)
    files = files_of(recipe.codec, folders, d.held_back_one_in, held_back=False)
    patches = Patches(files, d.patch, d.scales, device, drawn=d.drawn, workers=workers)
    return patches, f"{len(files)} pictures, {patches.megapixels:.0f} megapixels at all scales"


def _sounds(
    recipe: Recipe, d: SoundRecipe, folders: list[Path], device: torch.device, workers: int
) -> tuple[Pool, str]:
    codec = build(recipe.codec, recipe.model)
    if not isinstance(codec, SoundCodec):
        raise OptionError(f'codec "{recipe.codec}" is not trained on sounds')
    files = files_of(recipe.codec, folders, d.held_back_one_in, held_back=False)
    pools = []
    for part in (codec.stereo, codec.mono):
        chosen = _chosen(files, part.sample_rate, d.slow_one_in)
        crops = SoundPatches(chosen, d.crop, part.sample_rate, part.channels, device, spread=SPREAD, workers=workers)
        pools.append(crops)
    minutes = [pool.seconds / 60 for pool in pools]
    return SoundPool(*pools), f"{len(files)} sounds, {minutes[0]:.0f} minutes for stereo, {minutes[1]:.0f} for mono"


def _chosen(files: list[Path], sample_rate: int, slow_one_in: int) -> list[Path]:
    """All files but most of those of a much lower rate, whose upper bands are empty."""
    from rarefy.codecs.audio import open_audio

    fast: list[Path] = []
    slow: list[Path] = []
    for file in files:
        with open_audio(file) as reader:
            (fast if reader.sample_rate * 4 >= sample_rate * 3 else slow).append(file)
    return fast + slow[::slow_one_in]
