"""Kinds of pictures that need care: profiles, transparent colours, 16 bits, resolution, and what is left out."""

import io
import struct
import sys
import types
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageCms, PngImagePlugin

from rarefy.codecs.colour import is_srgb
from rarefy.codecs.jxl_size import jxl_size
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image, as_image
from rarefy.codecs.remarks import remarks_on_file
from rarefy.codecs.resolution import resolution_of, with_resolution
from rarefy.codecs.transparency import fill_invisible
from rarefy.errors import MediaError, RarefyWarning

Array = NDArray[Any]

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = "more than 8 bits per sample are rounded to 8"


def noise(*shape: int, dtype: Any = np.uint8) -> Array:
    return np.random.default_rng(5).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(picture: PIL.Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def quietly(source: Any) -> Image:
    return as_image(source, warns=False)


# Profiles, spelled as ICC.1:2022 says


def profile(space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Spell a profile of version 2 for a colour space, from the contents of its tags."""
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x3i48x", start + len(data), 0x02400000, kind, space, connection, b"acsp", *D50
    )
    return head + table + data


D50 = (0xF6D6, 0x10000, 0xD32D)


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(exponent: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))


def gray_profile(exponent: float) -> bytes:
    return profile(b"GRAY", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": gamma(exponent)})


def gray_like_srgb(power: float) -> bytes:
    """Make a gray profile with sRGB's curve (IEC 61966-2-1) as a table, to a power."""
    x = np.linspace(0, 1, 1024)
    light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4) ** power
    table = b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.rint(65535 * light).astype(">u2").tobytes()
    return profile(b"GRAY", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": table})


def adobe_profile() -> bytes:
    """Make Adobe RGB (1998): its green is far outside of sRGB."""
    primaries = {b"rXYZ": (0.60974, 0.31111, 0.01947), b"gXYZ": (0.20528, 0.62567, 0.06087)}
    primaries[b"bXYZ"] = (0.14919, 0.06322, 0.74457)
    curves = {name: gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return profile(
        b"RGB ", b"XYZ ", {b"wtpt": xyz(0.9642, 1, 0.8249)} | {k: xyz(*v) for k, v in primaries.items()} | curves
    )


def ink_profile() -> bytes:
    """Make a profile of CMYK whose first ink is yellow and whose third is cyan, so that nobody guesses it."""
    corners = []
    for corner in range(16):
        first, second, third, black = (corner >> shift & 1 for shift in (3, 2, 1, 0))
        corners.append([255 * (1 - ink) * (1 - black) for ink in (third, second, first)])
    rgb = PIL.Image.fromarray(np.array([corners], np.uint8))
    lab = ImageCms.profileToProfile(
        rgb, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert lab is not None
    encoded = np.asarray(lab) ^ np.array([0, 128, 128], np.uint8)  # Pillow's a and b are signed, those of ICC are not
    same = bytes(range(256))
    identity = struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + same * 4 + encoded.tobytes() + same * 3
    return profile(b"CMYK", b"Lab ", {b"wtpt": xyz(0.9642, 1, 0.8249), b"A2B0": table})


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(format: str) -> None:
    inks = np.zeros((16, 48, 4), np.uint8)
    for third in range(3):
        inks[:, 16 * third : 16 * third + 16, third] = 255
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    picture = PIL.Image.fromarray(inks, "CMYK")
    with pytest.warns(RarefyWarning, match="CMYK is turned into sRGB through its colour profile"):
        image = as_image(saved(picture, format, icc_profile=ink_profile(), **options))
    assert image.icc is None  # the pixels are sRGB now
    for third, colour in enumerate([(255, 255, 0), (255, 0, 255), (0, 255, 255)]):  # yellow, magenta, cyan
        difference = np.abs(image.pixels[4:12, 16 * third + 4 : 16 * third + 12] - np.array(colour, float))
        assert difference.max() < 40  # tables of 8 bits
    plain = quietly(saved(picture, format, **options))
    assert np.abs(plain.pixels[8, 8] - np.array([0, 255, 255], float)).max() <= 2
    assert "has no colour profile" in plain.notes[0]
    assert "cannot be used" in quietly(saved(picture, format, icc_profile=b"nonsense" * 30, **options)).notes[0]


def test_profiles_that_are_srgb_are_known() -> None:
    assert is_srgb(SRGB)
    for other in (adobe_profile(), gray_profile(1.0), ink_profile(), b"", b"nonsense" * 40, SRGB[:200]):
        assert not is_srgb(other)


def test_srgb_in_other_words_differs_by_one_at_most() -> None:
    """Profiles round their curves, and lcms what it makes of them: one of 255 is nothing, two are a colour."""
    steps = np.arange(0, 256, 15, np.uint8)
    answers: dict[int, bool] = {}
    for power in np.linspace(1, 1.03, 31):
        icc = gray_like_srgb(power)
        source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
        turned = ImageCms.profileToProfile(
            PIL.Image.fromarray(steps[np.newaxis]),
            source,
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            "RGB",
            flags=flags,
        )
        worst = int(np.abs(np.asarray(turned).astype(int) - steps[:, np.newaxis]).max())
        assert answers.setdefault(worst, is_srgb(icc)) == is_srgb(icc)
    assert {1: True, 2: False}.items() <= answers.items()


def test_a_gray_profile_stays_with_a_gray_picture(tmp_path: Path) -> None:
    icc = gray_profile(1.8)
    picture = PIL.Image.fromarray(noise(5, 6))
    for format, suffix in (("PNG", "png"), ("JPEG", "jpg"), ("TIFF", "tif"), ("AVIF", "avif")):
        image = as_image(saved(picture, format, icc_profile=icc))
        assert (image.channels, image.icc) == (1, icc)
        image.save(tmp_path / f"a.{suffix}")
        assert as_image(tmp_path / f"a.{suffix}").icc == icc


def test_stripped_keeps_only_a_profile_that_matters() -> None:
    alpha = noise(4, 5)
    image = Image(noise(4, 5, 3), SRGB, with_resolution(None, (300, 300)), b"<x/>", alpha, ("said",))
    bare = image.stripped()
    assert (bare.icc, bare.exif, bare.xmp, bare.notes) == (None, None, None, ("said",))
    assert bare.pixels is image.pixels and bare.alpha is alpha
    icc = adobe_profile()
    kept = Image(noise(4, 5, 3), icc, b"II*\0", b"<x/>").stripped()
    assert (kept.icc, kept.exif, kept.xmp) == (icc, None, None)
    assert kept.notes == ("the colour profile is kept: without it the colours would change",)


def test_a_damaged_profile_is_said(tmp_path: Path) -> None:
    good = saved(PIL.Image.fromarray(noise(4, 5, 3)), "PNG")
    place = good.index(b"IDAT") - 4
    damaged = good[:place] + chunk(b"iCCP", b"name\0\0not zlib") + good[place:]
    with pytest.warns(RarefyWarning, match="colour profile is damaged"):
        assert as_image(damaged).icc is None


# PNG by hand


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples: Array, *chunks: tuple[bytes, bytes], bits: int | None = None, colour: int | None = None) -> bytes:
    """Spell a PNG of samples uint8 or uint16 [H, W, C], or of packed rows of fewer bits (uint8 [H, W], bits given)."""
    height, width = samples.shape[:2]
    bits = bits or 8 * samples.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples.shape[2]] if colour is None else colour
    if bits < 8:
        places = 8 // bits
        samples = sum(samples[:, i::places, 0] << bits * (places - 1 - i) for i in range(places)).astype(np.uint8)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def rounded(samples: Array) -> Array:
    return np.floor(samples.astype(float) * 255 / 65535 + 0.5)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_are_rounded_and_said(channels: int) -> None:
    samples = noise(16, 16, channels, dtype=np.uint16)
    samples[0, :4] = [[value] * channels for value in (0, 65535, 128, 129)]
    tensor = pytest.importorskip("torch").from_numpy(np.moveaxis(samples, 2, 0).copy())
    for source in (png(samples), samples, samples.astype(">u2"), tensor):
        with pytest.warns(RarefyWarning, match=WIDE):
            image = as_image(source)
        assert np.array_equal(image, rounded(samples))
        assert image.notes == (WIDE,)


def test_sixteen_bits_of_a_pillow_image_are_cut_and_said() -> None:
    samples = noise(6, 7, 3, dtype=np.uint16)
    image = quietly(PIL.Image.open(io.BytesIO(png(samples))))
    assert np.array_equal(image, samples >> 8)
    assert "cut off by Pillow: give the file itself" in image.notes[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_in_tiff(channels: int, compression: str | None, order: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    samples = noise(13, 17, channels, dtype=np.uint16)
    file = io.BytesIO()
    kind = {"photometric": "minisblack" if channels == 1 else "rgb"}
    more = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(file, samples.squeeze(), byteorder=order, compression=compression, **kind, **more)
    assert np.array_equal(quietly(file.getvalue()), rounded(samples))
    if channels == 1:
        return
    planes = io.BytesIO()
    moved = np.moveaxis(samples, 2, 0)
    tifffile.imwrite(planes, moved, byteorder=order, compression=compression, planarconfig="separate", **kind, **more)
    if compression is None:
        with pytest.raises(MediaError, match="channels of more than 8 bits apart"):
            as_image(planes.getvalue())
        return
    image = quietly(planes.getvalue())
    assert np.array_equal(image, samples >> 8)
    assert image.notes == ("the lower 8 of its 16 bits per sample are cut off",)


def test_sixteen_bits_in_ppm() -> None:
    samples = noise(6, 7, 3, dtype=np.uint16)
    image = quietly(b"P6 7 6 65535\n" + samples.astype(">u2").tobytes())
    assert np.abs(np.asarray(image) - rounded(samples)).max() == 0
    assert image.notes == (WIDE,)
    gray = quietly(b"P5 7 6 1023\n" + (samples[:, :, 0] >> 6).astype(">u2").tobytes())
    assert np.abs(gray.pixels[:, :, 0] - (samples[:, :, 0] >> 6).astype(float) * 255 / 1023).max() <= 0.51
    assert gray.notes == (WIDE,)
    assert quietly(b"P5 2 1 15\n\0\x0f").pixels.ravel().tolist() == [0, 255]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_a_transparent_gray_is_found_at_every_depth(bits: int) -> None:
    samples = np.arange(16).reshape(1, 16, 1) % (1 << min(bits, 4))
    samples = samples.astype(np.uint16 if bits == 16 else np.uint8)
    data = png(samples, (b"tRNS", struct.pack(">H", 1)), bits=bits)
    image = quietly(data)
    assert image.alpha is not None
    assert np.array_equal(image.alpha == 0, samples[:, :, 0] == 1)
    assert set(np.unique(image.alpha)) == {0, 255}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_transparent_colour_is_found_exactly(dtype: Any) -> None:
    samples = np.full((3, 4, 3), 7, dtype)
    samples[1, 2] = samples[2, 0] = (1, 2, 3)
    samples[0, 0] = (1, 2, 4)  # the same in 8 bits, where there are 16
    image = quietly(png(samples, (b"tRNS", struct.pack(">3H", 1, 2, 3))))
    assert image.alpha is not None
    assert np.argwhere(image.alpha == 0).tolist() == [[1, 2], [2, 0]]
    assert quietly(png(samples, (b"tRNS", struct.pack(">3H", 9, 9, 9)))).alpha is None


# Resolution


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
def test_a_resolution_goes_into_exif_and_back(format: str, tmp_path: Path) -> None:
    image = as_image(saved(PIL.Image.fromarray(noise(4, 5, 3)), format, dpi=(300, 150)))
    assert resolution_of(image.exif) == (300, 150)
    for suffix in ("png", "jpg", "tif"):
        image.save(tmp_path / f"a.{suffix}")
        with PIL.Image.open(tmp_path / f"a.{suffix}") as picture:
            assert [round(float(value)) for value in picture.info["dpi"]] == [300, 150]
        assert resolution_of(as_image(tmp_path / f"a.{suffix}").exif) == (300, 150)


@pytest.mark.parametrize("dpi", [(72, 72), (96, 96), None])
def test_a_resolution_of_a_screen_is_none(dpi: tuple[int, int] | None) -> None:
    for format in ("PNG", "JPEG", "BMP"):
        options = {} if dpi is None else {"dpi": dpi}
        assert as_image(saved(PIL.Image.fromarray(noise(4, 5, 3)), format, **options)).exif is None


def test_a_resolution_in_exif_goes_before_that_of_the_file() -> None:
    exif = with_resolution(None, (600, 600))
    assert as_image(saved(PIL.Image.fromarray(noise(4, 5, 3)), "PNG", exif=exif, dpi=(300, 300))).exif == exif


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_resolution_is_added_without_moving_the_rest(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    make = struct.pack(order + "HHII", 0x010F, 2, 10, 30)
    exif = mark + struct.pack(order + "IH", 8, 1) + make + struct.pack(order + "I", 26) + bytes(4) + b"0123456789x"
    added = with_resolution(exif, (118.5, 300))
    assert added[8 : len(exif)] == exif[8:]
    assert resolution_of(added) == (118.5, 300)
    read = PIL.Image.Exif()
    read.load(added)
    assert read[0x010F] == "0123456789"
    assert struct.unpack_from(order + "I", added, len(added) - 4) == (26,)  # the directory of the thumbnail


@pytest.mark.parametrize(
    "exif", [b"II*\0", b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff", b"", None]
)
def test_damaged_exif_has_no_resolution(exif: bytes | None) -> None:
    assert resolution_of(exif) is None
    if exif:
        assert with_resolution(exif, (300, 300)) == exif


def test_resolutions_that_mean_nothing() -> None:
    good = with_resolution(None, (300, 300))
    zero = good.replace(struct.pack("<II", 300, 1), struct.pack("<II", 300, 0))
    assert resolution_of(zero) is None
    assert resolution_of(good[:20]) is None


# What is left out is said


def frames(format: str, count: int = 3) -> bytes:
    pictures = [PIL.Image.fromarray(noise(4, 5, 3) // (1 + index)) for index in range(count)]
    options = {"lossless": True} if format == "WEBP" else {}
    return saved(pictures[0], format, save_all=True, append_images=pictures[1:], **options)


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "AVIF", "TIFF", "MPO"])
def test_further_frames_are_said(format: str) -> None:
    data = frames(format)
    first = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    what = {"TIFF": "page", "MPO": "picture"}.get(format, "frame")
    with pytest.warns(RarefyWarning, match=f"of its 3 {what}s, number 1 is taken"):
        image = as_image(data)
    assert np.array_equal(image.pixels, first)
    if format == "GIF":
        second = PIL.Image.open(io.BytesIO(data))
        second.seek(1)
        assert "number 2" in quietly(second).notes[0]


def test_further_icons_are_said() -> None:
    data = saved(PIL.Image.fromarray(noise(32, 32, 4)), "ICO", sizes=[(16, 16), (32, 32)])
    image = quietly(data)
    assert image.width == 32
    assert image.notes == ("the largest of its 2 icons is taken, the others are left out",)


def test_texts_are_said() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "not worth a word")
    for name in ("Title", "Author", "parameters"):
        info.add_text(name, "something")
    picture = PIL.Image.fromarray(noise(4, 5, 3))
    assert quietly(saved(picture, "PNG", pnginfo=info)).notes == ("texts are left out: Title, Author, parameters",)
    assert quietly(saved(picture, "JPEG", comment=b"hello")).notes == ("texts are left out: a comment",)
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", 4) + b"\x1c\x02\0\0"
    data = saved(picture, "JPEG", extra=b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc)
    assert quietly(data).notes == ("texts are left out: IPTC data",)


@pytest.mark.parametrize(
    ("xmp", "note"),
    [
        (b'<a hdrgm:Version="1.0"/>', "the gain map is left out"),
        (b'<a GCamera:MotionPhoto="1"/>', "the film of a motion photo is left out"),
    ],
)
def test_what_phones_add_is_said(xmp: bytes, note: str) -> None:
    notes = quietly(saved(PIL.Image.fromarray(noise(4, 5, 3)), "JPEG", xmp=xmp)).notes
    assert len(notes) == 1 and note in notes[0]


def test_a_gain_map_of_iso_21496_is_said() -> None:
    mark = b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"
    data = saved(
        PIL.Image.fromarray(noise(4, 5, 3)), "JPEG", extra=b"\xff\xe2" + struct.pack(">H", len(mark) + 2) + mark
    )
    assert "gain map" in quietly(data).notes[0]


def test_gamma_without_a_profile_is_said() -> None:
    samples = noise(3, 4, 3)
    assert "gamma of 1.0000" in quietly(png(samples, (b"gAMA", struct.pack(">I", 100_000)))).notes[0]
    assert quietly(png(samples, (b"gAMA", struct.pack(">I", 45_455)))).notes == ()
    assert quietly(png(samples, (b"gAMA", struct.pack(">I", 100_000)), (b"sRGB", b"\0"))).notes == ()


def test_colour_codes_are_heeded() -> None:
    samples = noise(3, 4, 3)
    assert quietly(png(samples, (b"cICP", bytes([1, 13, 0, 1])))).notes == ()
    assert "primaries 12, transfer 13" in quietly(png(samples, (b"cICP", bytes([12, 13, 0, 1])))).notes[0]
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(MediaError, match=rf"high dynamic range \({name}\)"):
            as_image(png(samples, (b"cICP", bytes([9, transfer, 0, 1]))))


def test_colour_codes_and_depth_of_avif_are_heeded() -> None:
    data = saved(PIL.Image.fromarray(noise(8, 8, 3)), "AVIF")
    assert quietly(data).notes == ()
    codes = data.index(b"colrnclx") + 8
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(MediaError, match=name):
            as_image(data[:codes] + struct.pack(">HH", 9, transfer) + data[codes + 4 :])
    depth = data.index(b"av1C") + 6
    deep = data[:depth] + bytes([data[depth] | 0x40]) + data[depth + 1 :]
    assert remarks_on_file(io.BytesIO(deep), "AVIF", "it") == (WIDE,)


def test_a_palette_of_a_bitmap_with_alpha_keeps_it() -> None:
    samples = noise(3, 4, 4)
    head = struct.pack("<IiiHHIIiiII", 108, 4, -3, 1, 32, 3, 48, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xFF, 0xFF00, 0xFF0000, 0xFF000000) + bytes(52)
    bmp = struct.pack("<2sIHHI", b"BM", 14 + 108 + 48, 0, 0, 14 + 108) + head + masks + samples.tobytes()
    assert np.array_equal(quietly(bmp), samples)


def test_saving_without_metadata_is_said(tmp_path: Path) -> None:
    image = Image(noise(4, 5, 3), SRGB, with_resolution(None, (300, 300)))
    for suffix in ("bmp", "ppm"):
        with pytest.warns(RarefyWarning, match="left out, as .* does not take it: colour profile, EXIF"):
            image.save(tmp_path / f"a.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image.save(tmp_path / "a.png")
        Image(noise(4, 5, 3)).save(tmp_path / "a.bmp")


@pytest.mark.parametrize("tag", [0x010A, 0x011C, 0x0140, 0x0152, 0x0153])
def test_exif_does_not_say_how_samples_of_a_tiff_are_stored(tag: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F], exif[tag] = "Camera", 2
    samples, file = noise(8, 9, 3), io.BytesIO()
    Image(samples, exif=exif.tobytes().removeprefix(b"Exif\0\0")).save(file, "TIFF")
    with PIL.Image.open(file) as picture:
        assert np.array_equal(picture, samples) and picture.getexif()[0x010F] == "Camera"


@pytest.mark.parametrize("format", ["TIFF", "AVIF"])
def test_exif_of_cameras_has_directories(format: str) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    file = io.BytesIO()
    Image(noise(8, 9, 3), exif=exif.tobytes().removeprefix(b"Exif\0\0"), xmp=b"<x:xmpmeta/>").save(file, format)
    with PIL.Image.open(file) as picture:
        found = picture.getexif()
        assert found[0x010F] == "Camera" and found.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert found.get_ifd(0x8825)[1] == "N" and picture.info["xmp"] == b"<x:xmpmeta/>"


# Make (0x010F), which is text, as the fraction 1 / 2
RATIONAL_MAKE = b"II*\0" + struct.pack("<IHHHIIIII", 8, 1, 0x010F, 5, 1, 26, 0, 1, 2)


@pytest.mark.parametrize(
    ("format", "exif"),
    [("TIFF", b"garbage"), ("TIFF", b"II*\0\x08\0"), ("TIFF", RATIONAL_MAKE), ("AVIF", b"garbage")],
)
def test_exif_that_is_none_is_left_out_and_said(format: str, exif: bytes) -> None:
    samples, file = noise(8, 9, 3), io.BytesIO()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Image(samples, exif=exif).save(file, format)
    with PIL.Image.open(file) as picture:
        assert "exif" not in picture.info and np.array_equal(picture, samples) == (format == "TIFF")
    ours = [str(warning.message) for warning in told if warning.category is RarefyWarning]
    assert ours == [f"left out, as {format} does not take it: EXIF that is damaged"]


# Arrays and sizes


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_of_every_kind_and_layout(channels: int) -> None:
    samples = noise(6, 9, channels)
    frozen = samples.copy()
    frozen.flags.writeable = False
    for array in (
        frozen,
        np.asfortranarray(samples),
        samples[::-1, ::-1].copy()[::-1, ::-1],
        samples[:, :, ::-1].copy()[:, :, ::-1],
        samples / np.float32(255),
        (samples / 255).astype(">f8"),
        (samples / 255).astype(np.float64)[::-1].copy()[::-1],
    ):
        image = as_image(array)
        assert np.array_equal(image, samples)
        assert image.pixels.flags.c_contiguous
        assert image.alpha is None or image.alpha.flags.c_contiguous
    truth = samples > 127
    assert np.array_equal(as_image(truth), np.where(truth, 255, 0)) or channels in (2, 4)
    if channels in (2, 4):
        assert np.array_equal(as_image(truth).pixels, np.where(truth, 255, 0)[:, :, :-1])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (3, 5000), (17, 31)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sizes(size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    samples = noise(*size, channels)
    samples[0, 0, -1] = 7
    image = as_image(samples)
    for suffix in ("png", "tif"):
        image.save(tmp_path / f"a.{suffix}")
        assert np.array_equal(as_image(tmp_path / f"a.{suffix}"), samples)


def test_limits_hold_for_every_format() -> None:
    for format in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM", "ICO"):
        data = saved(PIL.Image.fromarray(noise(16, 16, 3)), format)
        with pytest.raises(MediaError, match="limit of 255"):
            as_image(data, Limits(pixels=255))


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {}),
        ("TIFF", {}),
        ("BMP", {}),
        ("GIF", {}),
        ("PPM", {}),
        ("ICO", {}),
    ],
)
def test_half_a_file_is_never_half_a_picture(format: str, options: dict[str, Any]) -> None:
    data = saved(PIL.Image.fromarray(noise(48, 48, 3)), format, **options)
    for stop in range(1, len(data) - 40, len(data) // 25):  # the last bytes need not belong to the pixels
        with pytest.raises(MediaError) as caught:
            as_image(data[:stop])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "package"),
    [(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "pillow-heif"), (b"\xff\x0a\x00\x00", "pillow-jxl-plugin")],
)
def test_a_missing_plugin_is_named(head: bytes, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_").removesuffix("_plugin"), None)
    with pytest.raises(MediaError, match=f"needs a plugin: pip install {package}"):
        as_image(head)
    suffix = "heic" if "heif" in package else "jxl"
    with pytest.raises(MediaError, match=f"needs a plugin: pip install {package}"):
        as_image(noise(4, 5, 3)).save(tmp_path / f"a.{suffix}")


def test_pixels_of_files_may_be_changed() -> None:
    for channels in (1, 2, 3, 4):
        image = quietly(png(noise(3, 4, channels)))
        assert image.pixels.flags.writeable
        assert image.alpha is None or image.alpha.flags.writeable


@pytest.mark.parametrize("suffix", ["jxl", "heic"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_plugins_read_and_write(channels: int, suffix: str, tmp_path: Path) -> None:
    pytest.importorskip({"jxl": "pillow_jxl", "heic": "pillow_heif"}[suffix])
    samples = noise(16, 24, channels) // 8 + 100
    image = Image(as_image(samples).pixels, SRGB, with_resolution(None, (300, 300)), alpha=as_image(samples).alpha)
    image.save(tmp_path / f"a.{suffix}")
    again = as_image(tmp_path / f"a.{suffix}")
    assert again.exif is not None and resolution_of(again.exif) == (300, 300)
    assert again.notes == ()
    if suffix == "jxl":
        assert np.array_equal(again, samples)
    else:
        assert np.abs(again.pixels.astype(float) - image.pixels).mean() < 6
        assert np.array_equal(again.alpha, image.alpha) if image.alpha is not None else again.alpha is None


@pytest.mark.parametrize(
    ("size", "head"),
    [  # the first bytes that libjxl 0.11 writes
        ((1, 1), "ff0a001010090800010020004b188b15"),
        ((256, 256), "ff0a7f40240802010090004b188b1500"),
        ((5000, 3), "ff0a10800e278804080201001c000000"),
        ((640, 800), "ff0afa18e84f8048080201001c000000"),
        ((512, 256), "ff0aff41240802010034000000400774"),
        (
            (257, 3),
            "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20"
            "000000136a786c7000000000ff0a10000082480000001645786966" + "00" * 16,
        ),
    ],
)
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int], head: str) -> None:
    data = bytes.fromhex(head)
    assert jxl_size(data) == size
    for stop in range(len(data)):
        assert jxl_size(data[:stop]) in (None, size)


def test_a_jpeg_xl_above_the_limits_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_jxl", types.ModuleType("pillow_jxl"))
    with pytest.raises(MediaError, match="5000 x 3 pixels"):
        as_image(bytes.fromhex("ff0a10800e278804080201001c000000"), Limits(side=4999))


# Colours that nobody sees


def test_invisible_colours_become_smooth_and_visible_ones_stay() -> None:
    y, x = np.mgrid[:61, :83]
    smooth = np.stack([x * 3, y * 4, x + y], 2).astype(np.uint8)
    alpha = np.where(np.hypot(y - 30, x - 40) < 20, 200, 0).astype(np.uint8)
    alpha[5, 5] = 1
    garbage = np.where(alpha[:, :, np.newaxis] == 0, noise(61, 83, 3), smooth)
    filled = fill_invisible(garbage, alpha)
    assert np.array_equal(filled[alpha > 0], garbage[alpha > 0])
    steps = np.abs(np.diff(filled.astype(float), axis=1))
    assert steps.mean() < 3 < np.abs(np.diff(garbage.astype(float), axis=1)).mean() / 5
    assert np.array_equal(filled, fill_invisible(np.where(alpha[:, :, None] == 0, np.uint8(0), smooth), alpha))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1), (7, 9)])
@pytest.mark.parametrize("channels", [1, 3])
def test_filling_at_the_edges(size: tuple[int, int], channels: int) -> None:
    pixels = noise(*size, channels)
    opaque, clear = np.full(size, 255, np.uint8), np.zeros(size, np.uint8)
    assert fill_invisible(pixels, opaque) is pixels
    constant = fill_invisible(pixels, clear)
    assert constant.shape == pixels.shape and constant.std() == 0
    one = clear.copy()
    one[-1, -1] = 1
    assert np.array_equal(fill_invisible(pixels, one), np.broadcast_to(pixels[-1, -1], pixels.shape))
