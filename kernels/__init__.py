"""Compiled kernels, and which of them may be used.

`_rans` is the entropy coder, `_lattice` that of lattices, `_packets` wavelet packets, `_tokens` the coder of token
streams, `_int8` the layers of the integer network for several instruction sets, `_latents` what is between means and
symbols. All are optional: where they were not built, or where
`RAREFY_KERNEL=python` is in the environment, Python and torch do the same work, slower. Any other `RAREFY_KERNEL` names
one of `INSTRUCTION_SETS`.
"""

import os
import platform
from functools import cache
from importlib.util import find_spec

from rarefy.errors import OptionError

# The best first; what builds know, not what this machine has.
INSTRUCTION_SETS = ("avx512", "avx2", "dotprod", "neon", "plain")
KERNELS = ("python", *reversed(INSTRUCTION_SETS))  # what RAREFY_KERNEL may ask for

_IS_BUILT = all(find_spec(f"rarefy.kernels.{name}") for name in ("_rans", "_lattice", "_packets"))
_HAS_LAYERS = find_spec("rarefy.kernels._int8") is not None


def available() -> bool:
    """Tell whether the compiled coder is there and the environment does not ask for the Python twin.

    Raises OptionError for a `RAREFY_KERNEL` that is unknown, or that asks for what was not built.
    """
    wanted = _wanted()
    if wanted not in ("", "python") and not _IS_BUILT:
        raise OptionError(f"RAREFY_KERNEL is {wanted!r}, but no compiled coder was built at installation")
    return _IS_BUILT and wanted != "python"


def instruction_set() -> str | None:
    """Name the instruction set for the integer network's layers; None if torch is to run them.

    Beyond x86-64 nobody has measured `plain` against torch: there it runs only where it is asked for.
    Raises OptionError for a `RAREFY_KERNEL` that is unknown, or that asks for what this build or processor lacks.
    """
    wanted = _wanted()
    if wanted == "python":
        return None
    found = instruction_sets()
    if not wanted:
        is_measured = platform.machine().lower() in ("x86_64", "amd64")
        return found[0] if found and (is_measured or found[0] != "plain") else None
    if wanted not in found:
        raise OptionError(f"RAREFY_KERNEL is {wanted!r}; here are {', '.join((*found, 'python'))}")
    return wanted


@cache
def instruction_sets() -> tuple[str, ...]:
    """List those of this build that this processor has, the best first; none where no extension was built."""
    if not _HAS_LAYERS:
        return ()
    from rarefy.kernels import _int8

    return tuple(_int8.instruction_sets())


def _wanted() -> str:
    wanted = os.environ.get("RAREFY_KERNEL", "")
    if wanted and wanted not in KERNELS:
        raise OptionError(f"RAREFY_KERNEL is {wanted!r}; it may be {', '.join(KERNELS)}")
    return wanted
