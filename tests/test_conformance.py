"""What every registered codec must do: files decode the same whatever settings, threads and processes surround it."""

import copy
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as pil
from safetensors import safe_open
from safetensors.torch import save_file
from settings import default_float64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import rarefy
from rarefy.codecs import api, container
from rarefy.codecs.base import Codec, Unit, quality_q256
from rarefy.codecs.media import Image, as_image
from rarefy.codecs.registry import build, codecs
from rarefy.codecs.weights import candidates, read_weights
from rarefy.errors import LimitError, MediaError, OptionError, WeightsError
from rarefy.tools.metrics import psnr

Pixels = NDArray[np.uint8]
SIZES = [(1, 1), (1, 7), (17, 33), (64, 64), (100, 75)]  # height, width


@pytest.fixture(params=sorted(name for name, entry in codecs().items() if entry.media == "image"))
def name(request: pytest.FixtureRequest) -> str:
    """The name of each registered codec of pictures whose weights are here."""
    if not candidates(request.param):
        pytest.skip(f'no weights of codec "{request.param}" are here')
    return str(request.param)


@pytest.fixture
def codec(name: str) -> Codec:
    """The codec as `rarefy.load` gives it."""
    return rarefy.load(name)


def crop(photograph: Pixels, height: int, width: int) -> Pixels:
    """A part of the photograph, repeated where it is too small, as an array of its own."""
    repeated = np.tile(photograph, (2, 2, 1))
    return np.ascontiguousarray(repeated[:height, :width])


def pixels(data: bytes, **options: Any) -> Pixels:
    """Decode to an array."""
    return rarefy.decode(data, **options).pixels


def assert_same(first: Pixels, second: Pixels, levels: int = 1) -> None:
    """Two decodes of one file: equal up to rounding of sums that were added in another order."""
    assert first.shape == second.shape
    assert int(np.abs(first.astype(int) - second).max()) <= levels


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("channels", [3, 1], ids=["rgb", "gray"])
def test_every_size_comes_back(name: str, photograph: Pixels, height: int, width: int, channels: int) -> None:
    original = crop(photograph, height, width)[:, :, :channels]
    data = rarefy.encode(original, codec=name, quality=80)
    decoded = pixels(data)
    assert decoded.shape == (height, width, channels) and decoded.dtype == np.uint8
    assert psnr(original, decoded) > 27
    info = container.read_info(data)
    assert (info.codec, info.size, info.channels, info.quality) == (name, (width, height), channels, 80)


def test_every_kind_of_input_gives_the_same_file(name: str, photograph: Pixels, tmp_path: Path) -> None:
    expected = rarefy.encode(photograph, codec=name)
    path = tmp_path / "picture.png"
    pil.fromarray(photograph).save(path)
    tensor = torch.from_numpy(photograph).permute(2, 0, 1)
    strided = np.repeat(photograph, 2, axis=1)[:, ::2]
    sources: list[Any] = [path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), pil.fromarray(photograph)]
    sources += [tensor, tensor.float() / 255, strided, Image(photograph)]
    assert all(rarefy.encode(source, codec=name) == expected for source in sources)


def test_lists_give_lists(name: str, photograph: Pixels, tmp_path: Path) -> None:
    pictures = [photograph, crop(photograph, 30, 50), crop(photograph, 30, 50)[:, :, :1]]
    singles = [rarefy.encode(picture, codec=name) for picture in pictures]
    assert rarefy.encode(pictures, codec=name) == singles
    assert rarefy.encode([], codec=name) == []
    path = tmp_path / "first.rfy"
    path.write_bytes(singles[0])
    images = rarefy.decode([path, *singles[1:]])
    for image, data in zip(images, singles, strict=True):
        assert_same(image.pixels, pixels(data))


def test_rate_and_fidelity_rise_with_quality(name: str, codec: Codec, photograph: Pixels) -> None:
    files = [rarefy.encode(photograph, codec=name, quality=quality) for quality in (0, 25, 50, 75, 100)]
    if not codec.has_quality:
        assert all(container.read(data).units == container.read(files[0]).units for data in files)
        return
    sizes = [len(data) for data in files]
    fidelities = [psnr(photograph, pixels(data)) for data in files]
    assert sizes == sorted(sizes) and sizes[-1] > 3 * sizes[0]
    assert fidelities == sorted(fidelities) and fidelities[-1] > fidelities[0] + 2
    assert sizes[-1] < photograph.nbytes / 2


