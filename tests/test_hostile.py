"""Files that somebody altered or invented: an error of ours or a picture, soon, in bounded memory; nothing else."""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch
from conformance.fixture import load, registered
from conformance.streams import path_of
from fuzz.mutation import changed, mutate
from fuzz.sealing import crc, varint
from numpy.typing import NDArray
from safetensors.torch import save_file

import rarefy
from rarefy.codecs import api, container
from rarefy.codecs.audio_kinds import _samples_in_chunks
from rarefy.codecs.base import Codec
from rarefy.codecs.container import File, Header, Unit
from rarefy.codecs.encoding import Encoder
from rarefy.codecs.header import write_header
from rarefy.codecs.limits import Limits
from rarefy.codecs.media import Image
from rarefy.codecs.weights import candidates, read_weights
from rarefy.entropy import coder
from rarefy.errors import ChecksumError, FormatError, LimitError, MediaError, RarefyError, TruncatedError, WeightsError

if not candidates("image"):
    pytest.skip('no weights of codec "image" are here', allow_module_level=True)

HEAD = 15  # bytes of the header of a small picture without metadata (FORMAT.md, section 4)
SECONDS = 2.0  # that a file of a small picture may cost, whatever became of it
MEGABYTES = 300
XMP = b"<x:xmpmeta/>"


@pytest.fixture(scope="module")
def small(photograph: NDArray[np.uint8]) -> bytes:
    """A whole file of 20 x 35 pixels without metadata."""
    return rarefy.encode(np.ascontiguousarray(photograph[:35, :20]), quality=60)


@pytest.fixture(scope="module")
def files(photograph: NDArray[np.uint8], small: bytes) -> list[bytes]:
    """Whole files that take the paths there are: rich, poor, gray, with metadata."""
    rich = rarefy.encode(np.ascontiguousarray(photograph[:48, :40]), quality=95)
    gray = rarefy.encode(np.ascontiguousarray(photograph[:70, :16, :1]), quality=10)
    described = rarefy.encode(Image(np.ascontiguousarray(photograph[:16, :16]), icc=b"profile", xmp=XMP), quality=30)
    return [small, rich, gray, described]


def test_every_truncation_is_told(small: bytes) -> None:
    for stop in range(len(small)):
        with pytest.raises(TruncatedError):
            rarefy.decode(small[:stop])


def test_every_changed_byte_is_told(small: bytes) -> None:
    source = random.Random(1)
    for position in range(len(small)):
        with pytest.raises(RarefyError):
            rarefy.decode(changed(small, position, small[position] ^ source.randrange(1, 256)))


def test_every_value_of_every_byte_of_the_header_is_told(small: bytes) -> None:
    for position in range(HEAD):
        for value in set(range(256)) - {small[position]}:
            with pytest.raises(RarefyError):
                rarefy.decode(changed(small, position, value))


def repaired(head: bytes, payload: bytes) -> bytes:
    """A file of one unit whose checksum of bytes fits whatever it holds (FORMAT.md, section 6)."""
    size = varint(len(payload))
    return head + size + crc(head, bytes(4), size, payload) + payload


def parts_of(data: bytes) -> tuple[bytes, bytes]:
    """Header and payload of a file of one unit."""
    file = container.read(data)
    payload = file.units[0].checksum.to_bytes(4, "little") + file.units[0].sections["latents"]
    head = data[: len(data) - len(payload) - 4 - len(varint(len(payload)))]
    assert repaired(head, payload) == data
    return head, payload


def mutated(source: random.Random, data: bytes) -> bytes:
    """A file with header, symbol checksum or stream mutated, sealed again; signature, codec and weights stay."""
    head, payload = parts_of(data)
    choice = source.randrange(4)
    if choice == 0:
        head = head[:5] + bytes([source.choice((head[5], head[5] ^ 1, source.randrange(256)))]) + head[6:11]
        head += mutate(source, parts_of(data)[0][11:])
    elif choice == 1:
        payload = payload[:4] + mutate(source, payload[4:])
    elif choice == 2:
        payload = payload[:4] + payload[4:10] + source.randbytes(len(payload) - 10)
    else:  # the quality alone: other tables for the same stream
        head = head[:13] + source.randrange(25601).to_bytes(2, "little") + head[15:]
    return repaired(head, payload)


