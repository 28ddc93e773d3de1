"""The entropy coder beside its peers in one process: speed, threads, and how near streams come to their ideal lengths.

A million symbols over 64 Gaussian tables, each symbol with an index of its own, as learned codecs have them. Coders
take turns, so that whatever else the machine does falls on all of them. Peers that are not installed are named and left
out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from rarefy.entropy import coder, rans
from rarefy.entropy.tables import Tables
from rarefy.tools import environment

SYMBOLS = 1_000_000
ROWS, NARROWEST, WIDEST = 64, 0.11, 64.0  # standard deviations; CompressAI's first is 0.11 too
SECTIONS = 8  # of the message, for two threads
THREAD_ROUNDS = 10  # for each round of the rest
SHORT = 60_000  # symbols of the message whose bytes are held to its tables
PEERS = {"compressai": "CompressAI's RansEncoder and RansDecoder", "constriction": "constriction's AnsCoder"}
HOW = {
    "rarefy": "NumPy arrays in and out: int16 symbols, uint8 rows",
    "compressai": "Python lists made beforehand; the call turns them into vectors, its interface has no other way",
    "constriction": "NumPy arrays in and out, QuantizedGaussian with a mean and a deviation for each symbol",
}


@dataclass(frozen=True)
class Message:
    """Symbols, int16, with a row each, uint8, and the standard deviation of each row."""

    symbols: NDArray[np.int16]
    rows: NDArray[np.uint8]
    deviations: NDArray[np.float64]


Pair = tuple[Callable[[], Any], Callable[[], Any]]  # calls that encode and decode a message


def measure(rounds: int, pictures: Path | None, command: Sequence[str]) -> dict[str, Any]:
    """Measure all; speeds are medians of so many rounds. pictures: a folder, for the bytes of real latents."""
    message, tables = gaussian_message(SYMBOLS), gaussian_tables()
    calls = {**_ours(message, tables), **_peers(message)}
    for name, (_, decode) in calls.items():
        if not np.array_equal(np.asarray(decode()), message.symbols):
            raise AssertionError(f"{name} did not decode what it encoded")
    speeds = _speeds(calls, rounds)
    result = {
        **environment.describe(command, 1),
        "symbols": SYMBOLS,
        "tables": ROWS,
        "rounds": rounds,
        "instruction_set": coder.instruction_set(),
        "timed": HOW,
        "missing": [name for name in PEERS if name not in calls],
        "million_symbols_per_second": speeds,
        "ratios": _ratios(speeds),
        "two_threads": _two_threads(message, tables, rounds),
        "bytes_over_tables": _bytes_over_tables(tables),
    }
    if pictures is not None:
        from rarefy.tools.bench_coder_rate import excess

        result["real_latents"] = excess(pictures)
    return result


def gaussian_tables() -> Tables:
    """One row for each of 64 zero-mean Gaussians, integrated over unit bins; tails below 2**-15 are escapes."""
    pmfs, tails = [], []
    for deviation in _deviations():
        cut = math.ceil(4.2 * deviation)
        edges = (np.arange(-cut, cut + 2) - 0.5) / deviation
        masses = np.diff([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
        pmfs.append(masses)
        tails.append(max(1 - float(masses.sum()), 2.0**-20))
    return Tables.from_pmfs(pmfs, [-(len(pmf) // 2) for pmf in pmfs], tails)


def gaussian_message(count: int) -> Message:
    """Draw symbols of all rows in random order."""
    rng = np.random.default_rng(4)
    rows = rng.integers(0, ROWS, count).astype(np.uint8)
    return Message(np.round(rng.normal(size=count) * _deviations()[rows]).astype(np.int16), rows, _deviations())


def _deviations() -> NDArray[np.float64]:
    return np.geomspace(NARROWEST, WIDEST, ROWS)


def _ours(message: Message, tables: Tables) -> dict[str, Pair]:
    """Rarefy's coder on each instruction set; the twin in Python is no peer of these."""
    calls: dict[str, Pair] = {}
    for name in coder.instruction_sets():
        stream = _encode_on(name, message, tables)
        calls[_name_of(name)] = (
            partial(_encode_on, name, message, tables),
            partial(_decode_on, name, stream, message, tables),
        )
    return calls


def _name_of(instruction_set: str) -> str:
    return "rarefy" if instruction_set == coder.instruction_sets()[0] else f"rarefy {instruction_set}"


def _encode_on(name: str, message: Message, tables: Tables) -> bytes:
    with patch.object(coder, "instruction_set", lambda: name):
        return coder.encode(message.symbols, message.rows, tables)


def _decode_on(name: str, stream: bytes, message: Message, tables: Tables) -> NDArray[np.int16]:
    with patch.object(coder, "instruction_set", lambda: name):
        decoder = coder.Decoder(stream, tables)
    symbols = decoder.decode(message.rows)
    decoder.finish()
    return symbols


def _peers(message: Message) -> dict[str, Pair]:
    found = {"compressai": _compressai, "constriction": _constriction}
    return {name: found[name](message) for name in PEERS if find_spec(name) is not None}


