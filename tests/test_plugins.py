"""rarefy inside Pillow, imageio, numcodecs and Zarr: the same pixels, metadata and errors as rarefy gives itself."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as pil
from PIL import ImageCms, ImageFile, UnidentifiedImageError

import rarefy
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.media import as_image
from rarefy.codecs.weights import candidates, load_codec
from rarefy.errors import FormatError, MediaError, OptionError
from rarefy.tools.plugins import pillow
from rarefy.tools.plugins.stacks import check_options, decode_stack, encode_stack

Pixels = NDArray[np.uint8]

if not candidates("image"):
    pytest.skip('no weights of codec "image" are here', allow_module_level=True)

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    """A picture of odd size, uint8 [45, 70, 3], smooth with one edge."""
    y, x = np.mgrid[:45, :70]
    return np.stack([3 * x, 5 * y, np.where(x + y > 60, 200, 90)], 2).astype(np.uint8)


@pytest.fixture
def file(pixels: Pixels, tmp_path: Path) -> Path:
    """A file of the picture, with all kinds of metadata."""
    exif = pil.Exif()
    exif[0x010F] = "Maker"
    path = tmp_path / "a.rfy"
    pil.fromarray(pixels).save(path, quality=80, icc_profile=PROFILE, exif=exif, xmp=XMP)
    return path


def stack_of(pixels: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Parts of the picture, an array of this shape; the last axis is 1 or 3 channels, or a width."""
    channels = shape[-1] if shape[-1] in (1, 3) else 1
    height, width = shape[-3:-1] if channels == shape[-1] else shape[-2:]
    count = int(np.prod(shape)) // (height * width * channels)
    return np.stack([pixels[n : n + height, n : n + width, :channels] for n in range(count)]).reshape(shape)


def decoded_alone(stack: Pixels, quality: float) -> Pixels:
    """What rarefy makes of each picture of a stack [N, H, W, C]."""
    return np.stack([rarefy.decode(rarefy.encode(picture, quality=quality)).pixels for picture in stack])


def is_close(first: Pixels, second: Pixels) -> bool:
    """Equal up to the rounding of sums that were added in another order."""
    return first.shape == second.shape and int(np.abs(first.astype(int) - second).max()) <= 1


def with_alpha(pixels: Pixels) -> Pixels:
    """The picture with an alpha that is half transparent on its left."""
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :30] = 128
    return np.dstack((pixels, alpha))


