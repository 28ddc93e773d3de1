"""Kernel sources to machine code with NVRTC, which needs neither a GPU nor a driver; the result is kept on disk.

Kept files are found by a hash of the sources, the options and NVRTC's version. They hold a hash of their own contents
and are made anew where that does not fit.
"""

import os
import sys
import tempfile
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from rarefy.errors import UnsupportedError

FOLDER = Path(__file__).resolve().parent
OPTIONS = ("--std=c++17", "--device-as-default-execution-space", "--ptxas-options=-v", "--ptxas-options=-warn-spills")
# By the names that the sources include them under.
HEADERS = {
    "cstdint": FOLDER / "fixed_width.cuh",
    "cstddef": FOLDER / "fixed_width.cuh",
    "../rans.h": FOLDER.parent / "rans.h",
    **{name: FOLDER / name for name in ("arguments.cuh", "warp.cuh", "decode.cuh", "encode.cuh")},
}
MAIN = FOLDER / "coder.cuh"


class Compiled(NamedTuple):
    """Machine code, and what the compiler said: registers and shared memory of each kernel, warnings."""

    cubin: bytes
    log: str


def compile_kernels(architecture: str) -> Compiled:
    """Compile the kernels for an architecture such as `sm_90`.

    Raises UnsupportedError where NVRTC is missing or refuses.
    """
    nvrtc = _nvrtc()
    names = [name.encode() for name in HEADERS]
    texts = [path.read_bytes() for path in HEADERS.values()]
    program = _result(
        nvrtc, nvrtc.nvrtcCreateProgram(MAIN.read_bytes(), MAIN.name.encode(), len(names), texts, names), "take sources"
    )
    try:
        options = [option.encode() for option in _options(architecture)]
        (code,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        log = _text(nvrtc, program)
        if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise UnsupportedError(f"the GPU coder does not compile for {architecture}: {log.strip() or code.name}")
        cubin = bytearray(_result(nvrtc, nvrtc.nvrtcGetCUBINSize(program), "measure code"))
        _result(nvrtc, nvrtc.nvrtcGetCUBIN(program, cubin), "give code")
        return Compiled(bytes(cubin), log)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def kernels_for(capability: tuple[int, int]) -> bytes:
    """Give the machine code for a GPU of a compute capability, compiled or as it was kept; raises UnsupportedError."""
    architecture = architecture_for(capability)
    try:
        path = cache_folder() / f"{_key(architecture)}.cubin"
    except RuntimeError:  # a user without a home folder keeps nothing
        return compile_kernels(architecture).cubin
    kept = _read(path)
    if kept is None:
        kept = compile_kernels(architecture).cubin
        _keep(path, kept)
    return kept


def architecture_for(capability: tuple[int, int]) -> str:
    """Choose the newest architecture that NVRTC knows whose code runs on a GPU: the same major, no larger minor."""
    nvrtc = _nvrtc()
    known = _result(nvrtc, nvrtc.nvrtcGetSupportedArchs(), "list architectures")
    major, minor = capability
    fitting = [number for number in known if number // 10 == major and number % 10 <= minor]
    if not fitting:
        raise UnsupportedError(f"this NVRTC makes no code for GPUs of compute capability {major}.{minor}")
    return f"sm_{max(fitting)}"


def cache_folder() -> Path:
    """Give the user's folder for compiled kernels; it need not exist."""
    if sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
    elif sys.platform == "darwin":
        root = Path.home() / "Library/Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "rarefy" / "kernels"


def _options(architecture: str) -> tuple[str, ...]:
    return (f"--gpu-architecture={architecture}", *OPTIONS)


def _key(architecture: str) -> str:
    nvrtc = _nvrtc()
    _, major, minor = nvrtc.nvrtcVersion()
    digest = sha256(repr((major, minor, _options(architecture))).encode())
    for name, path in {**HEADERS, MAIN.name: MAIN}.items():
        digest.update(sha256(name.encode()).digest() + sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:  # not there, or not for us: it is compiled again
        return None
    digest, cubin = content[:32], content[32:]
    return cubin if sha256(cubin).digest() == digest else None


def _keep(path: Path, cubin: bytes) -> None:
    unfinished = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            unfinished = Path(file.name)
            file.write(sha256(cubin).digest() + cubin)
        os.replace(unfinished, path)
    except OSError:  # a home without room or right to write: the next process compiles again
        if unfinished is not None:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ImportError as error:
        raise UnsupportedError("the GPU coder needs the package cuda-bindings: pip install 'rarefy[cuda]'") from error
    try:
        nvrtc.nvrtcVersion()
    except (RuntimeError, OSError) as error:
        raise UnsupportedError(f"the GPU coder needs NVRTC, which does not load: {error}") from error
    return nvrtc


def _result(nvrtc: Any, answer: tuple[Any, ...], what: str) -> Any:
    """Give what a call returned behind its code; raises UnsupportedError if it failed."""
    code, *values = answer
    if code != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise UnsupportedError(f"NVRTC failed to {what}: {code.name}")
    return values[0] if len(values) == 1 else values


def _text(nvrtc: Any, program: Any) -> str:
    log = bytearray(_result(nvrtc, nvrtc.nvrtcGetProgramLogSize(program), "measure its log"))
    _result(nvrtc, nvrtc.nvrtcGetProgramLog(program, log), "give its log")
    return log.rstrip(b"\0").decode(errors="replace")
