"""The samples of an index, read and decoded: what datasets of both kinds have in common.

Bytes stay bytes, in the mapped shards, until a batch of them is decoded in one call.
"""

import json
import mmap
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs.any_codec import AnyCodec
from rarefy.codecs.limits import Limits
from rarefy.codecs.weights import load_any
from rarefy.data.crops import AnyCrop, chance, cut, spelled
from rarefy.data.decoding import choose_output, decode_named
from rarefy.data.index import NO_LABEL, Index, open_index, require_one_quality
from rarefy.data.layout import Shape, Size, bottleneck_of, shape_of
from rarefy.data.shards import Place
from rarefy.errors import FormatError, MediaError, OptionError

MOST_OPEN = 64  # shards that are mapped at once, in each process


class Mapped:
    """Reads from files that stay mapped; what is mapped does not go into pickles."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self._root, self._files = root, files
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()

    def read(self, file: int, place: Place) -> bytes:
        """The bytes at a place of a file by number; raises MediaError where it cannot be read."""
        data = self._maps.get(file) or self._map(file)
        with suppress(KeyError):  # another thread may have let go of it; the map itself stays while it is used here
            self._maps.move_to_end(file)
        return data[place.offset : place.offset + place.size]

    def _map(self, number: int) -> mmap.mmap:
        path = self._root / self._files[number]
        try:
            with path.open("rb") as file:
                data = self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise MediaError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        if len(self._maps) > MOST_OPEN:
            with suppress(KeyError):
                self._maps.popitem(last=False)
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}


class Samples:
    """Samples by number: bytes, labels and latents; see `rarefy.data.LatentDataset` for the options."""

    def __init__(self, path: Path, output: str, crop: AnyCrop | None, seed: int, limits: Limits | None) -> None:
        self.index: Index = open_index(path)
        self._codec: AnyCodec | None = None
        codec = self.codec
        self.output = choose_output(codec, output)
        if self.output == "integers":
            require_one_quality(self.index)
        self.crop, self.seed = crop, seed
        self.limits = limits or Limits()
        self._extents = None if crop is None else crop.extents(codec)
        self._shapes: dict[Size, Shape] = {}
        self._check_room()
        self._mapped = Mapped(self.index.root, self.index.files)

    def _check_room(self) -> None:
        """Raise OptionError where samples are too small for the crop: now, not hours later in an epoch."""
        if self._extents is None:
            return
        sizes, firsts, counts = np.unique(self.index.sizes, axis=0, return_index=True, return_counts=True)
        small: list[tuple[int, int, Shape]] = []
        for size, first, count in zip(sizes.tolist(), firsts.tolist(), counts.tolist(), strict=True):
            there = shape_of(self.codec, Size(*size))
            if any(have < wanted for have, wanted in zip(there, self._extents, strict=True)):
                small.append((first, count, there))
        if small:
            first, _, there = min(small)
            count = sum(count for _, count, _ in small)
            raise OptionError(
                f"{self.index.root}: {count} of {len(self.index)} samples have too few latents for a crop of "
                f"{spelled(self._extents)}; the first, {self.index.key(first)}, has {spelled(there)}"
            )

    @property
    def codec(self) -> AnyCodec:
        """The codec, loaded once in each process."""
        if self._codec is None:
            self._codec = load_any(self.index.codec, needed=self.index.weights)
        return self._codec

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_codec": None}

    def shape(self, number: int) -> Shape:
        """The shape of the latents of a sample, as they are given: [C, h, w] or [C, n]."""
        size = Size(*self.index.sizes[number].tolist())
        if size not in self._shapes:
            extents = self._extents or shape_of(self.codec, size)
            self._shapes[size] = (bottleneck_of(self.codec, size.channels).channels, *extents)
        return self._shapes[size]

    def coded(self, number: int) -> bytes:
        """The `.rfy` file of a sample."""
        file, offset, size = self.index.places[number].tolist()
        return self._mapped.read(file, Place(offset, size))

    def label(self, number: int) -> Any:
        """The label of a sample: a class, what its JSON says, or None."""
        offset, size = self.index.label_places[number].tolist()
        if size:
            data = self._mapped.read(int(self.index.places[number, 0]), Place(offset, size))
            try:
                return json.loads(data)
            except (ValueError, RecursionError) as error:
                raise FormatError(
                    f"{self.index.root}: sample {self.index.key(number)}: its label is no JSON"
                ) from error
        label = int(self.index.labels[number])
        return None if label == NO_LABEL else label

    def latents(self, numbers: Sequence[int], epoch: int) -> Tensor | list[Tensor]:
        """The latents of samples, decoded in one call for each shape and quality."""

        def name_of(place: int) -> str:
            return f"{self.index.root}: sample {self.index.key(numbers[place])}"

        datas = [self.coded(number) for number in numbers]
        latents = decode_named(datas, name_of, self.codec, self.output, self.limits)
        if self.crop is None:
            return latents
        assert self._extents is not None
        bits = chance(self.seed, epoch, numbers) if self.crop.is_random else None
        return cut(latents, self._extents, bits, name_of)


def shared_number(value: int) -> Tensor:
    """A number that workers see change: int64 [1] in shared memory."""
    return shared_numbers(1).fill_(value)


def shared_numbers(count: int) -> Tensor:
    """Numbers that workers see change, 0 at first: int64 [count] in shared memory."""
    with torch.inference_mode(False):
        return torch.zeros(count, dtype=torch.int64, device="cpu").share_memory_()
