"""Pictures that Pillow reads as something else, or of which something would be lost without a word."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from rarefy.codecs.jxl_size import jxl_depth
from rarefy.codecs.media import Image, as_image
from rarefy.errors import MediaError, RarefyWarning

GRAY = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (32, 1))
COLOURS = np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)
P3 = ((0.515, 0.2412, -0.0011), (0.292, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))  # of Display P3, under D50
ADOBE = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))


def profile(primaries: tuple[tuple[float, ...], ...] = (), exponent: float = 2.2) -> bytes:
    """Spell a profile of RGB, or of gray where there are no primaries (ICC.1:2022)."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(exponent * 256))
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    tags = {b"wtpt": white} | ({b"kTRC": curve} if not primaries else {})
    for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=False):
        tags[name] = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))
        tags[name[:1] + b"TRC"] = curve
    table, data, start = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    space = b"RGB " if primaries else b"GRAY"
    white_point = (0xF6D6, 0x10000, 0xD32D)
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x3i48x", start + len(data), 0x02400000, b"mntr", space, b"XYZ ", b"acsp", *white_point
    )
    return head + table + data


def tiff(samples: NDArray[Any], order: str = "<", compression: int = 1, **tags: Any) -> bytes:
    """Spell a TIFF file of one strip, with tags by number that are shorts, or (type, count, bytes)."""
    data = np.ascontiguousarray(samples).astype(samples.dtype.newbyteorder(order)).tobytes()
    if compression == 8:
        data = zlib.compress(data)
    height, width = samples.shape[:2]
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    values: dict[int, Any] = {256: width, 257: height, 258: 8 * samples.itemsize, 259: compression, 262: 1}
    values |= {273: (4, 1, struct.pack(order + "I", 8)), 277: 1, 278: height, 339: kind}
    values |= {279: (4, 1, struct.pack(order + "I", len(data)))} | {int(k[1:]): v for k, v in tags.items()}
    body, entries = data + bytes(len(data) % 2), b""
    for number, value in sorted(values.items()):
        type, count, content = value if isinstance(value, tuple) else (3, 1, struct.pack(order + "Hxx", value))
        if len(content) > 4:
            body += bytes(len(body) % 2)
            place, body = 8 + len(body), body + content
            content = struct.pack(order + "I", place)
        entries += struct.pack(order + "HHI", number, type, count) + content.ljust(4, b"\0")
    body += bytes(len(body) % 2)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return (
        mark
        + struct.pack(order + "I", 8 + len(body))
        + body
        + struct.pack(order + "H", len(values))
        + entries
        + bytes(4)
    )


def quietly(source: Any) -> Image:
    return as_image(source, warns=False)


