"""Launching the GPU coder's kernels over sections: tables on the device, sizes of launches, devices and streams."""

from collections.abc import Callable
from ctypes import Structure
from typing import Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rarefy.entropy.tables import Tables
from rarefy.errors import OptionError
from rarefy.kernels.cuda.arguments import (
    MOST_THREADS,
    QUEUE_BYTES,
    WARP,
    DecodeArguments,
    EncodeArguments,
    FinishArguments,
    OpenArguments,
    Sections,
    TableWords,
)

Layout = Callable[[Tables], NDArray[np.uint32]]

_WARPS = MOST_THREADS // WARP


class Kernels(Protocol):
    """What the coder asks of a device: `rarefy.kernels.cuda.driver.Device`, or an emulation in tests."""

    multiprocessors: int
    shared_bytes: int

    def launch(
        self, name: str, arguments: Structure, blocks: int, threads: int, shared_bytes: int, stream: int = 0
    ) -> None: ...
    def blocks_together(self, name: str, threads: int, shared_bytes: int) -> int: ...


class Launch:
    """Launches over sections, whose warps take one section after the other."""

    def __init__(self, rows: Tensor, starts: Tensor, tables: Tables, layout: Layout) -> None:
        self._rows, self._starts = rows, starts
        self._kernels = device_of(rows)
        self._words = _words_on(rows.device, tables, layout)
        room = self._kernels.shared_bytes - _WARPS * QUEUE_BYTES
        self._is_shared = 4 * len(self._words) <= room
        self._table_words = TableWords(
            words=self._words.data_ptr(),
            word_count=len(self._words),
            row_count=len(tables),
            precision=tables.precision,
            is_shared=self._is_shared,
            fewest_bits=tables.fewest_bits,
        )

    def run(self, verb: str, arguments: DecodeArguments | EncodeArguments) -> None:
        """Launch on the current stream. verb: the first part of the kernel's name."""
        count = len(self._starts) - 1
        if not count:
            return
        following = torch.zeros(1, dtype=torch.int32, device=self._rows.device)
        arguments.tables = self._table_words
        arguments.sections = Sections(
            starts=self._starts.data_ptr(),
            symbol_count=len(self._rows),
            count=count,
            next=following.data_ptr(),
        )
        name = f"{verb}_{str(self._rows.dtype).removeprefix('torch.')}_{'shared' if self._is_shared else 'global'}"
        self._kernels.launch(name, arguments, *self._shape(name, count), stream_of(self._rows))

    def _shape(self, name: str, count: int) -> tuple[int, int, int]:
        """Blocks, threads and shared memory: as many blocks as run together, small ones where sections are few."""
        warps = max(1, min(_WARPS, -(-count // (2 * self._kernels.multiprocessors))))
        shared = warps * QUEUE_BYTES + (4 * len(self._words) if self._is_shared else 0)
        together = self._kernels.blocks_together(name, warps * WARP, shared) * self._kernels.multiprocessors
        return max(1, min(-(-count // warps), together)), warps * WARP, shared


def launch_on_streams(kernel: str, arguments: OpenArguments | FinishArguments, states: Tensor) -> None:
    """Launch a kernel that has a warp for each stream. states: of the streams, on their device."""
    if len(states):
        blocks = min(-(-len(states) // _WARPS), 65535)
        device_of(states).launch(kernel, arguments, blocks, MOST_THREADS, 0, stream_of(states))


_WORDS: WeakKeyDictionary[Tables, dict[tuple[torch.device, Layout], Tensor]] = WeakKeyDictionary()


def _words_on(device: torch.device, tables: Tables, layout: Layout) -> Tensor:
    """Tables on a device: made once, whole before any stream reads them, there until all have."""
    known = _WORDS.setdefault(tables, {})
    if (device, layout) not in known:
        words = torch.from_numpy(layout(tables).view(np.int32)).to(device)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()
        known[device, layout] = words
    words = known[device, layout]
    if device.type == "cuda":
        words.record_stream(torch.cuda.current_stream(device))
    return words


def device_of(tensor: Tensor) -> Kernels:
    """The kernels on a tensor's device; raises OptionError where it is no GPU, UnsupportedError as `driver.device`."""
    if tensor.device.type != "cuda":
        raise OptionError(f"the GPU coder takes tensors on a CUDA device, not on {tensor.device}")
    from rarefy.kernels.cuda import driver

    return driver.device(tensor.get_device())


def stream_of(tensor: Tensor) -> int:
    """The handle of the current stream of a tensor's device."""
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.device.type == "cuda" else 0
