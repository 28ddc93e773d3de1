"""Learned codecs of others that join a benchmark by name, such as `compressai:mbt2018-mean`.

Their rate and distortion come from real files and from weights on disk, whose hash is checked; nothing is downloaded
and random weights are never measured. A file is what the model's `compress` gives, with sizes and lengths before it.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefy.errors import FormatError, OptionError, WeightsError
from rarefy.tools.harness.parts import Candidate

Pixels = NDArray[np.uint8]
PREFIX = "compressai:"
MULTIPLE = 64  # pixels that sides are padded to, of all models of the zoo
HEAD = struct.Struct("<IIHHB")  # height, width, the model's own shape, number of strings
LENGTH = struct.Struct("<I")


def find_peer(name: str, qualities: Sequence[float]) -> tuple[tuple[float, ...], str]:
    """Return the qualities of a peer whose weights are on disk, of those asked for, and the reason if there are none.

    Raises:
        OptionError: CompressAI knows no such model.
    """
    if find_spec("compressai") is None:
        return (), "compressai is not installed"
    known = _files(name)
    present = tuple(float(quality) for quality, path in known.items() if path.is_file())
    chosen = tuple(quality for quality in qualities or present if quality in present)
    return chosen, "" if chosen else f"none of its weights is in {next(iter(known.values())).parent}"


def _files(name: str) -> dict[int, Path]:
    """Return quality -> where torch keeps the weights (trained for mean squared error)."""
    from compressai.zoo.image import model_urls
    from torch import hub

    model = name.removeprefix(PREFIX)
    if model not in model_urls:
        raise OptionError(f"{name!r} is not one of {', '.join(PREFIX + known for known in model_urls)}")
    folder = Path(hub.get_dir(), "checkpoints")
    return {quality: folder / url.rpartition("/")[2] for quality, url in model_urls[model]["mse"].items()}


def peer_candidate(name: str, qualities: tuple[float, ...], threads: int, device: str) -> Candidate[Pixels]:
    """Return a model of CompressAI's zoo at the qualities that `find_peer` gave."""
    from importlib.metadata import version

    files = _files(name)
    models: dict[float, Any] = {}

    def model(quality: float) -> Any:
        if quality not in models:
            models[quality] = _load(name, files[int(quality)], device)
        return models[quality]

    return Candidate(
        name,
        qualities,
        lambda pixels, quality: bytes([int(quality)]) + _in_threads(threads, lambda: _encode(model(quality), pixels)),
        lambda data: _in_threads(threads, lambda: _decode(model(data[0]), data[1:])),
        is_anchor=True,
        describe=f"quality, CompressAI's {name.removeprefix(PREFIX)} for MSE, {device}",
        version=f"{version('compressai')} {' '.join(path.name for path in files.values())}",
    )


def _load(name: str, path: Path, device: str) -> Any:
    """Load weights whose SHA-256 begins as their name says; raises WeightsError for others."""
    import torch
    from compressai.zoo.image import load_pretrained, model_architectures

    wanted = path.name.partition(".")[0].rpartition("-")[2]
    if not hashlib.sha256(path.read_bytes()).hexdigest().startswith(wanted):
        raise WeightsError(f"{path}: its SHA-256 does not begin with {wanted}: these are not the published weights")
    state = load_pretrained(torch.load(path, map_location="cpu", weights_only=True))
    model = model_architectures[name.removeprefix(PREFIX)].from_state_dict(state)
    return model.to(device).eval()


def _in_threads(threads: int, call: Callable[[], Any]) -> Any:
    """Return what a call gives, with so many threads of torch while it runs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            return call()
    finally:
        torch.set_num_threads(before)


def _encode(model: Any, pixels: Pixels) -> bytes:
    import torch

    height, width = pixels.shape[:2]
    margins = [(0, -side % MULTIPLE) for side in (height, width)]
    padded = np.pad(pixels, [*margins, (0, 0)], mode="edge")
    x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
    coded = model.compress(x.to(next(model.parameters()).device))
    return pack((height, width), tuple(coded["shape"]), [strings[0] for strings in coded["strings"]])


def _decode(model: Any, data: bytes) -> Pixels:
    (height, width), shape, strings = unpack(data)
    x = model.decompress([[string] for string in strings], shape)["x_hat"]
    pixels = (x[0, :, :height, :width].clamp(0, 1) * 255).round().byte()
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def pack(size: tuple[int, int], shape: tuple[int, ...], strings: Sequence[bytes]) -> bytes:
    """Return a file of a picture of a height and width: the model's shape (two numbers) and strings."""
    head = HEAD.pack(*size, *shape, len(strings)) + b"".join(LENGTH.pack(len(string)) for string in strings)
    return head + b"".join(strings)


def unpack(data: bytes) -> tuple[tuple[int, int], tuple[int, int], list[bytes]]:
    """Return what `pack` was given; raises FormatError for a file that is cut or too long."""
    try:
        height, width, rows, columns, count = HEAD.unpack_from(data)
        lengths = [LENGTH.unpack_from(data, HEAD.size + LENGTH.size * number)[0] for number in range(count)]
    except struct.error as error:
        raise FormatError(f"the file of a peer is cut: {error}") from error
    start = HEAD.size + LENGTH.size * count
    if start + sum(lengths) != len(data):
        raise FormatError("the file of a peer has not the length that it says")
    strings = []
    for length in lengths:
        strings.append(data[start : start + length])
        start += length
    return (height, width), (rows, columns), strings
