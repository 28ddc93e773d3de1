"""rarefy: learned neural codecs for pictures and sound; video and 3D are planned.

`encode` and `decode` turn media into bytes and back, `open` reads a file on demand, `load` gives a codec as a torch
module, `verify` proves a file. Nothing here imports torch before it is needed.
"""

from typing import TYPE_CHECKING, Any

from rarefy.errors import (
    ChecksumError,
    FormatError,
    LimitError,
    MediaError,
    OptionError,
    RarefyError,
    RarefyWarning,
    TruncatedError,
    UnsupportedError,
    WeightsError,
)

if TYPE_CHECKING:
    from rarefy.codecs.api import Reader, decode, decode_tensors, encode, load, open, verify
    from rarefy.codecs.audio import Audio
    from rarefy.codecs.limits import Limits
    from rarefy.codecs.media import Image

__version__ = "0.1.0"

__all__ = [
    "Audio",
    "ChecksumError",
    "FormatError",
    "Image",
    "LimitError",
    "Limits",
    "MediaError",
    "OptionError",
    "RarefyError",
    "RarefyWarning",
    "Reader",
    "TruncatedError",
    "UnsupportedError",
    "WeightsError",
    "__version__",
    "decode",
    "decode_tensors",
    "encode",
    "load",
    "open",
    "verify",
]

_HOMES = {
    "encode": "rarefy.codecs.api",
    "decode": "rarefy.codecs.api",
    "decode_tensors": "rarefy.codecs.api",
    "open": "rarefy.codecs.api",
    "load": "rarefy.codecs.api",
    "verify": "rarefy.codecs.api",
    "Reader": "rarefy.codecs.api",
    "Audio": "rarefy.codecs.audio",
    "Image": "rarefy.codecs.media",
    "Limits": "rarefy.codecs.limits",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import rarefy` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'rarefy' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
