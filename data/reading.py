"""The samples of an index, read and decoded: what datasets of both kinds have in common.

Bytes stay bytes, in the mapped shards, until a batch of them is decoded in one call.
"""

import json
import mmap
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rarefy.codecs.base import Codec
from rarefy.codecs.limits import Limits
from rarefy.codecs.weights import load_codec
from rarefy.data.crops import Crop, chance
from rarefy.data.decoding import choose_output, decode_named
from rarefy.data.index import NO_LABEL, Index, open_index, require_one_quality
from rarefy.data.shards import Place
from rarefy.errors import MediaError

MOST_OPEN = 64  # shards that are mapped at once, in each process


class Mapped:
    """Reads from files that stay mapped; what is mapped does not go into pickles."""

    def __init__(self, root: Path, files: Sequence[str]) -> None:
        self._root, self._files = root, files
        self._maps: OrderedDict[int, mmap.mmap] = OrderedDict()

    def read(self, file: int, place: Place) -> bytes:
        """The bytes at a place of a file by number; raises MediaError where it cannot be read."""
        data = self._maps.get(file) or self._map(file)
        self._maps.move_to_end(file)
        return data[place.offset : place.offset + place.size]

    def _map(self, number: int) -> mmap.mmap:
        path = self._root / self._files[number]
        try:
            with path.open("rb") as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise MediaError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        if len(self._maps) > MOST_OPEN:
            self._maps.popitem(last=False)[1].close()
        return self._maps[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": OrderedDict()}


class Samples:
    """Samples by number: bytes, labels and latents; see `rarefy.data.LatentDataset` for the options."""

    def __init__(self, path: Path, output: str, crop: Crop | None, seed: int, limits: Limits | None) -> None:
        self.index: Index = open_index(path)
        self._codec: Codec | None = None
        codec = self.codec
        self.output = choose_output(codec, output)
        if self.output == "integers":
            require_one_quality(self.index)
        self.stride, self.crop, self.seed = codec.stride, crop, seed
        self.limits = limits or Limits()
        if crop is not None:
            crop.sides(codec.stride)
        self._mapped = Mapped(self.index.root, self.index.files)

    @property
    def codec(self) -> Codec:
        """The codec, loaded once in each process."""
        if self._codec is None:
            self._codec = load_codec(self.index.codec, needed=self.index.weights)
        return self._codec

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_codec": None}

    def shape(self, number: int) -> tuple[int, int]:
        """Height and width of the latents of a sample, as they are given."""
        if self.crop is not None:
            return self.crop.sides(self.stride)
        height, width = self.index.sizes[number].tolist()
        return -(-height // self.stride), -(-width // self.stride)

    def coded(self, number: int) -> bytes:
        """The `.rfy` file of a sample."""
        file, offset, size = self.index.places[number].tolist()
        return self._mapped.read(file, Place(offset, size))

    def label(self, number: int) -> Any:
        """The label of a sample: a class, what its JSON says, or None."""
        offset, size = self.index.label_places[number].tolist()
        if size:
            return json.loads(self._mapped.read(int(self.index.places[number, 0]), Place(offset, size)))
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
        return self.crop.cut(latents, self.stride, name_of, chance(self.seed, epoch, numbers))


def shared_number(value: int) -> Tensor:
    """A number that workers see change: int64 [1] in shared memory."""
    return torch.from_numpy(np.array([value], np.int64)).share_memory_()
