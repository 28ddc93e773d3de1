"""Mean and deviation of each channel of latents, which networks want their inputs divided by."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rarefy.data.manifest import read_manifest

if TYPE_CHECKING:
    from rarefy.data.dataset import LatentDataset

TOGETHER = 64  # samples that are decoded at once


@dataclass(frozen=True)
class Statistics:
    """Over all positions of all samples, by channel. output: of "integers" or "floats"; weights: SHA-256, in hex."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    samples: int
    output: str
    weights: str

    def normalise(self, latents: Tensor) -> Tensor:
        """Latents [..., C, h, w] to float32 of mean 0 and deviation 1; a channel that never changes becomes 0."""
        mean = torch.tensor(self.mean, dtype=torch.float32, device=latents.device)[:, None, None]
        deviation = torch.tensor(self.deviation, dtype=torch.float32, device=latents.device)[:, None, None]
        return (latents.float() - mean) / torch.where(deviation > 0, deviation, 1)

    def to_dict(self) -> dict[str, Any]:
        """What a manifest keeps."""
        return asdict(self)


def compute_statistics(dataset: "LatentDataset") -> Statistics:
    """Decode every sample once, and give mean and deviation of each channel.

    Sums are of float64, exact for integers. Do it on what one trains on, never with what one tests on.
    """
    total = squares = torch.zeros(0, dtype=torch.float64)
    count = 0
    for latents in _all(dataset):
        values = latents.flatten(1).double()
        if not count:
            total = squares = values.new_zeros(len(values))
        total, squares = total + values.sum(1), squares + values.square().sum(1)
        count += values.shape[1]
    mean = total / count
    deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
    return Statistics(
        tuple(mean.tolist()), tuple(deviation.tolist()), len(dataset), dataset.output, dataset.weights.hex()
    )


def _all(dataset: "LatentDataset") -> Iterator[Tensor]:
    for start in range(0, len(dataset), TOGETHER):
        for sample in dataset.__getitems__(range(start, min(start + TOGETHER, len(dataset)))):
            yield sample.latents


def known_statistics(folder: Path, output: str) -> Statistics | None:
    """The statistics in a folder's manifest; None where there are none, or those of another output."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.statistics is None or manifest.statistics["output"] != output:
        return None
    kept = manifest.statistics
    return Statistics(**(kept | {"mean": tuple(kept["mean"]), "deviation": tuple(kept["deviation"])}))
