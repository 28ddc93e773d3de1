"""Datasets of latents: what they give, that they give all of it once, and what they refuse."""

import io
import itertools
import json
import os
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader

from rarefy.codecs import api, container
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image as Picture
from rarefy.codecs.weights import candidates, load_codec
from rarefy.data import Batch, Crop, LatentDataset, LatentStream, collate, compute_statistics, decode
from rarefy.data import index as indices
from rarefy.data.crops import chance, cut
from rarefy.data.decoding import has_integers, read_files
from rarefy.data.order import Order, Reader
from rarefy.data.webdataset import decoder
from rarefy.errors import ChecksumError, FormatError, OptionError, RarefyError, RarefyWarning, WeightsError
from rarefy.tools import bench_loading
from rarefy.tools.bench_loaders import THREADED
from rarefy.tools.cli import main

CODECS = ("walloc-image", "image")
COUNT = 18
SIDES = (64, 96)


@pytest.fixture(scope="module", params=CODECS)
def codec(request: pytest.FixtureRequest) -> str:
    """Each codec whose weights are here."""
    name: str = request.param
    if not candidates(name):
        pytest.skip(f'no weights for codec "{name}"')
    return name


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, photograph: NDArray[np.uint8]) -> Path:
    """Pictures of two sizes, in two classes."""
    folder = tmp_path_factory.mktemp("pictures") / "in"
    for number in range(COUNT):
        path = folder / ("dog" if number % 2 else "cat") / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop = photograph[number : number + SIDES[number % 3 == 0], number : number + 64]
        Image.fromarray(np.pad(crop, ((0, SIDES[number % 3 == 0] - len(crop)), (0, 0), (0, 0)))).save(path)
    return folder


