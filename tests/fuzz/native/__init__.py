"""The C++ coder under a fuzzer: `target.cpp` with libFuzzer, `replay.cpp` over the inputs that were kept.

`corpus.bin` holds these inputs, each behind its length in two bytes. Nothing here needs the package to be built.
"""

import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
KERNELS = FOLDER.parents[2] / "kernels"
CORPUS = FOLDER / "corpus.bin"
LONGEST = 600  # bytes of an input

# Loops for one instruction set each, with their flags in the package's build.
_AVX512 = ("f", "bw", "vl", "dq", "cd", "vbmi2")
LOOPS = (
    {"rans_avx512.cpp": (*(f"-mavx512{part}" for part in _AVX512), "-mbmi", "-mbmi2", "-mpopcnt")}
    if platform.machine().lower() in ("x86_64", "amd64")
    else {}
)

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Comparisons are not traced: no magic numbers are to be found, and it takes half of the time.
FUZZER = (
    "-fsanitize=fuzzer",
    "-fno-sanitize-coverage=trace-cmp",
    f"-fsanitize-coverage-ignorelist={FOLDER / 'uncounted.txt'}",
)
# Short stacks and little memory kept from reuse: twice as many inputs a second.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": "malloc_context_size=1:quarantine_size_mb=16"}


def build(compiler: str, program: Path, *flags: str, folder: Path = FOLDER) -> Path:
    """Compile the target with libFuzzer's `main` if the flags say so, else with ours; gives the program.

    Raises CalledProcessError where the compiler fails.
    """
    common = [compiler, "-std=c++17", "-Wall", "-Wextra", "-I", KERNELS, "-I", folder]
    objects = []
    for name, own_flags in LOOPS.items():
        objects.append(program.with_name(f"{Path(name).stem}.o"))
        without_main = [flag.replace("=fuzzer", "=fuzzer-no-link") for flag in flags]
        subprocess.run([*common, *without_main, *own_flags, "-c", KERNELS / name, "-o", objects[-1]], check=True)
    sources = [folder / "target.cpp", *([] if FUZZER[0] in flags else [folder / "replay.cpp"])]
    defined = ["-DRAREFY_X86"] if LOOPS else []
    subprocess.run([*common, *flags, *defined, *sources, *objects, "-o", program], check=True)
    return program


def pack(inputs: Iterable[bytes]) -> bytes:
    """Put inputs into one file, the shortest first."""
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    return b"".join(len(data).to_bytes(2, "little") + data for data in ordered)


def unpack(packed: bytes) -> Iterator[bytes]:
    """Give the inputs of a packed file."""
    while packed:
        end = 2 + int.from_bytes(packed[:2], "little")
        yield packed[2:end]
        packed = packed[end:]


def outcomes(printed: str) -> dict[str, Counter[str]]:
    """How often each target ended in which status, from what the target printed as it ended."""
    names = statuses()
    counts: dict[str, Counter[str]] = {}
    for target, status, count in re.findall(r"^outcome (\S+) (\d+) (\d+)$", printed, re.MULTILINE):
        counts.setdefault(target, Counter())[names[int(status)]] += int(count)
    return counts


def statuses() -> dict[int, str]:
    """The names of the coder's statuses by their numbers."""
    listed = re.search(r"enum class Status : int \{(.*?)\}", (KERNELS / "rans.h").read_text(), re.DOTALL)
    assert listed is not None
    return {int(number): name for name, number in re.findall(r"(\w+) = (\d+)", listed[1])}
