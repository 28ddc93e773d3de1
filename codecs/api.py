"""What `import rarefy` offers: encode, decode, open, load, and verify for the command line."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import torch

from rarefy.codecs import container
from rarefy.codecs.base import Codec
from rarefy.codecs.container import File, Info
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image, as_image
from rarefy.codecs.registry import find
from rarefy.codecs.weights import load_codec
from rarefy.errors import FormatError, MediaError

Source = Any  # a path, bytes, a file, a PIL image, an array, a tensor or an Image
Data = bytes | bytearray | memoryview | str | os.PathLike[str]


@overload
def encode(
    source: list[Source],
    codec: str = ...,
    quality: float = ...,
    *,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> list[bytes]: ...
@overload
def encode(
    source: Source,
    codec: str = ...,
    quality: float = ...,
    *,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> bytes: ...
def encode(
    source: Source,
    codec: str = "image",
    quality: float = 50.0,
    *,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> bytes | list[bytes]:
    """Turn a picture into the bytes of a `.rfy` file; a list of pictures into a list.

    source: a path, encoded bytes, PIL image, uint8 array [H, W, C], float tensor [C, H, W] in 0..1, or `Image`.
    quality: 0 (smallest) to 100. threads: of torch, while this runs. precision: of the transforms, auto, float32 or
    bfloat16. Raises MediaError for what is no picture, OptionError for options out of range.
    """
    find(codec)
    with _threads(threads):
        coder = load_codec(codec, device)
        if isinstance(source, list):
            return [coder.encode(as_image(one), quality, precision) for one in source]
        return coder.encode(as_image(source), quality, precision)


@overload
def decode(
    data: list[Data], *, limits: Limits | None = ..., threads: int | None = ..., device: str = ..., precision: str = ...
) -> list[Image]: ...
@overload
def decode(
    data: Data, *, limits: Limits | None = ..., threads: int | None = ..., device: str = ..., precision: str = ...
) -> Image: ...
def decode(
    data: Data | list[Data],
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> Image | list[Image]:
    """Turn a `.rfy` file (bytes or a path) back into a picture; a list into a list.

    limits: what to accept from a file that one does not trust. Raises FormatError and its kinds for damaged files,
    LimitError, UnsupportedError, and WeightsError where the weights it was made with are not here.
    """
    if isinstance(data, list):
        return [decode(one, limits=limits, threads=threads, device=device, precision=precision) for one in data]
    with _threads(threads):
        file = container.read(_bytes(data), limits)
        return _codec_of(file, device).decode(file, limits, precision)


def load(codec: str = "image", device: str = "cpu") -> Codec:
    """A codec with its weights as a torch module of one's own: `codec(x, quality=50)` gives x_hat and bits."""
    from copy import deepcopy

    find(codec)
    return deepcopy(load_codec(codec, device))


def verify(data: Data, *, limits: Limits | None = None) -> None:
    """Prove every checksum, those of the decoded symbols too, without running the synthesis; raises what is wrong."""
    file = container.read(_bytes(data), limits)
    with torch.inference_mode():
        _codec_of(file, "cpu").latents(file, limits)


class Reader:
    """An open `.rfy` file: `info` at once, pixels or latents on demand. Use it in a `with` statement or close it."""

    def __init__(self, data: Data, limits: Limits | None = None, device: str = "cpu") -> None:
        self._data, self._limits, self._device = _bytes(data), limits, device
        self.info: Info = container.read_info(self._data, limits)

    def pixels(self) -> Image:
        """Decode the picture."""
        return decode(self._data, limits=self._limits, device=self._device)

    def latents(self) -> torch.Tensor:
        """The latents that a network trains on, float32 [latents, h, w]: entropy decoding alone."""
        file = container.read(self._data, self._limits)
        with torch.inference_mode():
            latents = _codec_of(file, self._device).latents(file, self._limits)[0]
        return latents.clone()  # outside inference mode, so that autograd takes it

    def close(self) -> None:
        """Let go of the bytes."""
        self._data = b""

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(data: Data, *, limits: Limits | None = None, device: str = "cpu") -> Reader:
    """Open a `.rfy` file (a path or bytes); see `Reader`."""
    return Reader(data, limits, device)


def _codec_of(file: File, device: str) -> Codec:
    return load_codec(find(file.header.codec).name, device, file.header.weights)


def _bytes(data: Data) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, str | os.PathLike):
        raise FormatError(f"a .rfy file comes as bytes or as a path, not as {type(data).__name__}")
    try:
        return Path(data).read_bytes()
    except OSError as error:
        raise MediaError(f"{os.fspath(data)}: {error.strerror or error}") from error


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Torch's threads while this runs; the caller's number comes back afterwards."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)
