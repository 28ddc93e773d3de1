"""Units of a `Lattice` to streams and back: compiled where that was built, in NumPy elsewhere, with the same bytes."""

import zlib
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from rarefy import kernels
from rarefy.entropy import coder, lattice_integers, rans
from rarefy.entropy.lattice import KEPT_SHAPES, places, steps
from rarefy.entropy.lattice_integers import FIRST_INDEX, SCALE_LEAST, SCALE_MOST, LatticeIntegers
from rarefy.entropy.tables import Tables
from rarefy.errors import ChecksumError, TruncatedError, WeightsError

if TYPE_CHECKING:
    from rarefy.kernels._lattice import Model

Indices = NDArray[np.int32]
WORD_BITS, LANE_BITS, MOST_LANES = 17, 16, 32  # the most that a stream holds: docs/CODER.md, section 7


class LatticeCoder:
    """Coding with one network and its tables; may be shared by threads. Keeps what they held when it was made."""

    def __init__(self, network: LatticeIntegers, tables: Tables) -> None:
        self.network, self.tables = network, tables
        self._model: Model | None = None

    def encode(self, latents: NDArray[np.int16], level: int) -> tuple[bytes, int]:
        """Code a unit's latents int16 [C, ...]; gives the stream and the latents' checksum."""
        if not kernels.available():
            return lattice_integers.encode(self.network, self.tables, latents, level)
        flat = np.ascontiguousarray(latents).reshape(1, len(latents), -1)
        symbols, rows = np.empty(flat.size, np.int16), np.empty(flat.size, np.uint16)
        model, geometry = self._compiled(), _geometry(self.network.axes, latents.shape[1:])
        if not model.prepare(flat, *geometry, self._start(level), symbols, rows):
            raise WeightsError(lattice_integers.TOO_FAR)
        return coder.encode(symbols, rows, self.tables), coder.checksum([flat.ravel()])

    def decode(self, units: Sequence[tuple[bytes, int]], shape: tuple[int, ...], level: int) -> NDArray[np.int16]:
        """Latents int16 [B, C, *shape] of units of one shape, each a stream and the checksum of its latents.

        Raises FormatErrors for damaged streams, ChecksumError where the latents are not those that were coded.
        """
        streams = [stream for stream, _ in units]
        self._require_room(min(map(len, streams), default=0), shape)
        if kernels.available():
            latents = self._decode_compiled(streams, shape, level)
        else:
            latents = np.stack([lattice_integers.decode(self.network, self.tables, s, shape, level) for s in streams])
        for decoded, (_, checksum) in zip(latents, units, strict=True):
            if zlib.crc32(decoded.astype("<i2", copy=False).data) != checksum:
                raise ChecksumError(
                    "the decoded symbols do not fit their checksum: the file is damaged or was decoded wrongly"
                )
        return latents

    def _decode_compiled(self, streams: list[bytes], shape: tuple[int, ...], level: int) -> NDArray[np.int16]:
        channels = self.network.means.shape[1]
        latents = np.empty((len(streams), channels, prod(shape)), np.int16)
        data = [np.frombuffer(stream, np.uint8) for stream in streams]
        geometry, start = _geometry(self.network.axes, shape), self._start(level)
        threads = torch.get_num_threads()
        for status in self._compiled().decode(data, *geometry, start, latents, threads, instruction_set()):
            if status:
                raise rans.fault(status)
        return latents.reshape(len(streams), channels, *shape)

    def _require_room(self, size_bytes: int, shape: tuple[int, ...]) -> None:
        """Refuse sizes that so short a stream cannot hold, before there is memory for them."""
        symbols = self.network.means.shape[1] * prod(shape)
        if symbols * self.tables.fewest_bits > 1.01 * (WORD_BITS * (size_bytes // 2) + LANE_BITS * MOST_LANES):
            raise TruncatedError(
                "the coded stream ends before its symbols do: it is incomplete, or the sizes are altered"
            )

    def _start(self, level: int) -> Indices:
        return np.ascontiguousarray(self.network.start[level].numpy())

    def _compiled(self) -> "Model":
        if self._model is None:
            from rarefy.kernels import _lattice

            n, t = self.network, self.tables
            self._model = _lattice.Model(
                n.means.numpy(),
                n.means_across.numpy(),
                n.scales.numpy(),
                n.differences.numpy(),
                n.scales_across.numpy(),
                SCALE_LEAST,
                SCALE_MOST,
                FIRST_INDEX,
                t.precision,
                t.fewest_bits,
                t.offsets,
                t.row_starts,
                t.cumulative,
            )
        return self._model

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles make their own."""
        return {**self.__dict__, "_model": None}


def instruction_set() -> str:
    """Name the loops in use: those of `rarefy.kernels.instruction_set`; `plain` where the lattice has none."""
    wanted = kernels.instruction_set()
    return wanted if wanted is not None and wanted in instruction_sets() else "plain"


@cache
def instruction_sets() -> tuple[str, ...]:
    """List the instruction sets that the compiled lattice has for this processor, the best first; none if not built."""
    if find_spec("rarefy.kernels._lattice") is None:
        return ()
    from rarefy.kernels import _lattice

    return tuple(_lattice.instruction_sets())


@lru_cache(KEPT_SHAPES)
def _geometry(axes: int, shape: tuple[int, ...]) -> tuple[Indices, Indices, Indices]:
    """Positions and neighbours of all steps, and how many each step has; a neighbour beyond all is none."""
    each = [places(step, shape) for step in steps(axes)]
    own = np.concatenate([own for own, _ in each]).astype(np.int32)
    neighbours = np.concatenate([around.ravel() for _, around in each]).astype(np.int32)
    neighbours[neighbours < 0] = len(own)
    return own, neighbours, np.array([len(own) for own, _ in each], np.int32)
