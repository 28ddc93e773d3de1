"""WaLLoC's networks: wavelet packets, a linear encoder that keeps few channels of them, a decoder that is deeper.

After Jacobellis and Yadwadkar, "Learned Compression for Compressed Learning" (2024), with a decoder of local residual
blocks in the place of global attention, so that any part of a picture decodes alone.
"""

import torch
from torch import Tensor, nn

from rarefy.models.layers import PartialBlock
from rarefy.models.wavelets import packets, signal


class WaveletAnalysis(nn.Module):
    """Float [B, C, ...] in -1/2..1/2, sides multiples of 2^levels, to latents [B, latents, ...], 2^levels smaller."""

    def __init__(self, axes: int, channels: int, levels: int, latents: int) -> None:
        super().__init__()
        self.levels = levels
        self.project = nn.Linear(channels << axes * levels, latents)

    def forward(self, x: Tensor) -> Tensor:
        """In float32, whatever autocast says: the whole encoder costs less than reading the picture."""
        with torch.autocast(x.device.type, enabled=False):
            bands = packets(x.float(), self.levels)
            weight = self.project.weight.expand(len(x), -1, -1)
            y = torch.baddbmm(self.project.bias[:, None], weight, bands.flatten(2))
            return y.unflatten(2, bands.shape[2:])


class WaveletSynthesis(nn.Module):
    """Latents to the signal: a linear estimate of the bands plus what residual blocks add to it."""

    def __init__(self, axes: int, channels: int, levels: int, latents: int, width: int, blocks: int) -> None:
        super().__init__()
        self.levels = levels
        bands = channels << axes * levels
        self.expand = nn.Linear(latents, bands)
        self.first = nn.Linear(latents, width)
        self.axes = axes
        self.blocks = nn.Sequential(*(PartialBlock(width, axes=axes) for _ in range(blocks)))
        self.last = nn.Linear(width, bands)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, y: Tensor) -> Tensor:
        """y: float32 [B, latents, ...]; the blocks alone follow the caller's autocast."""
        with torch.autocast(y.device.type, enabled=False):
            y = y.float().movedim(1, -1)
            hidden = self.first(y).movedim(-1, 1)
        hidden = self.blocks(hidden) if self.axes == 2 else self.blocks(hidden.unsqueeze(2)).squeeze(2)
        with torch.autocast(y.device.type, enabled=False):
            bands = self.expand(y) + self.last(hidden.float().movedim(1, -1))
            return signal(bands.movedim(-1, 1), self.levels)


@torch.no_grad()
def start_as_principal_components(analysis: WaveletAnalysis, synthesis: WaveletSynthesis, samples: Tensor) -> Tensor:
    """Set the linear layers to principal components of `samples` [B, C, ...] in -1/2..1/2; gives latents' spreads."""
    rows = packets(samples, analysis.levels).movedim(1, -1).flatten(0, -2).double()
    count = analysis.project.out_features
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    basis = vectors.flip(1)[:, :count].float()
    analysis.project.weight.copy_(basis.T)
    synthesis.expand.weight.copy_(basis)
    for layer in (analysis.project, synthesis.expand):
        layer.bias.zero_()
    return values.flip(0)[:count].clamp_min(0).sqrt().float()
