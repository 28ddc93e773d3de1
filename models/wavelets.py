"""Wavelet packets of the CDF 9/7 wavelet by lifting, along any number of axes: the fixed transform of WaLLoC.

Every band is split again, so that J levels turn [B, C, N] into [B, C 2^J, N / 2^J] and [B, C, H, W] into
[B, C 4^J, H / 2^J, W / 2^J] (Jacobellis and Yadwadkar, "Learned Compression for Compressed Learning", 2024). Lifting
(Daubechies and Sweldens 1998) is inverted by the same steps backwards, whatever happens at the border. Sounds and
pictures on the CPU take compiled code where nothing is to be learned.
"""

import torch
from torch import Tensor

from rarefy import kernels

# The steps in turn change the odd samples, the even ones, the odd ones, the even ones.
STEPS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
LOW, HIGH = 1.149604398860241, -0.869864451624781  # the filters of PyWavelets' bior4.4: low with a sum of sqrt(2)
BOUNDARIES = ("symmetric", "periodic")


def _beside(x: Tensor, axis: int, is_after: bool, boundary: str) -> Tensor:
    """The neighbour before or after each sample of one phase, in the order of the other phase.

    A symmetric signal is reflected at its first and last sample: beyond an end the nearest sample of this phase comes
    again. A periodic one goes on at its other end.
    """
    length = x.shape[axis]
    if is_after:
        edge = x.narrow(axis, 0, 1) if boundary == "periodic" else x.narrow(axis, length - 1, 1)
        return torch.cat([x.narrow(axis, 1, length - 1), edge], axis)
    edge = x.narrow(axis, length - 1, 1) if boundary == "periodic" else x.narrow(axis, 0, 1)
    return torch.cat([edge, x.narrow(axis, 0, length - 1)], axis)


def split(x: Tensor, axis: int, boundary: str) -> tuple[Tensor, Tensor]:
    """Low and high band along an axis of even length, each half as long."""
    even, odd = _phases(x, axis)
    for number, factor in enumerate(STEPS):
        if number % 2 == 0:
            odd = odd + factor * (even + _beside(even, axis, True, boundary))
        else:
            even = even + factor * (odd + _beside(odd, axis, False, boundary))
    return even * LOW, odd * HIGH


def merge(low: Tensor, high: Tensor, axis: int, boundary: str) -> Tensor:
    """The inverse of `split`."""
    even, odd = low / LOW, high / HIGH
    for number, factor in reversed(list(enumerate(STEPS))):
        if number % 2 == 0:
            odd = odd - factor * (even + _beside(even, axis, True, boundary))
        else:
            even = even - factor * (odd + _beside(odd, axis, False, boundary))
    return torch.stack([even, odd], axis + 1 if axis >= 0 else axis).flatten(
        *((axis, axis + 1) if axis >= 0 else (axis - 1, axis))
    )


def _phases(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    even, odd = (slice(first, None, 2) for first in (0, 1))
    before = (slice(None),) * (axis % x.dim())
    return x[(*before, even)], x[(*before, odd)]


def packets(x: Tensor, levels: int, boundary: str = "symmetric") -> Tensor:
    """Wavelet packets of [B, C, ...]: [B, C 2^(axes levels), ...], each axis 2^levels times shorter.

    Axes have multiples of 2^levels samples. The last axis is split first; a level's bands follow each other as low low,
    low high, ... with the first axis as the last digit, and each channel's bands stay together, the first level's as
    the slowest digit.
    """
    if _is_for_kernels(x, levels, boundary):
        return _split_compiled(x, levels)
    for _ in range(levels):
        bands = x.unsqueeze(2)  # [B, C, bands, ...]
        for axis in range(-1, 1 - x.dim(), -1):
            bands = torch.stack(split(bands, axis, boundary), 3).flatten(2, 3)
        x = bands.flatten(1, 2)
    return x


def signal(bands: Tensor, levels: int, boundary: str = "symmetric") -> Tensor:
    """The inverse of `packets`."""
    axes = bands.dim() - 2
    if _is_for_kernels(bands, levels, boundary):
        return _merge_compiled(bands, levels)
    for _ in range(levels):
        x = bands.unflatten(1, (-1, 2**axes))
        for axis in range(-axes, 0):
            x = x.unflatten(2, (-1, 2))
            x = merge(x[:, :, :, 0], x[:, :, :, 1], axis, boundary)
        bands = x.flatten(1, 2)
    return bands


def _is_for_kernels(x: Tensor, levels: int, boundary: str) -> bool:
    """Whether compiled code does the same: sounds and pictures on the CPU in float32, without gradients."""
    is_plain = x.dim() in (3, 4) and x.dtype == torch.float32 and x.device.type == "cpu" and boundary == "symmetric"
    is_watched = torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad)
    return is_plain and levels > 0 and x.numel() > 0 and not is_watched and kernels.available()


def _split_compiled(x: Tensor, levels: int) -> Tensor:
    from rarefy.kernels import _packets

    split_all = _packets.split_lines if x.dim() == 3 else _packets.split
    sides = [side >> levels for side in x.shape[2:]]
    bands = x.new_empty(len(x), x.shape[1] << len(sides) * levels, *sides)
    signals = x.detach().contiguous().flatten(0, 1).numpy()
    split_all(signals, bands.flatten(0, 1).numpy(), levels, torch.get_num_threads())
    return bands


def _merge_compiled(bands: Tensor, levels: int) -> Tensor:
    from rarefy.kernels import _packets

    merge_all = _packets.merge_lines if bands.dim() == 3 else _packets.merge
    sides = [side << levels for side in bands.shape[2:]]
    x = bands.new_empty(len(bands), bands.shape[1] >> len(sides) * levels, *sides)
    rows = bands.detach().contiguous().flatten(0, 1).numpy()
    merge_all(rows, x.flatten(0, 1).numpy(), levels, torch.get_num_threads())
    return x
