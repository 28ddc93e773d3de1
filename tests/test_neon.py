"""The kernels on 64-bit Arm: cross-compiled, run by qemu with and without dot products, and held to int64 and to the
streams of this machine.

There is no Python for that processor here, so `aarch64/` is a program of its own. It reads records of inputs and of
what must come of them, which this file writes.
"""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from test_kernels import Numbers, block, draw, extreme
from test_tokens import ALPHABETS, random_model, random_tokens

from rarefy.entropy import coder, rans, token_stream, tokens
from rarefy.entropy.scales import scale_tables
from rarefy.entropy.tables import Tables
from rarefy.entropy.token_model import TokenModel
from rarefy.errors import RarefyError

KINDS = ("dense", "block", "stream", "damaged stream", "choose", "take", "tokens")  # in the order of aarch64/main.cpp
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
# What qemu calls processors, and the instruction sets that must be found there, the best first.
PROCESSORS = {"max": "dotprod neon plain", "neoverse-n1": "dotprod neon plain", "cortex-a72": "neon plain"}
every_processor = pytest.mark.parametrize("processor", PROCESSORS)

missing = [name for name in (COMPILER, EMULATOR, "cmake") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} (Debian: g++-aarch64-linux-gnu, qemu-user)"),
]


@dataclass
class Records:
    """The file that the program reads."""

    parts: list[bytes] = field(default_factory=list)
    count: int = 0

    def begin(self, kind: str) -> None:
        self.count += 1
        self.add(KINDS.index(kind))

    def add(self, *values: Any) -> None:
        """Append arrays; numbers become 64-bit integers."""
        for value in values:
            array = np.asarray(value, None if isinstance(value, np.ndarray) else np.int64)
            head = np.array([array.itemsize, array.ndim, *array.shape], "<i8")
            self.parts += [head.tobytes(), array.astype(array.dtype.newbyteorder("<")).tobytes()]

    def add_layer(self, numbers: Numbers, is_unsigned: bool = False) -> None:
        arrays = numbers.weight.astype(np.int8), numbers.bias.astype(np.int32), numbers.shift.astype(np.uint8)
        self.add(*arrays, numbers.low, numbers.high, int(is_unsigned))

    def add_tables(self, tables: Tables) -> None:
        fewest = np.array([tables.fewest_bits])
        self.add(tables.precision, fewest, tables.offsets, tables.row_starts, tables.cumulative)


def place(view: NDArray[np.int8], base: NDArray[np.int8]) -> NDArray[np.int64]:
    """Where in its base a view [B, H, W, C] begins, and its strides."""
    assert view.strides[3] == 1 and base.flags.c_contiguous
    start = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    return np.array([start, *view.strides[:3]])


NOTHING = np.zeros(0, np.int8)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("aarch64")
    settings = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": COMPILER,
        "CMAKE_EXE_LINKER_FLAGS": "-static",
    }
    source = Path(__file__).parent / "aarch64"
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    subprocess.run(["cmake", "-S", source, "-B", folder, *definitions], check=True, stdout=subprocess.PIPE)
    subprocess.run(["cmake", "--build", folder], check=True, stdout=subprocess.PIPE)
    return folder / "replay"


@dataclass
class Machine:
    """The program on one emulated processor."""

    program: Path
    folder: Path

    def run(self, processor: str, records: Records) -> subprocess.CompletedProcess[str]:
        path = self.folder / "records"
        path.write_bytes(b"".join(records.parts))
        command = [EMULATOR, "-cpu", processor, self.program, path]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)

    def agree(self, processor: str, records: Records) -> None:
        ended = self.run(processor, records)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout == f"{PROCESSORS[processor]} {records.count}\n"


@pytest.fixture
def machine(program: Path, tmp_path: Path) -> Machine:
    return Machine(program, tmp_path)


def add_dense(records: Records, numbers: Numbers, x: NDArray[np.int8]) -> None:
    out = np.full((*x.shape[:3], len(numbers.weight)), 99, np.int8)
    records.begin("dense")
    records.add(1, 1)
    records.add_layer(numbers)
    records.add(np.array(x.shape[:3]), x, place(x, x), NOTHING, np.zeros(4, np.int64), NOTHING, place(out, out))
    records.add(out, numbers(x.astype(np.int64)).astype(np.uint8).view(np.int8))


