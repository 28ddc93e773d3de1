"""Layers that the picture networks share. Borders are padded by replication everywhere."""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Where torch found no AVX2, it has no pixel shuffle for channels-last tensors: FBGEMM would have to do it.
_SHUFFLES_ROWS = platform.machine() in ("x86_64", "AMD64") and torch.backends.cpu.get_cpu_capability() == "DEFAULT"
LARGEST = 1.5  # before squaring; photographs lose 0.01 dB by it at most


def replicate_border(x: Tensor, rows: int = 1, columns: int = 1) -> Tensor:
    """Repeat the outermost rows and columns of [B, C, H, W] so many times.

    Inductor of torch 2.11 mistakes the strides of this padding's backward pass, so compiled code takes the slower way.
    """
    if not torch.compiler.is_compiling():
        return F.pad(x, (columns, columns, rows, rows), mode="replicate")
    x = torch.cat([*[x[:, :, :1]] * rows, x, *[x[:, :, -1:]] * rows], 2)
    return torch.cat([*[x[..., :1]] * columns, x, *[x[..., -1:]] * columns], 3)


def pixel_shuffle(x: Tensor, factor: int) -> Tensor:
    """As torch's: [B, C, H, W] to [B, C / factor^2, factor H, factor W]; on any processor, channels last stay last."""
    if not _SHUFFLES_ROWS or x.device.type != "cpu":
        return F.pixel_shuffle(x, factor)
    return F.pixel_shuffle(x.contiguous(), factor).contiguous(memory_format=torch.channels_last)


class Conv3x3(nn.Conv2d):
    """A 3x3 convolution, stride 1, that replicates the border."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, inputs, H, W]; gives [B, outputs, H, W]."""
        return super().forward(replicate_border(x))


class Conv1x7(nn.Conv2d):
    """A convolution over seven columns, stride 1, that replicates the border: for signals along time, [B, C, 1, n]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, (1, 7))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, inputs, 1, n]; gives [B, outputs, 1, n]."""
        return super().forward(replicate_border(x, 0, 3))


class PartialBlock(nn.Module):
    """Residual block: a 3x3 convolution over a part of the channels, then two 1x1 layers over all of them.

    Spatial mixing on `channels // part` channels costs a fraction of a dense 3x3 layer; the 1x1 layers do the rest
    (partial convolution: Chen et al. 2023, "Run, Don't Walk"; in image compression: HPCM, Li et al. 2025).
    `squared` uses relu(x)^2, which suits float transforms; plain relu stays exact in eight bits. Squares are bounded:
    blocks that follow each other could otherwise blow up a pattern that training never showed. axes: 2 for pictures; 1
    for signals along time, [B, channels, 1, n], which get seven columns in the place of the square.
    """

    def __init__(self, channels: int, part: int = 4, expansion: int = 2, squared: bool = True, axes: int = 2) -> None:
        super().__init__()
        self.spatial_channels = channels // part
        self.squared = squared
        self.spatial = (Conv3x3 if axes == 2 else Conv1x7)(self.spatial_channels, self.spatial_channels)
        self.expand = nn.Conv2d(channels, expansion * channels, 1)
        self.reduce = nn.Conv2d(expansion * channels, channels, 1)
        nn.init.zeros_(self.reduce.weight)
        for layer in (self.spatial, self.expand, self.reduce):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, channels, H, W]; the same shape comes out."""
        n = self.spatial_channels
        mixed = torch.cat([self.spatial(x[:, :n]), x[:, n:]], 1)
        hidden = self.expand(mixed)
        return x + self.reduce(F.hardtanh(hidden, 0.0, LARGEST).square() if self.squared else F.relu(hidden))