def saved(samples: NDArray[np.uint8], format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(samples).save(file, format, **options)
    return file.getvalue()


# JPEG


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_half_a_jpeg_that_is_filled_up_is_no_picture(share: float) -> None:
    whole = saved(COLOURS, "JPEG", quality=95, subsampling=0)
    cut = round(share * len(whole))
    with pytest.raises(MediaError, match="incomplete"):
        quietly(whole[:cut] + bytes(len(whole) - cut))
    assert quietly(whole + bytes(100)).width == 64  # cameras put more behind the picture
    quantisation = whole.index(b"\xff\xdb")
    for between in (b"\xff\xff\xff", b"\0\0\0", bytes(1000)):  # as decoders pass over
        quietly(whole[:quantisation] + between + whole[quantisation:])


# TIFF


def test_white_may_be_zero_in_any_number_of_bits() -> None:
    for samples in (GRAY, GRAY.astype(np.uint16) * 257, (GRAY / 255).astype(np.float32)):
        for order in "<>" if samples.dtype != np.uint16 else "<":
            assert np.array_equal(quietly(tiff(samples, order)).pixels[:, :, 0], GRAY)
            assert np.array_equal(quietly(tiff(samples, order, t262=0)).pixels[:, :, 0], 255 - GRAY)


def test_twelve_bits_reach_from_black_to_white() -> None:
    values = np.linspace(0, 4095, 64).round().astype(np.uint16)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = (pairs[:, 0] << 12 | pairs[:, 1])[:, np.newaxis] >> np.array([16, 8, 0]) & 255
    file = tiff(packed.astype(np.uint8).reshape(1, 96), t256=64, t258=12)
    wanted = np.floor(values / 4095 * 255 + 0.5)
    assert np.abs(quietly(file).pixels[0, :, 0] - wanted).max() <= 1
    assert quietly(file).pixels.max() == 255


def test_floats_in_either_order_come_right_or_not_at_all() -> None:
    samples = (GRAY / 255).astype(np.float32)
    for order, compression in (("<", 1), (">", 1), ("<", 8)):
        assert np.array_equal(quietly(tiff(samples, order, compression)).pixels[:, :, 0], GRAY)
    with pytest.raises(MediaError, match="other byte order"):
        quietly(tiff(samples, ">", 8))


def test_signed_bytes_are_refused() -> None:
    with pytest.raises(MediaError, match="signed"):
        quietly(tiff(GRAY.view(np.int8)))


@pytest.mark.parametrize("scale", [1, 257])
def test_colour_maps_of_eight_bits_are_as_good_as_of_sixteen(scale: int) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    table = (colours.T * scale).astype("<u2").tobytes()
    image = quietly(tiff(GRAY, t262=3, t320=(3, 768, table)))
    assert np.array_equal(image.pixels, colours[GRAY])


@pytest.mark.parametrize(
    "tags", [{"t50706": (1, 4, b"\1\4\0\0")}, {"t254": (4, 1, b"\1\0\0\0"), "t330": (4, 1, b"\x08\0\0\0")}]
)
def test_raw_photographs_are_not_their_previews(tags: dict[str, Any]) -> None:
    with pytest.raises(MediaError, match="raw photograph"):
        quietly(tiff(GRAY, **tags))


def test_raw_photographs_are_known_by_their_marks() -> None:
    for head in (
        b"II*\0\x10\0\0\0CR\2\0",
        b"IIRO\x08\0",
        b"IIU\0\x08\0",
        b"\0\0\0\x18ftypcrx \0\0\0\1",
        b"FUJIFILMCCD-RAW ",
    ):
        with pytest.raises(MediaError, match="raw photograph"):
            quietly(head + bytes(200))


def test_pages_that_nobody_reads_cost_a_note() -> None:
    first = tiff(GRAY)
    place = struct.unpack_from("<I", first, 4)[0]
    second = len(first)
    entries = ((256, 3, 1, 5), (257, 3, 1, 5), (258, 3, 1, 64), (262, 3, 1, 1))
    page = struct.pack("<H", 4) + b"".join(struct.pack("<HHIHxx", *entry) for entry in entries) + bytes(4)
    file = first[:-4] + struct.pack("<I", second) + page
    assert place < second
    image = quietly(file)
    assert image.notes == ("further pages are left out",) and np.array_equal(image.pixels[:, :, 0], GRAY)


def test_a_tag_that_cannot_be_read_costs_itself() -> None:
    good = (2, 4, b"Me\0\0")
    image = quietly(tiff(GRAY, t315=good, t34853=(4, 1, struct.pack("<I", 2**31))))
    assert image.exif is not None and b"Me" in image.exif
    assert np.array_equal(image.pixels[:, :, 0], GRAY)


# Letters


NAME = "Jürgen Müller, Łódź"


def test_letters_come_through_tiff(tmp_path: Path) -> None:
    encoded = NAME.encode() + b"\0"
    from_tiff = quietly(tiff(GRAY, t315=(2, len(encoded), encoded)))
    assert from_tiff.exif is not None and NAME.encode() in from_tiff.exif
    entry = struct.pack("<HHII", 0x013B, 2, len(encoded), 26)
    exif = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + encoded
    for path in (tmp_path / "a.tif", tmp_path / "a.png", tmp_path / "a.webp", tmp_path / "a.avif"):
        Image(COLOURS, exif=exif).save(path)
        kept = quietly(path).exif
        assert kept is not None and NAME.encode() in kept, path.name


# Colours


@pytest.mark.parametrize("primaries", [P3, ADOBE])
def test_jpeg_xl_gets_the_colours_of_the_profile(primaries: tuple[tuple[float, ...], ...], tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl", reason="JPEG XL needs pillow-jxl-plugin")
    icc = profile(primaries)
    with pytest.warns(RarefyWarning, match="colours are turned into sRGB, as JXL"):
        Image(COLOURS, icc=icc).save(tmp_path / "a.jxl")
    found = quietly(tmp_path / "a.jxl")
    wanted = through(COLOURS, icc)
    assert found.icc is None and np.abs(found.pixels.astype(int) - wanted).max() <= 1
    assert np.abs(COLOURS.astype(int) - wanted).mean() > 2


def through(samples: NDArray[np.uint8], icc: bytes) -> NDArray[np.int64]:
    source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    picture = PIL.Image.fromarray(samples)
    turned = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), intent, "RGB", flags=flags)
    return np.asarray(turned).astype(int)


