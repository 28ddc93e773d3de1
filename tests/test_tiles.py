"""Pictures of several units, regions, previews, alpha, rate control and damage, for every registered codec."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import rarefy
from rarefy.codecs import alpha, api, container
from rarefy.codecs.base import Codec
from rarefy.codecs.decoding import WHOLE_PIXELS, WINDOW
from rarefy.codecs.encoding import TILE, Encoder, tile_for
from rarefy.codecs.grid import Grid, common, divided, grown, multiplied, relative
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.codecs.registry import codecs
from rarefy.codecs.weights import candidates, load_codec
from rarefy.data import decode as latents_of
from rarefy.errors import ChecksumError, FormatError, LimitError, OptionError
from rarefy.tools.metrics import psnr

Pixels = NDArray[np.uint8]
TILE_SIDE = 64


@pytest.fixture(params=sorted(name for name, entry in codecs().items() if entry.media == "image"))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each registered codec whose weights are here."""
    if not candidates(request.param):
        pytest.skip(f'no weights of codec "{request.param}" are here')
    codec = load_codec(request.param)
    if not (codec.has_regions and codec.has_quality):
        pytest.skip(f'codec "{request.param}" has files of one unit, or one quality')
    return codec


@pytest.fixture(scope="module")
def picture(photograph: Pixels) -> Image:
    """97 x 141 pixels with an alpha that has opaque, invisible and soft parts."""
    ramp = np.add.outer(np.arange(97), np.arange(141)).clip(0, 255).astype(np.uint8)
    ramp[:TILE_SIDE, :TILE_SIDE] = 255
    ramp[80:, 100:] = 0
    return Image(photograph, alpha=ramp, xmp=b"<x/>")


def tiled(codec: Codec, picture: Image, quality: int = 12800, tile: int = TILE_SIDE) -> bytes:
    """A file of six units."""
    return Encoder(codec, [picture], tile=tile).files(quality)[0]


def test_grids_cover_without_overlap() -> None:
    for shape, step in [((5,), 2), ((97, 141), 64), ((3, 4, 5), 2), ((2, 3, 2, 5), 3), ((7, 7), 0), ((64, 64), 64)]:
        grid = Grid(shape, step)
        hits = np.zeros(shape, int)
        for number in range(len(grid)):
            box = grid.box(number)
            hits[box] += 1
            assert grid.touched(box) == [number]
        assert (hits == 1).all()
    grid = Grid((97, 141), 64)
    assert grid.counts == (2, 3) and grid.box(5) == (slice(64, 97), slice(128, 141))
    assert grid.touched((slice(63, 65), slice(0, 128))) == [0, 1, 3, 4]
    with pytest.raises(IndexError):
        grid.box(6)
    with pytest.raises(ValueError, match="no grid"):
        Grid((0, 3), 1)


def test_boxes() -> None:
    box = (slice(10, 20), slice(30, 33))
    assert grown(box, 12, (25, 100)) == (slice(0, 25), slice(18, 45))
    assert common(box, (slice(0, 12), slice(32, 50))) == (slice(10, 12), slice(32, 33))
    assert relative(box, (slice(10, 99), slice(20, 99))) == (slice(0, 10), slice(10, 13))
    assert divided(box, 8) == (slice(1, 3), slice(3, 5)) and multiplied(divided(box, 8), 8)[0] == slice(8, 24)


def test_only_large_pictures_are_cut() -> None:
    assert tile_for(1024, 1024, 16) == 0 and tile_for(1, WHOLE_PIXELS, 16) == 0
    assert tile_for(1024, 1025, 16) == TILE and tile_for(2000, 2000, 20) == 760 and TILE % WINDOW == 0


def test_several_units_show_the_picture_without_seams(codec: Codec, picture: Image) -> None:
    data = tiled(codec, picture)
    header = container.read(data).header
    assert header.unit_count == 6 and header.has_alpha
    decoded, whole = codec.decode(data), codec.decode(codec.encode(picture, 50))
    assert psnr(decoded.pixels, picture.pixels) > psnr(whole.pixels, picture.pixels) - 0.3
    assert picture.alpha is not None and decoded.alpha is not None and decoded.xmp == b"<x/>"
    assert np.array_equal(decoded.alpha, picture.alpha)
    error = np.abs(decoded.pixels.astype(int) - picture.pixels)
    beside = error[:, [63, 64, 127, 128]].mean(), error[[63, 64]].mean()
    assert max(beside) < 1.6 * error.mean(), "errors gather where units meet"


