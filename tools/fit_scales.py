"""Fit the scales of a hyperprior to latents that stay as they are: `rarefy weights fit`.

Analysis, features and means run once over some thousand patches, which are kept as symbols. A step then costs the scale
network's contexts and heads alone, and no picture. Rates are those within the bounds of the integers that will code
files, so that a network that was trained without them learns to keep to them.
"""

import math
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from rarefy.entropy.hyperprior import Hyperprior
from rarefy.entropy.likelihood import LN2, log_probability
from rarefy.errors import WeightsError
from rarefy.tools.train import optimisers

BATCH = 16
WARM_UP = 50  # steps
ADAM, MUON = 4e-4, 1.2e-3  # falling to zero from a quarter of the time
CLIP = 2.0  # times the running norm
FITTED = re.compile(r"scales\.(symbols_in|contexts|heads|position)\b|scale_start$")  # features serve the means too


@dataclass(frozen=True)
class Settled:
    """Patches as the scales see them: features float16 [N, width, h, w], symbols int16 [N, C, h, w], qualities [N]."""

    features: Tensor
    symbols: Tensor
    positions: Tensor

    def of(self, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some of them, as floats."""
        features = self.features[chosen].float().contiguous(memory_format=torch.channels_last)
        symbols = self.symbols[chosen].float().contiguous(memory_format=torch.channels_last)
        return features, symbols, self.positions[chosen]


def settle(bottleneck: Hyperprior, latents: Iterable[tuple[Tensor, Tensor]]) -> Settled:
    """Run everything but the scales, once. latents: y [B, C, h, w] and the quality position of each, [B]."""
    features, symbols, positions = [], [], []
    for y, position in latents:
        seen, found = bottleneck.settled(y, position)
        features.append(seen.half())
        symbols.append(found.clamp(-(2**15), 2**15 - 1).to(torch.int16))
        positions.append(position)
    return Settled(torch.cat(features), torch.cat(symbols), torch.cat(positions))


def rate(bottleneck: Hyperprior, features: Tensor, symbols: Tensor, position: Tensor) -> Tensor:
    """Bits of each item's symbols under the scales, [B]."""
    with torch.autocast(features.device.type, torch.bfloat16):
        inverse_scales = bottleneck.inverse_scales(features, symbols, position)
    return log_probability(symbols, inverse_scales).sum((1, 2, 3)) / -LN2


def fit(
    bottleneck: Hyperprior,
    patches: Settled,
    seconds: float,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = print,
) -> int:
    """Fit for so long; gives the number of steps.

    The loss is the mean root of the rate, times lambda^-0.25: qualities count alike, as in training (docs/TRAINING.md).
    Raises WeightsError where a gradient is not finite.
    """
    for name, parameter in bottleneck.named_parameters():
        parameter.requires_grad_(FITTED.match(name) is not None)
    fitted = [p for p in bottleneck.parameters() if p.requires_grad]
    used = optimisers(bottleneck, ADAM, MUON)
    highest = [o.param_groups[0]["lr"] for o in used]
    multiplier = bottleneck.rate_multiplier(patches.positions)
    weight = (multiplier / multiplier.log().mean().exp()) ** -0.25
    generator = torch.Generator().manual_seed(seed)
    start, step, usual, total = clock(), 0, 0.0, 0.0
    while (spent := (clock() - start) / seconds) < 1:
        chosen = torch.randint(len(patches.positions), (BATCH,), generator=generator)
        loss = (weight[chosen] * rate(bottleneck, *patches.of(chosen)).sqrt()).mean()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(fitted, CLIP * usual if usual else float("inf")))
        if not math.isfinite(norm):
            raise WeightsError(f"the gradient is not finite at step {step}: nothing was fitted")
        usual = 0.98 * usual + 0.02 * min(norm, CLIP * usual) if usual else norm
        for optimiser, rate_of in zip(used, highest, strict=True):
            optimiser.param_groups[0]["lr"] = rate_of * min(1.0, (step + 1) / WARM_UP, (1 - spent) / 0.75)
            optimiser.step()
            optimiser.zero_grad()
        step, total = step + 1, total + float(loss.detach())
        if step % 100 == 0:
            say(f"step {step:5}  {100 * spent:3.0f} %  loss {total / 100:.3f}")
            total = 0.0
    return step
