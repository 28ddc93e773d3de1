"""Train the entropy model of `BlockCodec` and write its weights: python make_weights.py PICTURES -o FILE.

The transform is fixed, so nothing but the rate is learned; a few minutes on a CPU are enough. Codecs with networks of
their own are trained by `rarefy train` and exported by `rarefy weights export`.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from rarefy_blocks.codec import BlockCodec, BlockConfig
from torch import Tensor

from rarefy.codecs.base import Unit
from rarefy.codecs.weights import save_weights
from rarefy.entropy.quantise import quantise_scales
from rarefy.tools.patches import Patches, picture_files

PATCH, BATCH = 128, 8
CALIBRATION_QUALITIES = (0.0, 25.0, 50.0, 75.0, 100.0)


def train(codec: BlockCodec, patches: Patches, minutes: float, generator: torch.Generator) -> None:
    """Learn the entropy model for `minutes`; every quality counts by the relative change of its rate."""
    bottleneck = codec.bottleneck
    for gain in (bottleneck.gain_encoder, bottleneck.gain_decoder):
        gain.requires_grad_(False)  # equal steps are right for an orthonormal transform
    learned = [p for p in codec.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=2e-3)
    start, progress, step = time.monotonic(), 0.0, 0
    while progress < 1:
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 2 * (1 - progress)) + 1e-5
        qualities = 100 * torch.rand(BATCH, generator=generator)
        loss = codec(pictures(patches, generator), qualities).bits.log().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        progress, step = (time.monotonic() - start) / (60 * minutes), step + 1
        if step % 200 == 0:
            print(f"step {step}, {math.exp(loss.item()) / PATCH**2:.4f} bits per pixel (geometric mean)")


def pictures(patches: Patches, generator: torch.Generator) -> Tensor:
    """A batch as float32 [B, 3, PATCH, PATCH] in 0..1."""
    return patches.draw(BATCH, generator).float() / 255


@torch.no_grad()
def make_exact(codec: BlockCodec, patches: Patches, generator: torch.Generator) -> None:
    """Give the codec its integer network and its tables."""
    bottleneck = codec.bottleneck
    batches = [pictures(patches, generator) for _ in range(8)]

    def calibrate(position: float) -> None:
        for batch in batches:
            codec(batch, 100 * position)

    network = quantise_scales(bottleneck, calibrate, [quality / 100 for quality in CALIBRATION_QUALITIES])
    bottleneck.exact = (network, bottleneck.build_tables())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+", help="folders of training pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=150, help="how many of the pictures")
    options = parser.parse_args()
    files = picture_files(options.pictures, one_in=50, held_back=False)
    patches = Patches(files[:: max(1, len(files) // options.count)], PATCH, (1.0, 0.5), torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    codec = BlockCodec(BlockConfig())
    with torch.no_grad():
        y = codec.analysis(patches.draw(256, generator).float() / 255, Unit(-1, PATCH, PATCH))
        codec.bottleneck.sigma.copy_(y.square().mean((0, 2, 3)).sqrt())
    train(codec, patches, options.minutes, generator)
    make_exact(codec.eval(), patches, generator)
    print(f"sha256 {save_weights(codec, options.output).hex()}, {options.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