def at_the_edge(numbers: Numbers) -> Numbers:
    """The first row's weights all -128, which no export makes but a weights file can hold; its bias in bounds."""
    numbers.weight[0], numbers.bias[0] = -128, 77
    return numbers


@every_processor
def test_dense_layers_equal_int64(machine: Machine, processor: str) -> None:
    source, records = np.random.default_rng(1), Records()
    for outputs, inputs in ((1, 1), (3, 2), (16, 4), (17, 5), (48, 63), (65, 64), (80, 192), (130, 7)):
        for shape in ((1, 1, 1), (1, 1, 7), (2, 5, 3), (1, 13, 11)):
            numbers = at_the_edge(draw(source, outputs, inputs))
            add_dense(records, numbers, extreme(source, (*shape, inputs)))
    add_dense(records, draw(source, 20, 30, low=0, high=255), extreme(source, (1, 9, 9, 30)))  # indices beyond 127
    machine.agree(processor, records)


@every_processor
def test_corners_of_strided_arrays_equal_int64(machine: Machine, processor: str) -> None:
    """Four layers at once, each with what is added to it, on one to four threads."""
    source, records = np.random.default_rng(2), Records()
    base, added = extreme(source, (2, 75, 53, 70)), extreme(source, (2, 74, 53, 96))
    x, out = base[:, 1:, :, :66], np.full((2, 75, 60, 100), 99, np.int8)
    for threads in (1, 2, 4):
        expected = out.astype(np.int64)
        records.begin("dense")
        records.add(threads, 4)
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            numbers, constant = draw(source, 96, 66), extreme(source, (1, 1, 1, 96))[0, 0, 0]
            at = (slice(None), slice(row, 74, 2), slice(column, 53, 2))
            records.add_layer(numbers)
            records.add(np.array(x[at].shape[:3]), base, place(x[at], base), added, place(added[at], added))
            records.add(constant, place(out[at][..., :96], out))
            total = numbers(x[at].astype(np.int64)) + added[at] + constant
            expected[at][..., :96] = np.clip(total, -127, 127)
        records.add(out, expected.astype(np.int8))
    machine.agree(processor, records)


@every_processor
def test_blocks_equal_int64(machine: Machine, processor: str) -> None:
    source, records = np.random.default_rng(3), Records()
    for channels, own, shape in ((64, 16, (2, 31, 30)), (12, 3, (1, 1, 1)), (10, 5, (3, 1, 9)), (9, 9, (1, 8, 1))):
        spatial = at_the_edge(draw(source, own, 9 * own))
        expand = draw(source, 2 * channels, channels, low=0, high=255)
        expand.shift[::2] = 1  # half of them saturate: 255 beside 0, which are 127 and -128 as signed inputs
        reduce = at_the_edge(draw(source, channels, 2 * channels))
        base = extreme(source, (*shape[:2], shape[2] + 2, channels + 3))
        x, out = base[:, :, 1:-1, 2:-1], np.full((*shape, channels), 99, np.int8)
        records.begin("block")
        records.add(2)
        for numbers in (spatial, expand, reduce):
            records.add_layer(numbers, is_unsigned=numbers is reduce)
        records.add(np.array(shape), base, place(x, base), place(out, out), out)
        records.add(block(x.astype(np.int64), spatial, expand, reduce).astype(np.int8))
    machine.agree(processor, records)


TABLES: dict[str, Callable[[], Tables]] = {
    **{f"{bits} bits": lambda bits=bits: scale_tables(12, 0.04, 30.0, bits) for bits in (12, 13, 14, 15)},
    "at the ends of int16": lambda: Tables.from_pmfs([np.ones(5), np.ones(3)], [-32768, 32765], [0.1, 0.2]),
    "4095 symbols": lambda: Tables.from_pmfs([np.ones(4095)], [-2000], [1.0], 12),
}


