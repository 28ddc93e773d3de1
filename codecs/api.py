"""What `import rarefy` offers: encode, decode, open, load, and verify for the command line."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import prod
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, overload

import torch

from rarefy.codecs import container
from rarefy.codecs.base import Codec
from rarefy.codecs.container import File, Header, Info
from rarefy.codecs.decoding import Decoder, decode_alike, join, synthesise_alike
from rarefy.codecs.grid import Box
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image, as_image
from rarefy.codecs.parallel import threads_of_torch, whole_number
from rarefy.codecs.registry import find, find_for_file
from rarefy.codecs.salvage import DamagedFile, read_damaged
from rarefy.codecs.targets import Target, encode_to
from rarefy.codecs.weights import load_codec, require_device
from rarefy.errors import FormatError, MediaError, OptionError

Source = Any  # a path, bytes, a file, a PIL image, an array, a tensor or an Image
Data = bytes | bytearray | memoryview | str | os.PathLike[str]
Item = TypeVar("Item")

DEFAULT_QUALITY = 50.0
ALIKE_PIXELS_CPU, ALIKE_PIXELS_GPU = 1 << 20, 1 << 26  # of pictures that go through the networks at once


@overload
def encode(
    source: list[Source],
    codec: str = ...,
    quality: float | None = ...,
    *,
    target_size: int | None = ...,
    target_bpp: float | None = ...,
    target_psnr: float | None = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> list[bytes]: ...
@overload
def encode(
    source: Source,
    codec: str = ...,
    quality: float | None = ...,
    *,
    target_size: int | None = ...,
    target_bpp: float | None = ...,
    target_psnr: float | None = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> bytes: ...
def encode(
    source: Source,
    codec: str = "image",
    quality: float | None = None,
    *,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> bytes | list[bytes]:
    """Turn a picture into the bytes of a `.rfy` file; a list of pictures into a list.

    source: a path, encoded bytes, PIL image, uint8 array [H, W, C], float tensor [C, H, W] in 0..1, or `Image`.
    quality: 0 (smallest) to 100; 50 if nothing is said. Instead of it one target: target_size in bytes, target_bpp in
    bits per pixel (neither is exceeded; both are filled to 99 % or more), or target_psnr in dB (reached). threads: of
    torch, while this runs. precision: of the transforms, auto, float32 or bfloat16. Pictures of a list that have equal
    sizes run through the networks together.

    Raises MediaError for what is no picture, OptionError for options out of range and targets that no quality reaches.
    """
    find(codec)
    require_device(device)
    target = _target(quality, target_size, target_bpp, target_psnr)
    with threads_of_torch(threads):
        coder = load_codec(codec, device)
        if not isinstance(source, list):
            return _encode([as_image(source)], coder, quality, target, precision)[0]
        data: list[bytes] = []
        kind = attrgetter("height", "width", "channels")
        for group in _alike(map(as_image, source), kind, device):
            data += _encode(group, coder, quality, target, precision)
        return data


def _target(quality: float | None, size: int | None, bits_per_pixel: float | None, psnr: float | None) -> Target | None:
    if size is None and bits_per_pixel is None and psnr is None:
        return None
    if quality is not None:
        raise OptionError("a quality or a target, not both")
    return Target(size, bits_per_pixel, psnr)


def _encode(
    images: list[Image], coder: Codec, quality: float | None, target: Target | None, precision: str
) -> list[bytes]:
    if target is not None:
        return [encode_to(coder, image, target, precision) for image in images]
    return coder.encode_alike(images, DEFAULT_QUALITY if quality is None else quality, precision)


def _alike(items: Iterable[Item], kind: Callable[[Item], tuple[int, ...]], device: str) -> Iterator[list[Item]]:
    """Runs of items of one kind that go through the networks together; a kind begins with height and width."""
    most = ALIKE_PIXELS_CPU if torch.device(device).type == "cpu" else ALIKE_PIXELS_GPU
    group: list[Item] = []
    for item in items:
        if group and (kind(item) != kind(group[0]) or (len(group) + 1) * prod(kind(item)[:2]) > most):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


@overload
def decode(
    data: list[Data],
    *,
    limits: Limits | None = ...,
    allow_damaged: bool = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> list[Image]: ...
@overload
def decode(
    data: Data,
    *,
    limits: Limits | None = ...,
    allow_damaged: bool = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> Image: ...
def decode(
    data: Data | list[Data],
    *,
    limits: Limits | None = None,
    allow_damaged: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> Image | list[Image]:
    """Turn a `.rfy` file (bytes or a path) back into a picture; a list into a list.

    limits: what to accept from a file that one does not trust. allow_damaged: show what is whole of a damaged file; the
    rest is gray, and `notes` of the picture says what is lost and why. Files of a list that have equal sizes and
    qualities run through the networks together.

    Raises FormatError and its kinds for damaged files, LimitError, UnsupportedError, and WeightsError where the weights
    it was made with are not here.
    """
    require_device(device)
    with threads_of_torch(threads):
        if not isinstance(data, list):
            return _decode_one(_bytes(data), limits, allow_damaged, device, precision)
        if allow_damaged:
            return [_decode_one(_bytes(one), limits, True, device, precision) for one in data]
        images: list[Image] = []
        for files in _alike((container.read(_bytes(one), limits) for one in data), _kind, device):
            coder = _codec_of(files[0].header, device)
            if files[0].header.unit_count == 1:
                images += decode_alike(coder, files, limits or Limits(), precision)
            else:
                images += [coder.decode(file, limits, precision) for file in files]
        return images


def decode_tensors(
    data: list[Data],
    *,
    limits: Limits | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> list[torch.Tensor]:
    """Turn `.rfy` files (bytes or paths) into tensors float32 [3 or 1, H, W] in 0..1 that stay on the device.

    They are not rounded to 8 bits, but for large pictures, of several units; alpha is left out. Options and errors are
    those of `decode`.
    """
    require_device(device)
    tensors: list[torch.Tensor] = []
    with threads_of_torch(threads):
        for files in _alike((container.read(_bytes(one), limits) for one in data), _kind, device):
            coder = _codec_of(files[0].header, device)
            if files[0].header.unit_count == 1:
                batch = synthesise_alike(coder, files, limits or Limits(), precision).clamp(0, 1)
                planes = [
                    x if file.header.channels == 3 else x.mean(0, keepdim=True)
                    for file, x in zip(files, batch, strict=True)
                ]
                tensors += [x.clone() for x in planes]  # outside inference mode, so that autograd takes them
            else:
                images = [coder.decode(file, limits, precision) for file in files]
                tensors += [replace(image, alpha=None).to_tensor().to(device) for image in images]
    return tensors


def _kind(file: File) -> tuple[Any, ...]:
    """What files must have in common to be decoded together."""
    header = file.header
    return header.height, header.width, header.tile, header.quality, header.codec, header.weights


def _decode_one(data: bytes, limits: Limits | None, is_lenient: bool, device: str, precision: str) -> Image:
    if not is_lenient:
        file = container.read(data, limits)
        return _codec_of(file.header, device).decode(file, limits, precision)
    damaged = read_damaged(data, limits)
    if not damaged.units:  # else a few bytes could ask for a large gray picture
        raise FormatError("; ".join(["nothing of the picture is whole", *damaged.reasons.values()]))
    coder = _codec_of(damaged.header, device)
    decoder = Decoder(coder, damaged.header, damaged.units, limits, precision, is_lenient=True)
    pixels, alpha = decoder.picture()
    losses = _losses(decoder, damaged)
    if len(decoder.lost) == len(decoder.grid):
        raise FormatError("; ".join(["nothing of the picture is whole", *losses[1:]]))
    return join(pixels, alpha, damaged.metadata, losses)


def _losses(decoder: Decoder, damaged: DamagedFile) -> tuple[str, ...]:
    """What is lost and why, in sentences."""
    if not decoder.lost:
        return ()
    later = [reason for n, reason in sorted(decoder.lost.items()) if n in damaged.units]
    count = len(decoder.grid)
    first = f"{len(decoder.lost)} of {count} units are lost and shown gray, beside them the picture is less exact"
    return (first, *damaged.reasons.values(), *later)


def load(codec: str = "image", device: str = "cpu") -> Codec:
    """A codec with its weights as a torch module of one's own: `codec(x, quality=50)` gives x_hat and bits."""
    from copy import deepcopy

    find(codec)
    return deepcopy(load_codec(codec, device))


