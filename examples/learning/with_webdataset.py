"""WebDataset reads packed shards: `python with_webdataset.py SHARDS` prints the labels of each batch.

Bytes stay bytes until `batched` hands a whole batch to `collate`, which decodes it in one call.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import webdataset

from rarefy.data import Batch, collate


def batches(folder: Path, batch_size: int = 64, buffer: int = 1000, seed: int = 0) -> Iterator[Batch]:
    """Batches of latents and classes, mixed through a buffer."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = webdataset.WebDataset(shards, shardshuffle=len(shards), detshuffle=True, seed=seed)
    pairs = samples.shuffle(buffer, seed=seed).decode().to_tuple("rfy", "cls")  # what is unknown stays bytes
    yield from pairs.batched(batch_size, collation_fn=collate)


if __name__ == "__main__":
    for batch in batches(Path(sys.argv[1])):
        print(len(batch.latents), "samples", batch.labels.tolist())
