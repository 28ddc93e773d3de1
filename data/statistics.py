"""Mean and deviation of each channel of latents, which networks want their inputs divided by."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rarefy.data.manifest import FILE, read_manifest
from rarefy.errors import FormatError, OptionError

if TYPE_CHECKING:
    from rarefy.data.dataset import LatentDataset

TOGETHER = 64  # samples that are decoded at once


@dataclass(frozen=True)
class Statistics:
    """Over all positions of all samples, by channel. output: of "integers" or "floats"; weights: SHA-256, in hex.

    axes: of latents, beside their channels: 2 of pictures, 1 of sounds. others: those of samples with other numbers of
    channels, which are mono and stereo sounds in one folder; fewest channels come first.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    samples: int
    output: str
    weights: str
    axes: int = 2
    others: tuple["Statistics", ...] = ()

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents [..., C, h, w] or [..., C, n] to float32 of mean 0 and deviation 1.

        A channel that never changes becomes 0. Raises OptionError where these are of other numbers of channels.
        """
        channels = latents.shape[-1 - self.axes] if latents.ndim > self.axes else 0
        own = next((one for one in (self, *self.others) if len(one.mean) == channels), None)
        if own is None:
            raise OptionError(f"these statistics are not of latents with the shape {tuple(latents.shape)}")
        shape = (-1, *[1] * self.axes)
        mean = torch.tensor(own.mean, dtype=torch.float32, device=latents.device).reshape(shape)
        deviation = torch.tensor(own.deviation, dtype=torch.float32, device=latents.device).reshape(shape)
        return (latents.float() - mean) / torch.where(deviation > 0, deviation, 1)

    def to_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return asdict(self)


def compute_statistics(dataset: "LatentDataset", numbers: Sequence[int] | None = None) -> Statistics:
    """Decode every sample once, and give mean and deviation of each channel.

    numbers: of the samples to look at, such as `subset.indices` of `torch.utils.data.Subset`; all without. Sums are of
    float64, exact for integers. Do it on what one trains on, never with what one tests on.

    Raises OptionError where there is no sample.
    """
    numbers = range(len(dataset)) if numbers is None else numbers
    if not len(numbers):
        raise OptionError("statistics of no samples")
    sums: dict[int, _Sums] = {}  # by number of channels
    axes = 0
    for latents in _each(dataset, numbers):
        axes = latents.ndim - 1
        sums.setdefault(len(latents), _Sums(len(latents))).add(latents.flatten(1).double())
    first, *others = [
        Statistics(*sums[channels].moments(), sums[channels].samples, dataset.output, dataset.weights.hex(), axes)
        for channels in sorted(sums)
    ]
    return replace(first, others=tuple(others))


class _Sums:
    """Sums over positions, float64 [channels]."""

    def __init__(self, channels: int) -> None:
        self.total, self.squares = torch.zeros(2, channels, dtype=torch.float64, device="cpu")
        self.positions = self.samples = 0

    def add(self, values: Tensor) -> None:
        """Add a sample; values: float64 [channels, positions]."""
        self.total = self.total + values.sum(1)
        self.squares = self.squares + values.square().sum(1)
        self.positions += values.shape[1]
        self.samples += 1

    def moments(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each channel."""
        mean = self.total / self.positions
        deviation = (self.squares / self.positions - mean.square()).clamp(min=0).sqrt()
        return tuple(mean.tolist()), tuple(deviation.tolist())


def _each(dataset: "LatentDataset", numbers: Sequence[int]) -> Iterator[Tensor]:
    for start in range(0, len(numbers), TOGETHER):
        for sample in dataset.__getitems__(numbers[start : start + TOGETHER]):
            yield sample.latents


def known_statistics(folder: Path, output: str) -> Statistics | None:
    """The statistics in a folder's manifest; None where there are none, or those of another output."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.statistics is None:
        return None
    try:
        known = _read(manifest.statistics)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{folder / FILE}: its statistics are not whole ({error!r})") from error
    return known if known.output == output else None


def _read(kept: dict[str, Any]) -> Statistics:
    tuples = {name: tuple(kept[name]) for name in ("mean", "deviation")}
    return Statistics(**(kept | tuples | {"others": tuple(map(_read, kept.get("others", ())))}))
