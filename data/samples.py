"""What datasets give: samples, batches of them, and the collation that makes one of the other."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rarefy.data.decoding import decode
from rarefy.errors import OptionError


class Sample(NamedTuple):
    """latents: int16 or float32 [C, h, w] of a picture, [C, n] of a sound.

    label: a class, what a label in JSON says, or None.
    """

    latents: Tensor
    label: Any
    key: str


class Batch(NamedTuple):
    """latents: int16 or float32 [B, C, h, w] or [B, C, n]; a list of [C, h, w] or [C, n] where shapes differ.

    labels: int64 [B] where all are classes, else a list; None where there are none. keys: as in the samples.
    """

    latents: Any
    labels: Any
    keys: list[str]


def collate(items: Sequence[Any]) -> Batch:
    """Make a batch of samples, or of `.rfy` files in bytes, or of pairs of such bytes and a label.

    Bytes are decoded in one call of the entropy coder. A `collate_fn` for `torch.utils.data.DataLoader`, or a
    `collation_fn` for WebDataset's `batched`. Raises what `decode` raises.
    """
    if not items:
        raise OptionError("a batch has at least one sample")
    if isinstance(items[0], Sample):
        latents = [item.latents for item in items]
        return make_batch(latents, [item.label for item in items], [item.key for item in items])
    pairs = [(item, None) if isinstance(item, bytes | bytearray | memoryview) else tuple(item) for item in items]
    return make_batch(decode([bytes(data) for data, _ in pairs]), [label for _, label in pairs], [""] * len(pairs))


def make_batch(latents: Tensor | list[Tensor], labels: list[Any], keys: list[str]) -> Batch:
    """Join what is equal in shape, and labels that are numbers."""
    if not isinstance(latents, Tensor) and len({one.shape for one in latents}) == 1:
        latents = torch.stack(latents)
    return Batch(latents, join_labels(labels), keys)


def join_labels(labels: list[Any]) -> Any:
    """Classes as int64 [B], others as they are, None where there are none."""
    if all(isinstance(label, Integral) and abs(int(label)) < 2**63 for label in labels):
        return torch.tensor([int(label) for label in labels], dtype=torch.int64, device="cpu")
    return None if all(label is None for label in labels) else labels
