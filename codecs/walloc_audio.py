"""WaLLoC for sound: wavelet packets along time, a linear encoder, integer latents; a part for stereo, one for mono."""

from dataclasses import dataclass

from torch import Tensor

from rarefy.codecs.sound import SoundCodec, SoundPart
from rarefy.entropy.lattice import Lattice
from rarefy.models.walloc import WaveletAnalysis, WaveletSynthesis, start_as_principal_components

KERNEL_REACH = 3  # latents to either side that one residual block looks at
PACKET_REACH = 4  # latents that wavelet packets of any depth reach: (9 - 1) / 2 of their samples


@dataclass(frozen=True)
class WallocAudioConfig:
    """Sizes of the networks; lambdas are the ends of the range of quality, for samples with a spread of 0.1.

    levels: of wavelet packets, so that a latent of every channel stands for 2^levels samples.
    """

    stereo_levels: int = 8
    stereo_latents: int = 108  # of 512 bands, 4.74 times fewer, as in the authors' stereo_5x
    stereo_width: int = 256
    stereo_blocks: int = 6
    mono_levels: int = 7
    mono_latents: int = 54  # of 128 bands at 24 kHz: 4.74 times fewer than samples at 48 kHz
    mono_width: int = 192
    mono_blocks: int = 6
    lambda_low: float = 1e-3
    lambda_high: float = 0.5


@dataclass(frozen=True)
class PartSizes:
    """Sizes of a part: channels and rate of the sound, levels of packets, and of its networks."""

    channels: int
    sample_rate: int
    levels: int
    latents: int
    width: int
    blocks: int


class WallocSound(SoundPart):
    """One or two channels at one sample rate."""

    bottleneck: Lattice

    def __init__(self, sizes: PartSizes, lambdas: tuple[float, float]) -> None:
        super().__init__()
        s = sizes
        self.channels, self.sample_rate, self.stride = s.channels, s.sample_rate, 1 << s.levels
        self.halo = KERNEL_REACH * s.blocks + PACKET_REACH
        self.g_a = WaveletAnalysis(1, s.channels, s.levels, s.latents)
        self.g_s = WaveletSynthesis(1, s.channels, s.levels, s.latents, s.width, s.blocks)
        self.bottleneck = Lattice(s.latents, axes=1, lambdas=lambdas)

    def start(self, samples: Tensor) -> None:
        """See `SoundPart.start`."""
        self.bottleneck.start_from(start_as_principal_components(self.g_a, self.g_s, samples))

    def analysis(self, x: Tensor) -> Tensor:
        """See `SoundPart.analysis`."""
        y: Tensor = self.g_a(x)
        return y

    def synthesis(self, latents: Tensor) -> Tensor:
        """See `SoundPart.synthesis`."""
        x_hat: Tensor = self.g_s(latents)
        return x_hat


class WallocAudioCodec(SoundCodec):
    """Stereo at 44.1 kHz and mono at 24 kHz, each by wavelet packets around a `Lattice`."""

    name = "walloc-audio"
    span = 1024  # 3.4 seconds: 588 latents of stereo, 640 of mono, in each channel
    Config = WallocAudioConfig
    config: WallocAudioConfig

    def __init__(self, config: WallocAudioConfig) -> None:
        super().__init__()
        c = self.config = config
        lambdas = (c.lambda_low, c.lambda_high)
        stereo = PartSizes(2, 44_100, c.stereo_levels, c.stereo_latents, c.stereo_width, c.stereo_blocks)
        mono = PartSizes(1, 24_000, c.mono_levels, c.mono_latents, c.mono_width, c.mono_blocks)
        self.stereo, self.mono = WallocSound(stereo, lambdas), WallocSound(mono, lambdas)
