"""What the experiment with voices needs: windows of recordings of several speakers, and a network along time.

The task is to say who speaks. All speakers say the same two sentences in the same room, each in several recordings with
other emotions; a recording is either learned from or tested on, so that what is alike is the voice.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rarefy.codecs.audio import read_audio

# Recordings of RAVDESS (Livingstone and Russo 2018): actor, then the emotions of both sentences
NAME = re.compile(r"en_ravdess_(a\d\d)-.*\.(?:opus|flac|wav)")
RATE, LENGTH = 24_000, 32_768  # Hz, and samples of a window: 256 latents of mono
LEVEL = 0.05  # root of the mean square of every window: loudness tells emotions, and the codec does the same
WIDTH = 48
DROPPED = 0.3


class Voices(NamedTuple):
    """samples: float32 [N, LENGTH]; labels: int64 [N], the speaker; recordings: int64 [N], which of the speaker's."""

    samples: Tensor
    labels: Tensor
    recordings: Tensor


def recordings_of(folder: Path) -> list[list[Path]]:
    """The recordings of each speaker, as many of each: those of the one who has fewest."""
    by_speaker: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := NAME.fullmatch(path.name):
            by_speaker.setdefault(match[1], []).append(path)
    if len(by_speaker) < 2:
        raise SystemExit(f"{folder}: holds no two speakers, in files named like en_ravdess_a01-e0202-e0101.opus")
    count = min(map(len, by_speaker.values()))
    return [paths[:count] for _, paths in sorted(by_speaker.items())]


def windows(recordings: Sequence[Sequence[Path]], count: int) -> Voices:
    """Cut `count` windows out of each recording, at equal distances."""
    cut, labels, numbers = [], [], []
    for speaker, paths in enumerate(recordings):
        for number, path in enumerate(paths):
            samples = read_audio(path, warns=False).resampled(RATE).samples.mean(0)
            if len(samples) < LENGTH:
                raise SystemExit(f"{path}: is shorter than a window")
            for start in np.linspace(0, len(samples) - LENGTH, count).astype(int):
                window = samples[start : start + LENGTH]
                cut.append(window * (LEVEL / np.sqrt(np.square(window).mean())))
                labels.append(speaker)
                numbers.append(number)
    return Voices(torch.from_numpy(np.stack(cut)), torch.tensor(labels), torch.tensor(numbers))


def crops(inputs: Tensor, length: int, seed: int, epoch: int) -> Tensor:
    """A random part [N, C, length] of each input."""
    source = torch.Generator().manual_seed(seed * 1000 + epoch)
    starts = torch.randint(inputs.shape[2] - length + 1, (len(inputs),), generator=source).tolist()
    return torch.stack([one[:, start : start + length] for one, start in zip(inputs, starts, strict=True)])


def middle(inputs: Tensor, length: int) -> Tensor:
    """The part in the middle."""
    start = (inputs.shape[2] - length) // 2
    return inputs[:, :, start : start + length]


def network(channels: int, classes: int) -> nn.Module:
    """Layers along time, at ever fewer positions."""
    return nn.Sequential(
        nn.BatchNorm1d(channels),
        *_layer(channels, WIDTH, 1, kernel=5),
        *_layer(WIDTH, WIDTH, 2),
        Residual(WIDTH),
        *_layer(WIDTH, 2 * WIDTH, 2),
        Residual(2 * WIDTH),
        *_layer(2 * WIDTH, 2 * WIDTH, 2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Dropout(DROPPED),
        nn.Linear(2 * WIDTH, classes),
    )


class Residual(nn.Module):
    """Two layers around which the input goes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(width, width, 1), *_layer(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x: float32 [B, width, n]."""
        out: Tensor = x + self.layers(x)
        return out


def _layer(inputs: int, outputs: int, stride: int, kernel: int = 3) -> list[nn.Module]:
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm1d(outputs), nn.ReLU()]
