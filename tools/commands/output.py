"""What a verb tells: one JSON object per line on stdout, and failures of single files."""

import json
import sys
from collections.abc import Callable, Mapping

from rarefy.tools.files import Job
from rarefy.tools.terminal import STANDARD_STREAM, Terminal


def print_json(record: Mapping[str, object]) -> None:
    """Write one JSON object as one line on stdout."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def failure_of(terminal: Terminal, as_json: bool) -> Callable[[Job, Exception], int]:
    """Return what reports the failure of a job, in words and, where asked, as a JSON object."""

    def fail(job: Job, error: Exception) -> int:
        name = "standard input" if job.source == STANDARD_STREAM else job.source
        code = terminal.failure(error, name)
        if as_json:
            print_json({"source": job.source, "error": str(error), "exit": code})
        return code

    return fail
