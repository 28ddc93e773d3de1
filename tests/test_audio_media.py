"""Sound in: what is taken comes back whole, what is not taken costs one sentence."""

import io
import os
import struct
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sounds import TAGS, FailingFile, encoded, encoded_by_av, signal_to_noise, steps, tones

from rarefy.codecs.audio import Audio, open_audio, read_audio
from rarefy.codecs.audio_writing import write_audio
from rarefy.codecs.limits import Limits
from rarefy.errors import MediaError, OptionError, RarefyWarning

soundfile = pytest.importorskip("soundfile", reason="sound files need soundfile")
LOSSY = [("OGG", "VORBIS", 44_100), ("OGG", "OPUS", 48_000), ("MP3", "MPEG_LAYER_III", 44_100)]


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"),
    [
        (".wav", "PCM_U8", 8),
        (".wav", "PCM_16", 16),
        (".wav", "PCM_24", 24),
        (".wav", "PCM_32", 24),  # float32 holds 24 of its bits
        (".flac", "PCM_S8", 8),
        (".flac", "PCM_16", 16),
        (".flac", "PCM_24", 24),
    ],
)
def test_files_without_loss_come_back_exactly(
    suffix: str, subtype: str, bits: int, channels: int, tmp_path: Path
) -> None:
    samples = steps(bits, channels, 5001)
    audio = Audio(samples, 44_100, subtype, {**TAGS, "comment": "e", "copyright": "f"})
    path = tmp_path / f"sound{suffix}"
    write_audio(path, audio)
    again = read_audio(path)
    assert np.array_equal(again.samples, samples)
    assert (again.sample_rate, again.channels, again.length) == (44_100, channels, 5001)
    assert (again.subtype, again.bit_depth) == (subtype, audio.bit_depth)
    assert again.tags == audio.tags
    assert again.notes == ()
    direct, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert np.array_equal(direct.T, samples)  # and not only to our own reader


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 44_101])
def test_any_rate(rate: int, tmp_path: Path) -> None:
    for suffix in (".wav", ".flac"):
        write_audio(tmp_path / f"a{suffix}", Audio(steps(16, 1, 100), rate))
        assert read_audio(tmp_path / f"a{suffix}").sample_rate == rate


def test_all_kinds_of_sources_are_the_same_sound(tmp_path: Path) -> None:
    samples = steps(16, 2, 999)
    data = encoded(samples, "WAV", "PCM_16")
    path = tmp_path / "a.raw"  # a name that says something else
    path.write_bytes(data)
    middle = io.BytesIO(b"before" + data)
    middle.seek(6)
    reading, writing = os.pipe()
    feeder = threading.Thread(target=lambda: os.fdopen(writing, "wb").write(data))
    feeder.start()
    with os.fdopen(reading, "rb") as pipe:
        for source in (data, bytearray(data), memoryview(data), io.BytesIO(data), path, str(path), middle, pipe):
            assert np.array_equal(read_audio(source).samples, samples)
    feeder.join()
    audio = Audio(samples, 8000)
    assert read_audio(audio) is audio


def test_floats_beyond_full_scale_are_kept(tmp_path: Path) -> None:
    samples = tones(2, 3000) * 40
    for subtype in ("FLOAT", "DOUBLE"):
        audio = read_audio(encoded(samples, "WAV", subtype))
        assert np.array_equal(audio.samples, samples)
        assert audio.bit_depth == {"FLOAT": 32, "DOUBLE": 64}[subtype]
        write_audio(tmp_path / "a.wav", audio)
        again = read_audio(tmp_path / "a.wav")
        assert np.array_equal(again.samples, samples)
        assert again.subtype == "FLOAT"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    samples = tones(1, 100)
    samples[0, 50] = value
    with pytest.raises(MediaError, match="no numbers"):
        read_audio(encoded(samples, "WAV", "FLOAT"))
    with pytest.raises(MediaError, match="no numbers"):
        write_audio(tmp_path / "a.wav", Audio(samples, 8000, "FLOAT"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("format", "subtype", "rate"), LOSSY)
def test_lossy_files_have_their_length_and_any_range_equals_the_whole(format: str, subtype: str, rate: int) -> None:
    samples = tones(2, 3 * rate + 123, rate)
    with open_audio(encoded(samples, format, subtype, rate, TAGS)) as reader:
        assert (reader.format, reader.subtype, reader.bit_depth) == (format, subtype, None)
        assert (reader.sample_rate, reader.channels, reader.length) == (rate, 2, 3 * rate + 123)
        assert reader.tags["artist"] == TAGS["artist"]
        whole = reader.read()
        assert signal_to_noise(whole, samples) > 15
        # libsndfile itself seeks to a wrong place in Vorbis for some of these
        for start in (0, 1, 50_001, 100_000, 3 * rate - 377, 7, 3 * rate + 122, 3 * rate + 123):
            assert np.array_equal(reader.read(start, 4000), whole[:, start : start + 4000])
        assert np.array_equal(np.concatenate(list(reader.blocks(777, 1000, 20_000)), 1), whole[:, 1000:21_000])


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24")],
)
def test_any_range_of_files_without_loss(format: str, subtype: str) -> None:
    with open_audio(encoded(tones(2, 30_000), format, subtype)) as reader:
        whole = reader.read()
        for start, count in ((29_999, 5), (5, 10), (15_000, 0), (40_000, 7), (0, 30_000)):
            assert np.array_equal(reader.read(start, count), whole[:, start : start + count])
        assert reader.read(40_000).shape == (2, 0)
        assert [block.shape[1] for block in reader.blocks(10_000, 5)] == [10_000, 10_000, 9_995]