def test_a_profile_that_says_srgb_is_nothing_to_tell(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl", reason="JPEG XL needs pillow-jxl-plugin")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Image(COLOURS, icc=srgb).save(tmp_path / "a.jxl")
    assert np.array_equal(quietly(tmp_path / "a.jxl").pixels, COLOURS)


@pytest.mark.parametrize(("format", "alpha"), [("WEBP", False), ("WEBP", True), ("AVIF", True)])
def test_gray_that_becomes_rgb_leaves_its_profile(format: str, alpha: bool) -> None:
    icc, plane = profile(exponent=1.0), np.full(GRAY.shape, 200, np.uint8)
    file = io.BytesIO()
    with pytest.warns(RarefyWarning, match=f"colours are turned into sRGB, as {format}"):
        Image(GRAY[:, :, np.newaxis], icc=icc, alpha=plane if alpha else None).save(file, format)
    found = quietly(file.getvalue())
    assert found.icc is None and (found.alpha is not None) == alpha
    assert np.abs(found.pixels.astype(int) - through(GRAY, icc)).max() <= (0 if format == "WEBP" else 4)


@pytest.mark.parametrize("kind", ["gray", "CMYK"])
def test_profiles_of_other_colours_are_left_out(kind: str) -> None:
    icc = profile() if kind == "gray" else profile(P3).replace(b"RGB ", b"CMYK", 1)
    image = quietly(saved(COLOURS, "PNG", icc_profile=icc))
    assert image.icc is None and "of another kind of colour" in image.notes[0]
    assert quietly(saved(GRAY, "PNG", icc_profile=profile())).icc is not None


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    return png[:33] + b"".join(chunks) + png[33:]


def test_primaries_without_a_profile_are_said() -> None:
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    wide = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))
    same = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    assert "primaries are not those of sRGB" in quietly(with_chunks(saved(COLOURS, "PNG"), gamma, wide)).notes[0]
    assert quietly(with_chunks(saved(COLOURS, "PNG"), gamma, same)).notes == ()
    assert quietly(with_chunks(saved(COLOURS, "PNG", icc_profile=profile(P3)), wide)).notes == ()


def test_codes_beside_a_profile_are_not_alone() -> None:
    codes = chunk(b"cICP", bytes([12, 13, 0, 1]))
    assert "codes alone" in quietly(with_chunks(saved(COLOURS, "PNG"), codes)).notes[0]
    assert quietly(with_chunks(saved(COLOURS, "PNG", icc_profile=profile(P3)), codes)).notes == ()
    with pytest.raises(MediaError, match="PQ"):
        quietly(with_chunks(saved(COLOURS, "PNG", icc_profile=profile(P3)), chunk(b"cICP", bytes([9, 16, 0, 1]))))


# JPEG XL


@pytest.mark.parametrize(
    ("bits", "depth"),
    [
        ("1 00001 001 1", 8),  # 16 high and as wide; all by default
        ("1 00001 001 0 0 0 00", 8),
        ("1 00001 001 0 0 0 01", 10),
        ("1 00001 001 0 0 0 11 111100", 16),  # 1 + 15
        ("1 00001 001 0 1 100 0 0 0 0 10", 12),
        ("1 00001 001 0 1 100 0 0 1", None),  # frames
        ("1 00001 001 0 0 1 01", 16),  # floats
    ],
)
def test_the_depth_of_jpeg_xl_is_found(bits: str, depth: int | None) -> None:
    """Fields as ISO 18181-1 has them, each with its lowest bit first."""
    fields = bits.split()
    fields[1] = fields[1][::-1]
    fields[2] = fields[2][::-1]
    if fields[-1] in ("01", "10"):
        fields[-1] = fields[-1][::-1]
    value = sum(int(bit) << place for place, bit in enumerate("".join(fields)))
    assert jxl_depth(b"\xff\x0a" + value.to_bytes(40, "little")) == depth


# Odds and ends


def test_an_open_image_is_the_same_every_time() -> None:
    nibbles = np.arange(64, dtype=np.uint8).reshape(8, 8) % 16
    rows = b"".join(b"\0" + bytes(row[0::2] << 4 | row[1::2]) for row in nibbles)
    head = struct.pack(">IIBBBBB", 8, 8, 4, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"tRNS", struct.pack(">H", 15))
    file += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture = PIL.Image.open(io.BytesIO(file))
    found = [quietly(picture) for _ in range(3)]
    assert all(image.alpha is not None and np.array_equal(image.alpha, found[0].alpha) for image in found)


