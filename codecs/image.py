"""The default codec: photographs at any quality with one set of weights; a hyperprior with four context steps."""

from dataclasses import dataclass

from torch import Tensor

from rarefy.codecs.base import Codec, Unit
from rarefy.entropy.hyperprior import STEPS, Hyperprior, dealt
from rarefy.models.hyper import HyperAnalysis, MeanNetwork, ScaleNetwork
from rarefy.models.transforms import STRIDE, Analysis, Synthesis, start_as_principal_components


@dataclass(frozen=True)
class ImageConfig:
    """Sizes of the networks; lambdas are the ends of the range of quality (MSE on 0..255, as in CompressAI).

    coarse: channels of the blocks at 1/16; latents beyond that many pass beside them, the last ones of each quarter.
    more_fine_blocks, more_coarse_blocks: residual blocks that the analysis has beyond the synthesis's: it runs at
    encoding only.
    """

    latents: int = 320
    fine: int = 128
    fine_blocks: int = 6
    coarse: int = 320
    coarse_blocks: int = 3
    more_fine_blocks: int = 0
    more_coarse_blocks: int = 0
    width: int = 192
    hyper: int = 64
    lambda_low: float = 4e-4
    lambda_high: float = 0.4


class ImageCodec(Codec):
    """Analysis and synthesis at 1/8 and 1/16 resolution around a `Hyperprior`."""

    name = "image"
    stride = STRIDE
    halo = 2  # the rest of the receptive field, four latents more, moves pixels by less than 0.1 of a level
    exchange = 1.8  # measured on held-back pictures: docs/ARCHITECTURE.md, section 5
    Config = ImageConfig
    config: ImageConfig
    bottleneck: Hyperprior
    g_a: Analysis
    g_s: Synthesis

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        c = self.config = config
        fine_blocks, coarse_blocks = c.fine_blocks + c.more_fine_blocks, c.coarse_blocks + c.more_coarse_blocks
        self.g_a = Analysis(c.latents, c.fine, fine_blocks, c.coarse, coarse_blocks)
        self.g_s = Synthesis(c.latents, c.fine, c.fine_blocks, c.coarse, c.coarse_blocks)
        self.bottleneck = Hyperprior(
            HyperAnalysis(c.latents, c.width, c.hyper),
            ScaleNetwork(c.latents, c.width, c.hyper, STEPS),
            MeanNetwork(c.latents, c.width, STEPS),
            latents=c.latents,
            width=c.width,
            hyper=c.hyper,
            lambdas=(c.lambda_low, c.lambda_high),
        )

    def start(self, samples: Tensor) -> None:
        """See `Codec.start`."""
        order = dealt(self.config.latents)
        self.bottleneck.sigma.copy_(start_as_principal_components(self.g_a, self.g_s, samples, order))

    def analysis(self, x: Tensor, unit: Unit) -> Tensor:
        """g_a; see `Codec.analysis`."""
        y: Tensor = self.g_a(x)
        return y

    def synthesis(self, latents: Tensor, unit: Unit) -> Tensor:
        """g_s; see `Codec.synthesis`."""
        x_hat: Tensor = self.g_s(latents, unit.reduction)
        return x_hat
