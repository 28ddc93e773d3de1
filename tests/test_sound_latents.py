"""Datasets of latents of sounds: mono and stereo, several units and rates, crops along time, statistics of both."""

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sound_codecs import TINY, tiny
from sounds import tones
from torch.utils.data import DataLoader

from rarefy.codecs import api
from rarefy.codecs.audio import Audio
from rarefy.codecs.audio_writing import write_audio
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.weights import load_any, save_weights
from rarefy.data import Batch, Crop, LatentDataset, LatentStream, SoundCrop, collate, compute_statistics, decode
from rarefy.data.statistics import Statistics
from rarefy.data.webdataset import decoder
from rarefy.errors import ChecksumError, FormatError, LimitError, OptionError, RarefyError, TruncatedError
from rarefy.tools.cli import main

pytest.importorskip("soundfile", reason="sound files need soundfile")
pytest.importorskip("soxr", reason="other sample rates need soxr")

MONO, STEREO = TINY["mono_latents"], TINY["stereo_latents"]
KINDS = (  # channels, samples and rate: the last of three are one unit each, the others two
    (1, 90_000, 24_000),
    (2, 170_000, 44_100),
    (1, 30_001, 8_000),
    (1, 4_000, 24_000),
    (2, 8_000, 44_100),
    (1, 4_000, 24_000),
)
COUNT = 3 * len(KINDS)
SHAPES = {  # latents of each kind: samples at the part's rate by its stride, rounded up
    (1, 90_000, 24_000): (MONO, 5625),
    (2, 170_000, 44_100): (STEREO, 5313),
    (1, 30_001, 8_000): (MONO, 5626),
    (1, 4_000, 24_000): (MONO, 250),
    (2, 8_000, 44_100): (STEREO, 250),
}


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A tiny codec in the place of the product's."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(tiny(), folder / "walloc-audio-tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFY_WEIGHTS", str(folder))
        yield


def noise(channels: int, length: int, seed: int) -> NDArray[np.float32]:
    """Noise without high frequencies: no part of it is like another."""
    drawn = np.random.default_rng(seed).standard_normal((channels, length))
    return np.stack([np.convolve(row, np.hanning(16) / 16, "same") for row in drawn]).astype(np.float32)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mono and stereo sounds of two classes in several shards."""
    folder, target = tmp_path_factory.mktemp("sounds") / "in", tmp_path_factory.mktemp("shards")
    for number in range(COUNT):
        channels, length, rate = KINDS[number % len(KINDS)]
        path = folder / ("cat", "dog")[number % 2] / f"{number:02}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, Audio(noise(channels, length, number), rate))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rarefy.tools.commands.pack.MEGABYTE", 200)
        command = ["pack", str(folder), "-o", str(target), "--codec", "walloc-audio", "--statistics", "-q"]
        assert main(command) == 0
    assert len(list(target.glob("*.tar"))) > 2
    return target


@pytest.fixture
def no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make running a transform an error."""

    def fail(*_: Any) -> None:
        raise AssertionError("a transform ran")

    for part in (codec().stereo, codec().mono):
        monkeypatch.setattr(type(part), "synthesis", fail)
        monkeypatch.setattr(type(part), "analysis", fail)


def codec() -> SoundCodec:
    loaded = load_any("walloc-audio")
    assert isinstance(loaded, SoundCodec)
    return loaded


def coded(channels: int, length: int, quality: float = 50, rate: int = 24_000) -> bytes:
    return api.encode(tones(channels, length, rate), codec="walloc-audio", quality=quality, sample_rate=rate)


@pytest.mark.usefixtures("no_networks")
def test_latents_are_those_of_the_files_one_by_one(shards: Path) -> None:
    dataset, floats = LatentDataset(shards), LatentDataset(shards, output="floats")
    assert (len(dataset), dataset.codec, dataset.classes) == (COUNT, "walloc-audio", ("cat", "dog"))
    units = set()
    for number, (whole, other) in enumerate(
        zip(dataset.__getitems__(range(COUNT)), floats.__getitems__(range(COUNT)), strict=True)
    ):
        with api.open(dataset.coded(number)) as file:
            header, wanted = file.info.header, file.latents()
        units.add(header.unit_count)
        assert torch.equal(other.latents, wanted) and other.latents.dtype == torch.float32
        assert whole.latents.dtype == torch.int16
        assert whole.latents.shape == SHAPES[header.channels, header.length, header.sample_rate]
        bottleneck = codec().part(header.channels).bottleneck
        _, back = bottleneck.gains(torch.tensor([0.5]))  # type: ignore[attr-defined]
        assert torch.equal(whole.latents * back[0].reshape(-1, 1), wanted)
        assert (
            whole.key == f"{dataset.classes[whole.label]}/{whole.key[-2:]}" and whole.label == int(whole.key[-2:]) % 2
        )
    assert units == {1, 2}


