"""Loading for training: latents from packed shards against JPEG files of equal size, decoded and made as small.

Every way reads the same tar layout through the same mapped files, in as many workers, into batches of one size. JPEGs
have, one by one, the largest quality that is no larger than the `.rfy` file of the same picture.
"""

import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rarefy.data import LatentStream
from rarefy.data.decoding import decode_files, read_files
from rarefy.data.manifest import Settings
from rarefy.data.packing import Packer
from rarefy.data.reading import Mapped, Samples
from rarefy.data.shards import ShardWriter, read_members
from rarefy.errors import OptionError
from rarefy.tools import environment

SIDE = 256
REDUCTION = 8
BATCH = 64
ROUNDS = 5
SHARD_BYTES = 10**8
ENCODED_AT_ONCE = 16

THREADED = "latents, threads, no workers"

Pixels = NDArray[np.uint8]


def measure(
    pictures: Sequence[Path], codec: str, quality: float, count: int, workers: int, command: Sequence[str]
) -> dict[str, Any]:
    """Return samples per second of each way, medians over rounds in which the ways take turns."""
    from rarefy.codecs.weights import load_codec

    with tempfile.TemporaryDirectory() as name:
        latents, jpegs = Path(name, "latents"), Path(name, "jpegs.tar")
        weights = load_codec(codec).weights_hash.hex()
        settings = Settings(codec, weights, quality, "none", "crops", SHARD_BYTES)
        sizes = _write(pictures, count, settings, latents, jpegs)
        ways = _ways(latents, jpegs)
        rates = _rates(ways, count, workers)
        decoding = _decoding_us(Samples(latents, "auto", None, 0, None))
        alone = {name: 1e6 / rate for name, rate in _rates(ways, count, 0).items()}
        rates |= _threaded(ways, count, workers)
    return {
        **environment.describe(command, 1),
        "codec": codec,
        "weights": weights[:8],
        "quality": quality,
        "pictures": f"{count} crops of {SIDE}x{SIDE} from {len(pictures)} photographs",
        "bytes_per_sample": {"rfy": sizes[0] / count, "jpeg": sizes[1] / count},
        "bits_per_pixel": 8 * sizes[0] / count / SIDE**2,
        "batch": BATCH,
        "workers": workers,
        "rounds": ROUNDS,
        "samples_per_second": rates,
        "microseconds_in_one_process": alone,
        "decoding_us": decoding,
        "speedup": rates["latents"] / rates["jpeg, Pillow, BOX 1/8"],
    }


def _ways(latents: Path, jpegs: Path) -> dict[str, Any]:
    """What is timed: datasets that give batches, by name."""
    ways: dict[str, Any] = {"latents": LatentStream(latents, batch_size=BATCH, shuffle=4 * BATCH)}
    decoders: dict[str, Callable[[bytes], Tensor]] = {
        "jpeg, Pillow, BOX 1/8": pillow,
        "jpeg, Pillow, draft 1/8": pillow_draft,
    }
    try:
        import torchvision
    except ImportError:
        pass  # a peer that is not installed is left out of the table
    else:
        decoders["jpeg, torchvision, mean 1/8"] = partial(_torchvision, torchvision.io.decode_jpeg)
    return ways | {name: Jpegs(jpegs, decoder) for name, decoder in decoders.items()}


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


class Jpegs(Dataset[Tensor]):
    """JPEG files in a shard, decoded one by one, in batches of consecutive ones."""

    def __init__(self, shard: Path, decoder: Callable[[bytes], Tensor]) -> None:
        self._places = [fields["jpg"] for _, fields in read_members(shard)]
        self._mapped = Mapped(shard.parent, [shard.name])
        self._decoder = decoder

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Tensor:
        return self._decoder(self._mapped.read(0, self._places[number]))


def _loader(way: Any, workers: int) -> "DataLoader[Any]":
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    if isinstance(way, LatentStream):
        return DataLoader(way, batch_size=None, **options)
    return DataLoader(way, batch_size=BATCH, shuffle=True, **options)


def _rates(ways: dict[str, Any], count: int, workers: int) -> dict[str, float]:
    loaders = {name: _loader(way, workers) for name, way in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, loader in loaders.items():
            begin = perf_counter()
            given = sum(len(batch) if isinstance(batch, Tensor) else len(batch.latents) for batch in loader)
            times[name].append(perf_counter() - begin)
            assert given == count
    return {name: count / median(seconds[1:]) for name, seconds in times.items()}  # the first starts the workers


def _threaded(ways: dict[str, Any], count: int, threads: int) -> dict[str, float]:
    """The rate without workers: batches are decoded by threads, and no tensor goes from one process to another."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return {THREADED: _rates({"latents": ways["latents"]}, count, 0)["latents"]}
    finally:
        torch.set_num_threads(before)


def _decoding_us(samples: Samples) -> dict[str, float]:
    """Microseconds a sample of the entropy coder's call alone, and of all that it is called for."""
    numbers = range(min(BATCH, len(samples.index)))
    datas = [samples.coded(number) for number in numbers]
    files = read_files(datas, samples.limits)
    parts: dict[str, Callable[[], object]] = {
        "reading and checksums": lambda: read_files(datas, samples.limits),
        "entropy decoding": lambda: decode_files(files, samples.codec, samples.output, samples.limits),
    }
    return {name: median(_times(part)) / len(datas) * 1e6 for name, part in parts.items()}


def _times(call: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(2 * ROUNDS + 1):
        begin = perf_counter()
        call()
        times.append(perf_counter() - begin)
    return times[1:]


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
    lines = [
        f"{result['pictures']}, {result['codec']} at quality {result['quality']:g} "
        f"({result['bits_per_pixel']:.2f} bpp), {result['workers']} workers",
        f"  {'':28} {'samples/s':>10} {'us, alone':>10} {'bytes':>7}",
    ]
    for name, rate in result["samples_per_second"].items():
        size = result["bytes_per_sample"]["rfy" if name.startswith("latents") else "jpeg"]
        alone = result["microseconds_in_one_process"].get(name)
        lines.append(f"  {name:28} {rate:10.0f} {'' if alone is None else f'{alone:.0f}':>10} {size:7.0f}")
    parts = ", ".join(f"{name} {value:.0f} us" for name, value in result["decoding_us"].items())
    return "\n".join([*lines, f"  latents {result['speedup']:.2f} times as fast as Pillow with BOX; {parts}", ""])
