"""Grids: how a medium is cut into boxes, for any number of axes. Needs nothing but integers."""

from dataclasses import dataclass
from itertools import product
from math import prod

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Grid:
    """Boxes of side `step` that cover `shape`, numbered along the last axis first; the last of an axis may be smaller.

    A step of 0 means one box over all. Raises ValueError for an axis without extent.
    """

    shape: tuple[int, ...]
    step: int

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or self.step < 0:
            raise ValueError(f"no grid covers {self.shape} in steps of {self.step}")

    @property
    def counts(self) -> tuple[int, ...]:
        """Boxes along each axis."""
        return tuple(-(-extent // self.step) if self.step else 1 for extent in self.shape)

    def __len__(self) -> int:
        return prod(self.counts)

    def box(self, number: int) -> Box:
        """The box of a number."""
        if not 0 <= number < len(self):
            raise IndexError(f"box {number} of {len(self)}")
        spans = []
        for extent, count in zip(reversed(self.shape), reversed(self.counts), strict=True):
            number, place = divmod(number, count)
            spans.append(slice(place * self.step, min(extent, (place + 1) * self.step) if self.step else extent))
        return tuple(reversed(spans))

    def touched(self, box: Box) -> list[int]:
        """Numbers of the boxes that share something with `box`, in order; the box must not be empty."""
        step = self.step or max(self.shape)
        ranges = [range(span.start // step, -(-span.stop // step)) for span in box]
        numbers = []
        for place in product(*ranges):
            number = 0
            for count, index in zip(self.counts, place, strict=True):
                number = number * count + index
            numbers.append(number)
        return numbers


def grown(box: Box, margin: int, shape: tuple[int, ...]) -> Box:
    """The box with a margin on every side, as far as `shape` reaches."""
    return tuple(
        slice(max(0, span.start - margin), min(extent, span.stop + margin))
        for span, extent in zip(box, shape, strict=True)
    )


def common(first: Box, second: Box) -> Box:
    """What two boxes share; it has spans that end before they begin where they share nothing."""
    return tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))


def relative(box: Box, origin: Box) -> Box:
    """The box as it lies inside `origin`."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, origin, strict=True))


def divided(box: Box, by: int) -> Box:
    """The box in a `by` times coarser raster: every coarse place that it touches."""
    return tuple(slice(span.start // by, -(-span.stop // by)) for span in box)


def multiplied(box: Box, by: int) -> Box:
    """The box in a `by` times finer raster."""
    return tuple(slice(span.start * by, span.stop * by) for span in box)


def extents(box: Box) -> tuple[int, ...]:
    """Sides of the box."""
    return tuple(span.stop - span.start for span in box)