def test_ranges_that_are_none_are_refused() -> None:
    with open_audio(encoded(tones(1, 10), "WAV", "PCM_16")) as reader:
        for start, count in ((-1, None), (0, -1)):
            with pytest.raises(OptionError):
                reader.read(start, count)
        with pytest.raises(OptionError):
            reader.blocks(0)


@pytest.mark.parametrize("channels", [3, 5, 6, 7, 8])
def test_channels_of_vorbis_come_in_the_order_of_wav(channels: int) -> None:
    """libsndfile gives, and writes, them in the order of Vorbis I, section 4.3.9."""
    order = {3: "L C R", 5: "L C R BL BR", 6: "L C R BL BR LFE", 7: "L C R SL SR BC LFE", 8: "L C R SL SR BL BR LFE"}
    wav = {3: "L R C", 5: "L R C BL BR", 6: "L R C LFE BL BR", 7: "L R C LFE BC SL SR", 8: "L R C LFE BL BR SL SR"}
    samples = tones(channels, 20_000) * 0.5
    names = order[channels].split()
    expected = samples[[names.index(name) for name in wav[channels].split()]]
    given = read_audio(encoded(samples, "OGG", "VORBIS")).samples
    for channel in set(range(channels)) - ({wav[channels].split().index("LFE")} if channels > 5 else set()):
        assert signal_to_noise(given[channel], expected[channel]) > 8, channel


def test_channels_of_opus_come_in_the_order_of_wav() -> None:
    samples = tones(6, 48_000, 48_000) * 0.5
    given = read_audio(encoded_by_av(samples, "libopus", "ogg", "5.1")).samples
    loudness = np.sqrt((given[:, 5000:40_000] ** 2).mean(1))
    assert list(np.argsort(loudness[[0, 1, 2, 4, 5]])) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("codec", "format", "layout", "subtype", "floor"),
    [
        ("aac", "ipod", "stereo", "AAC", None),
        ("alac", "ipod", "5.1", "PCM_24", 100),
        ("libopus", "webm", "stereo", "OPUS", 10),
        ("flac", "ogg", "stereo", "PCM_16", 60),
        ("aac", "adts", "mono", "AAC", None),
        ("pcm_s16le", "matroska", "stereo", "PCM_16", 60),
    ],
)
def test_kinds_that_only_av_reads(codec: str, format: str, layout: str, subtype: str, floor: float | None) -> None:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = tones(channels, 48_000, 48_000)
    tags = {} if format == "adts" else {"title": "T", "artist": "A"}
    with open_audio(encoded_by_av(samples, codec, format, layout, tags=tags)) as reader:
        assert (reader.subtype, reader.channels, reader.sample_rate) == (subtype, channels, 48_000)
        assert dict(reader.tags) == tags
        whole = reader.read()
        assert whole.shape == (channels, reader.length)
        if floor is None:  # a coding whose start and end its container does not tell
            assert 48_000 <= reader.length <= 48_000 + 3 * 1024
        else:
            assert reader.length == 48_000
            assert signal_to_noise(whole, samples) > floor
        for start, count in ((40_000, 3000), (1, 5), (10, 0), (20_000, 20_000), (reader.length - 7, 100)):
            assert np.array_equal(reader.read(start, count), whole[:, start : start + count])


def test_a_streamed_flac_states_no_length_and_is_read_all_the_same() -> None:
    pytest.importorskip("av", reason="streamed FLAC needs av")
    samples = steps(16, 2, 50_000)
    data = bytearray(encoded(samples, "FLAC", "PCM_16"))
    data[21] &= 0xF0  # the 36 bits of the number of samples (RFC 9639, section 8.2)
    data[22:26] = bytes(4)
    assert np.array_equal(read_audio(bytes(data)).samples, samples)