def test_metadata_is_kept(name: str, photograph: Pixels) -> None:
    image = Image(photograph, icc=b"a profile", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<x:xmpmeta/>")
    decoded = rarefy.decode(rarefy.encode(image, codec=name))
    assert (decoded.icc, decoded.exif, decoded.xmp) == (image.icc, image.exif, image.xmp)
    bare = rarefy.decode(rarefy.encode(photograph, codec=name))
    assert (bare.icc, bare.exif, bare.xmp) == (None, None, None)


def test_what_cannot_be_encoded_is_refused(name: str, photograph: Pixels) -> None:
    for wrong in (photograph.astype(np.float32), photograph[None], np.zeros((0, 4, 3), np.uint8), None, 3):
        with pytest.raises(MediaError):
            rarefy.encode(wrong, codec=name)
    for quality in (-0.01, 100.01, float("nan"), float("inf")):
        with pytest.raises(OptionError):
            rarefy.encode(photograph, codec=name, quality=quality)
    with pytest.raises(OptionError, match="precision"):
        rarefy.encode(photograph, codec=name, precision="float16")
    with pytest.raises(OptionError):
        rarefy.encode(photograph, codec="no such codec")


def test_encoding_twice_gives_the_same_bytes(name: str, photograph: Pixels) -> None:
    assert rarefy.encode(photograph, codec=name) == rarefy.encode(photograph, codec=name)
    again = rarefy.load(name).encode(as_image(photograph), 50)
    assert again == rarefy.encode(photograph, codec=name, quality=50)


@contextmanager
def matmul_precision_medium() -> Iterator[None]:
    """What training scripts set for speed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        assert torch.get_float32_matmul_precision() == "medium", "the caller's setting was changed"
        torch.set_float32_matmul_precision(before)


@contextmanager
def every_operation_in_tf32() -> Iterator[None]:
    """The newer way to say so; torch then refuses to tell the older settings."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has only the older settings")
    operations = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv)
    for operation in operations:
        operation.fp32_precision = "none"
    torch.backends.fp32_precision = "tf32"
    try:
        yield
        assert {operation.fp32_precision for operation in operations} == {"tf32"}, "the caller's setting was changed"
    finally:
        torch.backends.fp32_precision = "none"
    assert {operation.fp32_precision for operation in operations} == {"none"}, "they no longer follow the setting above"


