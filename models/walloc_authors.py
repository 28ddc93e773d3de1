"""WaLLoC's networks as its authors published them, so that their weights give here what they give there.

Jacobellis and Yadwadkar, "Learned Compression for Compressed Learning" (2024), package walloc 1.2.1: periodic wavelet
packets, an encoder that is one 1x1 layer, a fixed quantiser of equally likely steps, and a decoder that is an image
autoencoder's with global attention, or, for sound, a vocoder's. `rarefy.models.walloc` is what rarefy trains itself.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.models.wavelets import packets, signal

GROUPS = 32  # of every normalisation
LAYERS = 5  # residual blocks of the decoder; the attention comes after the first
SPREAD = 1.85  # of the largest integer in deviations of the normal distribution that companding takes latents for
SHRINK = 1e-3  # by which companded latents stay below half a step beyond the largest integer
TAIL = 1e-4  # probabilities beyond it expand as it does
DILATIONS = (1, 3, 9)  # of a sound stage's residual units
TAPS = 129  # of the filter after sound's synthesis


def largest_integer(bits: int) -> int:
    """The largest magnitude of a latent with so many bits."""
    return (1 << (bits - 1)) - 1


def compand(z: Tensor, bits: int) -> Tensor:
    """Latents to steps that a normal distribution fills evenly; round them to get integers."""
    largest = largest_integer(bits)
    return (largest + 0.5 - SHRINK) * torch.erf(z * (SPREAD / largest / math.sqrt(2)))


def expand(q: Tensor, bits: int) -> Tensor:
    """The inverse of `compand`; what lies beyond all integers expands to the same as the last of them, or nearly."""
    largest = largest_integer(bits)
    share = (q / (largest + 0.5 - SHRINK)).clamp(2 * TAIL - 1, 1 - 2 * TAIL)
    return torch.erfinv(share) * (largest / SPREAD * math.sqrt(2))


class PacketAnalysis(nn.Module):
    """Signals of -1/2..1/2 to latents that are not companded yet: float [B, C, ...] to [B, latents, ...].

    Along one axis the latents are two longer than the packets, as the authors' are: at both ends the bias alone.
    """

    def __init__(self, axes: int, channels: int, levels: int, latents: int) -> None:
        super().__init__()
        self.levels = levels
        bands = channels << axes * levels
        self.project = nn.Conv2d(bands, latents, 1) if axes == 2 else nn.Conv1d(bands, latents, 1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """In float32, whatever autocast says; sides are multiples of 2^levels."""
        with torch.autocast(x.device.type, enabled=False):
            z: Tensor = self.project(packets(x.float(), self.levels, "periodic"))
            return z


class ResidualBlock(nn.Module):
    """Two 3x3 layers, each after a normalisation over groups of channels; [B, width, H, W] stays that."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(GROUPS, width, eps=1e-6) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, width, H, W]."""
        hidden = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(hidden)))


class GlobalAttention(nn.Module):
    """Every position sees every other: one head, [B, width, H, W], a cost that grows with (H W)^2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, width, H, W]."""
        rows = self.norm(x).flatten(2).transpose(1, 2)
        heads = [layer(rows)[:, None] for layer in (self.query, self.key, self.value)]
        seen = self.out(F.scaled_dot_product_attention(*heads)[:, 0])
        return x + seen.transpose(1, 2).reshape(x.shape)