def test_an_image_that_was_changed_is_taken_as_it_is_now() -> None:
    picture = PIL.Image.new("L", (8, 8), 1)
    assert quietly(picture).alpha is None
    picture.info["transparency"] = 1
    assert quietly(picture).alpha is not None
    del picture.info["transparency"]
    assert quietly(picture).alpha is None
    colours = np.random.default_rng(1).integers(0, 256, (256, 3))
    file = PIL.Image.open(io.BytesIO(tiff(GRAY, t262=3, t320=(3, 768, colours.T.astype("<u2").tobytes()))))
    for _ in range(2):
        assert np.array_equal(quietly(file).pixels, colours[GRAY])
    file.putpalette(bytes(range(256)) * 3)
    assert np.array_equal(quietly(file).pixels[:, :, 0], np.asarray(file.convert("RGB"))[:, :, 0])


def test_planes_of_a_loaded_image_are_refused_too() -> None:
    bits = (3, 3, struct.pack("<3H", 16, 16, 16))
    places = {"t273": (4, 3, struct.pack("<3I", 8, 4104, 8200)), "t279": (4, 3, struct.pack("<3I", 4096, 4096, 4096))}
    planes = tiff(np.zeros((96, 64), np.uint16), t257=32, t258=bits, t262=2, t277=3, t284=2, **places)
    for is_loaded in (False, True):
        picture = PIL.Image.open(io.BytesIO(planes))
        if is_loaded:
            picture.load()
        with pytest.raises(MediaError, match="channels of more than 8 bits apart"):
            quietly(picture)


def test_a_picture_that_begins_like_a_raw_one_is_none() -> None:
    samples = GRAY.copy()
    samples[0, :4] = list(b"CR\2\0")
    assert np.array_equal(quietly(tiff(samples)).pixels[:, :, 0], samples)


def test_who_wants_cut_pictures_gets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.LOAD_TRUNCATED_IMAGES", True)
    assert quietly(saved(COLOURS, "JPEG")[:-2]).width == 64


def test_gray_that_was_read_as_rgb_is_gray_with_its_profile() -> None:
    icc = profile(exponent=1.0)
    image = quietly(saved(np.repeat(GRAY[:, :, np.newaxis], 3, 2), "PNG", icc_profile=icc))
    assert image.channels == 1 and image.icc == icc and image.notes == ()


def exif_of(numerator: int, denominator: int) -> bytes:
    entries = [struct.pack("<HHII", tag, 5, 1, 50) for tag in (0x011A, 0x011B)]
    entries.append(struct.pack("<HHIHxx", 0x0128, 3, 1, 2))
    return (
        b"II*\0" + struct.pack("<IH", 8, 3) + b"".join(entries) + bytes(4) + struct.pack("<II", numerator, denominator)
    )


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("dots", [(2**32 - 1, 1), (70_000, 1), (1, 2**32 - 1), (300, 1)])
@pytest.mark.filterwarnings("ignore::rarefy.RarefyWarning")
def test_no_resolution_keeps_a_picture_from_being_written(format: str, dots: tuple[int, int]) -> None:
    exif, file = exif_of(*dots), io.BytesIO()
    Image(COLOURS, exif=exif).save(file, format)
    with PIL.Image.open(file) as picture:
        assert picture.size == (64, 32)
        if format == "JPEG":
            assert picture.info.get("jfif_density", (1, 1)) in ((300, 300), (1, 1), (72, 72))


def test_what_tiff_and_avif_do_not_hold_of_exif_is_said() -> None:
    exif = exif_of(300, 1)
    with_preview = exif[: 10 + 36] + struct.pack("<I", len(exif)) + exif[50:] + struct.pack("<H", 0) + bytes(4)
    for format in ("TIFF", "AVIF"):
        with pytest.warns(RarefyWarning, match="the preview in EXIF"):
            Image(COLOURS, exif=with_preview).save(io.BytesIO(), format)
    other = b"II*\0" + struct.pack("<IHHHIHxx", 8, 1, 0xC000, 3, 1, 5) + bytes(4)
    with pytest.warns(RarefyWarning, match="EXIF tag 49152"):
        Image(COLOURS, exif=other).save(io.BytesIO(), "TIFF")


