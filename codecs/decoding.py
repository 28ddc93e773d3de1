"""Files to pictures: any part, at any of a few scales, with memory for a row of units at most.

Latents of a unit come from its bytes alone. Transforms look beyond: they run on windows, parts of units with a halo of
neighbouring latents, always the same windows, so that a region equals the crop of the whole picture.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.codecs import alpha, container
from rarefy.codecs.container import ALPHA, LATENTS, File, Header
from rarefy.codecs.grid import Box, Grid, common, divided, extents, grown, multiplied, relative
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.codecs.parallel import side_by_side
from rarefy.entropy.precision import require_float32
from rarefy.errors import FormatError, OptionError, WeightsError

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec

WINDOW = 256  # pixels that the synthesis gives at once in large pictures
WHOLE_PIXELS = 1 << 20  # pictures up to this are one unit, and one window
REDUCTIONS = (1, 2, 4, 8)
LOST = 128  # gray level of what could not be decoded

Pixels = NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Decoder:
    """One file on its way to pixels.

    units: by number; all of them, unless `is_lenient`. Then `lost` holds the numbers of those that are missing or
    damaged, with the reason: gray in pictures.
    """

    def __init__(
        self,
        codec: "Codec",
        header: Header,
        units: Mapping[int, container.Unit],
        limits: Limits | None = None,
        precision: str = "auto",
        is_lenient: bool = False,
    ) -> None:
        require_float32(codec)
        codec.check(header)
        self.codec, self.header, self.units, self.precision = codec, header, units, precision
        self.limits = limits or Limits()
        self.grid = header.grid
        self.is_lenient = is_lenient
        self.lost: dict[int, str] = (
            {} if not is_lenient else {n: "it is missing" for n in range(len(self.grid)) if n not in units}
        )

    def picture(self, region: Box | None = None, reduction: int = 1) -> tuple[Pixels, Pixels | None]:
        """Pixels uint8 [H, W, C] and alpha [H, W] of a region (all by default), averaged over squares of `reduction`.

        Raises OptionError for a region outside the picture, WeightsError where the synthesis diverges.
        """
        region = self._checked(region, reduction)
        target = divided(region, reduction)
        pixels = np.empty((0, 0, 0), np.uint8)
        with self._pool() as pool:
            for windows, latents in self._bands(region, pool):
                if not pixels.size:  # not before a row of units has borne out the size that the header claims
                    pixels = np.full((*extents(target), self.header.channels), LOST, np.uint8)

                def show(window: Box, latents: Mapping[int, Tensor] = latents, pixels: Pixels = pixels) -> None:
                    if self.grid.touched(window)[0] in self.lost:
                        return  # painted over below
                    place = common(divided(window, reduction), target)
                    part = self._window(window, latents, reduction)
                    inside = part[relative(place, divided(window, reduction))]
                    pixels[relative(place, target)] = inside

                list(_each(pool, show, windows))
        if not pixels.size:  # all that the region touches was lost before
            pixels = np.full((*extents(target), self.header.channels), LOST, np.uint8)
        plane = self._alpha(region, reduction)
        self._gray(pixels, target, reduction)
        return pixels, plane

    def alpha(self) -> Pixels | None:
        """Alpha uint8 [H, W] of the whole picture; None where it has none."""
        return self._alpha(self._checked(None, 1), 1)

    def latents(self) -> Tensor:
        """All latents: float32 [1, C, h, w]."""
        whole = divided(tuple(slice(0, extent) for extent in self.grid.shape), self.codec.stride)
        with self._pool() as pool:
            numbers = range(len(self.grid))
            return self._joined(whole, dict(zip(numbers, _each(pool, self._unit, numbers), strict=True)))

    def prove(self) -> None:
        """Decode every unit's symbols and alpha, without the synthesis; raises what is wrong."""
        with self._pool() as pool:
            for _ in _each(pool, self._prove_unit, range(len(self.grid))):
                pass

    def _pool(self) -> AbstractContextManager[ThreadPoolExecutor | None]:
        return side_by_side() if len(self.grid) > 1 else nullcontext()

    def _prove_unit(self, number: int) -> None:
        self._unit(number)
        if (plane := self.units[number].sections.get(ALPHA)) is not None:
            self._alpha_of(number, plane, extents(self.grid.box(number)))

    def _checked(self, region: Box | None, reduction: int) -> Box:
        shape = self.grid.shape
        if reduction not in REDUCTIONS:
            raise OptionError(f"a preview is 1/2, 1/4 or 1/8 of the picture, not 1/{reduction}")
        if region is None:
            return tuple(slice(0, extent) for extent in shape)
        if not all(0 <= span.start < span.stop <= extent for span, extent in zip(region, shape, strict=True)):
            (y, x), (height, width) = ((span.start for span in region), extents(region))
            raise OptionError(
                f"the region {x},{y},{width},{height} (x, y, width, height) is not inside the picture of "
                f"{shape[1]} x {shape[0]} pixels"
            )
        return region

    def _bands(self, region: Box, pool: ThreadPoolExecutor | None) -> Iterator[tuple[list[Box], Mapping[int, Tensor]]]:
        """The windows of each row of units that a region touches, with the latents of all units that they see."""
        margin = self.codec.halo * self.codec.stride
        known: dict[int, Tensor] = {}
        columns = self.grid.counts[1]
        rows: dict[int, list[int]] = {}
        for number in self.grid.touched(region):
            if number not in self.lost:
                rows.setdefault(number // columns, []).append(number)
        for numbers in rows.values():
            # Before their windows are counted, the bytes of the units must bear out the sizes.
            new = [number for number in numbers if number not in known]
            known |= zip(new, _each(pool, self._unit, new), strict=True)
            windows = [
                window
                for number in numbers
                for window in self._windows(self.grid.box(number))
                if all(span.start < span.stop for span in common(window, region))
            ]
            needed = sorted({n for w in windows for n in self.grid.touched(grown(w, margin, self.grid.shape))})
            new = [number for number in needed if number not in known]
            known |= zip(new, _each(pool, self._unit, new), strict=True)
            known = {number: known[number] for number in needed}
            yield windows, known

    def _windows(self, unit: Box) -> list[Box]:
        height, width = extents(unit)
        is_whole = not self.codec.has_regions or (len(self.grid) == 1 and height * width <= WHOLE_PIXELS)
        inner = Grid((height, width), 0 if is_whole else WINDOW - WINDOW % self.codec.stride)
        return [
            tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(unit, inner.box(number), strict=True))
            for number in range(len(inner))
        ]

    def _unit(self, number: int) -> Tensor:
        """Latents float32 [1, C, h, w] of a unit; zeros for one that is lost."""
        box = divided(self.grid.box(number), self.codec.stride)
        if number not in self.lost:
            unit = self.units[number]
            try:
                _require_sections(unit, self.header, number)
                return decompress(self.codec, [unit], self.header, extents(box), number, self.limits)
            except FormatError as error:
                if not self.is_lenient:
                    raise
                self.lost[number] = str(error)
        return torch.zeros(1, self.codec.bottleneck.channels, *extents(box), device=self.codec.device())

    def _joined(self, window: Box, latents: Mapping[int, Tensor]) -> Tensor:
        """A window of the latents, from the units that it touches."""
        if latents.keys() == {0} and latents[0].shape[2:] == extents(window):
            return latents[0]
        joined = latents[min(latents)].new_empty(1, self.codec.bottleneck.channels, *extents(window))
        for number, part in latents.items():
            box = divided(self.grid.box(number), self.codec.stride)
            shared = common(box, window)
            if all(span.start < span.stop for span in shared):
                (rows, columns), (from_rows, from_columns) = relative(shared, window), relative(shared, box)
                joined[:, :, rows, columns] = part[:, :, from_rows, from_columns]
        return joined

    def _window(self, window: Box, latents: Mapping[int, Tensor], reduction: int) -> Pixels:
        """The pixels of a window, [h, w, C] at the scale of the preview."""
        stride = self.codec.stride
        seen = divided(grown(window, self.codec.halo * stride, self.grid.shape), stride)
        with torch.inference_mode():
            y_hat = self._joined(seen, latents)
            with self.codec.transforms(self.precision):
                x_hat = self.codec.synthesis(y_hat, self.codec.unit(self.header.quality, window, reduction))
            rows, columns = relative(divided(window, reduction), multiplied(seen, stride // reduction))
            return to_pixels(require_finite(x_hat[0, :, rows, columns]), self.header.channels)

    def _gray(self, pixels: Pixels, target: Box, reduction: int) -> None:
        """Paint over what turned out to be lost on the way; what was missing before is gray already."""
        for number in self.lost.keys() & self.units.keys():
            place = common(divided(self.grid.box(number), reduction), target)
            if all(span.start < span.stop for span in place):
                pixels[relative(place, target)] = LOST

    def _alpha(self, region: Box, reduction: int) -> Pixels | None:
        if not self.header.has_alpha:
            return None
        plane = np.full(extents(region), 255, np.uint8)
        for number in self.grid.touched(region):
            unit = self.units.get(number)
            if unit is None or number in self.lost or ALPHA not in unit.sections:
                continue
            box = self.grid.box(number)
            place = common(box, region)
            part = self._alpha_of(number, unit.sections[ALPHA], extents(box))
            if part is not None:
                plane[relative(place, region)] = part[relative(place, box)]
        return plane if reduction == 1 else _averaged(plane, region, reduction)

    def _alpha_of(self, number: int, section: bytes, shape: tuple[int, ...]) -> Pixels | None:
        try:
            return alpha.decompress(section, *shape)
        except FormatError as error:
            if not self.is_lenient:
                raise type(error)(f"unit {number}: {error}") from error
            self.lost[number] = str(error)
            return None


def _require_sections(unit: container.Unit, header: Header, number: int) -> None:
    """Raise FormatError for a unit that holds other sections than its own header announces."""
    allowed = {LATENTS, ALPHA} if header.has_alpha else {LATENTS}
    if LATENTS not in unit.sections or not set(unit.sections) <= allowed:
        names = ", ".join(sorted(unit.sections)) or "none"
        raise FormatError(f'unit {number} has the sections {names}; codec "{header.codec}" reads "{LATENTS}"')


def decompress(
    codec: "Codec",
    units: Sequence[container.Unit],
    header: Header,
    shape: tuple[int, ...],
    number: int,
    limits: Limits,
) -> Tensor:
    """Latents float32 [B, C, h, w] of a unit of each of several files that have one header's quality and sizes.

    The units have passed `_require_sections`.
    """
    height, width = shape
    limits.check_symbols(codec.bottleneck.symbol_count((height, width)), f"unit {number}")
    sections = [({LATENTS: unit.sections[LATENTS]}, unit.checksum) for unit in units]
    try:
        with torch.inference_mode():
            return codec.bottleneck.decompress(sections, (height, width), header.quality)
    except FormatError as error:
        if header.unit_count == 1:
            raise
        raise type(error)(f"unit {number}: {error}") from error


def synthesise_alike(codec: "Codec", files: Sequence[File], limits: Limits, precision: str) -> Tensor:
    """Decode files of one unit that have equal sizes and qualities, all at once through the networks.

    Gives float32 [B, 3, H, W], about 0..1; raises WeightsError if the synthesis diverged.
    """
    header = files[0].header
    box = header.grid.box(0)
    shape = extents(divided(box, codec.stride))
    for file in files:
        codec.check(file.header)
        _require_sections(file.units[0], file.header, 0)
    with torch.inference_mode():
        y_hat = decompress(codec, [file.units[0] for file in files], header, shape, 0, limits)
        with codec.transforms(precision):
            x_hat = codec.synthesis(y_hat, codec.unit(header.quality, box))
    return require_finite(x_hat[:, :, : header.height, : header.width])


def decode_alike(codec: "Codec", files: Sequence[File], limits: Limits, precision: str) -> list[Image]:
    """As `synthesise_alike`; gives pictures."""
    images = []
    for file, x in zip(files, synthesise_alike(codec, files, limits, precision), strict=True):
        plane = Decoder(codec, file.header, dict(enumerate(file.units)), limits).alpha()
        images.append(join(to_pixels(x, file.header.channels), plane, file.metadata))
    return images


def require_finite(x: Tensor) -> Tensor:
    """Give pixels back; raises WeightsError for those of a synthesis that diverged: better none than wrong ones."""
    if not torch.isfinite(x).all():
        raise WeightsError("the synthesis gave pixels that are not finite: these weights cannot show it")
    return x


def to_pixels(x: Tensor, channels: int) -> Pixels:
    """Round a picture float [3, h, w] in about 0..1 to uint8 [h, w, channels]."""
    if channels == 1:
        x = x.mean(0, keepdim=True)
    return (x * 255 + 0.5).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def join(pixels: Pixels, plane: Pixels | None, metadata: Mapping[str, bytes], notes: tuple[str, ...] = ()) -> Image:
    """A picture of what a file holds of it."""
    return Image(pixels, metadata.get("icc"), metadata.get("exif"), metadata.get("xmp"), plane, notes)


def _averaged(plane: Pixels, region: Box, reduction: int) -> Pixels:
    """Means over the squares of a raster that begins at the picture's corner."""
    before = [span.start % reduction for span in region]
    after = [-span.stop % reduction for span in region]
    padded = np.pad(plane, list(zip(before, after, strict=True)), mode="edge").astype(np.float32)
    height, width = (extent // reduction for extent in padded.shape)
    means = padded.reshape(height, reduction, width, reduction).mean((1, 3))
    return (means + 0.5).astype(np.uint8)


def _each(pool: ThreadPoolExecutor | None, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    return map(work, items) if pool is None else pool.map(work, items)
