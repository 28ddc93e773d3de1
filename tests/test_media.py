"""Pictures in and out: what is taken comes back whole, what is not taken costs one sentence."""

import io
import os
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray
from PIL import ImageCms, ImageOps, PngImagePlugin

from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image, as_image
from rarefy.errors import MediaError, RarefyWarning

Pixels = NDArray[np.uint8]

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a>\xc3\xa9</a></x:xmpmeta>'


def noise(height: int, width: int, channels: int = 3) -> Pixels:
    """Make pixels without any symmetry."""
    return np.random.default_rng(5).integers(0, 256, (height, width, channels), np.uint8)


def pil_of(pixels: Pixels) -> PIL.Image.Image:
    return PIL.Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def saved(picture: PIL.Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def exif_with(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    """Make a TIFF structure with a make, the orientation, and bytes behind the directory."""
    value = struct.pack(order + {1: "Bxxx", 3: "Hxx", 4: "I"}[kind], orientation)
    make = struct.pack(order + "HHI", 0x010F, 2, 4) + b"abc\0"
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IH", 8, 2) + make + entry + bytes(4) + b"maker note"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 1), (33, 18)])
def test_lossless_files_come_back_exactly(size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    pixels = noise(*size, channels)
    png = saved(pil_of(pixels), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(png)
    for source in (png, bytearray(png), memoryview(png), path, str(path), io.BytesIO(png), pil_of(pixels)):
        image = as_image(source)
        assert (image.height, image.width, image.channels) == pixels.shape
        assert np.array_equal(image.pixels, pixels)
    if channels == 3:
        assert np.array_equal(as_image(saved(pil_of(pixels), "WEBP", lossless=True)).pixels, pixels)


def with_alpha(height: int, width: int, channels: int) -> Pixels:
    """Make pixels [H, W, channels + 1] of noise, so that no part of the alpha is like another."""
    return noise(height, width, channels + 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 18)])
def test_alpha_comes_back_exactly(size: tuple[int, int], channels: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    samples = with_alpha(*size, channels)
    picture = PIL.Image.fromarray(samples, "LA" if channels == 1 else "RGBA")
    tensor = torch.from_numpy(np.moveaxis(samples, 2, 0).copy())
    for source in (samples, picture, saved(picture, "PNG"), tensor, tensor.float() / 255, samples / 255.0):
        image = as_image(source)
        assert image.channels == channels
        assert image.alpha is not None and np.array_equal(image.alpha, samples[:, :, -1])
        assert np.array_equal(image.pixels, samples[:, :, :-1])
        assert np.array_equal(np.asarray(image), samples)
        assert image.to_pil().mode == picture.mode
        assert np.array_equal(as_image(image.to_pil()), samples)
        assert np.array_equal((image.to_tensor() * 255).round().to(torch.uint8), tensor)
    image.save(tmp_path / "a.png")
    assert np.array_equal(as_image(tmp_path / "a.png"), samples)
    with pytest.raises(MediaError, match="no transparency: save as PNG"):
        image.save(tmp_path / "a.jpg")


def test_an_opaque_alpha_is_none() -> None:
    samples = with_alpha(4, 5, 3)
    samples[:, :, 3] = 255
    assert as_image(samples).alpha is None
    assert as_image(saved(PIL.Image.fromarray(samples), "PNG")).alpha is None
    samples[3, 4, 3] = 254
    assert as_image(samples).alpha is not None


def test_alpha_is_turned_with_the_pixels() -> None:
    samples = with_alpha(5, 8, 3)
    image = as_image(saved(PIL.Image.fromarray(samples), "PNG", exif=exif_with(6)))
    assert np.array_equal(np.asarray(image), np.rot90(samples, -1))


def test_images_refuse_an_alpha_of_another_kind() -> None:
    for alpha in (np.zeros((4, 5, 1), np.uint8), np.zeros((4, 5)), np.zeros((5, 4), np.uint8), b"1"):
        with pytest.raises(MediaError, match="alpha"):
            Image(noise(4, 5), alpha=alpha)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_what_pillow_decodes(mode: str) -> None:
    data = saved(pil_of(noise(20, 31)).convert(mode), "JPEG")
    assert np.array_equal(as_image(data).pixels.squeeze(), np.asarray(PIL.Image.open(io.BytesIO(data))))


def test_gray_of_fewer_bits_is_widened() -> None:
    ramp = np.arange(16, dtype=np.uint8).reshape(1, 16)
    data = _png(16, 1, bit_depth=4, colour=0, row=bytes(a << 4 | b for a, b in ramp.reshape(-1, 2).tolist()))
    assert np.array_equal(as_image(data).pixels, (ramp * 17)[:, :, np.newaxis])


def _png(width: int, height: int, bit_depth: int, colour: int, row: bytes) -> bytes:
    """Spell a PNG file by hand."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_metadata_is_kept_verbatim_both_ways(format: str, channels: int) -> None:
    exif = exif_with(1)
    image = Image(noise(8, 9, channels), ICC, exif, XMP)
    file = io.BytesIO()
    image.save(file, format)
    assert not file.closed
    file.seek(0)
    again = as_image(file)
    assert not file.closed
    assert (again.icc, again.exif, again.xmp) == (ICC, exif, XMP)
    if format == "PNG":
        assert np.array_equal(again.pixels, image.pixels)
    read_by_pillow = PIL.Image.open(file)
    assert read_by_pillow.getexif()[0x010F] == "abc"
    assert read_by_pillow.info["icc_profile"] == ICC


def test_no_metadata_stays_none() -> None:
    for format in ("PNG", "JPEG", "WEBP"):
        image = as_image(saved(pil_of(noise(8, 8)), format))
        assert (image.icc, image.exif, image.xmp) == (None, None, None)


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_taken_out(orientation: int, order: str, kind: int) -> None:
    pixels = noise(5, 8)
    exif = exif_with(orientation, order, kind)
    data = saved(pil_of(pixels), "PNG", exif=exif)
    expected = np.asarray(
        ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(saved(pil_of(pixels), "PNG", exif=exif_with(orientation)))))
    )
    for source in (data, PIL.Image.open(io.BytesIO(data))):
        image = as_image(source)
        assert np.array_equal(image.pixels, expected)
        assert image.pixels.flags.c_contiguous
        assert image.exif == (exif if orientation == 1 else exif_with(1, order))
    assert as_image(image.to_pil()).pixels.shape == expected.shape  # not turned twice


@pytest.mark.parametrize("spelling", ['<d tiff:Orientation="6"/>', "<tiff:Orientation>6</tiff:Orientation>"])
def test_orientation_in_xmp_alone_is_applied_and_taken_out(spelling: str) -> None:
    pixels = noise(5, 8)
    image = as_image(saved(pil_of(pixels), "WEBP", lossless=True, xmp=spelling.encode()))
    assert np.array_equal(image.pixels, np.rot90(pixels, -1))
    assert image.xmp == spelling.replace("6", "1").encode()


def test_orientation_in_exif_goes_before_that_in_xmp() -> None:
    pixels = noise(5, 8)
    xmp = b'<d tiff:Orientation="3"/>'
    image = as_image(saved(pil_of(pixels), "WEBP", lossless=True, exif=exif_with(6), xmp=xmp))
    assert np.array_equal(image.pixels, np.rot90(pixels, -1))
    assert (image.exif, image.xmp) == (exif_with(1), xmp.replace(b"3", b"1"))
    upright = as_image(saved(pil_of(pixels), "WEBP", lossless=True, exif=exif_with(1), xmp=xmp))
    assert np.array_equal(upright.pixels, pixels)


@pytest.mark.parametrize(
    "exif",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"nonsense",
        exif_with(9),
        exif_with(0),
        exif_with(6)[:20],
    ],
)
def test_exif_that_asks_for_nothing_readable_is_kept(exif: bytes) -> None:
    pixels = noise(5, 8)
    image = as_image(saved(pil_of(pixels), "WEBP", lossless=True, exif=exif))
    assert np.array_equal(image.pixels, pixels)
    assert image.exif == exif


def test_exif_in_png_text_is_found() -> None:
    exif = exif_with(6)
    raw = b"Exif\0\0" + exif
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    image = as_image(saved(pil_of(noise(5, 8)), "PNG", pnginfo=text))
    assert (image.width, image.height, image.exif) == (5, 8, exif_with(1))
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 4\nnot hex\n")
    with pytest.raises(MediaError, match="EXIF"):
        as_image(saved(pil_of(noise(5, 8)), "PNG", pnginfo=text))


def test_a_photograph_with_a_preview_behind_it_is_taken() -> None:
    pixels = noise(16, 16)
    data = saved(pil_of(pixels), "MPO", save_all=True, append_images=[pil_of(noise(8, 8))])
    assert PIL.Image.open(io.BytesIO(data)).format == "MPO"
    with pytest.warns(RarefyWarning, match="of its 2 pictures, number 1"):
        assert as_image(data).width == 16


NOT_TAKEN: dict[str, tuple[Callable[[], Any], str]] = {
    "float image": (lambda: pil_of(noise(4, 5)).convert("F"), r"floating-point samples.*0\.\.1"),
    "integers beyond 16 bits": (lambda: PIL.Image.fromarray(np.full((2, 2), 65_536, np.int32)), r"0\.\.65535"),
    "avif that is none": (lambda: b"\0\0\0\x1cftypavif" + bytes(20), "damaged"),
    "film": (lambda: b"\0\0\0\x1cftypisom" + bytes(20), "film"),
    "jpeg 2000": (lambda: saved(pil_of(noise(4, 5)), "JPEG2000"), "JPEG 2000.*store it as PNG"),
    "rarefy": (lambda: b"\xf6rfy\0\0", "decode it first"),
    "nothing": (lambda: b"", "empty"),
    "nothing in a file": (lambda: io.BytesIO(), "empty"),
    "text": (lambda: b"Dear reader,\n", "text file"),
    "text stream": (lambda: io.StringIO("Dear reader"), "binary mode"),
    "zeros": (lambda: bytes(100), "unknown kind"),
    "empty image": (lambda: PIL.Image.new("RGB", (0, 5)), "pixel"),
    "no pictures at all": (lambda: {"a": 1}, "type dict"),
    "none": (lambda: None, "NoneType"),
    "number": (lambda: 3, "type int"),
    "floats beyond 1": (lambda: np.full((4, 4, 3), 1.5), r"0\.\.1, this one in 1\.5\.\.1\.5"),
    "floats below 0": (lambda: np.full((4, 4, 3), -0.1), r"0\.\.1"),
    "not a number": (lambda: np.full((4, 4, 3), np.nan), r"0\.\.1"),
    "integers": (lambda: np.zeros((4, 4, 3), np.int64), "int64"),
    "complex numbers": (lambda: np.zeros((4, 4, 3), np.complex64), "complex64"),
    "empty array": (lambda: np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    "five channels": (lambda: noise(4, 4, 5), "C = 1 to 4"),
    "batch": (lambda: np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\)"),
    "planes": (lambda: np.zeros((3, 8, 9), np.uint8), r"\(3, 8, 9\)"),
    "line": (lambda: np.zeros(9, np.uint8), r"\(9,\)"),
}


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_is_not_taken_costs_one_sentence(name: str, tmp_path: Path) -> None:
    make, message = NOT_TAKEN[name]
    source = make()
    with pytest.raises(MediaError, match=message) as caught:
        as_image(source)
    assert "\n" not in str(caught.value)
    if isinstance(source, bytes):
        path = tmp_path / "input.png"
        path.write_bytes(source)
        with pytest.raises(MediaError, match=message) as caught:
            as_image(path)
        assert str(path) in str(caught.value)


def test_paths_that_hold_no_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"absent\.png does not exist"):
        as_image(tmp_path / "absent.png")
    with pytest.raises(MediaError, match="is a folder"):
        as_image(tmp_path)
    with pytest.raises(MediaError, match="cannot be opened"):
        as_image("a\0b")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_cut_files_are_told(format: str) -> None:
    data = saved(pil_of(noise(40, 50)), format)
    for stop in range(12, len(data) - 40, 211):  # the last bytes of a file need not belong to its pixels
        with pytest.raises(MediaError):
            as_image(data[:stop])


def test_damaged_pixels_of_a_png_are_told() -> None:
    data = bytearray(saved(pil_of(noise(40, 50)), "PNG"))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(MediaError, match="damaged"):
        as_image(data)


def test_limits_hold_before_pixels_are_decoded() -> None:
    data = _png(70_000, 1, 8, 0, b"")  # claims more than its data holds
    with pytest.raises(MediaError, match="70000 x 1 pixels"):
        as_image(data)
    with pytest.raises(MediaError, match="Limits"):
        as_image(saved(pil_of(noise(4, 5)), "PNG"), Limits(pixels=19))
    for source in (noise(4, 5), pil_of(noise(4, 5))):
        assert as_image(source, Limits(pixels=20)).width == 5
        with pytest.raises(MediaError, match="limit of 19"):
            as_image(source, Limits(pixels=19))


def test_arrays_of_any_layout() -> None:
    pixels = noise(6, 9)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    wide = np.zeros((12, 18, 3), np.uint8)
    wide[::2, ::2] = pixels
    for array in (pixels, frozen, np.asfortranarray(pixels), wide[::2, ::2], pixels[::-1, ::-1][::-1, ::-1]):
        image = as_image(array)
        assert np.array_equal(image.pixels, pixels)
        assert image.pixels.flags.c_contiguous
    assert as_image(pixels).pixels.base is pixels or as_image(pixels).pixels is pixels  # no copy
    assert as_image(pixels[:, :, 0]).pixels.shape == (6, 9, 1)
    assert as_image(pixels[:, :, :1]).channels == 1


def test_an_image_comes_back_as_it_is() -> None:
    image = as_image(noise(2, 3))
    assert as_image(image) is image


def test_images_are_arrays() -> None:
    pixels = noise(6, 9)
    image = Image(pixels)
    assert np.asarray(image) is pixels
    assert np.array_equal(np.asarray(image, dtype=np.float32), pixels.astype(np.float32))
    copied = np.array(image)
    copied[:] = 0
    assert pixels.any()
    assert image.__array__(copy=True) is not pixels
    assert image.__array__(np.uint8, copy=False) is pixels
    with pytest.raises(ValueError, match="copy"):
        image.__array__(np.float32, copy=False)


def test_images_refuse_other_pixels() -> None:
    for pixels in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), [[1]]):
        with pytest.raises(MediaError):
            Image(pixels)  # type: ignore[arg-type]


def test_repr_is_short() -> None:
    assert repr(Image(noise(6, 9), icc=b"a", xmp=b"b")) == "Image(9 x 6, RGB, icc, xmp)"
    assert repr(Image(noise(6, 9, 1))) == "Image(9 x 6, gray)"


@pytest.mark.parametrize("channels", [1, 3])
def test_tensors_and_back(channels: int) -> None:
    torch = pytest.importorskip("torch")
    pixels = np.arange(256 * channels, dtype=np.uint8).reshape(16, 16, channels)
    tensor = Image(pixels).to_tensor()
    assert (tensor.dtype, tuple(tensor.shape)) == (torch.float32, (channels, 16, 16))
    assert (tensor.min().item(), tensor.max().item()) == (0, 1)
    for same in (
        tensor,
        tensor.double(),
        tensor.half(),
        (tensor * 255).round().to(torch.uint8),
        tensor.requires_grad_(),
    ):
        assert np.array_equal(as_image(same).pixels, pixels)


def test_tensors_round_halves_up() -> None:
    torch = pytest.importorskip("torch")
    halves = (torch.arange(255, dtype=torch.float64) + 0.5) / 255
    below = torch.nextafter(halves, torch.zeros(()).double()) - 1e-12
    assert as_image(halves.reshape(1, 1, -1)).pixels.ravel().tolist() == list(range(1, 256))
    assert as_image(below.reshape(1, 1, -1)).pixels.ravel().tolist() == list(range(255))


def test_tensors_that_are_not_taken() -> None:
    torch = pytest.importorskip("torch")
    good = torch.zeros(3, 4, 4)
    nan = good.clone()
    nan[0, 0, 0] = float("nan")
    for tensor in (good + 1.001, good - 0.001, nan, good + float("inf"), good[None], good[0], good.int()):
        with pytest.raises(MediaError, match="tensors of pictures"):
            as_image(tensor)
    for tensor in (good[:, :0], good.to("meta"), good.to_sparse(), good.to(torch.complex64)):
        with pytest.raises(MediaError):
            as_image(tensor)


@pytest.mark.parametrize(
    ("name", "format"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a", "PNG")]
)
def test_suffix_says_the_format(name: str, format: str, tmp_path: Path) -> None:
    image = Image(noise(6, 9), exif=exif_with(1))
    image.save(tmp_path / name)
    with PIL.Image.open(tmp_path / name) as picture:
        assert picture.format == format
    assert as_image(tmp_path / name).exif == image.exif
    assert os.listdir(tmp_path) == [name]


def test_save_refuses_other_formats(tmp_path: Path) -> None:
    image = Image(noise(6, 9))
    with pytest.raises(MediaError, match=r"\.png, \.jpg"):
        image.save(tmp_path / "a.gif")
    with pytest.raises(MediaError, match="GIF"):
        image.save(tmp_path / "a.png", format="GIF")
    assert os.listdir(tmp_path) == []


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", fail)
        Image(noise(6, 9)).save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]
    with pytest.raises(FileNotFoundError):
        Image(noise(6, 9)).save(tmp_path / "absent" / "a.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_save_into_a_pipe_and_through_a_link(tmp_path: Path) -> None:
    pixels = noise(6, 9)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    Image(pixels).save(pipe)
    reader.join(10)
    assert np.array_equal(as_image(got[0]).pixels, pixels)
    target = tmp_path / "target.png"
    target.touch()
    link = tmp_path / "link.png"
    link.symlink_to(target)
    Image(pixels).save(link)
    assert link.is_symlink()
    assert np.array_equal(as_image(target).pixels, pixels)


def test_pipes_and_files_in_the_middle_are_read() -> None:
    png = saved(pil_of(noise(6, 9)), "PNG")

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    middle = io.BytesIO(b"before" + png)
    middle.seek(6)
    for file in (Pipe(png), middle):
        assert np.array_equal(as_image(file).pixels, noise(6, 9))


def test_metadata_too_large_for_jpeg_is_left_out_and_said(tmp_path: Path) -> None:
    image = Image(np.zeros((4, 5, 3), np.uint8), xmp=b"<x:xmpmeta/>" + b" " * 65_504)
    with pytest.warns(RarefyWarning, match="XMP of more than 65504 bytes"):
        image.save(tmp_path / "a.jpg")
    assert as_image(tmp_path / "a.jpg").xmp is None
    image.save(tmp_path / "a.png")
    assert as_image(tmp_path / "a.png").xmp == image.xmp
