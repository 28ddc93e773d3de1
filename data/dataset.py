"""A map-style dataset of latents, for any sampler."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from rarefy.codecs.limits import Limits
from rarefy.data.crops import NO_FLIP, Crop, SoundCrop
from rarefy.data.reading import Samples, shared_number
from rarefy.data.samples import Sample
from rarefy.data.statistics import Statistics, known_statistics
from rarefy.errors import OptionError


class LatentDataset(Dataset[Sample]):
    """The latents of packed shards, or of a folder of `.rfy` files, by number.

    path: a folder that `rarefy pack` or WebDataset wrote, one shard, or a folder of `.rfy` files with or without
    subfolders that are classes. output: "integers" (int16, codecs with a lattice), "floats" (float32), or "auto":
    integers where there are some. crop: a part of each, at a place that `seed`, `set_epoch` and the number choose:
    a `Crop` of pictures, a `SoundCrop` of sounds.

    A picture has latents [C, h, w], a mono or stereo sound [C, n], its units joined along time; C is another number for
    mono than for stereo.

    All samples must be of one codec, one generation of weights and, for integers, one quality. Entropy decoding alone:
    no transform runs. Worker-safe, with fork and spawn; a `DataLoader` fetches whole batches, which are decoded in one
    call: give it `collate_fn=rarefy.data.collate`.

    Raises OptionError, FormatError, and WeightsError where weights differ or are not here.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        output: str = "auto",
        crop: Crop | SoundCrop | None = None,
        flip: bool = False,
        seed: int = 0,
        limits: Limits | None = None,
    ) -> None:
        if flip:
            raise OptionError(NO_FLIP)
        self._samples = Samples(Path(path), output, crop, seed, limits)
        self._epoch = shared_number(0)

    def __len__(self) -> int:
        return len(self._samples.index)

    def __getitem__(self, number: int) -> Sample:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Sample]:
        """Samples by number, decoded at once; raises IndexError for numbers that there are not."""
        numbers = [self._checked(int(number)) for number in numbers]
        latents = self._samples.latents(numbers, int(self._epoch))
        index = self._samples.index
        return [
            Sample(one, self._samples.label(number), index.key(number))
            for one, number in zip(latents, numbers, strict=True)
        ]

    def _checked(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        return number % len(self)

    def set_epoch(self, epoch: int) -> None:
        """Choose other places for random crops; workers that run already see it too."""
        self._epoch[0] = epoch

    def coded(self, number: int) -> bytes:
        """The `.rfy` file of a sample."""
        return self._samples.coded(self._checked(number))

    @property
    def codec(self) -> str:
        """Name of the codec."""
        return self._samples.index.codec

    @property
    def weights(self) -> bytes:
        """SHA-256 of the weights that made the latents."""
        return self._samples.codec.weights_hash

    @property
    def output(self) -> str:
        """What latents are: "integers" or "floats"."""
        return self._samples.output

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 0, 1 …, where they are known."""
        return self._samples.index.classes

    @property
    def labels(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The classes of all samples, int64 [n]; -1 where there is none."""
        return self._samples.index.labels

    @property
    def statistics(self) -> Statistics | None:
        """What `rarefy pack --statistics` found, where that is of this output."""
        return known_statistics(self._samples.index.root, self.output)
