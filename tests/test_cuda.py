"""The coder's GPU kernels: compiled for GPUs, run thread by thread on the CPU, and on a GPU where there is one."""

import re
from collections.abc import Iterator
from contextlib import suppress
from ctypes import sizeof
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from emulation import COMPILER, Emulation, library
from numpy.typing import NDArray
from torch import Tensor

from rarefy import kernels
from rarefy.entropy import coder, cuda, cuda_launch, rans
from rarefy.entropy.cuda_tables import decode_words, encode_words
from rarefy.entropy.scales import scale_tables
from rarefy.entropy.tables import Tables
from rarefy.errors import FormatError, OptionError, RarefyError, TruncatedError, UnsupportedError
from rarefy.kernels.cuda import arguments, compile, driver
from rarefy.tools import bench_cuda

Symbols = NDArray[np.int16]
Rows = NDArray[np.uint16]
Sections = list[tuple[Symbols, Rows]]

ARCHITECTURES = ("sm_80", "sm_90")
GPUS = [
    pytest.param("emulation", marks=pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")),
    pytest.param("emulation, global", marks=pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")),
    pytest.param("cuda", marks=pytest.mark.gpu),
]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("emulation")


@pytest.fixture(params=GPUS)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The device that tensors go to: the CPU where the kernels are emulated, with tables in either memory."""
    if request.param == "cuda":
        yield "cuda"
        return
    emulation = Emulation(library(request.getfixturevalue("built")), 232_448 if request.param == "emulation" else 8_192)
    monkeypatch.setattr(cuda_launch, "device_of", lambda tensor: emulation)
    yield "cpu"
    kind = "shared" if request.param == "emulation" else "global"
    assert all(kind in name for name, _, _ in emulation.launched if "streams" not in name)


def test_kernels_compile_for_gpus_without_a_warning() -> None:
    """And stay within what two blocks of 512 threads have on a multiprocessor: 64 registers a thread, no spills."""
    for architecture in ARCHITECTURES:
        try:
            cubin, log = compile.compile_kernels(architecture)
        except UnsupportedError as error:
            if "does not compile" in str(error):
                raise
            pytest.skip(str(error))
        assert cubin[:4] == b"\x7fELF"
        assert "warning" not in log.lower(), log
        spilled = [int(number) for number in re.findall(r"(\d+) bytes (?:stack frame|spill)", log)]
        registers = [int(number) for number in re.findall(r"Used (\d+) registers", log)]
        assert len(registers) == 14 and max(registers) <= 64, log
        assert len(spilled) >= 14 and not any(spilled), log


def test_kept_kernels_are_those_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kept once, under a name that changes with the sources, and made anew where the file is damaged."""
    pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    made: list[str] = []

    def compiled(architecture: str) -> compile.Compiled:
        made.append(architecture)
        return compile.Compiled(b"code %d" % len(made), "")

    monkeypatch.setattr(compile, "compile_kernels", compiled)
    try:
        assert compile.kernels_for((9, 0)) == compile.kernels_for((9, 0)) == b"code 1"
    except UnsupportedError as error:
        pytest.skip(str(error))
    (kept,) = compile.cache_folder().iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert compile.kernels_for((9, 0)) == b"code 2"
    changed = tmp_path / "rans.h"
    changed.write_text("// other arithmetic")
    monkeypatch.setitem(compile.HEADERS, "../rans.h", changed)
    assert compile.kernels_for((9, 0)) == b"code 3"
    assert compile.kernels_for((8, 6)) == b"code 4" and made == ["sm_90", "sm_90", "sm_90", "sm_86"]
    assert len(list(compile.cache_folder().iterdir())) == 3


def test_an_architecture_is_chosen_whose_code_runs() -> None:
    try:
        assert [compile.architecture_for(capability) for capability in ((8, 0), (9, 0))] == ["sm_80", "sm_90"]
    except UnsupportedError as error:
        pytest.skip(str(error))
    assert compile.architecture_for((8, 5)) == "sm_80"  # there is none: code for a smaller minor runs
    with pytest.raises(UnsupportedError, match=r"3\.5"):
        compile.architecture_for((3, 5))


def test_structures_are_those_of_the_kernels() -> None:
    """Sizes by the rules of C; what is inside is tried by every test below."""
    assert sizeof(arguments.StreamState) == 160
    assert sizeof(arguments.TableWords) == 32
    assert sizeof(arguments.Sections) == 32
    text = (compile.FOLDER / "arguments.cuh").read_text()
    assert "kMostSymbols = int64_t{1} << 27;" in text and arguments.MOST_SYMBOLS == 1 << 27
    assert f"kMostThreads = {arguments.MOST_THREADS};" in (compile.FOLDER / "warp.cuh").read_text()


def plain_tables() -> Tables:
    """Row 0: -1, 0, 1 and the escape at 1024, 2048, 512, 512 of 4096; row 1: certain of 7."""
    return Tables(12, np.array([-1, 7]), np.array([0, 5, 5]), np.array([0, 1024, 3072, 3584, 4096]))


@cache
def usual_tables() -> Tables:
    return scale_tables(64, 0.06, 30)


def random_tables(rng: np.random.Generator, most_rows: int = 8) -> Tables:
    """Rows of all kinds: certain, two entries, hundreds, at the ends of int16, nearly certain, flat."""
    pmfs: list[NDArray[np.float64]] = []
    offsets = []
    for _ in range(int(rng.integers(1, most_rows))):
        length = int(rng.choice([0, 1, 2, 3, 9, 40, 300, 1200]))
        pmfs.append(rng.dirichlet(np.full(length, rng.choice([0.01, 0.3, 10.0]))) if length else np.zeros(0))
        offsets.append(int(rng.choice([-length // 2, -32768, 32767 - max(length - 1, 0)])))
    return Tables.from_pmfs(pmfs, offsets, list(rng.choice([0.0, 1e-4, 0.3], len(pmfs))), int(rng.integers(12, 16)))


def random_section(rng: np.random.Generator, tables: Tables, count: int) -> tuple[Symbols, Rows]:
    """Symbols in their rows, at and just beyond the rows' ends, and anywhere in int16; runs of certain rows too."""
    rows = rng.integers(0, len(tables), count).astype(np.uint16)
    if len(certain := np.flatnonzero(~tables.is_coded)):
        rows[count // 3 : count // 3 + int(rng.integers(0, 200))] = certain[0]
    near = tables.offsets[rows] + rng.integers(-1, np.maximum(tables.lengths[rows] - 1, 0) + 2)
    symbols = np.where(rng.random(count) < rng.choice([0.5, 0.9, 1]), np.clip(near, -32768, 32767), near * 0)
    symbols = np.where(rng.random(count) < 0.02, rng.integers(-32768, 32768, count), symbols)
    return np.where(tables.is_coded[rows], symbols, tables.offsets[rows]).astype(np.int16), rows


def tensors(sections: Sections, device: str, row_type: type = np.uint16) -> tuple[Tensor, Tensor, Tensor]:
    """Symbols, rows and where the sections begin."""
    symbols = np.concatenate([section[0] for section in sections])
    rows = np.concatenate([section[1] for section in sections]).astype(row_type)
    starts = cuda.section_starts([len(section[0]) for section in sections], device)
    return torch.from_numpy(symbols).to(device), torch.from_numpy(rows).to(device), starts


COUNTS = [0, 1, 2, 31, 32, 33, 64, 200, 700]


@pytest.mark.parametrize("lanes", rans.LANES)
@pytest.mark.parametrize("seed", range(4))
def test_streams_are_those_of_the_other_coders(device: str, lanes: int, seed: int) -> None:
    rng = np.random.default_rng([seed, lanes])
    tables = random_tables(rng)
    sections = [random_section(rng, tables, int(count)) for count in rng.permutation(COUNTS)]
    symbols, rows, starts = tensors(sections, device, rng.choice([np.uint8, np.uint16]))
    streams = cuda.encode(symbols, rows, starts, tables, lanes)
    expected = [coder.encode(*section, tables, lanes) for section in sections]
    assert streams.to_bytes() == expected
    assert expected[0] == rans.encode(*sections[0], tables, lanes)
    assert torch.equal(cuda.decode(streams, rows, starts, tables), symbols)
    again = cuda.Streams.from_bytes(expected, device)
    assert torch.equal(cuda.decode(again, rows, starts, tables), symbols)


def test_sections_of_other_numbers_of_lanes_side_by_side_at_any_address(device: str) -> None:
    rng = np.random.default_rng(3)
    tables = usual_tables()
    sections = [random_section(rng, tables, 300) for _ in range(24)]
    streams = [coder.encode(*section, tables, rans.LANES[i % 6]) for i, section in enumerate(sections)]
    data = b"".join(streams)  # every size is odd: words at even and at odd addresses
    sizes = [len(stream) for stream in streams]
    together = cuda.Streams(
        torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device),
        cuda.section_starts(sizes, device)[:-1],
        torch.tensor(sizes, device=device),
    )
    symbols, rows, starts = tensors(sections, device)
    assert torch.equal(cuda.decode(together, rows, starts, tables), symbols)


@pytest.mark.parametrize("seed", range(6))
def test_bursts_end_anywhere(device: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    sections = [random_section(rng, tables, int(count)) for count in rng.integers(0, 400, 5)]
    cuts = [np.sort(rng.integers(0, len(section[0]) + 1, 3)) for section in sections]
    bursts = [
        [(s[part], r[part]) for part in np.split(np.arange(len(s)), cut)]
        for (s, r), cut in zip(sections, cuts, strict=True)
    ]
    streams = [coder.encode(*section, tables, int(rng.choice(rans.LANES))) for section in sections]
    decoder = cuda.Decoder(cuda.Streams.from_bytes(streams, device), tables)
    for burst in zip(*bursts, strict=True):
        symbols, rows, starts = tensors(list(burst), device)
        assert torch.equal(decoder.decode(rows, starts), symbols)
    decoder.finish()


def outcome(stream: bytes, rows: Rows, tables: Tables) -> tuple[type, str] | Symbols:
    """What the other coders make of a stream."""
    try:
        decoder = coder.Decoder(stream, tables)
        symbols = decoder.decode(rows)
        decoder.finish()
        return symbols
    except RarefyError as error:
        return type(error), str(error)


def damaged(rng: np.random.Generator, stream: bytes) -> bytes:
    """Cut, lengthened, with other bytes, or not a stream at all."""
    altered = bytearray(stream)
    match int(rng.integers(0, 5)):
        case 0:
            del altered[int(rng.integers(0, len(altered))) :]
        case 1:
            altered += bytes(int(rng.integers(1, 9)))
        case 2:
            altered = bytearray(rng.bytes(int(rng.integers(0, 200))))
        case _:
            for place in rng.integers(0, len(altered), 3):
                altered[place] = rng.integers(0, 256)
    return bytes(altered)


@pytest.mark.parametrize("seed", range(8))
def test_damaged_streams_fail_as_elsewhere_and_alone(device: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    sections = [random_section(rng, tables, int(count)) for count in rng.integers(0, 120, 40)]
    streams = [coder.encode(*section, tables, int(rng.choice(rans.LANES))) for section in sections]
    streams = [damaged(rng, stream) if rng.random() < 0.8 else stream for stream in streams]
    _, rows, starts = tensors(sections, device)
    decoder = cuda.Decoder(cuda.Streams.from_bytes(streams, device), tables)
    decoded = decoder.decode(rows, starts).cpu().numpy()
    with suppress(RarefyError):  # compared below, section by section
        decoder.finish()
    parts = np.split(decoded, starts[1:-1].cpu().numpy())
    for stream, (_, under), status, part in zip(streams, sections, decoder.status.tolist(), parts, strict=True):
        expected = outcome(stream, under, tables)
        if isinstance(expected, tuple):
            assert status and (rans.FAULTS[status][0], rans.FAULTS[status][1]) == expected
        else:
            assert status == 0 and np.array_equal(part, expected)


def test_every_truncation_is_noticed(device: str) -> None:
    tables = plain_tables()
    rows = np.tile(np.array([0, 0, 1], np.uint16), 20)
    symbols = np.where(rows == 1, 7, np.arange(60) % 3 - 1).astype(np.int16)
    symbols[[0, 3, 57]] = [-32768, 32767, 1000]
    stream = coder.encode(symbols, rows, tables, 4)
    cut = [stream[:size] for size in range(len(stream))]
    message, under, starts = tensors([(symbols, rows)] * (len(cut) + 1), device)
    decoder = cuda.Decoder(cuda.Streams.from_bytes([*cut, stream], device), tables)
    decoded = decoder.decode(under, starts)
    with pytest.raises(TruncatedError, match="section 0"):
        decoder.finish()
    names = [rans.FAULTS[status][0] for status in decoder.status.tolist()[:-1]]
    assert names == [TruncatedError] * len(cut)
    assert torch.equal(decoded[-60:], message[-60:]) and decoder.status[-1] == 0


def test_what_cannot_be_encoded(device: str) -> None:
    tables = plain_tables()
    good = (np.zeros(40, np.int16), np.zeros(40, np.uint16))
    for wrong in ((np.zeros(40, np.int16), np.full(40, 1, np.uint16)), (good[0], np.full(40, 2, np.uint16))):
        with pytest.raises(OptionError, match="section 1"):
            cuda.encode(*tensors([good, wrong, good], device), tables)
    symbols, rows, starts = tensors([good], device)
    for changed in ((symbols.int(), rows, starts), (symbols[::2], rows[:20], starts), (symbols, rows.int(), starts)):
        with pytest.raises(OptionError, match="contiguous"):
            cuda.encode(*changed, tables)
    with pytest.raises(OptionError, match="lanes"):
        cuda.encode(symbols, rows, starts, tables, 3)


@pytest.mark.parametrize("places", [[0, 41], [-1, 40], [30, 20], [0, 2**62]])
def test_sections_beyond_the_tensors(device: str, places: list[int]) -> None:
    tables = plain_tables()
    symbols, rows, _ = tensors([(np.zeros(40, np.int16), np.zeros(40, np.uint16))], device)
    starts = torch.tensor(places, device=device)
    with pytest.raises(OptionError, match="section 0"):
        cuda.encode(symbols, rows, starts, tables)
    stream = coder.encode(np.zeros(40, np.int16), np.zeros(40, np.uint16), tables)
    with pytest.raises(OptionError, match="section 0"):
        cuda.decode(cuda.Streams.from_bytes([stream], device), rows, starts, tables)


@pytest.mark.parametrize(("start", "size"), [(1, 5), (-1, 5), (0, 6), (0, -1), (2**62, 2**62), (2, 2**63 - 1)])
def test_streams_beyond_the_data(device: str, start: int, size: int) -> None:
    streams = cuda.Streams(
        torch.tensor([0, 0, 0, 1, 0], dtype=torch.uint8, device=device),
        torch.tensor([start], device=device),
        torch.tensor([size], device=device),
    )
    with pytest.raises(OptionError, match="section 0"):
        cuda.Decoder(streams, plain_tables()).finish()


def test_rows_beyond_the_tables_while_decoding(device: str) -> None:
    tables = plain_tables()
    symbols, rows = np.zeros(70, np.int16), np.zeros(70, np.uint16)
    streams = cuda.Streams.from_bytes([coder.encode(symbols, rows, tables, 32)] * 2, device)
    rows[69] = 2
    message, under, starts = tensors([(symbols, rows), (symbols, rows * 0)], device)
    decoder = cuda.Decoder(streams, tables)
    decoded = decoder.decode(under, starts)
    with pytest.raises(OptionError, match="section 0: a row"):
        decoder.finish()
    assert torch.equal(decoded[70:], message[70:])


def test_a_row_beyond_the_tables_is_told_before_the_fault_of_a_stream(device: str) -> None:
    """As the other coders, which look at all rows first."""
    tables = plain_tables()
    rows = np.zeros(70, np.uint16)
    stream = coder.encode(rows.astype(np.int16) + 9, rows, tables, 1)[:-20]
    rows[69] = 2
    _, under, starts = tensors([(rows.astype(np.int16), rows)], device)
    with pytest.raises(OptionError, match="a row"):
        cuda.decode(cuda.Streams.from_bytes([stream], device), under, starts, tables)


def test_more_symbols_than_bytes_can_hold(device: str) -> None:
    rows = torch.zeros(5000, dtype=torch.uint8, device=device)
    streams = cuda.Streams.from_bytes([bytes.fromhex("00 00000100")], device)
    with pytest.raises(TruncatedError, match="too short"):
        cuda.decode(streams, rows, cuda.section_starts([5000], device), plain_tables())
    certain = torch.ones(5000, dtype=torch.uint8, device=device)
    found = cuda.decode(streams, certain, cuda.section_starts([5000], device), plain_tables())
    assert torch.all(found == 7)


def test_nothing_at_all(device: str) -> None:
    rows, starts = torch.zeros(0, dtype=torch.uint8, device=device), cuda.section_starts([], device)
    streams = cuda.encode(rows.to(torch.int16), rows, starts, plain_tables())
    assert streams.to_bytes() == []
    assert len(cuda.decode(streams, rows, starts, plain_tables())) == 0
    with pytest.raises(OptionError, match="1 sections"):
        cuda.Decoder(streams, plain_tables()).decode(rows, cuda.section_starts([0], device))


def test_more_sections_than_warps(device: str) -> None:
    """Warps take sections one after the other; more than one block, several warps a block."""
    rng = np.random.default_rng(7)
    tables = usual_tables()
    sections = [random_section(rng, tables, int(count)) for count in rng.integers(0, 90, 150)]
    symbols, rows, starts = tensors(sections, device, np.uint8)
    streams = cuda.encode(symbols, rows, starts, tables)
    assert streams.to_bytes() == [coder.encode(*section, tables, 32) for section in sections]
    assert torch.equal(cuda.decode(streams, rows, starts, tables), symbols)


@pytest.mark.parametrize("seed", range(5))
def test_words_of_tables_find_what_the_tables_say(seed: int) -> None:
    """Every slot of every coded row, by the rules of kernels/cuda/decode.cuh."""
    tables = random_tables(np.random.default_rng(seed))
    words = decode_words(tables).astype(np.int64)
    slots = np.arange(1 << tables.precision)
    for row, boundaries in enumerate(tables.row_lists):
        block, bits, is_coded = words[row] >> 5, words[row] >> 1 & 15, words[row] & 1
        assert is_coded == bool(boundaries)
        assert words[block] == (int(tables.offsets[row]) & 0xFFFF) | max(len(boundaries) - 2, 0) << 16
        if boundaries:
            expected = np.searchsorted(boundaries, slots, side="right") - 1
            bucket = words[block + 1 + (slots >> (tables.precision - bits))]
            assert np.all((bucket & 0xFFFF) <= expected) and np.all(expected <= bucket >> 16)
            entries = words[block + 1 + (1 << bits) :][: len(boundaries) - 1]
            assert (entries & 0xFFFF).tolist() == boundaries[:-1]
            assert (entries >> 16).tolist() == np.diff(boundaries).tolist()


def test_usual_tables_leave_room_for_two_blocks() -> None:
    """64 rows, beside queues and what a block is charged anyway: to decode on sm_80 (164 kB), to encode on sm_90."""
    tables = scale_tables(64, 0.04, 30)
    for words, room in ((decode_words(tables), 164), (encode_words(tables), 228)):
        block = 4 * len(words) + arguments.MOST_THREADS // arguments.WARP * arguments.QUEUE_BYTES + 1024
        assert 2 * block <= room * 1024


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler here")
@pytest.mark.parametrize("piece", range(8))
def test_a_hundred_million_symbols(piece: int, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In emulation, against the compiled coder."""
    if not kernels.available():
        pytest.skip("the compiled coder was not built")
    emulation = Emulation(library(built))
    monkeypatch.setattr(cuda_launch, "device_of", lambda tensor: emulation)
    rng = np.random.default_rng(piece)
    for _ in range(5):
        tables = usual_tables() if rng.random() < 0.5 else random_tables(rng, 200)
        for lanes, count in ((32, 47), (16, 1), (8, 1), (int(rng.choice([1, 2, 4])), 1)):  # few lanes idle most threads
            sections = [random_section(rng, tables, 50_000) for _ in range(count)]
            symbols, rows, starts = tensors(sections, "cpu")
            streams = cuda.encode(symbols, rows, starts, tables, lanes)
            assert streams.to_bytes() == [coder.encode(*section, tables, lanes) for section in sections]
            assert torch.equal(cuda.decode(streams, rows, starts, tables), symbols)


def test_the_measurement_measures(device: str) -> None:
    result = bench_cuda.measure_cuda(symbols=1 << 12, sections=2, runs=1, device=device)
    assert result["is_equal"] and 1 < result["bits_per_symbol"] < 3
    assert "those of the CPU" in bench_cuda.table(result)


def test_tensors_elsewhere_are_refused() -> None:
    rows = torch.zeros(4, dtype=torch.uint8)
    with pytest.raises(OptionError, match="CUDA device"):
        cuda.encode(rows.to(torch.int16), rows, cuda.section_starts([4], "cpu"), plain_tables())


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_machine_without_a_gpu_says_so() -> None:
    with pytest.raises(UnsupportedError, match="no CUDA device"):
        bench_cuda.measure_cuda()
    with pytest.raises(UnsupportedError, match="GPU coder"):
        driver.device(0)


@pytest.mark.gpu
def test_on_any_stream_and_many_symbols() -> None:
    rng = np.random.default_rng(1)
    tables = usual_tables()
    sections = [random_section(rng, tables, 20_000) for _ in range(300)]
    symbols, rows, starts = tensors(sections, "cuda", np.uint8)
    with torch.cuda.stream(torch.cuda.Stream()):
        streams = cuda.encode(symbols, rows, starts, tables)
        decoded = cuda.decode(streams, rows, starts, tables)
    assert torch.equal(decoded, symbols)
    assert streams.to_bytes() == [coder.encode(*section, tables, 32) for section in sections]


@pytest.mark.gpu
def test_a_failing_format_error_leaves_the_device_usable() -> None:
    tables = plain_tables()
    rows = torch.zeros(4, dtype=torch.uint8, device="cuda")
    streams = cuda.Streams.from_bytes([bytes([9])], "cuda")
    with pytest.raises(FormatError):
        cuda.decode(streams, rows, cuda.section_starts([4], "cuda"), tables)
    test_nothing_at_all("cuda")
