"""What a benchmark is made of: the medium under test, candidates that make files of it, metrics that take two of it."""

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

Medium = TypeVar("Medium")
BEST_DB = 100.0  # of a similarity of 1, so that it has a place on the axis


def decibels(similarity: float) -> float:
    """Return a similarity of 0..1 on the usual logarithmic scale: -10 log10(1 - similarity)."""
    return BEST_DB if similarity >= 1 - 10 ** (-BEST_DB / 10) else -10 * math.log10(1 - similarity)


# Scales of plots and rate differences by the names that results give them.
SCALES: Mapping[str, Callable[[float], float]] = {"linear": float, "decibels": decibels}


@dataclass(frozen=True)
class Item(Generic[Medium]):
    """One medium to measure on. facts: what a row says of it, such as width and height.

    amount: by how much of it a file's bits are divided, such as its number of pixels. digest: SHA-256 of the medium in
    hex, by which cached results are found again.
    """

    name: str
    medium: Medium
    facts: Mapping[str, int]
    amount: float
    digest: str


def _no_parts(data: bytes) -> dict[str, int]:
    return {}


def _no_times() -> AbstractContextManager[dict[str, float]]:
    return nullcontext({})


@dataclass(frozen=True)
class Candidate(Generic[Medium]):
    """A codec under test: its settings, from the smallest file to the largest, and how it makes and reads a file.

    version: what else its files and times depend on (library, weights, sources): cached results are found by it.
    size_parts: bytes of a file by part. times: a context whose value holds, at its end, milliseconds by part.
    """

    name: str
    settings: tuple[float, ...]
    encode: Callable[[Medium, float], bytes]
    decode: Callable[[bytes], Medium]
    is_anchor: bool
    describe: str
    version: str = ""
    size_parts: Callable[[bytes], dict[str, int]] = _no_parts
    times: Callable[[], AbstractContextManager[dict[str, float]]] = _no_times


@dataclass(frozen=True)
class Metric(Generic[Medium]):
    """Fidelity of a decoded medium; higher is better.

    key: its name in results. measure: reference and decoded to a number, infinite for equal media where it has no other
    bound, None where the medium is too small for it. scale: of SCALES, for plots and rate differences.
    """

    key: str
    label: str
    describe: str
    measure: Callable[[Medium, Medium], float | None]
    scale: str = "linear"
    digits: int = 2

    def facts(self) -> dict[str, str | int]:
        """Return what a result says of its metrics."""
        return {"label": self.label, "describe": self.describe, "scale": self.scale, "digits": self.digits}
