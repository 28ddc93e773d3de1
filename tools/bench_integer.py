"""What the compiled layers of the integer scale network save: the same integers on torch and on each instruction set.

The network runs over a photograph's own hyper-latents and symbols. Paths take turns, so that whatever else the machine
does falls on all of them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from rarefy import kernels
from rarefy.tools import environment
from rarefy.tools.bench_speed import photograph

if TYPE_CHECKING:
    from torch import Tensor

    from rarefy.entropy.coding import Coded, Walk
    from rarefy.entropy.hyperprior import Hyperprior

TORCH = "torch"
QUALITY = 50 * 256
STRIDE = 16  # pixels of a latent


def measure(size: tuple[int, int], threads: int, runs: int, command: Sequence[str]) -> dict[str, Any]:
    """Time the network alone and the whole entropy decoding of a photograph of (width, height), in milliseconds."""
    import torch

    from rarefy.entropy import coding

    torch.set_num_threads(threads)
    width, height = (-(-side // STRIDE) * STRIDE for side in size)
    bottleneck, walk, coded = _coded_photograph(width, height)
    shape = (walk.symbols.shape[1], walk.symbols.shape[2])
    calls: dict[str, Callable[[], Any]] = {
        "network": lambda: _network(walk),
        "decode": lambda: coding.decompress(bottleneck, coded, shape, QUALITY),
    }
    paths = (TORCH, *kernels.instruction_sets())
    with torch.inference_mode():
        outputs = {path: _on(path, calls["network"]) for path in paths}
        times = {name: _take_turns(call, paths, runs) for name, call in calls.items()}
    return {
        **environment.describe(command, threads),
        "picture": f"scikit-image's coffee, resized to {width}x{height}",
        "runs": runs,
        "instruction_set": paths[1] if len(paths) > 1 else None,
        "is_equal": all(_is_equal(outputs[path], outputs[TORCH]) for path in paths),
        **{
            f"{name}_ms": {
                path: {"median": round(median(taken), 2), "fastest": round(min(taken), 2)}
                for path, taken in each.items()
            }
            for name, each in times.items()
        },
        "network_speedup": {
            path: round(median(times["network"][TORCH]) / median(times["network"][path]), 2) for path in paths[1:]
        },
    }


def _coded_photograph(width: int, height: int) -> tuple["Hyperprior", "Walk", list["Coded"]]:
    import torch

    from rarefy.codecs.base import Unit
    from rarefy.codecs.weights import load_codec
    from rarefy.entropy import coding
    from rarefy.entropy.hyperprior import Hyperprior

    codec = load_codec("image")
    assert isinstance(codec.bottleneck, Hyperprior)
    x = torch.from_numpy(photograph((width, height)).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        y = codec.analysis(x, Unit(QUALITY, height, width))
        return codec.bottleneck, *coding.encode(codec.bottleneck, y, QUALITY)


def _network(walk: "Walk") -> list["Tensor"]:
    """All that a decoder asks of the network, in its order; the indices of every quarter of every step."""
    from rarefy.entropy.coding import blocks
    from rarefy.entropy.hyperprior import PHASES

    height, width = walk.symbols.shape[1:3]
    features = walk.network.features(walk.z, walk.level)[:, :height, :width]
    known = walk.magnitudes.new_zeros(walk.symbols.shape).to(features.dtype)
    indices = []
    for step in range(len(PHASES)):
        hidden = walk.network.hidden(step, features, known)
        for rows, columns, channels in blocks(step, known.shape[3]):
            indices.append(walk.network.indices(step, hidden[:, rows, columns], channels, walk.level))
            at = (slice(None), rows, columns, channels)
            known[at] = walk.network.magnitudes_of(walk.symbols[at], features)
    return indices


@contextmanager
def _path(name: str) -> Iterator[None]:
    """Run the network on torch or on one instruction set; the coder stays compiled where it is."""
    with patch.object(kernels, "instruction_set", lambda: None if name == TORCH else name):
        yield


def _on(path: str, call: Callable[[], Any]) -> Any:
    with _path(path):
        return call()


def _take_turns(call: Callable[[], object], paths: Sequence[str], runs: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {path: [] for path in paths}
    for run in range(runs + 1):
        for path in paths:
            with _path(path):
                call()  # packs this path's weights, wakes its threads, fills its caches
                begin = perf_counter()
                call()
            if run:  # the first turn warms up
                times[path].append(1000 * (perf_counter() - begin))
    return times


def _is_equal(some: list["Tensor"], others: list["Tensor"]) -> bool:
    import torch

    pairs = zip(some, others, strict=True)
    return all(torch.equal(one.to(torch.int64), other.to(torch.int64)) for one, other in pairs)


def table(result: dict[str, Any]) -> str:
    """Return the times as lines of text."""
    lines = [
        f"integer scale network of codec image, {result['picture']}, {result['machine']['threads']} threads; "
        f"median (fastest) of {result['runs']} runs\n",
        f"  {'':8}{'network':>20}{'':>9}{'entropy decoding':>22}\n",
    ]
    for path, network in result["network_ms"].items():
        decode, speedup = result["decode_ms"][path], result["network_speedup"].get(path, 1.0)
        lines.append(
            f"  {path:8}{network['median']:9.1f} ({network['fastest']:6.1f}) ms{speedup:7.2f} x"
            f"{decode['median']:11.1f} ({decode['fastest']:6.1f}) ms\n"
        )
    lines.append(f"  the integers are {'the same' if result['is_equal'] else 'NOT the same'}\n")
    return "".join(lines)