@pytest.fixture(scope="module")
def shards(codec: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures in several shards, packed once for each codec."""
    target = tmp_path_factory.mktemp(f"shards-{codec}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rarefy.tools.commands.pack.MEGABYTE", 120)
        assert main(["pack", str(pictures), "-o", str(target), "--codec", codec, "--statistics", "-q"]) == 0
    assert len(list(target.glob("*.tar"))) > 2
    return target


@pytest.fixture(scope="module")
def files(codec: str, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same files in a folder, with folders for the classes."""
    folder = tmp_path_factory.mktemp(f"files-{codec}")
    dataset = LatentDataset(shards)
    for number in range(len(dataset)):
        path = folder / f"{dataset[number].key}.rfy"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(dataset.coded(number))
    return folder


@pytest.fixture
def no_networks(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make running a transform an error."""

    def fail(*_: Any) -> None:
        raise AssertionError("a transform ran")

    monkeypatch.setattr(type(load_codec(codec)), "synthesis", fail)
    monkeypatch.setattr(type(load_codec(codec)), "analysis", fail)


def is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Integers are equal; means of a batch may differ from those of one sample in their last digits."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=1e-3 * one.is_floating_point())


def calls_of(codec: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the units of each call of the bottleneck, from here on."""
    bottleneck = load_codec(codec).bottleneck
    name = "symbols" if has_integers(load_codec(codec)) else "decompress"
    function, calls = getattr(bottleneck, name), list[int]()

    def counted(units: list[Any], *rest: Any) -> Any:
        calls.append(len(units))
        return function(units, *rest)

    monkeypatch.setattr(bottleneck, name, counted)
    return calls


@pytest.mark.usefixtures("no_networks")
def test_latents_are_those_of_the_files(codec: str, shards: Path, files: Path) -> None:
    dataset, loose = LatentDataset(shards), LatentDataset(files)
    floats = LatentDataset(shards, output="floats")
    assert len(dataset) == len(loose) == COUNT
    assert (dataset.codec, dataset.classes, loose.classes) == (codec, ("cat", "dog"), ("cat", "dog"))
    assert dataset.labels.tolist() == [sample.label for sample in dataset.__getitems__(range(COUNT))]
    for number in range(COUNT):
        sample = dataset[number]
        assert sample.key.startswith(dataset.classes[sample.label])
        assert torch.equal(sample.latents, loose[number].latents) and sample.key == loose[number].key
        whole = api.open(dataset.coded(number)).latents()
        assert torch.equal(floats[number].latents, whole)
        assert sample.latents.shape == whole.shape
        assert sample.latents.dtype == (torch.int16 if has_integers(load_codec(codec)) else torch.float32)


def test_integers_are_what_the_encoder_rounded(pictures: Path, shards: Path, codec: str) -> None:
    if not has_integers(load_codec(codec)):
        with pytest.raises(OptionError, match="no integer latents"):
            LatentDataset(shards, output="integers")
        return
    sample, coder = LatentDataset(shards)[0], load_codec(codec)
    x = api.as_image(pictures / f"{sample.key}.png").to_tensor()[None]
    with torch.inference_mode(), coder.transforms("float32"):
        y = coder.analysis(x, coder.unit(50 * 256, (slice(0, x.shape[2]), slice(0, x.shape[3]))))
        gain = coder.bottleneck.gains(torch.tensor([0.5]))[0]  # type: ignore[attr-defined]
    fresh = y[0] * gain[0, :, None, None].flatten(2) if gain.ndim == 2 else y[0] * gain.reshape(-1, 1, 1)
    assert ((fresh - sample.latents).abs() <= 0.55).all()  # half a step, and bfloat16


def test_a_batch_is_one_call_for_each_shape(codec: str, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = LatentDataset(shards)
    numbers = [5, 0, 9, 3, 8, 1, 4]
    one_by_one = [dataset[number] for number in numbers]
    calls = calls_of(codec, monkeypatch)
    together = dataset.__getitems__(numbers)
    assert len(calls) == 2 and sum(calls) == len(numbers)
    for alone, sample in zip(one_by_one, together, strict=True):
        assert alone.key == sample.key
        assert is_same(alone.latents, sample.latents)
    calls.clear()
    batch = collate([(dataset.coded(number), 7) for number in numbers])
    assert len(calls) == 2 and batch.labels.tolist() == [7] * len(numbers)
    assert isinstance(batch.latents, list)
    assert all(torch.equal(a.latents, b) for a, b in zip(together, batch.latents, strict=True))


def test_files_of_several_units_are_joined(codec: str, photograph: NDArray[np.uint8]) -> None:
    coder = load_codec(codec)
    with torch.inference_mode():
        (data,) = Encoder(coder, [Picture(photograph)], tile=48).files(50 * 256)
    latents = decode([data, data], "floats")
    assert isinstance(latents, torch.Tensor)
    assert all(is_same(one, api.open(data).latents()) for one in latents)


def test_bytes_become_batches(shards: Path) -> None:
    dataset = LatentDataset(shards, crop=Crop(64, 64, is_random=False))
    samples = [dataset[number] for number in range(4)]
    batch = collate(samples)
    assert batch.latents.shape[0] == 4 and batch.labels.dtype == torch.int64
    assert batch.keys == [sample.key for sample in samples]
    assert collate([dataset.coded(1), dataset.coded(2)]).labels is None
    labels = [{"text": "cat"}, None]
    assert collate([(dataset.coded(1), labels[0]), (dataset.coded(2), labels[1])]).labels == labels
    with pytest.raises(OptionError):
        collate([])


def test_floats_can_be_trained_through(shards: Path) -> None:
    latents = LatentDataset(shards, output="floats")[0].latents
    weight = torch.ones_like(latents, requires_grad=True)
    (latents * weight).sum().backward()  # inference tensors would refuse
    assert weight.grad is not None and torch.equal(weight.grad, latents)


# What is refused


def altered(data: bytes, **changes: Any) -> bytes:
    """A file with another header, sealed anew."""
    file = container.read(data)
    return container.write(replace(file, header=replace(file.header, **changes)))


def test_weights_do_not_mix(shards: Path, tmp_path: Path) -> None:
    data = LatentDataset(shards).coded(0)
    (tmp_path / "a.rfy").write_bytes(data)
    (tmp_path / "b.rfy").write_bytes(altered(data, weights=b"\1\2\3\4"))
    with pytest.raises(WeightsError, match=r"01020304.*must not mix"):
        LatentDataset(tmp_path)
    with pytest.raises(WeightsError, match="must not mix"):
        collate([(tmp_path / name).read_bytes() for name in ("a.rfy", "b.rfy")])
    (tmp_path / "a.rfy").unlink()
    with pytest.raises(WeightsError, match="RAREFY_WEIGHTS"):
        LatentDataset(tmp_path)


def test_integers_of_several_qualities_do_not_mix(codec: str, tmp_path: Path, photograph: NDArray[np.uint8]) -> None:
    for quality in (20, 80):
        (tmp_path / f"{quality}.rfy").write_bytes(api.encode(photograph[:32, :32], codec, quality))
    if has_integers(load_codec(codec)):
        with pytest.raises(OptionError, match="qualities from 20 to 80"):
            LatentDataset(tmp_path)
        with pytest.raises(OptionError, match="different steps"):
            decode([path.read_bytes() for path in tmp_path.iterdir()])
    dataset = LatentDataset(tmp_path, output="floats")
    assert all(torch.equal(s.latents, api.open(tmp_path / f"{s.key}.rfy").latents()) for s in (dataset[0], dataset[1]))


@pytest.mark.parametrize("kind", [LatentDataset, LatentStream])
def test_a_flip_is_refused_with_the_reason(shards: Path, kind: type) -> None:
    with pytest.raises(OptionError, match=r"not the latent of a mirrored picture.*before they are packed"):
        kind(shards, flip=True)


def test_a_damaged_sample_is_named(shards: Path, files: Path, tmp_path: Path) -> None:
    dataset = LatentDataset(files)
    name = dataset[3].key.rpartition("/")[2]
    for number in range(6):
        (tmp_path / f"{dataset[number].key.rpartition('/')[2]}.rfy").write_bytes(dataset.coded(number))
    harmed = bytearray(dataset.coded(3))
    harmed[-9] ^= 1
    (tmp_path / f"{name}.rfy").write_bytes(harmed)
    with pytest.raises(ChecksumError, match=f"sample {name}: "):
        LatentDataset(tmp_path).__getitems__(range(6))


def test_files_alike_are_read_as_each_alone(shards: Path) -> None:
    dataset, limits = LatentDataset(shards), Limits()
    whole, other = dataset.coded(0), dataset.coded(1)
    altered = [whole[:size] for size in range(len(whole))] + [whole + b"\0", whole + other, other, b""]
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        altered.append(bytes(changed))
    found = 0
    for data in altered:
        try:
            alone = container.read(data, limits)
        except RarefyError as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                read_files([whole, data], limits)
        else:
            found += 1
            (_, beside) = read_files([whole, data], limits)
            assert beside.header == alone.header and list(beside.units) == list(alone.units)
    assert found == 1  # the other file


def test_batches_go_to_a_device(shards: Path) -> None:
    on_cpu = next(iter(LatentStream(shards, batch_size=4, shuffle=0)))
    batch = next(iter(LatentStream(shards, batch_size=4, shuffle=0, device="meta")))  # a device that every machine has
    assert batch.latents.device.type == batch.labels.device.type == "meta"
    assert batch.latents.shape == on_cpu.latents.shape and batch.latents.dtype == on_cpu.latents.dtype
    assert batch.keys == on_cpu.keys
    with pytest.raises(OptionError, match="a worker cannot give tensors on meta"):
        next(iter(DataLoader(LatentStream(shards, device="meta"), batch_size=None, num_workers=1)))


@pytest.mark.gpu
def test_batches_on_a_gpu_are_those_of_the_cpu(shards: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pairs = zip(LatentStream(shards, batch_size=4), LatentStream(shards, batch_size=4, device="cuda"), strict=True)
    for on_cpu, on_gpu in pairs:
        assert torch.equal(on_gpu.latents.cpu(), on_cpu.latents) and torch.equal(on_gpu.labels.cpu(), on_cpu.labels)


@pytest.mark.parametrize("what", ["nothing", "empty", "text", "no-tar", "label"])
def test_what_is_no_dataset_is_one_sentence(tmp_path: Path, shards: Path, what: str) -> None:
    path = tmp_path / "x"
    if what != "nothing":
        path.mkdir()
    if what == "text":
        (path / "a.rfy").write_text("text")
    if what == "no-tar":
        (path / "a.tar").write_text("text" * 1000)
    if what == "label":
        from rarefy.data.shards import ShardWriter

        writer = ShardWriter(path / "a.tar")
        writer.add("a", {"rfy": LatentDataset(shards).coded(0), "cls": b"cat"})
        writer.close()
    with pytest.raises(RarefyError, match="x"):
        LatentDataset(path)


def test_numbers_are_checked(shards: Path) -> None:
    dataset = LatentDataset(shards)
    assert dataset[-1].key == dataset[COUNT - 1].key
    for number in (COUNT, -COUNT - 1):
        with pytest.raises(IndexError):
            dataset[number]


# Crops


def test_crops_are_aligned_and_follow_from_the_seed(shards: Path, codec: str) -> None:
    stride = load_codec(codec).stride
    whole, cut = LatentDataset(shards), LatentDataset(shards, crop=Crop(2 * stride, stride), seed=5)
    again = LatentDataset(shards, crop=Crop(2 * stride, stride), seed=5)
    places = []
    for number in range(COUNT):
        large, small = whole[number].latents, cut[number].latents
        assert small.shape[1:] == (2, 1)
        assert is_same(small, again.__getitems__([0, number])[1].latents)
        y, x = (range(extent - side + 1) for extent, side in zip(large.shape[1:], (2, 1), strict=True))
        found = [(i, j) for i in y for j in x if is_same(large[:, i : i + 2, j : j + 1], small)]
        assert found
        places.append(found[0])
    assert len(set(places)) > 5
    again.set_epoch(1)
    assert any(not is_same(again[n].latents, cut[n].latents) for n in range(COUNT))
    middle = LatentDataset(shards, crop=Crop(2 * stride, stride, is_random=False))[1].latents
    height, width = whole[1].latents.shape[1:]
    y, x = (height - 2) // 2, (width - 1) // 2
    assert is_same(middle, whole[1].latents[:, y : y + 2, x : x + 1])


def test_crops_off_the_grid_are_refused(shards: Path, codec: str) -> None:
    stride = load_codec(codec).stride
    with pytest.raises(OptionError, match="not aligned"):
        LatentDataset(shards, crop=Crop(stride, stride + 1))
    with pytest.raises(OptionError, match="sides above 0"):
        Crop(0, 8)
    with pytest.raises(OptionError, match="too few latents for a crop"):
        LatentDataset(shards, crop=Crop(4096, 4096))


# The index


def test_the_index_is_kept_and_made_anew(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in shards.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    reads: list[Path] = []
    read = indices.read_members
    monkeypatch.setattr(indices, "read_members", lambda path: reads.append(path) or read(path))
    first = LatentDataset(tmp_path)
    count = len(reads)
    assert count == len(list(tmp_path.glob("*.tar"))) and LatentDataset(tmp_path)[3].key == first[3].key
    assert len(reads) == count
    (tmp_path / indices.CACHE).write_bytes((tmp_path / indices.CACHE).read_bytes()[:500])
    assert LatentDataset(tmp_path)[3].key == first[3].key and len(reads) == 2 * count
    last = max(tmp_path.glob("*.tar"))
    os.utime(last, ns=(1, 1))  # written anew, as large as before
    assert LatentDataset(tmp_path)[3].key == first[3].key and len(reads) == 3 * count
    last.unlink()
    assert len(LatentDataset(tmp_path)) < COUNT and len(reads) == 4 * count - 1
    one = LatentDataset(tmp_path / "latents-000000.tar")
    assert one[0].key == first[0].key and len(one) < len(first)


def test_shards_that_are_not_the_manifests_are_an_error(shards: Path, tmp_path: Path) -> None:
    for path in shards.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "latents-000001.tar").open("ab") as file:
        file.write(bytes(512))
    with pytest.raises(FormatError, match="it was altered"):
        LatentDataset(tmp_path)


# Streams


def keys(batches: Any) -> list[str]:
    return [key for batch in batches for key in batch.keys]


sizes = st.lists(st.integers(0, 40), min_size=1, max_size=8)


@given(sizes, st.integers(1, 9), st.integers(0, 20), st.integers(1, 7), st.integers(0, 3), st.booleans())
def test_every_sample_comes_once(
    counts: list[int], readers: int, buffer: int, batch_size: int, epoch: int, is_even: bool
) -> None:
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    order = Order(starts, buffer, 7, is_even, batch_size, drop_last=False)
    spans = [list(order.samples(epoch, Reader(number, readers))) for number in range(readers)]
    lengths = [len(span) for span in spans]
    found = sorted(itertools.chain(*spans))
    assert sorted(set(found)) == found
    assert lengths == sorted(lengths, reverse=True) and lengths[0] - lengths[-1] <= (not is_even)
    assert len(found) == sum(counts) - (sum(counts) % readers if is_even else 0)
    if not buffer and not is_even:
        assert list(itertools.chain(*spans)) == list(range(sum(counts)))
    every = [
        list(order.batches(epoch, Reader(number, readers), lambda number: number % 3)) for number in range(readers)
    ]
    for batches, span in zip(every, spans, strict=True):
        assert all(len({number % 3 for number in batch}) == 1 and len(batch) <= batch_size for batch in batches)
        given = sorted(itertools.chain(*batches))
        assert given == sorted(span) or (is_even and len(set(given)) == len(given) and set(given) < set(span))
    if is_even:
        assert len({len(batches) for batches in every}) == 1


def test_crops_reach_every_place_along_each_axis_by_itself() -> None:
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(7), indexing="ij")
    places = torch.stack([rows, columns])
    bits = chance(3, 1, range(2000))
    parts = cut([places] * 2000, (4, 5), bits, str)
    found = {(int(part[0, 0, 0]), int(part[1, 0, 0])) for part in parts}
    assert found == {(row, column) for row in range(5) for column in range(3)}


def test_files_come_in_another_order_each_epoch_and_readers_draw_by_themselves() -> None:
    starts = np.arange(0, 1001, 100)
    firsts = {
        next(iter(Order(starts, 1, 0, False, 8, False).samples(epoch, Reader(0, 1)))) // 100 for epoch in range(20)
    }
    assert len(firsts) > 4
    whole = Order(np.array([0, 2000]), 50, 0, False, 8, False)
    drawn = [np.array(list(whole.samples(0, Reader(number, 2)))) - 1000 * number for number in range(2)]
    assert not np.array_equal(*drawn)
    end = list(Order(np.array([0, 40]), 64, 0, False, 8, False).samples(0, Reader(0, 1)))
    assert end != sorted(end)  # less than a buffer is mixed too


def test_the_order_is_mixed_and_of_seed_and_epoch() -> None:
    starts = np.arange(0, 1001, 100)
    shuffled = {
        (seed, epoch): tuple(Order(starts, 200, seed, False, 8, False).samples(epoch, Reader(0, 1)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(shuffled.values())) == 4
    assert tuple(Order(starts, 200, 0, False, 8, False).samples(1, Reader(0, 1))) == shuffled[0, 1]
    moved = np.abs(np.diff(shuffled[0, 0]))
    assert np.median(moved) > 50  # neighbours come from far apart


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_every_sample_once_and_batches_of_one_shape(shards: Path, workers: int) -> None:
    dataset = LatentDataset(shards)
    wanted = {sample.key: sample for sample in dataset.__getitems__(range(COUNT))}
    ranks = [LatentStream(shards, batch_size=4, shuffle=8, rank=rank, ranks=2) for rank in range(2)]
    batches = [b for stream in ranks for b in DataLoader(stream, batch_size=None, num_workers=workers)]
    assert sorted(keys(batches)) == sorted(wanted)
    for batch in batches:
        assert isinstance(batch, Batch) and isinstance(batch.latents, torch.Tensor)
        for latents, label, key in zip(batch.latents, batch.labels, batch.keys, strict=True):
            assert is_same(latents, wanted[key].latents)
            assert label == wanted[key].label


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_goes_on_inside_an_epoch(shards: Path, workers: int) -> None:
    def stream() -> LatentStream:
        return LatentStream(shards, batch_size=3, shuffle=8, seed=2)

    def loaded(of: LatentStream) -> Iterator[Batch]:
        return iter(DataLoader(of, batch_size=None, num_workers=workers))

    first = stream()
    first.set_epoch(3)
    batches = [batch.keys for batch in loaded(first)]
    for used in range(len(batches)) if not workers else (1, 4):
        before = stream()
        before.set_epoch(3)
        some = loaded(before)
        assert [next(some).keys for _ in range(used)] == batches[:used]
        state = before.state_dict() if not workers else before.state_dict(used, workers)
        after = stream()
        after.load_state_dict(pickle.loads(pickle.dumps(state)))
        assert [batch.keys for batch in loaded(after)] == batches[used:]
    after.set_epoch(4)
    assert sorted(keys(loaded(after))) == sorted(itertools.chain(*batches))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_look_at_the_first_batch_costs_no_samples(shards: Path, workers: int) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    whole = keys(loader)
    next(iter(loader))
    assert keys(loader) == whole
    stream.set_epoch(0)
    assert keys(loader) == whole


def test_iterators_do_not_share_samples(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    whole = keys(stream)
    pairs = [(a.keys, b.keys) for a, b in zip(iter(stream), iter(stream), strict=True)]
    assert [list(itertools.chain(*side)) for side in zip(*pairs, strict=True)] == [whole, whole]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_state_is_gone_on_from_once(shards: Path, workers: int) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    whole = [batch.keys for batch in loader]
    stream.load_state_dict(stream.state_dict(2, workers))
    stream.set_epoch(0)  # as a loop over epochs says it
    assert [batch.keys for batch in loader] == whole[2:]
    assert [batch.keys for batch in loader] == whole


def test_the_same_seed_before_each_epoch_loses_nothing(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    stream.load_state_dict(stream.state_dict(2, 2))
    epochs = []
    for _ in range(3):
        torch.manual_seed(0)  # the loader's workers draw the same seeds then
        epochs.append([key for batch in loader for key in batch.keys])
    assert len(epochs[0]) < len(epochs[1]) == stream.samples
    assert epochs[1] == epochs[2]


class Late:
    """Starts a worker after its loader has gone."""

    def __init__(self) -> None:
        self.may_start = torch.zeros(1, dtype=torch.bool).share_memory_()

    def __call__(self, worker: int) -> None:
        while worker and not self.may_start:
            time.sleep(0.01)


def test_a_look_at_a_loaded_state_is_its_only_use(shards: Path) -> None:
    stream, late = LatentStream(shards, batch_size=3, shuffle=8), Late()
    whole = sorted(keys(stream))
    stream.load_state_dict(stream.state_dict(1, 2))
    loader = DataLoader(stream, batch_size=None, num_workers=2, worker_init_fn=late)
    look = iter(loader)
    next(look)  # from worker 0 alone
    late.may_start[0] = True
    assert sorted(keys(DataLoader(stream, batch_size=None, num_workers=2))) == whole


def test_an_older_iteration_leaves_a_loaded_state_alone(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    whole = [batch.keys for batch in stream]
    older = iter(stream)
    next(older)
    stream.load_state_dict(stream.state_dict())
    list(older)
    assert [batch.keys for batch in stream] == whole[1:]


def test_workers_that_stay_see_a_new_epoch(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=4, shuffle=8)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        stream.set_epoch(epoch)
        epochs.append(keys(loader))
    assert epochs[0] != epochs[1] and sorted(epochs[0]) == sorted(epochs[1])


def test_states_of_others_are_refused(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=4, seed=1)
    state = stream.state_dict(1, 2)
    with pytest.raises(OptionError, match="seed 1, this stream 0"):
        LatentStream(shards, batch_size=4).load_state_dict(state)
    for name, options in (
        ("shuffle", {"shuffle": 8}),
        ("drop_last", {"drop_last": True}),
        ("is_even", {"is_even": True}),
        ("batch_size", {"batch_size": 3}),
        ("rank", {"rank": 0, "ranks": 2}),
    ):
        with pytest.raises(OptionError, match=f"the state has {name}"):
            LatentStream(shards, **{"batch_size": 4, "seed": 1, **options}).load_state_dict(state)  # type: ignore[arg-type]
    stream.load_state_dict(state)
    with pytest.raises(OptionError, match="of 2 workers, here are 1"):
        next(iter(stream))
    with pytest.raises(OptionError, match="this has nothing"):
        stream.load_state_dict({})
    with pytest.raises(OptionError, match="99 are said to be used"):
        stream.state_dict(99, 2)
    for options in ({"rank": 2, "ranks": 2}, {"rank": 0}, {"batch_size": 0}):
        with pytest.raises(OptionError):
            LatentStream(shards, **options)  # type: ignore[arg-type]


def test_a_stateful_loader_goes_on(shards: Path) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")

    def loader() -> Any:
        stream = LatentStream(shards, batch_size=3, shuffle=8)
        return loaders.StatefulDataLoader(stream, batch_size=None, num_workers=2)

    whole = [batch.keys for batch in loader()]
    first = loader()
    some = iter(first)
    assert [next(some).keys for _ in range(3)] == whole[:3]
    after = loader()
    after.load_state_dict(first.state_dict())
    assert [batch.keys for batch in after] == whole[3:]


# Workers


def test_forked_workers_decode_what_this_process_does(shards: Path) -> None:
    dataset = LatentDataset(shards, crop=Crop(64, 64))
    here = [dataset[number] for number in range(COUNT)]
    loader = DataLoader(dataset, batch_size=5, num_workers=2, collate_fn=collate, multiprocessing_context="fork")
    there = list(loader)
    assert keys(there) == [sample.key for sample in here]
    latents = torch.cat([batch.latents for batch in there])
    assert is_same(latents, torch.stack([s.latents for s in here]))


@pytest.mark.slow
def test_spawned_workers_too(shards: Path) -> None:
    dataset = LatentDataset(shards, crop=Crop(64, 64))
    loader = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=collate, multiprocessing_context="spawn")
    assert keys(loader) == [dataset[number].key for number in range(COUNT)]
    stream = LatentStream(shards, batch_size=4, shuffle=8)
    spawned = DataLoader(stream, batch_size=None, num_workers=1, multiprocessing_context="spawn")
    assert keys(spawned) == keys(stream)


def test_datasets_survive_pickling(shards: Path) -> None:
    dataset = LatentDataset(shards)
    first = dataset[4]
    again = pickle.loads(pickle.dumps(dataset))[4]
    assert torch.equal(again.latents, first.latents) and again.key == first.key


# Statistics


def test_statistics_are_those_of_all_latents(shards: Path) -> None:
    dataset = LatentDataset(shards)
    values = np.concatenate([dataset[n].latents.flatten(1).numpy().astype(np.float64) for n in range(COUNT)], 1)
    statistics = dataset.statistics
    assert statistics is not None and statistics == compute_statistics(dataset)
    tolerance = 1e-9 if dataset.output == "integers" else 1e-5  # floats of batches differ in their last digits
    np.testing.assert_allclose(statistics.mean, values.mean(1), rtol=0, atol=tolerance)
    np.testing.assert_allclose(statistics.deviation, values.std(1), rtol=0, atol=1e-5)
    assert (statistics.samples, statistics.weights) == (COUNT, dataset.weights.hex())
    flat = torch.cat([statistics.normalise(dataset[n].latents).flatten(1) for n in range(COUNT)], 1)
    changes = torch.tensor(statistics.deviation) > 0
    torch.testing.assert_close(flat.mean(1), torch.zeros(len(flat)), atol=1e-3, rtol=0)
    torch.testing.assert_close(flat[changes].std(1), torch.ones(int(changes.sum())), atol=1e-2, rtol=0)
    if dataset.output == "integers":
        assert LatentDataset(shards, output="floats").statistics is None  # those were of integers


# The document


def test_the_documents_examples_run(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs/LEARNING.md").read_text()
    text = re.sub(r"^## Sounds$.*?(?=^## )", "", text, flags=re.MULTILINE | re.DOTALL)  # a test of sounds runs it
    (tmp_path / "shards").symlink_to(shards)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/LEARNING.md", "exec"), names)
    assert names["x"].dtype == torch.float32 and len(names["labels"]) == len(names["x"])
    assert next(iter(names["loader"])).latents.shape[0] == 8
    assert isinstance(names["handler"](".rfy", names["dataset"].coded(0)), torch.Tensor)


# WebDataset


def test_the_decode_handler_takes_its_own_field_alone(shards: Path) -> None:
    dataset = LatentDataset(shards)
    data = dataset.coded(2)
    assert torch.equal(pickle.loads(pickle.dumps(decoder()))(".rfy", data), dataset[2].latents)
    assert torch.equal(decoder("floats")(".seg.RFY", data), api.open(data).latents())
    assert decoder("pixels")(".rfy", data).shape == (3, 64, 64)
    assert decoder()(".cls", b"1") is None and decoder()(".xrfy", data) is None
    with pytest.raises(OptionError, match="pixels"):
        decoder("jpeg")


def test_webdataset_reads_the_shards(shards: Path) -> None:
    wds = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    dataset = LatentDataset(shards)
    found = list(wds.WebDataset(urls, shardshuffle=False).decode(decoder()))
    assert [sample["__key__"] for sample in found] == [dataset[n].key for n in range(COUNT)]
    for number, sample in enumerate(found):
        assert sample["cls"] == dataset.labels[number]
        assert torch.equal(sample["rfy"], dataset[number].latents)
    together = wds.WebDataset(urls, shardshuffle=False).decode().to_tuple("rfy", "cls").batched(4, collate)
    assert torch.cat([batch.labels for batch in together]).tolist() == dataset.labels.tolist()


def test_shards_of_webdataset_are_read(shards: Path, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    dataset = LatentDataset(shards)
    with wds.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number in range(5):
            label = {"json": {"number": number}} if number % 2 else {"cls": number}
            writer.write({"__key__": f"{number:03}", "rfy": dataset.coded(number), **label})
    theirs = LatentDataset(tmp_path)
    assert [theirs[n].label for n in range(5)] == [0, {"number": 1}, 2, {"number": 3}, 4]
    assert all(torch.equal(theirs[n].latents, dataset[n].latents) for n in range(5))


# Programs of examples/learning


def example(name: str, needs: str) -> dict[str, Any]:
    """The names that a program defines; skips where its package is not there."""
    pytest.importorskip(needs)
    return runpy.run_path(str(Path(__file__).resolve().parents[1] / f"examples/learning/{name}.py"))


def check_batches(batches: list[Batch], shards: Path) -> None:
    """Every sample comes once, with its class: told apart by its latents."""
    dataset = LatentDataset(shards)
    wanted = sorted((sample.latents.sum().item(), sample.label) for sample in dataset.__getitems__(range(COUNT)))
    found = sorted(
        (latents.sum().item(), int(label))
        for batch in batches
        for latents, label in zip(batch.latents, batch.labels, strict=True)
    )
    assert [label for _, label in found] == [label for _, label in wanted]
    np.testing.assert_allclose([total for total, _ in found], [total for total, _ in wanted], atol=0.1)


def test_the_webdataset_program(shards: Path) -> None:
    check_batches(list(example("with_webdataset", "webdataset")["batches"](shards, 4)), shards)


def test_the_datasets_program(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    check_batches(list(example("with_datasets", "datasets")["batches"](shards, 4)), shards)


@pytest.mark.slow
def test_the_litdata_program(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("litdata")
    program = Path(__file__).resolve().parents[1] / "examples/learning/with_litdata.py"
    finished = subprocess.run(
        [sys.executable, str(program), str(shards), str(tmp_path / "chunks")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr
    check_batches(list(example("with_litdata", "litdata")["batches"](tmp_path / "chunks", 4)), shards)


# The benchmark of loading


def test_loading_is_measured_beside_jpeg(
    codec: str, tmp_path: Path, photograph: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    large = np.tile(photograph, (3, 2, 1))[:280, :280]
    Image.fromarray(large).save(tmp_path / "a.png")
    command = ["bench", "loading", str(tmp_path / "a.png"), "--codec", f"{codec}@50", "--count", "6", "--json", "-"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    rates = result["samples_per_second"]
    assert {"latents", THREADED, "jpeg, Pillow, BOX 1/8", "jpeg, Pillow, draft 1/8"} <= set(rates)
    assert result["speedup"] == pytest.approx(rates["latents"] / rates["jpeg, Pillow, BOX 1/8"])
    sizes = result["bytes_per_sample"]
    assert sizes["jpeg"] <= sizes["rfy"] or codec == "image"  # JPEG cannot be as small as some
    Image.fromarray(photograph).save(tmp_path / "a.png")
    assert main(command) == 2


def test_jpegs_are_as_large_as_they_may_be(photograph: NDArray[np.uint8]) -> None:
    data = bench_loading.jpeg_of_size(photograph, 3000)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == photograph.shape[1::-1]
    assert 2700 < len(data) <= 3000
    assert 1 < len(bench_loading.jpeg_of_size(photograph, 1)) < len(data)
    box, draft = bench_loading.pillow(data), bench_loading.pillow_draft(data)
    assert box.shape == (3, 32, 32) and draft.dtype == torch.uint8


# What those who train rely on


def test_classes_that_lie_side_by_side_are_mixed() -> None:
    """As `rarefy pack` writes them: one class after the other, in few shards."""
    classes, each = 20, 500
    kind = np.arange(classes * each) // each
    for files in (1, 5, 23):
        starts = np.linspace(0, len(kind), files + 1).astype(np.int64)
        order = Order(starts, 1024, 0, False, 64, False)
        for readers in (1, 3):
            found = [np.array(list(order.samples(0, Reader(number, readers)))) for number in range(readers)]
            assert sorted(np.concatenate(found).tolist()) == list(range(len(kind)))
            batches = [kind[part[first : first + 64]] for part in found for first in range(0, len(part) - 64, 64)]
            assert np.mean([len(set(batch)) for batch in batches]) > 14


def test_integers_can_be_trained_on_without_workers(shards: Path) -> None:
    for batch in (next(iter(LatentStream(shards, batch_size=4))), collate([LatentDataset(shards)[0]])):
        assert not batch.latents.is_inference()
        scale = torch.ones(batch.latents.shape[1], 1, 1, requires_grad=True)
        (batch.latents * scale).sum().backward()
        batch.latents.clamp_(-1, 1)


def test_a_state_of_other_shards_is_refused(shards: Path, files: Path) -> None:
    state = LatentStream(shards, batch_size=4).state_dict(2, 1)
    other = LatentStream(files, batch_size=4)
    assert other.samples == state["samples"]
    with pytest.raises(OptionError, match="the state has shards"):
        other.load_state_dict(state)


def test_a_state_at_the_end_of_an_epoch_has_nothing_left_of_it(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    whole = [batch.keys for batch in stream]
    again = LatentStream(shards, batch_size=3, shuffle=8)
    again.load_state_dict(stream.state_dict())
    assert [batch.keys for batch in again] == []
    assert [batch.keys for batch in again] == whole
    assert [batch.keys for batch in stream] == whole


def test_ranks_are_those_of_the_time_of_iterating(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_before = [LatentStream(shards, batch_size=4) for _ in range(2)]
    given = LatentStream(shards, batch_size=4, rank=0, ranks=1)
    whole = sorted(keys(given))
    found = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank, stream in enumerate(made_before):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        found += keys(stream)
        copied = pickle.loads(pickle.dumps(stream))  # as workers that are spawned get it
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
        assert keys(copied) == keys_of_rank(shards, rank)
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    assert sorted(found) == whole == sorted(keys(given))


def keys_of_rank(shards: Path, rank: int) -> list[str]:
    return keys(LatentStream(shards, batch_size=4, rank=rank, ranks=2))


def test_another_default_device_changes_nothing(shards: Path) -> None:
    whole = keys(LatentStream(shards, batch_size=4))
    with torch.device("meta"):
        stream = LatentStream(shards, batch_size=4)
        batches = list(stream)
        assert {batch.latents.device.type for batch in batches} == {"cpu"}
        assert [key for batch in batches for key in batch.keys] == whole
        assert compute_statistics(LatentDataset(shards)).mean is not None
    with torch.inference_mode():
        made_there = LatentStream(shards, batch_size=4)
    made_there.set_epoch(3)


def test_threads_read_what_one_does(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rarefy.data.reading.MOST_OPEN", 2)
    dataset = LatentDataset(files)
    alone = [dataset.coded(number) for number in range(len(dataset))]
    with ThreadPoolExecutor(8) as pool:
        numbers = np.random.default_rng(0).integers(0, len(dataset), 4000).tolist()
        assert all(data == alone[n] for n, data in zip(numbers, pool.map(dataset.coded, numbers), strict=True))


def test_a_pack_that_has_not_finished_is_said(shards: Path, tmp_path: Path) -> None:
    shutil.copytree(shards, tmp_path / "half")
    manifest = tmp_path / "half/manifest.json"
    text = json.loads(manifest.read_text())
    text["is_complete"] = False
    manifest.write_text(json.dumps(text))
    with pytest.warns(RarefyWarning, match="packing has not finished"):
        LatentDataset(tmp_path / "half")


def test_bytes_are_no_pixels_for_training(codec: str) -> None:
    with pytest.raises(OptionError, match=r"codecs take floats, .* not torch.uint8"):
        load_codec(codec)(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), 50)


def test_compiled_codecs_take_several_sizes(codec: str) -> None:
    whole = load_codec(codec)
    compiled = torch.compile(whole, backend="eager")
    for size in (64, 128):
        x = torch.rand(1, 3, size, 64)
        torch.testing.assert_close(compiled(x, 50).bits, whole(x, 50).bits)


def test_statistics_are_of_the_samples_that_one_trains_on(shards: Path) -> None:
    dataset = LatentDataset(shards)
    chosen = [0, 2, 5]
    whole, part = compute_statistics(dataset), compute_statistics(dataset, chosen)
    again = compute_statistics(dataset, torch.utils.data.Subset(dataset, chosen).indices)
    assert part == again != whole and part.samples + sum(other.samples for other in part.others) == 3
    with pytest.raises(OptionError, match="no samples"):
        compute_statistics(dataset, [])


@pytest.mark.parametrize("kind", [LatentDataset, LatentStream])
def test_crops_that_do_not_fit_are_told_before_the_first_epoch(kind: type, shards: Path) -> None:
    with pytest.raises(OptionError, match=r"samples have too few latents for a crop of .*; the first, .*, has "):
        kind(shards, crop=Crop(4096, 4096))


def test_a_sample_that_comes_twice_in_a_row_is_told(shards: Path, tmp_path: Path) -> None:
    shard = next(shards.glob("*.tar"))
    with tarfile.open(shard) as tar:
        member = next(member for member in tar if member.name.endswith(".rfy"))
        data = tar.extractfile(member).read()  # type: ignore[union-attr]
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(member, io.BytesIO(data))
    with pytest.raises(FormatError, match="stands there twice"):
        LatentDataset(tmp_path / "twice.tar")


@pytest.mark.parametrize("workers", [1, 2])
def test_where_workers_are_has_to_be_said(shards: Path, workers: int) -> None:
    stream = LatentStream(shards, batch_size=3, shuffle=8)
    look = iter(DataLoader(stream, batch_size=None, num_workers=workers))
    next(look)
    with pytest.raises(OptionError, match="say batches= and workers="):
        stream.state_dict()
    stream.load_state_dict(stream.state_dict(1, workers))
    del look
    assert stream.state_dict()["given"]
