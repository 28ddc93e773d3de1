"""Training sound as one flat int16 array, on any device, and random crops cut from it by index arithmetic.

Like `rarefy.tools.patches` for pictures: every file is decoded and resampled once and stays in memory. 16 bits hold an
hour of stereo at 44.1 kHz in 635 MB.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.codecs.audio import read_audio
from rarefy.codecs.audio_resampling import resample
from rarefy.codecs.suffixes import SOUNDS
from rarefy.errors import MediaError, OptionError
from rarefy.tools.patches import files_below, is_held_back, read_each

_FULL = 1 << 15  # steps of int16 in full scale


def sound_files(folders: list[Path], one_in: int, held_back: bool) -> list[Path]:
    """The sounds of one side of the split, sorted by name."""
    return [p for p in files_below(folders, SOUNDS) if is_held_back(p.name, one_in) == held_back]


def read_steps(path: Path, sample_rate: int) -> NDArray[np.int16]:
    """Read a sound to int16 [1 or 2, n] at a sample rate.

    More than two channels become one, their mean. A sound that leaves full scale is made softer as a whole, since
    clipping would be learned.
    """
    audio = read_audio(path, warns=False)
    samples = audio.samples if audio.channels <= 2 else audio.samples.mean(0, keepdims=True)
    samples = resample(samples, audio.sample_rate, sample_rate)
    loudest = float(np.abs(samples).max(initial=0))
    steps = np.rint(samples * (_FULL / max(loudest, 1.0)))
    return np.clip(steps, -_FULL, _FULL - 1).astype(np.int16)


class SoundPatches:
    """Random crops: float32 [B, channels, length] in -1..1, from a pool on `device`.

    Mono sources serve stereo: half of the crops have two equal channels, the others are panned. Stereo sources serve
    mono by the mean of both. Half of the crops have their sign changed, and half of the stereo ones their sides.

    length: samples per channel of a crop; files shorter than that are not used. channels: 1 or 2. spread: what the root
    of the mean square of every file is brought to, as codecs do it; without, loudness stays. workers: processes that
    read files; damaged ones are said on stderr and left out.

    Raises MediaError where no file is long enough, OptionError for other numbers of channels.
    """

    def __init__(
        self,
        files: list[Path],
        length: int,
        sample_rate: int,
        channels: int,
        device: torch.device,
        *,
        spread: float | None = None,
        workers: int = 1,
    ) -> None:
        if channels not in (1, 2):
            raise OptionError(f"crops have 1 or 2 channels, not {channels}")
        read = partial(read_steps, sample_rate=sample_rate)
        sounds = [steps for steps in read_each(files, read, workers) if steps.shape[1] >= length]
        if not sounds:
            raise MediaError(f"no training sounds of at least {length} samples at {sample_rate} Hz")
        self.length, self.channels, self.sample_rate, self.device = length, channels, sample_rate, device
        self.steps = torch.from_numpy(np.concatenate([steps.reshape(-1) for steps in sounds])).to(device)
        sizes = torch.tensor([steps.size for steps in sounds])
        lengths = torch.tensor([steps.shape[1] for steps in sounds])
        self.starts = (sizes.cumsum(0) - sizes).to(device)
        self.lengths = lengths.to(device)
        self.distances = (sizes - lengths).to(device)  # from a sample to the other channel's, 0 in mono
        self.ends = (lengths.double().cumsum(0) / lengths.sum()).to(device)
        self.seconds = float(lengths.sum()) / sample_rate
        self.gains = torch.tensor([_gain(steps, spread) for steps in sounds], device=device)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Cut `count` crops; the generator lives on the pool's device and decides all."""
        u = torch.rand(6, count, device=self.device, generator=generator)
        which = torch.searchsorted(self.ends, u[0].double()).clamp(max=len(self.ends) - 1)
        place = (u[1].double() * (self.lengths[which] - self.length + 1)).long()
        run = torch.arange(self.length, device=self.device)
        left = (self.starts[which] + place)[:, None] + run
        right = left + self.distances[which, None]
        crops = self.steps[torch.stack((left, right), 1)].float() / _FULL
        crops = crops * (torch.where(u[2] < 0.5, 1.0, -1.0) * self.gains[which])[:, None, None]
        if self.channels == 1:
            return crops.mean(1, keepdim=True)
        crops = torch.where((u[3] < 0.5)[:, None, None], crops, crops.flip(1))
        is_panned = (self.distances[which] == 0) & (u[4] < 0.5)
        return crops * torch.where(is_panned[:, None], _panning(u[5]), 1.0)[:, :, None]


def _gain(steps: NDArray[np.int16], spread: float | None) -> float:
    """What brings a file to a spread; silence stays what it is."""
    now = float(np.sqrt(np.mean(np.square(steps, dtype=np.float64)))) / _FULL
    return 1.0 if spread is None or not now else spread / now


def _panning(place: Tensor) -> Tensor:
    """Give gains [B, 2] for places from 0 (left) to 1 (right); none is above 1, so that nothing leaves full scale."""
    return torch.stack((2 - 2 * place, 2 * place), 1).clamp(max=1)
