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
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.codecs.parallel import side_by_side
from rarefy.codecs.transparency import fill_invisible
from rarefy.entropy.precision import require_float32

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec

TILE = 768  # rate and the time of a region in balance; docs/ARCHITECTURE.md has the measurement


def tile_for(height: int, width: int, stride: int) -> int:
    """The side of a picture's units, a multiple of the codec's stride; 0 where one unit covers it."""
    return TILE - TILE % stride if height * width > WHOLE_PIXELS else 0


class Encoder:
    """Pictures of one size on their way to files.

    tile: side of the units, by default `tile_for`. keep: whether latents are kept for the next quality (5 bytes a pixel
    with 320 latents at 1/16). precision: of the transforms.
    """

    def __init__(
        self,
        codec: "Codec",
        images: Sequence[Image],
        precision: str = "auto",
        *,
        tile: int | None = None,
        keep: bool = False,
    ) -> None:
        require_float32(codec)
        self.codec, self.images, self.precision = codec, images, precision
        self.shape = (images[0].height, images[0].width)
        if tile is None:
            tile = tile_for(*self.shape, codec.stride) if codec.has_regions else 0
        self.tile = tile
        Limits().check_picture(*reversed(self.shape))  # what no decoder would take by default is no file
        self.grid = Grid(self.shape, self.tile)
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
            with side_by_side() as pool:
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
            Limits().check_metadata(len(content), name)
        return container.write(File(header, units, metadata))

    def _unit(self, number: int, quality: int) -> list[container.Unit]:
        """One unit of every picture."""
        with torch.inference_mode():
            coded = self.codec.bottleneck.compress(self._latents(number, quality), quality)
        planes = self._alpha_sections(number)
        return [
            container.Unit(sections | ({ALPHA: plane} if plane is not None else {}), checksum)
            for (sections, checksum), plane in zip(coded, planes, strict=True)
        ]

    def _latents(self, number: int, quality: int) -> Tensor:
        if self._kept is not None and number in self._kept:
            return self._kept[number]
        stride, box = self.codec.stride, self.grid.box(number)
        window = grown(box, self.codec.halo * stride, self.shape)
        with self.codec.transforms(self.precision):
            y = self.codec.analysis(self._pixels(window), self.codec.unit(quality, box))
        rows, columns = relative(divided(box, stride), divided(window, stride))
        y = y[:, :, rows, columns].contiguous(memory_format=torch.channels_last)
        if self._kept is not None:
            self._kept[number] = y
        return y

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
