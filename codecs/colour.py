"""Colour profiles: CMYK and Lab pictures turned into sRGB, and whether a profile says anything that sRGB does not."""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image as pil
    from PIL import ImageCms

SPACE = slice(16, 20)  # of a profile: the bytes that name its colour space (ICC.1:2022, section 7.2)
_SRGB_TOLERANCE = 1  # of 255: profiles that write sRGB in other words differ by rounding


def cmyk_to_rgb(picture: "pil.Image") -> tuple["pil.Image", str]:
    """Turn a CMYK picture into sRGB through its profile, or by the plain rule where it has none; with a note."""
    icc = picture.info.get("icc_profile")
    if icc and icc[SPACE] == b"CMYK":
        turned = _through(picture, icc)
        if turned is not None:
            return turned, "CMYK is turned into sRGB through its colour profile"
    reason = "its colour profile cannot be used" if icc else "it has no colour profile"
    return picture.convert("RGB"), f"CMYK is turned into RGB by the plain rule, as {reason}: colours are approximate"


def lab_to_rgb(picture: "pil.Image") -> tuple["pil.Image", str]:
    """Turn a CIELAB picture (white point D50) into sRGB; with a note."""
    from PIL import ImageCms

    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    turned = ImageCms.profileToProfile(picture, lab, _srgb(), outputMode="RGB")
    assert turned is not None  # only in-place transforms give None
    return turned, "CIELAB is turned into sRGB; colours outside of sRGB are clipped"


def to_srgb(picture: "pil.Image") -> "pil.Image | None":
    """Turn a picture of the mode L, LA, RGB or RGBA into sRGB through its profile; None where that cannot be used.

    Its metadata comes along, but for the profile.
    """
    alpha = picture.getchannel("A") if picture.mode.endswith("A") else None
    colours = picture if alpha is None else picture.convert(picture.mode[:-1])
    turned = _through(colours, picture.info["icc_profile"])
    if turned is None:
        return None
    if alpha is not None:
        turned.putalpha(alpha)
    turned.info = {key: value for key, value in picture.info.items() if key != "icc_profile"}
    return turned


def _through(picture: "pil.Image", icc: bytes) -> "pil.Image | None":
    """Convert to sRGB, relative colorimetric with black point compensation, as printers' programs show it."""
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        return ImageCms.profileToProfile(picture, profile, _srgb(), intent, "RGB", flags=flags)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


@lru_cache(maxsize=1)
def _srgb() -> "ImageCms.ImageCmsProfile":
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def is_srgb(icc: bytes) -> bool:
    """Tell whether a profile shows colours as sRGB does, so that leaving it out changes nothing.

    A grid of colours is taken through it. Profiles that cannot be read, and those of CMYK, are not sRGB.
    """
    from PIL import Image as pil

    mode = {b"RGB ": "RGB", b"GRAY": "L"}.get(icc[SPACE])
    if mode is None:
        return False
    steps = np.arange(0, 256, 15, np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), 3).reshape(1, -1, 3) if mode == "RGB" else steps[np.newaxis]
    turned = _through(pil.fromarray(np.ascontiguousarray(grid)), icc)
    if turned is None:
        return False
    expected = grid if mode == "RGB" else np.repeat(grid[:, :, np.newaxis], 3, 2)
    difference = np.abs(np.asarray(turned).astype(np.int16) - expected)
    return int(difference.max()) <= _SRGB_TOLERANCE
