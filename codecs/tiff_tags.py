"""What the tags of a TIFF file say and Pillow passes over: it would read another picture than the file holds.

Tags have the names of TIFF 6.0 and of DNG 1.7.
"""

import sys
from typing import Any, NamedTuple

from rarefy.codecs.picture_kinds import RAW
from rarefy.errors import MediaError

_NEW_SUBFILE_TYPE, _BITS_PER_SAMPLE, _COMPRESSION, _PHOTOMETRIC = 254, 258, 259, 262
_PLANAR_CONFIGURATION, _COLOR_MAP = 284, 320
_SUB_IFDS, _SAMPLE_FORMAT, _DNG_VERSION = 330, 339, 50706
_PREVIEW = 1  # a bit of NewSubfileType
_SIGNED, _FLOAT = 2, 3  # of SampleFormat
_WIDE = 8  # bits that Pillow reads by itself


class Tagged(NamedTuple):
    """How samples differ from what Pillow gives.

    is_negative: 0 is white. is_of_twelve_bits: 4095 is the largest, in numbers of 16 bits. palette: the colours, all
    red ones first, where they have 8 bits instead of 16.
    """

    is_negative: bool = False
    is_of_twelve_bits: bool = False
    palette: bytes | None = None


def has_planes(picture: Any) -> bool:
    """Tell whether a TIFF stores each channel apart, where Pillow's raw modes do not choose the byte."""
    return picture.format == "TIFF" and picture.tag_v2.get(_PLANAR_CONFIGURATION) == 2


def tagged(picture: Any, name: str) -> Tagged:
    """Look at the tags of a picture that is not loaded yet; of others than TIFF there is nothing to say.

    Raises MediaError for what Pillow would read as something else, without an error.
    """
    if picture.format != "TIFF":
        return Tagged()
    tags = picture.tag_v2
    if _DNG_VERSION in tags or (tags.get(_NEW_SUBFILE_TYPE, 0) & _PREVIEW and _SUB_IFDS in tags):
        raise MediaError(f"{name} is {RAW}")  # what stands first is its preview
    bits, formats = max(tags.get(_BITS_PER_SAMPLE, (1,))), tags.get(_SAMPLE_FORMAT, (1,))
    is_raw = tags.get(_COMPRESSION, 1) == 1
    if bits > _WIDE and has_planes(picture) and is_raw:
        raise MediaError(
            f"{name} stores channels of more than 8 bits apart and without compression, which is not taken: "
            "store them pixel by pixel"
        )
    if _SIGNED in formats and bits <= _WIDE:
        raise MediaError(f"{name} has samples below zero (signed, 8 bits): their black and white are not known")
    if _FLOAT in formats and _is_swapped(tags) and not is_raw:
        raise MediaError(
            f"{name} stores compressed floating-point samples in the other byte order, which Pillow reads wrongly: "
            "store them anew"
        )
    colours = tags.get(_COLOR_MAP, (65535,))
    return Tagged(
        is_negative=tags.get(_PHOTOMETRIC) == 0 and bits > _WIDE,
        is_of_twelve_bits=picture.mode == "I;16" and bits == 12,
        palette=bytes(colours) if max(colours) < 256 and picture.mode == "P" else None,
    )


def _is_swapped(tags: Any) -> bool:
    return bool(tags.prefix == (b"MM" if sys.byteorder == "little" else b"II"))
