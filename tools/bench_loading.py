"""Loading for training: latents from packed shards against JPEG files of equal size, decoded and made as small.

Every way reads the same tar layout through the same mapped files, in as many workers, into batches of one size. JPEGs
have, one by one, the largest quality that is no larger than the `.rfy` file of the same picture.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rarefy.codecs.registry import find as find_codec
from rarefy.data.manifest import Settings
from rarefy.data.packing import Packer
from rarefy.data.shards import ShardWriter
from rarefy.errors import OptionError
from rarefy.tools import environment
from rarefy.tools.bench_loaders import Stored, Ways, latents_of, timings

SIDE = 256
REDUCTION = 8
SHARD_BYTES = 10**8
ENCODED_AT_ONCE = 16

AGAINST = "jpeg, Pillow, BOX 1/8"

Pixels = NDArray[np.uint8]


def measure(
    files: Sequence[Path], codec: str, quality: float, count: int, workers: int, command: Sequence[str]
) -> dict[str, Any]:
    """Return samples per second of each way, medians over rounds in which the ways take turns."""
    if find_codec(codec).media == "sound":
        from rarefy.tools import bench_loading_sounds

        return bench_loading_sounds.measure(files, codec, quality, count, workers, command)
    from rarefy.codecs.weights import load_codec

    with tempfile.TemporaryDirectory() as name:
        latents, jpegs = Path(name, "latents"), Path(name, "jpegs.tar")
        weights = load_codec(codec).weights_hash.hex()
        settings = Settings(codec, weights, quality, "none", "crops", SHARD_BYTES)
        sizes = _write(files, count, settings, latents, jpegs)
        found = timings(_ways(latents, jpegs), latents, count, workers)
    rates = found["samples_per_second"]
    return {
        **environment.describe(command, 1),
        "codec": codec,
        "weights": weights[:8],
        "quality": quality,
        "pictures": f"{count} crops of {SIDE}x{SIDE} from {len(files)} photographs",
        "bytes_per_sample": {"rfy": sizes[0] / count, "jpeg": sizes[1] / count},
        "bits_per_pixel": 8 * sizes[0] / count / SIDE**2,
        **found,
        "against": AGAINST,
        "speedup": rates["latents"] / rates[AGAINST],
    }


def _ways(latents: Path, jpegs: Path) -> Ways:
    decoders: dict[str, Callable[[bytes], Tensor]] = {
        AGAINST: pillow,
        "jpeg, Pillow, draft 1/8": pillow_draft,
    }
    try:
        import torchvision
    except ImportError:
        pass  # a peer that is not installed is left out of the table
    else:
        decoders["jpeg, torchvision, mean 1/8"] = partial(_torchvision, torchvision.io.decode_jpeg)
    others = {name: Stored(jpegs, "jpg", decoder) for name, decoder in decoders.items()}
    return {"latents": latents_of(latents), **others}


def pillow(data: bytes) -> Tensor:
    """Decode, and average squares of 8x8 pixels: uint8 [3, h, w]."""
    with Image.open(io.BytesIO(data)) as picture:
        small = picture.convert("RGB").resize((SIDE // REDUCTION, SIDE // REDUCTION), Image.Resampling.BOX)
    return _planes(small)


def pillow_draft(data: bytes) -> Tensor:
    """Decode at an eighth of the size, which takes the mean of each block of the DCT alone."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.draft("RGB", (SIDE // REDUCTION, SIDE // REDUCTION))
        return _planes(picture.convert("RGB"))


def _planes(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1)))


def _torchvision(decode_jpeg: Callable[[Tensor], Tensor], data: bytes) -> Tensor:
    pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8))
    return torch.nn.functional.avg_pool2d(pixels.float(), REDUCTION).round_().to(torch.uint8)


def _write(pictures: Sequence[Path], count: int, settings: Settings, latents: Path, jpegs: Path) -> tuple[int, int]:
    """Write shards of both kinds; returns the bytes of all `.rfy` files and of all JPEGs."""
    from rarefy.codecs import api

    sizes = np.zeros(2, np.int64)
    others = ShardWriter(jpegs)
    with Packer(latents, settings) as packer:
        crops = list(_crops(pictures, count))
        for first in range(0, count, ENCODED_AT_ONCE):
            some = crops[first : first + ENCODED_AT_ONCE]
            files = api.encode(some, codec=settings.codec, quality=settings.quality)
            for number, (crop, data) in enumerate(zip(some, files, strict=True), first):
                jpeg = jpeg_of_size(crop, len(data))
                packer.add(f"{number:06}", "", {"rfy": data})
                others.add(f"{number:06}", {"jpg": jpeg})
                sizes += len(data), len(jpeg)
        packer.finish()
    others.close()
    return int(sizes[0]), int(sizes[1])


def jpeg_of_size(pixels: Pixels, size_bytes: int) -> bytes:
    """The JPEG file (4:2:0, optimised) of the highest quality that is no larger; of the lowest where none is."""
    low, high = 1, 95
    best = _jpeg(pixels, low)
    while low < high:
        middle = (low + high + 1) // 2
        data = _jpeg(pixels, middle)
        if len(data) <= size_bytes:
            low, best = middle, data
        else:
            high = middle - 1
    return best


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _crops(pictures: Sequence[Path], count: int) -> Iterator[Pixels]:
    """Crops at random places, as many from each picture."""
    from rarefy.codecs.media import as_image

    source = np.random.default_rng(0)
    for number, path in enumerate(pictures):
        pixels = np.broadcast_to((image := as_image(path, warns=False)).pixels, (image.height, image.width, 3))
        if min(pixels.shape[:2]) < SIDE:
            raise OptionError(f"{path}: has no crop of {SIDE}x{SIDE} pixels")
        for _ in range(number, count, len(pictures)):
            y, x = (int(source.integers(extent - SIDE + 1)) for extent in pixels.shape[:2])
            yield np.ascontiguousarray(pixels[y : y + SIDE, x : x + SIDE])


def table(result: dict[str, Any]) -> str:
    """Return the rates as lines of text."""
    is_sound = "sounds" in result
    rate = f"{result['kilobits_per_second']:.1f} kbit/s" if is_sound else f"{result['bits_per_pixel']:.2f} bpp"
    other = next(name for name in result["bytes_per_sample"] if name != "rfy")
    lines = [
        f"{result['sounds' if is_sound else 'pictures']}, {result['codec']} at quality {result['quality']:g} "
        f"({rate}), {result['workers']} workers",
        f"  {'':28} {'samples/s':>10} {'us, alone':>10} {'bytes':>7}",
    ]
    for name, rate in result["samples_per_second"].items():
        size = result["bytes_per_sample"]["rfy" if name.startswith("latents") else other]
        alone = result["microseconds_in_one_process"].get(name)
        lines.append(f"  {name:28} {rate:10.0f} {'' if alone is None else f'{alone:.0f}':>10} {size:7.0f}")
    parts = ", ".join(f"{name} {value:.0f} us" for name, value in result["decoding_us"].items())
    return "\n".join([*lines, f"  latents {result['speedup']:.2f} times as fast as {result['against']}; {parts}", ""])