class AttentionSynthesis(nn.Module):
    """Expanded latents of pictures to the pictures: [B, latents, h, w] to [B, C, H, W] of about -1/2..1/2."""

    def __init__(self, channels: int, levels: int, latents: int, width: int) -> None:
        super().__init__()
        self.levels = levels
        self.first = nn.Conv2d(latents, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(LAYERS))
        self.attention = GlobalAttention(width)
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.last = nn.Conv2d(width, channels << 2 * levels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """z: float32; the first and the last layer stay in float32, whatever autocast says."""
        with torch.autocast(z.device.type, enabled=False):
            hidden = self.first(z.float())
        first, *others = self.blocks
        hidden = self.attention(first(hidden))
        for block in others:
            hidden = block(hidden)
        with torch.autocast(z.device.type, enabled=False):
            bands = self.last(F.silu(self.norm(hidden.float())))
            return signal(bands, self.levels, "periodic")


class Snake(nn.Module):
    """x + sin^2(a x) / b with a and b per channel, stored as logarithms (Ziyin et al. 2020; two of them: BigVGAN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha, self.beta = (nn.Parameter(torch.zeros(1, channels, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, channels, L]."""
        return x + torch.sin(self.alpha.exp() * x).square() / (self.beta.exp() + 1e-9)


class NormedConv1d(nn.Module):
    """A convolution along one axis whose weights are directions `weight_v` of lengths `weight_g`.

    The length stays what it is; `is_transposed`: a transposed one with two taps, after which it is one less.
    """

    def __init__(
        self, inputs: int, outputs: int, taps: int, dilation: int = 1, *, bias: bool = True, is_transposed: bool = False
    ) -> None:
        super().__init__()
        self.dilation, self.is_transposed = dilation, is_transposed
        shape = (inputs, outputs, taps) if is_transposed else (outputs, inputs, taps)
        direction = torch.empty(shape)
        nn.init.kaiming_uniform_(direction, a=math.sqrt(5))
        self.weight_v = nn.Parameter(direction)
        self.weight_g = nn.Parameter(_lengths(direction))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, inputs, L]."""
        weight = self.weight_v * (self.weight_g / _lengths(self.weight_v))
        if self.is_transposed:
            return F.conv_transpose1d(x, weight, self.bias, padding=1)
        padding = (weight.shape[2] - 1) * self.dilation // 2
        return F.conv1d(x, weight, self.bias, padding=padding, dilation=self.dilation)


def _lengths(direction: Tensor) -> Tensor:
    return direction.norm(dim=(1, 2), keepdim=True)


class SoundUnit(nn.Module):
    """Residual unit: seven taps far apart, then a layer without neighbours; [B, channels, L] stays that."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.snake1, self.snake2 = Snake(channels), Snake(channels)
        self.conv1 = NormedConv1d(channels, channels, 7, dilation)
        self.conv2 = NormedConv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, channels, L]."""
        return x + self.conv2(self.snake2(self.conv1(self.snake1(x))))


class SoundStage(nn.Module):
    """A transposed convolution, then three units: [B, inputs, L] to [B, outputs, L - 1]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.snake = Snake(inputs)
        self.conv = NormedConv1d(inputs, outputs, 2, is_transposed=True)
        self.units = nn.Sequential(*(SoundUnit(outputs, dilation) for dilation in DILATIONS))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, inputs, L]."""
        return self.units(self.conv(self.snake(x)))


class SoundSynthesis(nn.Module):
    """Expanded latents of sound to the sound: [B, latents, l] to [B, C, (l - 2) 2^levels] of about -1/2..1/2.

    width: of the hidden layers, cut to a multiple of the latents. has_filter: whether a filter over the sound itself
    ends the decoder.
    """

    def __init__(self, channels: int, levels: int, latents: int, width: int, *, has_filter: bool) -> None:
        super().__init__()
        self.levels = levels
        hidden = width // latents * latents
        self.first = NormedConv1d(latents, hidden, 7)
        self.stages = nn.Sequential(SoundStage(hidden, hidden), SoundStage(hidden, latents))
        self.snake = Snake(latents)
        self.last = NormedConv1d(latents, channels << levels, 7, bias=False)
        self.filter = nn.Conv1d(channels, channels, TAPS, padding=TAPS // 2) if has_filter else nn.Identity()

    def forward(self, z: Tensor) -> Tensor:
        """z: float32 [B, latents, l], l at least 3."""
        bands = self.last(self.snake(self.stages(self.first(z))))
        x: Tensor = self.filter(signal(bands, self.levels, "periodic"))
        return x
