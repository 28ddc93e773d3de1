"""Fit the contexts of a `Lattice` to integer latents that are given: for networks that somebody else has trained."""

import torch
from torch import Tensor

from rarefy.entropy.lattice import Lattice
from rarefy.errors import MediaError

SIDE = 32  # of the parts of latents that a step looks at; contexts reach 8 positions at most
BATCH = 8
RATE = 1e-2  # of Adam, falling to 0; half of it ends 0.7 % larger


def fit(bottleneck: Lattice, latents: list[Tensor], steps: int, seed: int = 0) -> float:
    """Fit contexts and starting scales to latents, float [1, C, h, w] each, and make the bottleneck's exact part.

    Gives bits a latent as they were in the last tenth of the steps. Raises MediaError where all latents are too small.
    """
    large = [y for y in latents if min(y.shape[2:]) >= SIDE]
    if not large:
        raise MediaError(f"no picture is large enough to fit contexts on: {SIDE} latents along each side are needed")
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([y.movedim(1, -1).reshape(-1, bottleneck.channels) for y in large])
    bottleneck.start_from(rows.square().mean(0).sqrt())
    names = set(bottleneck.restored)
    optimizer = torch.optim.Adam([p for name, p in bottleneck.named_parameters() if name in names], lr=RATE)
    lengths = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - step / steps)
        batch = torch.cat([_part(large, generator) for _ in range(BATCH)])
        optimizer.zero_grad()
        bits = bottleneck(batch, torch.zeros(BATCH))[1].sum() / batch.numel()
        bits.backward()
        optimizer.step()
        lengths.append(bits.item())
    with torch.no_grad():  # one setting: every quality starts as the one that was fitted
        bottleneck.start.copy_(bottleneck.start[:1].expand_as(bottleneck.start))
    bottleneck.make_exact()
    last = lengths[-max(1, steps // 10) :]
    return sum(last) / len(last)


def _part(latents: list[Tensor], generator: torch.Generator) -> Tensor:
    """A random square of random latents."""
    y = latents[_below(len(latents), generator)]
    top, left = (_below(side - SIDE + 1, generator) for side in y.shape[2:])
    return y[:, :, top : top + SIDE, left : left + SIDE]


def _below(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(end, (1,), generator=generator))
