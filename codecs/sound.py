"""The contract that codecs of sound keep: a part for two channels, a part for one, and units of a few seconds.

Stereo goes through the stereo part, mono through the mono part; surround is coded as pairs and singles
(`rarefy.codecs.sound_layout`). Each part has a sample rate of its own; sounds are resampled to it and back.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rarefy.codecs import container
from rarefy.codecs.any_codec import AnyBottleneck, AnyCodec, Output, SoundBottleneck, levels_of, quality_q256
from rarefy.codecs.audio import Audio
from rarefy.codecs.container import File, Header
from rarefy.codecs.header import SPANS_A_SECOND
from rarefy.codecs.limits import Limits
from rarefy.codecs.sound_decoding import SoundDecoder, as_audio
from rarefy.codecs.sound_encoding import Sound, SoundEncoder
from rarefy.errors import FormatError, OptionError


class SoundPart(nn.Module):
    """What codes groups of `channels` (1 or 2) channels at `sample_rate`.

    stride: samples that a latent stands for. halo: how many latents beyond a unit the transforms look at, enough that
    units fit each other exactly.
    """

    channels: int
    sample_rate: int
    stride: int
    halo: int
    bottleneck: SoundBottleneck

    def samples_of(self, span: int) -> int:
        """Samples of so many 300ths of a second; 0 for 0."""
        return span * self.sample_rate // SPANS_A_SECOND

    def start(self, samples: Tensor) -> None:
        """Set fresh weights to what is better than random ones; samples: float [B, channels, n]."""

    def analysis(self, x: Tensor) -> Tensor:
        """x: float32 [B, channels, n], n a multiple of `stride`; gives latents [B, latents, n / stride]."""
        raise NotImplementedError

    def synthesis(self, latents: Tensor) -> Tensor:
        """Latents to samples float32 [B, channels, n]."""
        raise NotImplementedError


class SoundCodec(AnyCodec):
    """A codec of sounds: subclasses give `name`, `config`, `span`, and the parts `stereo` and `mono`.

    span: of units, in 300ths of a second, whole latents in both parts.
    """

    medium = "sound"
    span: int
    stereo: SoundPart
    mono: SoundPart

    def bottlenecks(self) -> Mapping[str, AnyBottleneck]:
        """See `AnyCodec.bottlenecks`."""
        return {"stereo.bottleneck": self.stereo.bottleneck, "mono.bottleneck": self.mono.bottleneck}

    def part(self, channels: int) -> SoundPart:
        """The part for a group of so many channels."""
        return self.stereo if channels == 2 else self.mono

    def start(self, samples: Tensor) -> None:
        """See `AnyCodec.start`."""
        self.stereo.start(samples[:, :2])
        self.mono.start(samples[:, 2:])

    def forward(self, x: Tensor, quality: Tensor | float) -> Output:
        """Differentiable round trip of both parts, to train.

        x: [B, 3, n], two channels of a stereo sound and one of a mono sound, each at its part's rate, n a multiple of
        both strides; quality: 0..100, one or [B].
        """
        (stereo, stereo_bits), (mono, mono_bits) = self._coded(x, quality)
        x_hat = torch.cat([self.stereo.synthesis(stereo), self.mono.synthesis(mono)], 1)
        return Output(x_hat, stereo_bits + mono_bits)

    def rate(self, x: Tensor, quality: Tensor | float) -> Tensor:
        """See `AnyCodec.rate`."""
        (_, stereo_bits), (_, mono_bits) = self._coded(x, quality)
        return stereo_bits + mono_bits

    def _coded(self, x: Tensor, quality: Tensor | float) -> list[tuple[Tensor, Tensor]]:
        if x.shape[1] != 3 or x.shape[2] % self.stereo.stride or x.shape[2] % self.mono.stride:
            raise OptionError(f"training sounds have 3 channels and whole latents, not {tuple(x.shape)}")
        position = levels_of(quality, x) / 100
        parts = ((self.stereo, x[:, :2]), (self.mono, x[:, 2:]))
        return [part.bottleneck(part.analysis(samples), position) for part, samples in parts]

    def encode(self, sound: Sound, quality: float, precision: str = "auto", effort: int = 0) -> bytes:
        """A sound to the bytes of a file; quality 0..100; effort: see `SoundEncoder`."""
        return SoundEncoder(self, sound, precision, effort=effort).file(quality_q256(quality))

    def decode(self, data: bytes | File, limits: Limits | None = None, precision: str = "auto") -> Audio:
        """A file's bytes (or a file read already) to a sound; raises RarefyErrors for damaged or foreign files."""
        file = data if isinstance(data, File) else container.read(data, limits)
        decoder = SoundDecoder(self, file.header, dict(enumerate(file.units)), limits, precision)
        return as_audio(decoder.samples(), file.header, file.metadata)

    def check(self, header: Header) -> None:
        """See `AnyCodec.check`."""
        super().check(header)
        for part in (self.stereo, self.mono):
            if header.span * part.sample_rate % (SPANS_A_SECOND * part.stride):
                raise FormatError(f'codec "{self.name}" has no units of {header.span} 300ths of a second')
