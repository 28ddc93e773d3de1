"""How much memory a call needs, from the kernel's own high-water mark: all libraries and threads count."""

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path

STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_MARK = "5"  # proc(5): sets the high-water mark back to what is resident now


def peak_bytes(call: Callable[[], object]) -> int | None:
    """Return by how many bytes resident memory grew at the peak of a call; None where Linux does not say.

    What the allocator kept from earlier calls is given back first, so that it counts; the call is slower for it, and
    no time should be taken.
    """
    _give_back()
    try:
        MARK.write_text(RESET_MARK)
    except OSError:  # another system, or not allowed: the column stays empty
        return None
    before = _resident("VmRSS")
    call()
    return max(0, _resident("VmHWM") - before)


def _give_back() -> None:
    """Return free memory to the system, where the C library can (glibc)."""
    if sys.platform != "win32":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