SETTINGS = {
    "tf32": every_operation_in_tf32,
    "autocast-bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast-float16": lambda: torch.autocast("cpu", torch.float16),
    "default-float64": default_float64,
    "matmul-medium": matmul_precision_medium,
    "inference-mode": torch.inference_mode,
    "grad": torch.enable_grad,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_settings_of_the_caller_change_nothing(name: str, photograph: Pixels, setting: str, precision: str) -> None:
    data = rarefy.encode(photograph, codec=name, quality=100, precision=precision)
    expected = pixels(data, precision=precision)
    with SETTINGS[setting]():
        inside = rarefy.encode(photograph, codec=name, quality=100, precision=precision)
        decoded = pixels(data, precision=precision)
    if setting not in ("matmul-medium", "tf32"):  # it reaches the transforms, which may round as the caller likes
        assert inside == data
        assert np.array_equal(decoded, expected)
    assert_same(decoded, expected, levels=1 if precision == "float32" else 4)
    assert_same(pixels(inside, precision=precision), expected, levels=8)


def test_loading_under_another_default_dtype_changes_nothing(name: str, photograph: Pixels, monkeypatch: Any) -> None:
    data = rarefy.encode(photograph, codec=name)
    expected = pixels(data)
    monkeypatch.setattr("rarefy.codecs.weights._loaded", {})
    with default_float64():
        assert np.array_equal(pixels(data), expected)
        codec = rarefy.load(name)
    assert {p.dtype for p in codec.parameters()} == {torch.float32}


@pytest.mark.parametrize(("encoder", "decoder"), [(1, 2), (2, 1)])
def test_threads_change_nothing(name: str, photograph: Pixels, encoder: int, decoder: int) -> None:
    before = torch.get_num_threads()
    data = rarefy.encode(photograph, codec=name, threads=encoder, quality=90)
    assert_same(pixels(data, threads=decoder), pixels(data, threads=1))
    assert torch.get_num_threads() == before


def latents_of(codec: Codec, photograph: Pixels, count: int) -> Tensor:
    """Latents of a batch of pictures that differ."""
    shifted = [np.roll(photograph, 20 * i, axis=1)[:80, :96] for i in range(count)]
    x = torch.from_numpy(np.stack(shifted)).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        return codec.analysis(x, Unit(0, 80, 96))


@pytest.mark.parametrize("quality", [0, 50, 100])
def test_a_batch_codes_like_its_items(codec: Codec, photograph: Pixels, quality: float) -> None:
    y = latents_of(codec, photograph, 3)
    q256 = quality_q256(quality)
    batch = codec.bottleneck.compress(y, q256)
    singles = [codec.bottleneck.compress(y[i : i + 1], q256)[0] for i in range(3)]
    assert batch == singles
    shape = y.shape[2], y.shape[3]
    together = codec.bottleneck.decompress(batch, shape, q256)
    for i, unit in enumerate(singles):
        alone = codec.bottleneck.decompress([unit], shape, q256)
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-4, rtol=2e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_not_finite_are_refused(codec: Codec, photograph: Pixels, value: float) -> None:
    y = latents_of(codec, photograph, 2).clone()
    y[1, 3, 2, 2] = value
    with pytest.raises(WeightsError, match="not finite"):
        codec.bottleneck.compress(y, 12800)


def test_open_gives_the_header_pixels_and_latents(name: str, codec: Codec, photograph: Pixels) -> None:
    data = rarefy.encode(photograph, codec=name)
    with rarefy.open(data) as file:
        assert (file.info.codec, file.info.size) == (name, (141, 97))
        assert np.array_equal(file.pixels().pixels, pixels(data))
        y = file.latents()
    assert y.dtype == torch.float32 and torch.isfinite(y).all()
    weights = torch.ones_like(y, requires_grad=True)
    (y * weights).sum().backward()  # a network can train on them
    assert torch.equal(weights.grad, y)
    with torch.inference_mode():
        again = codec.synthesis(y[None], Unit(12800, 97, 141))[0, :, :97, :141]
    levels = (again * 255 + 0.5).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    assert_same(levels, pixels(data, precision="float32"))


def test_a_loaded_codec_is_its_own(name: str, photograph: Pixels) -> None:
    data = rarefy.encode(photograph, codec=name)
    expected = pixels(data)
    mine = rarefy.load(name)
    with torch.no_grad():
        for parameter in mine.parameters():
            parameter.zero_()
    assert np.array_equal(pixels(data), expected)
    assert rarefy.encode(photograph, codec=name) == data


def test_a_pickled_codec_reads_and_writes_the_same_files(name: str, codec: Codec, photograph: Pixels) -> None:
    again = pickle.loads(pickle.dumps(codec))
    data = codec.encode(as_image(photograph), 50)
    assert again.encode(as_image(photograph), 50) == data
    assert np.array_equal(again.decode(data).pixels, codec.decode(data).pixels)


def test_gradients_flow_through_a_loaded_codec(codec: Codec, photograph: Pixels) -> None:
    part = torch.from_numpy(photograph[:64, :128].copy()).permute(2, 0, 1)[None].float() / 255
    x = part.repeat(2, 1, 1, 1).requires_grad_(True)
    out = codec(x, quality=torch.tensor([20.0, 80.0]))
    assert out.x_hat.shape == x.shape and out.bits.shape == (2,)
    assert 0 < out.bits[0] < out.bits[1] if codec.has_quality else out.bits[0] == out.bits[1] > 0
    (out.bits.sum() / x.numel() + 100 * (out.x_hat - x).square().mean()).backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0


def test_bits_of_training_are_those_of_files(codec: Codec, photograph: Pixels) -> None:
    x = torch.from_numpy(photograph[:64, :128].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        estimate = float(codec(x, quality=75).bits[0])
        sections, _ = codec.bottleneck.compress(codec.analysis(x, Unit(-1, 64, 128)), quality_q256(75))[0]
    bits = 8 * sum(len(section) for section in sections.values())
    assert 0.98 * estimate < bits < 1.04 * estimate


def test_half_a_codec_is_refused(codec: Codec, photograph: Pixels) -> None:
    data = codec.encode(as_image(photograph), 50)
    file = container.read(data)
    unit = dict(file.units[0].sections), file.units[0].checksum
    for wrong in (codec.half(), codec.bfloat16(), codec.double()):
        with pytest.raises(OptionError, match="float32"):
            wrong.encode(as_image(photograph), 50)
        for read in (wrong.decode, lambda data, wrong=wrong: wrong.bottleneck.decompress([unit], (7, 9), 12800)):
            with pytest.raises(OptionError, match="float32"):
                read(data)


def test_four_threads_decode_at_once(name: str, photograph: Pixels) -> None:
    files = [rarefy.encode(np.roll(photograph, 10 * i, axis=0), codec=name, quality=20 * i + 10) for i in range(4)]
    expected = [pixels(data, precision="float32") for data in files]
    with matmul_precision_medium(), ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda data: pixels(data, precision="float32"), files * 4))
    for i, found in enumerate(decoded):
        assert_same(found, expected[i % 4])


