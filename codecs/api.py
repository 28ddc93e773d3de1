"""What `import rarefy` offers: encode, decode, decode_tensors, open, load and verify."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from math import prod
from numbers import Real
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, overload

import torch

from rarefy.codecs import container
from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_source import Samples
from rarefy.codecs.base import Codec
from rarefy.codecs.container import File, Header, Info
from rarefy.codecs.decoding import Decoder, decode_alike, join, synthesise_alike
from rarefy.codecs.grid import Box
from rarefy.codecs.limits import FileLimits, Limits
from rarefy.codecs.media import Image, as_image
from rarefy.codecs.parallel import threads_of_torch, whole_number
from rarefy.codecs.registry import find, find_for_file
from rarefy.codecs.salvage import DamagedFile, read_damaged
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import SoundDecoder, as_audio, tags_in
from rarefy.codecs.sounds import codec_of, decode_damaged_sound, decode_sound, encode_sound, is_sound
from rarefy.codecs.targets import Target, encode_to
from rarefy.codecs.weights import load_any, load_codec, require_device
from rarefy.errors import FormatError, MediaError, OptionError

Source = Any  # a path, bytes, a file, a PIL image, an array, a tensor, an Image or an Audio
Data = bytes | bytearray | memoryview | str | os.PathLike[str]
Item = TypeVar("Item")

DEFAULT_QUALITY = 50.0
DEFAULT_CODECS = {"image": "image", "sound": "walloc-audio"}
ALIKE_PIXELS_CPU, ALIKE_PIXELS_GPU = 1 << 20, 1 << 26  # of pictures that go through the networks at once


@overload
def encode(
    source: list[Source],
    codec: str | None = ...,
    quality: float | None = ...,
    *,
    target_size: int | None = ...,
    target_bpp: float | None = ...,
    target_psnr: float | None = ...,
    target_kbps: float | None = ...,
    effort: int = ...,
    sample_rate: int | None = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> list[bytes]: ...
@overload
def encode(
    source: Source,
    codec: str | None = ...,
    quality: float | None = ...,
    *,
    target_size: int | None = ...,
    target_bpp: float | None = ...,
    target_psnr: float | None = ...,
    target_kbps: float | None = ...,
    effort: int = ...,
    sample_rate: int | None = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> bytes: ...
def encode(
    source: Source,
    codec: str | None = None,
    quality: float | None = None,
    *,
    target_size: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_kbps: float | None = None,
    effort: int = 0,
    sample_rate: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> bytes | list[bytes]:
    """Turn a picture or a sound into the bytes of a `.rfy` file; a list of them into a list.

    source: of a picture a path, encoded bytes, PIL image, uint8 array [H, W, C], float tensor [C, H, W] in 0..1, or
    `Image`. Of a sound a path, encoded bytes, `Audio`, an open `AudioReader`, or a float array or tensor [channels, n]
    in -1..1 with its sample_rate in Hz. codec: without one, pictures take "image" and sounds "walloc-audio".

    quality: 0 (smallest) to 100; 50 if nothing is said. Instead of it one target: target_size in bytes, target_bpp in
    bits per pixel, target_kbps in thousands of bits per second of a sound (none is exceeded; all are filled to 99 % or
    more, unless quality 100 takes less or a step of the quality is more than that), or target_psnr of a picture in dB
    (reached). effort: 0, or 1 to 6 for a search for files that cost less in bits and error together (seconds a picture
    at 3, and twice as long with each one more). threads: of torch, while this runs. precision: of the transforms, auto,
    float32 or bfloat16. Pictures of a list that have equal sizes run through the networks together.

    Raises MediaError for what is neither, OptionError for options out of range and targets that no quality reaches.
    """
    items = source if isinstance(source, list) else [source]
    has_sound = any(map(is_sound, items))
    if codec is None and isinstance(source, list) and has_sound:
        if sample_rate is not None:
            raise OptionError("sample_rate is for arrays, and one list holds arrays and other things")
        rate: dict[str, Any] = {"target_size": target_size, "target_bpp": target_bpp, "target_psnr": target_psnr}
        machine: dict[str, Any] = {"threads": threads, "device": device, "precision": precision, "effort": effort}
        return [encode(one, None, quality, **rate, target_kbps=target_kbps, **machine) for one in source]
    is_for_sound = has_sound or sample_rate is not None
    name = codec or DEFAULT_CODECS["sound" if is_for_sound else "image"]
    find(name)
    require_device(device)
    target = _target(quality, size=target_size, bits_per_pixel=target_bpp, psnr=target_psnr, kbps=target_kbps)
    with threads_of_torch(threads):
        coder = load_any(name, device)
        if isinstance(coder, SoundCodec):
            wanted = DEFAULT_QUALITY if quality is None else quality
            sounds = [encode_sound(one, coder, wanted, target, precision, sample_rate, effort) for one in items]
            return sounds if isinstance(source, list) else sounds[0]
        assert isinstance(coder, Codec)
        if is_for_sound:
            raise MediaError(f'this is a sound, and codec "{name}" is for pictures')
        data: list[bytes] = []
        kind = attrgetter("height", "width", "channels")
        images = (as_image(item, FileLimits()) for item in items)
        for group in _alike(images, kind, device):
            data += _encode(group, coder, quality, target, precision, effort)
        return data if isinstance(source, list) else data[0]


def _target(quality: float | None, **wanted: float | None) -> Target | None:
    if all(value is None for value in wanted.values()):
        return None
    if quality is not None:
        raise OptionError("a quality or a target, not both")
    return Target(**wanted)  # type: ignore[arg-type]  # a size that is no integer is as good


def _encode(
    images: list[Image], coder: Codec, quality: float | None, target: Target | None, precision: str, effort: int
) -> list[bytes]:
    if target is not None:
        return [encode_to(coder, image, target, precision, effort) for image in images]
    return coder.encode_alike(images, DEFAULT_QUALITY if quality is None else quality, precision, effort)


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
) -> list[Any]: ...
@overload
def decode(
    data: Data,
    *,
    limits: Limits | None = ...,
    allow_damaged: bool = ...,
    threads: int | None = ...,
    device: str = ...,
    precision: str = ...,
) -> Any: ...
def decode(
    data: Data | list[Data],
    *,
    limits: Limits | None = None,
    allow_damaged: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    precision: str = "auto",
) -> Any:
    """Turn a `.rfy` file (bytes or a path) back into an `Image` or an `Audio`; a list into a list.

    limits: what to accept from a file that one does not trust. allow_damaged: give what is whole of a damaged file; the
    rest is gray or silent, and `notes` say what is lost and why. Files of pictures of a list that have equal sizes and
    qualities run through the networks together.

    Raises FormatError and its kinds for damaged files, LimitError for those that ask for more than `limits`,
    UnsupportedError for those of codecs and features that are not here, WeightsError where the weights it was made with
    are not here, MediaError for a path that cannot be read, OptionError for options out of range.
    """
    require_device(device)
    with threads_of_torch(threads):
        if not isinstance(data, list):
            return _decode_one(_bytes(data), limits, allow_damaged, device, precision)
        if allow_damaged:
            return [_decode_one(_bytes(one), limits, True, device, precision) for one in data]
        images: list[Image | Audio] = []
        for files in _alike((container.read(_bytes(one), limits) for one in data), _kind, device):
            if files[0].header.medium == "sound":
                images += [decode_sound(file, limits, device, precision) for file in files]
                continue
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
    return header.height, header.width, header.medium, header.tile, header.quality, header.codec, header.weights


def _decode_one(data: bytes, limits: Limits | None, is_lenient: bool, device: str, precision: str) -> Image | Audio:
    if not is_lenient:
        file = container.read(data, limits)
        if file.header.medium == "sound":
            return decode_sound(file, limits, device, precision)
        return _codec_of(file.header, device).decode(file, limits, precision)
    damaged = read_damaged(data, limits)
    if not damaged.units:  # else a few bytes could ask for a large gray picture, or a day of silence
        what = {"image": "picture"}.get(damaged.header.medium, damaged.header.medium)
        raise FormatError("; ".join([f"nothing of the {what} is whole", *damaged.reasons.values()]))
    if damaged.header.medium == "sound":
        return decode_damaged_sound(damaged, limits, device, precision)
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


def load(codec: str = "image", device: str = "cpu") -> Any:
    """A `Codec` or `SoundCodec` with its weights as a torch module of one's own.

    `codec(x, quality=50)` gives x_hat and bits.
    """
    from copy import deepcopy

    find(codec)
    return deepcopy(load_any(codec, device))


def verify(data: Data, *, limits: Limits | None = None, threads: int | None = None) -> None:
    """Prove every checksum of a `.rfy` file (bytes or a path), those of the decoded symbols too; no synthesis runs.

    Raises FormatError and its kinds for damaged files, and whatever else `decode` would.
    """
    file = container.read(_bytes(data), limits)
    units = dict(enumerate(file.units))
    with threads_of_torch(threads):
        if file.header.medium == "sound":
            SoundDecoder(codec_of(file.header, "cpu"), file.header, units, limits).prove()
        else:
            Decoder(_codec_of(file.header, "cpu"), file.header, units, limits).prove()


class Reader:
    """An open `.rfy` file: `info`, what the header says, at once; pixels, samples or latents on demand.

    Use it in a `with` statement or close it. Its bytes are read into memory. Asking a file of a sound for pixels, or
    one of a picture for samples, raises MediaError.
    """

    def __init__(
        self, data: Data, limits: Limits | None = None, device: str = "cpu", threads: int | None = None
    ) -> None:
        self._data, self._limits, self._device, self._threads = _bytes(data), limits, device, threads
        self.info: Info = container.read_info(self._data, limits)

    def pixels(self) -> Image:
        """Decode the picture."""
        self._require("image")
        image: Image = decode(self._bytes(), limits=self._limits, device=self._device, threads=self._threads)
        return image

    def region(self, x: int, y: int, width: int, height: int) -> Image:
        """Decode a part of a picture, in pixels from the upper left corner: equal to the same crop of `pixels()`.

        It costs the units that the part touches. Colour profile, EXIF and XMP come with it.

        Raises OptionError for a part that is not inside the picture.
        """
        x, y, width, height = (whole_number(value, "region") for value in (x, y, width, height))
        return self._part((slice(y, y + height), slice(x, x + width)), 1)

    def preview(self, reduction: int) -> Image:
        """Decode a picture at 1/2, 1/4 or 1/8 of the size: each pixel is the mean of a square of 2, 4 or 8.

        Sides are rounded up. Faster than `pixels()` as far as the synthesis goes; entropy decoding is the same.
        """
        return self._part(None, whole_number(reduction, "preview"))

    def sound(self, start: float = 0.0, duration: float | None = None) -> Audio:
        """Decode a sound from `start` on, in seconds, all of it without `duration`: equal to that part of the whole.

        It costs the units that the part touches, and a neighbour on either side. Tags come with it.

        Raises OptionError for a part that is not inside the sound.
        """
        first, count = self._range(start, duration)
        with threads_of_torch(self._threads):
            decoder, metadata = self._sound_decoder()
            return as_audio(decoder.samples(first, count), self.info.header, metadata)

    def sound_blocks(self, start: float = 0.0, duration: float | None = None) -> Iterator[Samples]:
        """As `sound`, in blocks float32 [channels, n] of a few seconds, in bounded memory."""
        decoder, _ = self._sound_decoder()
        return self._each(decoder.blocks(*self._range(start, duration)))

    def _each(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Blocks, each decoded by this reader's number of threads."""
        while True:
            with threads_of_torch(self._threads):
                block = next(blocks, None)
            if block is None:
                return
            yield block

    @property
    def tags(self) -> dict[str, str]:
        """Title, artist and so on of a sound; empty where there are none."""
        return tags_in(container.Units(self._bytes(), self._limits).metadata)

    def latents(self, group: int = 0) -> torch.Tensor:
        """The latents that a network trains on, by entropy decoding alone.

        Of pictures float32 [latents, h, w]; of sounds [latents, n], of that group of channels (surround has several).
        """
        if self.info.medium == "sound":
            with threads_of_torch(self._threads):
                return self._sound_decoder()[0].latents(group)[0].clone()
        file = container.read(self._bytes(), self._limits)
        with torch.inference_mode(), threads_of_torch(self._threads):
            latents = _codec_of(file.header, self._device).latents(file, self._limits)[0]
        return latents.clone()  # outside inference mode, so that autograd takes it

    def _part(self, region: Box | None, reduction: int) -> Image:
        self._require("image")
        coder = _codec_of(self.info.header, self._device)
        units = container.Units(self._bytes(), self._limits)
        with threads_of_torch(self._threads):
            parts = Decoder(coder, self.info.header, units, self._limits).picture(region, reduction)
        return join(*parts, units.metadata)

    def _sound_decoder(self) -> tuple[SoundDecoder, Mapping[str, bytes]]:
        self._require("sound")
        units = container.Units(self._bytes(), self._limits)
        coder = codec_of(self.info.header, self._device)
        return SoundDecoder(coder, self.info.header, units, self._limits), units.metadata

    def _range(self, start: float, duration: float | None) -> tuple[int, int | None]:
        """Seconds as samples: the begin, and how many; what a duration has beyond the end is left out."""
        rate, length = self.info.header.sample_rate, self.info.header.length
        for seconds in (start, 0 if duration is None else duration):
            if not isinstance(seconds, Real):
                raise OptionError(f"seconds are numbers, not {seconds!r}")
        if not 0 <= start <= self.info.seconds:
            raise OptionError(f"the sound has {self.info.seconds:.3f} seconds, nothing of it begins at {start:g}")
        if duration is not None and not 0 <= duration < math.inf:
            raise OptionError(f"a part of a sound has 0 seconds or more, not {duration:g}")
        first = min(length, round(start * rate))
        return first, None if duration is None else min(length - first, round(duration * rate))

    def _require(self, medium: str) -> None:
        if self.info.medium != medium:
            has, lacks = ("a sound", "picture") if self.info.medium == "sound" else ("a picture", "sound")
            raise MediaError(f"the file holds {has}: there is no {lacks} in it")

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
