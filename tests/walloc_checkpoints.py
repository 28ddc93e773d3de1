"""Checkpoints in the layout of WaLLoC's authors: with drawn weights, and with some that are a linear codec."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.models.wavelets import packets

PICTURES = {"channels": 3, "J": 3, "Ne": 64, "Nd": 128, "latent_dim": 12, "latent_bits": 8, "lightweight_encode": True}
SOUND = {**PICTURES, "channels": 2, "J": 8, "Nd": 756, "latent_dim": 108, "post_filter": True}
# bior4.4 as PyWavelets 1.8.0 tabulates it
LOW = [0.0, 0.03782845550726404, -0.02384946501955684, -0.1106244044184372, 0.3774028556128307, 0.8526986790088938]
LOW += LOW[4:0:-1]
HIGH = [0.0, -0.06453888262869706, 0.04068941760916406, 0.4180922732216172, -0.7884856164055829, 0.4180922732216172]
HIGH += [0.04068941760916406, -0.06453888262869706, 0.0, 0.0]
NORM, PAIR = ("norm1", "norm2"), ("conv1", "conv2")


def filters(axes: int) -> dict[str, Tensor]:
    """The wavelets, as pytorch_wavelets keeps them: turned for the analysis, as they are for the synthesis."""
    signs = torch.tensor([(-1.0) ** n for n in range(10)])
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    both = {"wt.h0": low.flip(0), "wt.h1": high.flip(0), "iwt.g0": -signs * high, "iwt.g1": signs * low}
    if axes == 1:
        return {name: values.reshape(1, 1, 10) for name, values in both.items()}
    shapes = {"col": (1, 1, 10, 1), "row": (1, 1, 1, 10)}
    return {f"{name}_{side}": values.reshape(shape) for name, values in both.items() for side, shape in shapes.items()}


def picture_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """All tensors of a checkpoint for pictures, but for the wavelets."""
    bands, latents, width = config["channels"] * 4 ** config["J"], config["latent_dim"], config["Nd"]
    found = {**layer("encoder.0", latents, bands, 1, 1), **layer("decoder.1.conv_in", width, latents, 3, 3)}
    for block in ("mid_block.resnets.0", "mid_block.resnets.1", *(f"up_blocks.0.resnets.{n}" for n in range(3))):
        for norm, conv in zip(NORM, PAIR, strict=True):
            found |= layer(f"decoder.1.{block}.{norm}", width) | layer(f"decoder.1.{block}.{conv}", width, width, 3, 3)
    attention = "decoder.1.mid_block.attentions.0"
    found |= layer(f"{attention}.group_norm", width) | layer("decoder.1.conv_norm_out", width)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        found |= layer(f"{attention}.{name}", width, width)
    return found | layer("decoder.1.conv_out", bands, width, 3, 3)


def sound_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """All tensors of a checkpoint for sound, but for the wavelets."""
    bands, latents = config["channels"] * 2 ** config["J"], config["latent_dim"]
    hidden = config["Nd"] // latents * latents
    found = {**layer("encoder.0", latents, bands, 1), **normed("decoder.1.conv1", hidden, latents, 7)}
    for number, (inputs, outputs) in enumerate([(hidden, hidden), (hidden, latents)]):
        block = f"decoder.1.block.{number}"
        found |= snake(f"{block}.snake1", inputs)
        found |= {**normed(f"{block}.conv_t1", inputs, outputs, 2), f"{block}.conv_t1.bias": (outputs,)}
        for unit in (f"{block}.res_unit{n}" for n in (1, 2, 3)):
            found |= snake(f"{unit}.snake1", outputs) | normed(f"{unit}.conv1", outputs, outputs, 7)
            found |= snake(f"{unit}.snake2", outputs) | normed(f"{unit}.conv2", outputs, outputs, 1)
    found |= snake("decoder.1.snake1", latents) | normed("decoder.1.conv2", bands, latents, 7)
    del found["decoder.1.conv2.bias"]
    return found | (layer("post", 2, 2, 129) if config["post_filter"] else {})


def layer(name: str, outputs: int, *others: int) -> dict[str, tuple[int, ...]]:
    """Weight and bias."""
    return {f"{name}.weight": (outputs, *others), f"{name}.bias": (outputs,)}


def normed(name: str, first: int, second: int, taps: int) -> dict[str, tuple[int, ...]]:
    """A layer with weight norm over its first axis."""
    return {f"{name}.weight_g": (first, 1, 1), f"{name}.weight_v": (first, second, taps), f"{name}.bias": (first,)}


def snake(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """An activation with two numbers a channel."""
    return {f"{name}.{part}": (1, channels, 1) for part in ("alpha", "beta")}


def waves(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights that any program can repeat: sines, as large as fits the layers, about 1 where they scale."""
    tensors = {}
    for number, name in enumerate(sorted(shapes)):
        shape = shapes[name]
        values = np.sin(np.arange(math.prod(shape)) * (1.1 + 0.013 * number)).reshape(shape)
        is_scale = name.endswith(("weight_g",)) or (name.endswith("weight") and len(shape) == 1)
        size = 0.2 if len(shape) == 1 or is_scale or name.endswith(("alpha", "beta")) else math.prod(shape[1:]) ** -0.5
        tensors[name] = torch.from_numpy(is_scale + size * values).float()
    return tensors


def linear(pixels: list[NDArray[np.uint8]], config: dict[str, Any] = PICTURES) -> dict[str, Tensor]:
    """Principal components of pictures in the authors' networks, as a checkpoint.

    A group of the last normalisation holds a latent, its negative, and two large constants that fix its scale;
    silu(v) - silu(-v) is v. All between is zero.
    """
    shapes, latents, large = picture_shapes(config), config["latent_dim"], 1000.0
    tensors = {name: torch.zeros(shape) for name, shape in shapes.items()}
    rows = torch.cat([_rows(picture, config["J"]) for picture in pixels]).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    basis = vectors.flip(1)[:, :latents].float()
    scale = 0.3 * 127 / 1.85 / float(values[-1].sqrt())  # the largest deviation is 0.3 of the quantiser's
    tensors["encoder.0.weight"] = scale * basis.T[:, :, None, None]
    for n in range(latents):
        for place, sign in ((4 * n, 1.0), (4 * n + 1, -1.0)):
            tensors["decoder.1.conv_in.weight"][place, n, 1, 1] = sign
            tensors["decoder.1.conv_in.bias"][place + 2] = sign * large
            tensors["decoder.1.conv_out.weight"][:, place, 1, 1] = sign * basis[:, n] / scale
    tensors["decoder.1.conv_norm_out.weight"].fill_(large / 2**0.5)
    return tensors | filters(2)


def _rows(pixels: NDArray[np.uint8], levels: int) -> Tensor:
    height, width = (side >> levels << levels for side in pixels.shape[:2])
    x = torch.from_numpy(pixels[:height, :width].copy()).permute(2, 0, 1)[None].float() / 255 - 0.5
    return packets(x, levels, "periodic").movedim(1, -1).flatten(0, -2)


def write(path: Path, tensors: dict[str, Tensor], settings: dict[str, Any], **others: Any) -> Path:
    """A `.pth` file as the authors write it, and its settings."""
    torch.save({"model_state_dict": tensors, **others}, path)
    path.with_suffix(".json").write_text(json.dumps({**settings, "batch_size": 64, "lr": "3e-5"}))
    return path
