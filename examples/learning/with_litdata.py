"""LitData streams chunks made of packed shards: `python with_litdata.py SHARDS CHUNKS`.

The chunks keep the bytes of the `.rfy` files; `collate` decodes a batch of them in one call.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import litdata

from rarefy.data import Batch, LatentDataset, collate


def sample(number: int, dataset: LatentDataset) -> dict[str, Any]:
    """What a chunk holds of a sample."""
    return {"rfy": dataset.coded(number), "label": int(dataset.labels[number])}


def convert(folder: Path, target: Path) -> None:
    """Write chunks of 64 MB; a folder that has some is refused."""
    dataset = LatentDataset(folder)
    litdata.optimize(
        fn=partial(sample, dataset=dataset),
        inputs=list(range(len(dataset))),
        output_dir=str(target),
        chunk_bytes="64MB",
        num_workers=1,
        verbose=False,
    )


def decode(rows: list[dict[str, Any]]) -> Batch:
    """Make a batch of what chunks hold."""
    return collate([(row["rfy"], row["label"]) for row in rows])


def batches(target: Path, batch_size: int = 64, seed: int = 0) -> Iterator[Batch]:
    """Batches of latents and classes, in another order for each seed."""
    chunks = litdata.StreamingDataset(str(target), shuffle=True, seed=seed)
    yield from litdata.StreamingDataLoader(chunks, batch_size=batch_size, collate_fn=decode)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
    for batch in batches(Path(sys.argv[2])):
        print(len(batch.latents), "samples", batch.labels.tolist())
