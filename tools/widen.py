"""More latents for a trained `image` codec: `rarefy weights widen`.

What the old latents leave over of pictures at the highest quality is fitted linearly, by reduced-rank regression from
what the analysis knows at 1/8 resolution; its strongest components become the new latents, which pass beside the blocks
at 1/16. The old ones, and the symbols that they are coded as, stay as they were, and training the part "added" alone
keeps it so: no training is undone.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rarefy.codecs.image import ImageCodec, ImageConfig
from rarefy.entropy.hyperprior import quarter_of
from rarefy.errors import WeightsError

# Axes as wide as the transforms are at 1/16, by tensor: channels beside the blocks come last.
BESIDE = {
    "g_a.down.weight": 0,
    "g_a.down.bias": 0,
    "g_a.last.weight": 1,
    "g_s.first.weight": 0,
    "g_s.first.bias": 0,
    "g_s.up.weight": 1,
}
# Axes along which values belong to new latents, or to channels beside the blocks, and to nothing else.
OWN = {
    "g_a.down.weight": 0,
    "g_a.down.bias": 0,
    "g_a.last.weight": 0,
    "g_a.last.bias": 0,
    "g_s.first.weight": 1,
    "g_s.first.bias": 0,
    "g_s.up.weight": 1,
    "bottleneck.gain_encoder": 1,
    "bottleneck.gain_decoder": 1,
    "bottleneck.scale_start": 1,
}
HEADS = ("bottleneck.scales.heads.", "bottleneck.means.heads.")


@torch.no_grad()
def widen(old: ImageCodec, new: ImageCodec, samples: Iterable[Tensor]) -> None:
    """Give `new` the weights of `old`, and as the latents that `old` lacks what it leaves over of the samples.

    samples: batches of patches, float [B, 3, H, W] in 0..1, H and W multiples of 64. Raises as `require_wider`.
    """
    require_wider(old.config, new.config)
    before, after = old.config.latents, new.config.latents
    kept, spare = _kept(before, after), _spare(before, after)
    wanted = new.state_dict()
    for name, values in old.state_dict().items():
        wanted[name].copy_(_spread_out(name, values, wanted[name], kept))
    beside = torch.arange(before, after)
    down, bias, up, deviation = _left_over(old, samples, len(spare))
    new.g_a.down.weight[beside, :, 0, 0] = down
    _bias_of(new.g_a.down)[beside] = bias
    new.g_a.last.weight[spare, beside] = 1.0
    new.g_s.first.weight[beside, spare] = 1.0
    new.g_s.up.weight[:, beside, 0, 0] = up
    new.bottleneck.sigma[spare] = deviation


def require_wider(old: ImageConfig, new: ImageConfig) -> None:
    """Refuse sizes that do not widen: a WeightsError says why.

    There must be as many latents as the blocks at 1/16 have channels, no more new ones than the layer before those has
    inputs, and nothing else may differ.
    """
    before, after = old.latents, new.latents
    if before != old.coarse or not before < after <= before + 4 * old.fine or before % 4 or after % 4:
        raise WeightsError(
            f"{before} latents do not widen to {after} beside blocks of {old.coarse} channels: as many as channels do, "
            f"to at most {before + 4 * old.fine}, both multiples of 4"
        )
    if replace(old, latents=after) != new:
        raise WeightsError("these networks differ in more than their latents")


def added(codec: ImageCodec) -> dict[str, Tensor]:
    """Which values belong to latents that a codec was widened by: masks of 0 and 1 by parameter.

    Nothing else sees those latents as long as these values alone are trained: the old symbols and their tables stay.
    """
    coarse, latents = codec.config.coarse, codec.config.latents
    if latents <= coarse:
        return {}
    beside, spare = (torch.zeros(latents) for _ in range(2))
    beside[coarse:] = spare[_spare(coarse, latents)] = 1.0
    masks = {}
    for name, parameter in codec.named_parameters():
        axis = 0 if name.startswith(HEADS) else OWN.get(name)
        if axis is not None:
            own = beside if BESIDE.get(name) == axis else spare
            masks[name] = own.reshape([-1 if i == axis else 1 for i in range(parameter.dim())])
    return masks


def _bias_of(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _kept(before: int, after: int) -> Tensor:
    """Where each old latent goes: into its own quarter, before the new ones there."""
    index = torch.arange(before)
    return index // quarter_of(before) * quarter_of(after) + index % quarter_of(before)


def _spare(before: int, after: int) -> Tensor:
    """Where the new latents are: the last of each quarter."""
    return torch.tensor(sorted(set(range(after)) - set(_kept(before, after).tolist())))


def _spread_out(name: str, values: Tensor, like: Tensor, kept: Tensor) -> Tensor:
    """Old values in a tensor of the new shape, zeros elsewhere."""
    out = torch.zeros_like(like)
    before, index = len(kept), []
    for axis, (found, wanted) in enumerate(zip(values.shape, like.shape, strict=True)):
        if BESIDE.get(name) == axis or found == wanted:
            index.append(torch.arange(found))
            continue
        copies = found // before  # the hyper-analysis sees values and magnitudes
        index.append(torch.cat([kept + copy * (wanted // copies) for copy in range(copies)]))
    out[torch.meshgrid(*index, indexing="ij")] = values
    return out


def _left_over(codec: ImageCodec, samples: Iterable[Tensor], count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What to add: weight and bias of the layer down to `count` latents, weight of that up, and their deviations."""
    last = codec.g_s.last.weight[:, :, 0, 0].double()
    basis, upper = torch.linalg.qr(last)  # pixels of an 8x8 square in the span of the last layer
    sums: list[Tensor] = [torch.zeros((), dtype=torch.float64)] * 4
    total = 0
    for x in samples:
        x_hat, _ = codec(x, 100.0)
        error = F.pixel_unshuffle(x - x_hat, 8).double()
        target = F.pixel_unshuffle(torch.einsum("bchw,cd->bdhw", error, basis), 2)
        fine = F.pixel_unshuffle(codec.g_a.fine(codec.g_a.first(F.pixel_unshuffle(x - 0.5, 8))), 2)
        h, t = (v.double().permute(0, 2, 3, 1).flatten(0, 2) for v in (fine, target))
        sums = [held + new for held, new in zip(sums, (h.sum(0), t.sum(0), h.T @ h, t.T @ h), strict=True)]
        total += len(h)
    mean, mean_left, seen, known = (held / total for held in sums)
    seen, known = seen - mean[:, None] * mean, known - mean_left[:, None] * mean
    damping = 1e-6 * seen.diagonal().mean() * torch.eye(len(seen), dtype=torch.float64)
    fitted = torch.linalg.solve(seen + damping, known.T).T  # target = fitted @ h, both without their means
    values, vectors = torch.linalg.eigh(fitted @ seen @ fitted.T)
    strongest = vectors.flip(1)[:, :count]
    deviation = values.flip(0)[:count].clamp_min(1e-6 * float(values[-1])).sqrt()
    up = torch.einsum("dc,cpk->dpk", torch.linalg.inv(upper), strongest.reshape(len(upper), 4, count)).flatten(0, 1)
    down = strongest.T @ fitted
    return down.float(), (-down @ mean).float(), up.float(), deviation.float()
