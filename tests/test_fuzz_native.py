"""The libFuzzer target of the C++ coder as a plain program, over the inputs that were kept; no fuzzer is needed."""

import shutil
import subprocess
from pathlib import Path

import pytest
from fuzz import native

COMPILERS = [name for name in ("g++", "clang++") if shutil.which(name)]
pytestmark = pytest.mark.skipif(not COMPILERS, reason="needs g++ or clang++")

# Rules of docs/CODER.md as the second coder has them, and the same rules a little wrong. (An escape of 16 zeros leads
# out of 16 bits whatever follows, so one of 15 is the longest that matters.)
WRONG_RULES = {
    "escape too long": ("if (e == 16)", "if (e == 14)"),
    "head unchecked": ("if (states_[lane] < 1u << 16)", "if (states_[lane] < 1u << 15)"),
    "words left": ("if (next_ != stream_.size()) return", "if (next_ > stream_.size()) return"),
    "end of the first lane only": ("if (state != 1u << 16)", "if (states_[0] != 1u << 16 && state > 0)"),
    "late refill": ("if (x >= 1u << 16) return true", "if (x >= 1u << 15) return true"),
    "certain symbols in lanes": ("if (tables_.is_coded(row)) {", "if (++coded_; tables_.is_coded(row)) {"),
    "sides exchanged": ("symbol = t ?", "symbol = !t ?"),
    "early word": ("if (x >= bound)", "if (x + 1 >= bound)"),
    "next entry": ("tables_.values(row) + 2, slot)", "tables_.values(row) + 2, slot + 1)"),
}


def sanitizers(folder: Path) -> tuple[str, ...]:
    """The sanitizers' flags, where they can be linked and run."""
    source = folder / "nothing.cpp"
    source.write_text("int main() {}\n")
    compiled = subprocess.run(
        [COMPILERS[0], *native.SANITIZERS, source, "-o", folder / "nothing"], capture_output=True, check=False
    )
    is_there = compiled.returncode == 0 and subprocess.run([folder / "nothing"], check=False).returncode == 0
    return native.SANITIZERS if is_there else ()


def replay(program: Path) -> subprocess.CompletedProcess[str]:
    command = [program, "--packed", native.CORPUS]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=native.ENVIRONMENT, timeout=300)


def test_inputs_that_were_kept(tmp_path: Path) -> None:
    program = native.build(COMPILERS[0], tmp_path / "replay", "-O1", *sanitizers(tmp_path))
    ended = replay(program)
    assert ended.returncode == 0, ended.stderr
    kept = list(native.unpack(native.CORPUS.read_bytes()))
    assert ended.stdout == f"{len(kept)} inputs\n"
    found = native.outcomes(ended.stderr)
    assert sum(counts.total() for counts in found.values()) == len(kept)
    assert set(found) == {"decode", "round-trip", "borders"}
    assert set().union(*found.values()) == set(native.statuses().values())  # every error, and none
    assert found["round-trip"]["ok"] >= len(kept) // 10


def test_the_corpus_is_small_and_packed_as_it_should_be() -> None:
    packed = native.CORPUS.read_bytes()
    kept = list(native.unpack(packed))
    assert len(packed) < 300_000
    assert native.pack(kept) == packed
    assert max(map(len, kept)) <= native.LONGEST


@pytest.mark.slow
@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_is_found(name: str, tmp_path: Path) -> None:
    """That both coders agree over the corpus would mean little if a slip in one of them went unseen."""
    folder = Path(shutil.copytree(native.FOLDER, tmp_path / "native"))
    rule, wrong = WRONG_RULES[name]
    text = (folder / "reference.h").read_text()
    assert text.count(rule) == 1
    (folder / "reference.h").write_text(text.replace(rule, wrong))
    program = native.build(COMPILERS[0], tmp_path / "replay", "-w", folder=folder)
    assert "finding: " in replay(program).stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("clang++") is None, reason="needs clang++")
def test_the_fuzzer_runs(tmp_path: Path) -> None:
    program = native.build("clang++", tmp_path / "fuzzer", "-O1", *native.FUZZER, *native.SANITIZERS)
    command = [program, "-runs=3000", "-seed=1", f"-max_len={native.LONGEST}", f"-artifact_prefix={tmp_path}/"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=native.ENVIRONMENT, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert sum(counts.total() for counts in native.outcomes(ended.stderr).values()) >= 3000