def sample(source: np.random.Generator, tables: Tables, count: int) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Rows and symbols: most within their rows, others anywhere."""
    rows = source.integers(0, len(tables), count).astype(np.uint16)
    inside = tables.offsets[rows] + source.integers(0, np.maximum(tables.lengths[rows] - 1, 1))
    anywhere = source.integers(-32768, 32768, count)
    symbols = np.where(tables.is_coded[rows] & (source.random(count) < 0.05), anywhere, inside)
    return symbols.astype(np.int16), rows


@every_processor
@pytest.mark.parametrize("name", TABLES)
def test_streams_are_those_of_this_machine(machine: Machine, processor: str, name: str) -> None:
    """Of the compiled coder, and up to some hundred symbols of the Python twin."""
    source, records, tables = np.random.default_rng(4), Records(), TABLES[name]()
    for lanes in rans.LANES:
        for count in (0, 1, lanes + 1, 300, 4_097, 60_000):
            symbols, rows = sample(source, tables, count)
            stream = coder.encode(symbols, rows, tables, lanes)
            assert count > 300 or stream == rans.encode(symbols, rows, tables, lanes)
            records.begin("stream")
            records.add_tables(tables)
            records.add(rows, symbols, lanes, np.frombuffer(stream, np.uint8))
    machine.agree(processor, records)


def status_of(stream: bytes, rows: NDArray[np.uint16], tables: Tables) -> int:
    """The number of the fault in which a stream ends in the Python twin, 0 if in none."""
    numbers = {message: number for number, (_, message) in rans.FAULTS.items()}
    try:
        decoder = rans.Decoder(stream, tables)
        decoder.decode(rows[: len(rows) // 2])
        decoder.decode(rows[len(rows) // 2 :])
        decoder.finish()
    except RarefyError as fault:
        return numbers[str(fault)]
    return 0


def damaged(source: np.random.Generator, whole: bytes) -> Iterator[bytes]:
    """A stream cut everywhere, with each byte changed, with more behind it, and with a head that cannot be."""
    yield from (whole[:size] for size in range(len(whole)))
    for at in range(len(whole)):
        yield whole[:at] + bytes([whole[at] ^ int(source.integers(1, 256))]) + whole[at + 1 :]
    yield from (whole + bytes(2), bytes([6]) + whole[1:], whole[:1] + bytes(4) + whole[5:])


@every_processor
def test_damaged_streams_end_in_the_same_errors(machine: Machine, processor: str) -> None:
    source, records, found = np.random.default_rng(5), Records(), set()
    for tables in (scale_tables(6, 0.3, 2.0), TABLES["at the ends of int16"]()):
        symbols, rows = sample(source, tables, 120)
        for stream in damaged(source, coder.encode(symbols, rows, tables, 2)):
            status = status_of(stream, rows, tables)
            found.add(status)
            records.begin("damaged stream")
            records.add_tables(tables)
            records.add(rows, np.frombuffer(stream, np.uint8), status)
    faults_of_streams = set(rans.FAULTS) - {rans.ROW_RANGE, rans.CERTAIN_SYMBOL}
    assert faults_of_streams - {rans.TOO_MANY_SYMBOLS} <= found
    machine.agree(processor, records)


def floats(source: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Of every size, halves among them, and what is no number."""
    values = source.normal(size=count) * np.exp2(source.integers(-140, 127, count).astype(np.float64))
    values[: count // 2] = np.round(2 * source.normal(size=count // 2) * 50) / 2
    values[-4:] = (np.nan, np.inf, -np.inf, -0.0)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


@every_processor
def test_symbols_are_chosen_alike(machine: Machine, processor: str) -> None:
    source, records = np.random.default_rng(6), Records()
    target, means = floats(source, 20_003), source.permutation(floats(source, 20_003))
    indices = source.integers(0, 3, len(target)).astype(np.uint8)
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.clip(np.rint(np.nan_to_num(target - means, nan=-32768)), -32768, 32767)
    records.begin("choose")
    records.add(target, means, indices, np.where(indices, rounded, 0).astype(np.int16))
    machine.agree(processor, records)


@every_processor
def test_latents_are_the_same_floats(machine: Machine, processor: str) -> None:
    """To the last bit, the inverse hyperbolic sine too: no step is left to a library or fused."""
    kernel = pytest.importorskip("rarefy.kernels._latents", reason="the compiled layers were not built")
    source, records, shape = np.random.default_rng(7), Records(), (1, 40, 25, 20)
    symbols = source.integers(-32768, 32768, shape).astype(np.int16)
    symbols[0, 10:] = source.integers(-3, 4, (30, 25, 20))
    means = (source.normal(size=shape) * np.exp2(source.integers(-20, 15, shape))).astype(np.float32)
    spread = np.exp2(source.normal(size=20) * 4).astype(np.float32)
    table = np.arange(128, dtype=np.int8)
    all_symbols, magnitudes = np.empty(shape, np.int16), np.empty(shape, np.int8)
    latents, known = np.empty(shape, np.float32), np.empty(shape, np.float32)
    kernel.take(symbols, means, spread, table, all_symbols, magnitudes, latents, known)
    assert np.array_equal(latents, symbols + means) and np.ptp(known) > 10
    for at in np.ndindex(shape[:3]):
        records.begin("take")
        records.add(symbols[at], means[at], spread, table, magnitudes[at], latents[at], known[at])
    machine.agree(processor, records)


@every_processor
def test_token_streams_are_the_same(machine: Machine, processor: str) -> None:
    """Those that test_tokens.py draws, whole and damaged; without SSE2 rows are searched by other code."""
    source, records, found = np.random.default_rng(10), Records(), set()
    for alphabet in ALPHABETS:
        model, width = random_model(source, alphabet), int(source.choice([0, 1, 16]))
        message = random_tokens(source, alphabet, 300)
        stream = tokens.encode(message, model, width)
        for part in (stream, stream[:-40], stream[:9] + bytes(2) + stream[11:], stream + bytes(2), bytes(4)):
            expected, status = tokens_of(part, len(message), model, width)
            found.add(status)
            records.begin("tokens")
            records.add(model.alphabet, model.member_bits, model.groups, model.outside)
            records.add(model.classes, model.contexts, model.rows, model.counts, width)
            records.add(expected, np.frombuffer(part, np.uint8), status)
    assert found >= {0, rans.TRUNCATED, rans.STATE_RANGE, rans.WORDS_LEFT}
    machine.agree(processor, records)


def tokens_of(stream: bytes, count: int, model: TokenModel, width: int) -> tuple[NDArray[np.uint16], int]:
    """What the Python twin makes of a stream: the tokens and 0, or any as many and the number of a fault."""
    numbers = {message: number for number, (_, message) in rans.FAULTS.items()}
    try:
        return token_stream.decode(stream, count, model, width), 0
    except RarefyError as fault:
        return np.zeros(count, np.uint16), numbers[str(fault)]


WRONG: Sequence[tuple[str, Callable[[Records], None]]] = [
    ("other integers", lambda records: add_dense(records, draw(np.random.default_rng(8), 9, 5), _ones(5))),
    ("other bytes", lambda records: _add_stream(records, scale_tables(6, 0.3, 2.0))),
]


def _ones(inputs: int) -> NDArray[np.int8]:
    return np.ones((1, 2, 3, inputs), np.int8)


def _add_stream(records: Records, tables: Tables) -> None:
    symbols, rows = sample(np.random.default_rng(9), tables, 50)
    records.begin("stream")
    records.add_tables(tables)
    records.add(rows, symbols, 1, np.frombuffer(coder.encode(symbols, rows, tables, 1), np.uint8))


@pytest.mark.parametrize("message, add", WRONG)
def test_what_is_wrong_is_told(machine: Machine, message: str, add: Callable[[Records], None]) -> None:
    """One bit of what must come of a record is altered."""
    records = Records()
    add(records)
    machine.agree("max", records)
    records.parts[-1] = records.parts[-1][:-1] + bytes([records.parts[-1][-1] ^ 1])
    ended = machine.run("max", records)
    assert ended.returncode == 1 and message in ended.stderr
