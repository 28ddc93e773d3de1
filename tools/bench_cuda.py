"""How fast the entropy coder is on a GPU: many sections at once, from tensors to tensors.

Symbols are those of docs/CODER.md, section 9: logistic distributions whose scales are mostly small. Streams of a few
sections are compared with those of the coder on the CPU, and all symbols with what they decode to.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rarefy.errors import UnsupportedError
from rarefy.tools import environment

if TYPE_CHECKING:
    from torch import Tensor

    from rarefy.entropy.cuda import Streams
    from rarefy.entropy.tables import Tables

SCALES = (64, 0.04, 30.0)  # rows, and the range of their scales
COMPARED = 4  # sections whose bytes are compared with the CPU's


def measure_cuda(
    symbols: int = 1 << 26,
    sections: int = 4096,
    lanes: int = 32,
    runs: int = 20,
    command: Sequence[str] = (),
    device: str = "cuda",
) -> dict[str, Any]:
    """Time encoding and decoding on a GPU, in thousand million symbols a second, with what was timed beside it.

    symbols: in all, in sections of equal length (symbols must be a multiple of sections). Calls are warm; a call's time
    ends when the device is done. `decode_burst` is the part of decoding that grows with the symbols, without opening
    and checking the streams. Raises UnsupportedError without a GPU, or where its kernels cannot be compiled.
    """
    import torch

    from rarefy.entropy import cuda
    from rarefy.entropy.scales import scale_tables

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsupportedError("no CUDA device is here to measure the coder on")
    tables = scale_tables(*SCALES)
    message, rows = logistic_message(symbols, device)
    starts = cuda.section_starts([symbols // sections] * sections, device)
    streams = cuda.encode(message, rows, starts, tables, lanes)
    decoded = cuda.decode(streams, rows, starts, tables)
    calls: dict[str, Callable[[], object]] = {
        "encode": lambda: cuda.encode(message, rows, starts, tables, lanes),
        "decode": lambda: cuda.decode(streams, rows, starts, tables),
    }
    times = {name: _times(call, runs, device) for name, call in calls.items()}
    times["decode_burst"] = _burst_times(streams, rows, starts, tables, runs, device)
    return {
        **environment.describe(command, torch.get_num_threads()),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "symbols": symbols,
        "sections": sections,
        "lanes": lanes,
        "runs": runs,
        "bits_per_symbol": round(8 * int(streams.sizes.sum()) / symbols, 4),
        "is_equal": torch.equal(decoded, message) and _is_as_on_cpu(streams, message, rows, starts, tables, lanes),
        **{
            f"{name}_gsymbols_per_s": {
                "median": round(symbols / median(taken) / 1e9, 4),
                "fastest": round(symbols / min(taken) / 1e9, 4),
            }
            for name, taken in times.items()
        },
    }


def logistic_message(count: int, device: str) -> tuple["Tensor", "Tensor"]:
    """Make symbols int16 [n] and their rows uint8 [n]: 70 % of the scales from .04 to .3, the others from .3 to 30."""
    import torch

    from rarefy.entropy.scales import scale_thresholds

    generator = torch.Generator(device).manual_seed(5)

    def random() -> "Tensor":
        return torch.rand(count, device=device, generator=generator)

    scales = torch.where(random() < 0.7, 0.04 * 7.5 ** random(), 0.3 * 100 ** random())
    thresholds = torch.from_numpy(scale_thresholds(*SCALES)).to(device, torch.float32)
    rows = torch.searchsorted(thresholds, scales).clamp_(max=SCALES[0] - 1).to(torch.uint8)
    uniform = random().clamp_(1e-7, 1 - 1e-7)
    symbols = (torch.logit(uniform) * scales).round_().to(torch.int16)
    return symbols * (rows > 0), rows


def _burst_times(
    streams: "Streams", rows: "Tensor", starts: "Tensor", tables: "Tables", runs: int, device: str
) -> list[float]:
    from rarefy.entropy import cuda

    times = []
    for _ in range(runs):
        decoder = cuda.Decoder(streams, tables)
        times += _times(lambda decoder=decoder: decoder.decode(rows, starts), 1, device)  # type: ignore[misc]
    return times


def _times(call: Callable[[], object], runs: int, device: str) -> list[float]:
    """Seconds of each run, from an idle device to an idle device."""
    times = []
    for _ in range(runs):
        _wait(device)
        begin = perf_counter()
        call()
        _wait(device)
        times.append(perf_counter() - begin)
    return times


def _wait(device: str) -> None:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def _is_as_on_cpu(
    streams: "Streams", message: "Tensor", rows: "Tensor", starts: "Tensor", tables: "Tables", lanes: int
) -> bool:
    """Tell whether the first streams are those of the coder on the CPU."""
    from rarefy.entropy import coder, cuda

    count = min(COMPARED, len(streams))
    first = cuda.Streams(streams.data, streams.starts[:count], streams.sizes[:count])
    places = starts[: count + 1].tolist()
    expected = [
        coder.encode(message[begin:end].cpu().numpy(), rows[begin:end].cpu().numpy(), tables, lanes)
        for begin, end in pairwise(places)
    ]
    return first.to_bytes() == expected


def table(result: dict[str, Any]) -> str:
    """Return the speeds as lines of text."""
    lines = [
        f"entropy coder on {result['device']}: {result['symbols']} symbols of {result['bits_per_symbol']} bits in "
        f"{result['sections']} sections of {result['lanes']} lanes; median (fastest) of {result['runs']} runs\n"
    ]
    for name in ("encode", "decode", "decode_burst"):
        speed = result[f"{name}_gsymbols_per_s"]
        lines.append(f"  {name:14}{speed['median']:8.2f} ({speed['fastest']:8.2f}) G symbols/s\n")
    lines.append(f"  bytes and symbols are {'those of the CPU' if result['is_equal'] else 'NOT those of the CPU'}\n")
    return "".join(lines)


if __name__ == "__main__":
    import json
    import sys

    measured = measure_cuda(command=sys.argv)
    sys.stderr.write(table(measured))
    json.dump(measured, sys.stdout, indent=2)
