"""Which neighbours a token is expected by: classes of tokens, and a table from the neighbours' classes to a context."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Contexts = NDArray[np.uint16]
Classes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def one_context(alphabet: int) -> tuple[Classes, Contexts]:
    """Give classes and contexts for tokens that do not look at their neighbours."""
    return np.zeros(alphabet, np.uint8), np.zeros((2, 2), np.uint16)


def previous_contexts(class_count: int) -> Contexts:
    """Give contexts for as many classes of the previous token: one for each, and one for the first token."""
    ids = np.arange(class_count + 1, dtype=np.uint16)
    return np.repeat(ids[:, None], class_count + 1, axis=1)


def neighbour_contexts(class_count: int) -> Contexts:
    """Give contexts for as many classes of the left token, and of the one above: one for each pair, at most 255."""
    return np.arange((class_count + 1) ** 2, dtype=np.uint16).reshape(class_count + 1, class_count + 1)


def context_ids(tokens: NDArray[Any], classes: Classes, contexts: Contexts, grid_width: int = 0) -> Integers:
    """Give the context of each token of a stream: int64 [n]. The arguments are those of `TokenModel` and `encode`."""
    outside = len(contexts) - 1
    shown = np.asarray(classes, np.int64)[tokens]
    left, above = np.full_like(shown, outside), np.full_like(shown, outside)
    left[1:] = shown[:-1]
    if grid_width:
        left[::grid_width] = outside
        above[grid_width:] = shown[:-grid_width]
    return np.asarray(contexts, np.int64)[left, above]


def count_tokens(
    streams: Iterable[NDArray[Any]], classes: Classes, contexts: Contexts, grid_width: int = 0
) -> Integers:
    """Count tokens by context over many streams, for `TokenModel.from_counts`: int64 [Q, K]."""
    counts = np.zeros((int(np.max(contexts)) + 1, len(classes)), np.int64)
    for tokens in streams:
        np.add.at(counts, (context_ids(tokens, classes, contexts, grid_width), tokens), 1)
    return counts
