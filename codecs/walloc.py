"""WaLLoC for pictures: wavelet packets, twelve latents for each 8x8 pixels, an encoder that is linear."""

from dataclasses import dataclass

import torch
from torch import Tensor

from rarefy.codecs.base import Codec, Unit
from rarefy.entropy.lattice import Lattice
from rarefy.models.walloc import WaveletAnalysis, WaveletSynthesis, start_as_principal_components

LEVELS = 3


@dataclass(frozen=True)
class WallocConfig:
    """Sizes of the networks; lambdas are the ends of the range of quality (MSE on 0..255, as in CompressAI)."""

    latents: int = 12
    width: int = 320
    blocks: int = 6
    lambda_low: float = 1e-3
    lambda_high: float = 0.2


class WallocImageCodec(Codec):
    """Wavelet packets around a `Lattice`: the latents are integers, one for each sixteen samples."""

    name = "walloc-image"
    stride = 1 << LEVELS
    halo = 6
    Config = WallocConfig
    config: WallocConfig
    bottleneck: Lattice

    def __init__(self, config: WallocConfig) -> None:
        super().__init__()
        c = self.config = config
        self.g_a = WaveletAnalysis(2, 3, LEVELS, c.latents)
        self.g_s = WaveletSynthesis(2, 3, LEVELS, c.latents, c.width, c.blocks)
        self.bottleneck = Lattice(c.latents, axes=2, lambdas=(c.lambda_low, c.lambda_high))

    def start(self, samples: Tensor) -> None:
        """Begin as a linear codec of principal components; samples: float [B, 3, H, W] in 0..1."""
        self.bottleneck.start_from(start_as_principal_components(self.g_a, self.g_s, samples - 0.5))

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """See `Codec.analysis`."""
        y: Tensor = self.g_a(x - 0.5)
        return y

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """See `Codec.synthesis`."""
        x_hat: Tensor = self.g_s(latents) + 0.5
        if unit.reduction > 1:
            x_hat = torch.nn.functional.avg_pool2d(x_hat, unit.reduction)
        return x_hat
