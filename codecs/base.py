"""The contract that codecs of pictures keep: analysis, bottleneck, synthesis; files are written once, here.

media -> analysis -> latents -> bottleneck.compress -> sections -> container, and back the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from rarefy.codecs import container
from rarefy.codecs.any_codec import (
    AnyBottleneck,
    AnyCodec,
    Bottleneck,
    Output,
    choose_precision,
    levels_of,
    quality_q256,
)
from rarefy.codecs.container import File, Header
from rarefy.codecs.decoding import Decoder, join
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.grid import Box, extents
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.errors import FormatError, OptionError

__all__ = ["AnyCodec", "Bottleneck", "Codec", "Output", "Unit", "choose_precision", "quality_q256"]

MULTIPLE = 64  # of what sides are in training, where nothing is padded


@dataclass(frozen=True)
class Unit:
    """What a transform works on: its quality q256 (0..25600) and its true size in pixels.

    reduction: 2, 4 or 8 asks the synthesis for a preview, the means over squares of that many pixels.
    """

    quality: int
    height: int
    width: int
    reduction: int = 1


class Codec(AnyCodec):
    """A codec of pictures: subclasses give `name`, `stride`, `config`, `bottleneck`, `analysis` and `synthesis`.

    halo: how many latents beyond a unit's border the transforms look at, in pictures of several units; enough that no
    seam is seen. has_regions: whether pictures may have several units; without, large ones are decoded at once.
    exchange: what a search (`rarefy.entropy.search`) pays for error, in units of lambda. Where trained networks make
    files that pay more than lambda from one quality to the next, a search at lambda saves bits that a lower quality
    saves at less error.
    """

    medium = "image"
    stride: int
    halo: int = 0
    has_regions: bool = True
    exchange: float = 1.0
    bottleneck: Bottleneck

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """x: float32 [B, 3, H, W] in 0..1, sides multiples of `stride`; gives latents."""
        raise NotImplementedError

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """Latents to pictures float32 [B, 3, H, W], about 0..1; smaller by `unit.reduction`."""
        raise NotImplementedError

    def forward(self, x: Tensor, quality: Tensor | float) -> Output:
        """Differentiable round trip, to train; x: [B, 3, H, W], sides multiples of 64; quality: 0..100, one or [B]."""
        y_hat, bits = self._coded(x, quality)
        return Output(self.synthesis(y_hat, Unit(-1, x.shape[2], x.shape[3])), bits)

    def rate(self, x: Tensor, quality: Tensor | float) -> Tensor:
        """See `AnyCodec.rate`."""
        return self._coded(x, quality)[1]

    def _coded(self, x: Tensor, quality: Tensor | float) -> tuple[Tensor, Tensor]:
        if any(side % MULTIPLE for side in x.shape[2:]):
            raise OptionError(f"training pictures have sides that are multiples of {MULTIPLE}, not {tuple(x.shape)}")
        level = levels_of(quality, x)
        return self.bottleneck(self.analysis(x, Unit(-1, x.shape[2], x.shape[3])), level / 100)

    def encode(self, image: Image, quality: float, precision: str = "auto", effort: int = 0) -> bytes:
        """A picture to the bytes of a file; quality 0..100; effort: see `Encoder`."""
        return self.encode_alike([image], quality, precision, effort)[0]

    def encode_alike(
        self, images: Sequence[Image], quality: float, precision: str = "auto", effort: int = 0
    ) -> list[bytes]:
        """Pictures of one size to files, at once through the networks."""
        return Encoder(self, images, precision, effort=effort).files(quality_q256(quality))

    def decode(self, data: bytes | File, limits: Limits | None = None, precision: str = "auto") -> Image:
        """A file's bytes (or a file read already) to a picture; raises RarefyErrors for damaged or foreign files.

        Raises WeightsError too where the synthesis diverges: better no picture than a wrong one.
        """
        file = data if isinstance(data, File) else container.read(data, limits)
        return join(*self._decoder(file, limits, precision).picture(), file.metadata)

    def latents(self, file: File, limits: Limits | None = None) -> Tensor:
        """Entropy decoding alone: float32 [1, latents, h, w]."""
        return self._decoder(file, limits, "auto").latents()

    def _decoder(self, file: File, limits: Limits | None, precision: str) -> Decoder:
        return Decoder(self, file.header, dict(enumerate(file.units)), limits, precision)

    def check(self, header: Header) -> None:
        """See `AnyCodec.check`."""
        super().check(header)
        if header.tile % self.stride:
            raise FormatError(
                f'codec "{self.name}" has no units of {header.tile} pixels, which {self.stride} must divide'
            )

    def bottlenecks(self) -> Mapping[str, AnyBottleneck]:
        """See `AnyCodec.bottlenecks`."""
        return {"bottleneck": self.bottleneck}

    def unit(self, quality: int, box: Box, reduction: int = 1) -> Unit:
        """What the transforms are told of a part of a picture; quality: q256."""
        height, width = extents(box)
        return Unit(quality, height, width, reduction)
