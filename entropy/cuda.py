"""The coder on NVIDIA GPUs: many sections at once, tensors in and tensors out, on whatever stream is current.

A *section* is a stream of its own (docs/CODER.md) over symbols that follow each other in one tensor; the streams follow
each other in another. A warp works on a section, so there should be hundreds; 32 lanes are fastest. Kernels are
compiled at first use and kept in the user's cache (docs/KERNELS.md, "CUDA"). Streams are those of
`rarefy.entropy.coder`, from it and for it.
"""

from collections.abc import Sequence
from ctypes import sizeof
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rarefy.entropy import rans
from rarefy.entropy.cuda_launch import Launch, launch_on_streams
from rarefy.entropy.cuda_tables import decode_words, encode_words
from rarefy.entropy.tables import Tables
from rarefy.errors import OptionError
from rarefy.kernels.cuda.arguments import (
    DecodeArguments,
    EncodeArguments,
    FinishArguments,
    OpenArguments,
    StreamState,
)

LANES = 32  # one for each thread of a warp
ALIGNMENT = 4  # streams begin one byte before a multiple of this, so that their states and words are aligned
SECTION_RANGE = 10  # beside the faults of rans.FAULTS, as in kernels/cuda/arguments.cuh
_STATUS = StreamState.status.offset // 4


@dataclass(frozen=True)
class Streams:
    """Streams of several sections, on one device.

    data: uint8 [bytes]. starts, sizes: int64 [sections], where in data each stream begins and how long it is; what lies
    between streams is of no meaning.
    """

    data: Tensor
    starts: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def from_bytes(cls, streams: Sequence[bytes], device: torch.device | str) -> "Streams":
        """Take streams such as `rarefy.entropy.coder.encode` gives to a device."""
        sizes = torch.tensor([len(stream) for stream in streams], dtype=torch.int64, device="cpu")
        starts, total = _placed(sizes)
        data = np.zeros(int(total), np.uint8)
        for stream, start in zip(streams, starts.tolist(), strict=True):
            data[start : start + len(stream)] = np.frombuffer(stream, np.uint8)
        return cls(torch.from_numpy(data).to(device), starts.to(device), sizes.to(device))

    def to_bytes(self) -> list[bytes]:
        """Give the streams to the host, one after the other; waits for the device."""
        data = self.data.cpu().numpy()
        places = zip(self.starts.tolist(), self.sizes.tolist(), strict=True)
        return [data[start : start + size].tobytes() for start, size in places]