@pytest.mark.skipif(not candidates("walloc-image"), reason="no weights")
def test_wavelets_see_beyond_their_units(photograph: Pixels) -> None:
    """Their reach is their halo, so that units are what the whole picture has there; `image` reaches farther."""
    codec, picture = load_codec("walloc-image"), Image(photograph)
    units, whole = (
        codec.decode(data, precision="float32") for data in (tiled(codec, picture), codec.encode(picture, 50))
    )
    assert np.abs(units.pixels.astype(int) - whole.pixels).max() <= 2


def test_files_of_several_qualities_decode_in_one_call(codec: Codec, photograph: Pixels) -> None:
    datas = [codec.encode(Image(photograph), quality) for quality in (20, 90, 20)]
    for each, alone in zip(rarefy.decode(datas), map(rarefy.decode, datas), strict=True):
        assert np.abs(each.pixels.astype(int) - alone.pixels).max() <= 2


def test_every_way_to_read_keeps_to_limits(codec: Codec, photograph: Pixels) -> None:
    data, limits = codec.encode(Image(photograph), 50), Limits(pixels=1000)
    for read in (
        lambda: rarefy.decode(data, limits=limits),
        lambda: rarefy.open(data, limits=limits).image(),
        lambda: api.decode_tensors([data], limits=limits),
        lambda: latents_of([data], limits=limits),
    ):
        with pytest.raises(LimitError):
            read()


def test_an_alpha_without_bytes_is_told(codec: Codec, picture: Image) -> None:
    file = container.read(codec.encode(picture, 50))
    empty = replace(file.units[0], sections={**file.units[0].sections, "alpha": b""})
    data = container.write(container.File(file.header, [empty], file.metadata))
    for read in (rarefy.decode, api.verify):
        with pytest.raises(FormatError):
            read(data)


def test_regions_equal_the_crop(codec: Codec, picture: Image) -> None:
    for data in (tiled(codec, picture), codec.encode(picture, 50)):
        whole = rarefy.decode(data)
        assert whole.alpha is not None
        with rarefy.open(data) as file:
            for x, y, width, height in [
                (0, 0, 141, 97),
                (0, 0, 1, 1),
                (140, 96, 1, 1),
                (50, 60, 30, 9),
                (3, 70, 138, 27),
            ]:
                part = file.region(x, y, width, height)
                assert np.array_equal(part.pixels, whole.pixels[y : y + height, x : x + width])
                assert part.alpha is not None
                assert np.array_equal(part.alpha, whole.alpha[y : y + height, x : x + width])
            assert part.xmp == b"<x/>"
            for wrong in [(0, 0, 142, 97), (-1, 0, 5, 5), (0, 0, 0, 5), (141, 0, 1, 1)]:
                with pytest.raises(OptionError, match="not inside"):
                    file.region(*wrong)


def test_regions_need_only_their_units(codec: Codec, picture: Image) -> None:
    file = container.read(tiled(codec, picture))
    units = [*file.units[:5], container.Unit({"latents": b""}, 0)]
    data = container.write(replace(file, units=units))
    with pytest.raises(FormatError, match="unit 5"):
        rarefy.decode(data)
    with rarefy.open(data) as reader:
        expected = rarefy.decode(tiled(codec, picture)).pixels
        assert np.array_equal(reader.region(0, 0, 60, 60).pixels, expected[:60, :60])
        with pytest.raises(FormatError, match="unit 5"):
            reader.region(120, 60, 21, 37)


def test_threads_change_no_pixel(codec: Codec, picture: Image) -> None:
    data = tiled(codec, picture)
    before = torch.get_num_threads()
    first, second = (rarefy.decode(data, threads=threads).pixels for threads in (1, 3))
    assert np.array_equal(first, second) and torch.get_num_threads() == before


