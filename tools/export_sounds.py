"""What an export of a codec of sound costs in rate, and the proof that its coder decodes what it coded."""

from pathlib import Path

import torch

from rarefy.codecs.sound import SoundCodec, SoundPart
from rarefy.errors import WeightsError
from rarefy.tools.evaluate_sounds import prepared


def cost_of_sounds(
    reference: SoundCodec, codec: SoundCodec, files: list[Path], positions: tuple[float, ...]
) -> list[dict[str, float]]:
    """Bits of real streams over the ideal bits of the float networks, per quality."""
    rows = []
    for position in positions:
        ideal = coded = 0.0
        for file in files:
            part, x = prepared(codec, file)
            floats = reference.part(part.channels)
            with torch.inference_mode():
                ideal += float(floats.bottleneck(floats.analysis(x), torch.tensor([position]))[1])
                sections, _ = part.bottleneck.compress(part.analysis(x), round(25600 * position))[0]
            coded += 8 * sum(map(len, sections.values()))
        rows.append({"quality": 100 * position, "ideal_bits": ideal, "coded_bits": coded, "excess": coded / ideal - 1})
    return rows


def prove_round_trip(codec: SoundCodec) -> None:
    """Code noise at full scale and silence at several qualities; raises what is wrong."""
    for part in (codec.stereo, codec.mono):
        noise = torch.rand(1, part.channels, 64 * part.stride, generator=torch.Generator().manual_seed(0)) * 2 - 1
        for x in (noise, torch.zeros_like(noise)):
            for quality in (0, 12800, 25600):
                _prove(part, x, quality)


@torch.inference_mode()
def _prove(part: SoundPart, x: torch.Tensor, quality: int) -> None:
    y = part.analysis(x)
    decoded = part.bottleneck.decompress(part.bottleneck.compress(y, quality), (y.shape[2],), quality)
    expected, _ = part.bottleneck(y, torch.tensor([quality / 25600]))
    if not torch.allclose(decoded, expected, rtol=1e-4, atol=1e-5):
        raise WeightsError("what was coded decodes to other latents: these weights must not be used")
