"""Sounds to files and back: every rate and number of channels, parts equal to the whole, damage told, tags kept."""

import io
import os
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz.mutation import mutated
from fuzz.sealing import sealed
from sound_codecs import tiny
from sounds import TAGS, signal_to_noise, tones

import rarefy
from rarefy.codecs import container
from rarefy.codecs.audio import Audio, open_audio
from rarefy.codecs.audio_writing import AudioWriter, write_audio
from rarefy.codecs.sound_decoding import SoundDecoder
from rarefy.codecs.sound_encoding import windows
from rarefy.codecs.weights import load_any, save_weights
from rarefy.errors import ChecksumError, FormatError, LimitError, MediaError, OptionError, TruncatedError

pytest.importorskip("soundfile", reason="sound files need soundfile")
pytest.importorskip("soxr", reason="other sample rates need soxr")
LONG = 400_000  # samples: three spans at 44.1 kHz


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A tiny codec in the place of the product's."""
    folder = tmp_path_factory.mktemp("weights")
    save_weights(tiny(), folder / "walloc-audio-tiny.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAREFY_WEIGHTS", str(folder))
        yield


def smooth(channels: int, length: int, rate: int = 44_100, subtype: str | None = None) -> Audio:
    """Noise whose spectrum falls, of another loudness in every channel."""
    noise = np.random.default_rng(length).standard_normal((channels, length + 63))
    kernel = np.hanning(64) / np.hanning(64).sum()
    rows = [np.convolve(row, kernel, "valid") * (1 + number) for number, row in enumerate(noise)]
    return Audio((0.3 * np.stack(rows)).astype(np.float32), rate, subtype)


@pytest.fixture(scope="module")
def song() -> Audio:
    return smooth(2, LONG)


@pytest.fixture(scope="module")
def coded(song: Audio) -> bytes:
    return rarefy.encode(song, quality=90)