def test_latents_of_all_units(codec: Codec, picture: Image) -> None:
    with rarefy.open(tiled(codec, picture)) as file:
        latents = file.latents()
    with rarefy.open(tiled(codec, Image(np.ascontiguousarray(picture.pixels[:64, :64])))) as file:
        corner = file.latents()
    assert latents.shape[1:] == (-(-97 // codec.stride), -(-141 // codec.stride))
    assert corner.shape[1:] == (64 // codec.stride, 64 // codec.stride) and bool(latents.isfinite().all())


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_previews_are_means(codec: Codec, picture: Image, reduction: int) -> None:
    for data in (tiled(codec, picture), codec.encode(picture, 50)):
        whole = rarefy.decode(data)
        with rarefy.open(data) as file:
            preview = file.preview(reduction)
        height, width = 97 // reduction, 141 // reduction
        assert preview.pixels.shape == (-(-97 // reduction), -(-141 // reduction), 3)
        assert whole.alpha is not None and preview.alpha is not None
        for plane, small in ((whole.pixels, preview.pixels), (whole.alpha[..., None], preview.alpha[..., None])):
            squares = plane[: height * reduction, : width * reduction].astype(float)
            means = squares.reshape(height, reduction, width, reduction, -1).mean((1, 3))
            error = np.abs(means - small[:height, :width])
            assert error.mean() < 0.6 and error.max() < 12, "clipping at 0 and 255 is all that may differ"
    with rarefy.open(data) as file, pytest.raises(OptionError, match="preview"):
        file.preview(3)


def test_invisible_colours_cost_little_and_change_nothing(codec: Codec, picture: Image) -> None:
    noise = np.random.default_rng(1).integers(0, 256, picture.pixels.shape, dtype=np.uint8)
    ring = np.zeros(picture.pixels.shape[:2], np.uint8)
    ring[30:70, 40:100] = 255
    seen = ring[..., None] > 0
    hidden = Image(np.where(seen, picture.pixels, noise), alpha=ring)
    data = rarefy.encode(hidden, codec.name, quality=70)
    assert len(data) < 0.5 * len(rarefy.encode(Image(hidden.pixels), codec.name, quality=70))
    decoded = rarefy.decode(data)
    alone = rarefy.decode(rarefy.encode(np.ascontiguousarray(picture.pixels[30:70, 40:100]), codec.name, quality=70))
    inside = psnr(decoded.pixels[30:70, 40:100], picture.pixels[30:70, 40:100])
    assert inside > psnr(alone.pixels, picture.pixels[30:70, 40:100]) - 1
    wanted = inside - 0.5
    reached = rarefy.decode(rarefy.encode(hidden, codec.name, target_psnr=wanted))
    assert wanted - 0.1 < psnr(reached.pixels[30:70, 40:100], picture.pixels[30:70, 40:100]) < wanted + 0.3


def test_gray_with_alpha(codec: Codec, picture: Image) -> None:
    gray = Image(np.ascontiguousarray(picture.pixels[:, :, :1]), alpha=picture.alpha)
    decoded = codec.decode(tiled(codec, gray))
    assert decoded.channels == 1 and decoded.alpha is not None and np.array_equal(decoded.alpha, gray.alpha)


def test_opaque_units_have_no_alpha_section(codec: Codec, picture: Image) -> None:
    units = container.read(tiled(codec, picture)).units
    assert ["alpha" in unit.sections for unit in units] == [False, True, True, True, True, True]


@pytest.mark.parametrize("seed", range(4))
def test_alpha_round_trips(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 60, 2)
    rows, columns = np.mgrid[:height, :width]
    planes = [generator.integers(0, 256, (height, width)), rows * 7, columns * 3, rows + columns, rows * 0 + 9]
    for plane in planes:
        plane = plane.astype(np.uint8)
        assert np.array_equal(alpha.decompress(alpha.compress(plane), height, width), plane)
    ramp = (np.add.outer(np.arange(200), np.arange(300)) // 2).astype(np.uint8)
    assert len(alpha.compress(ramp)) < 2000


def test_wrong_alpha_is_a_format_error() -> None:
    good = alpha.compress(np.arange(12, dtype=np.uint8).reshape(3, 4))
    for data in (b"", b"\4" + good[1:], good[:-3], good + b"x", good[:3], good[:1] + b"no zlib"):
        with pytest.raises(FormatError, match="alpha"):
            alpha.decompress(data, 3, 4)
    for height, width in ((3, 3), (4, 4)):
        with pytest.raises(FormatError, match="alpha"):
            alpha.decompress(good, height, width)


def test_sizes_are_filled_and_not_exceeded(codec: Codec, picture: Image) -> None:
    opaque = Image(picture.pixels)
    least, most = (len(rarefy.encode(opaque, codec.name, quality=quality)) for quality in (0, 100))
    for size in (least + (most - least) // 5, least + (most - least) // 2):
        data = rarefy.encode(opaque, codec.name, target_size=size)
        assert 0.98 * size <= len(data) <= size
        assert rarefy.decode(data).pixels.shape == opaque.pixels.shape
    rate = 8 * (least + (most - least) // 3) / (97 * 141)
    data = rarefy.encode(opaque, codec.name, target_bpp=rate)
    assert 0.98 * rate < 8 * len(data) / (97 * 141) <= rate
    best = rarefy.encode(opaque, codec.name, target_size=10**6)
    assert best == rarefy.encode(opaque, codec.name, quality=100)
    with pytest.raises(OptionError, match="too few"):
        rarefy.encode(opaque, codec.name, target_size=40)
    for wrong in ({"target_size": 900, "quality": 50}, {"target_size": 900, "target_bpp": 1.0}, {"target_bpp": -1.0}):
        with pytest.raises(OptionError):
            rarefy.encode(opaque, codec.name, **wrong)


@pytest.mark.parametrize(
    "target",
    [
        {"target_bpp": 1},
        {"target_bpp": 1e308},
        {"target_size": 10**400},
        {"target_size": "50k"},
        {"target_size": [1]},
        {"target_psnr": -3},
    ],
)
def test_impossible_targets_are_option_errors(codec: Codec, target: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        rarefy.encode(np.zeros((1, 1, 3), np.uint8), codec.name, **target)


def test_targets_at_the_ends(codec: Codec) -> None:
    gray = np.full((1, 1), 77, np.uint8)
    assert psnr(rarefy.decode(rarefy.encode(gray, codec.name, target_psnr=30)).pixels[:, :, 0], gray) >= 30
    invisible = Image(np.zeros((20, 30, 3), np.uint8), alpha=np.zeros((20, 30), np.uint8))
    assert rarefy.decode(rarefy.encode(invisible, codec.name, target_psnr=60)).width == 30


def test_psnr_is_reached(codec: Codec, picture: Image) -> None:
    opaque = Image(picture.pixels)
    ends = [rarefy.decode(rarefy.encode(opaque, codec.name, quality=quality)).pixels for quality in (0, 100)]
    wanted = sum(psnr(pixels, opaque.pixels) for pixels in ends) / 2
    data = rarefy.encode(opaque, codec.name, target_psnr=wanted)
    assert wanted <= psnr(rarefy.decode(data).pixels, opaque.pixels) < wanted + 0.2
    with pytest.raises(OptionError, match="reaches"):
        rarefy.encode(opaque, codec.name, target_psnr=80.0)


def test_damaged_files_show_what_is_whole(codec: Codec, picture: Image) -> None:
    data = tiled(codec, picture)
    whole = rarefy.decode(data)
    cut, altered = data[: len(data) * 2 // 3], bytearray(data)
    altered[len(data) // 3] ^= 0x40
    for broken in (cut, bytes(altered)):
        with pytest.raises(FormatError):
            rarefy.decode(broken)
        shown = rarefy.decode(broken, allow_damaged=True)
        assert shown.notes and "units are lost" in shown.notes[0]
        is_gray = (shown.pixels[:60, :60] == 128).all()
        assert not is_gray and (np.abs(shown.pixels[:32, :32].astype(int) - whole.pixels[:32, :32]) <= 1).all()
        assert any((shown.pixels[y : y + 30, x : x + 12] == 128).all() for y in (0, 64) for x in (0, 64, 128))
    with pytest.raises(FormatError, match="nothing"):
        rarefy.decode(codec.encode(picture, 50)[:-9], allow_damaged=True)
    untouched = rarefy.decode(data, allow_damaged=True)
    assert not untouched.notes and np.array_equal(untouched.pixels, whole.pixels)


def test_missing_units_cost_little(codec: Codec, photograph: Pixels) -> None:
    """The header of a file of thousands of units and one of them."""
    small = Image(np.ascontiguousarray(photograph[:16, :16]))
    whole = container.read(Encoder(codec, [small], tile=16).files(0)[0])
    header = replace(whole.header, width=16 * 256, height=16 * 32, tile=16)
    file = container.write(container.File(header, [whole.units[0]] * header.unit_count))
    data = file[: 2 * len(file) // 8192 + 40]
    begin = time.process_time()
    shown = rarefy.decode(data, allow_damaged=True)
    assert time.process_time() - begin < 3 and "units are lost" in shown.notes[0]


def test_large_pictures_of_one_unit_are_shown_in_windows(codec: Codec, photograph: Pixels) -> None:
    picture = Image(np.ascontiguousarray(np.tile(photograph, (11, 8, 1))[:1030, :1040]))
    data = Encoder(codec, [picture], tile=0).files(0)[0]
    whole = rarefy.decode(data)
    assert psnr(whole.pixels, picture.pixels) > 20
    with rarefy.open(data) as file:
        assert np.array_equal(file.region(500, 600, 40, 30).pixels, whole.pixels[600:630, 500:540])


def test_symbols_of_another_unit_are_damage(codec: Codec, picture: Image) -> None:
    """Checksums of bytes fit, those of symbols do not."""
    file = container.read(tiled(codec, picture))
    swapped = [file.units[1], file.units[0], *file.units[2:]]
    for number, unit in enumerate(swapped[:2]):
        swapped[number] = container.Unit(unit.sections, file.units[number].checksum)
    with pytest.raises(ChecksumError, match="unit 0"):
        rarefy.decode(container.write(replace(file, units=swapped)))
    shown = rarefy.decode(container.write(replace(file, units=swapped)), allow_damaged=True)
    assert "2 of 6" in shown.notes[0] and (shown.pixels[:64, :128] == 128).all()


def test_tensors_are_the_pictures_before_rounding(codec: Codec, picture: Image) -> None:
    gray = Image(np.ascontiguousarray(picture.pixels[:, :, :1]))
    datas = [codec.encode(picture, 50), codec.encode(picture, 50), codec.encode(gray, 50), tiled(codec, picture)]
    for data, tensor in zip(datas, rarefy.decode_tensors(datas), strict=True):
        image = rarefy.decode(data)
        assert tensor.dtype == torch.float32 and tensor.shape == (image.channels, 97, 141)
        rounded = (tensor * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(rounded - image.pixels).max() <= 1
        assert torch.nn.Parameter(tensor).requires_grad


def test_proving_sees_every_unit_and_alpha(codec: Codec, picture: Image) -> None:
    api.verify(tiled(codec, picture))
    file = container.read(tiled(codec, picture))
    for name in ("latents", "alpha"):
        sections = dict(file.units[4].sections)
        sections[name] = sections[name][:-2]
        units = [*file.units[:4], replace(file.units[4], sections=sections), file.units[5]]
        with pytest.raises(FormatError, match="unit 4"):
            api.verify(container.write(replace(file, units=units)))


def test_tiles_must_fit_the_latents(codec: Codec, picture: Image) -> None:
    file = container.read(tiled(codec, picture))
    data = container.write(replace(file, header=replace(file.header, tile=TILE_SIDE + 1)))
    with pytest.raises(FormatError, match="units of 65 pixels"):
        rarefy.decode(data)


def test_pictures_of_one_size_are_coded_together(codec: Codec, photograph: Pixels) -> None:
    pictures = [np.ascontiguousarray(photograph[i : i + 40, i : i + 50]) for i in range(5)]
    pictures.insert(2, np.ascontiguousarray(photograph[:33]))
    datas = rarefy.encode(pictures, codec.name)
    assert datas == [rarefy.encode(one, codec.name) for one in pictures]
    images = rarefy.decode(datas, precision="float32")
    for image, data in zip(images, datas, strict=True):
        difference = np.abs(image.pixels.astype(int) - rarefy.decode(data, precision="float32").pixels)
        assert difference.max() <= 1 and difference.mean() < 0.01
