"""The weights of the sounds: `walloc-audio` with tiny networks and short tables.

`python -m conformance.sound_fixture` made them, once. They are drawn, not trained: principal components of smooth
noise, and some chance in every other tensor, so that none of them can be left out unseen. The lengths of units and of
what a latent stands for are those of the codec that ships.
"""

import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs.registry import build
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.weights import read_weights, save_weights
from rarefy.entropy import lattice_integers
from rarefy.entropy.lattice import Lattice
from rarefy.entropy.tables import Tables

NAME = "walloc-audio"
FOLDER = Path(__file__).parent / "sounds"
WEIGHTS = FOLDER / f"{NAME}-tiny.safetensors"
SIZES = {
    "stereo_latents": 6,
    "stereo_width": 8,
    "stereo_blocks": 2,
    "mono_latents": 3,
    "mono_width": 8,
    "mono_blocks": 1,
}
MOST_ENTRIES = 12  # of a row: what lies beyond is escaped
PRECISION = 13


def load() -> SoundCodec:
    """The codec with its weights."""
    codec = read_weights(WEIGHTS)
    assert isinstance(codec, SoundCodec)
    return codec


def make() -> SoundCodec:
    """Draw the weights."""
    generator = torch.Generator().manual_seed(16)
    codec = build(NAME, dict(SIZES))
    assert isinstance(codec, SoundCodec)
    noise = torch.randn(64, 3, 2048 + 63, generator=generator)
    codec.start(0.8 * torch.nn.functional.avg_pool1d(noise, 64, stride=1))
    tables = narrow(lattice_integers.lattice_tables())
    with torch.no_grad(), patch.object(lattice_integers, "lattice_tables", lambda: tables):
        for part in (codec.stereo, codec.mono):
            for name, parameter in part.g_s.named_parameters():
                parameter += _spread(name) * torch.randn(parameter.shape, generator=generator)
            _stir(part.bottleneck, generator)
            part.bottleneck.make_exact()
    return codec


def _spread(name: str) -> float:
    """How far a tensor of the synthesis is from where it was; what `last` adds is to be small beside `expand`."""
    return 0.01 if name.startswith(("last", "expand")) else 0.2


def _stir(lattice: Lattice, generator: torch.Generator) -> None:
    def drawn(parameter: Tensor, spread: float) -> Tensor:
        return spread * torch.randn(parameter.shape, generator=generator)

    for gains in (lattice.gain_encoder, lattice.gain_decoder):
        gains += drawn(gains, 0.05)
    lattice.means[1:] += drawn(lattice.means[1:], 0.02)
    lattice.means_across += drawn(lattice.means_across, 0.05)
    for scales in (lattice.scales[1:], lattice.differences[1:], lattice.scales_across):
        scales += drawn(scales, 0.02).abs()
    lattice.start += drawn(lattice.start, 0.3)


def narrow(tables: Tables) -> Tables:
    """Keep the entries around each row's largest one, and escape the others."""
    masses, offsets, escapes = [], [], []
    for row, offset in enumerate(tables.offsets.tolist()):
        cumulative = tables.cumulative[tables.row_starts[row] : tables.row_starts[row + 1]].astype(np.float64)
        *entries, escape = np.diff(cumulative)
        first = max(0, min(int(np.argmax(entries)) - MOST_ENTRIES // 2, len(entries) - MOST_ENTRIES))
        kept = np.array(entries[first : first + MOST_ENTRIES])
        masses.append(kept)
        offsets.append(offset + first)
        escapes.append(float(escape + np.sum(entries) - kept.sum()))
    return Tables.from_pmfs(masses, offsets, escapes, PRECISION)


def main() -> int:
    """Write the weights, where there are none; gives 1 where there are: files need them as they are."""
    if WEIGHTS.exists():
        return 1
    FOLDER.mkdir(exist_ok=True)
    save_weights(make(), WEIGHTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
