"""Pictures to files: analysis and coding of every unit, once or at many qualities."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.codecs import alpha, container
from rarefy.codecs.container import ALPHA, File, Header
from rarefy.codecs.decoding import WHOLE_PIXELS
from rarefy.codecs.grid import Box, Grid, divided, extents, grown, relative
from rarefy.codecs.limits import FileLimits
from rarefy.codecs.media import Image
from rarefy.codecs.parallel import side_by_side
from rarefy.codecs.transparency import fill_invisible
from rarefy.entropy.gains import position_of
from rarefy.entropy.precision import require_float32
from rarefy.entropy.search import Found, compress_found, price_of, refine, rounds_of
from rarefy.entropy.trial import Goal, Searchable

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec, Unit

SEARCHED = 4  # units that are searched at once: each takes some 800 MB for its gradients
TILE = 768  # rate and the time of a region in balance; docs/ARCHITECTURE.md has the measurement


def tile_for(height: int, width: int, stride: int) -> int:
    """The side of a picture's units, a multiple of the codec's stride; 0 where one unit covers it."""
    return TILE - TILE % stride if height * width > WHOLE_PIXELS else 0


class Encoder:
    """Pictures of one size on their way to files.

    tile: side of the units, by default `tile_for`. keep: whether latents are kept for the next quality (5 bytes a pixel
    with 320 latents at 1/16). precision: of the transforms. effort: 0, or 1 to 6 for 2^effort rounds of a search for
    symbols that cost less; raises OptionError where the codec has none.
    """

    def __init__(
        self,
        codec: "Codec",
        images: Sequence[Image],
        precision: str = "auto",
        *,
        tile: int | None = None,
        keep: bool = False,
        effort: int = 0,
    ) -> None:
        require_float32(codec)
        self.codec, self.images, self.precision = codec, images, precision
        self._rounds = rounds_of(effort, codec.name, codec.bottleneck)
        self.shape = (images[0].height, images[0].width)
        if tile is None:
            tile = tile_for(*self.shape, codec.stride) if codec.has_regions else 0
        self.tile = tile
        FileLimits().check_picture(*reversed(self.shape))
        self.grid = Grid(self.shape, self.tile)
        FileLimits().check_units(len(self.grid))
        self._colours = [
            image.pixels if image.alpha is None else fill_invisible(image.pixels, image.alpha) for image in images
        ]
        self._kept: dict[int, Tensor] | None = {} if keep else None
        self._alpha: dict[int, list[bytes | None]] = {}

    def files(self, quality: int) -> list[bytes]:
        """The file of each picture at a quality q256."""
        if len(self.grid) == 1:
            units = [self._unit(0, quality)]
        else:
            with side_by_side(SEARCHED if self._rounds else None) as pool:
                units = list(pool.map(lambda number: self._unit(number, quality), range(len(self.grid))))
        return [self._file(i, image, [unit[i] for unit in units], quality) for i, image in enumerate(self.images)]

    def _file(self, i: int, image: Image, units: list[container.Unit], quality: int) -> bytes:
        header = Header(
            codec=self.codec.name,
            weights=self.codec.weights_name(),
            width=image.width,
            height=image.height,
            channels=image.channels,
            has_alpha=image.alpha is not None,
            quality=quality,
            tile=self.tile,
        )
        metadata = {k: v for k in ("icc", "exif", "xmp") if (v := getattr(image, k)) is not None}
        for name, content in metadata.items():
            FileLimits().check_metadata(len(content), name)
        return container.write(File(header, units, metadata))

    def _unit(self, number: int, quality: int) -> list[container.Unit]:
        """One unit of every picture."""
        with torch.inference_mode():
            if self._rounds:
                coded = compress_found(self.codec.bottleneck, self._found(number, quality), quality)
            else:
                coded = self.codec.bottleneck.compress(self._latents(number, quality), quality)
        planes = self._alpha_sections(number)
        return [
            container.Unit(sections | ({ALPHA: plane} if plane is not None else {}), checksum)
            for (sections, checksum), plane in zip(coded, planes, strict=True)
        ]

    def _latents(self, number: int, quality: int) -> Tensor:
        if self._kept is not None and number in self._kept:
            return self._kept[number]
        box = self.grid.box(number)
        window = self._window(box)
        y = self._analysed(window, self.codec.unit(quality, box))[self._within(box, window)]
        y = y.contiguous(memory_format=torch.channels_last)
        if self._kept is not None:
            self._kept[number] = y
        return y

    def _window(self, box: Box) -> Box:
        """A unit with its halo."""
        return grown(box, self.codec.halo * self.codec.stride, self.shape)

    def _analysed(self, window: Box, unit: "Unit") -> Tensor:
        with self.codec.transforms(self.precision):
            return self.codec.analysis(self._pixels(window), unit)

    def _within(self, box: Box, window: Box) -> tuple[slice, ...]:
        """Where a unit's latents are among those of its window."""
        stride = self.codec.stride
        return slice(None), slice(None), *relative(divided(box, stride), divided(window, stride))

    def _found(self, number: int, quality: int) -> list[Found]:
        """Latents of a unit whose symbols cost less, each picture's by itself.

        Error counts in the whole window, where the neighbours' latents are as they were before rounding, and also where
        nothing is seen for the alpha.
        """
        bottleneck = self.codec.bottleneck
        assert isinstance(bottleneck, Searchable)
        box = self.grid.box(number)
        window = self._window(box)
        unit, within, (height, width) = self.codec.unit(quality, window), self._within(box, window), extents(window)
        around, pixels = self._analysed(window, unit), self._pixels(window)[:, :, :height, :width]
        price = self.codec.exchange * price_of(bottleneck.rate_multiplier(position_of(quality, around.device)))

        def search(y: Tensor, target: Tensor) -> Found:
            def restore(y_hat: Tensor) -> Tensor:
                whole = y.clone()
                whole[within] = y_hat
                with self.codec.transforms(self.precision):
                    return self.codec.synthesis(whole, unit)[:, :, :height, :width]

            goal = Goal(target, restore, price, self.codec.stride, within)
            return refine(bottleneck, y[within], quality, goal, self._rounds)

        return [search(y, x) for y, x in zip(around.split(1), pixels.split(1), strict=True)]

    def _pixels(self, window: Box) -> Tensor:
        """A window of every picture: float32 [B, 3, h, w] in 0..1, repeated at the end up to the codec's stride."""
        height, width = extents(window)
        stack = np.stack([pixels[window] for pixels in self._colours])
        pixels = torch.from_numpy(stack).to(self.codec.device())
        x = pixels.to(torch.float32).div_(255).permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        missing = (0, -width % self.codec.stride, 0, -height % self.codec.stride)
        x = F.pad(x, missing, mode="replicate") if any(missing) else x
        return x.contiguous(memory_format=torch.channels_last)

    def _alpha_sections(self, number: int) -> list[bytes | None]:
        """The alpha of a unit, nothing where it is opaque; kept, since no quality changes it."""
        if number not in self._alpha:
            box = self.grid.box(number)
            planes = [None if image.alpha is None else image.alpha[box] for image in self.images]
            self._alpha[number] = [
                None if plane is None or plane.min() == 255 else alpha.compress(plane) for plane in planes
            ]
        return self._alpha[number]
