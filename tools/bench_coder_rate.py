"""What a picture's file is longer by than its symbols under the codec's own distributions, and where that comes from.

The ideal is the length of the symbols, in float64, under logistics whose scales are those of the scale network in
floats, before they become indices, and of the hyper-latents under their mixtures. Each further step towards a file adds
its share: one of 64 scales, the index of the integer network, whole numbers with cuts and escapes, the coder's
arithmetic, its lanes, and what is in the file beside the stream. Weights files hold the integers' weights alone: what
rounding those cost was measured at their export (`rarefy weights`) and is in the ideal here.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rarefy.errors import MediaError

if TYPE_CHECKING:
    from torch import Tensor

    from rarefy.codecs.base import Codec
    from rarefy.entropy.coding import Walk
    from rarefy.entropy.hyperprior import Hyperprior

CODEC = "image"
QUALITIES = (15, 50, 85)
SIDE = 64  # pictures are cut to multiples of it: no padding, whose symbols no ideal would have
STEPS = ("one of 64 scales", "integer network", "whole numbers", "arithmetic", "lanes", "file")


def excess(folder: Path) -> list[dict[str, Any]]:
    """Sum up over a folder's pictures, at three qualities: ideal bytes, and each step's share of them in percent."""
    from rarefy.codecs.weights import load_codec

    codec = load_codec(CODEC)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not paths:
        raise MediaError(f"{folder}: no pictures there")
    rows = []
    for quality in QUALITIES:
        bits = sum(_bits(codec, path, quality) for path in paths)
        shares = 100 * np.diff(bits) / bits[0]
        rows.append(
            {
                "quality": quality,
                "ideal_bytes": round(bits[0] / 8),
                "percent": {name: round(share, 4) for name, share in zip(STEPS, shares, strict=True)},
                "percent_of_streams": round(float(shares[:-1].sum()), 4),
                "percent_of_files": round(float(shares.sum()), 4),
            }
        )
    return rows


def _bits(codec: "Codec", path: Path, quality: int) -> Any:
    """Bits of one picture: the ideal, and after each step; float64 [7]."""
    import torch

    from rarefy.codecs import api
    from rarefy.codecs.base import Unit
    from rarefy.entropy import coding
    from rarefy.entropy.hyperprior import Hyperprior
    from rarefy.tools.evaluate import read_pixels

    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Hyperprior)
    pixels = read_pixels(path)[0].permute(1, 2, 0).numpy()
    pixels = pixels[: pixels.shape[0] // SIDE * SIDE, : pixels.shape[1] // SIDE * SIDE]
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = codec.analysis(x, Unit(256 * quality, *pixels.shape[:2]))
        walk, coded = coding.encode(bottleneck, y, 256 * quality)
        steps = _model_bits(bottleneck, walk, 256 * quality)
    stream = coded[0].stream
    lanes = _lane_bits(stream)
    size = len(api.encode(pixels, codec=CODEC, quality=quality))
    return np.array([*steps, 8 * len(stream) - lanes, 8 * len(stream), 8 * size], np.float64)


def _lane_bits(stream: bytes) -> float:
    """What the first byte and the lanes' states take beyond what the states hold of symbols."""
    states = np.frombuffer(stream, "<u4", 1 << stream[0], 1).astype(np.float64)
    return float(8 + np.sum(32 - (np.log2(states) - 16)))


def _model_bits(bottleneck: "Hyperprior", walk: "Walk", quality: int) -> list[float]:
    """Bits under float scales, under the nearest of 64, under the integer network's, and under its integer tables."""
    from rarefy.entropy.gains import position_of

    tables = bottleneck.exact_tables()
    wanted, found = _indices(bottleneck, walk, quality)
    symbols = walk.symbols.double()
    z_rows = bottleneck.hyper_rows(walk.z.shape, walk.level).ravel()
    z_bits = tables.ideal_bits(walk.z.numpy().ravel().astype(np.int16), z_rows)
    z_ideal = float(bottleneck.hyper_bits(walk.z.permute(0, 3, 1, 2), position_of(quality, walk.z.device)).sum())
    rows = found.numpy().ravel().astype(np.uint16)
    table_bits = tables.ideal_bits(walk.symbols.numpy().ravel(), rows)
    models = [_logistic_bits(symbols, scale) for scale in (wanted, wanted.round(), found)]
    return [*(z_ideal + bits for bits in models), z_bits + table_bits]


def _logistic_bits(symbols: "Tensor", index: "Tensor") -> float:
    import torch

    from rarefy.entropy.hyperprior import SCALE_LOW, SCALE_STEP
    from rarefy.entropy.likelihood import LN2, log_probability

    inverse_scale = torch.exp(-SCALE_STEP * index.double()) / SCALE_LOW
    return float(log_probability(symbols, inverse_scale).sum()) / -LN2


def _indices(bottleneck: "Hyperprior", coded: "Walk", quality: int) -> tuple["Tensor", "Tensor"]:
    """Table indices of the symbols by the network in floats, clamped to the tables, and by the integer one."""
    import torch

    from rarefy.entropy.correct import rows_of
    from rarefy.entropy.gains import position_of
    from rarefy.entropy.hyperprior import SCALE_COUNT, step_masks

    symbols = coded.symbols.permute(0, 3, 1, 2).float()
    start = bottleneck.start_index(position_of(quality, coded.z.device))
    wanted, known = torch.zeros_like(symbols), torch.zeros_like(symbols)
    for step, mask in enumerate(step_masks(bottleneck.phases, *symbols.shape[1:])):
        here = bottleneck.scales.step(step, coded.float_features, known) + start
        wanted = torch.where(mask, here.clamp(0, SCALE_COUNT - 1), wanted)
        known = torch.where(mask, torch.asinh(symbols.abs()), known)
    return wanted.permute(0, 2, 3, 1), rows_of(bottleneck, coded, quality)


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the rows as lines of text."""
    text = [f"  real latents of codec {CODEC}, percent over the float64 ideal: of streams (of files), and of what\n"]
    for row in rows:
        parts = ", ".join(f"{name} {share:.3f}" for name, share in row["percent"].items())
        text.append(
            f"    quality {row['quality']}: {row['percent_of_streams']:.3f} ({row['percent_of_files']:.3f}) "
            f"over {row['ideal_bytes']} bytes: {parts}\n"
        )
    return text
