"""Compiled kernels, and whether they may be used.

The extension `_rans` is optional: where it was not built, or where `RAREFY_KERNEL=python` is in the environment, the
Python twin in `rarefy.entropy.rans` does the same work, slower.
"""

import os
from importlib.util import find_spec

from rarefy.errors import OptionError

KERNELS = ("python", "generic")  # what RAREFY_KERNEL may ask for


_IS_BUILT = find_spec("rarefy.kernels._rans") is not None


def available() -> bool:
    """Tell whether the compiled coder is there and the environment does not ask for the Python twin.

    Raises OptionError for a `RAREFY_KERNEL` that is unknown, or that asks for what was not built.
    """
    wanted = os.environ.get("RAREFY_KERNEL", "")
    if wanted and wanted not in KERNELS:
        raise OptionError(f"RAREFY_KERNEL is {wanted!r}; it may be {' or '.join(KERNELS)}")
    if wanted == "generic" and not _IS_BUILT:
        raise OptionError("RAREFY_KERNEL asks for the compiled coder, which was not built at installation")
    return _IS_BUILT and wanted != "python"
