"""Fuzz the C++ coder with libFuzzer: `python -m fuzz.native --inputs 10000000`, in the folder tests.

Starts from the packed corpus, runs rounds of a million inputs, and leaves the corpus with what reached new code,
minimised. Prints outcomes and coverage. The input of a finding is written to a file, and the exit code is 1.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

from fuzz.native import (
    CORPUS,
    ENVIRONMENT,
    FUZZER,
    KERNELS,
    LONGEST,
    SANITIZERS,
    build,
    outcomes,
    pack,
    unpack,
)
from rarefy.tools.environment import describe

ROUND = 1_000_000
CLANG = "clang++"


class Campaign:
    """One build of the target, and what came of the inputs so far."""

    def __init__(self, folder: Path, keep: Path) -> None:
        """folder: for programs and inputs while this runs. keep: where inputs that go wrong are put."""
        self.inputs = 0
        self.seconds = 0.0
        self.counts: dict[str, Counter[str]] = {}
        self.findings: list[str] = []
        self._folder, self._keep = folder, keep
        self._corpus = folder / "corpus"
        self._corpus.mkdir()
        for number, data in enumerate(unpack(CORPUS.read_bytes() if CORPUS.exists() else b"")):
            (self._corpus / str(number)).write_bytes(data)
        self._program = build(CLANG, folder / "fuzzer", "-O2", "-g", *FUZZER, *SANITIZERS)

    def run(self, count: int, seed: int) -> None:
        """Try a number of inputs."""
        begin = perf_counter()
        command = [self._program, self._corpus, f"-runs={count}", f"-seed={seed}", f"-max_len={LONGEST}"]
        facts = [
            "-entropic_scale_per_exec_time=1",
            "-print_final_stats=1",
            f"-artifact_prefix={self._keep}/",
        ]
        ended = subprocess.run([*command, *facts], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, check=False)
        self.seconds += perf_counter() - begin
        self.inputs += _number(ended.stderr, "stat::number_of_executed_units:")
        for target, counts in outcomes(ended.stderr).items():
            self.counts.setdefault(target, Counter()).update(counts)
        if ended.returncode:
            print(ended.stderr[-8000:], file=sys.stderr)
            written = [line for line in ended.stderr.splitlines() if "Test unit written to" in line]
            self.findings.append(written[-1].split()[-1] if written else f"exit code {ended.returncode}")

    def minimise(self) -> bytes:
        """Give the packed corpus of the fewest and shortest inputs that reach the same code."""
        least = self._folder / "least"
        least.mkdir(exist_ok=True)
        command = [self._program, "-merge=1", f"-max_len={LONGEST}", least, self._corpus]
        subprocess.run(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL, check=True)
        return pack(path.read_bytes() for path in least.iterdir())

    def coverage(self, packed: Path) -> dict[str, Any]:
        """Lines and branches of the kernels that a corpus reaches: those covered, and all."""
        program = build(CLANG, self._folder / "covered", "-O1", "-fprofile-instr-generate", "-fcoverage-mapping")
        profile = self._folder / "profile"
        environment = {**ENVIRONMENT, "LLVM_PROFILE_FILE": f"{profile}.raw"}
        subprocess.run([program, "--packed", packed], env=environment, capture_output=True, check=True)
        subprocess.run([_tool("llvm-profdata"), "merge", f"{profile}.raw", "-o", profile], check=True)
        command = [_tool("llvm-cov"), "export", "-summary-only", f"-instr-profile={profile}", program]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        files = {Path(file["filename"]): file["summary"] for file in found["data"][0]["files"]}
        return {
            path.name: {kind: [summary[kind]["covered"], summary[kind]["count"]] for kind in ("lines", "branches")}
            for path, summary in sorted(files.items())
            if path.resolve().parent == KERNELS
        }

    def facts(self) -> dict[str, Any]:
        """What is known so far, for people and for results/."""
        return {
            "inputs": self.inputs,
            "seconds": round(self.seconds, 1),
            "inputs_per_second": round(self.inputs / self.seconds),
            "sanitizers": SANITIZERS[0].partition("=")[2].split(","),
            "compiler": _version(CLANG),
            "outcomes": {target: dict(counts.most_common()) for target, counts in self.counts.items()},
            "findings": self.findings,
        }


def _number(printed: str, name: str) -> int:
    found = [line for line in printed.splitlines() if line.startswith(name)]
    return int(found[-1].split()[-1]) if found else 0


def _version(program: str) -> str:
    return subprocess.run([program, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def _tool(name: str) -> str:
    """A program of clang's own version: others read no profiles of it."""
    own = Path(shutil.which(CLANG) or CLANG).resolve().parent / name
    return str(own) if own.exists() else name


def main() -> int:
    """Run the command; gives 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.native", description=__doc__)
    parser.add_argument("--inputs", type=int, default=ROUND, help=f"how many (default {ROUND})")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; later ones count on")
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for inputs that go wrong (default: here)")
    parser.add_argument("--add", type=Path, nargs="+", default=[], help="inputs to put into the corpus first")
    parser.add_argument("--json", type=Path, help="file of results to write")
    options = parser.parse_args()
    about = describe(["python", "-m", "fuzz.native", *sys.argv[1:]], threads=1)  # as the sources are now
    if options.add:
        CORPUS.write_bytes(pack([*unpack(CORPUS.read_bytes()), *(path.read_bytes() for path in options.add)]))
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), options.keep)
        seed = options.seed
        while campaign.inputs < options.inputs and not campaign.findings:
            campaign.run(min(ROUND, options.inputs - campaign.inputs), seed)
            print(f"seed {seed}: {campaign.inputs} inputs, {campaign.seconds:.0f} s", file=sys.stderr, flush=True)
            seed += 1
        if not campaign.findings:
            CORPUS.write_bytes(campaign.minimise())
        corpus = {"inputs": len(list(unpack(CORPUS.read_bytes()))), "size_bytes": CORPUS.stat().st_size}
        facts = campaign.facts() | {"corpus": corpus, "coverage": campaign.coverage(CORPUS)}
    print(json.dumps(facts, indent=1))
    if options.json:
        options.json.write_text(json.dumps(about | facts, indent=1) + "\n")
    return int(bool(campaign.findings))


if __name__ == "__main__":
    sys.exit(main())