def section_starts(counts: Sequence[int], device: torch.device | str) -> Tensor:
    """Give where sections of so many symbols begin and, in the end, where the last one ends: int64 [sections + 1]."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))])).to(device)


def encode(symbols: Tensor, rows: Tensor, starts: Tensor, tables: Tables, lanes: int = LANES) -> Streams:
    """Encode sections of symbols, each under its row of the tables, into a stream each.

    symbols: int16 [n]. rows: uint8 or uint16 [n], below len(tables); the symbol of a certain row must be its offset.
    starts: int64 [sections + 1], section i being starts[i] to starts[i + 1] of both. All contiguous and on one device.
    lanes: 1, 2, 4, 8, 16 or 32. Waits for the device once, for the sizes.

    Raises OptionError for tensors of other kinds, sections of 2**27 symbols or more or beyond the tensors, and symbols
    or rows that the tables do not have; UnsupportedError where no kernels can be had, for want of package or driver.
    """
    if lanes not in rans.LANES:
        raise OptionError(f"{lanes} lanes; 1, 2, 4, 8, 16 or 32 are allowed")
    _require(symbols, "symbols", (torch.int16,), rows)
    _require_sections(rows, starts)
    launch = Launch(rows, starts, tables, encode_words)
    sizes = torch.empty(len(starts) - 1, dtype=torch.int64, device=rows.device)
    status = torch.empty(len(starts) - 1, dtype=torch.int32, device=rows.device)
    arguments = EncodeArguments(
        rows=rows.data_ptr(),
        symbols=symbols.data_ptr(),
        sizes=sizes.data_ptr(),
        status=status.data_ptr(),
        lanes=lanes,
    )
    launch.run("measure", arguments)
    places, total = _placed(sizes)
    known = torch.cat([status.to(torch.int64), total[None]]).cpu()  # one wait for both
    check(known[:-1])
    data = torch.zeros(int(known[-1]), dtype=torch.uint8, device=rows.device)
    arguments.bytes, arguments.stream_starts = data.data_ptr(), places.data_ptr()
    launch.run("encode", arguments)
    return Streams(data, places, sizes)


def decode(streams: Streams, rows: Tensor, starts: Tensor, tables: Tables) -> Tensor:
    """Decode what `encode` or `rarefy.entropy.coder.encode` gave, one section a stream: int16 [n].

    rows and starts are those of `encode`. Waits for the device, to raise what `Decoder.finish` raises.
    """
    decoder = Decoder(streams, tables)
    symbols = decoder.decode(rows, starts)
    decoder.finish()
    return symbols


class Decoder:
    """Decode streams side by side in as many bursts as their rows become known in.

    Nothing is checked on the host before `finish`: a stream that fails is left where it failed, its further symbols
    mean nothing, and the others are not touched by it.
    """

    def __init__(self, streams: Streams, tables: Tables) -> None:
        """Raises OptionError for tensors of other kinds, UnsupportedError where kernels cannot be had."""
        _require(streams.data, "data", (torch.uint8,), streams.data)
        for name in ("starts", "sizes"):
            _require(getattr(streams, name), name, (torch.int64,), streams.starts, streams.data.device)
        self._streams, self._tables = streams, tables
        self._states = torch.empty(
            len(streams), sizeof(StreamState) // 4, dtype=torch.int32, device=streams.data.device
        )
        arguments = OpenArguments(
            bytes=streams.data.data_ptr(),
            starts=streams.starts.data_ptr(),
            sizes=streams.sizes.data_ptr(),
            byte_count=len(streams.data),
            streams=self._states.data_ptr(),
            count=len(streams),
        )
        launch_on_streams("open_streams", arguments, self._states)

    def decode(self, rows: Tensor, starts: Tensor) -> Tensor:
        """Decode the next symbols, one per row: int16 [n] from uint8 or uint16 [n], without waiting for the device.

        starts: int64 [streams + 1], stream i having the rows from starts[i] to starts[i + 1]; symbols of rows that no
        stream has mean nothing. Raises OptionError for tensors of other kinds.
        """
        _require_sections(rows, starts)
        if len(starts) != len(self._streams) + 1 or rows.device != self._states.device:
            raise OptionError(f"{len(starts) - 1} sections on {rows.device} for {len(self._streams)} streams")
        symbols = torch.empty(len(rows), dtype=torch.int16, device=rows.device)
        arguments = DecodeArguments(
            bytes=self._streams.data.data_ptr(),
            streams=self._states.data_ptr(),
            rows=rows.data_ptr(),
            symbols=symbols.data_ptr(),
        )
        Launch(rows, starts, self._tables, decode_words).run("decode", arguments)
        return symbols

    @property
    def status(self) -> Tensor:
        """What became of each stream so far, int32 [streams] on the device: 0, or the number of a fault."""
        return self._states[:, _STATUS]

    def finish(self) -> None:
        """Check, after the last symbols, that every stream ends as it was begun; waits for the device.

        Raises what `rarefy.entropy.coder.Decoder` raises, for the first stream that failed.
        """
        arguments = FinishArguments(streams=self._states.data_ptr(), count=len(self._streams))
        launch_on_streams("finish_streams", arguments, self._states)
        check(self.status)


def check(status: Tensor) -> None:
    """Raise the fault of the first section that has one; waits for the device. status: int32 [sections]."""
    found = status.cpu()
    failed = torch.nonzero(found)
    if len(failed):
        section = int(failed[0])
        code = int(found[section])
        if code == SECTION_RANGE:
            raise OptionError(f"section {section} lies beyond the tensors, or has too many symbols")
        fault = rans.fault(code)
        raise type(fault)(f"section {section}: {fault}")


def _placed(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Where streams of these sizes begin, and how long the data is: int64 [n] and []."""
    ends = ((sizes + 2 * ALIGNMENT - 2) // ALIGNMENT * ALIGNMENT).cumsum(0)
    before = torch.cat([ends.new_zeros(1), ends])
    return before[:-1] + ALIGNMENT - 1, before[-1]


def _require(tensor: Tensor, name: str, dtypes: tuple[torch.dtype, ...], like: Tensor, device: object = None) -> None:
    """Refuse what is not one contiguous row of a type, as long as another and on its device."""
    is_like = tensor.shape == like.shape and tensor.device == (device or like.device)
    if tensor.dtype not in dtypes or tensor.ndim != 1 or not tensor.is_contiguous() or not is_like:
        kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise OptionError(
            f"{name} must be one contiguous row of {kinds}, as long and where the others are, not "
            f"{tensor.dtype} {list(tensor.shape)} on {tensor.device}"
        )


def _require_sections(rows: Tensor, starts: Tensor) -> None:
    _require(rows, "rows", (torch.uint8, torch.uint16), rows)
    _require(starts, "starts", (torch.int64,), starts, rows.device)
    if not 1 <= len(starts) < 1 << 31:
        raise OptionError("starts must hold where each section begins, and where the last one ends")
