"""Networks of the image codec's entropy model: hyper-analysis, scale network and mean network.

Latents are coded in four steps (the quadtree order of DCVC-DC, Li et al. 2023): each step covers a quarter of all
latents, at every position, so that its context is spatial and across channels at once. The scale network sees only
integers (hyper-latents, symbols, the quality), so that an exact integer copy of it can choose the tables; the mean
network may see reconstructed floats.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.models.layers import PartialBlock, pixel_shuffle

STREAM_EXPONENT = 5  # what passes from features to heads is in steps of 2^-5 where integers run the network
STREAM_PEAK = 127 / 2**STREAM_EXPONENT  # and so within +-4, which training has to know


def bounded(x: Tensor) -> Tensor:
    """What eight bits hold of it."""
    return F.hardtanh(x, -STREAM_PEAK, STREAM_PEAK)


def by_parity(table: Tensor, height: int, width: int) -> Tensor:
    """Tile a table [C, 2, 2] over the positions: [C, height, width]."""
    return table.repeat(1, (height + 1) // 2, (width + 1) // 2)[:, :height, :width]


class HyperAnalysis(nn.Module):
    """h_a: scaled latents [B, latents, h, w], h and w multiples of 4, to hyper-latents [B, hyper, h/4, w/4]."""

    def __init__(self, latents: int, width: int, hyper: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * latents, width, 1)
        self.middle = nn.Conv2d(4 * width, width, 1)
        self.block = PartialBlock(width)
        self.last = nn.Conv2d(4 * width, hyper, 1)

    def forward(self, y: Tensor) -> Tensor:
        """Values and magnitudes enter through asinh, which keeps large ones from drowning the rest."""
        y = torch.asinh(y)
        h = F.relu(self.first(torch.cat([y, y.abs()], 1)))
        h = self.block(self.middle(F.pixel_unshuffle(h, 2)))
        return self.last(F.pixel_unshuffle(h, 2))


class ScaleNetwork(nn.Module):
    """Scales from hyper-latents, symbols of earlier steps and the quality; made so that eight-bit integers can run it.

    `features` gives [B, width, 4 h_z, 4 w_z]; `step` gives the head's output [B, latents, h, w], in units of table
    indices above a start that belongs to the bottleneck. Sums that `step` hands on are bounded as the integers bound
    them: untrained for that, contexts reach ten times as far as features do, and no step of eight bits suits both.
    (The integers bound what is added as well, which is left out here: it costs 0.1 % of rate at quality 90.)
    """

    stream_exponent = STREAM_EXPONENT

    def __init__(self, latents: int, width: int, hyper: int, steps: int) -> None:
        super().__init__()
        self.up_coarse = nn.Conv2d(hyper, 4 * width, 1)
        self.block_coarse = PartialBlock(width, squared=False)
        self.up_fine = nn.Conv2d(width, 4 * width, 1)
        self.blocks_fine = nn.ModuleList(PartialBlock(width, squared=False) for _ in range(2))
        self.position = nn.Parameter(torch.zeros(steps, width, 2, 2))
        self.symbols_in = nn.ModuleList(nn.Conv2d(latents, width, 1) for _ in range(steps - 1))
        self.contexts = nn.ModuleList(PartialBlock(width, part=2, squared=False) for _ in range(steps - 1))
        self.heads = _silent_heads(steps, width, latents)

    def features(self, z_hat: Tensor, embedding: Tensor) -> Tensor:
        """z_hat: [B, hyper, h_z, w_z] integers as floats; embedding: what the quality adds, [B, width]."""
        h = pixel_shuffle(self.up_coarse(z_hat), 2)
        h = pixel_shuffle(self.up_fine(self.block_coarse(h)), 2)
        h = h + embedding[:, :, None, None]
        for block in self.blocks_fine:
            h = block(h)
        return h

    def step(self, step: int, features: Tensor, magnitudes: Tensor) -> Tensor:
        """magnitudes: asinh |symbol| of the latents coded so far, zero elsewhere, [B, latents, h, w]."""
        h = bounded(features) + by_parity(self.position[step], *features.shape[2:])
        if step:
            h = self.contexts[step - 1](bounded(h + self.symbols_in[step - 1](magnitudes)))
        return self.heads[step](bounded(h))


class MeanNetwork(nn.Module):
    """Means from the scale network's features and the latents known so far, in units of the latents' deviations."""

    def __init__(self, latents: int, width: int, steps: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(steps, width, 2, 2))
        self.latents_in = nn.ModuleList(nn.Conv2d(latents, width, 1) for _ in range(steps - 1))
        self.contexts = nn.ModuleList(PartialBlock(width, part=2, squared=False) for _ in range(steps - 1))
        self.heads = _silent_heads(steps, width, latents)

    def hidden(self, step: int, features: Tensor, reconstructed: Tensor) -> Tensor:
        """What the step's head sees.

        features: the scale network's, [B, width, h, w]; reconstructed: asinh of y_hat / deviation so far, zero
        elsewhere, [B, latents, h, w].
        """
        h = features + by_parity(self.position[step], *features.shape[2:])
        return self.contexts[step - 1](h + self.latents_in[step - 1](reconstructed)) if step else h

    def step(self, step: int, features: Tensor, reconstructed: Tensor) -> Tensor:
        """Means of all latents, [B, latents, h, w]; arguments as in `hidden`."""
        return self.heads[step](self.hidden(step, features, reconstructed))


def _silent_heads(steps: int, width: int, latents: int) -> nn.ModuleList:
    """One 1x1 layer a step that says zero before training."""
    heads = [nn.Conv2d(width, latents, 1) for _ in range(steps)]
    for head in heads:
        assert head.bias is not None
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    return nn.ModuleList(heads)
