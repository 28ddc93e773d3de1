"""`rarefy bench exactness`: does a file decode the same, whoever wrote it and whoever reads it?

Encoders and decoders are varied in everything that changes the order or precision of sums: threads, batches,
compilation, autocast, precision of the transforms, instruction sets. Settings in which every two values meet at least
twice are taken for both, and every decoder reads what every encoder wrote. Instruction sets are limited in processes
of their own.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import rarefy
from rarefy.codecs.base import Codec, Unit
from rarefy.entropy import coding
from rarefy.entropy.hyperprior import Hyperprior
from rarefy.errors import RarefyError, WeightsError
from rarefy.tools import environment

STEP_BOUND, RELATIVE_BOUND = 1e-3, 2e-6  # of latents: docs/ARCHITECTURE.md, "Exact probabilities"
# Of pictures rounded to levels of 0..255, against float32 in one thread: the largest difference, and the RMSE.
LEVELS_BOUND = {"float32": 1, "bfloat16": 4}
RMSE_BOUND = {"float32": 0.05, "bfloat16": 0.3}
PHOTOGRAPH, CHECKERBOARD = "photograph", "checkerboard"
HEIGHT, WIDTH = 128, 192
QUALITIES = (12800, 25600)
ITEMS = 8
# No library of the three knows anything below SSE4.1 on x86-64, or calls all of it by one name.
PROCESSORS: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "sse4": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ATEN_CPU_CAPABILITY": "default"},
}


@dataclass(frozen=True)
class Setting:
    """How one side computes; autocast and compilation are those of the caller around it."""

    threads: int = 1
    precision: str = "float32"
    batch: int = 1
    is_compiled: bool = False
    is_autocast: bool = False
    processor: str = "native"


VALUES: dict[str, tuple[Any, ...]] = {
    "threads": (1, 2),
    "precision": ("float32", "bfloat16"),
    "batch": (1, ITEMS),
    "is_compiled": (False, True),
    "is_autocast": (False, True),
    "processor": tuple(PROCESSORS) if platform.machine() in ("x86_64", "AMD64") else ("native",),
}


def covering_settings(times: int = 2) -> list[Setting]:
    """Settings in which every two values of two properties meet `times` times at least; greedy, the same every time."""
    candidates = [Setting(**dict(zip(VALUES, values, strict=True))) for values in product(*VALUES.values())]
    wanted = Counter({pair: times for candidate in candidates for pair in _pairs(candidate)})
    chosen: list[Setting] = []
    while +wanted:
        left = [candidate for candidate in candidates if candidate not in chosen]
        best = max(left, key=lambda candidate: sum(wanted[pair] > 0 for pair in _pairs(candidate)))
        wanted.subtract(_pairs(best))
        chosen.append(best)
    return chosen


def _pairs(setting: Setting) -> list[Any]:
    return list(combinations(((field.name, getattr(setting, field.name)) for field in fields(setting)), 2))


def measure(command: Sequence[str], settings: Sequence[Setting] | None = None) -> dict[str, Any]:
    """Let every setting encode, and every setting decode all of it; gives one row per pair and file.

    Raises WeightsError where a process of the matrix fails.
    """
    settings = covering_settings() if settings is None else settings
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.json").write_text(json.dumps([asdict(setting) for setting in settings]))
        for role in ("encode", "decode"):
            for processor in dict.fromkeys(setting.processor for setting in settings):
                _run(role, processor, folder)
        rows = [row for i in range(len(settings)) for row in json.loads((folder / f"{i}.json").read_text())]
    return {
        **environment.describe(command, max(setting.threads for setting in settings)),
        "weights": rarefy.load("image").weights_hash.hex(),
        "pictures": sorted(pictures()),
        "size": [WIDTH, HEIGHT],
        "qualities": [quality / 256 for quality in QUALITIES],
        "bounds": {"step": STEP_BOUND, "relative": RELATIVE_BOUND, "levels": LEVELS_BOUND, "rmse": RMSE_BOUND},
        "settings": [asdict(setting) for setting in settings],
        "rows": rows,
        "failures": sum(not row["is_within_bounds"] for row in rows),
    }


def table(result: dict[str, Any]) -> str:
    """Return the worst of each decoder as lines of text."""
    lines = [f"{'':64}{PHOTOGRAPH:>16}{CHECKERBOARD:>16}"]
    lines.append(
        f"{'decoder (threads first)':46}{'symbols':>9}{'latents':>9}{'levels':>8}{'RMSE':>8}{'levels':>8}{'RMSE':>8}"
    )
    for number, setting in enumerate(result["settings"]):
        rows = [row for row in result["rows"] if row["decoder"] == number]
        symbols = "equal" if all(row["are_symbols_equal"] for row in rows) else "DIFFER"
        latents = max(row["latents_of_bound"] for row in rows)
        line = f"{_words(setting):46}{symbols:>9}{latents:>9.1%}"
        for picture in (PHOTOGRAPH, CHECKERBOARD):
            levels, rmse = (max(r[key] for r in rows if r["picture"] == picture) for key in ("levels", "rmse"))
            line += f"{levels:>8}{rmse:>8.3f}"
        lines.append(line)
    count = len(result["settings"])
    lines.append(f"{count} encoders x {count} decoders; latents: largest difference, of its bound")
    if strange := {f"{r['picture']} at {r['quality']:g}" for r in result["rows"] if not r["is_finite"]}:
        lines.append(f"not finite, in one window at least: {', '.join(sorted(strange))}")
    lines.append(f"{result['failures']} of {len(result['rows'])} comparisons are beyond a bound")
    return "\n".join(lines) + "\n"


def _words(setting: dict[str, Any]) -> str:
    marks = [f"{setting['threads']}", setting["precision"], f"batch {setting['batch']}", setting["processor"]]
    return " ".join(marks + [name for name in ("compiled", "autocast") if setting[f"is_{name}"]])


def _run(role: str, processor: str, folder: Path) -> None:
    """Do the part of one instruction set in a process that is limited to it."""
    command = [sys.executable, "-P", "-m", "rarefy.tools.exactness", role, processor, str(folder)]
    # Inductor (torch 2.11) runs cached code on whatever it was compiled for: every instruction set has its own cache.
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(folder / f"compiled-{processor}")}
    done = subprocess.run(command, env={**os.environ, **PROCESSORS[processor], **cache}, capture_output=True, text=True)
    if done.returncode:
        what = f"the process that should {role} on {processor} ended with {done.returncode}"
        raise WeightsError(f"exactness: {what}: {done.stderr[-2000:]}")


def pictures() -> dict[str, Tensor]:
    """Eight windows of a photograph and of a black-and-white checkerboard, float32 [8, 3, HEIGHT, WIDTH] in 0..1."""
    from skimage import data

    photograph = torch.from_numpy(data.chelsea()).permute(2, 0, 1).float() / 255
    windows = [photograph[:, 8 * i : 8 * i + HEIGHT, 16 * i : 16 * i + WIDTH] for i in range(ITEMS)]
    board = ((torch.arange(HEIGHT)[:, None] + torch.arange(WIDTH)) % 2).float().expand(3, -1, -1)
    coarser = [F.interpolate(board[None], scale_factor=1 + i, mode="nearest")[0, :, :HEIGHT, :WIDTH] for i in range(8)]
    return {PHOTOGRAPH: torch.stack(windows), CHECKERBOARD: torch.stack(coarser)}


@cache
def _codec(is_compiled: bool) -> Codec:
    codec = rarefy.load("image")
    bottleneck = codec.bottleneck
    assert isinstance(bottleneck, Hyperprior)
    if is_compiled:
        for module, method in (
            (codec, "analysis"),
            (codec, "synthesis"),
            (bottleneck.h_a, "forward"),
            (bottleneck.scales, "features"),
            (bottleneck.means, "hidden"),
            (bottleneck.exact_network(), "features"),
        ):
            setattr(module, method, torch.compile(getattr(module, method), dynamic=True))
    return codec


@contextmanager
def _applied(setting: Setting) -> Iterator[Codec]:
    """The codec, in torch as the setting has it."""
    torch.set_num_threads(setting.threads)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=setting.is_autocast):
        yield _codec(setting.is_compiled)


def _transforms(setting: Setting) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bfloat16")


def encode(setting: Setting, x: Tensor, quality: int) -> dict[str, Any]:
    """What one encoder wrote of pictures [B, 3, H, W], with its symbols and latents, [B, …], channels last."""
    with _applied(setting) as codec:
        with _transforms(setting):
            y = codec.analysis(x.contiguous(memory_format=torch.channels_last), Unit(quality, HEIGHT, WIDTH))
        walk, units = coding.encode(codec.bottleneck, y, quality)  # type: ignore[arg-type]
    streams = [torch.frombuffer(bytearray(unit.stream), dtype=torch.uint8) for unit in units]
    checksums = [unit.checksum for unit in units]
    return {"streams": streams, "checksums": checksums, "z": walk.z, "symbols": walk.symbols, "y_hat": walk.y_hat}


def decode(setting: Setting, units: list[coding.Coded], quality: int) -> tuple[coding.Walk, Tensor]:
    """What one decoder makes of a batch: symbols and latents, and pictures float32 [B, 3, H, W] in 0..255."""
    with _applied(setting) as codec:
        bottleneck = codec.bottleneck
        assert isinstance(bottleneck, Hyperprior)
        walk = coding.decode(bottleneck, units, (HEIGHT // codec.stride, WIDTH // codec.stride), quality)
        with torch.autocast("cpu", enabled=False):
            back = bottleneck.gains(torch.tensor([quality / 25600]))[1]
            y_hat = walk.y_hat.permute(0, 3, 1, 2) * back
        with _transforms(setting):
            x_hat = codec.synthesis(y_hat, Unit(quality, HEIGHT, WIDTH))
    return walk, (x_hat * 255).clamp(0, 255)


def compare(setting: Setting, written: dict[str, Any], reference: Tensor) -> dict[str, Any]:
    """How far a decoder is from what an encoder wrote, in batches of the setting; reference: pictures in 0..255."""
    coded = _coded(written)
    worst = {"are_symbols_equal": True, "is_finite": True, "latents_of_bound": 0.0, "levels": 0, "rmse": 0.0}
    for which in _batches(len(coded), setting.batch):
        try:
            walk, found = decode(setting, [coded[i] for i in which], written["quality"])
        except RarefyError as error:
            return {**worst, "are_symbols_equal": False, "error": str(error)}
        same = torch.equal(walk.z, written["z"][which]) and torch.equal(walk.symbols, written["symbols"][which])
        expected = written["y_hat"][which]
        allowed = STEP_BOUND + RELATIVE_BOUND * expected.abs()
        is_finite = bool(torch.isfinite(found).all()) and bool(torch.isfinite(reference[which]).all())
        found, wanted = found.nan_to_num(0.0), reference[which].nan_to_num(0.0)
        levels = (found + 0.5).floor() - (wanted + 0.5).floor()
        here = {
            "latents_of_bound": float(((walk.y_hat - expected).abs() / allowed).max()),
            "levels": int(levels.abs().max()),
            "rmse": float(levels.square().mean((1, 2, 3)).sqrt().max()),
        }
        worst = {
            "are_symbols_equal": worst["are_symbols_equal"] and same,
            "is_finite": worst["is_finite"] and is_finite,
            **{key: max(worst[key], here[key]) for key in here},
        }
    return worst


def _batches(count: int, size: int) -> list[list[int]]:
    """Numbers of files in batches of a size; few files fill a batch more than once."""
    order = [i % count for i in range(max(count, size))]
    return [order[start : start + size] for start in range(0, len(order), size)]


def _coded(written: dict[str, Any]) -> list[coding.Coded]:
    pairs = zip(written["streams"], written["checksums"], strict=True)
    return [coding.Coded(stream.numpy().tobytes(), checksum) for stream, checksum in pairs]


def is_within_bounds(found: dict[str, Any], precision: str) -> bool:
    """Whether a comparison keeps all promises of a decoder of this precision."""
    if not found["are_symbols_equal"] or found["latents_of_bound"] > 1:
        return False
    if not found["is_finite"]:
        return False
    return bool(found["levels"] <= LEVELS_BOUND[precision] and found["rmse"] <= RMSE_BOUND[precision])


def _encode_all(settings: list[Setting], processor: str, folder: Path) -> None:
    for number, setting in enumerate(settings):
        if setting.processor == processor:
            files = [_encoded(setting, name, x, q) for name, x in pictures().items() for q in QUALITIES]
            torch.save(files, folder / f"{number}.pt")


def _encoded(setting: Setting, picture: str, x: Tensor, quality: int) -> dict[str, Any]:
    """One encoder's files of one picture; alone, the encoder takes two of the eight windows."""
    batches = [x] if setting.batch > 1 else [x[:1], x[1:2]]
    parts = [encode(setting, batch, quality) for batch in batches]
    joined = {key: torch.cat([part[key] for part in parts]) for key in ("z", "symbols", "y_hat")}
    lists = {key: [one for part in parts for one in part[key]] for key in ("streams", "checksums")}
    return {**joined, **lists, "picture": picture, "quality": quality}


def _decode_all(settings: list[Setting], processor: str, folder: Path) -> None:
    decoders = {number: s for number, s in enumerate(settings) if s.processor == processor}
    rows: dict[int, list[dict[str, Any]]] = {number: [] for number in decoders}
    for encoder in range(len(settings)):
        for written in torch.load(folder / f"{encoder}.pt", weights_only=True):
            facts = {"encoder": encoder, "picture": written["picture"], "quality": written["quality"] / 256}
            reference = torch.cat([decode(Setting(), [one], written["quality"])[1] for one in _coded(written)])
            for number, setting in decoders.items():
                found = compare(setting, written, reference)
                is_kept = is_within_bounds(found, setting.precision)
                found.update({key: round(found[key], 5) for key in ("latents_of_bound", "rmse")})
                rows[number].append({"decoder": number, **facts, **found, "is_within_bounds": is_kept})
    for number, row in rows.items():
        (folder / f"{number}.json").write_text(json.dumps(row))


if __name__ == "__main__":
    _role, _processor, _folder = sys.argv[1:]
    _settings = [Setting(**values) for values in json.loads(Path(_folder, "settings.json").read_text())]
    {"encode": _encode_all, "decode": _decode_all}[_role](_settings, _processor, Path(_folder))
