"""Sizes of files beside what WaLLoC's authors do with the same latents: lossless WebP of tiled planes.

The arrangement is theirs (package walloc 1.2.1): integers + 128 as bytes, channel (plane, row, column) of an RGB
picture whose planes are squares of channels side by side, filled up with channels of zeros. Integers beyond a byte have
no place there; pictures that have some are told and left out of the sums.
"""

import io
from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rarefy.errors import OptionError
from rarefy.tools import environment

PLANES = 3
METHODS = (4, 6)  # Pillow's usual one, and the slowest
LOWEST, HIGHEST = -128, 127

Integers = NDArray[np.int16]


def measure(pictures: Sequence[Path], codec: str, qualities: Sequence[float], command: Sequence[str]) -> dict[str, Any]:
    """Return the bytes of all pictures at each quality, as `.rfy` files and as WebP of their latents."""
    from rarefy.codecs import api
    from rarefy.codecs.weights import load_codec
    from rarefy.data.decoding import has_integers

    loaded = load_codec(codec)
    if not has_integers(loaded):
        raise OptionError(f'codec "{codec}" has no integer latents')
    rows = []
    for quality in qualities:
        files = [(path.name, api.encode(path, codec=codec, quality=quality)) for path in pictures]
        rows.append(_row(quality, files))
    return {
        **environment.describe(command, 1),
        "codec": codec,
        "weights": loaded.weights_hash.hex()[:8],
        "pictures": len(pictures),
        "qualities": rows,
    }


def _row(quality: float, files: Sequence[tuple[str, bytes]]) -> dict[str, Any]:
    from rarefy.data import decode

    totals, latents_in_all, beyond = dict.fromkeys(("rfy", *map(_name, METHODS)), 0), 0, []
    for name, data in files:
        latents = decode([data], output="integers")[0].numpy()
        if latents.min() < LOWEST or latents.max() > HIGHEST:
            beyond.append(name)
            continue
        totals["rfy"] += len(data)
        latents_in_all += latents.size
        for method in METHODS:
            totals[_name(method)] += len(webp(latents, method))
    best = min(totals[_name(method)] for method in METHODS)
    return {
        "quality": quality,
        "bytes": totals,
        "bits_per_latent": {name: 8 * size / latents_in_all for name, size in totals.items()} if latents_in_all else {},
        "saved_percent": 100 * (1 - totals["rfy"] / best) if best else None,
        "beyond_a_byte": beyond,
    }


def _name(method: int) -> str:
    return f"webp, method {method}"


def webp(latents: Integers, method: int) -> bytes:
    """Integers [C, h, w] of -128 to 127 as a lossless WebP picture."""
    buffer = io.BytesIO()
    Image.fromarray(tiled(latents)).save(buffer, "WEBP", lossless=True, method=method, quality=100)
    return buffer.getvalue()


def tiled(latents: Integers) -> NDArray[np.uint8]:
    """Channels side by side in planes: uint8 [n h, n w, 3] for n * n >= C / 3."""
    channels, height, width = latents.shape
    side = ceil(sqrt(channels / PLANES))
    full = np.full((PLANES * side * side, height, width), -LOWEST, np.uint8)
    full[:channels] = (latents - LOWEST).astype(np.uint8)
    squares = full.reshape(PLANES, side, side, height, width).transpose(1, 3, 2, 4, 0)
    return np.ascontiguousarray(squares.reshape(side * height, side * width, PLANES))


def table(result: dict[str, Any]) -> str:
    """Return the sizes as lines of text."""
    names = ["rfy", *map(_name, METHODS)]
    lines = [
        f"{result['pictures']} pictures, {result['codec']} ({result['weights']}), bytes (bits a latent)",
        f"  {'quality':>7} " + " ".join(f"{name:>20}" for name in names) + f" {'saved':>8}",
    ]
    for row in result["qualities"]:
        if not row["bits_per_latent"]:
            lines.append(f"  {row['quality']:7g} no picture's integers fit a byte")
            continue
        sizes = " ".join(f"{row['bytes'][name]:11,} ({row['bits_per_latent'][name]:.3f}) " for name in names)
        left = f", without {len(row['beyond_a_byte'])} beyond a byte" if row["beyond_a_byte"] else ""
        lines.append(f"  {row['quality']:7g} {sizes}{row['saved_percent']:6.1f} %{left}")
    return "\n".join([*lines, ""])
