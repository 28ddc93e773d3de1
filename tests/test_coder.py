"""The coder: one format in Python and C++, exact words, rate near the ideal, hostile streams, threads."""

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from rarefy import kernels
from rarefy.entropy import coder, rans
from rarefy.entropy.scales import scale_tables, scale_thresholds
from rarefy.entropy.tables import Tables
from rarefy.errors import ChecksumError, FormatError, OptionError, RarefyError, TruncatedError

Symbols = NDArray[np.int16]
Rows = NDArray[np.uint16]

needs_extension = pytest.mark.skipif(not kernels.available(), reason="the compiled coder was not built")


@pytest.fixture(params=["avx512", "plain", "python"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run a test with each implementation."""
    if request.param not in (*coder.instruction_sets(), "python"):
        pytest.skip(f"the coder was not built for {request.param}, or the processor lacks it")
    monkeypatch.setenv("RAREFY_KERNEL", request.param)
    yield request.param


def plain_tables() -> Tables:
    """Row 0: -1, 0, 1 and the escape at 1024, 2048, 512, 512 of 4096; row 1: certain of 7."""
    return Tables(12, np.array([-1, 7]), np.array([0, 5, 5]), np.array([0, 1024, 3072, 3584, 4096]))


@cache
def usual_tables() -> Tables:
    return scale_tables(64, 0.06, 30)


def random_tables(rng: np.random.Generator) -> Tables:
    """Rows of all kinds: certain, two entries, hundreds, near the ends of int16, nearly certain, flat."""
    precision = int(rng.integers(12, 16))
    pmfs: list[NDArray[np.float64]] = []
    offsets = []
    for _ in range(int(rng.integers(1, 8))):
        length = int(rng.choice([0, 1, 2, 3, 9, 40, 300, 1200]))
        pmfs.append(rng.dirichlet(np.full(length, rng.choice([0.01, 0.3, 10.0]))) if length else np.zeros(0))
        offsets.append(int(rng.choice([-length // 2, -32768, 32767 - max(length - 1, 0)])))
    return Tables.from_pmfs(pmfs, offsets, list(rng.choice([0.0, 1e-4, 0.3], len(pmfs))), precision)


def random_message(rng: np.random.Generator, tables: Tables, count: int) -> tuple[Symbols, Rows]:
    """Symbols in their rows, at and just beyond the rows' ends, and anywhere in int16."""
    rows = rng.integers(0, len(tables), count).astype(np.uint16)
    values = tables.lengths[rows] - 1
    near = tables.offsets[rows] + rng.integers(-1, np.maximum(values, 0) + 2)
    anywhere = rng.integers(-32768, 32768, count)
    symbols = np.where(rng.random(count) < 0.9, np.clip(near, -32768, 32767), anywhere)
    return np.where(tables.is_coded[rows], symbols, tables.offsets[rows]).astype(np.int16), rows


def logistic_message(count: int, tables: Tables, low: float, high: float) -> tuple[Symbols, Rows]:
    """What a picture's latents look like: scales of .04 to 30, most of them small."""
    rng = np.random.default_rng(5)
    small = rng.random(count) < 0.7
    scales = np.where(small, 0.04 * 7.5 ** rng.random(count), 0.3 * 100 ** rng.random(count))
    thresholds = scale_thresholds(len(tables), low, high)
    rows = np.minimum(np.searchsorted(thresholds, scales), len(tables) - 1).astype(np.uint16)
    symbols = np.round(rng.logistic(size=count) * scales).astype(np.int16)
    return np.where(rows == 0, 0, symbols).astype(np.int16), rows


def decode(stream: bytes, rows: Rows, tables: Tables, cuts: list[int] | None = None) -> Symbols:
    """Decode in bursts that end at the cuts."""
    decoder = coder.Decoder(stream, tables)
    bursts = [decoder.decode(part) for part in np.split(rows, cuts or [])]
    decoder.finish()
    return np.concatenate(bursts)


# Made once by hand and by the twin; a change of any of them is a change of the format.
GOLDEN: list[tuple[list[int], list[int], int, str]] = [
    ([], [], 1, "00 00000100"),
    ([0], [0], 1, "00 00040200"),  # 65536 = 32 x 2048, and 32 x 4096 + 1024 = 0x20400
    ([7, 0, 7], [1, 0, 1], 1, "00 00040200"),
    ([0, 0], [0, 0], 2, "01 00040200 00040200"),
    ([-1, 0, 1, 0], [0, 0, 0, 0], 1, "00 00608100"),
    ([5], [0], 1, "00 040e0002"),  # escape, then 0 0 1 00 0: six is three pairs beyond, above
    ([-1, 7, 3, 0, 1, 0, -300, 0], [0, 1, 0, 0, 0, 0, 0, 0], 2, "01 00502000 020e3e80 e04a"),
]


@pytest.mark.parametrize(("symbols", "rows", "lanes", "words"), GOLDEN)
def test_golden_words(kernel: str, symbols: list[int], rows: list[int], lanes: int, words: str) -> None:
    message, under = np.array(symbols, np.int16), np.array(rows, np.uint16)
    assert coder.encode(message, under, plain_tables(), lanes).hex() == words.replace(" ", "")
    assert decode(bytes.fromhex(words), under, plain_tables()).tolist() == symbols


def test_the_document_shows_these_words() -> None:
    text = (Path(__file__).resolve().parents[1] / "docs/CODER.md").read_text()
    assert all(f"`{words}`" in text for *_, words in GOLDEN)


def test_golden_tables_and_stream(kernel: str) -> None:
    """A longer stream over every kind of row, made with integers alone, so that no library can change it."""
    boundaries = [[0, 1, 2, 16383, 16384], [], [*range(0, 16000, 50), 16384], [0, 16383, 16384]]
    starts = np.cumsum([0, *map(len, boundaries)])
    tables = Tables(14, np.array([-1, 3, -160, 0]), starts, np.array([value for row in boundaries for value in row]))
    number = np.arange(3000)
    rows = (number * 7 % 13 % 4).astype(np.uint16)
    wave = (number * number % 331 - 165) * (number % 97 == 0) + number * 31 % 319 - 159
    symbols = np.choose(rows, [np.where(number % 50 == 0, wave, 1), 3, wave, np.where(number % 90 == 0, -wave, 0)])
    stream = coder.encode(symbols, rows, tables, 8)
    assert (len(stream), zlib.crc32(stream)) == (843, 199105124)
    assert np.array_equal(decode(stream, rows, tables), symbols)


@needs_extension
@pytest.mark.parametrize("seed", range(60))
def test_all_write_the_same_bytes_and_read_them_in_any_bursts(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    tables = random_tables(rng)
    symbols, rows = random_message(rng, tables, int(rng.choice([0, 1, 7, 200, 3000, 5000])))
    lanes = int(rng.choice(rans.LANES))
    stream = rans.encode(symbols, rows, tables, lanes)
    assert stream[0] == rans.LANES.index(lanes)
    cuts = sorted(int(cut) for cut in rng.integers(0, len(rows) + 1, int(rng.integers(0, 6))))
    for name in coder.instruction_sets():
        monkeypatch.setenv("RAREFY_KERNEL", name)
        assert coder.encode(symbols, rows, tables, lanes) == stream
        assert np.array_equal(decode(stream, rows, tables, cuts), symbols)
    twin = rans.Decoder(stream, tables)
    assert np.array_equal(np.concatenate([twin.decode(part) for part in np.split(rows, cuts)]), symbols)
    twin.finish()


def test_every_int16_symbol_passes(kernel: str) -> None:
    tables = plain_tables()
    symbols = np.arange(-32768, 32768, 61 if kernel == "python" else 1).astype(np.int16)
    rows = np.zeros(len(symbols), np.uint16)
    assert np.array_equal(decode(coder.encode(symbols, rows, tables), rows, tables), symbols)


@pytest.mark.parametrize("lanes", rans.LANES)
def test_rate_is_that_of_the_tables(kernel: str, lanes: int) -> None:
    tables = usual_tables()
    symbols, rows = logistic_message(60_000, tables, 0.06, 30)
    stream = coder.encode(symbols, rows, tables, lanes)
    ideal = tables.ideal_bits(symbols, rows) / 8
    assert ideal <= len(stream) <= ideal * 1.0005 + 4 * lanes + 2
    assert np.array_equal(decode(stream, rows, tables), symbols)


def test_rate_against_constriction() -> None:
    """An independent coder needs as much for the same integers (on symbols without escapes, which it does not know)."""
    constriction = pytest.importorskip("constriction", reason="constriction, the peer, is not installed")
    tables = usual_tables()
    symbols, rows = logistic_message(20_000, tables, 0.06, 30)
    last = tables.offsets[rows] + np.maximum(tables.lengths[rows] - 2, 0)
    symbols = np.clip(symbols, tables.offsets[rows], last).astype(np.int16)
    peer = constriction.stream.stack.AnsCoder()
    for row in np.unique(rows[rows > 0]):
        counts = np.diff(tables.cumulative[tables.row_starts[row] : tables.row_starts[row + 1]].astype(np.float64))
        model = constriction.stream.model.Categorical(counts / counts.sum(), perfect=True)
        peer.encode_reverse(symbols[rows == row].astype(np.int32) - tables.offsets[row], model)
    ours = len(coder.encode(symbols, rows, tables, 1))
    assert ours == pytest.approx(4 * len(peer.get_compressed()), rel=5e-4, abs=6)


def test_certain_symbols_cost_nothing_and_need_not_be_told(kernel: str) -> None:
    rows = np.ones(100_000, np.uint16)
    stream = coder.encode(np.full(100_000, 7, np.int16), rows, plain_tables())
    assert len(stream) == 5
    assert np.all(decode(stream, rows, plain_tables()) == 7)


def test_what_cannot_be_encoded(kernel: str) -> None:
    tables = plain_tables()
    one, row = np.zeros(1, np.int16), np.zeros(1, np.uint16)
    wrong: list[tuple[object, object, int | None]] = [
        (one, row + 1, None),  # row 1 is certain of 7
        (one, row + 2, None),  # there is no row 2
        (np.zeros(2, np.int16), row, None),
        (np.array([32768]), row, None),
        (one, np.array([-1]), None),
        (np.zeros(1), row, None),
        (np.zeros((1, 1), np.int16), row, None),
        (one, row, 3),
        (one, row, 64),
        (one, row, 0),
    ]
    for symbols, rows, lanes in wrong:
        with pytest.raises(OptionError):
            coder.encode(symbols, rows, tables, lanes)  # type: ignore[arg-type]


def test_arrays_of_any_layout(kernel: str) -> None:
    tables = plain_tables()
    base = np.arange(-300, 300).astype(np.int16)
    base.setflags(write=False)
    rows = np.zeros(300, np.uint16)
    for symbols in (base[::2], base[::-2], base[:300].astype(np.int64), base[:300].astype(">i2")):
        stream = coder.encode(symbols, rows, tables)
        assert np.array_equal(decode(stream, rows.astype(np.int64), tables), symbols)
        assert np.array_equal(coder.Decoder(memoryview(bytearray(stream)), tables).decode(rows), symbols)


def test_lanes_follow_the_bits(kernel: str) -> None:
    counts = [0, 1, 131_071, 131_072, 262_144, 524_287, 524_288, 1_048_576, 2_097_152, 10**9]
    assert [coder.lanes_for(bits) for bits in counts] == [1, 1, 1, 2, 4, 4, 8, 16, 32, 32]
    tables = plain_tables()
    assert tables.expected_bits.tolist() == [448, 0]  # 1/2 of 1, 1/4 of 2, 1/4 of 3 bits
    rows = np.repeat([0, 1], [149_797, 500_000]).astype(np.uint16)[:: 25 if kernel == "python" else 1]
    with patch.object(coder, "BITS_PER_LANE", 65536 // (25 if kernel == "python" else 1)):
        assert coder.encode(np.where(rows == 1, 7, 0), rows, tables)[0] == 2  # certain symbols do not count
        assert coder.encode(np.where(rows == 1, 7, 0)[2:], rows[2:], tables)[0] == 1


def test_checksum_is_a_crc_of_little_endian_symbols() -> None:
    symbols = np.array([[1, -2], [300, -32768]], np.int16)
    expected = zlib.crc32(bytes.fromhex("0100 feff 2c01 0080"))
    assert coder.checksum([symbols]) == expected
    assert coder.checksum(iter([symbols[0], symbols[1, :1], symbols[1, 1:], symbols[:0]])) == expected
    assert coder.checksum([symbols.T]) != expected
    assert coder.checksum([symbols.astype(">i2")]) == expected
    assert coder.checksum([]) == 0


def message_with_escapes() -> tuple[Tables, Symbols, Rows, bytes]:
    tables = plain_tables()
    rng = np.random.default_rng(8)
    rows = (rng.random(60) < 0.3).astype(np.uint16)
    symbols = np.where(rows == 1, 7, rng.integers(-3, 4, 60)).astype(np.int16)
    symbols[np.flatnonzero(rows == 0)[:3]] = [-32768, 32767, 1000]
    return tables, symbols, rows, coder.encode(symbols, rows, tables, 4)


def test_every_truncation_is_noticed(kernel: str) -> None:
    tables, _, rows, stream = message_with_escapes()
    for size in range(len(stream)):
        with pytest.raises(TruncatedError):
            decode(stream[:size], rows, tables)


def test_trailing_bytes_are_noticed(kernel: str) -> None:
    tables, _, rows, stream = message_with_escapes()
    for surplus in (b"\0", b"\0\0", b"\0" * 40):
        with pytest.raises(FormatError):
            decode(stream + surplus, rows, tables)


def test_too_few_symbols_are_noticed(kernel: str) -> None:
    tables, symbols, rows, stream = message_with_escapes()
    last = int(np.flatnonzero(rows == 0)[-1])
    with pytest.raises(FormatError):
        decode(stream, rows[:last], tables)
    with pytest.raises(ChecksumError):
        decode(coder.encode(symbols[:1], rows[:1] * 0, tables, 1)[:5], rows[:0], tables)


def test_every_flipped_bit_gives_an_error_or_other_symbols(kernel: str) -> None:
    tables, symbols, rows, stream = message_with_escapes()
    for bit in range(8 * len(stream)):
        altered = bytearray(stream)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            found = decode(bytes(altered), rows, tables)
        except RarefyError:
            continue
        assert not np.array_equal(found, symbols), bit


@needs_extension
def test_all_treat_damaged_streams_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    for _ in range(200):
        tables = random_tables(rng)
        symbols, rows = random_message(rng, tables, int(rng.choice([40, 90])))
        stream = bytearray(coder.encode(symbols, rows, tables, int(rng.choice([1, 2, 4, 8, 16, 32]))))
        for place in rng.integers(0, len(stream), 3):
            stream[place] = rng.integers(0, 256)
        outcomes = []
        for name in (*coder.instruction_sets(), "python"):
            monkeypatch.setenv("RAREFY_KERNEL", name)
            outcomes.append(outcome(bytes(stream), rows, tables))
        assert len(set(outcomes)) == 1


def outcome(stream: bytes, rows: Rows, tables: Tables) -> tuple[str, str]:
    try:
        return "symbols", decode(stream, rows, tables, [17]).tobytes().hex()
    except RarefyError as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("lanes_code", [6, 7, 128, 255])
def test_reserved_numbers_of_lanes(kernel: str, lanes_code: int) -> None:
    with pytest.raises(FormatError):
        coder.Decoder(bytes([lanes_code]) + bytes([0, 0, 1, 0]) * 64, plain_tables())


def test_a_lane_that_starts_below_its_range(kernel: str) -> None:
    with pytest.raises(FormatError):
        coder.Decoder(bytes.fromhex("00 ffff0000"), plain_tables())


def test_an_escape_beyond_int16(kernel: str) -> None:
    """Zeros without end, then the largest distance: a state of zeros behind an escape."""
    escape = 3584
    prefixed = bytes.fromhex("00") + (escape | 1 << 31).to_bytes(4, "little")
    with pytest.raises(FormatError, match="beyond 16 bits"):
        decode(prefixed + bytes(8), np.zeros(1, np.uint16), plain_tables())


def test_more_symbols_than_bytes_can_hold(kernel: str) -> None:
    """Asked before anything is decoded or any room is made: four million symbols in five bytes."""
    rows = np.broadcast_to(np.uint16(0), (2**22,))
    decoder = coder.Decoder(bytes.fromhex("00 00000100"), plain_tables())
    with pytest.raises(TruncatedError, match="too short"):
        decoder.decode(rows)
    assert decoder.decode(rows[:0]).shape == (0,)


def test_the_bound_admits_the_longest_message(kernel: str) -> None:
    """Nothing but the likeliest symbol of the most skewed table, nearly as much as the bound says."""
    tables = Tables(12, np.array([0]), np.array([0, 3]), np.array([0, 4095, 4096]))
    count = 400_000
    symbols, rows = np.zeros(count, np.int16), np.zeros(count, np.uint16)
    stream = coder.encode(symbols, rows, tables, 1)
    most = (17 * (len(stream) - 5) / 2 + 16) / tables.fewest_bits
    assert 0.8 * most < count < most
    assert np.array_equal(decode(stream, rows, tables), symbols)


def test_a_failed_decoder_stays_failed(kernel: str) -> None:
    tables, _, rows, stream = message_with_escapes()
    decoder = coder.Decoder(stream[:-2], tables)
    with pytest.raises(TruncatedError):
        decoder.decode(rows)
    for again in (lambda: decoder.decode(rows[:1]), decoder.finish):
        with pytest.raises(TruncatedError):
            again()


def test_rows_beyond_the_tables_are_refused_while_decoding(kernel: str) -> None:
    tables, symbols, rows, stream = message_with_escapes()
    decoder = coder.Decoder(stream, tables)
    with pytest.raises(OptionError):
        decoder.decode(rows + 2)
    assert np.array_equal(decoder.decode(rows), symbols)  # the caller's mistake, not the stream's


def test_threads_share_tables(kernel: str) -> None:
    tables = usual_tables()
    count = 2_000 if kernel == "python" else 100_000
    symbols, rows = logistic_message(count, tables, 0.06, 30)
    parts = list(zip(np.array_split(symbols, 16), np.array_split(rows, 16), strict=True))

    def there_and_back(part: tuple[Symbols, Rows]) -> bool:
        return np.array_equal(decode(coder.encode(*part, tables), part[1], tables), part[0])

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(there_and_back, parts))


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAREFY_KERNEL", "python")
    assert not kernels.available()
    monkeypatch.setenv("RAREFY_KERNEL", "abacus")
    with pytest.raises(OptionError, match="abacus"):
        kernels.available()


def test_works_without_the_extension_and_without_torch() -> None:
    program = (
        "import sys; sys.modules['rarefy.kernels._rans'] = None; sys.modules['torch'] = None\n"
        "import numpy as np; from rarefy.entropy import coder; from rarefy.entropy.scales import scale_tables\n"
        "t = scale_tables(4, 0.1, 2); r = np.array([0, 1, 2, 3], np.uint16); s = np.array([0, 0, -1, 9], np.int16)\n"
        "d = coder.Decoder(coder.encode(s, r, t), t); assert (d.decode(r) == s).all(); d.finish()\n"
        "from rarefy import kernels; assert not kernels.available()"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAREFY_KERNEL"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_narrow_rows_and_wide_symbols_are_the_same_message(kernel: str) -> None:
    rng = np.random.default_rng(2)
    tables = random_tables(rng)
    symbols, rows = random_message(rng, tables, 5000)
    stream = coder.encode(symbols, rows, tables)
    assert coder.encode(symbols.astype(np.int32), rows.astype(np.uint8), tables) == stream
    room = np.empty(5000, np.int32)
    decoder = coder.Decoder(stream, tables)
    assert decoder.decode(rows[:2100].astype(np.uint8), room[:2100]) is not None
    decoder.decode(rows[2100:], room[2100:])
    decoder.finish()
    assert np.array_equal(room, symbols)


def test_tensors_are_taken_as_they_are(kernel: str) -> None:
    torch = pytest.importorskip("torch")
    tables = plain_tables()
    symbols, rows = torch.tensor([0, 1, -1, 9], dtype=torch.int16), torch.zeros(4, dtype=torch.uint8)
    stream = coder.encode(symbols, rows, tables)
    assert stream == coder.encode(symbols.numpy(), rows.numpy(), tables)
    room = torch.zeros(4, dtype=torch.int32)
    coder.Decoder(stream, tables).decode(rows, room)
    assert room.tolist() == symbols.tolist()


def test_what_cannot_take_symbols(kernel: str) -> None:
    stream, rows = coder.encode(np.zeros(4, np.int16), np.zeros(4, np.uint16), plain_tables()), np.zeros(4, np.uint16)
    locked = np.zeros(4, np.int16)
    locked.setflags(write=False)
    for room in (np.zeros(3, np.int16), np.zeros(4, np.int64), np.zeros(8, np.int16)[::2], np.zeros((4, 1)), locked):
        with pytest.raises(OptionError):
            coder.Decoder(stream, plain_tables()).decode(rows, room)


def test_several_streams_at_once(kernel: str) -> None:
    rng = np.random.default_rng(3)
    tables = random_tables(rng)
    messages = [random_message(rng, tables, count) for count in (0, 1, 3000, 17, 5000)]
    streams = coder.encode_many(messages, tables, threads=3)
    assert streams == [coder.encode(*message, tables) for message in messages]
    decoders = [coder.Decoder(stream, tables) for stream in streams]
    for cut in (slice(0, 12), slice(12, None)):
        parts = coder.decode_many(decoders, [rows[cut] for _, rows in messages], threads=3)
        assert all(np.array_equal(part, symbols[cut]) for part, (symbols, _) in zip(parts, messages, strict=True))
    for decoder in decoders:
        decoder.finish()
    assert coder.encode_many([], tables) == [] and coder.decode_many([], []) == []


def test_several_streams_fail_as_each_would(kernel: str) -> None:
    tables, rows = plain_tables(), np.zeros(60, np.uint16)
    whole = coder.encode(np.arange(60), rows, tables)
    decoders = [coder.Decoder(whole, tables), coder.Decoder(whole[:-8], tables)]
    with pytest.raises(TruncatedError):
        coder.decode_many(decoders, [rows, rows], threads=2)
    decoders[0].finish()
    with pytest.raises(OptionError, match="once"):
        coder.decode_many([decoders[0]] * 2, [rows[:0]] * 2)
    with pytest.raises(OptionError):
        coder.encode_many([(rows, rows)], tables, threads=0)
    with pytest.raises(OptionError):
        coder.encode_many([(rows.astype(np.int16), rows), (rows.astype(np.int16), rows + 7)], tables)


def test_probabilities_of_each_symbol_its_own(kernel: str) -> None:
    """As of an adaptive model: integers for each symbol, known when those before it are."""
    rng = np.random.default_rng(6)
    parts, bits = [], 0.0
    for count in (1, 40, 700):
        frequencies = rng.multinomial(4096 - 24, rng.dirichlet(np.ones(24)), count) + 1
        symbols = np.array([rng.choice(23, p=row[:-1] / row[:-1].sum()) for row in frequencies]) - 5
        parts.append((symbols, np.arange(count), Tables.from_frequencies(frequencies, -5)))
        bits -= float(np.log2(frequencies[np.arange(count), symbols + 5] / 4096).sum())
    stream = coder.encode_parts(parts, 4)
    assert stream == rans.encode_parts([(s.astype(np.int16), r.astype(np.uint16), t) for s, r, t in parts], 4)
    assert bits / 8 <= len(stream) <= bits / 8 * 1.001 + 18
    decoder = coder.Decoder(stream, parts[0][2])
    for symbols, rows, tables in parts:
        assert np.array_equal(decoder.decode(rows, tables=tables), symbols)
    decoder.finish()


def test_parts_may_differ_in_precision(kernel: str) -> None:
    rng = np.random.default_rng(9)
    parts = []
    for precision in (12, 15, 13, 14):
        flat = Tables.from_pmfs([np.ones(30), np.zeros(0)], [-3, 4], [0.01, 0.0], precision)
        parts.append((*random_message(rng, flat, 300), flat))
    stream = coder.encode_parts(parts, 8)
    decoder = coder.Decoder(stream, parts[0][2])
    assert all(np.array_equal(decoder.decode(rows, tables=tables), symbols) for symbols, rows, tables in parts)
    decoder.finish()
    with pytest.raises(OptionError, match="part"):
        coder.encode_parts([])


def test_an_unknown_kernel_of_the_coder_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    if not coder.instruction_sets():
        pytest.skip("the compiled coder was not built")
    assert coder.instruction_sets()[-1] == "plain"
    for wanted, used in (
        ("", coder.instruction_sets()[0]),
        ("plain", "plain"),
        ("avx2", "plain"),
        ("python", "python"),
    ):
        monkeypatch.setenv("RAREFY_KERNEL", wanted)
        assert coder.instruction_set() == used


@needs_extension
@pytest.mark.parametrize("lanes", rans.LANES)
def test_streams_that_end_anywhere_in_a_group(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short messages of every length, cut words and all: groups must not take what lies behind the stream."""
    tables = usual_tables()
    symbols, rows = logistic_message(140, tables, 0.06, 30)
    rows = np.maximum(rows, 20).astype(np.uint16)
    for name in coder.instruction_sets():
        monkeypatch.setenv("RAREFY_KERNEL", name)
        for count in range(140):
            stream = coder.encode(symbols[:count], rows[:count], tables, lanes)
            assert stream == rans.encode(symbols[:count], rows[:count], tables, lanes)
            assert np.array_equal(decode(stream, rows[:count], tables), symbols[:count])
            if len(stream) > 1 + 4 * lanes:
                with pytest.raises(TruncatedError):
                    decode(stream[:-2], rows[:count], tables)


PIECE, PIECES, TWIN_SAMPLE = 4_000_000, 25, 1500


@pytest.mark.slow
@needs_extension
@pytest.mark.parametrize("first", range(0, PIECES, 5))
def test_a_hundred_million_symbols(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every instruction set writes the same bytes and reads them back; so does the twin for a part of each piece."""
    for seed in range(first, first + 5):
        rng = np.random.default_rng(1000 + seed)
        tables = usual_tables() if seed % 2 else random_tables(rng)
        symbols, rows = random_message(rng, tables, PIECE)
        if seed % 2:
            spread = rng.logistic(size=PIECE).astype(np.float32) * (tables.lengths[rows] / 12)
            symbols = np.where(tables.is_coded[rows], np.round(spread), tables.offsets[rows]).astype(np.int16)
        lanes = rans.LANES[seed % len(rans.LANES)]
        streams = set()
        for name in coder.instruction_sets():
            monkeypatch.setenv("RAREFY_KERNEL", name)
            streams.add(coder.encode(symbols, rows, tables, lanes))
            assert np.array_equal(decode(min(streams), rows, tables), symbols)
        assert len(streams) == 1
        start = int(rng.integers(0, PIECE - TWIN_SAMPLE))
        part = slice(start, start + TWIN_SAMPLE)
        stream = coder.encode(symbols[part], rows[part], tables, lanes)
        assert stream == rans.encode(symbols[part], rows[part], tables, lanes)
        twin = rans.Decoder(stream, tables)
        assert np.array_equal(twin.decode(rows[part]), symbols[part])