def _compressai(message: Message) -> Pair:
    from compressai import ans
    from compressai._CXX import pmf_to_quantized_cdf

    cuts = np.ceil(6.2 * message.deviations).astype(int)  # tails of 1e-9, as its GaussianConditional has them
    cdfs = []
    for deviation, cut in zip(message.deviations, cuts, strict=True):
        edges = (np.arange(-cut, cut + 2) - 0.5) / deviation
        pmf = np.diff([0.5 * math.erfc(-edge / math.sqrt(2)) for edge in edges])
        cdfs.append(list(pmf_to_quantized_cdf([*pmf.tolist(), max(1 - float(pmf.sum()), 1e-9)], 16)))
    sizes, offsets = [len(cdf) for cdf in cdfs], [-int(cut) for cut in cuts]
    symbols, rows = message.symbols.tolist(), message.rows.tolist()
    encoder, decoder = ans.RansEncoder(), ans.RansDecoder()
    stream = encoder.encode_with_indexes(symbols, rows, cdfs, sizes, offsets)
    return (
        lambda: encoder.encode_with_indexes(symbols, rows, cdfs, sizes, offsets),
        lambda: decoder.decode_with_indexes(stream, rows, cdfs, sizes, offsets),
    )


def _constriction(message: Message) -> Pair:
    import constriction

    model, stack = constriction.stream.model, constriction.stream.stack
    widest = int(np.abs(message.symbols).max()) + 1
    family = model.QuantizedGaussian(-widest, widest)
    symbols = message.symbols.astype(np.int32)
    deviations = message.deviations[message.rows]
    means = np.zeros_like(deviations)

    def encode() -> Any:
        peer = stack.AnsCoder()
        peer.encode_reverse(symbols, family, means, deviations)
        return peer.get_compressed()

    stream = encode()
    return encode, lambda: stack.AnsCoder(stream).decode(family, means, deviations)


def _speeds(calls: dict[str, Pair], rounds: int) -> dict[str, dict[str, float]]:
    """Million symbols a second: medians over rounds in which every call has its turn."""
    times: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + 1):
        for name, pair in calls.items():
            for what, call in zip(("encode", "decode"), pair, strict=True):
                seconds = _seconds(call, thread_time)  # of the one thread that works, whatever else runs
                if turn:  # the first one warms up
                    times.setdefault((name, what), []).append(seconds)
    return {
        name: {what: round(SYMBOLS / 1e6 / median(times[name, what]), 2) for what in ("encode", "decode")}
        for name in calls
    }


def _seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    call()
    return clock() - begin


def _ratios(speeds: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """How many times as fast as each peer."""
    ours = speeds.get("rarefy")
    if ours is None:
        return {}
    return {
        peer: {what: round(ours[what] / speeds[peer][what], 2) for what in ("encode", "decode")}
        for peer in PEERS
        if peer in speeds
    }


def _two_threads(message: Message, tables: Tables, rounds: int) -> dict[str, float]:
    """Several sections at once on two threads over the same on one: the fastest of many, as on an idle machine."""
    parts = list(zip(np.array_split(message.symbols, SECTIONS), np.array_split(message.rows, SECTIONS), strict=True))
    streams = coder.encode_many(parts, tables)
    rows = [part[1] for part in parts]

    def decode(threads: int) -> None:
        coder.decode_many([coder.Decoder(stream, tables) for stream in streams], rows, threads)

    calls = {"encode": lambda threads: coder.encode_many(parts, tables, threads=threads), "decode": decode}
    found = {"sections": float(SECTIONS)}
    for what, call in calls.items():
        times: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(THREAD_ROUNDS * rounds):
            for threads, taken in times.items():
                taken.append(_seconds(partial(call, threads), perf_counter))
        found[what] = round(min(times[1]) / min(times[2]), 3)
    return found


def _bytes_over_tables(tables: Tables) -> dict[str, Any]:
    """What a short stream is longer by than its symbols' length under the integers of the tables."""
    message = gaussian_message(SHORT)
    ideal = tables.ideal_bits(message.symbols, message.rows) / 8
    sizes = {lanes: len(coder.encode(message.symbols, message.rows, tables, lanes)) for lanes in rans.LANES}
    return {
        "symbols": SHORT,
        "ideal_bytes": round(ideal, 1),
        "by_lanes": {lanes: round(size - ideal, 1) for lanes, size in sizes.items()},
        "percent_beyond_4_bytes_per_lane": round(
            100 * max((size - 4 * lanes - ideal) / ideal for lanes, size in sizes.items()), 4
        ),
    }


def table(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    lines = [
        f"{result['symbols']} symbols over {result['tables']} Gaussian tables, one thread, "
        f"medians of {result['rounds']} rounds in turns; million symbols a second of processor time\n",
        f"  {'':16}{'encode':>10}{'decode':>10}\n",
    ]
    for name, speed in result["million_symbols_per_second"].items():
        lines.append(f"  {name:16}{speed['encode']:10.1f}{speed['decode']:10.1f}\n")
    for name, ratio in result["ratios"].items():
        lines.append(f"  rarefy over {name}: encode {ratio['encode']:.1f} x, decode {ratio['decode']:.1f} x\n")
    lines += [f"  {name} is not installed\n" for name in result["missing"]]
    lines += [f"  timed for {name}: {how}\n" for name, how in result["timed"].items()]
    threads, rate = result["two_threads"], result["bytes_over_tables"]
    lines.append(f"  two threads over one: encode {threads['encode']:.2f} x, decode {threads['decode']:.2f} x\n")
    lines.append(
        f"  {rate['symbols']} symbols, bytes over {rate['ideal_bytes']:.0f} by the tables: "
        + ", ".join(f"{lanes} lanes {over:+.0f}" for lanes, over in rate["by_lanes"].items())
        + "\n"
    )
    if "real_latents" in result:
        from rarefy.tools.bench_coder_rate import lines as lines_of

        lines += lines_of(result["real_latents"])
    return "".join(lines)
