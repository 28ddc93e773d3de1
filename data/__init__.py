"""Latents to learn from: shards that `rarefy pack` writes, and datasets that decode them without running a network.

`LatentDataset` is map-style, `LatentStream` iterable; `collate` decodes a batch of `.rfy` files in one call.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rarefy.data.crops import Crop, SoundCrop
    from rarefy.data.dataset import LatentDataset
    from rarefy.data.decoding import decode
    from rarefy.data.samples import Batch, Sample, collate
    from rarefy.data.statistics import Statistics, compute_statistics
    from rarefy.data.stream import LatentStream

_HOMES = {
    "Batch": "samples",
    "Crop": "crops",
    "LatentDataset": "dataset",
    "LatentStream": "stream",
    "Sample": "samples",
    "SoundCrop": "crops",
    "Statistics": "statistics",
    "collate": "samples",
    "compute_statistics": "statistics",
    "decode": "decoding",
}

__all__ = [
    "Batch",
    "Crop",
    "LatentDataset",
    "LatentStream",
    "Sample",
    "SoundCrop",
    "Statistics",
    "collate",
    "compute_statistics",
    "decode",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that packing's light parts load without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rarefy.data' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"rarefy.data.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
