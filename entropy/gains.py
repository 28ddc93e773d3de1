"""What the quality does to latents before rounding and after it: a gain per channel, learned along log lambda."""

import math

import torch
from torch import Tensor, nn

from rarefy.errors import WeightsError

# At this lambda (MSE on 0..255) a uniform quantiser of step 1/255 meets the slope: gain 1 by convention.
GAIN_LAMBDA = 4e-4
QUALITY_LEVELS = 64  # at which integers and tables know the quality


def along_quality(table: Tensor, position: Tensor) -> Tensor:
    """Interpolate table [points, ...] linearly at position [B] in 0..1; gives [B, ...]."""
    x = position * (table.shape[0] - 1)
    low = x.floor().clamp(max=table.shape[0] - 2)
    t = (x - low).reshape(-1, *[1] * (table.dim() - 1))
    index = low.long()
    return table[index] * (1 - t) + table[index + 1] * t


def level_of(quality: int, levels: int) -> int:
    """The integer networks' index of a quality q256 (0..25600)."""
    return (quality * (levels - 1) + 12800) // 25600


def position_of(quality: int, device: torch.device) -> Tensor:
    """A quality q256 as the float networks take it: float32 [1] in 0..1."""
    return torch.full((1,), quality / 25600, device=device, dtype=torch.float32)


class Gains(nn.Module):
    """Base of bottlenecks with variable rate: lambda along the quality, and the gains that go with it.

    latents: channels; lambdas: the ends of the range of quality, in CompressAI's unit; points: knots on log lambda.
    """

    def __init__(self, latents: int, lambdas: tuple[float, float], points: int) -> None:
        super().__init__()
        if not 0 < lambdas[0] < lambdas[1] < math.inf:
            raise WeightsError(f"lambda runs from a small to a larger positive number, not over {lambdas}")
        self.lambdas = lambdas
        self.gain_encoder = nn.Parameter(torch.zeros(points, latents))
        self.gain_decoder = nn.Parameter(torch.zeros(points, latents))

    def rate_multiplier(self, position: Tensor) -> Tensor:
        """Lambda at a quality position [B] in 0..1."""
        low, high = self.lambdas
        return low * (high / low) ** position

    def gains(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Factors before rounding and after it, each [B, latents, 1, 1]."""
        base = 0.5 * torch.log(self.rate_multiplier(position) / GAIN_LAMBDA)[:, None]
        encoder = torch.exp(base + along_quality(self.gain_encoder, position))
        decoder = torch.exp(along_quality(self.gain_decoder, position) - base)
        return encoder[:, :, None, None], decoder[:, :, None, None]
