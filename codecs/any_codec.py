"""What codecs of every medium have in common: weights with a name, bottlenecks, a device, a precision.

What they make of a medium, and how it becomes a file, is said in `rarefy.codecs.base` for pictures and in
`rarefy.codecs.sound` for sounds.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from rarefy.codecs.header import Header
from rarefy.errors import FormatError, OptionError, WeightsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HASH_BYTES = 4  # of the weights' SHA-256, in every file
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Output(NamedTuple):
    """What training sees: x_hat as x was, and the bits of each item [B]."""

    x_hat: Tensor
    bits: Tensor


class AnyBottleneck(Protocol):
    """Latents to bits and back; `Hyperprior` and `Lattice` are such.

    restored: how the names of those floats begin that a weights file leaves out, since its integers give them back.
    """

    restored: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Channels of the latents."""

    def __call__(self, y: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiable: latents and qualities in 0..1 [B] to reconstructed latents and bits [B]."""

    def compress(self, y: Tensor, quality: int) -> list[tuple[dict[str, bytes], int]]:
        """A batch of latents at a quality q256: sections and symbol checksum of each item."""

    def exact_tensors(self) -> dict[str, Tensor]:
        """The integers that choose tables, and the tables, by their names in a weights file."""

    def set_exact(self, tensors: dict[str, Tensor]) -> None:
        """Take them from a weights file; raises WeightsError for integers whose sums might not be exact."""

    def prove_bounds(self) -> tuple[int, int]:
        """The largest sum of integers that can occur, and the first that would not be exact."""

    def rate_multiplier(self, position: Tensor) -> Tensor:
        """Lambda at a quality position [B] in 0..1: how much training weighs distortion against bits."""


class Bottleneck(AnyBottleneck, Protocol):
    """A bottleneck of latents with height and width."""

    def decompress(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int, int], quality: int) -> Tensor:
        """The reconstructed latents of a batch of equal shape."""

    def symbol_count(self, shape: tuple[int, int]) -> int:
        """How many symbols a unit with latents of this height and width holds."""


class SoundBottleneck(AnyBottleneck, Protocol):
    """A bottleneck of latents along time."""

    def decompress(self, units: list[tuple[dict[str, bytes], int]], shape: tuple[int], quality: int) -> Tensor:
        """The reconstructed latents of a batch of equal shape."""

    def symbol_count(self, shape: tuple[int]) -> int:
        """How many symbols a unit with so many positions of latents holds."""


class AnyCodec(nn.Module):
    """Base of codecs; see `rarefy.codecs.base.Codec` and `rarefy.codecs.sound.SoundCodec`.

    config is a dataclass that the codec can be built from again; weights_hash is the SHA-256 of the loaded weights,
    empty while there are none and where they were changed since: files name the weights that made them. medium: of its
    files. has_quality: whether the quality changes a file; without, every one gives the same.
    """

    name: str
    medium: str
    has_quality: bool = True
    config: "DataclassInstance"
    _sealed: tuple[bytes, list[float]] = (b"", [])  # the SHA-256, and the fingerprint of the weights by then
    is_shared: bool = False  # one that nobody outside of rarefy gets hold of need not be looked at again

    def bottlenecks(self) -> Mapping[str, AnyBottleneck]:
        """The bottlenecks by their places among the modules; one for each kind of unit."""
        raise NotImplementedError

    def start(self, samples: Tensor) -> None:
        """Set fresh weights to what is better than random ones; samples: as `forward` takes them."""

    def forward(self, x: Tensor, quality: Tensor | float) -> Output:
        """Differentiable round trip, to train."""
        raise NotImplementedError

    def rate(self, x: Tensor, quality: Tensor | float) -> Tensor:
        """The bits [B] of `forward` alone, without a synthesis: what the training of an entropy model needs."""
        return self(x, quality).bits

    def rate_multiplier(self, position: Tensor) -> Tensor:
        """Lambda at a quality position [B] in 0..1: how much training weighs distortion against bits."""
        return next(iter(self.bottlenecks().values())).rate_multiplier(position)

    def prove_bounds(self) -> tuple[int, int]:
        """The largest sum of integers that can occur in any bottleneck, and the first that would not be exact."""
        return max(bottleneck.prove_bounds() for bottleneck in self.bottlenecks().values())

    def check(self, header: Header) -> None:
        """Raise FormatError or WeightsError for a file that this codec, with these weights, must not decode."""
        if header.codec != self.name:
            raise FormatError(f'the file was made by codec "{header.codec}", not "{self.name}"')
        if header.medium != self.medium:
            raise FormatError(f'the file claims to hold a medium that codec "{self.name}" does not code: it is altered')
        if not self._hash().startswith(header.weights):
            raise WeightsError(
                f'the file needs the weights {header.weights.hex()} of codec "{self.name}", these are '
                f"{self._hash()[:HASH_BYTES].hex()}: put the release that made it into RAREFY_WEIGHTS"
            )

    def weights_name(self) -> bytes:
        """What files call the weights: the first bytes of their SHA-256; raises WeightsError where there is none."""
        return self._hash()[:HASH_BYTES]

    @property
    def weights_hash(self) -> bytes:
        """The SHA-256 of the weights; empty for random ones, and for those that were trained on or converted."""
        name, fingerprint = self._sealed
        return name if self.is_shared or not name or fingerprint == self._fingerprint() else b""

    def seal(self, weights_hash: bytes) -> None:
        """Say that the tensors are, from here on, those of a weights file with this SHA-256."""
        self._sealed = weights_hash, self._fingerprint() if weights_hash else []

    @torch.no_grad()
    def _fingerprint(self) -> list[float]:
        """CRC-32 of weights and integers, and the range of lambda.

        Some milliseconds, where a SHA-256 takes a hundred.
        """
        exact = (tensor for bottleneck in self.bottlenecks().values() for tensor in bottleneck.exact_tensors().values())
        check = 0
        for tensor in chain(self.parameters(), self.buffers(), exact):
            check = zlib.crc32(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().data, check)
        ends = self.rate_multiplier(torch.tensor([0.0, 1.0], device=self.device()))
        return [check, *ends.tolist()]

    def _hash(self) -> bytes:
        name = self.weights_hash
        if not name:
            raise WeightsError(
                f'codec "{self.name}" has random weights, or some that were changed since they were loaded: no file '
                "may depend on them before `rarefy weights export` gives them a name"
            )
        return name

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AnyCodec":
        """What `to`, `half` and their like call: other devices leave the weights what they are, other dtypes do not."""
        name = self.weights_hash
        before = [parameter.dtype for parameter in self.parameters()]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.seal(name if before == [parameter.dtype for parameter in self.parameters()] else b"")
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sealed": (self.weights_hash, []), "is_shared": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch's types leave it out
        self.seal(state["_sealed"][0])

    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    @contextmanager
    def transforms(self, precision: str) -> Iterator[None]:
        """The precision of the transforms, whatever the caller's autocast says."""
        device = self.device().type
        if precision not in ("auto", *PRECISIONS):
            raise OptionError(f"precision {precision!r}: auto, float32 or bfloat16")
        dtype = choose_precision(device) if precision == "auto" else PRECISIONS[precision]
        with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            yield


def choose_precision(device: str) -> torch.dtype:
    """bfloat16 where the processor multiplies it natively, float32 elsewhere."""
    native = device == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if native else torch.float32


def levels_of(quality: Tensor | Iterable[float] | float, x: Tensor) -> Tensor:
    """Qualities 0..100 of the items of x: float32 [B], on its device.

    Raises OptionError outside of that, and for x of integers; the values of tensors, which may be on their way to a
    device, are not looked at.
    """
    if not x.is_floating_point():
        raise OptionError(f"codecs take floats, pixels in 0..1 and samples in -1..1, not {x.dtype}")
    if not isinstance(quality, Tensor):
        for level in quality if isinstance(quality, Iterable) else (quality,):
            quality_q256(level)
    return torch.as_tensor(quality, dtype=torch.float32, device=x.device).expand(len(x))


def quality_q256(quality: float) -> int:
    """Quality 0..100 as the file stores it, in steps of 1/256; raises OptionError outside."""
    try:
        number = math.nan if isinstance(quality, str | bytes) else float(quality)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 100:
        raise OptionError(f"quality {quality!r}: it is a number from 0 to 100")
    return round(number * 256)
