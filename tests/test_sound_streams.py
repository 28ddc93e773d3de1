"""The sounds among the conformance streams: every version finds the same symbols and samples, and tells damage."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conformance.sound_fixture import FOLDER, WEIGHTS, load
from conformance.sound_streams import LARGEST, STREAMS, facts, kept, loudness, path_of
from conformance.streams import split
from fuzz.sealing import sealed

from rarefy import kernels
from rarefy.codecs import container
from rarefy.codecs.fields import varint
from rarefy.codecs.header import QUALITY_LIMIT, SAMPLE_FORMATS, SECTIONS_FLAG
from rarefy.codecs.sound import SoundCodec
from rarefy.codecs.sound_decoding import tags_in
from rarefy.errors import ChecksumError, FormatError, RarefyError, TruncatedError, UnsupportedError

TOLERANCE = 1e-5  # of a sample, for other orders of float32 sums; full scale is 1
AS_WRITTEN = [name for name in STREAMS if not name.endswith("unknown") or name == "tags-unknown"]
SHORT = ["mono", "one-sample", "tags", "section-unknown", "units-thin"]  # to be altered byte by byte


@pytest.fixture(scope="module")
def codec() -> SoundCodec:
    """The tiny codec that wrote them."""
    return load()


def bytes_of(name: str) -> bytes:
    return path_of(name, "rfy").read_bytes()


def known_of(name: str) -> dict[str, Any]:
    """What a decoder must find."""
    known: dict[str, Any] = json.loads(path_of(name, "json").read_text())
    return known


def samples_of(name: str, codec: SoundCodec) -> Any:
    if STREAMS[name].is_resampled:
        pytest.importorskip("soxr", reason="other sample rates need soxr")
    return codec.decode(bytes_of(name), precision="float32").samples


def test_streams_are_all_there_and_small() -> None:
    for suffix in ("rfy", "json", "npy"):
        assert {path.stem for path in FOLDER.glob(f"*.{suffix}")} == set(STREAMS)
    assert max(path.stat().st_size for path in FOLDER.glob("*.rfy")) <= LARGEST
    assert WEIGHTS.stat().st_size < 64_000
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 100_000


def test_streams_cover_what_files_can_be() -> None:
    """Of each field of the header, and of the sizes and kinds of units, what is special."""
    headers = [known_of(name)["header"] for name in STREAMS]
    assert {1, 2, 3, 6, 7, 9} == {header["channels"] for header in headers}
    assert {0.0, QUALITY_LIMIT / 256} < {header["quality"] for header in headers}
    assert {-128} < {header["level"] for header in headers} and max(header["level"] for header in headers) > 0
    assert len({header["sample_format"] for header in headers} & set(SAMPLE_FORMATS)) >= 4
    assert {len(header["weights"]) // 2 for header in headers} == {4, 32}
    assert {known_of(name)["units"] for name in STREAMS} >= {1, 2, 3, 5, 8}
    assert sum(bool(known_of(name)["tags"]) for name in STREAMS) >= 3


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("kernel", ["plain", "python"])
def test_streams_decode_to_the_same_symbols(
    name: str, kernel: str, codec: SoundCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "plain" and not kernels.available():
        pytest.skip("the compiled coder was not built")
    monkeypatch.setenv("RAREFY_KERNEL", kernel)
    known = known_of(name)
    assert known.pop("shows") == STREAMS[name].shows
    del known["loudness"]
    assert facts(bytes_of(name), codec) == known


@pytest.mark.parametrize("name", STREAMS)
def test_streams_decode_to_the_same_samples(name: str, codec: SoundCodec) -> None:
    samples = samples_of(name, codec)
    header = known_of(name)["header"]
    assert samples.dtype == np.float32 and samples.shape == (header["channels"], header["length"])
    np.testing.assert_allclose(kept(samples), np.load(path_of(name, "npy")), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(loudness(samples), known_of(name)["loudness"], rtol=0, atol=TOLERANCE)


def test_full_scale_clips_what_was_not_floats(codec: SoundCodec) -> None:
    floats, clipped = samples_of("floats", codec), samples_of("clipped", codec)
    assert known_of("floats")["symbols_sha256"] == known_of("clipped")["symbols_sha256"]
    assert np.abs(floats).max() > 1.1
    np.testing.assert_array_equal(floats.clip(-1, 1), clipped)


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_streams_are_written_again_as_they_were(name: str) -> None:
    """The writer has not drifted either: the same file, byte by byte."""
    assert container.write(container.read(bytes_of(name))) == bytes_of(name)


def test_what_may_be_skipped_is_skipped(codec: SoundCodec) -> None:
    for name in ("metadata-unknown", "section-unknown"):
        plain = container.write(container.read(bytes_of(name)))
        assert plain != bytes_of(name)
        assert facts(plain, codec)["symbols_sha256"] == known_of(name)["symbols_sha256"]
    assert b"zither" in bytes_of("tags-unknown")
    assert known_of("tags-unknown")["tags"] == known_of("tags")["tags"] == dict(STREAMS["tags"].tags or {})


def test_the_weights_are_the_frozen_ones(codec: SoundCodec) -> None:
    assert {known_of(name)["header"]["weights"][:8] for name in STREAMS} == {codec.weights_hash[:4].hex()}


@pytest.mark.parametrize("name", SHORT)
def test_every_cut_and_every_altered_byte_is_told(name: str) -> None:
    data = bytes_of(name)
    for at in range(len(data)):
        with pytest.raises(TruncatedError):
            container.read(data[:at])
        for mask in (1, 128):
            with pytest.raises(RarefyError):
                container.read(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
    with pytest.raises(FormatError):
        container.read(data + b"\0")


@pytest.mark.parametrize("name", ["mono", "far-symbols"])
def test_altered_latents_are_told_under_right_checksums_of_bytes(name: str, codec: SoundCodec) -> None:
    head, unit = split(bytes_of(name))
    altered = [unit[:at] + bytes([unit[at] ^ 16]) + unit[at + 1 :] for at in range(4, len(unit))]
    for payload in (*altered, unit[:-1], unit[:-2], unit + b"\0\0", unit[:4]):
        with pytest.raises(FormatError):
            codec.decode(sealed(head + varint(len(payload)) + bytes(4) + payload))
    for at in range(4):  # the checksum of the symbols itself
        payload = unit[:at] + bytes([unit[at] ^ 1]) + unit[at + 1 :]
        with pytest.raises(ChecksumError):
            codec.decode(sealed(head + varint(len(payload)) + bytes(4) + payload))


def replaced(at: int, count: int, new: str) -> Callable[[bytes], bytes]:
    """Other bytes in the place of `count` bytes of a file, under checksums that fit again where they can be found."""
    return lambda data: sealed(data[:at] + bytes.fromhex(new) + data[at + count :])


@pytest.mark.parametrize(
    ("name", "edit", "error", "words"),
    [
        ("stereo", replaced(0, 1, "f7"), FormatError, "signature"),
        ("stereo", replaced(4, 1, "02"), UnsupportedError, "version 2"),
        ("stereo", replaced(5, 1, "80"), UnsupportedError, "feature"),
        ("stereo", replaced(6, 1, "04"), UnsupportedError, "codec number 4"),
        ("stereo", replaced(6, 1, "000c77616c6c6f632d617564696f"), FormatError, "spells the codec"),
        ("stereo", replaced(11, 3, "00"), FormatError, "sample_rate=0"),
        ("stereo", replaced(11, 3, "c4d88200"), FormatError, "varint"),
        ("stereo", replaced(14, 2, "00"), FormatError, "length=0"),
        ("stereo", replaced(17, 2, "0164"), FormatError, "quality=25601"),
        ("mono", replaced(16, 1, "02"), FormatError, "channels=2"),
        ("mono", replaced(16, 1, "00"), FormatError, "channels=0"),
        ("floats", replaced(16, 1, "00"), FormatError, "sample_format='PCM_16'"),
        ("floats", replaced(16, 1, "07"), UnsupportedError, "sample_format number 7"),
        ("units", replaced(20, 2, "8102"), FormatError, "no units of 257"),
        ("units", replaced(20, 2, "00"), FormatError, "span=0"),
    ],
)
def test_headers_that_break_a_rule_are_told(
    name: str, edit: Callable[[bytes], bytes], error: type[RarefyError], words: str, codec: SoundCodec
) -> None:
    with pytest.raises(error, match=words):
        codec.decode(edit(bytes_of(name)))


def test_sealing_alone_changes_nothing() -> None:
    for name, at, same in (("stereo", 11, "c4d802"), ("mono", 16, "01"), ("floats", 16, "05"), ("units", 20, "8002")):
        assert replaced(at, len(same) // 2, same)(bytes_of(name)) == bytes_of(name)


@pytest.mark.parametrize(
    ("section", "error"),
    [(b"\x04\x00", FormatError), (b"\x05\x01\x00", FormatError), (b"\x13\x00", UnsupportedError)],
    ids=["alpha that is not critical", "alpha", "a critical section of the future"],
)
def test_sections_that_sounds_do_not_have_are_told(section: bytes, error: type[RarefyError], codec: SoundCodec) -> None:
    head, unit = split(bytes_of("mono"))
    payload = unit[:4] + b"\x03" + varint(len(unit) - 4) + unit[4:]
    head = head[:5] + bytes([head[5] | SECTIONS_FLAG]) + head[6:]
    whole = codec.decode(sealed(head + varint(len(payload)) + bytes(4) + payload))
    assert np.array_equal(whole.samples, codec.decode(bytes_of("mono")).samples)
    payload += section
    with pytest.raises(error):
        codec.decode(sealed(head + varint(len(payload)) + bytes(4) + payload))


@pytest.mark.parametrize(
    "tags",
    [b"\5title\1a\6artist\1b", b"\5title\1a\5title\1b", b"\5title\1\xff", b"\5title\2a", b"\5Title\1a", b"\0\1a"],
    ids=["out of order", "twice", "no UTF-8", "longer than there is", "no name", "a name of no letters"],
)
def test_tags_that_break_a_rule_are_told(tags: bytes) -> None:
    with pytest.raises(FormatError):
        tags_in({"tags": tags})
