"""The contract that every codec keeps: analysis, bottleneck, synthesis; files are written once, here.

media -> analysis -> latents -> bottleneck.compress -> sections -> container, and back the same way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rarefy.codecs import container
from rarefy.codecs.container import LATENTS, File, Header
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.entropy.precision import require_float32
from rarefy.errors import FormatError, OptionError, WeightsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HASH_BYTES = 4  # of the weights' SHA-256, in every file
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Unit:
    """A part that decodes alone: its quality q256 (0..25600) and its true size in pixels."""

    quality: int
    height: int
    width: int


class Output(NamedTuple):
    """What training sees: x_hat [B, 3, H, W] and the bits of each item [B]."""

    x_hat: Tensor
    bits: Tensor


class Bottleneck(Protocol):
    """Latents to bits and back; `Hyperprior` is one."""

    def __call__(self, y: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiable: latents and qualities in 0..1 [B] to reconstructed latents and bits [B]."""

    def compress(self, y: Tensor, quality: int) -> list[tuple[dict[str, bytes], int]]:
        """A batch of latents at a quality q256: sections and symbol checksum of each item."""

    def decompress(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int, int], quality: int) -> Tensor:
        """The reconstructed latents of a batch of equal shape."""

    def rate_multiplier(self, position: Tensor) -> Tensor:
        """Lambda at a quality position [B] in 0..1: how much training weighs distortion against bits."""

    def symbol_count(self, shape: tuple[int, int]) -> int:
        """How many symbols a unit with latents of this height and width holds."""


class Codec(nn.Module):
    """A codec of pictures: subclasses give `name`, `stride`, `config`, `bottleneck`, `analysis` and `synthesis`.

    config is a dataclass that the codec can be built from again; weights_hash is the SHA-256 of the loaded weights,
    empty while there are none.
    """

    name: str
    stride: int
    config: "DataclassInstance"
    bottleneck: Bottleneck
    weights_hash: bytes = b""

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """x: float32 [B, 3, H, W] in 0..1, sides multiples of `stride`; gives latents."""
        raise NotImplementedError

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """Latents to pictures float32 [B, 3, H, W], about 0..1."""
        raise NotImplementedError

    def forward(self, x: Tensor, quality: Tensor | float) -> Output:
        """Differentiable round trip, to train; x: [B, 3, H, W], sides multiples of 64; quality: 0..100, one or [B]."""
        level = torch.as_tensor(quality, dtype=torch.float32, device=x.device).expand(len(x))
        unit = Unit(-1, x.shape[2], x.shape[3])
        y_hat, bits = self.bottleneck(self.analysis(x, unit), level / 100)
        return Output(self.synthesis(y_hat, unit), bits)

    def encode(self, image: Image, quality: float, precision: str = "auto") -> bytes:
        """A picture to the bytes of a file; quality 0..100."""
        require_float32(self)
        unit = Unit(quality_q256(quality), image.height, image.width)
        with torch.inference_mode():
            x = self._padded(image)
            with self._transforms(precision):
                y = self.analysis(x, unit)
            ((sections, checksum),) = self.bottleneck.compress(y, unit.quality)
        header = Header(
            codec=self.name,
            weights=self._hash()[:HASH_BYTES],
            width=image.width,
            height=image.height,
            channels=image.channels,
            quality=unit.quality,
        )
        metadata = {k: v for k in ("icc", "exif", "xmp") if (v := getattr(image, k)) is not None}
        return container.write(File(header, [container.Unit(sections, checksum)], metadata))

    def decode(self, data: bytes | File, limits: Limits | None = None, precision: str = "auto") -> Image:
        """A file's bytes (or a file read already) to a picture; raises RarefyErrors for damaged or foreign files.

        Raises WeightsError too where the synthesis diverges: better no picture than a wrong one.
        """
        require_float32(self)
        file = data if isinstance(data, File) else container.read(data, limits)
        header = file.header
        unit = Unit(header.quality, header.height, header.width)
        with torch.inference_mode():
            y_hat = self.latents(file, limits)
            with self._transforms(precision):
                x_hat = self.synthesis(y_hat, unit)
            if not torch.isfinite(x_hat).all():
                raise WeightsError("the synthesis gave pixels that are not finite: these weights cannot show it")
            pixels = self._pixels(x_hat[0], header)
        return Image(pixels, **dict(file.metadata))

    def latents(self, file: File, limits: Limits | None = None) -> Tensor:
        """Entropy decoding alone: float32 [1, latents, h, w]."""
        header = file.header
        self._check(header)
        shape = (-(-header.height // self.stride), -(-header.width // self.stride))
        (limits or Limits()).check_symbols(self.bottleneck.symbol_count(shape), "unit 0")
        units = [(dict(unit.sections), unit.checksum) for unit in file.units]
        if any(set(sections) != {LATENTS} for sections, _ in units):
            raise FormatError(f'unit 0: codec "{self.name}" has one section, "{LATENTS}"')
        return self.bottleneck.decompress(units, shape, header.quality)

    def _check(self, header: Header) -> None:
        if header.codec != self.name:
            raise FormatError(f'the file was made by codec "{header.codec}", not "{self.name}"')
        if not self._hash().startswith(header.weights):
            raise WeightsError(
                f'the file needs the weights {header.weights.hex()} of codec "{self.name}", these are '
                f"{self._hash()[:HASH_BYTES].hex()}: put the release that made it into RAREFY_WEIGHTS"
            )
        if header.unit_count != 1:
            raise FormatError(f'codec "{self.name}" of this version reads pictures of one tile')

    def _hash(self) -> bytes:
        if not self.weights_hash:
            raise WeightsError(f'codec "{self.name}" has random weights, which no file may depend on')
        return self.weights_hash

    def _device(self) -> torch.device:
        return next(self.parameters()).device

    def _padded(self, image: Image) -> Tensor:
        pixels = torch.from_numpy(np.array(image.pixels)).to(self._device())
        x = (pixels.to(torch.float32) / 255).permute(2, 0, 1)[None].expand(-1, 3, -1, -1)
        x = F.pad(x, (0, -image.width % self.stride, 0, -image.height % self.stride), mode="replicate")
        return x.contiguous(memory_format=torch.channels_last)

    def _pixels(self, x_hat: Tensor, header: Header) -> NDArray[np.uint8]:
        x = x_hat[:, : header.height, : header.width]
        if header.channels == 1:
            x = x.mean(0, keepdim=True)
        return (x * 255 + 0.5).clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()

    @contextmanager
    def _transforms(self, precision: str) -> Iterator[None]:
        """The precision of the transforms, whatever the caller's autocast says."""
        device = self._device().type
        dtype = choose_precision(device) if precision == "auto" else PRECISIONS.get(precision)
        if dtype is None:
            raise OptionError(f"precision {precision!r}: auto, float32 or bfloat16")
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            yield


def choose_precision(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    native = device == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def quality_q256(quality: float) -> int:
    """Quality 0..100 as the file stores it, in steps of 1/256; raises OptionError outside."""
    if not 0 <= quality <= 100:
        raise OptionError(f"quality {quality}: it runs from 0 to 100")
    return round(quality * 256)