def verify(data: Data, *, limits: Limits | None = None, threads: int | None = None) -> None:
    """Prove every checksum, those of the decoded symbols too, without running the synthesis; raises what is wrong."""
    file = container.read(_bytes(data), limits)
    with threads_of_torch(threads):
        Decoder(_codec_of(file.header, "cpu"), file.header, dict(enumerate(file.units)), limits).prove()


class Reader:
    """An open `.rfy` file: `info` at once, pixels or latents on demand. Use it in a `with` statement or close it."""

    def __init__(
        self, data: Data, limits: Limits | None = None, device: str = "cpu", threads: int | None = None
    ) -> None:
        self._data, self._limits, self._device, self._threads = _bytes(data), limits, device, threads
        self.info: Info = container.read_info(self._data, limits)

    def pixels(self) -> Image:
        """Decode the picture."""
        return decode(self._bytes(), limits=self._limits, device=self._device, threads=self._threads)

    def region(self, x: int, y: int, width: int, height: int) -> Image:
        """Decode a part, in pixels from the upper left corner: equal to the same crop of `pixels()`.

        It costs the units that the part touches. Colour profile, EXIF and XMP come with it.

        Raises OptionError for a part that is not inside the picture.
        """
        x, y, width, height = (whole_number(value, "region") for value in (x, y, width, height))
        return self._part((slice(y, y + height), slice(x, x + width)), 1)

    def preview(self, reduction: int) -> Image:
        """Decode at 1/2, 1/4 or 1/8 of the size: each pixel is the mean of a square of 2, 4 or 8 pixels' side.

        Sides are rounded up. Faster than `pixels()` as far as the synthesis goes; entropy decoding is the same.
        """
        return self._part(None, reduction)

    def _part(self, region: Box | None, reduction: int) -> Image:
        coder = _codec_of(self.info.header, self._device)
        units = container.Units(self._bytes(), self._limits)
        with threads_of_torch(self._threads):
            parts = Decoder(coder, self.info.header, units, self._limits).picture(region, reduction)
        return join(*parts, units.metadata)

    def latents(self) -> torch.Tensor:
        """The latents that a network trains on, float32 [latents, h, w]: entropy decoding alone."""
        file = container.read(self._bytes(), self._limits)
        with torch.inference_mode(), threads_of_torch(self._threads):
            latents = _codec_of(file.header, self._device).latents(file, self._limits)[0]
        return latents.clone()  # outside inference mode, so that autograd takes it

    def _bytes(self) -> bytes:
        if not self._data:
            raise OptionError("the file was closed: open it again")
        return self._data

    def close(self) -> None:
        """Let go of the bytes."""
        self._data = b""

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(data: Data, *, limits: Limits | None = None, device: str = "cpu", threads: int | None = None) -> Reader:
    """Open a `.rfy` file (a path or bytes); see `Reader`."""
    return Reader(data, limits, device, threads)


def _codec_of(header: Header, device: str) -> Codec:
    return load_codec(find_for_file(header.codec).name, device, header.weights)


def _bytes(data: Data) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if not isinstance(data, str | os.PathLike):
        raise FormatError(f"a .rfy file comes as bytes or as a path, not as {type(data).__name__}")
    try:
        return Path(data).read_bytes()
    except (OSError, ValueError) as error:
        raise MediaError(f"{os.fspath(data)!r}: {getattr(error, 'strerror', None) or error}") from error
