"""Run a fuzz target without a fuzzer: `python -m fuzz container --inputs 1000000`, in the folder tests.

Prints how often each outcome came. An input that goes wrong is written to a file, and its traceback printed.
"""

import argparse
import json
import sys
import traceback
from collections import Counter
from hashlib import sha256
from pathlib import Path
from time import perf_counter, process_time

import torch

from fuzz.targets import TARGETS, inputs
from rarefy.tools.environment import describe


def run(name: str, seed: int, count: int, folder: Path) -> dict[str, object]:
    """Run a target; gives what happened, the slowest input by processor time, findings as paths of the inputs."""
    outcomes: Counter[str] = Counter()
    findings: dict[str, str] = {}
    slowest = 0.0
    begin = perf_counter()
    for data in inputs(name, seed, count):
        start = process_time()
        try:
            outcomes[TARGETS[name].run(data)] += 1
        except Exception as error:  # whatever it is: that is what we are here for
            outcomes["finding"] += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
            if kind not in findings:
                findings[kind] = str(_keep(data, name, folder))
                traceback.print_exc()
        slowest = max(slowest, process_time() - start)
    seconds = perf_counter() - begin
    facts = {"target": name, "seed": seed, "inputs": count, "seconds": round(seconds, 1)}
    return facts | {
        "slowest_ms": round(1000 * slowest, 1),
        "outcomes": dict(outcomes.most_common()),
        "findings": findings,
    }


def _keep(data: bytes, name: str, folder: Path) -> Path:
    path = folder / f"{name}-{sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    return path


def _record(found: list[dict[str, object]], path: Path) -> None:
    """Put results into a file, with command, versions, commit and machine, beside those of other targets."""
    known = json.loads(path.read_text()) if path.exists() else {}
    about = describe(["python", "-m", "fuzz", *sys.argv[1:]], threads=1)
    known |= {str(facts["target"]): about | facts for facts in found}
    path.write_text(json.dumps({name: known[name] for name in TARGETS if name in known}, indent=1) + "\n")


def main() -> int:
    """Run the command; gives 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="+", choices=[*TARGETS, "all"], help="which parsers")
    parser.add_argument("--inputs", type=int, default=10_000, help="how many for each (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(), help="folder for inputs that go wrong (default: here)")
    parser.add_argument("--json", type=Path, help="file of results: replace those of these targets in it")
    options = parser.parse_args()
    torch.set_num_threads(1)  # networks this small are slower with more
    names = list(TARGETS) if "all" in options.targets else options.targets
    found = [run(name, options.seed, options.inputs, options.keep) for name in names]
    print(json.dumps(found, indent=1))
    if options.json:
        _record(found, options.json)
    return int(any(facts["findings"] for facts in found))


if __name__ == "__main__":
    sys.exit(main())
