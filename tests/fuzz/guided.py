"""Run a fuzz target under atheris, guided by coverage: `python -m fuzz.guided container CORPUS -max_total_time=600`.

CORPUS is a folder for inputs that reach new code; the seeds of the target are put into it first. What follows goes to
libFuzzer. Needs `pip install atheris`, and the folder tests as the working directory.
"""

import gc
import os
import sys
from hashlib import sha256
from pathlib import Path
from types import FunctionType

import atheris

from fuzz.targets import TARGETS, seeds_of


def main() -> None:
    """Put the seeds into the corpus and hand over to libFuzzer, which ends the process."""
    name, folder, *options = sys.argv[1:]
    target, corpus = TARGETS[name], Path(folder)
    # The hooks of atheris on imports do not see an editable install.
    for function in gc.get_objects():
        if type(function) is FunctionType and (function.__module__ or "").startswith("rarefy."):
            atheris.instrument_func(function)
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds_of(name):
        (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)

    def test_one_input(data: bytes) -> None:
        target.run(target.repair(data) if target.repair is not None else data)

    atheris.Setup([sys.argv[0], os.fspath(corpus), *options], test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
