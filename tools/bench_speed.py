"""How long one picture takes: warm calls from array to bytes and back, and a whole process from file to file."""

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import wraps
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rarefy.codecs.container import read_info
from rarefy.tools import environment

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec

PROCESS_RUNS = 3


def measure(
    codec: str, quality: float, size: tuple[int, int], threads: int, device: str, runs: int, command: Sequence[str]
) -> dict[str, Any]:
    """Return the medians of warm encode and decode calls and of `rarefy decode` as a process, in milliseconds.

    Beside them: what Pillow's WebP, method 4, takes for a file of the nearest size, on one thread (it uses no more).
    """
    from rarefy.codecs import api
    from rarefy.codecs.weights import load_codec

    pixels = photograph(size)

    def encode() -> bytes:
        return api.encode(pixels, codec=codec, quality=quality, threads=threads, device=device)

    data = encode()
    api.decode(data, threads=threads, device=device)
    webp_quality = _webp_quality(pixels, len(data))
    return {
        **environment.describe(command, threads),
        "codec": codec,
        "quality": quality,
        "device": device,
        "picture": f"scikit-image's coffee, resized to {size[0]}x{size[1]}",
        "size_bytes": len(data),
        "weights": read_info(data).weights,
        "runs": runs,
        "encode_ms": _median_ms(encode, runs),
        "encode_outside_networks_ms": _outside_networks_ms(load_codec(codec, device), encode, runs),
        "webp_quality": webp_quality,
        "webp_bytes": len(_webp(pixels, webp_quality)),
        "webp_encode_ms": _median_ms(lambda: _webp(pixels, webp_quality), runs),
        "decode_ms": _median_ms(lambda: api.decode(data, threads=threads, device=device), runs),
        "process_runs": PROCESS_RUNS,
        "process_decode_ms": _process_ms(data, threads, device),
    }


def photograph(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a photograph, uint8 [H, W, 3], resized to (width, height)."""
    from skimage import data

    return np.asarray(Image.fromarray(data.coffee()).resize(size, Image.Resampling.LANCZOS))


def _webp(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _webp_quality(pixels: NDArray[np.uint8], size: int) -> int:
    """The quality at which WebP's file is nearest to a size."""
    return min(range(0, 101, 5), key=lambda quality: abs(len(_webp(pixels, quality)) - size))


def _median_ms(call: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        begin = perf_counter()
        call()
        times.append(1000 * (perf_counter() - begin))
    return median(times)


class Stopwatch:
    """Adds up the time that is spent inside of functions; nested ones count once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            self._depth += 1
            begin = perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += perf_counter() - begin

        return timed


def _outside_networks_ms(codec: "Codec", encode: Callable[[], object], runs: int) -> float:
    """Median time of an encode call without its networks: arrays, rounding, coder, checksums, container, Python.

    Contexts that are coded together with their symbols, as a `Lattice` has them, count as the coder.
    """
    from torch.nn import functional

    from rarefy.entropy.hyperprior import Hyperprior

    watch = Stopwatch()
    bottleneck = codec.bottleneck
    parts: list[tuple[object, str]] = [(codec, "analysis")]
    if isinstance(bottleneck, Hyperprior):
        network, means = bottleneck.exact_network(), bottleneck.means
        parts += [
            (bottleneck.h_a, "forward"),
            (bottleneck.scales, "features"),
            *((network, name) for name in ("features", "hidden", "indices", "magnitudes_of")),
            (means, "hidden"),
            (functional, "linear"),
        ]
    times = []
    with ExitStack() as stack:
        for owner, name in parts:
            stack.enter_context(patch.object(owner, name, watch.around(getattr(owner, name))))
        for _ in range(runs):
            before = watch.seconds
            begin = perf_counter()
            encode()
            times.append(1000 * (perf_counter() - begin - (watch.seconds - before)))
    return median(times)


def _process_ms(data: bytes, threads: int, device: str) -> float:
    """Time `rarefy decode` from its start to its end, imports and weights included."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "picture.rfy"), Path(folder, "picture.png")
        source.write_bytes(data)
        command = [*environment.python_command(), "decode", str(source), "-o", str(target), "-f", "-q"]
        command += ["--threads", str(threads), "--device", device]
        return _median_ms(lambda: subprocess.run(command, check=True), PROCESS_RUNS)


def table(result: dict[str, Any]) -> str:
    """Return the times as lines of text."""
    return (
        f"{result['codec']} at quality {result['quality']:g}, {result['picture']}, {result['size_bytes']} bytes, "
        f"{result['machine']['threads']} threads, {result['device']}\n"
        f"  encode          {result['encode_ms']:8.1f} ms  median of {result['runs']} warm runs, array to bytes\n"
        f"    outside nets  {result['encode_outside_networks_ms']:8.1f} ms  of it: arrays, coder, container, Python\n"
        f"    WebP          {result['webp_encode_ms']:8.1f} ms  method 4, {result['webp_bytes']} bytes: "
        f"{result['webp_encode_ms'] / result['encode_ms']:.2f} times as long\n"
        f"  decode          {result['decode_ms']:8.1f} ms  bytes to array\n"
        f"  rarefy decode   {result['process_decode_ms']:8.1f} ms  a process, median of {result['process_runs']}\n"
    )