class TestPillow:
    def test_a_file_opens_as_it_decodes(self, file: Path) -> None:
        with pil.open(file) as picture:
            assert (picture.format, picture.size, picture.mode) == ("RAREFY", (70, 45), "RGB")
            assert picture.get_format_mimetype() == "application/vnd.rarefy"
            assert np.array_equal(np.asarray(picture), rarefy.decode(file).pixels)

    def test_metadata_is_kept(self, file: Path) -> None:
        with pil.open(file) as picture:
            assert picture.info["icc_profile"] == PROFILE and picture.info["xmp"] == XMP
            assert picture.getexif()[0x010F] == "Maker"
        assert rarefy.decode(file).icc == PROFILE

    def test_opening_reads_the_header_alone(self, file: Path) -> None:
        program = f"""
import sys
from PIL import Image
import rarefy.tools.plugins.pillow
with Image.open({str(file)!r}) as picture:
    assert picture.size == (70, 45) and picture.info["xmp"]
assert "torch" not in sys.modules
"""
        subprocess.run([sys.executable, "-c", program], check=True, cwd="/")

    def test_a_file_in_memory_stays_open(self, file: Path) -> None:
        memory = io.BytesIO(file.read_bytes())
        assert pil.open(memory).convert("L").size == (70, 45)
        assert not memory.closed

    def test_gray_stays_gray(self, pixels: Pixels, tmp_path: Path) -> None:
        pil.fromarray(pixels[:, :, 0]).save(tmp_path / "gray.rfy")
        with pil.open(tmp_path / "gray.rfy") as picture:
            assert picture.mode == "L" and np.asarray(picture).shape == (45, 70)

    def test_quality_and_codec_are_those_of_rarefy(self, pixels: Pixels) -> None:
        for options in ({}, {"quality": 5}, {"quality": 90, "codec": "image"}):
            memory = io.BytesIO()
            pil.fromarray(pixels).save(memory, "RAREFY", **options)
            assert memory.getvalue() == rarefy.encode(pixels, **options)  # type: ignore[arg-type]

    def test_only_the_profile_is_kept_unasked(self, file: Path, tmp_path: Path) -> None:
        with pil.open(file) as picture:
            picture.save(tmp_path / "b.rfy")
            picture.save(tmp_path / "c.rfy", icc_profile=None, exif=picture.info["exif"])
        plain, chosen = rarefy.decode(tmp_path / "b.rfy"), rarefy.decode(tmp_path / "c.rfy")
        assert (plain.icc, plain.exif, plain.xmp) == (PROFILE, None, None)
        assert chosen.icc is None and chosen.exif == rarefy.decode(file).exif

    def test_pixels_are_saved_as_they_are_in_memory(self, pixels: Pixels, tmp_path: Path) -> None:
        """The orientation of a file that a picture came from says nothing of what has been made of it since."""
        exif = pil.Exif()
        exif[0x0112] = 6
        pil.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
        with pil.open(tmp_path / "turned.png") as picture:
            picture.save(tmp_path / "turned.rfy")
        assert rarefy.decode(tmp_path / "turned.rfy").pixels.shape == pixels.shape

    def test_orientation_that_is_given_is_applied(self, pixels: Pixels, tmp_path: Path) -> None:
        exif = pil.Exif()
        exif[0x0112] = 6
        pil.fromarray(pixels).save(tmp_path / "turned.rfy", exif=exif)
        with pil.open(tmp_path / "turned.rfy") as picture:
            assert picture.size == (45, 70) and picture.getexif()[0x0112] == 1

    def test_other_files_are_left_to_others(self, pixels: Pixels, tmp_path: Path) -> None:
        pil.fromarray(pixels).save(tmp_path / "a.png")
        with pil.open(tmp_path / "a.png") as picture:
            assert picture.format == "PNG"
        with pytest.raises(UnidentifiedImageError):
            pil.open(io.BytesIO(b"\xf6rfx" + bytes(40)))
        with pytest.raises(SyntaxError, match="no rarefy file"):
            pillow.RarefyImageFile(tmp_path / "a.png")

    def test_a_damaged_header_is_told(self, file: Path) -> None:
        with pytest.raises(UnidentifiedImageError, match="take a release that reads it"):
            pil.open(io.BytesIO(b"\xf6rfy\x63" + file.read_bytes()[5:]))

    def test_damaged_pixels_are_told(self, file: Path) -> None:
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
        with pil.open(file) as picture, pytest.raises(OSError, match=r"a\.rfy: .*damaged"):
            picture.load()
        with pil.open(file) as picture, pytest.raises(OSError, match=r"a\.rfy: .*damaged"):
            picture.verify()

    def test_a_whole_file_verifies(self, file: Path) -> None:
        with pil.open(file) as picture:
            picture.verify()

    def test_a_bomb_is_refused(self) -> None:
        from rarefy.codecs.header import Header, write_header

        header = Header(codec="image", weights=bytes(4), width=65_000, height=65_000, quality=0)
        with pytest.raises(pil.DecompressionBombError):
            pil.open(io.BytesIO(write_header(header, 0) + bytes(40)))

    def test_wrong_options_leave_no_file(self, pixels: Pixels, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="quality 101"):
            pil.fromarray(pixels).save(tmp_path / "no.rfy", quality=101)
        assert not (tmp_path / "no.rfy").exists()

    def test_thumbnails_decode_a_preview(self, pixels: Pixels, tmp_path: Path) -> None:
        path = tmp_path / "large.rfy"
        pil.fromarray(np.tile(pixels, (4, 4, 1))[:179, :277]).save(path)
        with pil.open(path) as picture:
            assert picture.draft("RGB", (69, 44)) == ("RGB", (0, 0, 277 / 4, 179 / 4))
            assert picture.size == (70, 45)
            assert np.array_equal(np.asarray(picture), rarefy.open(path).preview(4).pixels)
        with pil.open(path) as picture, pil.open(path) as whole:
            picture.thumbnail((50, 50))
            assert picture.size == (50, 32)
            expected = whole.resize((50, 32), pil.Resampling.BICUBIC)
            assert np.abs(np.asarray(picture).astype(int) - np.asarray(expected)).mean() < 3
        with pil.open(path) as picture:
            assert picture.draft("RGB", (200, 100)) == ("RGB", (0, 0, 277, 179)) and picture.size == (277, 179)

    def test_truncated_files_are_shown_where_pillow_is_told_so(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tiles = Encoder(rarefy.load(), [as_image(np.asarray(rarefy.decode(file)))], tile=48).files(12800)[0]
        for whole in (file.read_bytes(), tiles):
            file.write_bytes(whole[:-40])
            with pil.open(file) as picture, pytest.raises(OSError, match=r"a\.rfy"):
                picture.load()
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        with pil.open(file) as picture:
            assert np.asarray(picture).shape == (45, 70, 3)

    def test_the_incremental_parser_reads_it(self, file: Path) -> None:
        parser = ImageFile.Parser()
        data = file.read_bytes()
        for start in range(0, len(data), 300):
            parser.feed(data[start : start + 300])
        assert np.array_equal(np.asarray(parser.close()), rarefy.decode(data).pixels)


class TestImageio:
    @pytest.fixture(autouse=True)
    def imageio(self) -> Any:
        """imageio with the plugin."""
        self.iio = pytest.importorskip("imageio.v3", reason="needs imageio")
        import rarefy.tools.plugins.imageio

        return rarefy.tools.plugins.imageio

    def test_read_and_write(self, pixels: Pixels, tmp_path: Path) -> None:
        path = tmp_path / "a.rfy"
        self.iio.imwrite(path, pixels, quality=70)
        assert path.read_bytes() == rarefy.encode(pixels, quality=70)
        decoded = self.iio.imread(path)
        assert np.array_equal(decoded, rarefy.decode(path).pixels) and decoded.flags.writeable

    def test_bytes(self, pixels: Pixels) -> None:
        data = self.iio.imwrite("<bytes>", pixels, extension=".rfy")
        assert data == rarefy.encode(pixels)
        assert self.iio.imread(data, plugin="rarefy").shape == pixels.shape
        assert self.iio.imread(io.BytesIO(data), extension=".rfy").shape == pixels.shape

    def test_properties_are_those_of_the_pixels(self, pixels: Pixels, tmp_path: Path) -> None:
        for name, picture in (("rgb", pixels), ("gray", pixels[:, :, 0])):
            path = tmp_path / f"{name}.rfy"
            self.iio.imwrite(path, picture)
            for index in (0, ...):
                properties, found = self.iio.improps(path, index=index), self.iio.imread(path, index=index)
                assert (properties.shape, properties.dtype) == (found.shape, found.dtype)
            assert [frame.shape for frame in self.iio.imiter(path)] == [picture.shape]

    def test_metadata(self, file: Path) -> None:
        metadata = self.iio.immeta(file)
        assert (metadata["codec"], metadata["quality"]) == ("image", 80)
        assert metadata["icc_profile"] == PROFILE and metadata["xmp"] == XMP and metadata["exif"][:2] in (b"II", b"MM")

    def test_one_picture_per_file(self, pixels: Pixels, file: Path) -> None:
        with pytest.raises(ValueError, match="one picture"):
            self.iio.imread(file, index=1)
        with pytest.raises(MediaError, match="one picture"):
            self.iio.imwrite("<bytes>", [pixels, pixels], extension=".rfy")

    def test_other_files_are_left_to_others(self, pixels: Pixels, tmp_path: Path) -> None:
        self.iio.imwrite(tmp_path / "a.png", pixels)
        assert np.array_equal(self.iio.imread(tmp_path / "a.png"), pixels)
        with pytest.raises(OSError, match="can not handle"):
            self.iio.imread(tmp_path / "a.png", plugin="rarefy")
        with pytest.raises(OSError, match="can not handle"):
            self.iio.imwrite(tmp_path / "b.png", pixels, plugin="rarefy")


class TestNumcodecs:
    @pytest.fixture(autouse=True)
    def codec(self) -> None:
        """numcodecs, which finds the codec by its entry point."""
        self.numcodecs = pytest.importorskip("numcodecs", reason="needs numcodecs")
        self.make: Callable[..., Any] = lambda **options: self.numcodecs.get_codec({"id": "rarefy.image", **options})

    def test_its_configuration_makes_it_again(self) -> None:
        codec = self.make(quality=30, shape=[45, 70, 3])
        assert self.numcodecs.get_codec(json.loads(json.dumps(codec.get_config()))) == codec

    def test_a_chunk_of_one_picture_is_a_file(self, pixels: Pixels) -> None:
        data = self.make(quality=30).encode(pixels)
        assert data == rarefy.encode(pixels, quality=30)
        assert np.array_equal(self.make().decode(data), rarefy.decode(data).pixels)

    @pytest.mark.parametrize(
        ("shape", "plain"),
        [
            ((45, 70), (1, 45, 70, 1)),
            ((1, 45, 70, 1), (1, 45, 70, 1)),
            ((2, 40, 65, 3), (2, 40, 65, 3)),
            ((3, 15, 50), (3, 15, 50, 1)),
            ((1, 2, 15, 50), (2, 15, 50, 1)),
        ],
    )
    def test_shapes(self, pixels: Pixels, shape: tuple[int, ...], plain: tuple[int, ...]) -> None:
        array = stack_of(pixels, shape)
        codec = self.make(quality=90)
        decoded = codec.decode(codec.encode(array))
        assert is_close(decoded.reshape(plain), decoded_alone(array.reshape(plain), 90))

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_any_buffer_in_and_out(self, pixels: Pixels, kind: Callable[[bytes], Any]) -> None:
        codec = self.make(shape=[45, 70, 3])
        data = codec.encode(kind(pixels.tobytes()))
        assert data == rarefy.encode(pixels)
        out = bytearray(pixels.nbytes)
        codec.decode(kind(data), out=out)
        assert out == rarefy.decode(data).pixels.tobytes()

    def test_out_is_filled_and_must_fit(self, pixels: Pixels) -> None:
        codec = self.make()
        data = codec.encode(pixels)
        out = np.zeros(pixels.size, np.uint8)
        codec.decode(data, out=out)
        assert np.array_equal(out.reshape(pixels.shape), codec.decode(data))
        with pytest.raises(ValueError, match="out has"):
            codec.decode(data, out=np.zeros(pixels.size + 1, np.uint8))
        fortran = np.zeros(pixels.shape, np.uint8, order="F")
        codec.decode(data, out=fortran)
        assert np.array_equal(fortran, codec.decode(data))

    def test_what_is_no_picture_is_refused(self, pixels: Pixels) -> None:
        for wrong, message in (
            (pixels.astype(np.uint16), "uint8, not uint16"),
            (pixels[0, :, 0].copy(), "no stack of pictures"),
            (np.asfortranarray(pixels), "Fortran order"),
        ):
            with pytest.raises(MediaError, match=message):
                self.make().encode(wrong)
        for options in ({"quality": -1}, {"codec": "none"}):
            with pytest.raises(OptionError):
                self.make(**options)

    def test_a_damaged_stack_is_told(self, pixels: Pixels) -> None:
        data = self.make().encode(np.stack([pixels, pixels[::-1]]))
        for cut in (0, 3, 7, 11, 12, len(data) - 1):
            with pytest.raises(FormatError):
                self.make().decode(data[:cut])
        with pytest.raises(FormatError):
            self.make().decode(b"\xff\xff\xff\xff" + data[4:])


class TestZarr:
    @pytest.fixture(autouse=True)
    def zarr(self) -> None:
        """Zarr, which finds the codec by its entry point."""
        self.zarr = pytest.importorskip("zarr", reason="needs zarr")

    def create(self, store: Path, **options: Any) -> Any:
        """An array of pictures [3, 45, 70, 3]."""
        settings = {"name": "rarefy.image", "configuration": {"quality": 60}}
        defaults = {"shape": (3, 45, 70, 3), "chunks": (1, 45, 70, 3), "dtype": "uint8"}
        if options.get("zarr_format") != 2:
            defaults |= {"serializer": settings, "compressors": None}
        return self.zarr.create_array(store, **(defaults | options))

    def test_chunks_are_files(self, pixels: Pixels, tmp_path: Path) -> None:
        self.create(tmp_path)[:] = np.stack([pixels, pixels[::-1], pixels[:, ::-1]])
        array = self.zarr.open_array(tmp_path, mode="r")
        expected = rarefy.decode(tmp_path / "c/1/0/0/0").pixels
        assert np.array_equal(array[1], expected)
        assert np.array_equal(array[1, 5:9, 7:20], expected[5:9, 7:20])
        assert (tmp_path / "c/1/0/0/0").read_bytes() == rarefy.encode(pixels[::-1], quality=60)

    def test_stacks_share_a_chunk(self, pixels: Pixels, tmp_path: Path) -> None:
        source = stack_of(pixels, (2, 40, 65, 3))
        array = self.create(tmp_path, shape=source.shape, chunks=source.shape)
        array[:] = source
        assert is_close(array[:], decoded_alone(source, 60))

    def test_pictures_larger_than_chunks(self, pixels: Pixels, tmp_path: Path) -> None:
        array = self.create(tmp_path, shape=pixels.shape, chunks=(32, 48, 3))
        array[:] = pixels
        assert np.array_equal(array[:32, :48], rarefy.decode(tmp_path / "c/0/0/0").pixels)
        assert np.array_equal(array[32:, 48:], rarefy.decode(tmp_path / "c/1/1/0").pixels[:13, :22])

    def test_chunks_in_shards(self, pixels: Pixels, tmp_path: Path) -> None:
        source = stack_of(pixels, (2, 40, 65))
        array = self.create(tmp_path, shape=source.shape, chunks=(1, 40, 65), shards=source.shape)
        array[:] = source
        assert is_close(array[1][None, :, :, None], decoded_alone(source[1:, :, :, None], 60))

    def test_the_array_remembers_the_codec(self, tmp_path: Path) -> None:
        from rarefy.tools.plugins.zarr import Image as ZarrImage

        self.create(tmp_path, serializer=ZarrImage(quality=12))
        assert self.zarr.open_array(tmp_path).metadata.codecs == (ZarrImage(quality=12),)

    def test_what_is_no_picture_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="uint8, not float32"):
            self.create(tmp_path / "a", dtype="float32")
        with pytest.raises(MediaError, match="no stack of pictures"):
            self.create(tmp_path / "b", shape=(100,), chunks=(10,))
        for configuration in ({"quality": 200}, {"speed": 1}):
            with pytest.raises(OptionError):
                self.create(tmp_path / "c", serializer={"name": "rarefy.image", "configuration": configuration})

    def test_a_chunk_of_another_size_is_refused(self, pixels: Pixels, tmp_path: Path) -> None:
        array = self.create(tmp_path)
        array[:] = np.stack([pixels] * 3)
        (tmp_path / "c/0/0/0/0").write_bytes(rarefy.encode(pixels[:-1]))
        with pytest.raises(FormatError, match="altered"):
            array[0]

    def test_version_2_uses_the_codec_of_numcodecs(self, pixels: Pixels, tmp_path: Path) -> None:
        numcodecs = pytest.importorskip("numcodecs", reason="needs numcodecs")
        codec = numcodecs.get_codec({"id": "rarefy.image", "quality": 60})
        array = self.create(tmp_path, zarr_format=2, compressors=codec)
        array[:] = np.stack([pixels] * 3)
        assert np.array_equal(array[2], rarefy.decode(tmp_path / "2.0.0.0").pixels)

    def test_version_2_keeps_the_alpha_of_what_is_opaque(self, pixels: Pixels, tmp_path: Path) -> None:
        numcodecs = pytest.importorskip("numcodecs", reason="needs numcodecs")
        source = np.dstack((pixels, np.full((45, 70), 255, np.uint8)))[None]
        codec = numcodecs.get_codec({"id": "rarefy.image"})
        array = self.create(tmp_path, shape=source.shape, chunks=source.shape, zarr_format=2, compressors=codec)
        array[:] = source
        assert np.array_equal(array[:][..., 3], source[..., 3])


