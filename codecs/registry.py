"""The codecs by name: rarefy's own, and those of other packages. Names and facts need no torch.

A package offers a codec by an entry point of the group `rarefy.codecs`: its name is the codec's, its value names a
`CodecEntry`. The package is imported when its codec is asked for, the codec's class when one is built. A package that
is broken, or takes a name that is taken, costs its own codec and a sentence in `problems`, nothing else.
"""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rarefy.codecs.fields import is_name
from rarefy.codecs.header import CODEC_NUMBERS, MEDIA
from rarefy.errors import OptionError, UnsupportedError

if TYPE_CHECKING:
    from rarefy.codecs.any_codec import AnyCodec

GROUP = "rarefy.codecs"


@dataclass(frozen=True)
class CodecEntry:
    """What is known of a codec before it is loaded; `home` is "module:class".

    weights: the folder of its weights files; None means rarefy's own folder.
    """

    name: str
    media: str
    summary: str
    home: str
    weights: Path | None = None


_CODECS = {
    "image": CodecEntry(
        "image", "image", "photographs at any quality, fast on plain CPUs", "rarefy.codecs.image:ImageCodec"
    ),
    "walloc-image": CodecEntry(
        "walloc-image",
        "image",
        "a linear encoder, and integer latents to learn from",
        "rarefy.codecs.walloc:WallocImageCodec",
    ),
    "walloc-audio": CodecEntry(
        "walloc-audio",
        "sound",
        "stereo at 44.1 kHz, mono at 24 kHz, integer latents to learn from",
        "rarefy.codecs.walloc_audio:WallocAudioCodec",
    ),
    "walloc-rgb": CodecEntry(
        "walloc-rgb",
        "image",
        "WaLLoC with its authors' weights, at one quality",
        "rarefy.codecs.walloc_authors:WallocRgbCodec",
    ),
}


def codecs() -> dict[str, CodecEntry]:
    """Every codec that can be used, by name: rarefy's own, then those of other packages."""
    return _CODECS | {name: offer for name, offer in _offers().items() if isinstance(offer, CodecEntry)}


def problems() -> list[str]:
    """One sentence for each codec of another package that cannot be used."""
    return [str(offer) for offer in _offers().values() if isinstance(offer, UnsupportedError)]


def find(name: str) -> CodecEntry:
    """The entry of a codec.

    Raises OptionError for a name that is not registered, UnsupportedError where the package that offers it is broken.
    """
    if name in _CODECS:
        return _CODECS[name]
    if name not in _entry_points():
        raise OptionError(f"no codec is named {name!r}; there are: {', '.join(codecs())}")
    offer = _offer(name)
    if isinstance(offer, UnsupportedError):
        raise offer
    return offer


def is_own(name: str) -> bool:
    """Whether a codec is one of rarefy's."""
    return name in _CODECS


def find_for_file(name: str) -> CodecEntry:
    """The entry of the codec that a file names; raises UnsupportedError where it is not here."""
    try:
        return find(name)
    except OptionError as error:
        raise UnsupportedError(
            f'the file was made by codec "{name}", which is not here: install its package or a newer rarefy'
        ) from error


def build(name: str, model: dict[str, Any]) -> "AnyCodec":
    """A codec with random weights; `model` holds the fields of its config.

    Raises OptionError for fields that the config does not have, and what `find` raises.
    """
    codec = _class(find(name))
    try:
        return codec(codec.Config(**model))
    except TypeError as error:
        raise OptionError(f"codec {name!r}: wrong model settings: {error}") from error


def _class(entry: CodecEntry) -> Any:
    module, _, name = entry.home.partition(":")
    try:
        codec = getattr(import_module(module), name)
    except Exception as error:  # a package of others may fail in any way
        raise UnsupportedError(f"codec {entry.name!r}: {entry.home} cannot be loaded: {_reason(error)}") from error
    if codec.name != entry.name:
        raise UnsupportedError(f"codec {entry.name!r}: {entry.home} calls itself {codec.name!r}")
    return codec


def _offers() -> dict[str, CodecEntry | UnsupportedError]:
    return {name: _offer(name) for name in sorted(_entry_points())}


@cache
def _entry_points() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


@cache
def _offer(name: str) -> CodecEntry | UnsupportedError:
    """What other packages offer under a name: an entry, or the reason why there is none."""
    points = _entry_points()[name]
    packages = " and ".join(sorted(_package(point) for point in points))
    where = f"codec {name!r} of {packages} cannot be used"
    if name in _CODECS or name in CODEC_NUMBERS:
        return UnsupportedError(f"{where}: the name belongs to rarefy, another must be taken")
    if len(points) > 1:
        return UnsupportedError(f"{where}: several packages offer it, uninstall all but one")
    try:
        entry = points[0].load()
    except Exception as error:  # a package of others may fail in any way
        return UnsupportedError(f"{where}: {points[0].value} cannot be loaded: {_reason(error)}")
    flaw = _flaw(name, entry)
    return UnsupportedError(f"{where}: {points[0].value} {flaw}") if flaw else entry


def _flaw(name: str, entry: Any) -> str:
    """Say what is wrong with an entry, or nothing."""
    if not isinstance(entry, CodecEntry):
        return f"is no CodecEntry, but of type {type(entry).__name__}"
    if entry.name != name:
        return f"calls itself {entry.name!r}"
    if not is_name(name.encode()):
        return "has a name that files cannot hold: 1 to 64 of a-z, 0-9, '-', '_' and '.'"
    if entry.media not in MEDIA:
        return f"is for {entry.media!r}, this rarefy knows {', '.join(MEDIA)}"
    return ""


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name!r}" if point.dist else "an unknown package"


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