def outcome(data: bytes) -> str:
    """What became of a file: the kind of error, or "Image"; anything that no caller should see is raised."""
    begin = perf_counter()
    try:
        image = rarefy.decode(data, limits=Limits(pixels=1 << 20), threads=1)
        info = container.read_info(data)
        assert (image.width, image.height, image.channels) == (*info.size, info.channels)
        return "Image"
    except RarefyError as error:
        return type(error).__name__
    finally:
        assert perf_counter() - begin < SECONDS


def peak_megabytes() -> float:
    """The most memory that this process ever had."""
    resource = pytest.importorskip("resource", reason="this system does not tell the memory of a process")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak) / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def check_mutations(files: list[bytes], seed: int, count: int) -> Counter[str]:
    """Decode mutations; gives how often each outcome came."""
    source = random.Random(seed)
    assert [outcome(data) for data in files] == ["Image"] * len(files)  # and all is warm
    before = peak_megabytes()
    outcomes = Counter(outcome(mutated(source, source.choice(files))) for _ in range(count))
    assert peak_megabytes() - before < MEGABYTES
    # Mutations that all fail at the same check would test little.
    assert all(outcomes[kind] >= count // 100 for kind in ("FormatError", "TruncatedError", "ChecksumError")), outcomes
    return outcomes


def test_mutations_with_fitting_checksums_cost_an_error_or_give_a_picture(files: list[bytes]) -> None:
    check_mutations(files, 30, 300)


@pytest.mark.slow
def test_many_mutations_with_fitting_checksums(files: list[bytes]) -> None:
    outcomes = check_mutations(files, 31, 5000)
    assert set(outcomes) >= {"Image", "LimitError", "UnsupportedError"}, outcomes


def test_wrong_symbols_are_told(small: bytes) -> None:
    """Where the bytes fit their checksum and the stream decodes, the symbols' checksum is the last to know."""
    head, payload = parts_of(small)
    wrong = bytes([payload[0] ^ 1]) + payload[1:]
    with pytest.raises(ChecksumError, match="symbols"):
        rarefy.decode(repaired(head, wrong))
    with pytest.raises(ChecksumError, match="symbols"):
        api.verify(repaired(head, wrong))


def test_a_stream_with_more_than_its_symbols_is_told(small: bytes) -> None:
    head, payload = parts_of(small)
    for rest in (b"\0", b"\0\0", bytes(100)):
        with pytest.raises(FormatError):
            rarefy.decode(repaired(head, payload + rest))


@pytest.mark.parametrize("value", [128, -128, 32767, -32768])
def test_hyper_latents_beyond_their_range_are_told(value: int) -> None:
    codec = api.load_codec("image")
    tables = codec.bottleneck.exact_tables()
    rows = codec.bottleneck.hyper_rows((1, 1, 1, codec.bottleneck.prior.shape[2]), 0).ravel()
    symbols = np.zeros(len(rows), np.int16)
    symbols[5] = value
    with pytest.raises(FormatError, match="hyper-latents"):
        rarefy.decode(claim(codec, 16, 16, coder.encode(symbols, rows, tables)))


def test_sections_that_the_codec_does_not_know_are_told(small: bytes) -> None:
    file = container.read(small)
    for sections in ({}, {"other": b""}, {"latents": file.units[0].sections["latents"], "more": b"x"}):
        strange = container.write(replace(file, units=(Unit(sections, file.units[0].checksum),)))
        with pytest.raises(FormatError, match="section"):
            rarefy.decode(strange)


def claim(codec: Codec, width: int, height: int, stream: bytes, tile: int = 0, quality: int = 0) -> bytes:
    """A whole file, checksums and all, that claims a size."""
    header = Header(
        codec=codec.name, weights=codec.weights_hash[:4], width=width, height=height, quality=quality, tile=tile
    )
    return container.write(File(header, [Unit({"latents": stream}, 0)] * header.unit_count))


CLAIMS = [
    (65_535, 65_535, LimitError),
    (65_536, 1, LimitError),
    (16_384, 16_384, LimitError),
    (16_383, 16_385, LimitError),
    (8_192, 4_096, LimitError),
    (2_048, 2_048, FormatError),
    (65_535, 96, FormatError),
    (65_535, 1, FormatError),
    (1, 65_535, FormatError),
]
STREAMS = {
    "nothing": b"",
    "no state": b"\0",
    "one lane": b"\0" + b"\x34\x12\x78\x56" + b"\xab" * 40,
    "32 lanes": b"\5" + b"\x01\x80" * 64,
    "end at once": b"\0" + b"\0\0\1\0",
}


@pytest.mark.parametrize(("width", "height", "kind"), CLAIMS)
@pytest.mark.parametrize("stream", STREAMS)
def test_claims_of_size_fail_fast(width: int, height: int, kind: type[RarefyError], stream: str) -> None:
    data = claim(api.load_codec("image"), width, height, STREAMS[stream])
    before = peak_megabytes()
    times = []
    for _ in range(3):
        begin = perf_counter()
        with pytest.raises(kind):
            rarefy.decode(data)
        times.append(perf_counter() - begin)
    assert min(times) < 0.05
    assert peak_megabytes() - before < 32


def test_claims_without_limits_fail_before_memory_is_taken() -> None:
    codec = api.load_codec("image")
    before = peak_megabytes()
    for side in (1 << 20, (1 << 31) - 1):
        for stream in STREAMS.values():
            with pytest.raises(FormatError):
                rarefy.decode(claim(codec, side, side, stream), limits=Limits.none())
    assert peak_megabytes() - before < 32


@pytest.fixture(scope="module")
def tiny() -> Codec:
    """The codec of the conformance streams, which decodes in milliseconds."""
    return load()


# Several units with alpha in some and EXIF; several with a profile and XMP; one with alpha; one with all metadata.
STRUCTURED = ("alpha-tiles", "tiles-metadata", "alpha", "metadata")


@pytest.mark.parametrize("name", STRUCTURED)
def test_every_truncation_of_a_structured_file_is_told(name: str, tiny: Codec) -> None:
    data = path_of(name, "rfy").read_bytes()
    for stop in range(len(data)):
        with pytest.raises(TruncatedError):
            tiny.decode(data[:stop])


@pytest.mark.parametrize("name", STRUCTURED)
def test_every_changed_byte_of_a_structured_file_names_its_place(name: str, tiny: Codec) -> None:
    data = path_of(name, "rfy").read_bytes()
    file = container.read(data)
    source = random.Random(4)
    starts = unit_starts(data)
    for position in range(len(data)):
        with pytest.raises(RarefyError) as caught:
            tiny.decode(changed(data, position, data[position] ^ source.randrange(1, 256)))
        if len(file.units) > 1 and starts[0] + 9 < position < starts[-1]:  # in a payload, or at worst in a size
            number = max(n for n, start in enumerate(starts) if start <= position)
            assert re.search(rf"\bunit ({number}|{number + 1})\b|\bindex\b", str(caught.value)), str(caught.value)


def unit_starts(data: bytes) -> list[int]:
    """Where each unit begins, and where the last one ends, found from the checksums of symbols."""
    starts, position = [], 0
    for unit in container.read(data).units:
        position = data.index(unit.checksum.to_bytes(4, "little"), position) + 4
        starts.append(position - 9)
    return [*starts, len(data) - int.from_bytes(data[-4:], "little")]


IDLE = """
import resource, sys, time
from conformance.fixture import load, registered
from rarefy.errors import RarefyError
codec = load()
codec.decode(open(sys.argv[1], "rb").read())
hostile = bytes.fromhex(sys.stdin.read())
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slowest = refused = 0
for data in [hostile[i : i + 100] for i in range(0, len(hostile), 100)]:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        try:
            codec.decode(data)
        except RarefyError:
            refused += 1
        times.append(time.perf_counter() - begin)
    slowest = max(slowest, min(times))
print(refused, slowest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle)
"""


def test_hostile_files_of_100_bytes_cost_little(tiny: Codec) -> None:
    """In a process of its own, where the highest memory is that of these files: 50 ms and 64 MiB at most."""
    pytest.importorskip("resource", reason="this system does not tell the memory of a process")
    source = random.Random(5)
    sizes = ((16_384, 16_384), (65_535, 4_096), (8_192, 8_192), (1, 65_535))
    files = []
    for width, height in sizes:
        for quality in (0, 25_600):
            room = 100 - len(claim(tiny, width, height, b"", quality=quality))
            files.append(claim(tiny, width, height, b"\5" + source.randbytes(room - 1), quality=quality))
        header = Header(codec=tiny.name, weights=tiny.weights_hash[:4], width=width, height=height, quality=0, tile=16)
        head = write_header(header, 0)
        files.append((head + crc(head) + source.randbytes(100))[:100])
    hostile = b"".join(files)
    assert {len(data) for data in files} == {100}
    command = [sys.executable, "-c", IDLE, str(path_of("64x64", "rfy"))]
    folder = Path(__file__).parent
    done = subprocess.run(command, input=hostile.hex(), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused, seconds, kilobytes = done.stdout.split()
    assert int(refused) == 5 * len(files)
    assert float(seconds) < 0.05
    assert int(kilobytes) < 64 << 10


def test_damaged_files_without_a_whole_unit_cost_little(tiny: Codec) -> None:
    header = Header(codec=tiny.name, weights=tiny.weights_hash[:4], width=16_384, height=16_384, quality=0, tile=16)
    head = write_header(header, 0)
    begin = perf_counter()
    with registered(), pytest.raises(FormatError, match="nothing of the picture is whole"):
        rarefy.decode((head + crc(head) + bytes(100))[:100], limits=Limits(units=None), allow_damaged=True)
    assert perf_counter() - begin < SECONDS


def test_tiles_that_the_codec_has_not_are_told(tiny: Codec) -> None:
    with pytest.raises(FormatError, match="units of 40 pixels"):
        tiny.decode(claim(tiny, 64, 32, b"", tile=40))
    with pytest.raises(FormatError, match="unit 0"):
        tiny.decode(claim(tiny, 64, 32, b"", tile=32))


def test_a_picture_in_too_many_units_is_refused(tiny: Codec) -> None:
    with registered(), pytest.raises(LimitError, match="in 36481 units"):
        rarefy.decode(claim(tiny, 191 * 16, 191 * 16, b"", tile=16))
    with pytest.raises(LimitError, match=r"in 36481 units .* files have no more"):  # there is nothing to raise
        Encoder(tiny, [Image(np.zeros((191 * 16, 191 * 16, 1), np.uint8))], tile=16)


def test_limits_of_the_caller_hold(small: bytes) -> None:
    assert rarefy.decode(small, limits=Limits(pixels=700, side=35)).pixels.shape == (35, 20, 3)
    for limits in (Limits(pixels=699), Limits(side=34), Limits(units=0), Limits(symbols=1000)):
        with pytest.raises(LimitError, match="Limits"):
            rarefy.decode(small, limits=limits)
        with pytest.raises(LimitError):
            api.verify(small, limits=limits)


def test_what_no_reader_would_take_is_not_encoded() -> None:
    with pytest.raises(MediaError, match=r"limit of 65535: files have no more"):
        rarefy.encode(np.zeros((1, 65_536), np.uint8))
    with pytest.raises(LimitError, match=r"limit of 64: files have no more"):
        rarefy.encode(np.zeros((65, 8), np.float32), sample_rate=8000)


@pytest.mark.parametrize("data", [3, None, 1.5, [b""], frozenset()], ids=repr)
def test_what_is_no_file_is_told(data: object) -> None:
    with pytest.raises(RarefyError):
        rarefy.decode(data)  # type: ignore[call-overload]


def test_weights_that_claim_large_networks_build_none(tmp_path: Path) -> None:
    for name, sizes in (("walloc-image", {"blocks": 10**9}), ("image", {"latents": 10**9}), ("image", {"width": 5000})):
        path = tmp_path / "hostile.safetensors"
        save_file({"a": torch.zeros(3, 4000)}, path, {"codec": name, "config": json.dumps(sizes)})
        begin = perf_counter()
        with pytest.raises(WeightsError, match="is more than its tensors have"):
            read_weights(path)
        assert perf_counter() - begin < 5
    save_file({"a": torch.zeros(3)}, path, {"codec": "image", "config": "[1]"})
    with pytest.raises(WeightsError, match="no table"):
        read_weights(path)


def test_chunks_without_end_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(b"RIFF\xff\xff\xff\x7fWAVE" + b"junk\0\0\0\0" * 2_000_000)
    begin = perf_counter()
    with path.open("rb") as file:
        assert _samples_in_chunks(file, path.stat().st_size) == (0, 0, False)
    assert perf_counter() - begin < 0.5
