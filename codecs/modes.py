"""Pillow's modes turned into what codecs take: 8-bit gray or RGB, with alpha, and a note where something changed."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rarefy.codecs.arrays import SIXTEEN_BITS_NOTE, bytes_of_floats, bytes_of_sixteen_bits, split_alpha, visible
from rarefy.codecs.colour import cmyk_to_rgb, lab_to_rgb
from rarefy.codecs.orientation import Pixels
from rarefy.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image as pil

# Mode -> the mode of 8-bit gray or RGB, with alpha or without, that says the same
_SAME = {mode: mode for mode in ("L", "LA", "RGB", "RGBA")} | {
    "1": "L",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
}


class Samples(NamedTuple):
    """pixels: uint8 [H, W, 1 or 3]. alpha: uint8 [H, W] or None. has_profile: the profile still says what they mean."""

    pixels: Pixels
    alpha: Pixels | None
    notes: tuple[str, ...] = ()
    has_profile: bool = True


Key = int | tuple[int, ...] | None


def key_factor(picture: "pil.Image") -> int:
    """How much Pillow widens gray of 2 and 4 bits of a PNG, but not the key that goes with it; told before it loads."""
    if picture.format != "PNG" or picture.mode != "L":
        return 1
    rawmodes = {str(tile[3]) for tile in getattr(picture, "tile", ())}
    return 17 if "L;4" in rawmodes else 85 if "L;2" in rawmodes else 1


def transparent_key(picture: "pil.Image", factor: int) -> Key:
    """Give the one colour that is transparent (PNG's tRNS), if there is one. factor: of `key_factor`."""
    key = picture.info.get("transparency")
    if isinstance(key, int):
        return key * factor
    return key if isinstance(key, tuple) else None


def samples_of(picture: "pil.Image", key: Key, name: str) -> Samples:
    """Take the samples out of a loaded Pillow image of 8 bits, or one channel of more.

    key: the colour that is transparent.

    Raises MediaError for modes that are not taken and for numbers whose white is not known.
    """
    mode = picture.mode
    if mode.startswith("I;16"):
        return _gray_of_sixteen_bits(_array(picture), key)
    if mode == "I":
        return _gray_of_integers(picture, name)
    if mode == "F":
        return _gray_of_floats(picture, name)
    if mode in ("CMYK", "LAB"):
        turned, note = cmyk_to_rgb(picture) if mode == "CMYK" else lab_to_rgb(picture)
        return Samples(_array(turned), None, (note,), has_profile=False)
    if mode in ("YCbCr", "HSV"):
        return Samples(_array(picture.convert("RGB")), None, (f"{mode} is turned into RGB",))
    if mode == "P":
        return Samples(*split_alpha(_array(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))))
    if mode not in _SAME:
        raise MediaError(
            f"{name} is a picture of the kind {mode!r}, which is not taken: convert it to RGB or gray first"
        )
    same = picture if mode == _SAME[mode] else picture.convert(_SAME[mode])
    pixels, alpha = split_alpha(_array(same))
    return Samples(pixels, _of_key(pixels, key) if alpha is None else alpha)


def _array(picture: "pil.Image") -> npt.NDArray[Any]:
    array = np.array(picture)  # a copy: what Pillow gives by itself is read-only
    return array if array.ndim == 3 else array[:, :, np.newaxis]


def _of_key(samples: npt.NDArray[Any], key: Key) -> Pixels | None:
    """Make the alpha of a transparent colour: exactly that colour is invisible."""
    if key is None:
        return None
    return visible(np.where((samples == np.asarray(key)).all(axis=2), np.uint8(0), np.uint8(255)))


def _gray_of_sixteen_bits(samples: npt.NDArray[Any], key: Key) -> Samples:
    return Samples(bytes_of_sixteen_bits(samples), _of_key(samples, key), (SIXTEEN_BITS_NOTE,))


def _gray_of_integers(picture: "pil.Image", name: str) -> Samples:
    samples = _array(picture)
    if samples.min() < 0 or samples.max() > 65535:
        raise MediaError(f"{name} has 32-bit integers beyond 0..65535: scale them to it, 0 is black and 65535 white")
    return Samples(bytes_of_sixteen_bits(samples), None, (SIXTEEN_BITS_NOTE,))


def _gray_of_floats(picture: "pil.Image", name: str) -> Samples:
    pixels = bytes_of_floats(_array(picture), f"{name}: floating-point samples")
    return Samples(pixels, None, ("floating-point samples are rounded to 8 bits",))


def samples_of_two_halves(high: npt.NDArray[Any], low: npt.NDArray[Any], key: Key) -> Samples:
    """Join the two bytes of 16-bit samples [H, W, C] that were read apart, and round them."""
    joined = high.astype(np.uint16) << 8 | low
    pixels, alpha = split_alpha(bytes_of_sixteen_bits(joined))
    return Samples(pixels, _of_key(joined, key) if alpha is None else alpha, (SIXTEEN_BITS_NOTE,))
