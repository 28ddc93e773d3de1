"""Every mode of Pillow in every format that it can write: read, checked against the rule for its kind, and saved again.

The expected samples are worked out here from what Pillow reads, by the formulas of each kind.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from rarefy.codecs.media import Image, as_image
from rarefy.errors import MediaError, RarefyWarning

Array = NDArray[Any]

HEIGHT, WIDTH = 12, 20
# How each format is written here: as well as it can
OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 100, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "TIFF": {},
    "TIFF, LZW": {"compression": "tiff_lzw"},
    "BMP": {},
    "GIF": {},
    "PPM": {},
    "ICO": {"sizes": [(WIDTH, HEIGHT)]},
}
MODES = ("1", "L", "LA", "P", "P, one clear", "P, some clear", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
MODES += ("LAB", "HSV", "I;16", "I", "F")
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>b</a></x:xmpmeta>'


def colours() -> NDArray[np.uint8]:
    """Make smooth colours without symmetry."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([x * 12, y * 20, 128 + 60 * np.sin(x / 5)], 2).clip(0, 255).astype(np.uint8)


def picture_of(mode: str) -> PIL.Image.Image:
    rgb = PIL.Image.fromarray(colours())
    clear = rgb.copy()
    clear.putalpha(PIL.Image.fromarray((colours()[:, :, 0] + 3).astype(np.uint8)))
    wide = colours()[:, :, 0].astype(np.int32) * 257 + 100
    if mode.startswith("P,"):
        palette = rgb.quantize(16)
        palette.info["transparency"] = 3 if "one" in mode else bytes(range(0, 256, 16))
        return palette
    if mode in ("LA", "PA", "RGBA", "RGBa"):
        return clear.convert(mode)
    if mode == "I;16":
        return PIL.Image.fromarray(wide.astype(np.uint16))
    if mode == "I":
        return PIL.Image.fromarray(wide)
    if mode == "F":
        return PIL.Image.fromarray((wide / 65535).astype(np.float32))
    if mode == "LAB":
        profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
        turned = ImageCms.profileToProfile(rgb, *profiles, outputMode="LAB")  # type: ignore[arg-type]
        assert turned is not None
        del turned.info["icc_profile"]
        return turned
    return rgb.convert(mode)


def written(picture: PIL.Image.Image, format: str, **options: Any) -> bytes | None:
    """Write a picture; None where Pillow cannot."""
    file = io.BytesIO()
    try:
        picture.save(file, format.split(",")[0], **OPTIONS.get(format, {}), **options)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return file.getvalue()


def combinations() -> list[tuple[str, str]]:
    pairs = [(mode, format) for mode in MODES for format in OPTIONS]
    return [(mode, format) for mode, format in pairs if written(picture_of(mode), format) is not None]


def test_pillow_writes_most_combinations() -> None:
    assert len(combinations()) > 90


def read_by_pillow(data: bytes) -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def expected(picture: PIL.Image.Image) -> tuple[Array, float]:
    """Give the samples [H, W, C] that a picture read by Pillow stands for, and the tolerance."""
    mode, stored = picture.mode, np.asarray(picture)
    if mode == "P":
        return _looked_up(picture, stored), 0
    if mode == "PA":
        return np.dstack([_looked_up(picture, stored[:, :, 0])[:, :, :3], stored[:, :, 1]]), 0
    if mode == "CMYK":
        ink = stored.astype(float) / 255
        return 255 * (1 - ink[:, :, :3]) * (1 - ink[:, :, 3:]), 1
    if mode == "YCbCr":
        y, blue, red = (stored[:, :, i].astype(float) - (128 if i else 0) for i in range(3))
        rgb = np.stack([y + 1.402 * red, y - 0.344136 * blue - 0.714136 * red, y + 1.772 * blue], 2)
        return rgb.clip(0, 255), 1.01
    if mode == "LAB":
        return colours(), 30  # corners of sRGB are clipped; on the mean it is near, as tested below
    if mode == "1":
        stored = stored * np.uint8(255)
    if mode in ("I;16", "I;16B", "I"):
        stored = np.floor(stored.astype(float) * 255 / 65535 + 0.5)
    if mode == "F":
        stored = np.floor(stored.astype(float) * 255 + 0.5)
    return stored if stored.ndim == 3 else stored[:, :, np.newaxis], 0


def _looked_up(picture: PIL.Image.Image, indices: Array) -> Array:
    palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    transparency = picture.info.get("transparency")
    if transparency is None:
        return palette[indices]
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparency, int):
        alpha[transparency] = 0
    else:
        alpha[: len(transparency)] = list(transparency)
    return np.dstack([palette[indices], alpha[indices]])


