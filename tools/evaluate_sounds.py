"""Rate and distortion of a codec of sound in training: ideal code lengths of rounded latents on whole sounds."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs.audio import read_audio
from rarefy.codecs.audio_resampling import resample
from rarefy.codecs.sound import SoundCodec, SoundPart
from rarefy.codecs.sound_level import SPREAD

POSITIONS = (0.05, 0.25, 0.5, 0.75, 0.95)


def evaluate_sounds(codec: SoundCodec, files: list[Path]) -> list[dict[str, float]]:
    """Means over sounds at each quality: [{"quality", "bits_per_pixel", "psnr"}], as for pictures.

    Bits are those per sample in time at the part's own rate; psnr is the ratio of signal to error in dB. Empty without
    files.
    """
    sounds = [prepared(codec, file) for file in files]
    rows = []
    for position in POSITIONS:
        pairs = [_rate_and_ratio(part, x, position) for part, x in sounds]
        if pairs:
            rate, ratio = (float(np.mean(column)) for column in zip(*pairs, strict=True))
            rows.append({"quality": 100 * position, "bits_per_pixel": rate, "psnr": ratio})
    return rows


def prepared(codec: SoundCodec, file: Path) -> tuple[SoundPart, Tensor]:
    """The part that codes a sound, and its samples as the part takes them: float32 [1, channels, n]."""
    audio = read_audio(file, warns=False)
    part = codec.part(2 if audio.channels == 2 else 1)
    samples = audio.samples if audio.channels == part.channels else audio.samples.mean(0, keepdims=True)
    samples = resample(samples, audio.sample_rate, part.sample_rate)
    x = torch.from_numpy(np.pad(samples, ((0, 0), (0, -samples.shape[1] % part.stride)))[None])
    x = x * (SPREAD / x.square().mean().sqrt().clamp_min(1e-9))
    return part, x.to(next(part.parameters()).device)


@torch.inference_mode()
def _rate_and_ratio(part: SoundPart, x: Tensor, position: float) -> tuple[float, float]:
    y_hat, bits = part.bottleneck(part.analysis(x), torch.tensor([position], device=x.device))
    error = float((part.synthesis(y_hat) - x).square().mean())
    return float(bits) / x.shape[2], 10 * math.log10(float(x.square().mean()) / max(error, 1e-20))
