"""How much memory a call needs, from the kernel's own high-water mark: all libraries and threads count."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
STATUS, MARK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_MARK = "5"  # proc(5): sets the high-water mark back to what is resident now


def with_peak(call: Callable[[], Result]) -> tuple[Result, int | None]:
    """Return what a call gives and the bytes by which resident memory grew at its peak; None where Linux does not say.

    Memory that libraries kept from earlier calls is not counted: it is a lower bound in a warm process.
    """
    before = _reset()
    result = call()
    return result, None if before is None else max(0, _resident("VmHWM") - before)


def _reset() -> int | None:
    try:
        MARK.write_text(RESET_MARK)
    except OSError:  # another system, or not allowed: the column stays empty
        return None
    return _resident("VmRSS")


def _resident(field: str) -> int:
    lines = STATUS.read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