CHANGED = {  # what is said of a mode that Pillow reads
    "CMYK": "CMYK is turned into RGB by the plain rule",
    "YCbCr": "YCbCr is turned into RGB",
    "LAB": "CIELAB is turned into sRGB",
    "I;16": "more than 8 bits per sample are rounded to 8",
    "I;16B": "more than 8 bits per sample are rounded to 8",
    "I": "more than 8 bits per sample are rounded to 8",
    "F": "floating-point samples are rounded to 8 bits",
    "RGBX": "channels beyond colour and transparency are left out",
}


@pytest.mark.parametrize(("mode", "format"), combinations())
def test_every_mode_in_every_format(mode: str, format: str, tmp_path: Path) -> None:
    data = written(picture_of(mode), format)
    assert data is not None
    by_pillow = read_by_pillow(data)
    samples, tolerance = expected(by_pillow)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RarefyWarning)
        image = as_image(data)
    assert [str(warning.message) for warning in caught] == list(image.notes)
    note = CHANGED.get(mode if (mode, format[:4]) == ("RGBX", "TIFF") else by_pillow.mode)
    assert [note in said for said in image.notes] == [True] if note else not image.notes
    assert np.asarray(image).shape == samples.shape
    assert np.abs(np.asarray(image) - samples.astype(float)).max() <= tolerance
    if by_pillow.mode == "LAB":
        assert np.abs(np.asarray(image) - samples.astype(float)).mean() < 3
    if mode in ("RGB", "RGBA", "CMYK", "RGBX") and format != "GIF":  # against the source: inks are not inverted
        assert np.abs(image.pixels - colours().astype(float)).max() <= (10 if format in ("JPEG", "AVIF") else 1)
    _save_again(image, tmp_path)


def _save_again(image: Image, folder: Path) -> None:
    for suffix in ("png", "tif", "webp"):
        path = folder / f"again.{suffix}"
        image.save(path)
        again = as_image(path)
        assert again.notes == ()
        assert (again.alpha is None) == (image.alpha is None)
        if suffix != "webp":
            assert np.array_equal(again, image)
        elif image.alpha is None:  # WebP has no gray, and leaves colours that nobody sees
            assert np.array_equal(again.pixels, np.broadcast_to(image.pixels, again.pixels.shape))
    for suffix in ("jpg", "bmp", "ppm"):
        path = folder / f"again.{suffix}"
        if image.alpha is not None:
            with pytest.raises(MediaError, match="has no transparency"):
                image.save(path)
            continue
        image.save(path)
        again = as_image(path)
        assert again.channels == image.channels
        difference = np.abs(again.pixels.astype(float) - image.pixels).mean()
        assert difference <= (5 if suffix == "jpg" else 0)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "TIFF, LZW"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_metadata_in_every_format(mode: str, format: str, orientation: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x011A], exif[0x011B], exif[0x0128] = "abc", orientation, 300.0, 150.0, 2
    if format.startswith("TIFF"):
        exif[700] = XMP
    options = {"exif": exif.tobytes()} if not format.startswith("TIFF") else {"exif": exif}
    data = written(picture_of(mode), format, icc_profile=ICC, xmp=XMP, **options)
    if data is None:
        assert format == "JPEG" and "A" in mode
        return
    if format == "PNG":  # Pillow writes no XMP there: our own writer does, which is tested below
        plain = as_image(data)
        assert plain.xmp is None
    image = as_image(data)
    assert (image.width, image.height) == ((WIDTH, HEIGHT) if orientation == 1 else (HEIGHT, WIDTH))
    assert (image.alpha is None) == ("A" not in mode)
    if image.alpha is not None and format != "AVIF":
        turned = np.rot90(np.asarray(picture_of(mode)), 0 if orientation == 1 else -1)
        assert np.array_equal(image.alpha, turned[:, :, -1])
    _check_metadata(image, format != "PNG")
    for suffix in ("png", "webp", "tif", "avif", *(["jpg"] if image.alpha is None else [])):
        image.save(tmp_path / f"a.{suffix}")
        again = as_image(tmp_path / f"a.{suffix}")
        assert (again.width, again.height) == (image.width, image.height)
        assert (
            suffix not in ("avif", "jpg", "png", "tif") or again.channels == image.channels or image.alpha is not None
        )
        _check_metadata(again, image.xmp is not None)


def _check_metadata(image: Image, has_xmp: bool) -> None:
    assert image.icc == ICC
    assert image.xmp == (XMP if has_xmp else None)
    assert image.exif is not None
    read = PIL.Image.Exif()
    read.load(image.exif)
    assert read[0x010F] == "abc"
    assert read.get(0x0112, 1) == 1
    assert (read[0x011A], read[0x011B], read[0x0128]) == (300, 150, 2)
