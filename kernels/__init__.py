"""Compiled kernels, and whether they may be used.

The extension `_rans` is optional: where it was not built, or where `RAREFY_KERNEL=python` is in the environment, the
Python twin in `rarefy.entropy.rans` does the same work, slower.
"""

import os

try:
    from rarefy.kernels import _rans
except ImportError:  # no compiler at installation
    _rans = None


def available() -> bool:
    """Tell whether the compiled entropy coder is there and the environment does not ask for the Python twin."""
    return _rans is not None and os.environ.get("RAREFY_KERNEL", "") != "python"