def test_alpha_is_kept_in_pillow(pixels: Pixels, tmp_path: Path) -> None:
    for source, mode in ((with_alpha(pixels), "RGBA"), (with_alpha(pixels)[:, :, 2:], "LA")):
        path = tmp_path / f"{mode}.rfy"
        pil.fromarray(source).save(path)
        assert np.array_equal(rarefy.decode(path).alpha, source[:, :, -1])
        with pil.open(path) as picture:
            assert picture.mode == mode and np.array_equal(np.asarray(picture)[:, :, -1], source[:, :, -1])


def test_sounds_are_no_pictures(tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3", reason="needs imageio")
    import rarefy.tools.plugins.imageio

    (tmp_path / "a.rfy").write_bytes(rarefy.encode(np.zeros((1, 3000), np.float32), sample_rate=24_000))
    for read in (iio.imread, iio.improps):
        with pytest.raises(MediaError, match="holds a sound"):
            read(tmp_path / "a.rfy")
    for codec, quality in (("walloc-audio", 50), ("image", "high")):
        with pytest.raises(OptionError, match=r"not for pictures|runs from 0 to 100"):
            check_options(codec, quality)  # type: ignore[arg-type]
    check_options("image", np.float32(50))


def test_options_of_decoding_reach_imageio(pixels: Pixels, tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3", reason="needs imageio")
    import rarefy.tools.plugins.imageio  # noqa: F401

    data = Encoder(load_codec("image"), [as_image(np.tile(pixels, (8, 5, 1)))], tile=128).files(50 * 256)[0]
    (tmp_path / "cut.rfy").write_bytes(data[:-200])
    with pytest.raises(FormatError):
        iio.imread(tmp_path / "cut.rfy")
    assert iio.imread(tmp_path / "cut.rfy", allow_damaged=True).shape == (360, 350, 3)


def test_alpha_is_kept_in_imageio(pixels: Pixels, tmp_path: Path) -> None:
    iio = pytest.importorskip("imageio.v3", reason="needs imageio")
    import rarefy.tools.plugins.imageio  # noqa: F401

    source = with_alpha(pixels)
    iio.imwrite(tmp_path / "a.rfy", source)
    assert iio.improps(tmp_path / "a.rfy").shape == source.shape
    assert np.array_equal(iio.imread(tmp_path / "a.rfy")[:, :, 3], source[:, :, 3])


def test_alpha_is_kept_in_chunks(pixels: Pixels) -> None:
    """Of pictures that are opaque everywhere, too, between others and alone."""
    opaque = np.dstack((pixels, np.full((45, 70), 255, np.uint8)))
    for pictures in ([with_alpha(pixels), opaque], [opaque, with_alpha(pixels)], [opaque]):
        source = np.stack(pictures)
        data = encode_stack(source, "image", 50.0)
        for shape in (None, source.shape):
            assert np.array_equal(decode_stack(data, shape)[..., 3].reshape(-1), source[..., 3].reshape(-1))


def test_an_alpha_that_a_file_leaves_out_is_added(pixels: Pixels) -> None:
    data = rarefy.encode(pixels)
    assert (decode_stack(data, (45, 70, 4))[..., 3] == 255).all()


def test_pictures_with_and_without_alpha_decode_together(pixels: Pixels) -> None:
    files = [rarefy.encode(pixels), rarefy.encode(with_alpha(pixels))]
    for batch in (files, files[::-1]):
        decoded = rarefy.decode(batch)
        for one, data in zip(decoded, batch, strict=True):
            alone = rarefy.decode(data)
            assert is_close(one.pixels, alone.pixels)
            assert (one.alpha is None) == (alone.alpha is None)