@pytest.mark.parametrize("rate", [8_000, 11_025, 24_000, 44_100, 44_101, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_every_rate_and_number_of_channels_comes_back(channels: int, rate: int) -> None:
    original = smooth(channels, rate * 2 + 1, rate, "PCM_24")
    data = rarefy.encode(original, quality=95)
    decoded = rarefy.decode(data)
    assert isinstance(decoded, Audio)
    assert (decoded.sample_rate, decoded.samples.shape, decoded.subtype) == (rate, original.samples.shape, "PCM_24")
    assert signal_to_noise(decoded.samples, original.samples.clip(-1, 1)) > 12
    info = container.read_info(data)
    assert (info.medium, info.channels, info.seconds) == ("sound", channels, pytest.approx(2, abs=1e-3))
    assert info.kilobits_per_second == pytest.approx(len(data) * 8 / 1000 / info.seconds)


@pytest.mark.parametrize("length", [1, 2, 15, 31, 32, 33, 1000])
@pytest.mark.parametrize(("channels", "rate"), [(1, 24_000), (2, 44_100), (1, 8_000), (6, 96_000)])
def test_short_sounds_come_back(channels: int, rate: int, length: int) -> None:
    decoded = rarefy.decode(rarefy.encode(smooth(channels, length, rate), quality=100))
    assert decoded.samples.shape == (channels, length) and np.isfinite(decoded.samples).all()


def test_silence_stays_silent_and_takes_few_bytes() -> None:
    data = rarefy.encode(Audio(np.zeros((2, LONG), np.float32), 44_100))
    assert np.abs(rarefy.decode(data).samples).max() < 2**-16  # below half a step of 16 bits
    assert len(data) < LONG / 20


@pytest.mark.parametrize("gain", [1e-3, 0.1, 8.0])
def test_loudness_is_untouched_and_quiet_sounds_are_as_good(song: Audio, gain: float) -> None:
    louder = Audio(song.samples * np.float32(gain), song.sample_rate, "FLOAT")
    decoded = rarefy.decode(rarefy.encode(louder, quality=90)).samples
    plain = rarefy.decode(rarefy.encode(Audio(song.samples, 44_100, "FLOAT"), quality=90)).samples
    expected = signal_to_noise(plain, song.samples)
    assert signal_to_noise(decoded, louder.samples) == pytest.approx(expected, abs=0.5)


def test_only_formats_that_clip_are_clipped() -> None:
    loud = smooth(2, 5000).samples * 20
    for subtype, is_clipped in (("PCM_16", True), ("PCM_24", True), ("FLOAT", False), (None, False)):
        decoded = rarefy.decode(rarefy.encode(Audio(loud, 44_100, subtype), quality=100)).samples
        assert (np.abs(decoded).max() <= 1) == is_clipped


def test_rate_and_fidelity_rise_with_quality(song: Audio) -> None:
    files = [rarefy.encode(song, quality=quality) for quality in (0, 25, 50, 75, 100)]
    sizes = [len(data) for data in files]
    fidelities = [signal_to_noise(rarefy.decode(data).samples, song.samples) for data in files]
    assert sizes == sorted(sizes) and sizes[-1] > 3 * sizes[0]
    assert fidelities == sorted(fidelities) and fidelities[-1] > fidelities[0] + 5


@pytest.mark.parametrize(("channels", "rate"), [(2, 44_100), (1, 44_101), (6, 48_000)])
def test_parts_equal_the_whole(channels: int, rate: int) -> None:
    data = rarefy.encode(smooth(channels, 9 * rate, rate), quality=60)
    whole = rarefy.decode(data).samples
    with rarefy.open(data) as file:
        assert file.info.header.span_count == 3
        for start, duration in ((0.0, 0.01), (3.3, 0.3), (3.41, None), (8.5, 9.0), (6.8, 0.1), (0.0, None)):
            part = file.sound(start, duration)
            first = round(start * rate)
            count = whole.shape[1] - first if duration is None else round(duration * rate)
            assert np.array_equal(part.samples, whole[:, first : first + count])
        joined = np.concatenate(list(file.sound_blocks(1.0, 6.0)), axis=1)
        assert np.array_equal(joined, whole[:, rate : 7 * rate])


def test_a_part_costs_its_units_and_their_neighbours(song: Audio) -> None:
    file = container.read(rarefy.encode(smooth(2, 44_100 * 30), quality=50))
    seen: set[int] = set()

    class Watched(dict[int, container.Unit]):
        def __getitem__(self, number: int) -> container.Unit:
            seen.add(number)
            return super().__getitem__(number)

    codec = rarefy.load("walloc-audio")
    decoder = SoundDecoder(codec, file.header, Watched(enumerate(file.units)))
    decoder.samples(4 * 150_528 + 5, 100)
    assert seen == {3, 4, 5}


def test_borders_of_units_are_not_heard(song: Audio) -> None:
    """What units cost at their borders: nothing, since latents and samples are those of one unit."""
    codec = rarefy.load("walloc-audio")
    data = rarefy.encode(song, quality=90)
    codec.span = 2**15
    whole = codec.decode(codec.encode(song, 90)).samples
    codec.span = 1024
    np.testing.assert_allclose(codec.decode(data).samples, whole, atol=2e-5)


def test_arrays_files_and_readers_give_one_file(song: Audio, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    write_audio(path, Audio(song.samples.clip(-1, 0.999), 44_100, "FLOAT"))
    expected = rarefy.encode(path)
    array = song.samples.clip(-1, 0.999)
    with open_audio(path) as reader:
        assert rarefy.encode(reader) == expected
    assert rarefy.encode(path.read_bytes()) == expected
    assert rarefy.encode(io.BytesIO(path.read_bytes())) == expected
    plain = rarefy.encode(Audio(array, 44_100))
    for source in (array, torch.from_numpy(array), array.astype(np.float64)):
        assert rarefy.encode(source, sample_rate=44_100) == plain
    assert [len(rarefy.decode(data).samples) for data in rarefy.encode([path, str(path)])] == [2, 2]
    picture = np.zeros((8, 8, 3), np.uint8)
    both = rarefy.decode(rarefy.encode([picture, path]))
    assert [type(one).__name__ for one in both] == ["Image", "Audio"]


def test_tags_and_bits_come_back(song: Audio) -> None:
    tagged = Audio(song.samples[:, :5000], 44_100, "PCM_24", TAGS)
    data = rarefy.encode(tagged)
    decoded = rarefy.decode(data)
    assert decoded.tags == TAGS and decoded.subtype == "PCM_24"
    with rarefy.open(data) as file:
        assert file.tags == TAGS and file.sound(0, 0.05).tags == TAGS
        assert file.info.metadata == {"tags": len(container.read(data).metadata["tags"])}


def test_latents_are_those_that_were_coded(coded: bytes) -> None:
    with rarefy.open(coded) as file:
        latents = file.latents()
        assert latents.shape == (14, LONG // 32) and latents.dtype == torch.float32
        with pytest.raises(OptionError, match="no"):
            file.latents(1)
    with rarefy.open(rarefy.encode(smooth(6, 1000))) as file:
        assert [file.latents(group).shape[0] for group in range(4)] == [14, 7, 7, 14]


@pytest.mark.parametrize("kbps", [12, 40])
def test_targets_are_filled_and_not_exceeded(song: Audio, kbps: int) -> None:
    size = kbps * 125 * LONG / 44_100
    data = rarefy.encode(song, target_kbps=kbps)
    assert 0.985 * size <= len(data) <= size
    assert 0.985 * len(data) <= len(rarefy.encode(song, target_size=len(data))) <= len(data)


def test_wrong_options_cost_one_sentence(song: Audio, coded: bytes) -> None:
    for options in ({"target_bpp": 1.0}, {"target_psnr": 30.0}, {"target_kbps": 9.0, "quality": 3}, {"target_size": 9}):
        with pytest.raises(OptionError):
            rarefy.encode(song, **options)
    with pytest.raises(OptionError, match="kilobits"):
        rarefy.encode(np.zeros((8, 8, 3), np.uint8), target_kbps=9)
    with pytest.raises(MediaError, match="sound"):
        rarefy.encode(song, codec="image")
    with pytest.raises(OptionError, match="rate of its own"):
        rarefy.encode(Audio(np.zeros((1, 100), np.float32), 8000), sample_rate=44_100)
    for picture in (np.zeros((8, 9, 3), np.uint8), rarefy.Image(np.zeros((8, 9, 3), np.uint8))):
        with pytest.raises(MediaError, match=r"not uint8 \[8, 9, 3\]"):
            rarefy.encode(picture, codec="walloc-audio")
    for sounds in (Audio(np.zeros((1, 100), np.float32), 8000), [Audio(np.zeros((1, 100), np.float32), 8000)]):
        with pytest.raises(MediaError, match='codec "image" is for pictures'):
            rarefy.encode(sounds, codec="image")
    with pytest.raises(OptionError, match="sample_rate"):
        rarefy.encode(song.samples, codec="walloc-audio")
    for wrong in (np.zeros((2, 9), np.int16), np.zeros((2, 9, 3), np.float32), np.full((1, 9), np.nan)):
        with pytest.raises(MediaError):
            rarefy.encode(wrong, sample_rate=44_100)
    with pytest.raises(MediaError, match="empty"):
        rarefy.encode(np.zeros((2, 0), np.float32), sample_rate=44_100)
    with rarefy.open(coded) as file:
        for start, duration in ((-1.0, None), (99.0, None), (0.0, -1.0), (0.0, float("nan"))):
            with pytest.raises(OptionError):
                file.sound(start, duration)
        for ask in (file.pixels, lambda: file.region(0, 0, 1, 1), lambda: file.preview(2)):
            with pytest.raises(MediaError, match="holds a sound"):
                ask()
    with rarefy.open(rarefy.encode(np.zeros((8, 8, 3), np.uint8))) as file, pytest.raises(MediaError, match="picture"):
        file.sound()


def test_every_truncation_and_many_flips_are_told(coded: bytes) -> None:
    rng = np.random.default_rng(0)
    for stop in (0, 3, 10, 30, 1000, len(coded) // 2, len(coded) - 1):
        with pytest.raises((TruncatedError, FormatError)):
            rarefy.decode(coded[:stop])
    for place in rng.integers(0, len(coded), 40):
        damaged = bytearray(coded)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(rarefy.RarefyError):
            rarefy.decode(bytes(damaged))


def test_mutations_with_fitting_checksums_cost_an_error_or_give_a_sound() -> None:
    seeds = [
        rarefy.encode(smooth(*shape), quality=40) for shape in ((2, 600, 44_100), (1, 900, 8_000), (6, 300, 48_000))
    ]
    tagged = Audio(smooth(1, 400).samples, 44_100, "PCM_24", TAGS)
    seeds += [rarefy.encode(tagged), rarefy.encode(smooth(1, 24_000 * 4, 24_000), quality=0)]
    source, limits = random.Random(5), rarefy.Limits(seconds=60, samples=1 << 22, symbols=1 << 18, channels=8)
    outcomes: Counter[str] = Counter()
    for _ in range(300):
        data = sealed(mutated(source, seeds))
        try:
            sound = rarefy.decode(data, limits=limits)
        except rarefy.RarefyError as error:
            outcomes[type(error).__name__] += 1
        else:
            assert np.isfinite(sound.samples).all()
            outcomes["Audio"] += 1
    assert outcomes["Audio"] > 0 and len(outcomes) > 4, outcomes


def test_symbols_of_other_units_are_told(coded: bytes) -> None:
    file = container.read(coded)
    swapped = [file.units[1], file.units[0], file.units[2]]
    other = [container.Unit(unit.sections, unit.checksum ^ 1) for unit in file.units]
    rarefy.decode(container.write(container.File(file.header, swapped)))  # equal sizes: nothing is wrong with it
    with pytest.raises(ChecksumError, match="unit 0"):
        rarefy.decode(container.write(container.File(file.header, other)))
    with pytest.raises(ChecksumError):
        from rarefy.codecs.api import verify

        verify(container.write(container.File(file.header, other)))


def test_what_is_whole_of_a_damaged_sound_is_saved(coded: bytes) -> None:
    whole = rarefy.decode(coded).samples
    damaged = bytearray(coded)
    damaged[len(coded) // 2] ^= 255
    audio = rarefy.decode(bytes(damaged), allow_damaged=True)
    assert audio.samples.shape == whole.shape
    assert "1 of 3 units" in audio.notes[0]
    end = 150_528
    assert np.array_equal(audio.samples[:, : end - 2000], whole[:, : end - 2000])
    assert np.abs(audio.samples[:, end + 2000 : 2 * end - 2000]).max() < 1e-6
    with pytest.raises(FormatError, match="nothing of the sound is whole"):
        rarefy.decode(coded[:60], allow_damaged=True)


def test_weights_that_are_exported_anew_are_loaded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook that trains, exports and measures."""
    monkeypatch.setenv("RAREFY_WEIGHTS", str(tmp_path))
    path = tmp_path / "walloc-audio-mine.safetensors"
    first = save_weights(codec := tiny(), path)
    held = load_any("walloc-audio")
    assert held.weights_hash == first
    with torch.no_grad():
        next(codec.parameters()).mul_(2)
    second = save_weights(codec, path)
    os.utime(path, ns=(1, 1))  # whatever the clock of the file system
    assert load_any("walloc-audio").weights_hash == second != first
    assert load_any("walloc-audio") is load_any("walloc-audio")
    assert load_any("walloc-audio", needed=first) is held  # as long as somebody holds it, such as a data set
    path.write_bytes(path.read_bytes()[:100])  # a copy that is under way
    assert load_any("walloc-audio", needed=first) is held


def test_limits_hold(coded: bytes) -> None:
    for limits in (rarefy.Limits(samples=10_000), rarefy.Limits(symbols=1000), rarefy.Limits(seconds=2)):
        with pytest.raises(LimitError):
            rarefy.decode(coded, limits=limits)


@pytest.mark.parametrize(("channels", "rate"), [(1, 24_000), (2, 44_100)])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"])
def test_headers_say_how_loud_and_how_fine_a_sound_was(channels: int, rate: int, subtype: str) -> None:
    """A root of the mean square of 0.2 is twice that of what is coded: eight steps of an eighth of a doubling."""
    samples = np.full((channels, 3000), 0.2, np.float32)
    samples[:, ::2] *= -1
    header = container.read(rarefy.encode(Audio(samples, rate, subtype))).header
    assert (header.level, header.sample_format, header.length, header.channels) == (8, subtype, 3000, channels)


def test_parts_that_are_no_numbers_are_told(coded: bytes) -> None:
    with rarefy.open(coded) as file:
        for use in (lambda: file.sound("0"), lambda: file.sound(0.0, "1"), lambda: file.latents("a")):  # type: ignore[arg-type]
            with pytest.raises(OptionError):
                use()


def test_limits_hold_for_latents_too(coded: bytes) -> None:
    with rarefy.open(coded, limits=rarefy.Limits(samples=10_000)) as file, pytest.raises(LimitError):
        file.latents()


def test_files_that_claim_another_medium_are_told(coded: bytes) -> None:
    from dataclasses import replace

    file = container.read(coded)
    wrong = container.File(replace(file.header, codec="image"), file.units)
    with pytest.raises(rarefy.RarefyError):
        rarefy.decode(container.write(wrong))
    with pytest.raises(FormatError, match="medium"):
        picture = container.read(rarefy.encode(np.zeros((8, 8, 3), np.uint8))).header
        rarefy.load("walloc-audio").check(replace(picture, codec="walloc-audio"))
    odd = container.File(replace(file.header, span=1023, length=300_000), file.units[:2])
    with pytest.raises(FormatError, match="300ths"):
        rarefy.decode(container.write(odd))


@pytest.mark.parametrize("margin", [0, 7, 50])
@pytest.mark.parametrize("size", [1, 13, 64, 1000])
def test_windows_are_the_same_however_the_sound_comes(size: int, margin: int) -> None:
    sound = np.arange(333, dtype=np.float32)[None]
    blocks = [sound[:, start : start + size] for start in range(0, 333, size)]
    starts = range(0, 333, 60)
    found = list(windows(blocks, 333, 60, margin))
    assert len(found) == len(starts)
    for start, (first, window) in zip(starts, found, strict=True):
        begin = max(0, start - margin)
        assert first == start - begin
        assert np.array_equal(window, sound[:, begin : min(333, start + 60 + margin)])


def peak_of(path: Path, seconds: int) -> int:
    """Bytes that Python holds at most while a file of so many seconds is made, encoded and decoded in blocks."""
    block = tones(2, 44_100)
    with AudioWriter(path, 44_100, 2) as writer:
        for _ in range(seconds):
            writer.write(block)
    codec = rarefy.load("walloc-audio")
    tracemalloc.start()
    with open_audio(path) as reader:
        data = codec.encode(reader, 0)
    with rarefy.open(data) as file:
        total = sum(samples.shape[1] for samples in file.sound_blocks())
    assert total == seconds * 44_100
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - 6 * len(data)


@pytest.mark.slow
def test_long_sounds_take_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rarefy.codecs.sound_encoding.KEPT_SAMPLES", 1000)  # shorter sounds are kept whole
    peak_of(tmp_path / "first.wav", 20)
    short, long = peak_of(tmp_path / "short.wav", 30), peak_of(tmp_path / "long.wav", 240)
    assert long < short + 2_000_000
