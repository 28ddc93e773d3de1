"""A library among others in one process: it changes nothing that is not its own, and stands what others changed.

With the tiny codec of the tests, so that thousands of calls take seconds.
"""

import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance.fixture import NAME, load, pixels_of, registered
from conformance.pictures import scene
from conformance.streams import path_of
from settings import SETTINGS, surroundings

import rarefy
from rarefy.entropy.precision import full_float32
from rarefy.errors import RarefyError

GROWTH = 2_000_000  # bytes that many calls may leave behind: caches of the allocator


@pytest.fixture(autouse=True)
def codec_is_known() -> Iterator[None]:
    """The codec of the tests beside the others."""
    with registered():
        yield


def use() -> list[Any]:
    """All that a caller can do, mistakes too; gives what came out."""
    picture = scene(40, 48)
    data = rarefy.encode(picture, NAME, 60, precision="float32")
    tiles = path_of("tiles-metadata", "rfy").read_bytes()
    with rarefy.open(tiles) as file:
        parts = [file.region(50, 20, 30, 15), file.preview(2), file.latents()]
    errors = []
    for wrong in (data[:-1], data[:30] + b"?" + data[31:], b"", tiles[:100]):
        try:
            rarefy.decode(wrong)
        except RarefyError as error:
            errors.append(str(error))
    damaged = rarefy.decode(tiles[:-100], allow_damaged=True, precision="float32")
    whole = [rarefy.decode(one, precision="float32") for one in (data, tiles)]
    return [data, *errors, *map(np.asarray, [*parts, damaged, *whole]), damaged.notes]


def same(first: list[Any], second: list[Any]) -> bool:
    """Whether two uses gave the same: bytes and words exactly, samples within a level, latents within a little."""
    for one, other in zip(first, second, strict=True):
        if not isinstance(one, np.ndarray):
            if one != other:
                return False
        elif np.abs(one.astype(float) - other.astype(float)).max() > (1 if one.dtype == np.uint8 else 1e-3):
            return False
    return True


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    """What comes out where nobody changed anything."""
    with registered():
        return use()


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_change_nothing_and_are_left_as_they_were(setting: str, expected: list[Any]) -> None:
    with SETTINGS[setting]():
        before = surroundings()
        found = use()
        after = surroundings()
    assert {name for name in before if before[name] != after[name]} == set()
    assert same(found, expected)


def test_loading_weights_leaves_all_as_it_was() -> None:
    before = surroundings()
    load()
    after = surroundings()
    assert {name for name in before if before[name] != after[name]} == set()


def test_the_test_sees_a_changed_setting(expected: list[Any]) -> None:
    before = surroundings()
    torch.rand(1)
    assert surroundings() != before
    assert not same(expected, [expected[0] + b"?", *expected[1:]])


def test_importing_sets_nothing() -> None:
    """In a process of its own, which has not used anything yet."""
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from settings import surroundings
before = surroundings()
import rarefy.codecs.api, rarefy.codecs.image, rarefy.tools.cli
print([name for name, value in surroundings().items() if value != before[name]])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def resident() -> int:
    """Memory of this process in bytes."""
    status = Path("/proc/self/statm")
    if not status.exists():
        pytest.skip("this system does not tell the memory of a process")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def leftovers() -> dict[str, int]:
    """What could pile up: open files, threads, tensors."""
    gc.collect()
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    return {"files": files, "threads": threading.active_count(), "tensors": tensors}


@pytest.mark.parametrize("kind", ["whole", "tiles", "damaged"])
def test_hundreds_of_calls_leave_nothing_behind(kind: str) -> None:
    check_leftovers(kind, {"whole": 100, "tiles": 20, "damaged": 1000}[kind])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whole", "tiles", "damaged"])
def test_thousands_of_calls_leave_nothing_behind(kind: str) -> None:
    check_leftovers(kind, {"whole": 3000, "tiles": 1000, "damaged": 30_000}[kind])


def check_leftovers(kind: str, calls: int) -> None:
    """Call again and again, half as often for the caches to fill before."""
    data = path_of("tiles-thin" if kind == "tiles" else "16x16", "rfy").read_bytes()
    damaged = data[:-1] + bytes([data[-1] ^ 1])

    def call() -> None:
        if kind != "damaged":
            rarefy.decode(data, precision="float32")
            return
        with pytest.raises(RarefyError):
            rarefy.decode(damaged)

    for _ in range(calls // 2):
        call()
    before, memory = leftovers(), resident()
    for _ in range(calls):
        call()
    assert leftovers() == before
    assert resident() - memory < GROWTH


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_begun_after_use_decode_too(method: str) -> None:
    """Locks, pools and caches of the parent are no trouble to its children."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system does not {method}")
    files = [path_of(name, "rfy").read_bytes() for name in ("tiles", "alpha")]
    here = [pixels_of(data) for data in files]
    with multiprocessing.get_context(method).Pool(1) as pool:
        there = pool.map_async(pixels_of, files).get(timeout=120)
    assert there == here


def test_an_interrupted_call_leaves_the_rest_as_it_was(monkeypatch: pytest.MonkeyPatch, expected: list[Any]) -> None:
    """Control-C may come anywhere, in the middle of a decode too."""
    from rarefy.entropy import coding

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    before = surroundings()
    with monkeypatch.context() as patched:
        patched.setattr(coding.Walk, "put", interrupted)
        for name in ("tiles", "alpha"):
            with pytest.raises(KeyboardInterrupt):
                rarefy.decode(path_of(name, "rfy").read_bytes())
    assert surroundings() == before
    assert same(use(), expected)


def test_full_float32_is_what_it_says() -> None:
    """This processor may compute alike whatever the settings are, so they are looked at themselves."""
    backend = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = backend.fp32_precision
    try:
        backend.fp32_precision = "bf16"
        with full_float32(torch.device("cpu")):
            assert backend.fp32_precision == "ieee"
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before
