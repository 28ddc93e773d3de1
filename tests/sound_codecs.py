"""A codec of sound that is tiny, for tests: its sizes, and one whose integers are made."""

import torch

from rarefy.codecs.registry import build
from rarefy.codecs.walloc_audio import WallocAudioCodec

TINY = {
    "stereo_levels": 5,
    "stereo_latents": 14,
    "stereo_width": 16,
    "stereo_blocks": 1,
    "mono_levels": 4,
    "mono_latents": 7,
    "mono_width": 16,
    "mono_blocks": 1,
    "lambda_low": 1e-3,
    "lambda_high": 0.5,
}


def tiny(seed: int = 0) -> WallocAudioCodec:
    """A linear codec of smooth noise, with its integers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        codec = build("walloc-audio", dict(TINY))
    assert isinstance(codec, WallocAudioCodec)
    noise = torch.randn(16, 3, 2048 + 15, generator=generator)
    codec.start(0.4 * torch.nn.functional.avg_pool1d(noise, 16, stride=1))
    for part in (codec.stereo, codec.mono):
        part.bottleneck.make_exact()
    return codec.eval().requires_grad_(False)
