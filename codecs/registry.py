"""The codecs by name. Names and facts need no torch; the classes are imported when a codec is built."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rarefy.errors import OptionError

if TYPE_CHECKING:
    from rarefy.codecs.base import Codec


@dataclass(frozen=True)
class CodecEntry:
    """What is known of a codec before it is loaded; `home` is "module:class"."""

    name: str
    media: str
    summary: str
    home: str


_CODECS = {
    "image": CodecEntry(
        "image", "image", "photographs at any quality, fast on plain CPUs", "rarefy.codecs.image:ImageCodec"
    ),
}


def codecs() -> dict[str, CodecEntry]:
    """Every registered codec by name."""
    return dict(_CODECS)


def find(name: str) -> CodecEntry:
    """The entry of a codec; raises OptionError for a name that is not registered."""
    if name not in _CODECS:
        raise OptionError(f"no codec is named {name!r}; there are: {', '.join(_CODECS)}")
    return _CODECS[name]


def build(name: str, model: dict[str, Any]) -> "Codec":
    """A codec with random weights; `model` holds the fields of its config."""
    module, cls = find(name).home.split(":")
    codec = getattr(import_module(module), cls)
    try:
        return codec(codec.Config(**model))
    except TypeError as error:
        raise OptionError(f"codec {name!r}: wrong model settings: {error}") from error
