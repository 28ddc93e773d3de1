"""Image classification from latents, from small pixels and from JPEG files, at one training cost.

`python classify_photographs.py PHOTOGRAPHS [RESULT.json]` stores the same windows in three ways: as `.rfy` files, as
pixels made so small that they are as many numbers as the latents (lossless WebP), and as JPEG files that are no larger
than the `.rfy` files. The network is the same behind its first layer, which sees the same part of each window; crops
are at multiples of eight pixels everywhere. The table has accuracy, bytes, and how fast one process loads samples.
"""

import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from photographs import BATCH, accuracies, crops, large_enough, middle, network, products, spread, windows
from PIL import Image
from torch import Tensor

from rarefy.codecs import api
from rarefy.data import decode
from rarefy.tools import environment
from rarefy.tools.bench_loading import jpeg_of_size

CODEC, QUALITY = "walloc-image", 50
PHOTOGRAPHS, TRAINED, TESTED, SEEDS = 60, 16, 16, 4
SIDE, USED, STRIDE = 160, 128, 8  # pixels: of a window, of what the network sees of it, and between crops
SMALL = 4  # 128 pixels of a side become 32: with three colours as many numbers as 12 latents at 16 x 16
LOADED = 5  # times that loading is timed


class Way(NamedTuple):
    """How samples are stored and given: files to numbers [N, C, h, w], of `reduction` pixels for each position.

    kernel, stride: of the network's first layer.
    """

    store: Callable[[Tensor], list[bytes]]
    load: Callable[[Sequence[bytes]], Tensor]
    reduction: int
    kernel: int
    stride: int


def rfy_files(pixels: Tensor) -> list[bytes]:
    """Files of a learned codec."""
    files: list[bytes] = []
    for some in pixels.split(BATCH):
        files += api.encode(list(some.numpy()), codec=CODEC, quality=QUALITY)
    return files


def jpeg_files(pixels: Tensor) -> list[bytes]:
    """The best JPEG of each that is no larger than its `.rfy` file."""
    sizes = map(len, rfy_files(pixels))
    return [jpeg_of_size(one, size) for one, size in zip(pixels.numpy(), sizes, strict=True)]


def small_files(pixels: Tensor) -> list[bytes]:
    """Means of 4x4 pixels, without loss."""
    files = []
    for one in pixels.numpy():
        buffer = io.BytesIO()
        small = Image.fromarray(one).resize((SIDE // SMALL, SIDE // SMALL), Image.Resampling.BOX)
        small.save(buffer, "WEBP", lossless=True, method=6)
        files.append(buffer.getvalue())
    return files


def latents_of(files: Sequence[bytes]) -> Tensor:
    """Integers of a batch, in one call of the entropy decoder."""
    latents = decode(files, output="integers")
    assert isinstance(latents, Tensor)
    return latents


def pixels_of(files: Sequence[bytes]) -> Tensor:
    """Pixels, one file after the other."""
    pictures = []
    for data in files:
        with Image.open(io.BytesIO(data)) as picture:
            pictures.append(np.asarray(picture.convert("RGB")).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(pictures))


WAYS = {
    "latents": Way(rfy_files, latents_of, STRIDE, 3, 1),
    "pixels, small": Way(small_files, pixels_of, SMALL, 4, 2),
    "JPEG of equal size": Way(jpeg_files, pixels_of, 1, 8, 8),
}


def load(way: Way, files: Sequence[bytes]) -> tuple[Tensor, float]:
    """All samples, and how many a second: the best of several times."""
    rates = []
    for _ in range(LOADED):
        begin = perf_counter()
        batches = [way.load(files[first : first + BATCH]) for first in range(0, len(files), BATCH)]
        rates.append(len(files) / (perf_counter() - begin))
    return torch.cat(batches), max(rates)


def measure(way: Way, learn: Any, test: Any) -> dict[str, Any]:
    """A line of the table."""
    files, tests = way.store(learn.pixels), way.store(test.pixels)
    inputs, rate = load(way, files)
    test_inputs, _ = load(way, tests)
    scale = torch.stack([channel.float().std() for channel in inputs.unbind(1)])[:, None, None]
    test_inputs = middle(test_inputs, USED // way.reduction) / scale
    step = STRIDE // way.reduction

    def network_of_way() -> torch.nn.Module:
        return network(inputs.shape[1], way.kernel, way.stride, PHOTOGRAPHS)

    found = accuracies(
        network_of_way,
        lambda seed, epoch: crops(inputs, USED // way.reduction, step, epoch, seed) / scale,
        learn.labels,
        test_inputs,
        test.labels,
        SEEDS,
    )
    return {
        "accuracies": found,
        "bytes_per_sample": sum(map(len, files)) / len(files),
        "numbers": test_inputs[0].numel(),
        "samples_per_second": rate,
        "million_products": products(network_of_way(), test_inputs) / 1e6,
    }


def main(folder: Path, result: Path | None) -> None:
    """Print a line for each way, and write all of it."""
    paths = large_enough(folder, PHOTOGRAPHS, SIDE)
    learn = windows(paths, TRAINED, SIDE, is_test=False)
    test = windows(paths, TESTED, SIDE, is_test=True)
    rows = {}
    for name, way in WAYS.items():
        row = rows[name] = measure(way, learn, test)
        print(
            f"{name:20} {spread(row['accuracies']):>12} %, {row['numbers']} numbers, "
            f"{row['bytes_per_sample']:.0f} bytes, {row['samples_per_second']:.0f} samples/s, "
            f"{row['million_products']:.1f} million products",
            flush=True,
        )
    if result is not None:
        facts = {
            **environment.describe(["python", Path(__file__).name, folder.name], torch.get_num_threads()),
            "codec": CODEC,
            "quality": QUALITY,
            "photographs": PHOTOGRAPHS,
            "windows": [TRAINED, TESTED],
            "seeds": SEEDS,
        }
        result.write_text(json.dumps({**facts, "ways": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