def test_a_wav_from_a_pipe_states_no_length_and_is_read_all_the_same() -> None:
    samples = steps(16, 2, 1000)
    data = bytearray(encoded(samples, "WAV", "PCM_16"))
    for size in (0xFFFF_FFFF, 0x7FFF_FFFF, 0x7FFF_F024):
        struct.pack_into("<I", data, 4, 0xFFFF_FFFF)
        struct.pack_into("<I", data, 40, size)
        assert np.array_equal(read_audio(bytes(data)).samples, samples), hex(size)


def test_tags_of_other_bytes_than_utf8_cost_no_sound() -> None:
    data = encoded_by_av(tones(2, 4000, 48_000), "alac", "ipod", "stereo", tags={"title": "ABCDEFGH", "artist": "A"})
    audio = read_audio(data.replace(b"ABCDEFGH", b"\xff\xfeCDEFGH"))
    assert audio.length == 4000
    assert audio.tags == {"title": "\ufffd\ufffdCDEFGH", "artist": "A"}


def test_long_tags_are_left_out_and_said() -> None:
    data = encoded(tones(1, 100), "FLAC", "PCM_16", tags={"title": "x" * 5000, "artist": "short"})
    with pytest.warns(RarefyWarning, match=r"left out: title"):
        audio = read_audio(data)
    assert audio.tags == {"artist": "short"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_audio(data, warns=False).notes == audio.notes


def sentence(source: Any, limits: Limits | None = None) -> str:
    with pytest.raises(MediaError) as caught:
        read_audio(source, limits)
    text = str(caught.value)
    assert "\n" not in text
    assert not text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty (0 bytes)"),
        (b"hello, world\n" * 20, "a text file"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "a text file"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "a text file"),
        (bytes(1000), "unknown kind"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a picture"),
        (b"MThd" + bytes(100), "notes"),
        (b"wvpk" + bytes(100), "store it as FLAC"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "damaged"),
        (b"fLaC" + bytes(60), "damaged"),
        (b"OggS" + bytes(60), "damaged"),
        (b"ID3\x04\0\0\0\0\0\0" + bytes(60), "damaged"),
        (b"\0\0\0\x18ftypM4A " + bytes(60), "damaged"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "damaged"),
    ],
)
def test_other_files(data: bytes, said: str, tmp_path: Path) -> None:
    assert said in sentence(data)
    path = tmp_path / "sound.wav"
    path.write_bytes(data)
    assert said in sentence(path)
    assert str(path) in sentence(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    assert "does not exist" in sentence(tmp_path / "none.wav")
    assert "folder" in sentence(tmp_path)
    assert "cannot be opened" in sentence("nul\0byte.wav")
    assert "type int" in sentence(5)
    assert "binary mode" in sentence(io.StringIO("x"))


@pytest.mark.parametrize("size_of_riff", [0, 0xFFFF_FFFF])
def test_a_recording_that_never_ended_is_not_an_empty_sound(size_of_riff: int) -> None:
    data = bytearray(encoded(steps(16, 2, 1000), "WAV", "PCM_16"))
    struct.pack_into("<I", data, 4, size_of_riff)
    struct.pack_into("<I", data, 40, 0)
    assert "unfinished" in sentence(bytes(data))
    assert read_audio(data[:44] + b"LIST\4\0\0\0INFO").length == 0  # another chunk behind no samples is right


@pytest.mark.parametrize("format", ["WAV", "AIFF", "FLAC"])
def test_truncated_files_without_loss_are_refused(format: str) -> None:
    data = encoded(tones(2, 20_000), format, "PCM_16")
    for cut in (len(data) - 1, len(data) - 1000, len(data) // 2, 200, 60, 30, 13, 5):
        with pytest.raises(MediaError):
            open_audio(data[:cut])


def test_truncated_mp3_is_refused_when_it_ends() -> None:
    data = encoded(tones(2, 132_000), "MP3", "MPEG_LAYER_III")
    assert "incomplete" in sentence(data[: len(data) // 2])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_truncated_ogg_gives_what_is_there_and_says_so(subtype: str) -> None:
    data = encoded(tones(2, 240_000, 48_000), "OGG", subtype, 48_000)
    whole = read_audio(data)
    assert whole.notes == ()
    with pytest.warns(RarefyWarning, match="cut short"):
        part = read_audio(data[: len(data) // 2])
    assert 48_000 < part.length < 200_000
    assert np.array_equal(part.samples[:, :40_000], whole.samples[:, :40_000])
    with pytest.raises(MediaError):
        open_audio(data[:100])


@pytest.mark.parametrize(("format", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_damage_under_checksums_is_refused_or_said(format: str, subtype: str) -> None:
    data = encoded(tones(2, 100_000, 48_000), format, subtype, 48_000)
    for tenth in range(2, 10):
        damaged = bytearray(data)
        damaged[len(data) * tenth // 10] ^= 4
        try:
            audio = read_audio(bytes(damaged), warns=False)
        except MediaError:
            continue
        assert "cut short" in audio.notes[0]


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)],
)
def test_altered_files_give_a_sound_or_a_sentence(format: str, subtype: str | None) -> None:
    data = encoded(tones(2, 6000, 48_000), format, subtype or "MPEG_LAYER_III", 48_000)
    random = np.random.default_rng(1)
    limits = Limits(samples=1 << 24)
    refused = 0
    for trial in range(60):
        altered = bytearray(data)
        for place in random.integers(0, 100 if trial % 2 else len(data), 3):
            altered[place] = random.integers(256)
        try:
            audio = read_audio(bytes(altered), limits, warns=False)
        except MediaError:
            refused += 1
            continue
        assert audio.samples.dtype == np.float32
    assert refused > 0


def test_claims_of_headers_are_checked_before_memory_is_taken() -> None:
    data = bytearray(encoded(steps(16, 2, 5000), "FLAC", "PCM_16"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4  # 2^36 samples: two weeks
    tracemalloc.start()
    try:
        assert "longer than the limit" in sentence(bytes(data))
        assert "incomplete" in sentence(bytes(data), Limits.none())
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_limits() -> None:
    data = encoded(tones(3, 16_000), "WAV", "PCM_16", 8000)
    read_audio(data, Limits(seconds=2, channels=3, sample_rate=8000, samples=48_000))
    for limits, name in (
        (Limits(seconds=1), "seconds"),
        (Limits(channels=2), "channels"),
        (Limits(sample_rate=7999), "sample_rate"),
        (Limits(samples=47_999), "samples"),
    ):
        assert f"Limits({name}=" in sentence(data, limits)
    with open_audio(data, Limits(samples=300)) as reader:  # which says how much at once, not how long
        assert sum(block.shape[1] for block in reader.blocks(100)) == 16_000


def test_limits_hold_for_kinds_that_are_decoded_to_be_counted() -> None:
    data = encoded_by_av(tones(2, 96_000, 48_000), "aac", "ipod", "stereo")
    assert "Limits(seconds=" in sentence(data, Limits(seconds=1))
    assert "Limits(channels=" in sentence(data, Limits(channels=1))


@pytest.mark.parametrize("missing", [["soundfile"], ["soundfile", "av"]])
def test_missing_packages(missing: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    samples = steps(16, 2, 500)
    data = encoded(samples, "WAV", "PCM_16")
    if "av" not in missing:
        pytest.importorskip("av", reason="stands in for soundfile")
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    if "av" in missing:
        assert "pip install 'rarefy[audio]'" in sentence(data)
    else:
        assert np.array_equal(read_audio(data).samples, samples)
    with pytest.raises(MediaError, match="pip install"):
        write_audio(tmp_path / "a.wav", Audio(samples, 8000))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG"])
def test_errors_of_the_disk_are_no_short_sounds(format: str) -> None:
    data = encoded(tones(2, 100_000), format, {"OGG": "VORBIS"}.get(format, "PCM_16"))
    assert "No space left" in sentence(FailingFile(data, 60_000 + len(data) // 8))


def test_facts_are_known_before_samples_are_read() -> None:
    for format, subtype in (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_24")):
        file = FailingFile(encoded(tones(2, 441_000), format, subtype), 200_000)
        with open_audio(file) as reader:
            assert (reader.channels, reader.length, reader.seconds) == (2, 441_000, 10.0)
            assert "441000 samples at 44100 Hz" in repr(reader)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(5, np.float32), np.zeros((2, 5)), np.zeros((0, 5), np.float32), [[0.0]], np.zeros((1, 2, 3), np.float32)],
)
def test_other_samples_are_refused(samples: Any) -> None:
    with pytest.raises(MediaError, match=r"float32 \[channels, n\]"):
        Audio(samples, 8000)


def test_audio_says_what_it_is() -> None:
    audio = Audio(np.zeros((2, 12_000), np.float32), 8000, "PCM_24")
    assert (audio.channels, audio.length, audio.seconds, audio.bit_depth) == (2, 12_000, 1.5, 24)
    assert repr(audio) == "Audio(2 x 12000 samples at 8000 Hz, PCM_24)"
    with pytest.raises(MediaError, match="sample rate"):
        Audio(audio.samples, 0)


@pytest.mark.parametrize("missing", [("soundfile", "av"), ("av",)])
def test_without_a_package_nobody_calls_a_file_damaged(
    missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = b"RIFF" + struct.pack("<I", 4) + b"WAVE"
    data = damaged if missing == ("av",) else encoded(steps(16, 1, 100), "WAV", "PCM_16")
    for package in missing:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MediaError, match=r"cannot be read here \(.*av: not installed, pip install 'rarefy\[audio\]'\)"):
        read_audio(data)
