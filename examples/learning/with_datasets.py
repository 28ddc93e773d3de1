"""Hugging Face datasets streams packed shards: `python with_datasets.py SHARDS` prints the labels of each batch.

Its own reader of WebDataset shards gives a column of bytes; `collate` decodes a batch in one call. On a hub, put the
shards and `manifest.json` into a repository as they are.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from torch.utils.data import DataLoader

from rarefy.data import Batch, collate


def decode(rows: list[dict[str, Any]]) -> Batch:
    """Make a batch of the rows of the columns `rfy` and `cls`."""
    return collate([(row["rfy"], row["cls"]) for row in rows])


def batches(folder: Path, batch_size: int = 64, buffer: int = 1000, seed: int = 0) -> Iterator[Batch]:
    """Batches of latents and classes, mixed through a buffer."""
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    rows = datasets.load_dataset("webdataset", data_files={"train": shards}, split="train", streaming=True)
    yield from DataLoader(rows.shuffle(seed=seed, buffer_size=buffer), batch_size=batch_size, collate_fn=decode)


if __name__ == "__main__":
    for batch in batches(Path(sys.argv[1])):
        print(len(batch.latents), "samples", batch.labels.tolist())