def test_a_doubled_prefix_of_exif_is_none() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    image = quietly(saved(COLOURS, "JPEG", exif=b"Exif\0\0" + exif.tobytes()))
    assert (image.width, image.height) == (32, 64) and image.exif is not None and image.exif.startswith(b"MM")


def test_older_texts_of_png_are_read_or_said() -> None:
    from PIL.PngImagePlugin import PngInfo

    def text(kind: str, data: bytes) -> Image:
        info = PngInfo()
        info.add_text(f"Raw profile type {kind}", f"\n{kind}\n{len(data):8}\n{data.hex()}\n")
        return quietly(saved(COLOURS, "PNG", pnginfo=info))

    assert text("xmp", b"<x:xmpmeta/>").xmp == b"<x:xmpmeta/>"
    assert text("APP1", b"Exif\0\0II*\0\x08\0\0\0\0\0").exif == b"II*\0\x08\0\0\0\0\0"
    packet = text("APP1", b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>")
    assert packet.xmp == b"<x:xmpmeta/>" and packet.exif is None
    broken = PngInfo()
    broken.add_text("Raw profile type xmp", "\nxmp\n 4\nnot hex\n")
    assert quietly(saved(COLOURS, "PNG", pnginfo=broken)).notes == ("XMP in a text chunk that is damaged is left out",)
    assert text("iptc", b"\x1c\x02\x78\0\1a").notes == ("texts are left out: Raw profile type iptc",)


def segment(number: int, data: bytes) -> bytes:
    return bytes([0xFF, number]) + struct.pack(">H", len(data) + 2) + data


def test_what_segments_of_jpeg_hold_is_said() -> None:
    whole = saved(COLOURS, "JPEG")
    more = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(50)) + segment(0xEB, b"JP\0\0jumbc2pa")
    (note,) = quietly(whole[:2] + more + whole[2:]).notes
    assert note == "texts are left out: the extended part of its XMP, content credentials (C2PA)"
    start = whole.index(b"JFIF\0") + 7
    flat = whole[:start] + struct.pack(">BHH", 0, 2, 1) + whole[start + 5 :]
    assert quietly(flat).notes == ("its pixels are not square (2:1): they are taken as square",)


def test_tiff_says_what_it_leaves_out() -> None:
    image = quietly(tiff(GRAY, t33723=(7, 8, b"\x1c\x02\x78\0\1a\0\0"), t34377=(7, 12, b"8BIM\4\4\0\0\0\0\0\0")))
    assert image.notes == ("texts are left out: IPTC data, resources of Photoshop",)


def test_profiles_of_bmp_are_said() -> None:
    plain = saved(COLOURS, "BMP")
    assert quietly(plain).notes == ()
    pixels = plain[54:]
    head = struct.pack("<IiiHHIIiiII", 124, 64, 32, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM" + bytes(64)
    file = b"BM" + struct.pack("<IHHI", 138 + len(pixels), 0, 0, 138) + head + pixels
    assert quietly(file).notes == ("the colour profile of a BMP file is left out: the picture is taken as sRGB",)


def test_texts_larger_than_pillow_reads_are_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 1 << 21, np.uint8).tobytes()
    icc = profile(P3)
    large = struct.pack(">I", len(icc) + len(noise)) + icc[4:] + noise
    with pytest.raises(MediaError, match="MAX_TEXT_CHUNK if you trust it"):
        quietly(saved(COLOURS, "PNG", icc_profile=large))


def test_avif_too_wide_to_be_read_is_not_written() -> None:
    with pytest.raises(MediaError, match="32768"):
        Image(np.zeros((1, 32_769, 3), np.uint8)).save(io.BytesIO(), "AVIF")


def test_an_opaque_part_is_written_without_its_alpha(tmp_path: Path) -> None:
    """A part has an alpha where the whole has one, so that all parts have equal shapes."""
    whole = Image(COLOURS, alpha=np.full(COLOURS.shape[:2], 255, np.uint8), exif=exif_of(300, 1))
    whole.save(tmp_path / "a.jpg")
    found = quietly(tmp_path / "a.jpg")
    assert found.alpha is None and found.exif == exif_of(300, 1)
    alpha = np.full(COLOURS.shape[:2], 255, np.uint8)
    alpha[3, 4] = 254
    with pytest.raises(MediaError, match="no transparency"):
        Image(COLOURS, alpha=alpha).save(tmp_path / "b.jpg")
