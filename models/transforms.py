"""Picture transforms: analysis g_a and synthesis g_s, with no learned layer above 1/8 resolution.

Pixel-unshuffle by 8, residual blocks at 1/8 and 1/16 resolution (as in DCVC-RT, Jia et al. 2025), no global operations,
so that any window with its halo decodes like the whole. Before training the 1x1 layers are principal components: an
orthonormal linear transform codec. Where there are more latents than channels of the blocks at 1/16, the rest pass
beside the blocks, linearly: fine texture at high qualities needs many latents, and this way they cost little time.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.models.layers import PartialBlock, pixel_shuffle

STRIDE = 16


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(PartialBlock(channels) for _ in range(count)))


def _full(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a layer in float32 whatever autocast says.

    What it gives is float32 too, and so are the sums of the residual blocks behind it. They keep what eight bits of a
    bfloat16 would round away at every block: pixels differ four times less from those of float32, at the same speed.
    """
    with torch.autocast(x.device.type, enabled=False):
        return layer(x.float())


def _on_first(blocks: nn.Module, channels: int, x: Tensor) -> Tensor:
    """Run blocks over the first channels and leave the others as they are."""
    if x.shape[1] > channels:
        return torch.cat([blocks(x[:, :channels]), x[:, channels:]], 1)
    own: Tensor = blocks(x)
    return own


class Analysis(nn.Module):
    """g_a: float [B, 3, H, W] in 0..1, H and W multiples of 16, to latents float32 [B, latents, H/16, W/16]."""

    def __init__(self, latents: int, fine: int, fine_blocks: int, coarse: int, coarse_blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(192, fine, 1)
        self.fine = _blocks(fine, fine_blocks)
        self.channels = coarse
        self.down = nn.Conv2d(4 * fine, max(coarse, latents), 1)
        self.coarse = _blocks(coarse, coarse_blocks)
        self.last = nn.Conv2d(max(coarse, latents), latents, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Layers between the blocks run in float32; the caller's autocast chooses the precision inside of them."""
        h = self.fine(_full(self.first, F.pixel_unshuffle(x - 0.5, 8)))
        h = _on_first(self.coarse, self.channels, _full(self.down, F.pixel_unshuffle(h, 2)))
        return _full(self.last, h)


class Synthesis(nn.Module):
    """g_s: latents float32 [B, latents, h, w] to a picture float32 [B, 3, 16 h, 16 w], about 0..1 and not clipped.

    With a reduction of 2, 4 or 8 it gives the means over squares of that many pixels: the last layer is linear, so its
    weights are averaged instead of its pixels.
    """

    def __init__(self, latents: int, fine: int, fine_blocks: int, coarse: int, coarse_blocks: int) -> None:
        super().__init__()
        self.channels = coarse
        self.first = nn.Conv2d(latents, max(coarse, latents), 1)
        self.coarse = _blocks(coarse, coarse_blocks)
        self.up = nn.Conv2d(max(coarse, latents), 4 * fine, 1)
        self.fine = _blocks(fine, fine_blocks)
        self.last = nn.Conv2d(fine, 192, 1)

    def forward(self, y: Tensor, reduction: int = 1) -> Tensor:
        """Layers between the blocks run in float32; the caller's autocast chooses the precision inside of them.

        So is the last block at 1/16: its share of what bfloat16 changes in pixels is a fifth, for 2 % of the time.
        """
        h = _on_first(self.coarse[:-1], self.channels, _full(self.first, y))
        h = _full(lambda x: _on_first(self.coarse[-1:], self.channels, x), h)
        h = self.fine(pixel_shuffle(_full(self.up, h), 2))
        if reduction == 1:
            return pixel_shuffle(_full(self.last, h), 8) + 0.5
        weight, bias = self._averaged(reduction)
        return pixel_shuffle(_full(lambda x: F.conv2d(x, weight, bias), h), 8 // reduction) + 0.5

    def _averaged(self, reduction: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of the last layer for means over squares."""
        bias = self.last.bias
        assert bias is not None
        side = 8 // reduction

        def mean(values: Tensor) -> Tensor:
            return values.reshape(3, side, reduction, side, reduction, -1).mean((2, 4)).flatten(0, 2)

        return mean(self.last.weight)[:, :, None, None], mean(bias)[:, 0]


@torch.no_grad()
def start_as_principal_components(g_a: Analysis, g_s: Synthesis, patches: Tensor, order: Tensor) -> Tensor:
    """Set the 1x1 layers to principal components of `patches`, float [B, 3, H, W] in 0..1; gives latents' deviations.

    order: which component, by falling strength, each latent is, int64 [latents].

    Blocks start at zero, so afterwards g_s(g_a(x)) is the best linear reconstruction and the latents are uncorrelated.
    """
    basis_fine, _ = _principal(F.pixel_unshuffle(patches - 0.5, 8), g_a.first.out_channels)
    fine = F.conv2d(F.pixel_unshuffle(patches - 0.5, 8), basis_fine[:, :, None, None])
    latents, wide = g_a.last.out_channels, g_a.down.out_channels
    basis, sigma = _principal(F.pixel_unshuffle(fine, 2), wide)
    identity = torch.eye(latents, wide)[order]
    for layer, matrix in (
        (g_a.first, basis_fine),
        (g_a.down, basis),
        (g_a.last, identity),
        (g_s.first, identity.T),
        (g_s.up, basis.T),
        (g_s.last, basis_fine.T),
    ):
        layer.weight.copy_(matrix[:, :, None, None])
        assert layer.bias is not None
        layer.bias.zero_()
    return sigma[:latents][order].clamp_min(sigma[0] * 1e-3)


def _principal(features: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` strongest orthonormal directions [count, C] of features [B, C, H, W], and their deviations."""
    rows = features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    return vectors.flip(1)[:, :count].T.float(), values.flip(0)[:count].clamp_min(0).sqrt().float()
