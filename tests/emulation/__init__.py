"""The GPU's kernels on the CPU: built with the system's compiler, launched as a driver would launch them."""

import ctypes
import shutil
import subprocess
from ctypes import Structure, addressof
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMPILER = shutil.which("g++") or shutil.which("clang++")
# Fibres leave their stacks by longjmp, which fortified libraries forbid; undefined behaviour ends the process.
FLAGS = (
    *("-std=c++17", "-O2", "-fPIC", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-Wall", "-Wextra", "-Werror"),
    *("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
)


class Emulation:
    """Stands in for `rarefy.kernels.cuda.driver.Device`.

    shared_bytes: what a block may have; little of it makes kernels leave tables in global memory.
    """

    def __init__(self, library: ctypes.CDLL, shared_bytes: int = 232_448, multiprocessors: int = 2) -> None:
        self.multiprocessors, self.shared_bytes = multiprocessors, shared_bytes
        self.launched: list[tuple[str, int, int]] = []
        self._library = library

    def launch(
        self, name: str, arguments: Structure, blocks: int, threads: int, shared_bytes: int, stream: int = 0
    ) -> None:
        """Run a kernel to its end; raises RuntimeError for what a GPU would leave undefined."""
        assert shared_bytes <= self.shared_bytes
        self.launched.append((name, blocks, threads))
        sizes = (ctypes.c_uint32(number) for number in (blocks, threads, shared_bytes))
        if self._library.launch(name.encode(), ctypes.c_void_p(addressof(arguments)), *sizes):
            raise RuntimeError(f"{name}: {self._library.last_fault().decode()}")

    def blocks_together(self, name: str, threads: int, shared_bytes: int) -> int:
        return 2


@cache
def library(folder: Path) -> ctypes.CDLL:
    """Build the kernels with the emulation into a folder, and load them."""
    assert COMPILER is not None
    target = folder / "emulation.so"
    subprocess.run([COMPILER, *FLAGS, "-shared", FOLDER / "emulate.cpp", "-o", target], check=True)
    loaded = ctypes.CDLL(str(target))
    loaded.last_fault.restype = ctypes.c_char_p
    return loaded
