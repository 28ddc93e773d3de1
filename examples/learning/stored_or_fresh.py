"""Is training from stored, rounded latents as good as from fresh ones, and how are latents augmented?

`python stored_or_fresh.py PHOTOGRAPHS [RESULT.json]` trains the same network on the same windows, given in several
ways, and tests every one on the rounded latents of other windows as they are. It fits the linear map from mirrored
latents to latents of mirrored pictures, too, and tells how far off that is.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from photographs import EPOCHS, accuracies, crops, large_enough, middle, network, spread, windows
from torch import Tensor

from rarefy.codecs.weights import load_codec
from rarefy.tools import environment

CODEC, QUALITY = "walloc-image", 50
PHOTOGRAPHS, TRAINED, TESTED, SEEDS = 60, 16, 16, 3
SIDE, STRIDE, USED = 160, 8, 16  # pixels of a window and of a latent; latents of a side that the network sees
FITTED = 400  # windows


class Encode:
    """Pixels to latents before they are rounded: what a file holds, but for the rounding."""

    def __init__(self) -> None:
        self._codec: Any = load_codec(CODEC)
        with torch.no_grad():
            self._gain = self._codec.bottleneck.gains(torch.tensor([QUALITY / 100]))[0]

    def __call__(self, pixels: Tensor) -> Tensor:
        """pixels: uint8 [N, side, side, 3]; float32 [N, C, side / 8, side / 8]."""
        with torch.no_grad():
            parts = [
                self._codec.analysis(some.permute(0, 3, 1, 2).float() / 255, None) * self._gain
                for some in pixels.split(64)
            ]
        return torch.cat(parts)


def shifted(encode: Encode, pixels: Tensor, epoch: int, mirrors: bool) -> Tensor:
    """Latents of windows that begin anywhere, not at a multiple of the stride, and are mirrored or not."""
    source = torch.Generator().manual_seed(epoch)
    side = SIDE - STRIDE
    places = torch.randint(STRIDE, (len(pixels), 2), generator=source).tolist()
    cut = torch.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(pixels, places, strict=True)])
    if mirrors:
        is_mirrored = torch.rand(len(pixels), generator=source) < 0.5
        cut[is_mirrored] = cut[is_mirrored].flip(2)
    return encode(cut).round()


class Mirror:
    """The linear map from mirrored latents and their neighbours to latents of mirrored pictures: least squares."""

    def __init__(self, latents: Tensor, mirrored: Tensor, kernel: tuple[int, int]) -> None:
        self.kernel = kernel
        x = self._columns(latents.flip(3))
        y = mirrored.transpose(0, 1).flatten(1).double()
        self._map = torch.linalg.lstsq(x.T, y.T).solution.T

    def _columns(self, latents: Tensor) -> Tensor:
        pad = tuple(extent // 2 for extent in self.kernel)
        unfolded = torch.nn.functional.unfold(latents.double(), self.kernel, padding=pad)
        return unfolded.transpose(0, 1).flatten(1)

    def __call__(self, latents: Tensor) -> Tensor:
        """Latents [N, C, h, w] to those of the mirrored pictures, about."""
        n, c, h, w = latents.shape
        return (self._map @ self._columns(latents.flip(3))).reshape(c, n, h, w).transpose(0, 1).float()


def errors(found: Tensor, wanted: Tensor) -> dict[str, float]:
    """Relative to the latents: of all (L2 norms), and the mean over channels, each by its own norm."""
    difference, size = (found - wanted).transpose(0, 1).flatten(1), wanted.transpose(0, 1).flatten(1)
    by_channel = difference.norm(dim=1) / size.norm(dim=1)
    return {"of all": float(difference.norm() / size.norm()), "mean of channels": float(by_channel.mean())}


def scaled(way: Callable[[int, int], Tensor], deviation: Tensor, seed: int, epoch: int) -> Tensor:
    """What the network sees."""
    return way(seed, epoch) / deviation


def half_of(one: Tensor, other: Tensor, seed: int, epoch: int) -> Tensor:
    """Each sample from one of two, by chance."""
    source = torch.Generator().manual_seed(10**6 + 1000 * seed + epoch)
    is_one = torch.rand(len(one), generator=source) < 0.5
    return torch.where(is_one[:, None, None, None], one, other)


def main(folder: Path, result: Path | None) -> None:
    """Print a line for each way, and write all of it."""
    paths = large_enough(folder, PHOTOGRAPHS, SIDE)
    learn = windows(paths, TRAINED, SIDE, is_test=False)
    test = windows(paths, TESTED, SIDE, is_test=True)
    encode = Encode()
    floats, tests = encode(learn.pixels), encode(test.pixels).round()
    stored = floats.round()
    deviation = stored.std((0, 2, 3), keepdim=True)
    both, both_tests = encode(learn.pixels.flip(2)).round(), encode(test.pixels.flip(2)).round()
    kernels = ((1, 1), (1, 3), (1, 5), (3, 5))
    maps = {f"{high} x {wide}": Mirror(stored[:FITTED], both[:FITTED], (high, wide)) for high, wide in kernels}
    mirrors = {"mirrored latents": errors(tests.flip(3), both_tests)}
    mirrors |= {f"map of {name}": errors(one(tests).round(), both_tests) for name, one in maps.items()}
    for name, error in mirrors.items():
        print(name, {key: round(value, 3) for key, value in error.items()}, flush=True)
    fitted = maps["1 x 5"](stored).round()
    fresh = {
        mirrors: [shifted(encode, learn.pixels, epoch, mirrors) for epoch in range(EPOCHS)] for mirrors in (False, True)
    }

    def cut(seed: int, epoch: int, latents: Tensor) -> Tensor:
        return crops(latents, USED, 1, epoch, seed)

    ways: dict[str, Callable[[int, int], Tensor]] = {
        "stored, the middle": lambda seed, epoch: middle(stored, USED),
        "unrounded, the middle": lambda seed, epoch: middle(floats, USED),
        "stored, aligned crops": lambda seed, epoch: cut(seed, epoch, stored),
        "unrounded, aligned crops": lambda seed, epoch: cut(seed, epoch, floats),
        "fresh, crops anywhere": lambda seed, epoch: cut(seed, epoch, fresh[False][(epoch + seed) % EPOCHS]),
        "fresh, crops anywhere, mirrored pictures": lambda seed, epoch: cut(
            seed, epoch, fresh[True][(epoch + seed) % EPOCHS]
        ),
        "stored, aligned crops, both orientations stored": lambda seed, epoch: cut(
            seed, epoch, half_of(stored, both, seed, epoch)
        ),
        "stored, aligned crops, mirrored by the map": lambda seed, epoch: cut(
            seed, epoch, half_of(stored, fitted, seed, epoch)
        ),
        "stored, aligned crops, mirrored latents": lambda seed, epoch: cut(
            seed, epoch, half_of(stored, stored.flip(3), seed, epoch)
        ),
    }
    found: dict[str, list[float]] = {}
    for name, way in ways.items():
        found[name] = accuracies(
            lambda: network(stored.shape[1], 3, 1, PHOTOGRAPHS),
            partial(scaled, way, deviation),
            learn.labels,
            middle(tests, USED) / deviation,
            test.labels,
            SEEDS,
        )
        print(f"{name:50} {spread(found[name])} %", flush=True)
    if result is not None:
        facts = {
            **environment.describe(["python", Path(__file__).name, folder.name], torch.get_num_threads()),
            "codec": CODEC,
            "quality": QUALITY,
            "photographs": PHOTOGRAPHS,
            "windows": [TRAINED, TESTED],
            "seeds": SEEDS,
        }
        result.write_text(json.dumps({**facts, "mirrors": mirrors, "accuracies": found}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