class Files(Dataset[Tensor]):
    """Files that are decoded where they are asked for."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(rarefy.decode(self.files[index]).pixels)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader_decode(name: str, photograph: Pixels, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    files = [rarefy.encode(np.roll(photograph, 10 * i, axis=0), codec=name) for i in range(4)]
    expected = [pixels(data) for data in files]
    loader = DataLoader(Files(files), batch_size=None, num_workers=2, multiprocessing_context=method, timeout=120)
    for found, wanted in zip(loader, expected, strict=True):
        assert_same(found.numpy(), wanted)


def test_foreign_weights_are_told(name: str, codec: Codec, photograph: Pixels) -> None:
    file = container.read(rarefy.encode(photograph, codec=name))
    for weights in (
        bytes(4),
        codec.weights_hash[:3] + bytes([codec.weights_hash[3] ^ 1]),
        codec.weights_hash[:31] + b"?",
    ):
        data = container.write(replace(file, header=replace(file.header, weights=weights)))
        for decode in (rarefy.decode, codec.decode, api.verify):
            with pytest.raises(WeightsError, match=weights.hex()):
                decode(data)
    whole = container.write(replace(file, header=replace(file.header, weights=codec.weights_hash)))
    assert np.array_equal(pixels(whole), codec.decode(container.write(file)).pixels)


def test_random_weights_write_no_file(name: str, photograph: Pixels) -> None:
    fresh = build(name, {})
    with pytest.raises(WeightsError):
        fresh.encode(as_image(photograph), 50)
    with pytest.raises(WeightsError):
        fresh.decode(rarefy.encode(photograph, codec=name))


def test_damaged_weights_are_told(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = candidates(name)[-1].read_bytes()
    monkeypatch.setenv("RAREFY_WEIGHTS", str(tmp_path))
    for number, damaged in enumerate((b"", whole[:1000], whole[: len(whole) // 2], b"\xff" * 8 + whole[8:])):
        (tmp_path / f"{name}-{number}.safetensors").write_bytes(damaged)
        with pytest.raises(WeightsError, match="cannot be used"):
            rarefy.load(name)
        (tmp_path / f"{name}-{number}.safetensors").unlink()


def test_a_picture_that_is_not_finite_is_an_error(codec: Codec, photograph: Pixels, monkeypatch: Any) -> None:
    data = codec.encode(as_image(photograph[:64, :64].copy()), 50)
    synthesis = codec.synthesis

    def diverges(latents: torch.Tensor, unit: Unit) -> torch.Tensor:
        x_hat = synthesis(latents, unit).clone()
        x_hat[0, 1, 5, 7] = torch.nan
        return x_hat

    monkeypatch.setattr(codec, "synthesis", diverges)
    with pytest.raises(WeightsError, match="not finite"):
        codec.decode(data)


def _turn(codec: Codec) -> None:
    """Change the order of a weight alone."""
    with torch.no_grad():
        weight = max(codec.parameters(), key=torch.numel)
        weight.copy_(weight.flip(0).clone())


def test_weights_that_were_changed_name_no_file(codec: Codec, photograph: Pixels) -> None:
    picture, name = as_image(photograph), codec.weights_hash
    data = codec.encode(picture, 50)
    assert copy.deepcopy(codec).weights_hash == name and pickle.loads(pickle.dumps(codec)).weights_hash == name
    assert codec.to("cpu").train().eval().requires_grad_(True).weights_hash == name
    with torch.no_grad():
        next(codec.parameters()).mul_(1.001)
    assert not codec.weights_hash and not copy.deepcopy(codec).weights_hash
    for use in (lambda: codec.encode(picture, 50), lambda: codec.decode(data)):
        with pytest.raises(WeightsError, match="changed since"):
            use()
    changes: list[Callable[[Codec], object]] = [
        lambda c: c.half().float(),
        lambda c: next(c.parameters()).data.add_(1e-3),
        lambda c: next(c.parameters()).detach().numpy().__imul__(1.5),
        lambda c: setattr(c.bottleneck, "lambdas", (1e-4, 0.2)),
        _turn,
        lambda c: next(iter(c.bottleneck.exact_tensors().values())).add_(1),
        lambda c: c.load_state_dict({k: v + 1 if v.is_floating_point() else v for k, v in c.state_dict().items()}),
    ]
    for change in changes:
        other = rarefy.load(codec.name)
        assert other.weights_hash == name
        change(other)
        assert not other.weights_hash


def test_the_name_of_weights_covers_the_config(name: str, tmp_path: Path) -> None:
    whole = candidates(name)[0]
    with safe_open(whole, "pt") as file:
        facts = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    config = json.loads(facts["config"])
    if "lambda_high" not in config:
        pytest.skip("no range of lambdas to change")
    config["lambda_high"] /= 2
    save_file(tensors, tmp_path / "other.safetensors", {**facts, "config": json.dumps(config)})
    assert read_weights(tmp_path / "other.safetensors").weights_hash != read_weights(whole).weights_hash


@pytest.mark.parametrize("threads", [0, -3, "2", 1.5])
def test_threads_are_whole_numbers(name: str, photograph: Pixels, threads: Any) -> None:
    with pytest.raises(OptionError, match="threads"):
        rarefy.encode(photograph, codec=name, threads=threads)


@pytest.mark.parametrize("device", ["meta", "nonsense", "mps:x"])
def test_other_devices_are_refused(name: str, photograph: Pixels, device: str) -> None:
    with pytest.raises(OptionError, match="cpu or cuda"):
        rarefy.encode(photograph, codec=name, device=device)


def test_many_threads_are_no_more_than_processors(name: str, photograph: Pixels) -> None:
    before = torch.get_num_threads()
    rarefy.encode(photograph, codec=name, threads=10**6)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_processes_may_ask_for_threads(name: str) -> None:
    """OpenMP's threads do not survive a fork: a child that waits for them waits forever."""
    program = (
        "import os, numpy, torch, rarefy\n"
        "picture = numpy.zeros((64, 64, 3), numpy.uint8)\n"
        "torch.set_num_threads(2); torch.rand(999, 999) @ torch.rand(999, 999)\n"
        f"data = rarefy.encode(picture, codec={name!r}, threads=2)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        f"    same = rarefy.encode(picture, codec={name!r}, threads=2) == data\n"
        "    with rarefy.open(data) as file:\n"
        "        parts = file.region(0, 0, 9, 9).width, file.preview(8).width, file.latents().ndim\n"
        f"    same = same and rarefy.load({name!r}).encode(rarefy.Image(picture), 50) == data\n"
        "    os._exit(0 if same and parts == (9, 8, 3) and rarefy.decode(data).width == 64 else 1)\n"
        "os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_metadata_that_no_decoder_takes_is_not_written(name: str, photograph: Pixels) -> None:
    with pytest.raises(LimitError, match="icc"):
        rarefy.encode(Image(photograph, icc=bytes((1 << 24) + 1)), codec=name)


def test_the_inverse_of_sinh() -> None:
    from rarefy.entropy.coding import inverse_sinh

    x = torch.cat([torch.randn(1000) * scale for scale in (1e-6, 1e-3, 1.0, 1e3, 1e6)] + [torch.zeros(1)])
    assert float((inverse_sinh(x).double() - torch.asinh(x.double())).abs().max()) < 2e-6
    assert torch.equal(inverse_sinh(-x), -inverse_sinh(x))