def test_integers_are_what_the_encoder_rounded() -> None:
    samples = tones(2, 20_000)
    (data,) = [api.encode(Audio(samples, 44_100), quality=60)]
    with torch.inference_mode(), codec().transforms("float32"):
        from rarefy.codecs.sound_level import gain_of

        level = api.open(data).info.header.level
        y = codec().stereo.analysis(torch.from_numpy(samples[:, : 20_000 // 32 * 32] / gain_of(level)).float()[None])
        gain, _ = codec().stereo.bottleneck.gains(torch.tensor([0.6]))  # type: ignore[attr-defined]
    fresh = y[0] * gain[0].reshape(-1, 1)
    assert ((fresh - decode([data])[0]).abs()[:, :-4] <= 0.55).all()  # half a step, and bfloat16


def test_a_batch_is_one_call_for_each_part_and_shape(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = LatentDataset(shards)
    numbers = list(range(COUNT))[::-1]
    one_by_one = [dataset[number].latents for number in numbers]
    calls = []
    for part in (codec().stereo, codec().mono):
        bottleneck: Any = part.bottleneck

        def counted(units: list[Any], shape: tuple[int], quality: int, function: Any = bottleneck.symbols) -> Any:
            calls.append(len(units))
            return function(units, shape, quality)

        monkeypatch.setattr(bottleneck, "symbols", counted)
    together = dataset.__getitems__(numbers)
    assert all(torch.equal(sample.latents, alone) for sample, alone in zip(together, one_by_one, strict=True))
    with_two = sum(length > 20_000 for _, length, _ in KINDS)
    assert sum(calls) == 3 * (len(KINDS) + with_two)
    assert len(calls) == 7  # whole units and short ones of stereo; whole ones, 250, and two kinds of ends of mono


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stream_gives_every_sound_once_in_batches_of_one_shape(shards: Path, workers: int) -> None:
    wanted = {sample.key: sample for sample in LatentDataset(shards).__getitems__(range(COUNT))}
    ranks = [LatentStream(shards, batch_size=3, shuffle=8, rank=rank, ranks=2) for rank in range(2)]
    batches = [b for stream in ranks for b in DataLoader(stream, batch_size=None, num_workers=workers)]
    assert sorted(key for batch in batches for key in batch.keys) == sorted(wanted)
    for batch in batches:
        assert isinstance(batch, Batch) and isinstance(batch.latents, torch.Tensor) and batch.latents.ndim == 3
        for latents, label, key in zip(batch.latents, batch.labels, batch.keys, strict=True):
            assert torch.equal(latents, wanted[key].latents) and label == wanted[key].label


def test_the_order_follows_from_the_seed(shards: Path) -> None:
    def keys(seed: int, epoch: int = 0) -> list[str]:
        stream = LatentStream(shards, batch_size=2, shuffle=8, seed=seed)
        stream.set_epoch(epoch)
        return [key for batch in stream for key in batch.keys]

    assert keys(0) == keys(0) != keys(1)
    assert keys(0) != keys(0, epoch=1)


def test_a_stream_goes_on_inside_an_epoch(shards: Path) -> None:
    stream = LatentStream(shards, batch_size=2, shuffle=8, crop=SoundCrop(100), seed=3)
    batches = list(stream)
    some = iter(stream)
    for _ in range(3):
        next(some)
    after = LatentStream(shards, batch_size=2, shuffle=8, crop=SoundCrop(100), seed=3)
    after.load_state_dict(pickle.loads(pickle.dumps(stream.state_dict())))
    for batch, wanted in zip(after, batches[3:], strict=True):
        assert batch.keys == wanted.keys and torch.equal(batch.latents, wanted.latents)


def test_bytes_become_batches(shards: Path) -> None:
    dataset = LatentDataset(shards)
    alike = [number for number in range(COUNT) if dataset[number].latents.shape == (MONO, 250)]
    batch = collate([(dataset.coded(number), number) for number in alike])
    assert batch.latents.shape == (6, MONO, 250) and batch.labels.tolist() == alike
    several = collate([dataset.coded(number) for number in range(COUNT)])
    assert isinstance(several.latents, list)
    assert all(torch.equal(a, dataset[number].latents) for number, a in enumerate(several.latents))
    loader = DataLoader(dataset, batch_size=COUNT, collate_fn=collate, num_workers=1)
    (loaded,) = loader
    assert all(torch.equal(a, b) for a, b in zip(loaded.latents, several.latents, strict=True))


# Crops


def test_crops_are_whole_latents_and_follow_from_the_seed(shards: Path) -> None:
    whole, crop = LatentDataset(shards), SoundCrop(64)
    cut, again, other = (LatentDataset(shards, crop=crop, seed=seed) for seed in (5, 5, 6))
    places = []
    for number in range(COUNT):
        large, small = whole[number].latents, cut[number].latents
        assert small.shape == (len(large), 64)
        assert torch.equal(small, again.__getitems__([0, number])[1].latents)
        found = [at for at in range(large.shape[1] - 63) if torch.equal(large[:, at : at + 64], small)]
        assert len(found) == 1, number
        places.append(found[0])
    assert len(set(places)) > COUNT - 3 and max(places) > 256
    assert any(not torch.equal(other[number].latents, cut[number].latents) for number in range(COUNT))
    again.set_epoch(1)
    assert any(not torch.equal(again[number].latents, cut[number].latents) for number in range(COUNT))
    middle = LatentDataset(shards, crop=SoundCrop(64, is_random=False))
    assert torch.equal(middle[3].latents, whole[3].latents[:, (whole[3].latents.shape[1] - 64) // 2 :][:, :64])


def test_crops_of_a_stream_make_batches_of_mono_and_of_stereo(shards: Path) -> None:
    batches = list(LatentStream(shards, batch_size=64, crop=SoundCrop(200)))
    assert sorted(batch.latents.shape for batch in batches) == [(12, MONO, 200), (6, STEREO, 200)][::-1]
    samples = LatentDataset(shards, crop=SoundCrop(200)).__getitems__(range(COUNT))
    assert len({sample.latents.shape for sample in samples}) == 2


def test_crops_that_do_not_fit_are_one_sentence(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(
        OptionError, match=r"9 of 18 samples have too few latents for a crop of 251; the first, (cat|dog)/\d\d, has 250"
    ):
        list(LatentStream(shards, crop=SoundCrop(251)))
    with pytest.raises(OptionError, match="take SoundCrop"):
        LatentDataset(shards, crop=Crop(64, 64))
    with pytest.raises(OptionError, match="a length above 0"):
        SoundCrop(0)


# Statistics


def test_statistics_are_those_of_mono_and_of_stereo(shards: Path) -> None:
    dataset = LatentDataset(shards)
    statistics = dataset.statistics
    assert statistics is not None and statistics == compute_statistics(dataset)
    samples = [sample.latents for sample in dataset.__getitems__(range(COUNT))]
    kinds = [statistics, *statistics.others]
    assert [(len(one.mean), one.samples, one.axes) for one in kinds] == [(MONO, 12, 1), (STEREO, 6, 1)]
    for one in kinds:
        own = [latents for latents in samples if len(latents) == len(one.mean)]
        values = torch.cat(own, 1).numpy().astype(np.float64)
        np.testing.assert_allclose(one.mean, values.mean(1), rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.deviation, values.std(1), rtol=0, atol=1e-6)
        flat = torch.cat([statistics.normalise(latents[None])[0] for latents in own], 1)
        torch.testing.assert_close(flat.mean(1), torch.zeros(len(flat)), atol=1e-3, rtol=0)
        assert torch.equal(statistics.normalise(own[0]), statistics.normalise(own[0][None])[0])
    with pytest.raises(OptionError, match="not of latents with the shape"):
        statistics.normalise(torch.zeros(2, MONO + 1, 9))


def test_statistics_of_older_manifests_are_those_of_pictures() -> None:
    kept = {"mean": (1.0, 2.0), "deviation": (1.0, 0.0), "samples": 1, "output": "integers", "weights": ""}
    latents = torch.tensor([[[3.0]], [[2.0]]])
    assert Statistics(**kept).normalise(latents).flatten().tolist() == [2.0, 0.0]  # type: ignore[arg-type]


# What is refused


def test_surround_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.rfy").write_bytes(coded(2, 2000))
    (tmp_path / "six.rfy").write_bytes(coded(6, 2000))
    with pytest.raises(OptionError, match=r"six has 6 channels.*mix it down first"):
        LatentDataset(tmp_path)
    with pytest.raises(OptionError, match="the sound has 6 channels"):
        decode([(tmp_path / "six.rfy").read_bytes()])


def test_integers_of_several_qualities_do_not_mix(tmp_path: Path) -> None:
    for quality in (20, 80):
        (tmp_path / f"{quality}.rfy").write_bytes(coded(1, 3000, quality))
    with pytest.raises(OptionError, match="qualities from 20 to 80"):
        LatentDataset(tmp_path)
    samples = LatentDataset(tmp_path, output="floats").__getitems__([0, 1])
    assert all(torch.equal(one.latents, api.open(tmp_path / f"{one.key}.rfy").latents()) for one in samples)


def test_damaged_cut_and_empty_files_are_named(tmp_path: Path) -> None:
    whole = coded(1, 90_000)
    for name, data, kind in (
        ("harmed", whole[:-30] + bytes([whole[-30] ^ 4]) + whole[-29:], FormatError),
        ("cut", whole[: len(whole) // 2], TruncatedError),
        ("empty", b"", RarefyError),
        ("text", b"text", FormatError),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "good.rfy").write_bytes(whole)
        (folder / f"{name}.rfy").write_bytes(data)
        with pytest.raises(kind, match=name):
            LatentDataset(folder).__getitems__([0, 1])
    alone = coded(1, 3000)
    with pytest.raises(ChecksumError):
        decode([alone, alone[:-9] + bytes([alone[-9] ^ 1]) + alone[-8:]])


def test_units_above_the_limits_are_refused() -> None:
    from rarefy.codecs.limits import Limits

    data = coded(2, 8000)
    decode([data], limits=Limits(symbols=STEREO * 500))
    with pytest.raises(LimitError, match="unit 0 holds"):
        decode([data], limits=Limits(symbols=STEREO * 100))


# The document


def test_the_documents_example_runs(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs/LEARNING.md").read_text()
    (section,) = re.findall(r"^## Sounds$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "sounds").symlink_to(shards)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        exec(compile(block, "docs/LEARNING.md", "exec"), names)
    assert names["x"].dtype == torch.float32 and names["x"].shape[2] == 128 and len(names["labels"]) == len(names["x"])


# WebDataset


def test_the_decode_handler_gives_latents_and_samples(shards: Path) -> None:
    dataset = LatentDataset(shards)
    data = dataset.coded(4)
    assert torch.equal(decoder()(".rfy", data), dataset[4].latents)
    assert torch.equal(decoder("floats")(".rfy", data), api.open(data).latents())
    samples = pickle.loads(pickle.dumps(decoder("samples")))(".rfy", data)
    assert torch.equal(samples, torch.from_numpy(api.decode(data).samples)) and samples.ndim == 2
    with pytest.raises(OptionError, match="no pixels, it holds a sound"):
        decoder("pixels")(".rfy", data)


# The benchmark of loading


@pytest.mark.parametrize("channels", [1, 2])
def test_loading_is_measured_beside_opus(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="Opus needs av")
    from rarefy.tools import bench_loaders

    monkeypatch.setattr(bench_loaders, "ROUNDS", 1)
    for number in range(2):
        write_audio(tmp_path / f"{number}.wav", Audio(noise(channels, 50_000 * channels, number), 24_000 * channels))
    names = [str(tmp_path / f"{number}.wav") for number in range(2)]
    command = ["bench", "loading", *names, "--codec", "walloc-audio@50", "--count", "5", "--json", "-"]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    rates = result["samples_per_second"]
    assert set(rates) == {"latents", bench_loaders.THREADED, "opus", "opus, as few numbers"}
    assert result["speedup"] == pytest.approx(rates["latents"] / rates["opus, as few numbers"])
    assert result["kilobits_per_second"] == pytest.approx(result["bytes_per_sample"]["rfy"] * 8 / 2000)
    write_audio(tmp_path / "0.wav", Audio(noise(3 - channels, 100_000, 0), 24_000))
    assert main(command) == 2
    assert "name mono ones alone" in capsys.readouterr().err
    write_audio(tmp_path / "0.wav", Audio(noise(channels, 40_000, 0), 24_000))
    assert main(command) == 2
    assert "has no piece of 2 seconds" in capsys.readouterr().err
