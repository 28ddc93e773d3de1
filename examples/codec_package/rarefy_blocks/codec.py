"""Blocks of 8x8 pixels under an orthonormal cosine transform, as in JPEG, coded by rarefy's `Hyperprior`.

The transform is fixed and linear; only the entropy model is learned. Of the two differences of colour a quarter of the
coefficients is kept, as JPEG's 4:2:0 does.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rarefy.codecs.base import Codec, Unit
from rarefy.entropy.hyperprior import STEPS, Hyperprior, dealt
from rarefy.models.hyper import HyperAnalysis, MeanNetwork, ScaleNetwork

BLOCK = 8
COLOUR = 4  # of the differences of colour, the COLOUR x COLOUR lowest frequencies
LATENTS = BLOCK**2 + 2 * COLOUR**2


def cosines(size: int) -> Tensor:
    """The orthonormal DCT-II, float64 [frequencies, positions]."""
    angles = (torch.arange(size) + 0.5) * torch.arange(size, dtype=torch.float64)[:, None]
    matrix = torch.cos(angles * math.pi / size) * math.sqrt(2 / size)
    matrix[0] *= math.sqrt(0.5)
    return matrix


def basis() -> Tensor:
    """The transform as orthonormal rows, float32 [LATENTS, 3, BLOCK, BLOCK]: in the order of `dealt`."""
    colours = cosines(3)
    planes = [_frequencies(colours[0], BLOCK), _frequencies(colours[1], COLOUR), _frequencies(colours[2], COLOUR)]
    return torch.cat(planes).float()[dealt(LATENTS)]


def _frequencies(colour: Tensor, kept: int) -> Tensor:
    """The `kept` x `kept` lowest frequencies of one mixture of the colours, float64 [kept^2, 3, BLOCK, BLOCK]."""
    matrix = cosines(BLOCK)[:kept]
    return torch.einsum("c,ay,bx->abcyx", colour, matrix, matrix).flatten(0, 1)


@dataclass(frozen=True)
class BlockConfig:
    """Sizes of the entropy model; `latents` is LATENTS, which the transform fixes."""

    latents: int = LATENTS
    width: int = 32
    hyper: int = 8
    lambda_low: float = 4e-4
    lambda_high: float = 0.4


class BlockCodec(Codec):
    """A linear transform around a `Hyperprior`."""

    name = "example-blocks"
    stride = BLOCK
    Config = BlockConfig
    bottleneck: Hyperprior
    basis: Tensor

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        c = self.config = config
        self.register_buffer("basis", basis(), persistent=False)
        self.bottleneck = Hyperprior(
            HyperAnalysis(c.latents, c.width, c.hyper),
            ScaleNetwork(c.latents, c.width, c.hyper, STEPS),
            MeanNetwork(c.latents, c.width, STEPS),
            latents=c.latents,
            width=c.width,
            hyper=c.hyper,
            lambdas=(c.lambda_low, c.lambda_high),
        )

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """x: float32 [B, 3, H, W] in 0..1; gives coefficients float32 [B, LATENTS, H / 8, W / 8]."""
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.float() - 0.5, self.basis, stride=BLOCK)

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """The transpose of `analysis`, which is its inverse; a preview is made of the means of the basis."""
        with torch.autocast(latents.device.type, enabled=False):
            basis = F.avg_pool2d(self.basis, unit.reduction)
            return F.conv_transpose2d(latents.float(), basis, stride=BLOCK // unit.reduction) + 0.5
